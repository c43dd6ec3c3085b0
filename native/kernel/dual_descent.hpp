// Coordinate ascent in the dual of the cost, row by row: the start of the solver for wide sparse rows.
//
// The optimum is W = -1/(2 l2) sum_i f_i r_i x_i', with r = p - onehot(y) of the row's own probabilities and f its
// fraction of the weight. A step takes one row's r there while the others stay: what moves is the weights of the
// features that the row stores, and so a sweep costs less than a pass, however many weights there are (Yu, Huang & Lin
// 2011, Dual coordinate descent methods for logistic regression and maximum entropy models).
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "jobs.hpp"

namespace onelayer {

// Rows are x less their mean m, unless `along` is null; then W = V - shift m', and only V and `shift` are kept.
struct DualDescent {
  StoredMatrix x;
  Labels y;
  Index N, K;
  double l2;
  double mean_square;       // m'm
  const double* scale;      // (D,)
  const double* fractions;  // (N,)
  const double* along;      // (N,), m'x
  const double* b;          // (K,)
  double* V;                // (D, K)
  double* r;                // (N, K)
  double* shift;            // (K,)
  double* at_mean;          // (K,), V m
  // Sums over the rows as they were met: what b bends their r by, (K, K), the loss, and what r was off by, in nats:
  // nearly the gap between the cost and its dual.
  double* bent;
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

template <class S>
void dual_sweep(DualDescent& a, const S* values) {
  const Index N = a.N, K = a.K;
  std::vector<double> memory(static_cast<std::size_t>(5 * K));
  double *const scores = memory.data(), *const p = scores + K, *const q = p + K, *const step = q + K, *const u = step + K;
  // Steps of a part of the golden section through the rows: neighbours are far apart, and all are met.
  Index hop = max(1, static_cast<Index>(0.6180339887498949 * static_cast<double>(N)));
  while (std::gcd(hop, N) != 1) ++hop;
  for (Index i = 0, n = 0; i < N; ++i, n = (n + hop) % N) {
    const Index row = a.x.row(n), begin = a.x.indptr[row], end = a.x.indptr[row + 1];
    const Index following = a.x.row((n + hop) % N);
    for (Index j = a.x.indptr[following]; j < a.x.indptr[following + 1]; ++j)
      __builtin_prefetch(a.V + a.x.feature(j) * K, 1, 3);
    const double f = a.fractions[n], along = a.along ? a.along[n] : 0;
    double square = a.mean_square - 2 * along;  // ||x - m||^2
    std::copy_n(a.b, K, scores);
    for (Index j = begin; j < end; ++j) {
      const Index d = a.x.feature(j);
      const double value = static_cast<double>(values[j]) * a.scale[d];
      const double* const w = a.V + d * K;
      square += value * value;
      for (Index k = 0; k < K; ++k) scores[k] += value * w[k];
    }
    for (Index k = 0; a.along && k < K; ++k) scores[k] -= a.shift[k] * (along - a.mean_square) + a.at_mean[k];
    const double c = 0.5 * f * square / a.l2;
    const Index label = a.y.at(row);
    double* const r = a.r + n * K;
    std::copy_n(scores, K, p);
    a.loss += f * (softmax(p, K) - scores[label]);
    for (Index k = 0; k < K; ++k) {
      q[k] = r[k] + (k == label);
      a.off += f * (p[k] - q[k]) * (p[k] - q[k]) / (p[k] + std::fmax(q[k], 1e-9));
    }
    // Newton's method for q + step = softmax(scores - c step), whose Jacobian I + c (diag p - p p') is of rank one
    // beside its diagonal.
    std::fill_n(step, K, 0.0);
    for (int turn = 0;; ++turn) {
      double top = 0, bottom = 1;
      for (Index k = 0; k < K; ++k) {
        u[k] = (p[k] - q[k] - step[k]) / (1 + c * p[k]);
        top += p[k] * u[k];
        bottom -= c * p[k] * p[k] / (1 + c * p[k]);
      }
      for (Index k = 0; k < K; ++k) step[k] += u[k] + c * p[k] / (1 + c * p[k]) * top / bottom;
      if (turn == 1) {
        for (Index k = 0; k < K; ++k) u[k] = p[k] / (1 + c * p[k]);
        for (Index k = 0; k < K; ++k)
          for (Index l = 0; l < K; ++l) a.bent[k * K + l] += f * u[k] * ((k == l) - u[l] / bottom);
        break;
      }
      for (Index k = 0; k < K; ++k) p[k] = scores[k] - c * step[k];
      softmax(p, K);
    }
    for (Index k = 0; k < K; ++k) {
      r[k] += step[k];
      u[k] = -0.5 * f * step[k] / a.l2;
      if (!a.along) continue;
      a.shift[k] += u[k];
      a.at_mean[k] += u[k] * along;
    }
    for (Index j = begin; j < end; ++j) {
      const Index d = a.x.feature(j);
      const double value = static_cast<double>(values[j]) * a.scale[d];
      double* const w = a.V + d * K;
      for (Index k = 0; k < K; ++k) w[k] += value * u[k];
    }
  }
}

}  // namespace onelayer
