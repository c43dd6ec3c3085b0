// Scores and gradients of rows of which only stored values are kept.
//
// Weights lie feature by feature, [feature][column], so that a stored value meets the weights of all columns in a line
// or two of the cache. Sums are float64, in the order of the stored values of a row, or of the rows of a feature: each
// column's are its own, whatever stands beside it, and products and sums are not fused. So every instruction set gives
// the same bits, and a float32 score is rounded no more than a few times.
#pragma once

#include "jobs.hpp"
#include "optimizer.hpp"
#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

// Stored values that are fetched before they are met.
inline constexpr Index kFetchAhead = 24;

template <int L> struct Doubles { typedef double Type [[gnu::vector_size(L * sizeof(double))]]; };

// L numbers, of which only the first element must be aligned.
template <int L, class T>
ONELAYER_INLINE typename Doubles<L>::Type load_doubles(const T* p) {
  typedef T Vector [[gnu::vector_size(L * sizeof(T))]];
  Vector v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, typename Doubles<L>::Type);
}

#if defined(__AVX512F__)
template <>
ONELAYER_INLINE Doubles<8>::Type load_doubles<8, float>(const float* p) {
  return (Doubles<8>::Type)_mm512_cvtps_pd(_mm256_loadu_ps(p));
}
#endif

template <int Bytes, int Hint>
ONELAYER_INLINE void fetch(const void* p) {
#pragma GCC unroll 8
  for (int byte = 0; byte < Bytes; byte += kLineBytes) __builtin_prefetch(static_cast<const char*>(p) + byte, Hint, 3);
}

// Calls work(M vectors of L columns from column c on) until all columns are done; stride is 1, 2, 4 or a multiple of 8.
template <class Work>
ONELAYER_INLINE void for_columns(Index stride, const Work& work) {
  if (stride == 1) return work.template operator()<1, 1>(Index{0});
  if (stride == 2) return work.template operator()<2, 1>(Index{0});
  if (stride == 4) return work.template operator()<4, 1>(Index{0});
  Index c = 0;
  for (; c + 32 <= stride; c += 32) work.template operator()<8, 4>(c);
  if (c + 24 <= stride) return work.template operator()<8, 3>(c);
  if (c + 16 <= stride) return work.template operator()<8, 2>(c);
  if (c + 8 <= stride) work.template operator()<8, 1>(c);
}

// Adds the weights of a row's features, M vectors of L columns each from w on, times their values; `last` is the last
// value of all rows, up to which weights are fetched, or 0 where they were.
template <int L, int M, class T, class S, class V>
ONELAYER_INLINE void add_weights(V (&sums)[M], const StoredMatrix& x, const S* values, Index begin, Index end,
                                 Index last, const T* weights, Index stride, const double* scale) {
  if constexpr (L == 1 && M == 1) {  // a vector of one would be kept in memory
    double sum = sums[0][0];
    for (Index j = begin; j < end; ++j) {
      if (last) fetch<sizeof(T), 0>(weights + x.feature(min(j + kFetchAhead, last)) * stride);
      const Index d = x.feature(j);
      const double stored = static_cast<double>(values[j]), value = scale ? stored * scale[d] : stored;
      sum += static_cast<double>(weights[d * stride]) * value;
    }
    sums[0][0] = sum;
    return;
  }
  for (Index j = begin; j < end; ++j) {
    if (last) fetch<M * L * sizeof(T), 0>(weights + x.feature(min(j + kFetchAhead, last)) * stride);
    const Index d = x.feature(j);
    const double stored = static_cast<double>(values[j]), value = scale ? stored * scale[d] : stored;
    const T* const w = weights + d * stride;
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) sums[m] += load_doubles<L>(w + m * L) * value;
  }
}

// Calls give(n, c, sum) for the sums of a job's rows and columns.
template <class S, class Job, class Give>
ONELAYER_INLINE void sum_rows(const Job& job, const Give& give) {
  const StoredMatrix& x = job.rows;
  const S* const values = reinterpret_cast<const S*>(x.base);
  for (Index n = 0; n < job.count; ++n) {
    const Index row = x.row(job.first + n), begin = x.indptr[row], end = x.indptr[row + 1];
    for_columns(job.stride, [&]<int L, int M>(Index c) {
      using V = typename Doubles<L>::Type;
      V sums[M] = {};
      add_weights<L>(sums, x, values, begin, end, job.last, job.w + c, job.stride, job.scale);
      for (int i = 0; i < M * L && c + i < job.columns; ++i) give(n, c + i, sums[i / L][i % L]);
    });
  }
}

template <class T, class S>
void sparse_scores_of(const SparseScoreJob<T>& job) {
  sum_rows<S>(job, [&](Index n, Index c, double sum) {
    job.scores[c * job.score_stride + n] = static_cast<T>(sum + job.bias[c]);
  });
}

template <class T>
void sparse_scores(const SparseScoreJob<T>& job) {
  return job.rows.type == StoredType::float32 ? sparse_scores_of<T, float>(job) : sparse_scores_of<T, double>(job);
}

template <class T, class S>
void sparse_products_of(const SparseProductJob<T>& job) {
  sum_rows<S>(job, [&](Index n, Index c, double sum) { job.products[n * job.stride + c] = sum; });
}

template <class T>
void sparse_products(const SparseProductJob<T>& job) {
  return job.rows.type == StoredType::float32 ? sparse_products_of<T, float>(job) : sparse_products_of<T, double>(job);
}

template <class S>
void sparse_block_of(const SparseBlockJob& job) {
  const StoredMatrix& x = job.rows;
  const S* const values = reinterpret_cast<const S*>(x.base);
  for (Index n = 0; n < job.count; ++n) {
    const Index end = x.indptr[x.row(n) + 1], first = job.next[n];
    Index stop = first;
    while (stop < end && x.feature(stop) < job.end) ++stop;
    job.next[n] = stop;
    for_columns(job.stride, [&]<int L, int M>(Index c) {
      using V = typename Doubles<L>::Type;
      V r[M];
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) r[m] = load_doubles<L>(job.factors + n * job.stride + c + m * L);
      for (Index j = first; j < stop; ++j) {
        const double value = static_cast<double>(values[j]);
        double* const sums = job.sums + (x.feature(j) - job.begin) * job.stride + c;
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
          V sum;
          __builtin_memcpy(&sum, sums + m * L, sizeof sum);
          sum += r[m] * value;
          __builtin_memcpy(sums + m * L, &sum, sizeof sum);
        }
      }
    });
  }
}

inline void sparse_block(const SparseBlockJob& job) {
  return job.rows.type == StoredType::float32 ? sparse_block_of<float>(job) : sparse_block_of<double>(job);
}

template <class T, class S>
void sparse_add_of(const SparseAddJob<T>& job) {
  const StoredMatrix& x = job.rows;
  const S* const values = reinterpret_cast<const S*>(x.base);
  for (Index n = 0; n < job.count; ++n) {
    const Index row = x.row(job.first + n);
    const Index first = x.lower_bound(x.indptr[row], x.indptr[row + 1], job.begin);
    const Index stop = x.lower_bound(first, x.indptr[row + 1], job.end);
    const T* const residuals = job.residuals + n * job.stride;
    for_columns(job.stride, [&]<int L, int M>(Index c) {
      using V = typename Doubles<L>::Type;
      V r[M];
#pragma GCC unroll 4
      for (int m = 0; m < M; ++m) r[m] = load_doubles<L>(residuals + c + m * L);
      for (Index j = first; j < stop; ++j) {
        fetch<M * L * sizeof(double), 1>(job.sums + x.feature(min(j + kFetchAhead, job.last)) * job.stride + c);
        const double value = static_cast<double>(values[j]);
        double* const sums = job.sums + x.feature(j) * job.stride + c;
#pragma GCC unroll 4
        for (int m = 0; m < M; ++m) {
          V sum;
          __builtin_memcpy(&sum, sums + m * L, sizeof sum);
          sum += r[m] * value;
          __builtin_memcpy(sums + m * L, &sum, sizeof sum);
        }
      }
    });
  }
}

template <class T>
void sparse_add(const SparseAddJob<T>& job) {
  return job.rows.type == StoredType::float32 ? sparse_add_of<T, float>(job) : sparse_add_of<T, double>(job);
}

ONELAYER_INLINE float tiny_as_zero(float x) { return __builtin_fabsf(x) < 0x1p-95f ? 0.0f : x; }
ONELAYER_INLINE double tiny_as_zero(double x) { return __builtin_fabs(x) < 0x1p-767 ? 0.0 : x; }

// Calls take(column, what l1 takes off its weight) for the columns of grouped runs, of one feature; threshold(column) is
// asked of a run's first.
template <class T, class Threshold, class Take>
ONELAYER_INLINE void sparse_groups(const SparseStepJob<T>& job, const T* w, const Threshold& threshold, const Take& take) {
  for (Index first = 0; job.grouped && first < job.columns; first += job.K) {
    if (!job.grouped[first / job.K]) continue;
    double squares = 0;
    for (Index c = first; c < first + job.K; ++c) squares += static_cast<double>(w[c]) * static_cast<double>(w[c]);
    const T share = group_share(squares, threshold(first));
    for (Index c = first; c < first + job.K; ++c) take(c, w[c] * share);
  }
}

// Steps features begin .. end, or those that are listed, as optimizer.hpp says; the gradient of a feature is
// scale * sum + offset * bias sum. A listed one first takes the steps that it missed, in which it had penalties alone.
template <class T>
void sparse_step(const SparseStepJob<T>& job) {
  for (Index i = job.begin; i < job.end; ++i) {
    const Index d = job.features ? job.features[i] : i;
    const double scale = job.scale[d], offset = job.offset[d];
    T* const w = job.w + d * job.stride;
    double* const sums = job.sums ? job.sums + d * job.stride : nullptr;
    if (job.stepped) {
      for (Index t = job.stepped[d]; t < job.t; ++t) {
        for (Index c = 0; c < job.stride; ++c) w[c] = tiny_as_zero(w[c] * job.shrinks[t * job.stride + c]);
        for (Index c = 0; job.thresholds && c < job.stride; ++c)
          if (!job.grouped || c >= job.columns || !job.grouped[c / job.K])
            w[c] = tiny_as_zero(w[c] - clipped(w[c], job.thresholds[t * job.stride + c]));
        sparse_groups(job, w, [&](Index c) { return job.thresholds[t * job.stride + c]; },
                      [&](Index c, T taken) { w[c] = tiny_as_zero(w[c] - taken); });
      }
      job.stepped[d] = job.t + (sums ? 1 : 0);
    }
    if (!sums) continue;
    for (Index c = 0; c < job.columns; ++c) {
      const ColumnStep<T>& step = job.steps[c];
      const T G = static_cast<T>(scale * sums[c] + offset * job.bias_sums[c]), before = w[c];
      if (step.momentum > 0) {
        T& v = job.slots[kVelocity][d * job.stride + c];
        const T g = step.weight_decay * before + G * step.one_over_B;
        v = tiny_as_zero(step.momentum * v + g);
        w[c] = tiny_as_zero(before - step.eta * (step.nesterov ? g + step.momentum * v : v));
        if (step.clips()) v = tiny_as_zero(v + clipped(w[c], step.threshold) * step.one_over_length);
      } else {
        w[c] = tiny_as_zero(before * step.shrink - step.eta_over_B * G);
      }
      if (step.clips()) w[c] = tiny_as_zero(w[c] - clipped(w[c], step.threshold));
      if (step.averaging != 1) {
        T& a = job.slots[kAverage][d * job.stride + c];
        if (!step.has_average) a = before;
        if (!step.grouped) a = tiny_as_zero(a + step.averaging * (w[c] - a));
      }
    }
    sparse_groups(job, w, [&](Index c) { return job.steps[c].threshold; }, [&](Index c, T taken) {
      const ColumnStep<T>& step = job.steps[c];
      const Index at = d * job.stride + c;
      w[c] = tiny_as_zero(w[c] - taken);
      if (step.momentum > 0) {
        T& v = job.slots[kVelocity][at];
        v = tiny_as_zero(v + taken * step.one_over_length);
      }
      if (step.averaging == 1) return;
      T& a = job.slots[kAverage][at];
      a = tiny_as_zero(a + step.averaging * (w[c] - a));
    });
    for (Index c = 0; c < job.stride; ++c) sums[c] = 0;
  }
}

}  // namespace onelayer::ONELAYER_KERNELS
