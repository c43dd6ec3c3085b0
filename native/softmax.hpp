// Softmax and cross-entropy, lanes over rows, classes in order:
//   s_k = sum of the slices' scores, in order;  m = max_k s_k;  e_k = exp(s_k - m);  Z = sum_k e_k
//   p_k = e_k / Z;   loss = w (log Z - (s_y - m));   factor_k = w (p_k - [k = y])
// w is the row's weight, 1 where rows have none.
#pragma once

#include "exponential.hpp"
#include "jobs.hpp"

namespace onelayer::ONELAYER_KERNELS {

// The classes' summed scores, to scratch[k][lane]; their maximum is returned.
template <class T>
ONELAYER_INLINE Vec<T> gather_scores(const SoftmaxJob<T>& job) {
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
ONELAYER_INLINE void put_factors(const SoftmaxJob<T>& job) {
  for (Index k = 0; k < job.K;) {
    const Index column = job.run * job.K + k, block = job.blocks->of(column);
    const Index begin = job.blocks->begin(block), size = job.blocks->size(block);
    const Index end = smaller(job.K, begin + size - job.run * job.K);
    T* out = job.factors + begin * job.batch + job.row * size + (column - begin);
    for (; k < end; ++k, ++out) spread_lanes(job.scratch + k * kLanes<T>, job.rows, out, size);
  }
}

// The weight of a lane's row, which is 1 where rows have none.
template <class Job>
ONELAYER_INLINE double lane_weight(const Job& job, Index row) {
  return job.weights ? job.weights[job.source->row(row)] : 1.0;
}

template <class T>
ONELAYER_INLINE void weigh_factors(const SoftmaxJob<T>& job) {
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
void softmax(const SoftmaxJob<T>& job) {
  constexpr int lanes = kLanes<T>;
  const Vec<T> top = gather_scores(job);
  Vec<T> total{};
  alignas(kVectorBytes) T label_score[lanes];
  if (job.loss)
    for (Index lane = 0; lane < job.rows; ++lane) {
      const Index label = job.labels->at(job.source->row(job.first + job.row + lane));
      label_score[lane] = job.scratch[label * lanes + lane];
    }
  T* const scratch = job.scratch;
  T* const end = scratch + job.K * lanes;
  for (T* s = scratch; s != end; s += lanes) {
    const Vec<T> e = exp_of_nonpositive<T>(load<T>(s) - top);
    store<T>(s, e);
    total += e;
  }
  const Vec<T> share = T(1) / total;
  for (T* s = scratch; s != end; s += lanes) store<T>(s, load<T>(s) * share);
  for (Index lane = 0; lane < job.rows; ++lane) {
    const Index label = job.labels->at(job.source->row(job.first + job.row + lane));
    scratch[label * lanes + lane] -= T(1);
  }
  if (job.weights) weigh_factors(job);
  put_factors(job);
  if (!job.loss) return;
  double loss = 0;
  for (Index lane = 0; lane < job.rows; ++lane)
    loss += lane_weight(job, job.first + job.row + lane) *
            (__builtin_log(static_cast<double>(total[lane])) - static_cast<double>(label_score[lane] - top[lane]));
  *job.loss = loss;
}

// Ties go to the lowest class; a NaN score is taken as the largest, as NumPy's argmax does.
template <class T>
void judge(const JudgeJob<T>& job) {
  Vec<T> top = load<T>(job.scores);
  IntVec<T> best{};
  for (Index k = 1; k < job.K; ++k) {
    const Vec<T> s = load<T>(job.scores + k * job.score_stride);
    const IntVec<T> take = ~(s <= top) & (top == top);
    top = take ? s : top;
    best = take ? IntVec<T>{} + static_cast<typename VecOf<T>::Word>(k) : best;
  }
  Vec<T> total{};
  for (Index k = 0; k < job.K; ++k)
    total += exp_of_nonpositive<T>(load<T>(job.scores + k * job.score_stride) - top);
  for (Index lane = 0; lane < job.rows; ++lane) {
    const Index label = job.labels->at(job.source->row(job.first + lane));
    const T s = job.scores[label * job.score_stride + lane];
    *job.loss += lane_weight(job, job.first + lane) *
                 (__builtin_log(static_cast<double>(total[lane])) - static_cast<double>(s - top[lane]));
    *job.correct += best[lane] == label;
    if (job.predictions) job.predictions[lane] = static_cast<std::int32_t>(best[lane]);
  }
}

}  // namespace onelayer::ONELAYER_KERNELS
