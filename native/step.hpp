// One step of a column's weights w after a batch, from its summed gradient G; g is the mean one, with the l2 term:
//
//   plain      w <- fma(-eta / B, G, w * (1 - 2 eta l2))
//   momentum   g = fma(2 l2, w, G / B),   v <- fma(mu, v, g),   w <- fma(-eta, v, w)
//   Nesterov's the same, but           w <- fma(-eta, fma(mu, v, g), w)
//   average    a <- fma(alpha, w - a, a)
//
// A plain column takes the plain step beside any other, so its bits do not depend on its neighbours.
#pragma once

#include "jobs.hpp"
#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

// What a step reads and writes, from one column and one feature on.
template <class T>
struct Stepped {
  const ColumnStep<T>* steps;
  T* w;
  T* velocity;  // or none
  T* average;   // or none
  ONELAYER_INLINE Stepped at(Index column, Index stride, Index feature) const {
    const Index i = column * stride + feature;
    return {steps + column, w + i, velocity ? velocity + i : nullptr, average ? average + i : nullptr};
  }
};

template <class T>
struct PlainStep {
  Vec<T> rate, shrink;
  ONELAYER_INLINE PlainStep(const ColumnStep<T>& step, T factor)
      : rate(splat<T>(-step.rate * factor)), shrink(splat<T>(step.shrink)) {}
  ONELAYER_INLINE Vec<T> operator()(Vec<T> G, Vec<T> w) const { return fma(rate, G, w * shrink); }
};

template <class T>
ONELAYER_INLINE Vec<T> step_by_velocity(const ColumnStep<T>& step, T factor, Vec<T> G, Vec<T> w, T* velocity) {
  const Vec<T> momentum = splat<T>(step.momentum), eta = splat<T>(-step.eta);
  const Vec<T> g = fma(splat<T>(step.decay), w, G * splat<T>(step.mean * factor));
  const Vec<T> v = fma(momentum, load<T>(velocity), g);
  store<T>(velocity, v);
  return fma(eta, step.nesterov ? fma(momentum, v, g) : v, w);
}

template <class T>
ONELAYER_INLINE void step_vector(const Stepped<T>& at, T factor, Vec<T> G) {
  const ColumnStep<T>& step = *at.steps;
  const Vec<T> before = load<T>(at.w);
  const Vec<T> w = step.momentum > 0 ? step_by_velocity<T>(step, factor, G, before, at.velocity)
                                     : PlainStep<T>(step, factor)(G, before);
  store<T>(at.w, w);
  if (step.share == 1) return;
  const Vec<T> a = step.averaged_before ? load<T>(at.average) : before;
  store<T>(at.average, fma(splat<T>(step.share), w - a, a));
}

// Two vectors of each column, whose gradients lie one behind the other.
template <class T>
[[gnu::noinline]] void step_with_history(const Stepped<T>& first, Index columns, Index stride, T factor, const T* G) {
  for (Index c = 0; c < columns; ++c)
    for (Index d = 0; d < 2 * kLanes<T>; d += kLanes<T>, G += kLanes<T>)
      step_vector<T>(first.at(c, stride, d), factor, load<T>(G));
}

}  // namespace onelayer::ONELAYER_KERNELS
