#include "sparse_passes.hpp"

#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "optimizer.hpp"

namespace onelayer {

inline constexpr Index kChunkValues = 1 << 17;  // residuals of a chunk, which all threads read
inline constexpr Index kTileRows = 64;          // rows whose scores and residuals a thread computes at a time

template <class T>
struct SparseScorer {
  Buffer<T> scores, scratch;
};

// Scores and residuals of chunks of rows by all threads, each chunk followed by work on its residuals.
//
// Two chunks' residuals are kept: while one is worked on, a thread that is done begins the next.
template <class T>
class SparseResiduals {
 public:
  SparseResiduals(const Kernels<T>& kernels, const Pass& pass, Index chunk, const Method* method, double* loss,
                  double* squares)
      : kernels_(kernels),
        pass_(pass),
        method_(method),
        loss_(loss),
        squares_(squares),
        stride_(sparse_stride(pass.shape.columns())),
        chunk_(chunk),
        blocks_(stride_, stride_, 1),
        residuals_(2 * chunk * stride_ + kResidualPadding),
        losses_(loss ? 4 * chunk * pass.shape.R : 0),
        next_(static_cast<std::size_t>(chunks())),
        last_(chunks() - 1),
        barrier_(pass.threads),
        bias_sums_(2 * static_cast<std::size_t>(stride_)) {
    for (int thread = 0; thread < pass.threads; ++thread)
      scorers_.push_back({Buffer<T>(stride_ * kTileRows), Buffer<T>(pass.shape.K * kernels.lanes)});
  }
  Index chunks() const { return ceil_div(pass_.shape.N, chunk_); }
  Index first(Index t) const { return t * chunk_; }
  Index count(Index t) const { return min(chunk_, pass_.shape.N - first(t)); }
  const T* of(Index t) const { return residuals_.data() + t % 2 * chunk_ * stride_; }
  // The sum of a chunk's residuals of each column.
  const double* bias_sums(Index t) const { return bias_sums_.data() + t % 2 * stride_; }
  Index done() const { return last_ + 1; }
  void wait() { barrier_.arrive_and_wait(); }

  // Computes chunk t's residuals; scores are made by `score`(first, count, scores, stride). False after the last one.
  template <class Score>
  bool compute(int thread, Index t, const Score& score) {
    if (t > last_.load(std::memory_order_relaxed)) return false;
    SparseScorer<T>& scorer = scorers_[static_cast<std::size_t>(thread)];
    const Index tiles = ceil_div(count(t), kTileRows);
    for (Index tile = next_[static_cast<std::size_t>(t)]++; tile < tiles; tile = next_[static_cast<std::size_t>(t)]++) {
      const Index from = tile * kTileRows, rows = min(kTileRows, count(t) - from);
      score(first(t) + from, rows, scorer.scores.data(), kTileRows);
      residuals(scorer, t, from, rows);
    }
    if (thread == 0 && pass_.should_stop && poll_timer_.due() && pass_.should_stop()) last_ = min(last_.load(), t);
    wait();
    if (thread == 0) add_up(t);
    return true;
  }

 private:
  void residuals(SparseScorer<T>& scorer, Index t, Index from, Index rows) {
    ResidualJob<T> job;
    job.slices = 1;
    job.score_stride = kTileRows;
    job.K = pass_.shape.K;
    job.B = chunk_;
    job.rows = &pass_.rows;
    job.blocks = &blocks_;
    job.scratch = scorer.scratch.data();
    job.residuals = residuals_.data() + t % 2 * chunk_ * stride_;
    for (job.run = 0; job.run < pass_.shape.R; ++job.run) {
      job.loss_kind = method_ ? method_->loss_kind(job.run) : LossKind{};
      for (Index n = 0; n < rows; n += kernels_.lanes) {
        job.row = from + n;
        job.first = first(t) + job.row;
        job.count = min(kernels_.lanes, rows - n);
        job.scores = scorer.scores.data() + job.run * pass_.shape.K * kTileRows + n;
        job.losses = loss_ ? losses_.data() + (t % 2 * pass_.shape.R + job.run) * chunk_ + job.row : nullptr;
        job.squares = loss_ ? job.losses + 2 * pass_.shape.R * chunk_ : nullptr;
        kernels_.residual(job);
      }
    }
  }

  void add_up(Index t) {
    double* const sums = bias_sums_.data() + t % 2 * stride_;
    std::fill(sums, sums + stride_, 0.0);
    const T* r = of(t);
    for (Index n = 0; n < count(t); ++n, r += stride_)
      for (Index c = 0; c < stride_; ++c) sums[c] += static_cast<double>(r[c]);
    for (Index run = 0; loss_ && run < pass_.shape.R; ++run)
      for (Index n = 0; n < count(t); ++n) {
        const Index i = (t % 2 * pass_.shape.R + run) * chunk_ + n;
        loss_[run] += losses_[i];
        squares_[run] += losses_[2 * pass_.shape.R * chunk_ + i];
      }
  }

  const Kernels<T>& kernels_;
  const Pass& pass_;
  const Method* method_;
  double *loss_, *squares_;
  Index stride_, chunk_;
  ColumnBlocks blocks_;  // one, so that the residuals of a row are neighbours
  Buffer<T> residuals_;
  Buffer<double> losses_;
  std::vector<std::atomic<Index>> next_;  // tile of each chunk
  std::atomic<Index> last_;
  Barrier barrier_;
  std::vector<double> bias_sums_;
  std::vector<SparseScorer<T>> scorers_;
  PollTimer poll_timer_;
};

inline Index sparse_chunk_rows(const Pass& pass) {
  const Index rows = kChunkValues / sparse_stride(pass.shape.columns());
  return min(pass.shape.N, max(kTileRows, rows / kTileRows * kTileRows));
}

// Steps after batches. A step without momentum, averages and offsets changes the features of its batch alone, but for
// the penalties, by which others shrink: they take that when a batch meets them next, one step after another, and at
// the end, so that no bit depends on when.
template <class T>
class SparseTraining {
 public:
  SparseTraining(const Kernels<T>& kernels, const TrainRequest<T>& request, bool averaging)
      : kernels_(kernels),
        request_(request),
        D_(request.shape.D),
        columns_(request.shape.columns()),
        stride_(sparse_stride(columns_)),
        residuals_(kernels, request, min(request.batch_size, request.shape.N), &request.method, nullptr, nullptr),
        sums_(request),
        weights_(D_ * stride_, Uninitialized{}),
        bias_(static_cast<std::size_t>(stride_)),
        grouped_(request.shape.R),
        shifted_(!all_equal(request.rows.offset, 0)),
        unit_(all_equal(request.rows.scale, 1)) {
    for (int slot = 0; slot < kSlots; ++slot) {
      slot_biases_.slots[slot] = request.slots[slot].b;
      if (slot == kAverage ? averaging : request.method.uses(static_cast<Slot>(slot)))
        slots_.slots[slot] = slot_memory_.emplace_back(D_ * stride_, Uninitialized{}).data();
    }
    lazy_ = slot_memory_.empty() && !shifted_ && all_equal(request.rows.scale, request.rows.scale[0]);
    if (lazy_) {
      stepped_.resize(static_cast<std::size_t>(D_));
      listed_.resize(static_cast<std::size_t>(D_), -1);
      shrinks_.resize(static_cast<std::size_t>(residuals_.chunks() * stride_));
      if (request.method.settings[kL1]) thresholds_.resize(shrinks_.size());
    }
    for (Index run = 0; run < request.shape.R; ++run) {
      grouped_[run] = request.method.groups(run);
      any_grouped_ = any_grouped_ || grouped_[run];
    }
    for (int thread = 0; thread < request.threads; ++thread) {
      steps_.emplace_back(request.shape, request.method);
      features_.emplace_back();
    }
  }

  Index run() {
    run_threads(request_.threads, [this](int thread) { work(thread); });
    return residuals_.done();
  }

 private:
  bool all_equal(const double* values, double value) const {
    return std::all_of(values, values + D_, [value](double of) { return of == value; });
  }

  // Calls copy(an array of the request, the same one by features) for the weights and slots of the thread's features.
  template <class Copy>
  void for_arrays(int thread, const Copy& copy) {
    const auto each = [&](T* array, T* by_feature) {
      for_blocks(sums_.begin(thread), sums_.begin(thread + 1), columns_,
                 [&](Index d, Index c) { copy(array[c * D_ + d], by_feature[d * stride_ + c]); });
    };
    each(request_.weights.W, weights_.data());
    for (int slot = 0; slot < kSlots; ++slot)
      if (slots_.slots[slot]) each(request_.slots[slot].W, slots_.slots[slot]);
  }

  void work(int thread) {
    sums_.clear(thread);
    T* const weights = weights_.data();
    std::fill(weights + sums_.begin(thread) * stride_, weights + sums_.begin(thread + 1) * stride_, T(0));
    for_arrays(thread, [](T given, T& kept) { kept = given; });
    ColumnSteps<T>& steps = steps_[static_cast<std::size_t>(thread)];
    const auto score = [this](Index first, Index count, T* scores, Index score_stride) {
      kernels_.sparse_scores(score_job(first, count, scores, score_stride));
    };
    begin_step(thread, 0);
    Index t = 0;
    for (; residuals_.compute(thread, t, score); ++t) {
      steps.set(t, residuals_.count(t), 0, columns_);
      for (Index c = 0; lazy_ && thread == 0 && c < columns_; ++c) {
        const auto i = static_cast<std::size_t>(t * stride_ + c);
        shrinks_[i] = steps.data()[c].shrink;
        if (!thresholds_.empty()) thresholds_[i] = steps.data()[c].threshold;
      }
      sums_.add(kernels_, request_.rows.x, thread, residuals_.first(t), residuals_.count(t), residuals_.of(t));
      residuals_.wait();  // for the sums of residuals
      SparseStepJob<T> job = step_job(thread, t);
      job.steps = steps.data();
      job.sums = sums_.data();
      job.bias_sums = residuals_.bias_sums(t);
      kernels_.sparse_step(job);
      if (thread == 0)
        for (Index c = 0; c < columns_; ++c)
          step_bias(steps.data()[c], static_cast<T>(job.bias_sums[c]), request_.weights.b[c], slot_biases_ + c);
      begin_step(thread, t + 1);
    }
    if (lazy_) {
      SparseStepJob<T> job = step_job(thread, t);
      job.features = nullptr;
      job.begin = sums_.begin(thread);
      job.end = sums_.begin(thread + 1);
      kernels_.sparse_step(job);
    }
    for_arrays(thread, [](T& given, T kept) { given = one_nan(kept); });
  }

  // Brings what the scores of batch t read up to step t.
  void begin_step(int thread, Index t) {
    if (t >= residuals_.chunks()) return;
    if (shifted_) residuals_.wait();  // for the weights of all features
    if (thread == 0) fold_offsets();
    if (lazy_) {
      list_features(thread, residuals_.first(t), residuals_.count(t), t);
      kernels_.sparse_step(step_job(thread, t));
    }
    residuals_.wait();
  }

  void fold_offsets() {
    for (Index c = 0; c < columns_; ++c) {
      double sum = 0;
      for (Index d = 0; shifted_ && d < D_; ++d)
        sum += static_cast<double>(weights_[d * stride_ + c]) * request_.rows.offset[d];
      bias_[static_cast<std::size_t>(c)] = static_cast<double>(request_.weights.b[c]) + sum;
    }
  }

  // The thread's features that a batch stores.
  void list_features(int thread, Index first, Index count, Index t) {
    std::vector<Index>& features = features_[static_cast<std::size_t>(thread)];
    features.clear();
    const StoredMatrix& x = request_.rows.x;
    for (Index n = first; n < first + count; ++n)
      for (Index j = x.indptr[x.row(n)]; j < x.indptr[x.row(n) + 1]; ++j) {
        const Index d = x.feature(j);
        Index& listed = listed_[static_cast<std::size_t>(d)];
        if (d < sums_.begin(thread) || d >= sums_.begin(thread + 1) || listed == t) continue;
        listed = t;
        features.push_back(d);
      }
  }

  SparseScoreJob<T> score_job(Index first, Index count, T* scores, Index score_stride) const {
    SparseScoreJob<T> job;
    job.rows = request_.rows.x;
    job.first = first;
    job.count = count;
    job.last = job.rows.stored_last;
    job.w = weights_.data();
    job.stride = stride_;
    job.columns = columns_;
    job.scale = unit_ ? nullptr : request_.rows.scale;
    job.bias = bias_.data();
    job.scores = scores;
    job.score_stride = score_stride;
    return job;
  }

  SparseStepJob<T> step_job(int thread, Index t) {
    SparseStepJob<T> job;
    job.stride = stride_;
    job.columns = columns_;
    job.w = weights_.data();
    job.slots = slots_;
    job.scale = request_.rows.scale;
    job.offset = request_.rows.offset;
    job.t = t;
    job.begin = sums_.begin(thread);
    job.end = sums_.begin(thread + 1);
    job.K = request_.shape.K;
    job.grouped = any_grouped_ ? grouped_.data() : nullptr;
    if (!lazy_) return job;
    const std::vector<Index>& features = features_[static_cast<std::size_t>(thread)];
    job.features = features.data();
    job.begin = 0;
    job.end = static_cast<Index>(features.size());
    job.stepped = stepped_.data();
    job.shrinks = shrinks_.data();
    job.thresholds = thresholds_.empty() ? nullptr : thresholds_.data();
    return job;
  }

  const Kernels<T>& kernels_;
  const TrainRequest<T>& request_;
  const Index D_, columns_, stride_;
  SparseResiduals<T> residuals_;
  SparseSums<T> sums_;
  Buffer<T> weights_;
  std::vector<Buffer<T>> slot_memory_;
  SlotPointers<T> slots_, slot_biases_;
  std::vector<double> bias_;
  Buffer<bool> grouped_;                 // of each run
  bool shifted_, unit_, lazy_ = false, any_grouped_ = false;
  std::vector<Index> stepped_, listed_;  // of each feature: steps that it has taken, and the batch that listed it
  std::vector<T> shrinks_, thresholds_;  // of each step and column
  std::vector<ColumnSteps<T>> steps_;    // of each thread
  std::vector<std::vector<Index>> features_;
};

template <class T>
Index train_sparse(const Kernels<T>& kernels, const TrainRequest<T>& request, bool averaging) {
  return SparseTraining<T>(kernels, request, averaging).run();
}

template <class T>
Index sparse_gradient(const Kernels<T>& kernels, const GradientRequest<T>& request) {
  const Shape& shape = request.shape;
  const double N = static_cast<double>(shape.N);
  const SparseWeights<T> weights(request, request.weights.W, request.weights.b);
  SparseResiduals<T> residuals(kernels, request, sparse_chunk_rows(request), nullptr, request.loss, request.rounded);
  SparseSums<T> sums(request);
  run_threads(request.threads, [&](int thread) {
    sums.clear(thread);
    const auto score = [&](Index first, Index count, T* scores, Index score_stride) {
      kernels.sparse_scores(weights.job(request.rows.x, first, count, scores, score_stride));
    };
    for (Index t = 0; residuals.compute(thread, t, score); ++t) {
      sums.add(kernels, request.rows.x, thread, residuals.first(t), residuals.count(t), residuals.of(t));
      for (Index c = 0; thread == 0 && c < shape.columns(); ++c) request.gradient_b[c] += residuals.bias_sums(t)[c];
    }
    residuals.wait();
    sums.finish(request, thread, request.gradient_b, N, request.gradient_W);
  });
  for (Index r = 0; r < shape.R; ++r) request.loss[r] /= N, request.rounded[r] /= N;
  for (Index c = 0; c < shape.columns(); ++c) request.gradient_b[c] /= N;
  return residuals.done();
}

template <class T>
bool sparse_weighted_sums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request) {
  // Clang before 16 captures no structured bindings.
  const Index N = request.shape.N, K = request.shape.K, R = request.shape.R;
  const Index chunk = sparse_chunk_rows(request);
  SparseSums<T> sums(request);
  const Index stride = sums.stride();
  Buffer<T> factors(chunk * stride + kResidualPadding);
  std::vector<double> totals(static_cast<std::size_t>(stride));
  Barrier barrier(request.threads);
  std::atomic<bool> stop{false};
  PollTimer poll_timer;
  run_threads(request.threads, [&](int thread) {
    sums.clear(thread);
    for (Index first = 0; first < N; first += chunk) {
      const Index count = min(chunk, N - first);
      if (thread == 0) {
        if (request.should_stop && poll_timer.due() && request.should_stop()) stop = true;
        for (Index n = 0; n < count; ++n)
          for (Index c = 0; c < K * R; ++c) {
            const T factor = request.factors[(c / K * N + first + n) * K + c % K];
            factors[n * stride + c] = factor;
            totals[static_cast<std::size_t>(c)] += static_cast<double>(factor);
          }
      }
      barrier.arrive_and_wait();
      if (stop) return;
      sums.add(kernels, request.rows.x, thread, first, count, factors.data());
      barrier.arrive_and_wait();
    }
    sums.finish(request, thread, totals.data(), 1, request.sums);
  });
  return !stop;
}

bool sparse_class_sums(const ClassSumsRequest& request) {
  const Rows& rows = request.rows;
  const Index D = request.shape.D;
  const std::vector<Index> bounds = feature_bounds(request);
  run_threads(request.threads, [&](int thread) {
    const Index begin = bounds[static_cast<std::size_t>(thread)], end = bounds[static_cast<std::size_t>(thread) + 1];
    for (Index n = 0; n < request.shape.N; ++n) {
      const Index row = rows.x.row(n);
      double* const sums = request.sums + rows.label(n) * D;
      for (Index j = rows.x.indptr[row]; j < rows.x.indptr[row + 1]; ++j) {
        const Index d = rows.x.feature(j);
        if (d < begin || d >= end) continue;
        const bool narrow = rows.x.type == StoredType::float32;
        const double x = narrow ? static_cast<double>(reinterpret_cast<const float*>(rows.x.base)[j])
                                : reinterpret_cast<const double*>(rows.x.base)[j];
        const double part = x * rows.weight(n);
        sums[d] += part;
        request.squares[d] += part * x;
      }
    }
  });
  return true;
}

template <class S>
void sparse_ranges(const Pass& pass, S* low, S* high) {
  const StoredMatrix& x = pass.rows.x;
  const Index N = pass.shape.N, D = pass.shape.D;
  const S* const values = reinterpret_cast<const S*>(x.base);
  // The range of a feature that every row stores need not hold 0.
  std::vector<std::int32_t> counts(static_cast<std::size_t>(x.stored_last + 1 - x.indptr[0] < N ? 0 : D));
  bool full = false;
  for (Index j = x.indptr[0]; !counts.empty() && j <= x.stored_last; ++j)
    full |= ++counts[static_cast<std::size_t>(x.feature(j))] == N;
  for (Index d = 0; full && d < D; ++d)
    if (counts[static_cast<std::size_t>(d)] == N) low[d] = HUGE_VAL, high[d] = -HUGE_VAL;
  for (Index j = x.indptr[0]; j <= x.stored_last; ++j) {
    const Index d = x.feature(j);
    if (values[j] < low[d]) low[d] = values[j];
    if (values[j] > high[d]) high[d] = values[j];
  }
}

// The arithmetic of data/fingerprints.py, modulo 2^64.
inline std::uint64_t mixed(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// The first or the second factor of a word.
inline std::uint64_t factor_of(Index word, int place) {
  constexpr std::uint64_t golden = 0x9E3779B97F4A7C15u;
  return mixed((2 * static_cast<std::uint64_t>(word) + static_cast<std::uint64_t>(place)) * golden) | 1;
}

// Of values as a narrower type B, of which so many are a word of eight bytes.
template <class B, class S>
std::uint64_t row_fingerprint(const StoredMatrix& x, const S* values, Index begin, Index end) {
  constexpr Index each = 8 / static_cast<Index>(sizeof(B));
  std::uint64_t sum = 0;
  for (Index j = begin; j < end;) {
    const Index word = x.feature(j) / each;
    std::uint64_t bits = 0;
    for (; j < end && x.feature(j) / each == word; ++j) {
      const B value = static_cast<B>(values[j] + S(0));  // -0 is 0
      std::uint64_t of_value = 0;
      std::memcpy(&of_value, &value, sizeof value);
      bits |= of_value << (64 / each * (x.feature(j) % each));
    }
    bits *= factor_of(word, 1);
    sum += (bits ^ (bits >> 32)) * factor_of(word, 2);
  }
  return mixed(sum);
}

void sparse_fingerprints(const Pass& pass, std::uint64_t* fingerprints) {
  const StoredMatrix& x = pass.rows.x;
  with_values(x, [&]<class S>(const S* values) {
    split(pass.threads, pass.shape.N, [&](Index first, Index last) {
      for (Index n = first; n < last; ++n) {
        const Index begin = x.indptr[n], end = x.indptr[n + 1];
        const bool small = std::all_of(values + begin, values + end,
                                       [](S v) { return v >= 0 && v <= 255 && std::floor(v) == v; });
        const bool single = std::all_of(values + begin, values + end, [](S v) {
          return std::fabs(static_cast<double>(v)) <= 3.4028234663852886e38 && static_cast<S>(static_cast<float>(v)) == v;
        });
        fingerprints[n] = small    ? row_fingerprint<std::uint8_t>(x, values, begin, end)
                          : single ? row_fingerprint<float>(x, values, begin, end)
                                   : row_fingerprint<double>(x, values, begin, end);
      }
    });
  });
}

void fingerprints(const Kernels<float>& kernels, const Pass& pass, std::uint64_t* found) {
  if (pass.rows.x.sparse()) return sparse_fingerprints(pass, found);
  const Index N = pass.shape.N, D = pass.shape.D;
  std::vector<std::uint64_t> first, second;
  for (Index word = 0; word < D + kMoreWords; ++word)
    first.push_back(factor_of(word, 1)), second.push_back(factor_of(word, 2));
  const int threads = static_cast<int>(max(1, min(pass.threads, N * D >> 18)));
  run_threads(threads, [&](int thread) {
    const Index begin = part_begin(N, threads, thread), end = part_begin(N, threads, thread + 1);
    kernels.row_words({pass.rows.x, D, begin, end, first.data(), second.data(), found});
    std::transform(found + begin, found + end, found + begin, mixed);
  });
}

template void sparse_ranges(const Pass&, float*, float*);
template void sparse_ranges(const Pass&, double*, double*);
template Index train_sparse(const Kernels<float>&, const TrainRequest<float>&, bool);
template Index train_sparse(const Kernels<double>&, const TrainRequest<double>&, bool);
template Index sparse_gradient(const Kernels<float>&, const GradientRequest<float>&);
template Index sparse_gradient(const Kernels<double>&, const GradientRequest<double>&);
template bool sparse_weighted_sums(const Kernels<float>&, const WeightedSumsRequest<float>&);
template bool sparse_weighted_sums(const Kernels<double>&, const WeightedSumsRequest<double>&);

}  // namespace onelayer
