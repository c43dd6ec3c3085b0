// Residuals of scores, lanes over rows, classes in order: what a gradient weighs the rows by.
//
//   s_k = sum of the slices' scores, in order;   t_k = (1 - epsilon) [k = y] + epsilon / K
//   softmax    m = max_k s_k;  e_k = exp(s_k - m);  Z = sum_k e_k;   factor_k = w (e_k / Z - t_k)
//   K-sigmoid  e_k = exp(-|s_k|);  sigmoid(s_k) = (1 or e_k) / (1 + e_k);   factor_k = w (sigmoid(s_k) - t_k) / K
//   loss = w (log Z - (s_y - m)), of softmax without smoothing
//
// w is the row's weight, 1 where rows have none.
#pragma once

#include "exponential.hpp"
#include "jobs.hpp"

namespace onelayer::ONELAYER_KERNELS {

// The classes' summed scores, to scratch[k][lane]; their maximum is returned.
template <class T>
ONELAYER_INLINE Vec<T> gather_scores(const ResidualJob<T>& job) {
  Vec<T> top{};
  for (Index k = 0; k < job.K; ++k) {
    const T* at = job.scores + (job.run * job.K + k) * job.score_stride + job.row;
    Vec<T> s = load<T>(at);
    // The next rows' scores lie in as many pages as there are columns, where no prefetcher of the CPU follows.
    __builtin_prefetch(at + kLanes<T>, 0, 2);
    for (Index slice = 1; slice < job.slices; ++slice) {
      s += load<T>(at + slice * job.slice_stride);
      __builtin_prefetch(at + slice * job.slice_stride + kLanes<T>, 0, 2);
    }
    store<T>(job.scratch + k * kLanes<T>, s);
    top = k == 0 ? s : s > top ? s : top;
  }
  return top;
}

// Scores to softmax minus epsilon / K, in place; Z is returned.
template <class T>
ONELAYER_INLINE Vec<T> softmax_of(const ResidualJob<T>& job, Vec<T> top) {
  constexpr int lanes = kLanes<T>;
  T* const end = job.scratch + job.K * lanes;
  Vec<T> total{};
  for (T* s = job.scratch; s != end; s += lanes) {
    const Vec<T> e = exp_of_nonpositive<T>(load<T>(s) - top);
    store<T>(s, e);
    total += e;
  }
  const Vec<T> share = T(1) / total, others = splat<T>(static_cast<T>(-job.objective.smoothing / static_cast<double>(job.K)));
  for (T* s = job.scratch; s != end; s += lanes) store<T>(s, fma(load<T>(s), share, others));
  return total;
}

// Scores to (sigmoid minus epsilon / K) / K, in place.
template <class T>
ONELAYER_INLINE void sigmoid_of(const ResidualJob<T>& job) {
  constexpr int lanes = kLanes<T>;
  const double K = static_cast<double>(job.K);
  const Vec<T> others = splat<T>(static_cast<T>(job.objective.smoothing / K)), mean = splat<T>(static_cast<T>(1 / K));
  for (T *s = job.scratch, *end = s + job.K * lanes; s != end; s += lanes) {
    const Vec<T> score = load<T>(s), e = exp_of_nonpositive<T>(minus_size<T>(score)), one = splat<T>(1);
    store<T>(s, ((score < 0 ? e : one) / (one + e) - others) * mean);
  }
}

template <class T>
ONELAYER_INLINE Index label_at(const ResidualJob<T>& job, Index lane) {
  return job.labels->at(job.source->row(job.first + job.row + lane));
}

template <class T>
ONELAYER_INLINE void subtract_labels(const ResidualJob<T>& job) {
  const double own = 1 - job.objective.smoothing;
  const T target = static_cast<T>(job.objective.sigmoid ? own / static_cast<double>(job.K) : own);
  for (Index lane = 0; lane < job.rows; ++lane) job.scratch[label_at(job, lane) * kLanes<T> + lane] -= target;
}

// The weight of a lane's row, which is 1 where rows have none.
template <class Job>
ONELAYER_INLINE double lane_weight(const Job& job, Index row) {
  return job.weights ? job.weights[job.source->row(row)] : 1.0;
}

template <class T>
ONELAYER_INLINE void weigh_factors(const ResidualJob<T>& job) {
  alignas(kVectorBytes) T weight[kLanes<T>] = {};
  for (Index lane = 0; lane < job.rows; ++lane)
    weight[lane] = static_cast<T>(lane_weight(job, job.first + job.row + lane));
  const Vec<T> w = load<T>(weight);
  for (Index k = 0; k < job.K; ++k) {
    T* at = job.scratch + k * kLanes<T>;
    store<T>(at, load<T>(at) * w);
  }
}

template <class T>
ONELAYER_INLINE void spread_lanes(const T* lanes, Index rows, T* out, Index stride) {
  if (rows == kLanes<T>)
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes<T>; ++lane, out += stride) *out = lanes[lane];
  else
    for (Index lane = 0; lane < rows; ++lane, out += stride) *out = lanes[lane];
}

// Packed by column block: the factors of one row and one block are neighbours.
template <class T>
ONELAYER_INLINE void put_factors(const ResidualJob<T>& job) {
  for (Index k = 0; k < job.K;) {
    const Index column = job.run * job.K + k, block = job.blocks->of(column);
    const Index begin = job.blocks->begin(block), size = job.blocks->size(block);
    const Index end = smaller(job.K, begin + size - job.run * job.K);
    T* out = job.factors + begin * job.batch + job.row * size + (column - begin);
    for (; k < end; ++k, ++out) spread_lanes(job.scratch + k * kLanes<T>, job.rows, out, size);
  }
}

template <class T>
void residual(const ResidualJob<T>& job) {
  constexpr int lanes = kLanes<T>;
  const Vec<T> top = gather_scores(job);
  alignas(kVectorBytes) T label_score[lanes];
  if (job.loss)
    for (Index lane = 0; lane < job.rows; ++lane) label_score[lane] = job.scratch[label_at(job, lane) * lanes + lane];
  Vec<T> total{};
  if (job.objective.sigmoid)
    sigmoid_of(job);
  else
    total = softmax_of(job, top);
  subtract_labels(job);
  if (job.weights) weigh_factors(job);
  put_factors(job);
  if (!job.loss) return;
  double loss = 0;
  for (Index lane = 0; lane < job.rows; ++lane)
    loss += lane_weight(job, job.first + job.row + lane) *
            (__builtin_log(static_cast<double>(total[lane])) - static_cast<double>(label_score[lane] - top[lane]));
  *job.loss = loss;
}

}  // namespace onelayer::ONELAYER_KERNELS
