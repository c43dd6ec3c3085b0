// One step of a column after a batch, from the sum G of its gradient over B rows; g is the mean, with the l2 term:
//
//   plain      w <- fma(-eta / B, G, w * (1 - 2 eta l2))
//   momentum   g = fma(2 l2, w, G / B),   v <- fma(mu, v, g),   w <- fma(-eta, v, w)
//   Nesterov   the same, but              w <- fma(-eta, fma(mu, v, g), w)
//   l1         c = w clipped to -t .. t,   w <- w - c,   with momentum v <- v + c / e
//   grouped    the same, but        c = w min(1, t / norm),   norm = sqrt(sum of w^2 over the classes) in float64
//   average    a <- fma(alpha, w - a, a)
//
// Here e is what w moves by for a unit of g, eta, or eta (1 + mu) of Nesterov's, and t = e l1: c / e is a subgradient of
// the penalty at the new w, and the step is the one for g + c / e. Squares are added in the order of the classes. A norm
// needs the weights of all classes, which may be stepped by several threads: step_groups follows when they are done, and
// has the average of grouped columns as well.
//
// A bias steps likewise, without penalties and without fused products. A plain column takes the plain step beside any
// other, so its bits do not depend on its neighbours.
//
// The passes compute the coefficients and step the biases; the kernels step the weights, which is why this file is
// compiled in two halves.
#pragma once

#include "jobs.hpp"

namespace onelayer {

// The coefficients of one column's step.
template <class T>
struct ColumnStep {
  T eta_over_B = 0, shrink = 1;  // eta / B, 1 - 2 eta l2: all that a plain step needs
  T eta = 0, one_over_B = 0;
  T weight_decay = 0;            // 2 l2
  T momentum = 0;                // mu; 0 is a plain step
  T threshold = 0;               // t; 0 where there is no l1
  bool grouped = false;          // whether t is of the norm over the classes
  T one_over_length = 0;         // 1 / e
  bool nesterov = false;
  bool no_intercept = false;     // the gradient of the bias is taken for 0
  T averaging = 1;               // alpha; 1 leaves the average unwritten
  bool has_average = true;       // else the average is the weights before this step
  ONELAYER_INLINE bool clips() const { return threshold > 0 && !grouped; }
};

}  // namespace onelayer

#if defined(ONELAYER_KERNELS)
#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

// The arrays of a step, from one column and one feature on.
template <class T>
struct StepArrays {
  const ColumnStep<T>* steps;
  T* w;
  const SlotPointers<T>* slots;
  Index place;  // in the slots
  ONELAYER_INLINE StepArrays at(Index column, Index stride, Index feature) const {
    const Index i = weight_index<T>(column, stride, feature);
    return {steps + column, w + i, slots, place + i};
  }
  ONELAYER_INLINE T* slot(Slot slot) const { return (*slots)[slot] + place; }
};

template <class T>
struct PlainStep {
  Vec<T> rate, shrink;
  ONELAYER_INLINE PlainStep(const ColumnStep<T>& step, T common_scale)
      : rate(splat<T>(-step.eta_over_B * common_scale)), shrink(splat<T>(step.shrink)) {}
  // Of two columns that share vectors.
  ONELAYER_INLINE PlainStep(const PlainStep& a, const PlainStep& b)
      : rate(lower_halves(a.rate, b.rate, AllLanes<T>{})), shrink(lower_halves(a.shrink, b.shrink, AllLanes<T>{})) {}
  ONELAYER_INLINE Vec<T> operator()(Vec<T> G, Vec<T> w) const { return without_tiny(fma(rate, G, w * shrink)); }
};

// The new weights before their threshold.
template <class T>
ONELAYER_INLINE Vec<T> momentum_step(const ColumnStep<T>& step, T common_scale, Vec<T> G, Vec<T> w, T* velocity) {
  const Vec<T> momentum = splat<T>(step.momentum), eta = splat<T>(-step.eta);
  const Vec<T> g = fma(splat<T>(step.weight_decay), w, G * splat<T>(step.one_over_B * common_scale));
  Vec<T> v = without_tiny(fma(momentum, load_weights(velocity), g));
  w = without_tiny(fma(eta, step.nesterov ? fma(momentum, v, g) : v, w));
  if (step.clips())
    v = without_tiny(fma(clipped(w, splat<T>(step.threshold)), splat<T>(step.one_over_length), v));
  store_weights(velocity, v);
  return w;
}

template <class T>
ONELAYER_INLINE void step_vector(const StepArrays<T>& at, T common_scale, Vec<T> G) {
  const ColumnStep<T>& step = *at.steps;
  const Vec<T> before = load_weights(at.w);
  Vec<T> w = step.momentum > 0 ? momentum_step<T>(step, common_scale, G, before, at.slot(kVelocity))
                               : PlainStep<T>(step, common_scale)(G, before);
  if (step.clips()) w = without_tiny(w - clipped(w, splat<T>(step.threshold)));
  store_weights(at.w, w);
  if (step.averaging == 1) return;
  T* average = at.slot(kAverage);
  const Vec<T> a = step.has_average ? load_weights(average) : before;
  store_weights(average, step.grouped ? a : without_tiny(fma(splat<T>(step.averaging), w - a, a)));
}

// What is taken off each weight of a group, as a share of it.
template <class T>
ONELAYER_INLINE T group_share(double squares, T threshold) {
  const double norm = __builtin_sqrt(squares), t = static_cast<double>(threshold);
  return static_cast<T>(norm <= t ? 1.0 : t / norm);
}

// The step of l1 over the columns begin .. end of a grouped run, for one vector of features.
template <class T>
ONELAYER_INLINE void step_group(const StepArrays<T>& all, Index begin, Index end, Index stride, Index feature) {
  const ColumnStep<T>& step = all.steps[begin];
  WideVec<T> squares{};
  for (Index c = begin; c < end; ++c) {
    const WideVec<T> w = widen<T>(load_weights(all.at(c, stride, feature).w));
    squares += w * w;
  }
  Vec<T> share;
  for (int i = 0; i < kLanes<T>; ++i) share[i] = group_share(squares[i], step.threshold);
  for (Index c = begin; c < end; ++c) {
    const StepArrays<T> at = all.at(c, stride, feature);
    const Vec<T> before = load_weights(at.w), taken = before * share, w = without_tiny(before - taken);
    store_weights(at.w, w);
    if (step.momentum > 0) {
      T* velocity = at.slot(kVelocity);
      store_weights(velocity, without_tiny(fma(taken, splat<T>(step.one_over_length), load_weights(velocity))));
    }
    if (step.averaging == 1) continue;
    T* average = at.slot(kAverage);
    const Vec<T> a = load_weights(average);
    store_weights(average, without_tiny(fma(splat<T>(step.averaging), w - a, a)));
  }
}

template <class T>
void step_groups(const GroupJob<T>& job) {
  const StepArrays<T> arrays{job.steps, job.w, &job.slots, 0};
  for (Index c = 0; c < job.columns; c += job.K)
    for (Index d = job.begin; job.steps[c].grouped && d < job.end; d += kLanes<T>)
      step_group<T>(arrays, c, c + job.K, job.stride, d);
}

// Steps two vectors of each column. Their gradients are stored one behind the other.
template <class T>
[[gnu::noinline]] void step_columns(const StepArrays<T>& first, Index columns, Index stride, T common_scale,
                                    const T* G) {
  for (Index c = 0; c < columns; ++c)
    for (Index d = 0; d < 2 * kLanes<T>; d += kLanes<T>, G += kLanes<T>)
      step_vector<T>(first.at(c, stride, d), common_scale, load<T>(G));
}

}  // namespace onelayer::ONELAYER_KERNELS
#else
#include <cmath>
#include <limits>
#include <vector>

#include "passes.hpp"

namespace onelayer {

// The steps of all columns: their runs' coefficients, computed in float64 and then rounded. Each thread computes those
// of its own columns.
template <class T>
class ColumnSteps {
 public:
  ColumnSteps(const Shape& shape, const Method& method)
      : shape_(shape), method_(method), steps_(static_cast<std::size_t>(shape.columns())) {}

  // Sets columns `from` to `to` for the step after batch t, which has B rows.
  void set(Index t, Index B, Index from, Index to) {
    plain_ = true;
    for (Index c = from; c < to;) {
      const Index run = c / shape_.K;
      const ColumnStep<T> step = step_of(run, t, B);
      plain_ = plain_ && step.momentum == 0 && step.threshold == 0 && step.averaging == 1;
      for (const Index end = min(to, (run + 1) * shape_.K); c < end; ++c) steps_[static_cast<std::size_t>(c)] = step;
    }
  }
  const ColumnStep<T>* data() const { return steps_.data(); }
  bool plain() const { return plain_; }  // whether none has momentum, l1 or an average to write

 private:
  ColumnStep<T> step_of(Index run, Index t, Index B) const {
    const double eta = method_.of(kLearningRate, t * shape_.R + run), l2 = method_.of(kL2, run);
    ColumnStep<T> step;
    step.eta_over_B = static_cast<T>(eta / static_cast<double>(B));
    step.shrink = static_cast<T>(1 - 2 * eta * l2);
    step.eta = static_cast<T>(eta);
    step.one_over_B = static_cast<T>(1 / static_cast<double>(B));
    step.weight_decay = static_cast<T>(2 * l2);
    step.momentum = static_cast<T>(method_.of(kMomentum, run));
    step.nesterov = method_.of(kNesterov, run) != 0;
    const double length = step.nesterov ? eta * (1 + method_.of(kMomentum, run)) : eta;
    step.threshold = static_cast<T>(length * method_.of(kL1, run));
    step.grouped = method_.groups(run);
    step.one_over_length = static_cast<T>(std::fmin(1 / length, std::numeric_limits<T>::max()));  // 0 * inf is no number
    step.no_intercept = method_.of(kNoIntercept, run) != 0;
    step.averaging = averaging(run, t);
    step.has_average = t == 0 || averaging(run, t - 1) != 1;
    return step;
  }
  T averaging(Index run, Index t) const {
    return method_.uses(kAverage) ? static_cast<T>(method_.of(kAveraging, t * shape_.R + run)) : T(1);
  }

  const Shape shape_;
  const Method method_;
  std::vector<ColumnStep<T>> steps_;
  bool plain_ = true;
};

// Steps one bias by the sum of its gradient over the batch.
template <class T>
void step_bias(const ColumnStep<T>& step, T sum, T& b, const SlotPointers<T>& slots) {
  const T before = b;
  if (step.no_intercept) sum = 0;
  if (step.momentum > 0) {
    const T g = sum * step.one_over_B;
    T& v = *slots[kVelocity];
    v = step.momentum * v + g;
    b -= step.eta * (step.nesterov ? g + step.momentum * v : v);
  } else {
    b -= step.eta_over_B * sum;
  }
  if (step.averaging == 1) return;
  T& a = *slots[kAverage];
  if (!step.has_average) a = before;
  a += step.averaging * (b - a);
}

}  // namespace onelayer
#endif
