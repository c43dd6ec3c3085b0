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

// What takes the r of a row to the probabilities p of its own scores, as Newton's method finds it, while the other rows
// stay; c says how far a step of r takes the scores. The sums of the job go on.
template <class T>
void step_of_row(DualSweepJob<T>& a, double f, double c, const double* scores, Index label, const T* r, double* p,
                 double* step) {
  const Index K = a.K;
  double *const q = step + max(K, a.stride), *const u = q + max(K, a.stride);
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
}

// The same of two classes, whose scores, and so whose steps, differ by their sign.
template <class T>
void step_of_pair(DualSweepJob<T>& a, double f, double c, const double* scores, Index label, const T* r, double* step) {
  const double margin = scores[1] - scores[0], tail = std::exp(-std::fabs(margin)), y = label == 1;
  double p = margin > 0 ? 1 / (1 + tail) : tail / (1 + tail), other = margin > 0 ? tail / (1 + tail) : 1 / (1 + tail);
  a.loss += f * (std::log1p(tail) + ((margin > 0) == (label == 1) ? 0 : std::fabs(margin)));
  const double q = static_cast<double>(r[1]) + y, off = (p - q) * (p - q), least = 1e-9;
  a.off += f * off * (1 / (p + (q > least ? q : least)) + 1 / (other + (1 - q > least ? 1 - q : least)));
  double taken = 0;
  for (int turn = 0, last = 1;; ++turn) {
    const double bend = p * other / (1 + 2 * c * p * other), u = (p - q - taken) / (1 + 2 * c * p * other);
    const double longest = std::fabs(u), kept = c * longest > 1 ? 1 / (c * longest) : 1;
    taken += kept * u;
    if (kept < 1 && turn < kMostTurns) last = turn + 1;
    if (turn == last) {
      if (a.along)
        for (Index k = 0; k < 4; ++k) a.bent[k] += k % 3 ? -f * bend : f * bend;
      break;
    }
    const double moved = margin - 2 * c * taken, left = std::exp(-std::fabs(moved));
    p = moved > 0 ? 1 / (1 + left) : left / (1 + left);
    other = moved > 0 ? left / (1 + left) : 1 / (1 + left);
  }
  step[0] = -taken;
  step[1] = taken;
}

template <class T, class S>
void dual_sweep_of(DualSweepJob<T>& a) {
  const StoredMatrix& x = a.x;
  const S* const values = reinterpret_cast<const S*>(x.base);
  const Index N = a.N, K = a.K, width = max(K, a.stride);
  const bool mirrored = a.stride < K;
  std::vector<double> memory(static_cast<std::size_t>(5 * width));
  double *const scores = memory.data(), *const p = scores + width, *const step = p + width, *const u = step + 2 * width;
  const Index hop = dual_hop(N);
  for (Index i = 0, n = 0; i < N; ++i, n = (n + hop) % N) {
    const Index row = x.row(n), begin = x.indptr[row], end = x.indptr[row + 1];
    // The weights of the next row, and the stored values of the one after it.
    const Index next = (n + hop) % N, following = x.row(next), later = x.row((next + hop) % N);
    for (Index j = x.indptr[following]; j < x.indptr[following + 1]; ++j)
      for (Index c = 0; c < a.stride; c += kLineBytes / static_cast<Index>(sizeof(T)))
        __builtin_prefetch(a.V + x.feature(j) * a.stride + c, 1, 3);
    for (Index k = 0; k < K; k += kLineBytes / static_cast<Index>(sizeof(T))) __builtin_prefetch(a.r + next * K + k, 1, 3);
    for (const double* of_row : {a.fractions, a.squares, a.along, a.own_squares})
      if (of_row) __builtin_prefetch(of_row + next);
    for (Index j = x.indptr[later]; j < x.indptr[later + 1]; j += kLineBytes / 8) {
      __builtin_prefetch(values + j);
      __builtin_prefetch(x.indices + j * x.index_words);
    }
    const double f = a.fractions[n], along = a.along ? a.along[n] : 0;
    const double own = a.own_squares ? -0.5 * f * a.own_squares[n] / a.l2 : 0;
    const Index label = a.y.at(row);
    T* const r = a.r + n * K;
    for_columns(a.stride, [&]<int L, int M>(Index c) {
      typename Doubles<L>::Type sums[M] = {};
      add_weights<L>(sums, x, values, begin, end, 0, a.V + c, a.stride, a.scale);
      __builtin_memcpy(scores + c, sums, sizeof sums);
    });
    if (mirrored) mirror(scores);
    for (Index k = 0; k < K; ++k) {
      scores[k] += a.b[k];
      if (a.own_squares) scores[k] += own * static_cast<double>(r[k]);
      if (a.along) scores[k] -= a.shift[k] * (along - a.mean_square) + a.at_mean[k];
    }
    const double c = 0.5 * f * a.squares[n] / a.l2;
    if (mirrored)
      step_of_pair(a, f, c, scores, label, r, step);
    else
      step_of_row(a, f, c, scores, label, r, p, step);
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
        if constexpr (L == 1 && M == 1) {
          *w = static_cast<T>(static_cast<double>(*w) + of[0][0] * value);
          continue;
        }
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
