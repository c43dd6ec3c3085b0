// The five passes. Training and the gradient run the batch loop; evaluation and the sums read each row once.
//
// The gradient and weighted sums add tiles of rows in the arithmetic type, and the tiles' sums in float64.
#include "passes.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "batch_loop.hpp"
#include "memory.hpp"
#include "sparse_passes.hpp"
#include "threads.hpp"

namespace onelayer {

namespace {

constexpr Index kSumRows = 192;       // rows of a tile that is added up in the arithmetic type
// Rows that are sorted by class before they are added, those that are added at a time, which caches hold beside the next
// ones, and features that a thread owns, at least.
constexpr Index kClassWindow = 4096, kClassRows = 64, kClassPart = 64;
constexpr Index kMostBytes = 257, kMostSquares = 65536;  // whose sum 16 bits hold, and that of squares 32 bits
constexpr Index kEvaluateRows = 160;  // rows of a tile that is evaluated
constexpr Index kScoreBytes = 16 << 20;  // of a thread's scores: fewer rows are scored at a time where they take more
constexpr Index kMaxChunks = 64;

// Whether a run averages at any step; before the first that does, nothing is written.
bool averages(const Method& method, Index R, Index steps) {
  const double* averaging = method.settings[kAveraging];
  return averaging && std::any_of(averaging, averaging + steps * R, [](double alpha) { return alpha != 1; });
}

// The average of a run whose last step had alpha = 1: its weights.
template <class T>
void copy_weights(const TrainRequest<T>& request, Index run) {
  const auto [N, D, K, R] = request.shape;
  const Parameters<T>& average = request.slots[kAverage];
  std::copy_n(request.weights.W + run * K * D, K * D, average.W + run * K * D);
  std::copy_n(request.weights.b + run * K, K, average.b + run * K);
}

template <class T>
void with_one_nan(T* b, Index columns) {
  std::transform(b, b + columns, b, one_nan<T>);
}

// Scores of a tile of rows, [column][row]: slice by slice, or of the stored values of sparse rows.
template <class T>
class DenseScores {
 public:
  DenseScores(const Kernels<T>& kernels, const EvaluateRequest<T>& request)
      : kernels_(kernels),
        request_(request),
        slices_(request.shape.D, sizeof(T)),
        weights_(request.weights.W, request.shape.columns(), slices_, kernels.sharing),
        rows_(request.rows, slices_, request.caches) {}
  Index tile_size(Index rows) const { return slices_.tile_size(rows); }

  // x is a tile that has room for `rows`.
  void operator()(Index first, Index count, T* x, Index rows, T* scores, Index score_stride) {
    for (Index slice = 0; slice < slices_.count; ++slice) {
      ScoreJob<T> job = rows_.load_job(slice, first, count, x, rows);
      job.w = weights_.row(slice, 0);
      job.columns = request_.shape.columns();
      job.bias = slice == 0 ? request_.weights.b : nullptr;
      job.accumulate = slice > 0;
      job.scores = scores;
      job.score_stride = score_stride;
      kernels_.score(job);
    }
  }

 private:
  const Kernels<T>& kernels_;
  const EvaluateRequest<T>& request_;
  Slices slices_;
  PackedWeights<T> weights_;
  SlicedRows<T> rows_;
};

template <class T>
class SparseScores {
 public:
  SparseScores(const Kernels<T>& kernels, const EvaluateRequest<T>& request)
      : kernels_(kernels), rows_(request.rows.x), weights_(request, request.weights.W, request.weights.b) {}
  Index tile_size(Index) const { return 0; }
  void operator()(Index first, Index count, T*, Index, T* scores, Index score_stride) {
    kernels_.sparse_scores(weights_.job(rows_, first, count, scores, score_stride));
  }

 private:
  const Kernels<T>& kernels_;
  const StoredMatrix& rows_;
  SparseWeights<T> weights_;
};

// Sums of losses and right labels, and figures of each row.
//
// Rows are cut into chunks, whose number depends on N only, and chunks into tiles. Threads take chunks as they come; a
// chunk's sums are kept apart and added in order, so the result does not depend on which thread did which. Of many
// columns a tile is scored a few rows at a time, which changes no bit either.
template <class T, class Scores>
class Evaluation {
 public:
  Evaluation(const Kernels<T>& kernels, const EvaluateRequest<T>& request)
      : kernels_(kernels),
        request_(request),
        shape_(request.shape),
        score_(kernels, request),
        tiles_(ceil_div(shape_.N, kEvaluateRows)),
        chunks_(min(kMaxChunks, tiles_)),
        threads_(static_cast<int>(max(1, min(request.threads, chunks_)))),
        scored_(rows_scored(shape_.columns())),
        score_stride_(padded_stride(scored_, sizeof(T))),
        sums_(static_cast<std::size_t>(chunks_ * shape_.R)) {
    for (int thread = 0; thread < threads_; ++thread)
      workers_.push_back({Buffer<T>(score_.tile_size(scored_), Uninitialized{}),
                          Buffer<T>(shape_.columns() * score_stride_)});
  }

  bool run() {
    run_threads(threads_, [this](int thread) { work(thread); });
    for (Index chunk = 0; chunk < chunks_; ++chunk)
      for (Index r = 0; r < shape_.R; ++r) {
        const EvaluateSums& part = chunk_sums(chunk, r);
        request_.sums[r].loss += part.loss;
        request_.sums[r].square += part.square;
        request_.sums[r].right += part.right;
        request_.sums[r].correct += part.correct;
      }
    return !stop_;
  }

 private:
  static Index rows_scored(Index columns) {
    const Index fit = kScoreBytes / (columns * static_cast<Index>(sizeof(T)));
    return max(kMaxLanes, min(kEvaluateRows, fit / kMaxLanes * kMaxLanes));
  }
  EvaluateSums& chunk_sums(Index chunk, Index r) { return sums_[static_cast<std::size_t>(chunk * shape_.R + r)]; }

  struct Worker {  // a thread's own memory
    Buffer<T> x, scores;
  };

  void work(int thread) {
    Worker& worker = workers_[static_cast<std::size_t>(thread)];
    for (Index chunk = next_++; chunk < chunks_; chunk = next_++)
      for (Index tile = part_begin(tiles_, chunks_, chunk); tile < part_begin(tiles_, chunks_, chunk + 1); ++tile) {
        if (thread == 0 && request_.should_stop && poll_timer_.due() && request_.should_stop()) stop_ = true;
        if (stop_) return;
        const Index end = min((tile + 1) * kEvaluateRows, shape_.N);
        for (Index first = tile * kEvaluateRows; first < end; first += scored_)
          evaluate(worker, chunk, first, min(scored_, end - first));
      }
  }

  void evaluate(Worker& worker, Index chunk, Index first, Index count) {
    score_(first, count, worker.x.data(), scored_, worker.scores.data(), score_stride_);
    for (Index r = 0; r < shape_.R; ++r) evaluate(worker, chunk, r, first, count);
    if (request_.scores) copy_scores(worker, first, count);
  }

  void evaluate(Worker& worker, Index chunk, Index r, Index first, Index count) {
    EvaluateJob<T> job;
    job.loss_kind = request_.method.loss_kind(r);
    job.run = r;
    job.score_stride = score_stride_;
    job.K = shape_.K;
    job.rows = &request_.rows;
    job.sums = &chunk_sums(chunk, r);
    for (Index row = 0; row < count; row += kernels_.lanes) {
      job.scores = worker.scores.data() + r * shape_.K * score_stride_ + row;
      job.first = first + row;
      job.count = min(kernels_.lanes, count - row);
      job.figures = request_.figures.from(r * shape_.N + first + row);
      kernels_.evaluate(job);
    }
  }

  // A line of scores of several rows goes to as many rows at a time, each of which is written from end to end.
  void copy_scores(const Worker& worker, Index first, Index count) {
    constexpr Index line = kLineBytes / static_cast<Index>(sizeof(T));
    for (Index r = 0; r < shape_.R; ++r)
      for (Index row = 0; row < count; row += line)
        for (Index k = 0; k < shape_.K; ++k) {
          const T* source = worker.scores.data() + (r * shape_.K + k) * score_stride_ + row;
          T* target = request_.scores + (r * shape_.N + first + row) * shape_.K + k;
          for (Index n = 0; n < min(line, count - row); ++n) target[n * shape_.K] = source[n];
        }
  }

  const Kernels<T>& kernels_;
  const EvaluateRequest<T>& request_;
  Shape shape_;
  Scores score_;
  Index tiles_, chunks_;
  int threads_;
  Index scored_, score_stride_;  // rows scored at a time, and their scores' stride
  std::vector<EvaluateSums> sums_;
  std::vector<Worker> workers_;
  std::atomic<Index> next_{0};
  std::atomic<bool> stop_{false};
  PollTimer poll_timer_;
};

// sums[c][d] = sum over rows n of factors[c][n] * (x[n][d] * scale[d] + offset[d])
//
// Threads own feature slices and column ranges, so no sum is shared and the result does not depend on their number.
template <class T>
class WeightedSums {
 public:
  WeightedSums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request)
      : kernels_(kernels),
        request_(request),
        shape_(request.shape),
        slices_(shape_.D, sizeof(T)),
        blocks_(shape_.columns(), kernels.block_columns, kernels.sharing),
        partition_(slices_, blocks_, request.threads),
        rows_(request.rows, slices_, request.caches) {
    for (int thread = 0; thread < partition_.threads(); ++thread)
      workers_.push_back({partition_.part(thread, slices_, blocks_),
                          Buffer<T>(slices_.tile_size(kSumRows), Uninitialized{}),
                          Buffer<T>(shape_.columns() * kSumRows + kResidualPadding, Uninitialized{}),
                          Buffer<T>(kBackwardScratch, Uninitialized{})});
  }

  bool run() {
    run_threads(partition_.threads(), [this](int thread) { work(thread); });
    return !stop_;
  }

 private:
  struct Worker {  // a thread's own memory
    Part part;
    Buffer<T> x, factors, scratch;
  };

  void work(int thread) {
    Worker& worker = workers_[static_cast<std::size_t>(thread)];
    for (Index first = 0; first < shape_.N; first += kSumRows) {
      if (thread == 0 && request_.should_stop && poll_timer_.due() && request_.should_stop()) stop_ = true;
      if (stop_) return;
      const Index count = min(kSumRows, shape_.N - first);
      pack_factors(worker, first, count);
      for (Index slice = worker.part.first_slice; slice < worker.part.last_slice; ++slice) {
        kernels_.score(rows_.load_job(slice, first, count, worker.x.data(), kSumRows));
        add(worker, slice, count);
      }
    }
  }

  void pack_factors(Worker& worker, Index first, Index count) {
    for (Index block = worker.part.first_block; block < worker.part.last_block; ++block) {
      const Index begin = blocks_.begin(block), size = blocks_.size(block);
      for (Index c = 0; c < size; ++c) {
        const Index column = begin + c, run = column / shape_.K, k = column % shape_.K;
        const T* source = request_.factors + (run * shape_.N + first) * shape_.K + k;
        T* packed = worker.factors.data() + begin * count + c;
        for (Index n = 0; n < count; ++n) packed[n * size] = source[n * shape_.K];
      }
    }
  }

  void add(Worker& worker, Index slice, Index count) {
    BackwardJob<T> job;
    job.caches = request_.caches;
    job.residuals = worker.factors.data();
    job.blocks = &blocks_;
    job.first_block = worker.part.first_block;
    job.last_block = worker.part.last_block;
    job.B = count;
    job.x = worker.x.data();
    job.panel_stride = panel_stride(kSumRows, kPanel<T>);
    job.stride = slices_.stride;
    job.width = slices_.padded(slice);
    job.features = slices_.features(slice);
    job.common_scale = rows_.common_scale();
    job.gradient = request_.sums + slices_.begin(slice);
    job.gradient_stride = shape_.D;
    job.scratch = worker.scratch.data();
    kernels_.backward(job);
  }

  const Kernels<T>& kernels_;
  const WeightedSumsRequest<T>& request_;
  Shape shape_;
  Slices slices_;
  ColumnBlocks blocks_;
  Partition partition_;
  SlicedRows<T> rows_;
  std::vector<Worker> workers_;
  std::atomic<bool> stop_{false};
  PollTimer poll_timer_;
};

// The same in float64 for runs of few classes, whose products are with what is stored: scale * sum + offset * the sum of
// factors. Where an offset is large they would cancel.
class FewSums {
 public:
  static constexpr Index kBlockFeatures = 1024, kBlockRows = 64, kMaxClasses = 16;

  static bool takes(const Pass& pass) {
    const double* const offset = pass.rows.offset;
    return pass.shape.K <= kMaxClasses && pass.shape.D >= 32 &&
           std::none_of(offset, offset + pass.shape.D, [](double of) { return std::abs(of) > 1024.0; });
  }
  FewSums(const Kernels<double>& kernels, const WeightedSumsRequest<double>& request)
      : kernels_(kernels), request_(request) {}

  bool run() {
    const Index N = request_.shape.N, D = request_.shape.D, K = request_.shape.K, columns = request_.shape.columns();
    const int threads = static_cast<int>(max(1, min(request_.threads, D / 64)));
    std::fill(request_.sums, request_.sums + columns * D, 0.0);
    run_threads(threads, [&](int thread) {
      add(part_begin(D, threads, thread), part_begin(D, threads, thread + 1), thread == 0);
    });
    for (Index c = 0; c < columns; ++c) {
      const double* const factors = request_.factors + c / K * N * K + c % K;
      double total = 0.0;
      for (Index n = 0; n < N; ++n) total += factors[n * K];
      for (Index d = 0; d < D; ++d) {
        double& sum = request_.sums[c * D + d];
        sum = request_.rows.scale[d] * sum + request_.rows.offset[d] * total;
      }
    }
    return !stop_;
  }

 private:
  void add(Index first_feature, Index last_feature, bool polls) {
    const Index N = request_.shape.N, D = request_.shape.D, K = request_.shape.K, columns = request_.shape.columns();
    for (Index first = 0; first < N && !stop_; first += kBlockRows) {
      if (polls && request_.should_stop && poll_timer_.due() && request_.should_stop()) stop_ = true;
      for (Index begin = first_feature; begin < last_feature; begin += kBlockFeatures)
        for (Index c = 0; c < columns; c += min(4, K - c % K))
          kernels_.row_sums({request_.rows.x, first, min(kBlockRows, N - first), begin,
                             min(begin + kBlockFeatures, last_feature), request_.factors + c / K * N * K + c % K, K,
                             min(4, K - c % K), request_.sums + c * D, D});
    }
  }

  const Kernels<double>& kernels_;
  const WeightedSumsRequest<double>& request_;
  std::atomic<bool> stop_{false};
  PollTimer poll_timer_;
};

template <class T>
Index train_dense(const Kernels<T>& kernels, const TrainRequest<T>& request, bool averaging) {
  const Shape& shape = request.shape;
  const Method& method = request.method;
  const Slices slices(shape.D, sizeof(T));
  typename BatchLoop<T>::Plan plan{request, min(request.batch_size, shape.N)};
  plan.method = &method;
  plan.bias = request.weights.b;
  PackedState<T> state{{request.weights.W, shape.columns(), slices, kernels.sharing}, {}};
  for (int slot = 0; slot < kSlots; ++slot) {
    const bool used = slot == kAverage ? averaging : method.uses(static_cast<Slot>(slot));
    state.slots.emplace_back(used ? request.slots[slot].W : nullptr, shape.columns(), slices, kernels.sharing);
    plan.slot_biases.slots[slot] = request.slots[slot].b;
  }
  const Index done = BatchLoop<T>(kernels, plan, state, slices).run();
  state.weights.unpack(request.weights.W);
  for (int slot = 0; slot < kSlots; ++slot) state.slots[static_cast<std::size_t>(slot)].unpack(request.slots[slot].W);
  return done;
}

}  // namespace

// Averages of runs with alpha = 1 cost nothing: nobody reads them before the next step or the end, where they are
// copied from the weights.
template <class T>
Index train_epoch(const Kernels<T>& kernels, const TrainRequest<T>& request) {
  const IeeeArithmetic arithmetic;
  const Shape& shape = request.shape;
  const Method& method = request.method;
  if (shape.N == 0) return 0;
  const bool averaging = averages(method, shape.R, ceil_div(shape.N, min(request.batch_size, shape.N)));
  const Index done = request.rows.x.sparse() ? train_sparse(kernels, request, averaging)
                                             : train_dense(kernels, request, averaging);
  with_one_nan(request.weights.b, shape.columns());
  for (int slot = 0; slot < kSlots; ++slot)
    if (request.slots[slot].b) with_one_nan(request.slots[slot].b, shape.columns());
  for (Index r = 0; method.uses(kAverage) && r < shape.R; ++r)
    if (static_cast<T>(method.of(kAveraging, (done - 1) * shape.R + r)) == 1) copy_weights(request, r);
  return done;
}

// loss = mean -log p_y,   G = mean (p - onehot(y)) x^T,   g = mean (p - onehot(y)); NaN without rows. Of many labels
// p is the sigmoid, and the loss that of loss.hpp.
template <class T>
Index full_gradient(const Kernels<T>& kernels, const GradientRequest<T>& request) {
  const IeeeArithmetic arithmetic;
  if (request.rows.x.sparse()) return sparse_gradient(kernels, request);
  const Shape& shape = request.shape;
  const Slices slices(shape.D, sizeof(T));
  std::vector<T> bias(request.weights.b, request.weights.b + shape.columns());
  typename BatchLoop<T>::Plan plan{request, min(kSumRows, shape.N)};
  plan.bias = bias.data();
  plan.gradient = request.gradient_W;
  plan.gradient_bias = request.gradient_b;
  plan.loss = request.loss;
  plan.rounded = request.rounded;
  PackedState<T> state{{request.weights.W, shape.columns(), slices, kernels.sharing}, {}};
  const Index done = shape.N == 0 ? 0 : BatchLoop<T>(kernels, plan, state, slices).run();
  const double N = static_cast<double>(shape.N);
  for (Index r = 0; r < shape.R; ++r) request.loss[r] /= N, request.rounded[r] /= N;
  for (Index i = 0; i < shape.columns(); ++i) request.gradient_b[i] /= N;
  for (Index i = 0; i < shape.columns() * shape.D; ++i) request.gradient_W[i] /= N;
  return done;
}

template <class T>
bool evaluate(const Kernels<T>& kernels, const EvaluateRequest<T>& request) {
  const IeeeArithmetic arithmetic;
  if (request.rows.x.sparse()) return Evaluation<T, SparseScores<T>>(kernels, request).run();
  return Evaluation<T, DenseScores<T>>(kernels, request).run();
}

template <class T>
bool weighted_sums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request) {
  const IeeeArithmetic arithmetic;
  if (request.rows.x.sparse()) return sparse_weighted_sums(kernels, request);
  if constexpr (std::is_same_v<T, double>)
    if (FewSums::takes(request)) return FewSums(kernels, request).run();
  return WeightedSums<T>(kernels, request).run();
}

// Rows of a window as class sums take them, from one byte on: those of a class one after another, each class's in order.
// Behind them are rows of the next window, so that a job's next rows are always there to be fetched.
class ClassRows {
 public:
  ClassRows(const Rows& stored, const Shape& shape, Index first_byte)
      : stored_(stored), N_(shape.N), first_byte_(first_byte), heads_(static_cast<std::size_t>(shape.K), -1) {}

  void take(Index first) {
    const Index count = min(kClassWindow, N_ - first);
    found_.clear();
    for (Index n = count - 1; n >= 0; --n) {
      const Index k = stored_.label(first + n);
      Index& head = heads_[static_cast<std::size_t>(k)];
      if (head < 0) found_.push_back(k);
      following_[n] = head, head = n;
    }
    Index place = 0;
    for (const Index k : found_)
      for (Index& n = heads_[static_cast<std::size_t>(k)]; n >= 0; n = following_[n], ++place) {
        rows[place] = at(first + n);
        labels[place] = k;
        weights[place] = stored_.weight(first + n);
      }
    for (Index n = count; n < count + kClassRows; ++n) rows[n] = at(min(first + n, N_ - 1));
  }

  const char* rows[kClassWindow + kClassRows];
  Index labels[kClassWindow];
  double weights[kClassWindow];

 private:
  const char* at(Index n) const { return stored_.x.at(n) + first_byte_; }

  const Rows& stored_;
  Index N_, first_byte_;
  std::vector<Index> heads_, found_;  // a list of rows for each class
  Index following_[kClassWindow];
};

// Takes one window after the other and calls add(first, count) for kClassRows of its rows at a time, until `stop`.
template <class Request, class Add>
void for_class_rows(const Request& request, int thread, ClassRows& window, std::atomic<bool>& stop, const Add& add) {
  PollTimer poll_timer;
  for (Index first = 0; first < request.shape.N; first += kClassWindow) {
    if (thread == 0 && request.should_stop && poll_timer.due() && request.should_stop()) stop = true;
    if (stop) return;
    window.take(first);
    const Index count = min(kClassWindow, request.shape.N - first);
    for (Index n = 0; n < count; n += kClassRows) add(n, min(kClassRows, count - n));
  }
}

// Bytes that weigh 1 are added as integers, which float64 holds exactly: to the same bits.
template <class T>
bool byte_class_sums(const Kernels<T>& kernels, const ClassSumsRequest& request) {
  const Index D = request.shape.D, K = request.shape.K;
  const Index parts = ceil_div(D, kClassPart), threads = max(1, min(request.threads, parts));
  struct Worker {
    Index begin, width;
    Buffer<std::uint16_t> sums;
    Buffer<std::uint32_t> squares;
    std::vector<Index> counts;
    std::unique_ptr<ClassRows> window;
  };
  std::vector<Worker> workers;
  for (Index thread = 0; thread < threads; ++thread) {
    const Index begin = part_begin(parts, threads, thread) * kClassPart;
    const Index width = min(part_begin(parts, threads, thread + 1) * kClassPart, D) - begin;
    workers.push_back({begin, width, Buffer<std::uint16_t>(K * width), Buffer<std::uint32_t>(width),
                       std::vector<Index>(static_cast<std::size_t>(K)),
                       std::make_unique<ClassRows>(request.rows, request.shape, begin)});
  }
  std::atomic<bool> stop{false};
  run_threads(static_cast<int>(threads), [&](int thread) {
    Worker& worker = workers[static_cast<std::size_t>(thread)];
    const Index begin = worker.begin, width = worker.width;
    std::uint16_t* const sums = worker.sums.data();
    std::uint32_t* const squares = worker.squares.data();
    ClassRows& window = *worker.window;
    const auto flush = [&](Index k) {
      for (Index d = 0; d < width; ++d) request.sums[k * D + begin + d] += static_cast<double>(sums[k * width + d]);
      std::fill_n(sums + k * width, width, std::uint16_t{0});
      worker.counts[static_cast<std::size_t>(k)] = 0;
    };
    const auto flush_squares = [&] {
      for (Index d = 0; d < width; ++d) request.squares[begin + d] += static_cast<double>(squares[d]);
      std::fill_n(squares, width, std::uint32_t{0});
    };
    Index added = 0;
    for_class_rows(request, thread, window, stop, [&](Index first, Index count) {
      for (Index n = first, last; n < first + count; n = last) {
        const Index k = window.labels[n];
        for (last = n; last < first + count && window.labels[last] == k;) ++last;
        Index& of_class = worker.counts[static_cast<std::size_t>(k)];
        if (of_class + last - n > kMostBytes) flush(k);
        of_class += last - n;
      }
      if ((added += count) > kMostSquares) flush_squares(), added = count;
      kernels.byte_sums({window.rows + first, window.rows + first + kClassRows, width, count, window.labels + first,
                         sums, width, squares});
    });
    for (Index k = 0; k < K; ++k) flush(k);
    flush_squares();
  });
  return !stop;
}

// Threads own features, so no sum is shared and the result does not depend on their number. Squares are added in the
// order of a window's classes.
template <class T>
bool class_sums(const Kernels<T>& kernels, const ClassSumsRequest& request) {
  const Rows& stored = request.rows;
  if (stored.x.sparse()) return sparse_class_sums(request);
  if (stored.x.type == StoredType::uint8 && !stored.weights) return byte_class_sums(kernels, request);
  const Index D = request.shape.D, bytes = stored_bytes(stored.x.type);
  const Index parts = ceil_div(D, kClassPart), threads = max(1, min(request.threads, parts));
  std::vector<std::unique_ptr<ClassRows>> windows;
  for (Index thread = 0; thread < threads; ++thread)
    windows.push_back(std::make_unique<ClassRows>(stored, request.shape,
                                                  part_begin(parts, threads, thread) * kClassPart * bytes));
  std::atomic<bool> stop{false};
  run_threads(static_cast<int>(threads), [&](int thread) {
    ClassRows& window = *windows[static_cast<std::size_t>(thread)];
    const Index begin = part_begin(parts, threads, thread) * kClassPart;
    const Index end = min(part_begin(parts, threads, thread + 1) * kClassPart, D);
    for_class_rows(request, thread, window, stop, [&](Index first, Index count) {
      kernels.class_sums({window.rows + first, window.rows + first + kClassRows, stored.x.type, end - begin, count,
                          window.labels + first, window.weights + first, request.sums + begin, D,
                          request.squares + begin});
    });
  });
  return !stop;
}

template Index train_epoch(const Kernels<float>&, const TrainRequest<float>&);
template Index train_epoch(const Kernels<double>&, const TrainRequest<double>&);
template Index full_gradient(const Kernels<float>&, const GradientRequest<float>&);
template Index full_gradient(const Kernels<double>&, const GradientRequest<double>&);
template bool evaluate(const Kernels<float>&, const EvaluateRequest<float>&);
template bool evaluate(const Kernels<double>&, const EvaluateRequest<double>&);
template bool weighted_sums(const Kernels<float>&, const WeightedSumsRequest<float>&);
template bool weighted_sums(const Kernels<double>&, const WeightedSumsRequest<double>&);
template bool class_sums(const Kernels<float>&, const ClassSumsRequest&);
template bool class_sums(const Kernels<double>&, const ClassSumsRequest&);

}  // namespace onelayer
