#include "batch_loop.hpp"

#include "team.hpp"

namespace onelayer {

namespace {
// Below this many scores a batch, computing all of them is quicker than a second barrier.
constexpr Index kPrivateScores = 4096;
// More than this would push the tile itself out of the second-level cache.
constexpr Index kUpcomingBytes = 320 * 1024;
constexpr auto kPollInterval = std::chrono::milliseconds(50);
}  // namespace

template <class T>
BatchLoop<T>::BatchLoop(const Kernels<T>& kernels, const Plan& plan, PackedState<T>& state, const Slices& slices)
    : kernels_(kernels),
      plan_(plan),
      state_(state),
      slices_(slices),
      blocks_(plan.shape.columns(), kernels.block_columns),
      partition_(slices, blocks_, plan.threads),
      scaling_(plan.rows->scale, plan.rows->offset, slices),
      score_stride_(padded_stride(round_up(plan.batch_size, kernels.lanes), sizeof(T))),
      slice_scores_(plan.shape.columns() * score_stride_),
      shared_residuals_(partition_.threads() > 1 && plan.shape.columns() * plan.batch_size > kPrivateScores),
      scores_(2 * slices.count * slice_scores_),
      factors_(shared_residuals_ ? plan.shape.columns() * plan.batch_size + kFactorPadding : 0),
      loss_(plan.shape.R * ceil_div(plan.batch_size, kernels.lanes)),
      barrier_(partition_.threads()),
      last_poll_(std::chrono::steady_clock::now()) {
  for (int thread = 0; thread < partition_.threads(); ++thread) own_.push_back(prepare(thread));
}

template <class T>
auto BatchLoop<T>::prepare(int thread) const -> Own {
  const Share share = partition_.share(thread, slices_, blocks_);
  const Index own_slices = share.last_slice - share.first_slice;
  return Own{share, Buffer<T>(own_slices * plan_.batch_size * slices_.stride, Unset{}),
             Buffer<T>(shared_residuals_ ? 0 : plan_.shape.columns() * plan_.batch_size + kFactorPadding),
             Buffer<T>(plan_.shape.K * kernels_.lanes), Buffer<T>(kBackwardScratch, Unset{}),
             Buffer<double>(plan_.shape.R * ceil_div(plan_.batch_size, kernels_.lanes)),
             ColumnSteps<T>(plan_.shape, plan_.method ? *plan_.method : Method{}),
             std::vector<const char*>(static_cast<std::size_t>(plan_.batch_size))};
}

template <class T>
Index BatchLoop<T>::run() {
  run_team(partition_.threads(), [this](int thread) { work(thread); });
  return smaller(batches(), stop_after_.load() == std::numeric_limits<Index>::max() ? batches() : stop_after_ + 1);
}

template <class T>
void BatchLoop<T>::work(int thread) {
  Own& own = own_[static_cast<std::size_t>(thread)];
  for (Index s = own.share.first_slice; s < own.share.last_slice; ++s) forward(own, 0, s);
  for (Index t = 0; t < batches(); ++t) {
    if (thread == 0) poll(t);
    {
      PhaseTimer timer(Phase::wait);
      barrier_.arrive_and_wait();
    }
    // Read once: thread 0 may already be asking to stop after the next batch.
    const bool last = t + 1 == batches() || stop_after_.load(std::memory_order_relaxed) <= t;
    residuals(own, thread, t);
    if (plan_.method) own.steps.set(t, count(t), own.share.first_column, own.share.last_column);
    if (own.share.first_slice == 0) step_biases(own, t);
    if (thread == 0 && plan_.loss) add_loss(shared_residuals_ ? loss_ : own.loss, t);
    if (!last) list_rows(own, t + 1);
    for (Index s = own.share.first_slice; s < own.share.last_slice; ++s) {
      backward(own, t, s, last);
      if (!last) forward(own, t + 1, s);
    }
    if (last) return;
  }
}

template <class T>
void BatchLoop<T>::poll(Index t) {
  if (!*plan_.should_stop) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_poll_ < kPollInterval) return;
  last_poll_ = now;
  // The barrier that follows shows this to all threads before they decide about batch t.
  if ((*plan_.should_stop)()) stop_after_.store(smaller(stop_after_.load(), t), std::memory_order_relaxed);
}

template <class T>
void BatchLoop<T>::forward(Own& own, Index t, Index slice) {
  PhaseTimer timer(Phase::forward);
  ScoreJob<T> job;
  job.rows = plan_.rows->x;
  job.first = first(t);
  job.count = count(t);
  job.begin = slices_.begin(slice);
  job.features = slices_.features(slice);
  job.width = slices_.padded(slice);
  job.scaling = scaling_.of(slice);
  job.factor = scaling_.factor();
  job.x = own.x.data() + (slice - own.share.first_slice) * plan_.batch_size * slices_.stride;
  job.w = state_.weights.row(slice, own.share.first_column);
  job.stride = slices_.stride;
  job.columns = own.share.last_column - own.share.first_column;
  job.bias = slice == 0 ? plan_.bias + own.share.first_column : nullptr;
  job.scores = scores(t) + slice * slice_scores_ + own.share.first_column * score_stride_;
  job.score_stride = score_stride_;
  kernels_.score(job);
}

template <class T>
void BatchLoop<T>::residuals(Own& own, int thread, Index t) {
  PhaseTimer timer(Phase::softmax);
  const Index all = plan_.shape.R * row_groups(t);
  if (!shared_residuals_) return residual_range(own, t, 0, all);
  residual_range(own, t, part_begin(all, partition_.threads(), thread), part_begin(all, partition_.threads(), thread + 1));
  barrier_.arrive_and_wait();
}

template <class T>
void BatchLoop<T>::residual_range(Own& own, Index t, Index from, Index to) {
  ResidualJob<T> job;
  job.scores = scores(t);
  job.slices = slices_.count;
  job.slice_stride = slice_scores_;
  job.score_stride = score_stride_;
  job.K = plan_.shape.K;
  job.batch = count(t);
  job.source = &plan_.rows->x;
  job.first = first(t);
  job.labels = &plan_.rows->y;
  job.weights = plan_.rows->weights;
  job.blocks = &blocks_;
  job.scratch = own.scratch.data();
  job.factors = factors(own);
  double* loss = shared_residuals_ ? loss_.data() : own.loss.data();
  for (Index i = from; i < to; ++i) {
    job.run = i / row_groups(t);
    job.objective = plan_.method ? plan_.method->objectives.of(job.run) : Objective{};
    job.row = i % row_groups(t) * kernels_.lanes;
    job.rows = smaller(kernels_.lanes, count(t) - job.row);
    job.loss = plan_.loss ? loss + i : nullptr;
    kernels_.residual(job);
  }
}

template <class T>
void BatchLoop<T>::backward(Own& own, Index t, Index slice, bool last) {
  PhaseTimer timer(Phase::backward);
  BackwardJob<T> job;
  job.factors = factors(own);
  job.blocks = &blocks_;
  job.first_block = own.share.first_block;
  job.last_block = own.share.last_block;
  job.batch = count(t);
  job.x = own.x.data() + (slice - own.share.first_slice) * plan_.batch_size * slices_.stride;
  job.w = state_.weights.row(slice, 0);
  job.velocity = state_.velocity.row(slice, 0);
  job.average = state_.average.row(slice, 0);
  job.stride = slices_.stride;
  job.width = slices_.padded(slice);
  job.features = slices_.features(slice);
  job.steps = own.steps.data();
  job.plain = own.steps.plain();
  job.factor = scaling_.factor();
  job.gradient = plan_.gradient ? plan_.gradient + slices_.begin(slice) : nullptr;
  job.gradient_stride = slices_.D;
  job.scratch = own.backward_scratch.data();
  if (!last) job.upcoming = upcoming(own, t + 1, slice);
  kernels_.backward(job);
}

template <class T>
void BatchLoop<T>::list_rows(Own& own, Index t) const {
  for (Index n = 0; n < count(t); ++n) own.upcoming[static_cast<std::size_t>(n)] = plan_.rows->x.at(first(t) + n);
}

template <class T>
Upcoming BatchLoop<T>::upcoming(const Own& own, Index t, Index slice) const {
  const Index bytes = stored_bytes(plan_.rows->x.stored);
  if (count(t) * slices_.features(slice) * bytes > kUpcomingBytes) return {};
  return {own.upcoming.data(), count(t), slices_.begin(slice) * bytes, bytes};
}

// Done by the owner of slice 0, whose forward pass alone reads the bias.
template <class T>
void BatchLoop<T>::step_biases(Own& own, Index t) {
  T sums[kMaxBlockColumns + kFactorPadding];
  for (Index block = own.share.first_block; block < own.share.last_block; ++block) {
    const Index begin = blocks_.begin(block), size = blocks_.size(block);
    kernels_.factor_sums({factors(own) + begin * count(t), size, count(t), sums});
    for (Index c = begin; c < begin + size; ++c)
      if (plan_.gradient)
        plan_.gradient_bias[c] += static_cast<double>(sums[c - begin]);
      else
        step_bias(own.steps.data()[c], sums[c - begin], plan_.bias[c],
                  plan_.velocity_bias ? plan_.velocity_bias + c : nullptr,
                  plan_.average_bias ? plan_.average_bias + c : nullptr);
  }
}

template <class T>
void BatchLoop<T>::add_loss(const Buffer<double>& loss, Index t) {
  for (Index i = 0; i < plan_.shape.R * row_groups(t); ++i) plan_.loss[i / row_groups(t)] += loss.data()[i];
}

template class BatchLoop<float>;
template class BatchLoop<double>;

}  // namespace onelayer
