// Loss and accuracy without a step:  loss = mean of judge.hpp's,   correct = number of rows with argmax s = y.
//
// Rows are cut into chunks, a number that depends on N only, and chunks into tiles. Threads take chunks as they
// come; a chunk's sums are kept apart and added in order, so the result does not depend on who did which.
#include <atomic>
#include <chrono>

#include "packed_weights.hpp"
#include "passes.hpp"
#include "team.hpp"

namespace onelayer {

namespace {

constexpr Index kTileRows = 160, kMostChunks = 64;

template <class T>
class Evaluation {
 public:
  Evaluation(const Kernels<T>& kernels, const EvaluateRequest<T>& request)
      : kernels_(kernels),
        request_(request),
        shape_(request.shape),
        slices_(shape_.D, sizeof(T)),
        weights_(request.W, shape_.columns(), slices_),
        scaling_(request.rows.scale, request.rows.offset, slices_),
        tiles_(ceil_div(shape_.N, kTileRows)),
        chunks_(smaller(kMostChunks, tiles_)),
        threads_(static_cast<int>(larger(1, smaller(request.threads, chunks_)))),
        loss_(chunks_ * shape_.R),
        correct_(chunks_ * shape_.R) {
    for (int thread = 0; thread < threads_; ++thread)
      own_.push_back({Buffer<T>(kTileRows * slices_.stride, Unset{}), Buffer<T>(shape_.columns() * kScoreStride)});
  }

  bool run() {
    run_team(threads_, [this](int thread) { work(thread); });
    for (Index chunk = 0; chunk < chunks_; ++chunk)
      for (Index r = 0; r < shape_.R; ++r) {
        request_.loss[r] += loss_[chunk * shape_.R + r];
        request_.correct[r] += correct_[chunk * shape_.R + r];
      }
    for (Index r = 0; r < shape_.R; ++r) request_.loss[r] /= static_cast<double>(shape_.N);
    return !stop_;
  }

 private:
  static constexpr Index kScoreStride = padded_stride(kTileRows, sizeof(T));
  struct Own {
    Buffer<T> x, scores;
  };

  void work(int thread) {
    Own& own = own_[static_cast<std::size_t>(thread)];
    auto last_poll = std::chrono::steady_clock::now();
    for (Index chunk = next_++; chunk < chunks_; chunk = next_++)
      for (Index tile = part_begin(tiles_, chunks_, chunk); tile < part_begin(tiles_, chunks_, chunk + 1); ++tile) {
        if (stop_) return;
        const auto now = std::chrono::steady_clock::now();
        if (thread == 0 && request_.should_stop && now - last_poll > std::chrono::milliseconds(50)) {
          last_poll = now;
          if (request_.should_stop()) stop_ = true;
        }
        const Index first = tile * kTileRows, count = smaller(kTileRows, shape_.N - first);
        for (Index s = 0; s < slices_.count; ++s) score(own, s, first, count);
        for (Index r = 0; r < shape_.R; ++r) judge(own, chunk, r, first, count);
        if (request_.scores) copy_scores(own, first, count);
      }
  }

  void score(Own& own, Index slice, Index first, Index count) {
    ScoreJob<T> job;
    job.rows = request_.rows.x;
    job.first = first;
    job.count = count;
    job.begin = slices_.begin(slice);
    job.features = slices_.features(slice);
    job.width = slices_.padded(slice);
    job.scaling = scaling_.of(slice);
    job.factor = scaling_.factor();
    job.x = own.x.data();
    job.w = weights_.row(slice, 0);
    job.stride = slices_.stride;
    job.columns = shape_.columns();
    job.bias = slice == 0 ? request_.b : nullptr;
    job.accumulate = slice > 0;
    job.scores = own.scores.data();
    job.score_stride = kScoreStride;
    kernels_.score(job);
  }

  void judge(Own& own, Index chunk, Index r, Index first, Index count) {
    for (Index row = 0; row < count; row += kernels_.lanes) {
      JudgeJob<T> job;
      job.objective = request_.objectives.of(r);
      job.scores = own.scores.data() + r * shape_.K * kScoreStride + row;
      job.score_stride = kScoreStride;
      job.K = shape_.K;
      job.rows = smaller(kernels_.lanes, count - row);
      job.source = &request_.rows.x;
      job.first = first + row;
      job.labels = &request_.rows.y;
      job.weights = request_.rows.weights;
      job.predictions = request_.predictions ? request_.predictions + r * shape_.N + first + row : nullptr;
      job.loss = loss_.data() + chunk * shape_.R + r;
      job.correct = correct_.data() + chunk * shape_.R + r;
      kernels_.judge(job);
    }
  }

  void copy_scores(const Own& own, Index first, Index count) {
    for (Index r = 0; r < shape_.R; ++r)
      for (Index k = 0; k < shape_.K; ++k) {
        const T* source = own.scores.data() + (r * shape_.K + k) * kScoreStride;
        T* target = request_.scores + (r * shape_.N + first) * shape_.K + k;
        for (Index n = 0; n < count; ++n) target[n * shape_.K] = source[n];
      }
  }

  const Kernels<T>& kernels_;
  const EvaluateRequest<T>& request_;
  Shape shape_;
  Slices slices_;
  PackedWeights<T> weights_;
  PackedScaling<T> scaling_;
  Index tiles_, chunks_;
  int threads_;
  Buffer<double> loss_;
  Buffer<Index> correct_;
  std::vector<Own> own_;
  std::atomic<Index> next_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

template <class T>
bool evaluate(const Kernels<T>& kernels, const EvaluateRequest<T>& request) {
  return Evaluation<T>(kernels, request).run();
}

template bool evaluate<float>(const Kernels<float>&, const EvaluateRequest<float>&);
template bool evaluate<double>(const Kernels<double>&, const EvaluateRequest<double>&);

}  // namespace onelayer
