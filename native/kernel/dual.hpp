// What the sweeps of dual_sweep.hpp and the ascent of dual_ascent.hpp share.
#pragma once

#include <algorithm>
#include <cmath>

#include "jobs.hpp"

namespace onelayer {

// Rows are x less their mean m, unless `along` is null; then W = V - shift m', and only V and `shift` are kept.
// Of two classes V has W_1 alone, for W_0 = -W_1. T rounds V and r, which stay equal to each other's.
template <class T>
struct DualSweepJob {
  StoredMatrix x;
  Labels y;
  Index N = 0, K = 0, stride = 0;
  double l2 = 0;
  double mean_square = 0;             // m'm
  const double* scale = nullptr;      // (D,), or null
  const double* fractions = nullptr;  // (N,)
  const double* squares = nullptr;    // (N,), ||x - m||^2
  const double* along = nullptr;      // (N,), m'x, or null
  const double* own_squares = nullptr;  // (N,), of what a row has where no other has, which is not in x, or null
  const double* b = nullptr;          // (K,)
  T* V = nullptr;                     // [feature][class], padded to the stride
  T* r = nullptr;                     // (N, K)
  double* shift = nullptr;            // (K,)
  double* at_mean = nullptr;          // (K,), V m
  // Sums over the rows as they were met: what b bends their r by, (K, K), the loss, and what r was off by, in nats:
  // nearly the gap between the cost and its dual.
  double* bent = nullptr;
  double loss = 0, off = 0;
};

// Replaces s by its softmax; returns log 1' exp s.
inline double softmax(double* s, Index K) {
  const double top = *std::max_element(s, s + K);
  double total = 0;
  for (Index k = 0; k < K; ++k) total += s[k] = std::exp(s[k] - top);
  for (Index k = 0; k < K; ++k) s[k] /= total;
  return top + std::log(total);
}

// Scores of two classes from that of the second one.
inline void mirror(double* scores) {
  scores[1] = scores[0];
  scores[0] = -scores[1];
}

}  // namespace onelayer
