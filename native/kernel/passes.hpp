// The passes over rows, for callers: train, gradient, evaluate (or score), weighted sums, class sums.
#pragma once

#include <functional>
#include <vector>

#include "dispatch.hpp"

namespace onelayer {

// Asked on the calling thread now and then; true ends a pass after the current step.
using ShouldStop = std::function<bool()>;

// What every pass needs.
struct Pass {
  Shape shape;
  Rows rows;
  int threads = 1;
  ShouldStop should_stop;
  Caches caches = machine_caches();
};

// W (R, K, D) and b (R, K), or neither.
template <class T>
struct Parameters {
  T* W = nullptr;
  T* b = nullptr;
};

template <class T>
struct TrainRequest : Pass {
  Index batch_size = 0;
  Method method;
  Parameters<T> weights;
  Parameters<T> slots[kSlots];  // those that the method uses
};

template <class T>
struct GradientRequest : Pass {
  Parameters<const T> weights;
  double* loss = nullptr;        // (R,)
  double* gradient_W = nullptr;  // (R, K, D)
  double* gradient_b = nullptr;  // (R, K)
  // (R,): mean of m^2 sum_k (p_k - y_k)^2, where m is how many of the sums in T that make up gradient_W a row is in.
  double* rounded = nullptr;
};

template <class T>
struct EvaluateRequest : Pass {
  Parameters<const T> weights;
  Method method;                 // for its losses
  EvaluateSums* sums = nullptr;  // (R,)
  RowFigures figures;            // each (R, N), or null
  T* scores = nullptr;           // (R, N, K), or null
};

template <class T>
struct WeightedSumsRequest : Pass {
  const T* factors = nullptr;  // (R, N, K)
  double* sums = nullptr;      // (R, K, D), zeroed
};

struct ClassSumsRequest : Pass {
  double* sums = nullptr;     // (K, D), zeroed
  double* squares = nullptr;  // (D,), zeroed
};

// What is known of sparse rows without a model: the least and the largest value of each feature, 0 where a row stores
// none, (D,), zeroed, in the type of the values.
template <class S> void sparse_ranges(const Pass& pass, S* low, S* high);

// 64 bits of the values of each row.
void fingerprints(const Kernels<float>& kernels, const Pass& pass, std::uint64_t* found);

// Each returns how many batches, or whether all rows, were done: all of them unless should_stop returned true.
template <class T> Index train_epoch(const Kernels<T>& kernels, const TrainRequest<T>& request);
template <class T> Index full_gradient(const Kernels<T>& kernels, const GradientRequest<T>& request);
template <class T> bool evaluate(const Kernels<T>& kernels, const EvaluateRequest<T>& request);
template <class T> bool weighted_sums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request);
// Of stored values, which T holds exactly.
template <class T> bool class_sums(const Kernels<T>& kernels, const ClassSumsRequest& request);

}  // namespace onelayer
