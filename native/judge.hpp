// Predictions and losses of finished scores, lanes over rows, classes in order, w the row's weight:
//
//   t_k = (1 - epsilon) [k = y] + epsilon / K
//   softmax    loss = w (log sum_k exp(s_k - m) - sum_k t_k (s_k - m)),   m = max_k s_k
//   K-sigmoid  loss = w/K sum_k (max(s_k, 0) + log(1 + exp(-|s_k|)) - t_k s_k)
#pragma once

#include "logarithm.hpp"
#include "residual.hpp"

namespace onelayer::ONELAYER_KERNELS {

template <class T>
struct Best {
  Vec<T> score;
  IntVec<T> number;
};

// Ties go to the lowest class; a NaN score is taken as the largest, as NumPy's argmax does.
template <class T>
ONELAYER_INLINE Best<T> best_class(const JudgeJob<T>& job) {
  Best<T> best{load<T>(job.scores), {}};
  for (Index k = 1; k < job.K; ++k) {
    const Vec<T> s = load<T>(job.scores + k * job.score_stride);
    const IntVec<T> take = ~(s <= best.score) & (best.score == best.score);
    best.score = take ? s : best.score;
    best.number = take ? IntVec<T>{} + static_cast<typename VecOf<T>::Word>(k) : best.number;
  }
  return best;
}

template <class T>
ONELAYER_INLINE Index label_at(const JudgeJob<T>& job, Index lane) {
  return job.labels->at(job.source->row(job.first + lane));
}

template <class T>
ONELAYER_INLINE T label_score(const JudgeJob<T>& job, Index lane) {
  return job.scores[label_at(job, lane) * job.score_stride + lane];
}

template <class T>
ONELAYER_INLINE void softmax_losses(const JudgeJob<T>& job, Vec<T> top, double* losses) {
  const double epsilon = job.objective.smoothing;
  Vec<T> total{}, depth{};
  for (Index k = 0; k < job.K; ++k)
    total += exp_of_nonpositive<T>(load<T>(job.scores + k * job.score_stride) - top);
  if (epsilon > 0)
    for (Index k = 0; k < job.K; ++k) depth += load<T>(job.scores + k * job.score_stride) - top;
  for (Index lane = 0; lane < job.rows; ++lane) {
    losses[lane] = __builtin_log(static_cast<double>(total[lane])) -
                   (1 - epsilon) * static_cast<double>(label_score(job, lane) - top[lane]);
    if (epsilon > 0) losses[lane] -= epsilon / static_cast<double>(job.K) * static_cast<double>(depth[lane]);
  }
}

// What is linear in the scores is summed apart, where it cancels exactly: the rest is left whole, however small.
template <class T>
ONELAYER_INLINE void sigmoid_losses(const JudgeJob<T>& job, double* losses) {
  const double epsilon = job.objective.smoothing, K = static_cast<double>(job.K);
  const Vec<T> others = splat<T>(static_cast<T>(-epsilon / K));
  Vec<T> linear{}, curved{};
  for (Index k = 0; k < job.K; ++k) {
    const Vec<T> s = load<T>(job.scores + k * job.score_stride);
    linear += fma(others, s, s < 0 ? Vec<T>{} : s);
    curved += log_of_one_plus<T>(exp_of_nonpositive<T>(minus_size<T>(s)));
  }
  for (Index lane = 0; lane < job.rows; ++lane) {
    const double own = (1 - epsilon) * static_cast<double>(label_score(job, lane));
    losses[lane] = (static_cast<double>(linear[lane]) - own + static_cast<double>(curved[lane])) / K;
  }
}

template <class T>
void judge(const JudgeJob<T>& job) {
  const Best<T> best = best_class(job);
  double losses[kLanes<T>];
  if (job.objective.sigmoid)
    sigmoid_losses(job, losses);
  else
    softmax_losses(job, best.score, losses);
  for (Index lane = 0; lane < job.rows; ++lane) {
    *job.loss += lane_weight(job, job.first + lane) * losses[lane];
    *job.correct += best.number[lane] == label_at(job, lane);
    if (job.predictions) job.predictions[lane] = static_cast<std::int32_t>(best.number[lane]);
  }
}

}  // namespace onelayer::ONELAYER_KERNELS
