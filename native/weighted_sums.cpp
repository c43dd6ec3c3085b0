// Weighted sums of rows:  sums[c][d] = sum over rows n of factors[c][n] * (x[n][d] * scale[d] + offset[d])
//
// Tiles of rows are summed in the arithmetic type and added up in float64, as in the full gradient. Threads own
// feature slices and column ranges, so no sum is shared and the result does not depend on their number.
#include <atomic>

#include "packed_weights.hpp"
#include "partition.hpp"
#include "passes.hpp"
#include "team.hpp"

namespace onelayer {

namespace {

constexpr Index kTileRows = 192;

template <class T>
class WeightedSums {
 public:
  WeightedSums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request)
      : kernels_(kernels),
        request_(request),
        shape_(request.shape),
        slices_(shape_.D, sizeof(T)),
        blocks_(shape_.columns(), kernels.block_columns),
        partition_(slices_, blocks_, request.threads),
        scaling_(request.rows.scale, request.rows.offset, slices_) {
    for (int thread = 0; thread < partition_.threads(); ++thread)
      own_.push_back({Buffer<T>(kTileRows * slices_.stride, Unset{}),
                      Buffer<T>(shape_.columns() * kTileRows + kFactorPadding, Unset{}),
                      Buffer<T>(kBackwardScratch, Unset{})});
  }

  bool run() {
    run_team(partition_.threads(), [this](int thread) { work(thread); });
    return !stop_;
  }

 private:
  struct Own {
    Buffer<T> x, factors, scratch;
  };

  void work(int thread) {
    Own& own = own_[static_cast<std::size_t>(thread)];
    const Share share = partition_.share(thread, slices_, blocks_);
    for (Index first = 0; first < shape_.N; first += kTileRows) {
      if (stop_) return;
      if (thread == 0 && first % (64 * kTileRows) == 0 && request_.should_stop && request_.should_stop()) stop_ = true;
      const Index count = smaller(kTileRows, shape_.N - first);
      pack(own, share, first, count);
      for (Index slice = share.first_slice; slice < share.last_slice; ++slice) {
        load(own, slice, first, count);
        add(own, share, slice, count);
      }
    }
  }

  void pack(Own& own, const Share& share, Index first, Index count) {
    for (Index block = share.first_block; block < share.last_block; ++block) {
      const Index begin = blocks_.begin(block), size = blocks_.size(block);
      for (Index c = 0; c < size; ++c) {
        const Index column = begin + c, run = column / shape_.K, k = column % shape_.K;
        const T* source = request_.factors + (run * shape_.N + first) * shape_.K + k;
        T* packed = own.factors.data() + begin * count + c;
        for (Index n = 0; n < count; ++n) packed[n * size] = source[n * shape_.K];
      }
    }
  }

  void load(Own& own, Index slice, Index first, Index count) {
    ScoreJob<T> job;  // of no column: the rows are converted and nothing is scored
    job.rows = request_.rows.x;
    job.first = first;
    job.count = count;
    job.begin = slices_.begin(slice);
    job.features = slices_.features(slice);
    job.width = slices_.padded(slice);
    job.scaling = scaling_.of(slice);
    job.x = own.x.data();
    job.stride = slices_.stride;
    kernels_.score(job);
  }

  void add(Own& own, const Share& share, Index slice, Index count) {
    BackwardJob<T> job;
    job.factors = own.factors.data();
    job.blocks = &blocks_;
    job.first_block = share.first_block;
    job.last_block = share.last_block;
    job.batch = count;
    job.x = own.x.data();
    job.stride = slices_.stride;
    job.width = slices_.padded(slice);
    job.features = slices_.features(slice);
    job.factor = scaling_.factor();
    job.gradient = request_.sums + slices_.begin(slice);
    job.gradient_stride = shape_.D;
    job.scratch = own.scratch.data();
    kernels_.backward(job);
  }

  const Kernels<T>& kernels_;
  const WeightedSumsRequest<T>& request_;
  Shape shape_;
  Slices slices_;
  ColumnBlocks blocks_;
  Partition partition_;
  PackedScaling<T> scaling_;
  std::vector<Own> own_;
  std::atomic<bool> stop_{false};
};

}  // namespace

template <class T>
bool weighted_sums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request) {
  return WeightedSums<T>(kernels, request).run();
}

template bool weighted_sums<float>(const Kernels<float>&, const WeightedSumsRequest<float>&);
template bool weighted_sums<double>(const Kernels<double>&, const WeightedSumsRequest<double>&);

}  // namespace onelayer
