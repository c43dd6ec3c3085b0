// Arrays from Python, checked once: every failure is one sentence with the argument, what was expected, what came.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <optional>
#include <string>

#include "passes.hpp"

namespace nb = nanobind;

namespace onelayer {

using ReadArray = nb::ndarray<nb::ro, nb::device::cpu>;
using WriteArray = nb::ndarray<nb::device::cpu>;

struct Problem {
  Shape shape;
  Rows rows;
};

Problem check_problem(const ReadArray& X, const ReadArray& y, const std::optional<ReadArray>& order,
                      const ReadArray& W, const ReadArray& b, const ReadArray& scale, const ReadArray& offset,
                      int threads,
                      const std::optional<ReadArray>& weights = std::nullopt);

// The same for weights of rows, factors (R, N, K), in place of labels and of W and b.
Problem check_weighted(const ReadArray& X, const ReadArray& factors, const std::optional<ReadArray>& order,
                       const ReadArray& scale, const ReadArray& offset, int threads);

// A contiguous float64 vector of a given length.
void check_vector(const ReadArray& array, const char* name, const char* letter, Index length);

inline const double* doubles(const ReadArray& array) { return static_cast<const double*>(array.data()); }

// Calls work with a value of W's element type.
template <class Work>
auto with_arithmetic(const ReadArray& W, const Work& work) {
  return W.dtype() == nb::dtype<float>() ? work(float{}) : work(double{});
}

bool on_main_thread();

// Runs work without the GIL. On Python's main thread signals are looked at, and a handler's exception is raised.
template <class Request, class Work>
auto interruptible(Request& request, const Work& work) {
  bool raised = false;
  if (on_main_thread())
    request.should_stop = [&raised] {
      nb::gil_scoped_acquire acquire;
      raised = raised || PyErr_CheckSignals() != 0;
      return raised;
    };
  const auto result = [&] {
    nb::gil_scoped_release release;
    return work();
  }();
  if (raised) throw nb::python_error();
  return result;
}

// A zeroed array that NumPy will own.
template <class T>
class Output {
 public:
  explicit Output(std::initializer_list<Index> shape) : dimensions_(shape.size()) {
    std::size_t count = 1, i = 0;
    for (Index n : shape) count *= shape_[i++] = static_cast<std::size_t>(n);
    memory_.reset(new T[count]());
  }
  T* data() { return memory_.get(); }
  nb::object array() {
    T* memory = memory_.release();
    nb::capsule owner(memory, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return nb::cast(nb::ndarray<nb::numpy, T>(memory, dimensions_, shape_, owner));
  }

 private:
  std::size_t dimensions_, shape_[3] = {};
  std::unique_ptr<T[]> memory_;
};

}  // namespace onelayer
