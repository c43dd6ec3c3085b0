// The passes over rows, for callers: train, gradient, evaluate (or score), weighted sums.
#pragma once

#include <functional>

#include "jobs.hpp"

namespace onelayer {

// Rows and their labels, already checked: labels lie in 0..K-1, order in 0..(stored rows)-1.
struct Rows {
  RowSource x;
  Labels y;
  const double* scale = nullptr;   // (D,)
  const double* offset = nullptr;  // (D,)
  const double* weights = nullptr;  // (stored rows,): what each row's factors and loss are times; or none
};

// What each run lowers.
struct Objectives {
  const bool* sigmoid = nullptr;      // (R,), or none
  const double* smoothing = nullptr;  // (R,), or none
  Objective of(Index r) const { return {sigmoid && sigmoid[r], smoothing ? smoothing[r] : 0.0}; }
};

// How each run descends: by the equations of step.hpp, at these rates.
struct Method {
  const double* learning_rate = nullptr;  // (T, R): of each batch
  const double* l2 = nullptr;             // (R,)
  const double* momentum = nullptr;       // (R,), or none
  const bool* nesterov = nullptr;         // (R,), or none
  const double* averaging = nullptr;      // (T, R), or none: averages are left alone
  Objectives objectives;
};

// Of all runs: W (R, K, D) and b (R, K), or neither.
template <class T>
struct Parameters {
  T* W = nullptr;
  T* b = nullptr;
};

// Asked on the calling thread now and then; true stops a pass after the step in hand.
using ShouldStop = std::function<bool()>;

template <class T>
struct TrainRequest {
  Shape shape;
  Rows rows;
  Index batch_size = 0;
  Method method;
  Parameters<T> weights;
  Parameters<T> velocity;  // where a run has momentum
  Parameters<T> average;   // where a run averages
  int threads = 1;
  ShouldStop should_stop;
};

template <class T>
struct GradientRequest {
  Shape shape;
  Rows rows;
  const T* W = nullptr;
  const T* b = nullptr;
  double* loss = nullptr;        // (R,)
  double* gradient_W = nullptr;  // (R, K, D)
  double* gradient_b = nullptr;  // (R, K)
  int threads = 1;
  ShouldStop should_stop;
};

template <class T>
struct EvaluateRequest {
  Shape shape;
  Rows rows;
  const T* W = nullptr;
  const T* b = nullptr;
  Objectives objectives;
  double* loss = nullptr;                // (R,)
  Index* correct = nullptr;              // (R,)
  std::int32_t* predictions = nullptr;   // (R, N), or none
  T* scores = nullptr;                   // (R, N, K), or none
  int threads = 1;
  ShouldStop should_stop;
};

template <class T>
struct WeightedSumsRequest {
  Shape shape;
  Rows rows;
  const T* factors = nullptr;  // (R, N, K)
  double* sums = nullptr;      // (R, K, D), zeroed
  int threads = 1;
  ShouldStop should_stop;
};

// Each returns how many batches were done, or whether all of it was: unless it was told to stop, it was.
template <class T> Index train_epoch(const Kernels<T>& kernels, const TrainRequest<T>& request);
template <class T> Index full_gradient(const Kernels<T>& kernels, const GradientRequest<T>& request);
template <class T> bool evaluate(const Kernels<T>& kernels, const EvaluateRequest<T>& request);
template <class T> bool weighted_sums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request);

}  // namespace onelayer
