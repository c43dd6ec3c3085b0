// Coordinate ascent in the dual of the cost, row by row: a sweep over wide sparse rows; dual_ascent.hpp makes several.
//
// The optimum is W = -1/(2 l2) sum_i f_i r_i x_i', with r = p - onehot(y) of the row's own probabilities and f its
// fraction of the weight. A step takes one row's r there while the others stay: what moves is the weights of the
// features that the row stores, and so a sweep costs what a pass does, however many weights there are (Yu, Huang & Lin
// 2011, Dual coordinate descent methods for logistic regression and maximum entropy models).
#pragma once

#include <numeric>
#include <vector>

#include "dual.hpp"
#include "sparse.hpp"

namespace onelayer::ONELAYER_KERNELS {

inline constexpr int kMostTurns = 8;  // of Newton's method that are shortened

// Steps of a part of the golden section through the rows: neighbours are far apart, and all are met.
inline Index dual_hop(Index N) {
  Index hop = max(1, static_cast<Index>(0.6180339887498949 * static_cast<double>(N)));
  while (std::gcd(hop, N) != 1) ++hop;
  return hop;
}

template <class T, class S>
void dual_sweep_of(DualSweepJob<T>& a) {
  const StoredMatrix& x = a.x;
  const S* const values = reinterpret_cast<const S*>(x.base);
  const Index N = a.N, K = a.K, width = max(K, a.stride);
  const bool mirrored = a.stride < K;
  std::vector<double> memory(static_cast<std::size_t>(5 * width));
  double *const scores = memory.data(), *const p = scores + width, *const q = p + width, *const step = q + width,
         *const u = step + width;
  const Index hop = dual_hop(N);
  for (Index i = 0, n = 0; i < N; ++i, n = (n + hop) % N) {
    const Index row = x.row(n), begin = x.indptr[row], end = x.indptr[row + 1];
    // The weights of the next row, and the stored values of the one after it.
    const Index next = (n + hop) % N, following = x.row(next), later = x.row((next + hop) % N);
    for (Index j = x.indptr[following]; j < x.indptr[following + 1]; ++j)
      for (Index c = 0; c < a.stride; c += kLineBytes / static_cast<Index>(sizeof(T)))
        __builtin_prefetch(a.V + x.feature(j) * a.stride + c, 1, 3);
    for (Index k = 0; k < K; k += kLineBytes / static_cast<Index>(sizeof(T))) __builtin_prefetch(a.r + next * K + k, 1, 3);
    for (const double* of_row : {a.fractions, a.squares, a.along})
      if (of_row) __builtin_prefetch(of_row + next);
    for (Index j = x.indptr[later]; j < x.indptr[later + 1]; j += kLineBytes / 8) {
      __builtin_prefetch(values + j);
      __builtin_prefetch(x.indices + j * x.index_words);
    }
    const double f = a.fractions[n], along = a.along ? a.along[n] : 0;
    for_columns(a.stride, [&]<int L, int M>(Index c) {
      typename Doubles<L>::Type sums[M] = {};
      add_weights<L>(sums, x, values, begin, end, 0, a.V + c, a.stride, a.scale);
      __builtin_memcpy(scores + c, sums, sizeof sums);
    });
    if (mirrored) mirror(scores);
    for (Index k = 0; k < K; ++k) {
      scores[k] += a.b[k];
      if (a.along) scores[k] -= a.shift[k] * (along - a.mean_square) + a.at_mean[k];
    }
    const double c = 0.5 * f * a.squares[n] / a.l2;
    const Index label = a.y.at(row);
    T* const r = a.r + n * K;
    std::copy_n(scores, K, p);
    a.loss += f * (softmax(p, K) - scores[label]);
    for (Index k = 0; k < K; ++k) {
      q[k] = static_cast<double>(r[k]) + (k == label);
      a.off += f * (p[k] - q[k]) * (p[k] - q[k]) / (p[k] + (q[k] > 1e-9 ? q[k] : 1e-9));
    }
    // Newton's method for q + step = softmax(scores - c step), whose Jacobian I + c (diag p - p p') is of rank one
    // beside its diagonal; where a step would move a score by more than 1 it is shortened, and another follows.
    std::fill_n(step, K, 0.0);
    for (int turn = 0, last = 1;; ++turn) {
      double top = 0, bottom = 1, longest = 0;
      for (Index k = 0; k < K; ++k) {
        u[k] = (p[k] - q[k] - step[k]) / (1 + c * p[k]);
        top += p[k] * u[k];
        bottom -= c * p[k] * p[k] / (1 + c * p[k]);
      }
      for (Index k = 0; k < K; ++k) {
        u[k] += c * p[k] / (1 + c * p[k]) * top / bottom;
        longest = u[k] > longest ? u[k] : -u[k] > longest ? -u[k] : longest;
      }
      const double kept = c * longest > 1 ? 1 / (c * longest) : 1;
      for (Index k = 0; k < K; ++k) step[k] += kept * u[k];
      if (kept < 1 && turn < kMostTurns) last = turn + 1;
      if (turn == last) {
        if (!a.along) break;
        for (Index k = 0; k < K; ++k) u[k] = p[k] / (1 + c * p[k]), p[k] = u[k] / bottom;
        for (Index k = 0; k < K; ++k) {
          const double bent = f * u[k];
          a.bent[k * K + k] += bent;
          for (Index l = 0; l < K; ++l) a.bent[k * K + l] -= bent * p[l];
        }
        break;
      }
      for (Index k = 0; k < K; ++k) p[k] = scores[k] - c * step[k];
      softmax(p, K);
    }
    if (mirrored) step[0] = -step[1];
    for (Index k = 0; k < K; ++k) {
      const T before = r[k];
      r[k] = static_cast<T>(static_cast<double>(before) + step[k]);
      u[k] = -0.5 * f * (static_cast<double>(r[k]) - static_cast<double>(before)) / a.l2;
      if (!a.along) continue;
      a.shift[k] += u[k];
      a.at_mean[k] += u[k] * along;
    }
    const double* const moved = u + (mirrored ? 1 : 0);
    for_columns(a.stride, [&]<int L, int M>(Index column) {
      using V = typename Doubles<L>::Type;
      typedef T Rounded [[gnu::vector_size(L * sizeof(T))]];
      V of[M];
      __builtin_memcpy(of, moved + column, sizeof of);
      for (Index j = begin; j < end; ++j) {
        const Index d = x.feature(j);
        const double stored = static_cast<double>(values[j]), value = a.scale ? stored * a.scale[d] : stored;
        T* const w = a.V + d * a.stride + column;
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
          const Rounded rounded = __builtin_convertvector(load_doubles<L>(w + m * L) + of[m] * value, Rounded);
          __builtin_memcpy(w + m * L, &rounded, sizeof rounded);
        }
      }
    });
  }
}

template <class T>
void dual_sweep(DualSweepJob<T>& job) {
  return job.x.type == StoredType::float32 ? dual_sweep_of<T, float>(job) : dual_sweep_of<T, double>(job);
}

}  // namespace onelayer::ONELAYER_KERNELS
