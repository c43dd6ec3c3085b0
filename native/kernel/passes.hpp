// The passes over rows, for callers: train, gradient, evaluate (or score), weighted sums.
#pragma once

#include <functional>

#include "jobs.hpp"

namespace onelayer {

// Asked on the calling thread now and then; true ends a pass after the current step.
using ShouldStop = std::function<bool()>;

// What every pass needs.
struct Pass {
  Shape shape;
  Rows rows;
  int threads = 1;
  ShouldStop should_stop;
};

// The loss of each run.
struct LossKinds {
  const bool* sigmoid = nullptr;      // (R,), or null
  const double* smoothing = nullptr;  // (R,), or null
  LossKind of(Index r) const { return {sigmoid && sigmoid[r], smoothing ? smoothing[r] : 0.0}; }
};

// The optimizer settings of each run, for the equations of optimizer.hpp, in a pass of T batches.
struct Method {
  const double* learning_rate = nullptr;  // (T, R)
  const double* l2 = nullptr;             // (R,)
  const double* momentum = nullptr;       // (R,), or null
  const bool* nesterov = nullptr;         // (R,), or null
  const double* averaging = nullptr;      // (T, R), or null: averages are not touched
  LossKinds loss_kinds;
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
  Parameters<T> velocity;  // where a run has momentum
  Parameters<T> average;   // where a run averages
};

template <class T>
struct GradientRequest : Pass {
  Parameters<const T> weights;
  double* loss = nullptr;        // (R,)
  double* gradient_W = nullptr;  // (R, K, D)
  double* gradient_b = nullptr;  // (R, K)
};

template <class T>
struct EvaluateRequest : Pass {
  Parameters<const T> weights;
  LossKinds loss_kinds;
  double* loss = nullptr;               // (R,)
  Index* correct = nullptr;             // (R,)
  std::int32_t* predictions = nullptr;  // (R, N), or null
  T* scores = nullptr;                  // (R, N, K), or null
};

template <class T>
struct WeightedSumsRequest : Pass {
  const T* factors = nullptr;  // (R, N, K)
  double* sums = nullptr;      // (R, K, D), zeroed
};

// Each returns how many batches, or whether all rows, were done: all of them unless should_stop returned true.
template <class T> Index train_epoch(const Kernels<T>& kernels, const TrainRequest<T>& request);
template <class T> Index full_gradient(const Kernels<T>& kernels, const GradientRequest<T>& request);
template <class T> bool evaluate(const Kernels<T>& kernels, const EvaluateRequest<T>& request);
template <class T> bool weighted_sums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request);

}  // namespace onelayer
