// What passes over sparse rows are made of; sparse.hpp has the arithmetic.
//
// Threads share the rows of a chunk for its scores and residuals, and own ranges of features for its sums, so X is read
// twice and never copied, no sum is shared, and the result does not depend on the number of threads.
#pragma once

#include <algorithm>
#include <vector>

#include "memory.hpp"
#include "passes.hpp"
#include "threads.hpp"

namespace onelayer {

// Columns that the weights of a feature, or its sums, take: whole vectors of sparse.hpp.
inline Index sparse_stride(Index columns) { return columns <= 2 ? 2 : columns <= 4 ? 4 : round_up(columns, 8); }

// Calls work with the stored values, in their type.
template <class Work>
auto with_values(const StoredMatrix& x, const Work& work) {
  if (x.type == StoredType::float32) return work(reinterpret_cast<const float*>(x.base));
  return work(reinterpret_cast<const double*>(x.base));
}

// Calls work(part of `count`) on each thread.
template <class Work>
void split(int threads, Index count, const Work& work) {
  const int used = static_cast<int>(max(1, min(threads, count / 1024)));
  run_threads(used, [&](int thread) { work(part_begin(count, used, thread), part_begin(count, used, thread + 1)); });
}

// Calls work(feature, column) by blocks in which both orders of an array (columns, features) stay in the cache.
template <class Work>
void for_blocks(Index begin, Index end, Index columns, const Work& work) {
  constexpr Index block = 64;
  for (Index first = begin; first < end; first += block)
    for (Index c = 0; c < columns; ++c)
      for (Index d = first; d < min(first + block, end); ++d) work(d, c);
}

// Weights (columns, features) as [feature][column], times the features' scales; and biases that hold the offsets' part.
// Scales with which weights could leave float32 meet the stored values instead.
template <class T>
class SparseWeights {
 public:
  SparseWeights(const Pass& pass, const T* W, const T* b)
      : D_(pass.shape.D),
        columns_(pass.shape.columns()),
        stride_(sparse_stride(columns_)),
        weights_(D_ * stride_, Uninitialized{}),
        bias_(static_cast<std::size_t>(stride_)),
        scale_(std::all_of(pass.rows.scale, pass.rows.scale + D_, is_near_one) ? nullptr : pass.rows.scale) {
    const double* const scale = scale_ ? nullptr : pass.rows.scale;
    split(pass.threads, D_, [&](Index begin, Index end) {
      for_blocks(begin, end, columns_, [&](Index d, Index c) {
        const T w = W[c * D_ + d];
        weights_[d * stride_ + c] = scale ? static_cast<T>(static_cast<double>(w) * scale[d]) : w;
      });
      for_blocks(begin, end, stride_ - columns_, [&](Index d, Index c) { weights_[d * stride_ + columns_ + c] = 0; });
    });
    const double* const offset = pass.rows.offset;
    const bool shifted = std::any_of(offset, offset + D_, [](double of) { return of != 0; });
    for (Index c = 0; c < columns_; ++c) {
      double sum = 0;
      for (Index d = 0; shifted && d < D_; ++d) sum += static_cast<double>(W[c * D_ + d]) * offset[d];
      bias_[static_cast<std::size_t>(c)] = static_cast<double>(b[c]) + sum;
    }
  }
  // Scores of rows `first` to `first + count` of the pass.
  SparseScoreJob<T> job(const StoredMatrix& rows, Index first, Index count, T* scores, Index score_stride) const {
    SparseScoreJob<T> job;
    job.rows = rows;
    job.first = first;
    job.count = count;
    job.last = rows.stored_last;
    job.w = weights_.data();
    job.stride = stride_;
    job.columns = columns_;
    job.scale = scale_;
    job.bias = bias_.data();
    job.scores = scores;
    job.score_stride = score_stride;
    return job;
  }

 private:
  static bool is_near_one(double scale) { return scale == 0 || (std::abs(scale) < 1e15 && std::abs(scale) > 1e-15); }

  Index D_, columns_, stride_;
  Buffer<T> weights_;
  std::vector<double> bias_;
  const double* scale_;
};

// Where the features of each thread begin, and those of the last end: so that they are stored as often, judged by some.
inline std::vector<Index> feature_bounds(const Pass& pass) {
  const StoredMatrix& x = pass.rows.x;
  const Index first = x.indptr[0], stored = x.stored_last + 1 - first, count = min(stored, 1 << 14);
  std::vector<Index> some, bounds;
  for (Index i = 0; i < count; ++i) some.push_back(x.feature(first + part_begin(stored, count, i)));
  std::sort(some.begin(), some.end());
  for (int t = 0; t < pass.threads; ++t)
    bounds.push_back(t == 0 || some.empty() ? 0 : some[static_cast<std::size_t>(part_begin(count, pass.threads, t))]);
  bounds.push_back(pass.shape.D);
  return bounds;
}

// sums[feature][column] of rows, by threads that own features.
template <class T>
class SparseSums {
 public:
  explicit SparseSums(const Pass& pass)
      : D_(pass.shape.D),
        columns_(pass.shape.columns()),
        stride_(sparse_stride(columns_)),
        sums_(D_ * stride_, Uninitialized{}),
        bounds_(feature_bounds(pass)) {}
  Index begin(int thread) const { return bounds_[static_cast<std::size_t>(thread)]; }
  Index stride() const { return stride_; }
  double* data() { return sums_.data(); }

  void clear(int thread) { std::fill(data() + begin(thread) * stride_, data() + begin(thread + 1) * stride_, 0.0); }
  void add(const Kernels<T>& kernels, const StoredMatrix& rows, int thread, Index first, Index count, const T* r) {
    kernels.sparse_add({rows, first, count, rows.stored_last, begin(thread), begin(thread + 1), r, data(), stride_});
  }
  // out[column][feature] = (scale * sum + offset * the column's sum of residuals) / divisor
  void finish(const Pass& pass, int thread, const double* bias_sums, double divisor, double* out) const {
    const double *scale = pass.rows.scale, *offset = pass.rows.offset;
    for_blocks(begin(thread), begin(thread + 1), columns_, [&](Index d, Index c) {
      out[c * D_ + d] = (scale[d] * sums_.data()[d * stride_ + c] + offset[d] * bias_sums[c]) / divisor;
    });
  }

 private:
  Index D_, columns_, stride_;
  Buffer<double> sums_;
  std::vector<Index> bounds_;
};

// The passes of passes.hpp over sparse rows.
template <class T> Index train_sparse(const Kernels<T>& kernels, const TrainRequest<T>& request, bool averaging);
template <class T> Index sparse_gradient(const Kernels<T>& kernels, const GradientRequest<T>& request);
template <class T> bool sparse_weighted_sums(const Kernels<T>& kernels, const WeightedSumsRequest<T>& request);
bool sparse_class_sums(const ClassSumsRequest& request);

}  // namespace onelayer
