// Arrays from Python, checked once: every failure is one sentence with the argument, what was expected, what came.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "passes.hpp"

namespace nb = nanobind;

namespace onelayer {

using ReadArray = nb::ndarray<nb::ro, nb::device::cpu>;
using WriteArray = nb::ndarray<nb::device::cpu>;
using Maybe = std::optional<ReadArray>;
using MaybePair = std::optional<std::pair<WriteArray, WriteArray>>;

struct Problem {
  Shape shape;
  Rows rows;
};

Problem check_problem(const ReadArray& X, const ReadArray& y, const Maybe& order, const ReadArray& W,
                      const ReadArray& b, const ReadArray& scale, const ReadArray& offset, int threads,
                      const Maybe& weights = std::nullopt);

// The same for weights of rows, factors (R, N, K), in place of labels and of W and b.
Problem check_weighted(const ReadArray& X, const ReadArray& factors, const Maybe& order,
                       const ReadArray& scale, const ReadArray& offset, int threads);

Objectives check_objectives(Index R, const Maybe& sigmoid, const Maybe& smoothing);

// The numbers of a pass in batches of `batch_size`.
struct MethodArrays {
  const ReadArray& learning_rate;
  const ReadArray& l2;
  const Maybe& momentum;
  const Maybe& nesterov;
  const Maybe& averaging;
};
Method check_method(const Shape& shape, Index batch_size, const MethodArrays& arrays);

// Which rows of a pass are read mirrored, and how long their lines are.
void check_flips(Problem& problem, const Maybe& flipped, Index image_width);

// W and b of a velocity or an average, shaped as W is, of its type; there must be some where they are needed.
void check_history(const MaybePair& given, const char* name, const char* where_needed, bool needed, const ReadArray& W);

inline const double* doubles(const ReadArray& array) { return static_cast<const double*>(array.data()); }

template <class T>
Parameters<T> parameters(const MaybePair& given) {
  if (!given) return {};
  return {static_cast<T*>(given->first.data()), static_cast<T*>(given->second.data())};
}

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
