#include "dispatch.hpp"

#include <cstdlib>
#include <stdexcept>

namespace onelayer {

namespace {
struct Set {
  const char* name;
  bool (*supported)();
  const Kernels<float>* of_float;
  const Kernels<double>* of_double;
};
}  // namespace

#if defined(ONELAYER_HAS_avx512)
namespace avx512 {
extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
}  // namespace avx512
#endif
#if defined(ONELAYER_HAS_avx2)
namespace avx2 {
extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
}  // namespace avx2
#endif
namespace baseline {
extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
}  // namespace baseline

namespace {

#if defined(ONELAYER_HAS_avx512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
#endif
#if defined(ONELAYER_HAS_avx2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

const Set kSets[] = {
#if defined(ONELAYER_HAS_avx512)
    {"avx512", has_avx512, &avx512::float_kernels, &avx512::double_kernels},
#endif
#if defined(ONELAYER_HAS_avx2)
    {"avx2", has_avx2, &avx2::float_kernels, &avx2::double_kernels},
#endif
    {"baseline", [] { return true; }, &baseline::float_kernels, &baseline::double_kernels},
};

const Set& chosen() {
  static const Set& set = []() -> const Set& {
    const char* wanted = std::getenv("ONELAYER_ISA");
    for (const Set& candidate : kSets)
      if (candidate.supported() && (!wanted || !*wanted || std::string(wanted) == candidate.name)) return candidate;
    throw std::invalid_argument("ONELAYER_ISA: expected an instruction set of this machine, got " +
                                std::string(wanted));
  }();
  return set;
}

}  // namespace

std::vector<std::string> supported_instruction_sets() {
  std::vector<std::string> names;
  for (const Set& set : kSets)
    if (set.supported()) names.emplace_back(set.name);
  return names;
}

std::string instruction_set() { return chosen().name; }

template <> const Kernels<float>& kernels<float>() { return *chosen().of_float; }
template <> const Kernels<double>& kernels<double>() { return *chosen().of_double; }

}  // namespace onelayer
