// Arrays from Python, checked once. Every error is one sentence: the argument, what was expected, what was given.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "kernel/coordinate_descent.hpp"
#include "kernel/dual_ascent.hpp"
#include "kernel/pair_search.hpp"
#include "kernel/passes.hpp"
#include "kernel/points.hpp"

namespace nb = nanobind;

namespace onelayer {

using ReadArray = nb::ndarray<nb::ro, nb::device::cpu>;
using WriteArray = nb::ndarray<nb::device::cpu>;
// X: rows (N, D), or stored values, their features, where rows begin (N + 1,), and D of sparse rows.
using SparseArrays = std::tuple<ReadArray, ReadArray, ReadArray, Index>;
using RowArrays = std::variant<ReadArray, SparseArrays>;
using OptionalArray = std::optional<ReadArray>;
// By the names of kSettingRules, and of kSlotRules with W and b.
using SettingArrays = std::map<std::string, ReadArray>;
using SlotArrays = std::map<std::string, std::pair<WriteArray, WriteArray>>;

// `order` replaces the N stored rows by those it lists.
Pass check_pass(const RowArrays& X, const ReadArray& y, const OptionalArray& order, const ReadArray& W,
                const ReadArray& b, const ReadArray& scale, const ReadArray& offset, int threads,
                const OptionalArray& weights = std::nullopt);

// The same for stored rows of so many classes, without scales, W and b.
Pass check_classes(const RowArrays& X, const ReadArray& y, Index classes, const OptionalArray& order, int threads,
                   const OptionalArray& weights);

// Stored rows in order, without labels; or sparse rows.
Pass check_stored_rows(const RowArrays& X, int threads);
Pass check_sparse_rows(const RowArrays& X, int threads);

// The same with factors (R, N, K) instead of labels, W and b.
Pass check_sums(const RowArrays& X, const ReadArray& factors, const OptionalArray& order, const ReadArray& scale,
                const ReadArray& offset, int threads);

// Vectors (m, n) and one (n,) of one type.
void check_vectors(const ReadArray& rows, const ReadArray& x);

// A point (K, D + 1) and booleans (K,).
PointRequest check_point(const ReadArray& at, const ReadArray& present, int threads);

Quadratic check_quadratic(const ReadArray& H, const ReadArray& penalty, const WriteArray& w, const WriteArray& g);

// Columns of sparse rows, and arrays that go with features of them.
using AnyColumns = std::variant<Columns<float>, Columns<double>>;
AnyColumns columns_of(const SparseArrays& X, const OptionalArray& order, const ReadArray& scale,
                      const ReadArray& offset, int threads);
// A tile of stored rows, in order, of which columns are read.
StoredMatrix check_tile(const ReadArray& X, const OptionalArray& order, bool wide, Index D, Index& count);
const Index* check_features(const ReadArray& features, Index D);
// Features whose columns are held by X, which says so.
template <class X>
const Index* check_held(const ReadArray& features, const X& columns, Index D) {
  const Index* const of = check_features(features, D);
  for (std::size_t i = 0; i < features.shape(0); ++i)
    if (!columns.holds(of[i])) throw nb::value_error("features: not held; hold them first.");
  return of;
}
// Dimension `axis` of an array of two.
Index dimension(const ReadArray& array, const char* name, const char* letters, std::size_t axis);
const double* check_doubles(const ReadArray& array, const char* name, const std::vector<Index>& shape);

// Sparse rows in order with their labels and fractions (N,) of the weight, for sweeps in the dual; without offsets.
Pass check_dual(const SparseArrays& X, const ReadArray& y, Index classes, const OptionalArray& order,
                const OptionalArray& scale, const ReadArray& fractions, int threads);

// Rows, weights and penalty of newton.hpp.
NewtonJob check_newton(const ReadArray& X, const ReadArray& y, const ReadArray& fractions,
                       const OptionalArray& offsets, const ReadArray& curvatures, const WriteArray& at);

// Of runs that are evaluated, or trained for T steps.
Method check_settings(const SettingArrays& settings, Index R, Index T = 0);
Method check_training(const SettingArrays& settings, const Shape& shape, Index batch_size);

void check_flips(Pass& pass, const OptionalArray& flipped, Index image_width);

// Each is of the shape and type of the weights, and those that the method uses are given.
void check_slots(const SlotArrays& slots, const Method& method, const ReadArray& W);

inline const double* doubles(const ReadArray& array) { return static_cast<const double*>(array.data()); }

template <class T>
Parameters<const T> parameters(const ReadArray& W, const ReadArray& b) {
  return {static_cast<const T*>(W.data()), static_cast<const T*>(b.data())};
}
template <class T>
Parameters<T> parameters(const WriteArray& W, const WriteArray& b) {
  return {static_cast<T*>(W.data()), static_cast<T*>(b.data())};
}

// Calls work with a value of W's element type.
template <class Work>
auto with_dtype(const ReadArray& W, const Work& work) {
  return W.dtype() == nb::dtype<float>() ? work(float{}) : work(double{});
}

bool on_main_thread();

// Runs work without the GIL. On Python's main thread it checks for signals and raises a handler's exception.
template <class Work>
auto interruptible(Pass& pass, const Work& work) {
  bool raised = false;
  if (on_main_thread())
    pass.should_stop = [&raised] {
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
    memory_.reset(static_cast<T*>(std::calloc(count, sizeof(T))));  // pages are made where they are first written
    if (!memory_) throw std::bad_alloc();
    ask_for_huge_pages(memory_.get(), count * sizeof(T));
  }
  T* data() { return memory_.get(); }
  nb::object array() {
    T* memory = memory_.release();
    nb::capsule owner(memory, [](void* p) noexcept { std::free(p); });
    return nb::cast(nb::ndarray<nb::numpy, T>(memory, dimensions_, shape_, owner));
  }

 private:
  std::size_t dimensions_, shape_[3] = {};
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T[], Free> memory_;
};

}  // namespace onelayer
