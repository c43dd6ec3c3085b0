#include "dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace onelayer {

#if defined(ONELAYER_HAS_avx512)
namespace avx512 {
extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
extern const ColumnKernels column_kernels;
}  // namespace avx512
#endif
#if defined(ONELAYER_HAS_avx2)
namespace avx2 {
extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
extern const ColumnKernels column_kernels;
}  // namespace avx2
#endif
#if defined(ONELAYER_HAS_neon)
namespace neon {
extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
extern const ColumnKernels column_kernels;
}  // namespace neon
#endif
namespace portable {
extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
extern const ColumnKernels column_kernels;
}  // namespace portable

namespace {

struct InstructionSet {
  const char* name;
  bool (*supported)();
  const Kernels<float>* float_kernels;
  const Kernels<double>* double_kernels;
  const ColumnKernels* column_kernels;
};

#if defined(__x86_64__)
struct VectorUnits {
  bool avx2 = false, avx512 = false;
};

// What the processor has and the system saves. Not every compiler's library knows it for __builtin_cpu_supports.
const VectorUnits& vector_units() {
  static const VectorUnits found = [] {
    const auto all = [](unsigned word, unsigned wanted) { return (word & wanted) == wanted; };
    VectorUnits units;
    unsigned a = 0, b = 0, c = 0, d = 0, saved = 0, high = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, bit_OSXSAVE | bit_FMA | bit_F16C)) return units;
    asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return units;
    units.avx2 = all(saved, 0x06) && all(b, bit_AVX2);
    units.avx512 = units.avx2 && all(saved, 0xe6) && all(b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
    return units;
  }();
  return found;
}
#endif

const InstructionSet kInstructionSets[] = {
#if defined(ONELAYER_HAS_avx512)
    {"avx512", [] { return vector_units().avx512; }, &avx512::float_kernels, &avx512::double_kernels, &avx512::column_kernels},
#endif
#if defined(ONELAYER_HAS_avx2)
    {"avx2", [] { return vector_units().avx2; }, &avx2::float_kernels, &avx2::double_kernels, &avx2::column_kernels},
#endif
#if defined(ONELAYER_HAS_neon)
    {"neon", [] { return true; }, &neon::float_kernels, &neon::double_kernels, &neon::column_kernels},
#endif
    {"portable", [] { return true; }, &portable::float_kernels, &portable::double_kernels, &portable::column_kernels},
};

const InstructionSet& selected() {
  static const InstructionSet& selected = []() -> const InstructionSet& {
    const char* wanted = std::getenv("ONELAYER_ISA");
    for (const InstructionSet& set : kInstructionSets)
      if (set.supported() && (!wanted || !*wanted || std::string(wanted) == set.name)) return set;
    throw std::invalid_argument("ONELAYER_ISA: expected an instruction set of this machine, got " +
                                std::string(wanted));
  }();
  return selected;
}

int affinity_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

// The first bytes of a file of the system's, or "" where it cannot be read. No stream of C++: beside a library that
// brought another libstdc++ into the process, as wheels of PyTorch do, opening one has crashed.
std::string text_of(const std::string& path) {
  std::string text(4096, '\0');
  std::FILE* file = std::fopen(path.c_str(), "re");
  text.resize(file ? std::fread(text.data(), 1, text.size(), file) : 0);
  if (file) std::fclose(file);
  return text;
}

// Cores granted by one control group's folder (v2 cpu.max, v1 cpu.cfs_quota_us), or 0 where it sets no limit.
double quota_of(const std::string& folder) {
  double quota = 0, period = 0;
  if (const std::string v2 = text_of(folder + "/cpu.max"); !v2.empty())
    std::sscanf(v2.c_str(), "%lf %lf", &quota, &period);  // "max" is no number, and no limit
  else {
    quota = std::atof(text_of(folder + "/cpu.cfs_quota_us").c_str());
    period = std::atof(text_of(folder + "/cpu.cfs_period_us").c_str());
  }
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The path of this process's group in `line` of /proc/self/cgroup, or "" if that group does not control the CPU.
std::string group_of(const std::string& line) {
  const auto first = line.find(':'), second = line.find(':', first + 1);
  if (second == std::string::npos) return "";
  const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
  return controllers == ",," || controllers.find(",cpu,") != std::string::npos ? line.substr(second + 1) : "";
}

// The lowest limit of this process's groups and their ancestors, or 0.
double cgroup_cores() {
  double least = 0;
  const std::string groups = text_of("/proc/self/cgroup");
  for (std::size_t begin = 0, end; (end = groups.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string path = group_of(groups.substr(begin, end - begin));
    if (path.empty()) continue;
    for (const std::string root : {"/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"})
      for (std::string at = path;; at.resize(at.rfind('/'))) {
        const double cores = quota_of(root + (at == "/" ? "" : at));
        if (cores > 0 && (least == 0 || cores < least)) least = cores;
        if (at.rfind('/') == std::string::npos || at.empty()) break;
      }
  }
  return least;
}

// Bytes of a data cache of this level, or 0 where the system does not tell.
Index cache_bytes([[maybe_unused]] int level) {
#if defined(__linux__)
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  if (const long bytes = sysconf(level == 1 ? _SC_LEVEL1_DCACHE_SIZE : _SC_LEVEL2_CACHE_SIZE); bytes > 0) return bytes;
#endif
  for (int i = 0; i < 4; ++i) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i);
    if (std::atoi(text_of(folder + "/level").c_str()) != level || text_of(folder + "/type") == "Instruction\n") continue;
    const std::string text = text_of(folder + "/size");
    char* unit = nullptr;
    if (const Index size = std::strtol(text.c_str(), &unit, 10); size > 0)
      return *unit == 'M' ? size << 20 : *unit == 'K' ? size << 10 : size;
  }
#elif defined(__APPLE__)
  std::int64_t bytes = 0;
  std::size_t size = sizeof bytes;
  if (sysctlbyname(level == 1 ? "hw.l1dcachesize" : "hw.l2cachesize", &bytes, &size, nullptr, 0) == 0) return bytes;
#endif
  return 0;
}

}  // namespace

// Of a size that is none, or that several cores share, the common one or the largest that a core has for itself.
const Caches& machine_caches() {
  static const Caches caches = [] {
    const Index first = cache_bytes(1), second = cache_bytes(2);
    return Caches{first > 0 ? std::clamp<Index>(first, 16 << 10, 128 << 10) : 32 << 10,
                  second > 0 ? std::clamp<Index>(second, 256 << 10, 2 << 20) : 512 << 10};
  }();
  return caches;
}

std::vector<std::string> supported_instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : kInstructionSets)
    if (set.supported()) names.emplace_back(set.name);
  return names;
}

std::string instruction_set() { return selected().name; }

template <> const Kernels<float>& kernels<float>() { return *selected().float_kernels; }
template <> const Kernels<double>& kernels<double>() { return *selected().double_kernels; }

const ColumnKernels& column_kernels() { return *selected().column_kernels; }

int default_threads() {
  if (const char* wanted = std::getenv("ONELAYER_THREADS"); wanted && *wanted) {
    char* end = nullptr;
    const long threads = std::strtol(wanted, &end, 10);
    if (*end || threads < 1 || threads > 4096)
      throw std::invalid_argument("ONELAYER_THREADS: expected a whole number from 1 to 4096, got " +
                                  std::string(wanted));
    return static_cast<int>(threads);
  }
  const double quota = cgroup_cores();
  const int cores = affinity_cores();
  return std::max(1, quota > 0 ? std::min(cores, static_cast<int>(std::ceil(quota))) : cores);
}

}  // namespace onelayer
