// Residuals, losses and predictions from scores: lanes over rows, classes in order, w the row's weight.
//
//   t_k = (1 - epsilon) [k = y] + epsilon / K,   m = max_k s_k
//   softmax    e_k = exp(s_k - m);  Z = sum_k e_k;   residual_k = w (e_k / Z - t_k)
//              loss = w (log Z - sum_k t_k (s_k - m))
//   K-sigmoid  e_k = exp(-|s_k|);  sigmoid(s_k) = (1 or e_k) / (1 + e_k);   residual_k = w (sigmoid(s_k) - t_k) / K
//              loss = w/K sum_k (max(s_k, 0) + log(1 + e_k) - t_k s_k)
//   many labels a row, y_k of 0 and 1:  t_k = (1 - epsilon) y_k + epsilon / 2, and K-sigmoid without the division by K
#pragma once

#include "jobs.hpp"
#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

// Sums each class's scores over the slices, in order, into scratch[k][lane]; returns the classes' maximum.
template <class T>
ONELAYER_INLINE Vec<T> sum_slices(const ResidualJob<T>& job) {
  Vec<T> top{};
  for (Index k = 0; k < job.K; ++k) {
    const T* at = job.scores + k * job.score_stride;
    Vec<T> s = load<T>(at);
    // The next rows' scores lie in as many pages as there are columns, more than the CPU's prefetchers follow.
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

// Replaces scores by softmax minus epsilon / K; returns Z. A gradient, which has a loss, sums Z in float64, so that the
// probabilities of a row sum to 1 within 3 roundings, however many they are.
template <class T>
ONELAYER_INLINE Vec<T> softmax_residuals(const ResidualJob<T>& job, Vec<T> top) {
  constexpr int lanes = kLanes<T>;
  T* const end = job.scratch + job.K * lanes;
  Vec<T> total{};
  WideVec<T> wide_total{};
  for (T* s = job.scratch; s != end; s += lanes) {
    const Vec<T> e = exp_nonpositive<T>(load<T>(s) - top);
    store<T>(s, e);
    if (job.losses)
      wide_total += widen<T>(e);
    else
      total += e;
  }
  if (job.losses) total = __builtin_convertvector(wide_total, Vec<T>);
  const Vec<T> inverse = T(1) / total;
  const Vec<T> minus_smoothing = splat<T>(static_cast<T>(-job.loss_kind.smoothing / static_cast<double>(job.K)));
  for (T* s = job.scratch; s != end; s += lanes) store<T>(s, fma(load<T>(s), inverse, minus_smoothing));
  return total;
}

// Replaces scores by (sigmoid minus epsilon / K) / K.
template <class T>
ONELAYER_INLINE void sigmoid_residuals(const ResidualJob<T>& job) {
  constexpr int lanes = kLanes<T>;
  const double K = static_cast<double>(job.K);
  const Vec<T> smoothing = splat<T>(static_cast<T>(job.loss_kind.smoothing / K));
  const Vec<T> mean = splat<T>(static_cast<T>(1 / K));
  for (T *s = job.scratch, *end = s + job.K * lanes; s != end; s += lanes) {
    const Vec<T> score = load<T>(s), e = exp_nonpositive<T>(negative_abs<T>(score)), one = splat<T>(1);
    store<T>(s, ((score < 0 ? e : one) / (one + e) - smoothing) * mean);
  }
}

template <class T>
ONELAYER_INLINE void subtract_labels(const ResidualJob<T>& job) {
  const double own = 1 - job.loss_kind.smoothing;
  const T target = static_cast<T>(job.loss_kind.sigmoid ? own / static_cast<double>(job.K) : own);
  for (Index lane = 0; lane < job.count; ++lane) job.scratch[job.label(lane) * kLanes<T> + lane] -= target;
}

template <class T>
ONELAYER_INLINE void apply_weights(const ResidualJob<T>& job) {
  alignas(kVectorBytes) T weights[kLanes<T>] = {};
  for (Index lane = 0; lane < job.count; ++lane) weights[lane] = static_cast<T>(job.weight(lane));
  const Vec<T> w = load<T>(weights);
  for (Index k = 0; k < job.K; ++k) {
    T* at = job.scratch + k * kLanes<T>;
    store<T>(at, load<T>(at) * w);
  }
}

// Of the residuals in scratch, before they are weighted.
template <class T>
ONELAYER_INLINE void write_squares(const ResidualJob<T>& job) {
  Vec<T> sum{};
  for (Index k = 0; k < job.K; ++k) {
    const Vec<T> residual = load<T>(job.scratch + k * kLanes<T>);
    sum = fma(residual, residual, sum);
  }
  for (Index lane = 0; lane < job.count; ++lane) job.squares[lane] = job.weight(lane) * static_cast<double>(sum[lane]);
}

template <class T>
ONELAYER_INLINE void scatter_lanes(const T* lanes, Index count, T* out, Index stride) {
  if (count == kLanes<T>)
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes<T>; ++lane, out += stride) *out = lanes[lane];
  else
    for (Index lane = 0; lane < count; ++lane, out += stride) *out = lanes[lane];
}

// Packed by column block: the residuals of one row and one block are neighbours.
template <class T>
ONELAYER_INLINE void store_residuals(const ResidualJob<T>& job) {
  for (Index k = 0; k < job.K;) {
    const Index column = job.run * job.K + k, block = job.blocks->of(column);
    const Index begin = job.blocks->begin(block), size = job.blocks->size(block);
    const Index end = min(job.K, begin + size - job.run * job.K);
    T* out = job.residuals + begin * job.B + job.row * size + (column - begin);
    for (; k < end; ++k, ++out) scatter_lanes(job.scratch + k * kLanes<T>, job.count, out, size);
  }
}

// The targets of one of many labels.
template <class T>
ONELAYER_INLINE Vec<T> label_targets(const LossJob<T>& job, Index k) {
  const T no = static_cast<T>(job.loss_kind.smoothing / 2), yes = 1 - no;
  alignas(kVectorBytes) T targets[kLanes<T>] = {};
  for (Index lane = 0; lane < job.count; ++lane)
    targets[lane] = job.rows->has(job.first + lane, job.run * job.K + k) ? yes : no;
  return load<T>(targets);
}

// Of one of many labels, log(1 + exp(-|s|)), and the rest of the loss, which is linear in s.
template <class T>
ONELAYER_INLINE void add_label_loss(Vec<T> s, Vec<T> e, Vec<T> target, Vec<T>& linear, Vec<T>& curved) {
  linear += fma(-target, s, s < 0 ? Vec<T>{} : s);
  curved += log1p_unit<T>(e);
}

template <class T>
void residual_of_labels(const ResidualJob<T>& job) {
  constexpr int lanes = kLanes<T>;
  sum_slices(job);
  Vec<T> linear{}, curved{};
  for (Index k = 0; k < job.K; ++k) {
    T* at = job.scratch + k * lanes;
    const Vec<T> s = load<T>(at), e = exp_nonpositive<T>(negative_abs<T>(s)), one = splat<T>(1);
    const Vec<T> target = label_targets(job, k);
    store<T>(at, (s < 0 ? e : one) / (one + e) - target);
    if (job.losses) add_label_loss<T>(s, e, target, linear, curved);
  }
  if (job.squares) write_squares(job);
  if (job.rows->weights) apply_weights(job);
  store_residuals(job);
  if (!job.losses) return;
  for (Index lane = 0; lane < job.count; ++lane)
    job.losses[lane] = job.weight(lane) * (static_cast<double>(linear[lane]) + static_cast<double>(curved[lane]));
}

template <class T>
void residual(const ResidualJob<T>& job) {
  if (job.rows->y.many) return residual_of_labels(job);
  constexpr int lanes = kLanes<T>;
  const Vec<T> top = sum_slices(job);
  alignas(kVectorBytes) T label_score[lanes];
  if (job.losses)
    for (Index lane = 0; lane < job.count; ++lane) label_score[lane] = job.scratch[job.label(lane) * lanes + lane];
  Vec<T> total{};
  if (job.loss_kind.sigmoid)
    sigmoid_residuals(job);
  else
    total = softmax_residuals(job, top);
  subtract_labels(job);
  if (job.squares) write_squares(job);
  if (job.rows->weights) apply_weights(job);
  store_residuals(job);
  if (!job.losses) return;
  alignas(kVectorBytes) double logs[lanes];
  store_logs<T>(total, logs);
  for (Index lane = 0; lane < job.count; ++lane)
    job.losses[lane] = job.weight(lane) * (logs[lane] - static_cast<double>(label_score[lane] - top[lane]));
}

template <class T>
struct Argmax {
  Vec<T> score;
  IntVec<T> k;
};

// Ties go to the lowest class; a NaN score is taken as the largest, as NumPy's argmax does.
template <class T>
ONELAYER_INLINE Argmax<T> argmax(const EvaluateJob<T>& job) {
  Argmax<T> best{load<T>(job.scores), {}};
  for (Index k = 1; k < job.K; ++k) {
    const Vec<T> s = load<T>(job.scores + k * job.score_stride);
    const IntVec<T> take = ~(s <= best.score) & (best.score == best.score);
    best.score = take ? s : best.score;
    best.k = take ? IntVec<T>{} + static_cast<typename VecOf<T>::Word>(k) : best.k;
  }
  return best;
}

template <class T>
ONELAYER_INLINE T label_score(const EvaluateJob<T>& job, Index lane) {
  return job.scores[job.label(lane) * job.score_stride + lane];
}

// Returns Z.
template <class T>
ONELAYER_INLINE Vec<T> softmax_losses(const EvaluateJob<T>& job, Vec<T> top, double* losses) {
  const double epsilon = job.loss_kind.smoothing;
  Vec<T> total{}, linear{};
  for (Index k = 0; k < job.K; ++k)
    total += exp_nonpositive<T>(load<T>(job.scores + k * job.score_stride) - top);
  if (epsilon > 0)
    for (Index k = 0; k < job.K; ++k) linear += load<T>(job.scores + k * job.score_stride) - top;
  store_logs<T>(total, losses);
  for (Index lane = 0; lane < job.count; ++lane) {
    losses[lane] -= (1 - epsilon) * static_cast<double>(label_score(job, lane) - top[lane]);
    if (epsilon > 0) losses[lane] -= epsilon / static_cast<double>(job.K) * static_cast<double>(linear[lane]);
  }
  return total;
}

// Terms linear in the scores are summed apart, where they cancel exactly, so that the rest keeps all of its digits.
template <class T>
ONELAYER_INLINE void sigmoid_losses(const EvaluateJob<T>& job, double* losses) {
  const double epsilon = job.loss_kind.smoothing, K = static_cast<double>(job.K);
  const Vec<T> minus_smoothing = splat<T>(static_cast<T>(-epsilon / K));
  Vec<T> linear{}, curved{};
  for (Index k = 0; k < job.K; ++k) {
    const Vec<T> s = load<T>(job.scores + k * job.score_stride);
    linear += fma(minus_smoothing, s, s < 0 ? Vec<T>{} : s);
    curved += log1p_unit<T>(exp_nonpositive<T>(negative_abs<T>(s)));
  }
  for (Index lane = 0; lane < job.count; ++lane) {
    const double own = (1 - epsilon) * static_cast<double>(label_score(job, lane));
    losses[lane] = (static_cast<double>(linear[lane]) - own + static_cast<double>(curved[lane])) / K;
  }
}

template <class T>
ONELAYER_INLINE void write_figures(const EvaluateJob<T>& job, const Argmax<T>& best, Vec<T> total, const double* losses) {
  using Word = typename VecOf<T>::Word;
  alignas(kVectorBytes) T own[kLanes<T>] = {};
  alignas(kVectorBytes) Word labels[kLanes<T>] = {};
  for (Index lane = 0; lane < job.count; ++lane) {
    own[lane] = label_score(job, lane);
    labels[lane] = static_cast<Word>(job.label(lane));
  }
  const Vec<T> label_scores = load<T>(own);
  IntVec<T> label, rank{};
  __builtin_memcpy(&label, labels, sizeof label);
  Vec<T> zero{};  // or NaN, as soon as a score is not finite
  for (Index k = 0; k < job.K; ++k) {
    const Vec<T> s = load<T>(job.scores + k * job.score_stride);
    const IntVec<T> lower = IntVec<T>{} + static_cast<Word>(k) < label;
    rank -= (s > label_scores) | ((s == label_scores) & lower);
    zero += s * T(0);
  }
  const Vec<T> confidence = T(1) / total + zero;
  for (Index lane = 0; lane < job.count; ++lane) {
    job.figures.classes[lane] = static_cast<std::int32_t>(best.k[lane]);
    job.figures.confidences[lane] = static_cast<double>(confidence[lane]);
    job.figures.losses[lane] = losses[lane];
    job.figures.ranks[lane] = static_cast<std::int32_t>(rank[lane]);
  }
}

// Losses of many labels, and how many of a row's are right; a score of 0 says no.
template <class T>
ONELAYER_INLINE void evaluate_labels(const EvaluateJob<T>& job, double* losses, Index* right) {
  Vec<T> linear{}, curved{};
  for (Index k = 0; k < job.K; ++k) {
    const Vec<T> s = load<T>(job.scores + k * job.score_stride);
    add_label_loss<T>(s, exp_nonpositive<T>(negative_abs<T>(s)), label_targets(job, k), linear, curved);
    for (Index lane = 0; lane < job.count; ++lane)
      right[lane] += (s[lane] > 0) == job.rows->has(job.first + lane, job.run * job.K + k);
  }
  for (Index lane = 0; lane < job.count; ++lane)
    losses[lane] = static_cast<double>(linear[lane]) + static_cast<double>(curved[lane]);
}

ONELAYER_INLINE void add_sums(EvaluateSums& sums, double weight, double loss, bool right) {
  loss = weight > 0 ? loss : 0;
  sums.loss += weight * loss;
  sums.square += weight * loss * loss;
  sums.right += right ? weight : 0;
  sums.correct += right;
}

// A row of weight 0 counts for nothing, even where its loss is infinite.
template <class T>
void evaluate(const EvaluateJob<T>& job) {
  if (job.rows->y.many) {
    alignas(kVectorBytes) double losses[kLanes<T>];
    Index right[kLanes<T>] = {};
    evaluate_labels(job, losses, right);
    for (Index lane = 0; lane < job.count; ++lane)
      add_sums(*job.sums, job.weight(lane), losses[lane], right[lane] == job.K);
    return;
  }
  const Argmax<T> best = argmax(job);
  alignas(kVectorBytes) double losses[kLanes<T>];
  Vec<T> total{};
  if (job.loss_kind.sigmoid)
    sigmoid_losses(job, losses);
  else
    total = softmax_losses(job, best.score, losses);
  EvaluateSums sums = *job.sums;
  for (Index lane = 0; lane < job.count; ++lane)
    add_sums(sums, job.weight(lane), losses[lane], best.k[lane] == job.label(lane));
  *job.sums = sums;
  if (job.figures.classes) write_figures(job, best, total, losses);
}

}  // namespace onelayer::ONELAYER_KERNELS
