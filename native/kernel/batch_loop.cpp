#include "batch_loop.hpp"

namespace onelayer {

namespace {
// Up to this many scores a batch, computing all of them on every thread is quicker than a second barrier.
constexpr Index kMaxPrivateScores = 4096;
}  // namespace

template <class T>
BatchLoop<T>::BatchLoop(const Kernels<T>& kernels, const Plan& plan, PackedState<T>& state, const Slices& slices)
    : kernels_(kernels),
      plan_(plan),
      shape_(plan.pass.shape),
      state_(state),
      slices_(slices),
      blocks_(shape_.columns(), kernels.block_columns, kernels.sharing),
      partition_(slices, blocks_, plan.pass.threads),
      rows_(plan.pass.rows, slices, plan.pass.caches),
      score_stride_(padded_stride(round_up(plan.batch_size, kernels.lanes), sizeof(T))),
      slice_scores_(shape_.columns() * score_stride_),
      shared_residuals_(partition_.threads() > 1 && shape_.columns() * plan.batch_size > kMaxPrivateScores),
      scores_(2 * slices.count * slice_scores_),
      residuals_(shared_residuals_ ? shape_.columns() * plan.batch_size + kResidualPadding : 0),
      losses_(plan.loss ? 2 * shape_.R * plan.batch_size : 0),
      barrier_(partition_.threads()),
      last_batch_(batches() - 1) {
  for (Index run = 0; plan.method && run < shape_.R; ++run) grouped_ = grouped_ || plan.method->groups(run);
  for (int thread = 0; thread < partition_.threads(); ++thread) workers_.push_back(make_worker(thread));
}

template <class T>
auto BatchLoop<T>::make_worker(int thread) const -> Worker {
  const Part part = partition_.part(thread, slices_, blocks_);
  const Index slices = part.last_slice - part.first_slice;
  return Worker{part, Buffer<T>(slices * slices_.tile_size(plan_.batch_size), Uninitialized{}),
                Buffer<T>(shared_residuals_ ? 0 : shape_.columns() * plan_.batch_size + kResidualPadding),
                Buffer<T>(shape_.K * kernels_.lanes), Buffer<T>(kBackwardScratch, Uninitialized{}),
                Buffer<double>(plan_.loss ? 2 * shape_.R * plan_.batch_size : 0),
                ColumnSteps<T>(shape_, plan_.method ? *plan_.method : Method{}),
                std::vector<const char*>(static_cast<std::size_t>(plan_.batch_size))};
}

template <class T>
Index BatchLoop<T>::run() {
  run_threads(partition_.threads(), [this](int thread) { work(thread); });
  return last_batch_ + 1;
}

template <class T>
void BatchLoop<T>::work(int thread) {
  Worker& worker = workers_[static_cast<std::size_t>(thread)];
  const Part& part = worker.part;
  for (Index s = part.first_slice; s < part.last_slice; ++s) forward(worker, 0, s);
  for (Index t = 0;; ++t) {
    if (thread == 0) poll(t);
    {
      PhaseTimer timer(Phase::wait);
      barrier_.arrive_and_wait();
    }
    // Read once: thread 0 may already be asking to stop after the next batch.
    const bool last = last_batch_.load(std::memory_order_relaxed) <= t;
    compute_residuals(worker, thread, t);
    if (plan_.method)
      worker.steps.set(t, count(t), grouped_ ? 0 : part.first_column, grouped_ ? shape_.columns() : part.last_column);
    if (part.first_slice == 0) step_biases(worker, t);
    if (thread == 0 && plan_.loss) add_losses(shared_residuals_ ? losses_ : worker.losses, t);
    if (!last) list_rows(worker, t + 1);
    // Where several threads step the columns of a slice, each takes the groups of some of its features.
    const Index parts = partition_.block_parts;
    const bool waits = grouped_ && parts > 1;
    for (Index s = part.first_slice; s < part.last_slice; ++s) {
      backward(worker, t, s, last);
      if (waits) continue;
      if (grouped_) step_groups(worker, s, 0, 1);
      if (!last) forward(worker, t + 1, s);
    }
    if (waits) {
      barrier_.arrive_and_wait();
      for (Index s = part.first_slice; s < part.last_slice; ++s)
        step_groups(worker, s, thread / partition_.slice_parts, parts);
      barrier_.arrive_and_wait();
      for (Index s = part.first_slice; s < part.last_slice && !last; ++s) forward(worker, t + 1, s);
    }
    if (last) return;
  }
}

template <class T>
void BatchLoop<T>::poll(Index t) {
  const ShouldStop& should_stop = plan_.pass.should_stop;
  if (!should_stop || !poll_timer_.due() || !should_stop()) return;
  // The barrier that follows shows this to all threads before they decide about batch t.
  last_batch_.store(min(last_batch_, t), std::memory_order_relaxed);
}

template <class T>
void BatchLoop<T>::forward(Worker& worker, Index t, Index slice) {
  PhaseTimer timer(Phase::forward);
  const Part& part = worker.part;
  ScoreJob<T> job = rows_.load_job(slice, first(t), count(t), tile(worker, slice), plan_.batch_size);
  job.w = state_.weights.row(slice, part.first_column);
  job.columns = part.last_column - part.first_column;
  job.bias = slice == 0 ? plan_.bias + part.first_column : nullptr;
  job.scores = scores(t) + slice * slice_scores_ + part.first_column * score_stride_;
  job.score_stride = score_stride_;
  kernels_.score(job);
}

template <class T>
void BatchLoop<T>::compute_residuals(Worker& worker, int thread, Index t) {
  PhaseTimer timer(Phase::softmax);
  const Index all = shape_.R * row_groups(t), threads = partition_.threads();
  if (!shared_residuals_) return compute_residuals(worker, t, 0, all);
  compute_residuals(worker, t, part_begin(all, threads, thread), part_begin(all, threads, thread + 1));
  barrier_.arrive_and_wait();
}

// Of row groups `from` to `to`, counted over all runs.
template <class T>
void BatchLoop<T>::compute_residuals(Worker& worker, Index t, Index from, Index to) {
  ResidualJob<T> job;
  job.slices = slices_.count;
  job.slice_stride = slice_scores_;
  job.score_stride = score_stride_;
  job.K = shape_.K;
  job.B = count(t);
  job.rows = &plan_.pass.rows;
  job.blocks = &blocks_;
  job.scratch = worker.scratch.data();
  job.residuals = residuals(worker);
  double* losses = shared_residuals_ ? losses_.data() : worker.losses.data();
  for (Index i = from; i < to; ++i) {
    job.run = i / row_groups(t);
    job.loss_kind = plan_.method ? plan_.method->loss_kind(job.run) : LossKind{};
    job.row = i % row_groups(t) * kernels_.lanes;
    job.first = first(t) + job.row;
    job.count = min(kernels_.lanes, count(t) - job.row);
    job.scores = scores(t) + job.run * shape_.K * score_stride_ + job.row;
    job.losses = plan_.loss ? losses + job.run * plan_.batch_size + job.row : nullptr;
    job.squares = plan_.loss ? job.losses + shape_.R * plan_.batch_size : nullptr;
    kernels_.residual(job);
  }
}

template <class T>
void BatchLoop<T>::backward(Worker& worker, Index t, Index slice, bool last) {
  PhaseTimer timer(Phase::backward);
  BackwardJob<T> job;
  job.caches = plan_.pass.caches;
  job.residuals = residuals(worker);
  job.blocks = &blocks_;
  job.first_block = worker.part.first_block;
  job.last_block = worker.part.last_block;
  job.B = count(t);
  job.x = tile(worker, slice);
  job.panel_stride = panel_stride(plan_.batch_size, kPanel<T>);
  job.w = state_.weights.row(slice, 0);
  job.slots = state_.slot_rows(slice);
  job.stride = slices_.stride;
  job.width = slices_.padded(slice);
  job.features = slices_.features(slice);
  job.steps = worker.steps.data();
  job.plain = worker.steps.plain();
  job.common_scale = rows_.common_scale();
  job.gradient = plan_.gradient ? plan_.gradient + slices_.begin(slice) : nullptr;
  job.gradient_stride = slices_.D;
  job.scratch = worker.backward_scratch.data();
  if (!last) job.next = next_rows(worker, t + 1, slice);
  kernels_.backward(job);
}

// Of one of the equal parts of a slice's features.
template <class T>
void BatchLoop<T>::step_groups(Worker& worker, Index slice, Index part, Index parts) {
  PhaseTimer timer(Phase::backward);
  const Index panels = slices_.padded(slice) / slices_.panel;
  GroupJob<T> job;
  job.steps = worker.steps.data();
  job.columns = shape_.columns();
  job.K = shape_.K;
  job.begin = part_begin(panels, parts, part) * slices_.panel;
  job.end = part_begin(panels, parts, part + 1) * slices_.panel;
  job.w = state_.weights.row(slice, 0);
  job.slots = state_.slot_rows(slice);
  job.stride = slices_.stride;
  kernels_.step_groups(job);
}

template <class T>
void BatchLoop<T>::list_rows(Worker& worker, Index t) const {
  for (Index n = 0; n < count(t); ++n)
    worker.next_rows[static_cast<std::size_t>(n)] = plan_.pass.rows.x.at(first(t) + n);
}

template <class T>
NextRows BatchLoop<T>::next_rows(const Worker& worker, Index t, Index slice) const {
  const Index bytes = stored_bytes(plan_.pass.rows.x.type);
  // More would push the tile itself out of the second-level cache.
  if (count(t) * slices_.features(slice) * bytes > plan_.pass.caches.second / 16 * 5) return {};
  return {worker.next_rows.data(), count(t), slices_.begin(slice) * bytes, bytes};
}

// Done by the owner of slice 0, because its forward pass alone reads the bias.
template <class T>
void BatchLoop<T>::step_biases(Worker& worker, Index t) {
  T sums[kMaxBlockColumns + kResidualPadding];
  double totals[kMaxBlockColumns + kResidualPadding];
  for (Index block = worker.part.first_block; block < worker.part.last_block; ++block) {
    const Index begin = blocks_.begin(block), size = blocks_.size(block);
    kernels_.residual_sums({residuals(worker) + begin * count(t), size, count(t), sums,
                            plan_.gradient ? totals : nullptr});
    for (Index c = begin; c < begin + size; ++c)
      if (plan_.gradient)
        plan_.gradient_bias[c] += totals[c - begin];
      else
        step_bias(worker.steps.data()[c], sums[c - begin], plan_.bias[c], plan_.slot_biases + c);
  }
}

template <class T>
void BatchLoop<T>::add_losses(const Buffer<double>& losses, Index t) {
  const double *of_run = losses.data(), *squares = of_run + shape_.R * plan_.batch_size;
  for (Index r = 0; r < shape_.R; ++r, of_run += plan_.batch_size, squares += plan_.batch_size)
    for (Index n = 0; n < count(t); ++n) {
      const double sums = static_cast<double>(count(t) - n);
      plan_.loss[r] += of_run[n];
      plan_.rounded[r] += sums * sums * squares[n];
    }
}

template class BatchLoop<float>;
template class BatchLoop<double>;

}  // namespace onelayer
