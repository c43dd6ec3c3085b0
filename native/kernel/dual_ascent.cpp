#include "dual_ascent.hpp"

#include <algorithm>
#include <cmath>

namespace onelayer {

namespace {

// Of two classes W_1 is all there is.
Index dual_stride(Index K) { return K == 2 ? 1 : sparse_stride(K); }

Index first_of(const StoredMatrix& x, Index row, Index feature) {
  Index begin = x.indptr[row];
  for (Index count = x.indptr[row + 1] - begin; count > 0;) {
    const Index half = count / 2, below = x.feature(begin + half) < feature;
    begin += below ? half + 1 : 0;
    count = below ? count - half - 1 : half;
  }
  return begin;
}

template <class T>
SparseProductJob<T> product_job(const Pass& pass, Index first, Index last, const T* w, Index stride, Index columns,
                                double* products) {
  SparseProductJob<T> job;
  job.rows = pass.rows.x;
  job.first = first;
  job.count = last - first;
  job.last = job.rows.stored_last;
  job.w = w;
  job.stride = stride;
  job.columns = columns;
  job.scale = pass.rows.scale;
  job.products = products + first * stride;
  return job;
}

}  // namespace

template <class T>
template <class Work>
void DualAscent<T>::by_features(const double* factors, Index stride, const Work& work) const {
  const Index D = pass_.shape.D, N = pass_.shape.N, size = max(1, kBlockEntries / stride), blocks = ceil_div(D, size);
  const std::vector<Index> bounds = feature_bounds(pass_);
  run_threads(pass_.threads, [&](int thread) {
    const auto t = static_cast<std::size_t>(thread);
    const Index first = bounds[t] / size, stop = thread + 1 == pass_.threads ? blocks : bounds[t + 1] / size;
    if (first == stop) return;
    Buffer<double> sums(size * stride);
    std::vector<Index> next(static_cast<std::size_t>(N));
    for (Index n = 0; n < N; ++n)
      next[static_cast<std::size_t>(n)] = first_of(pass_.rows.x, pass_.rows.x.row(n), first * size);
    for (Index block = first; block < stop; ++block) {
      const Index begin = block * size, end = min(begin + size, D);
      std::fill_n(sums.data(), (end - begin) * stride, 0.0);
      kernels<double>().sparse_block({pass_.rows.x, N, begin, end, factors, next.data(), sums.data(), stride});
      work(block, begin, end, sums.data());
    }
  });
}

template <class T>
template <class Work>
void DualAscent<T>::by_rows(const Work& work) const {
  const Index N = pass_.shape.N, size = rows_of_block(), blocks = ceil_div(N, size);
  const int used = static_cast<int>(max(1, min(pass_.threads, N / 1024)));
  run_threads(used, [&](int thread) {
    for (Index block = part_begin(blocks, used, thread); block < part_begin(blocks, used, thread + 1); ++block)
      work(block * size, min(block * size + size, N), static_cast<std::size_t>(block));
  });
}

template <class T>
DualAscent<T>::DualAscent(const Pass& pass, const double* fractions, double l2, bool intercept)
    : pass_(pass),
      fractions_(fractions),
      l2_(l2),
      intercept_(intercept),
      stride_(dual_stride(pass.shape.K)),
      squares_(static_cast<std::size_t>(pass.shape.N)),
      shift_(static_cast<std::size_t>(pass.shape.K)),
      at_mean_(shift_.size()),
      V_(pass.shape.D * stride_),
      r_(std::make_unique<Buffer<T>>(pass.shape.N * pass.shape.K)) {
  const StoredMatrix& x = pass_.rows.x;
  const double* const scale = pass_.rows.scale;
  by_rows([&](Index first, Index last, std::size_t) {
    for (Index n = first; n < last; ++n) {
      double square = 0;
      with_values(x, [&](const auto* values) {
        for (Index j = x.indptr[x.row(n)]; j < x.indptr[x.row(n) + 1]; ++j) {
          const double stored = static_cast<double>(values[j]), value = scale ? stored * scale[x.feature(j)] : stored;
          square += value * value;
        }
      });
      squares_[static_cast<std::size_t>(n)] = square;
    }
  });
  for (std::size_t n = 0; n < squares_.size(); ++n) mean_length_ += fractions_[n] * squares_[n];
  if (!intercept_) return;
  const Index D = pass_.shape.D;
  mean_ = std::make_unique<Buffer<double>>(D, Uninitialized{});
  double* const mean = mean_->data();
  by_features(fractions_, 1, [&](Index, Index begin, Index end, const double* sums) {
    for (Index d = begin; d < end; ++d) mean[d] = scale ? scale[d] * sums[d - begin] : sums[d - begin];
  });
  for (Index d = 0; d < D; ++d) mean_square_ += mean[d] * mean[d];
  along_.resize(squares_.size());
  by_rows([&](Index first, Index last, std::size_t) {
    kernels<double>().sparse_products(product_job<double>(pass_, first, last, mean, 1, 1, along_.data()));
  });
  for (std::size_t n = 0; n < squares_.size(); ++n)
    squares_[n] = std::fmax(squares_[n] - 2 * along_[n] + mean_square_, 0.0);
}

template <class T>
DualSweep DualAscent<T>::sweep(const double* b) {
  const Index K = pass_.shape.K;
  DualSweep found{std::vector<double>(static_cast<std::size_t>(K * K))};
  DualSweepJob<T> job;
  job.x = pass_.rows.x;
  job.y = pass_.rows.y;
  job.N = pass_.shape.N;
  job.K = K;
  job.stride = stride_;
  job.l2 = l2_;
  job.mean_square = mean_square_;
  job.scale = pass_.rows.scale;
  job.fractions = fractions_;
  job.squares = squares_.data();
  job.along = intercept_ ? along_.data() : nullptr;
  job.b = b;
  job.V = V_.data();
  job.r = r_->data();
  job.shift = shift_.data();
  job.at_mean = at_mean_.data();
  job.bent = found.bent.data();
  run_threads(1, [&](int) { kernels<T>().dual_sweep(job); });
  found.loss = job.loss;
  found.off = job.off;
  return found;
}

template <class T>
double DualAscent<T>::squared_norm() const {
  const T* const V = V_.data();
  double sums[8] = {};
  for (Index i = 0; i < pass_.shape.D * stride_; ++i) sums[i % 8] += static_cast<double>(V[i]) * static_cast<double>(V[i]);
  double total = 0;
  for (double sum : sums) total += sum;
  return stride_ < pass_.shape.K ? 2 * total : total;
}

template <class T>
void DualAscent<T>::finish() {
  r_.reset();
  if (!mean_) return;
  const double* const shift = shift_.data() + (stride_ < pass_.shape.K ? 1 : 0);
  const Index columns = min(stride_, pass_.shape.K);
  split(pass_.threads, pass_.shape.D, [&](Index begin, Index end) {
    for (Index d = begin; d < end; ++d)
      for (Index c = 0; c < columns; ++c) {
        T& w = V_[d * stride_ + c];
        w = static_cast<T>(static_cast<double>(w) - shift[c] * mean_->data()[d]);
      }
  });
  mean_.reset();
}

template <class T>
void DualAscent<T>::score() {
  scores_ = std::make_unique<Buffer<double>>(pass_.shape.N * stride_);
  by_rows([&](Index first, Index last, std::size_t) {
    kernels<T>().sparse_products(
        product_job<T>(pass_, first, last, V_.data(), stride_, min(stride_, pass_.shape.K), scores_->data()));
  });
}

// The scores of a row at a bias, (K,), in s.
template <class T>
double* DualAscent<T>::class_scores(Index n, const double* b, double* s) const {
  const Index K = pass_.shape.K;
  std::copy_n(scores_->data() + n * stride_, min(stride_, K), s);
  if (stride_ < K) mirror(s);
  for (Index k = 0; k < K; ++k) s[k] += b[k];
  return s;
}

template <class T>
ClassMoments DualAscent<T>::moments(const double* b) {
  if (!scores_) score();
  const Index K = pass_.shape.K;
  const auto classes = static_cast<std::size_t>(K), pairs = static_cast<std::size_t>(K * K);
  const ClassMoments none{0, std::vector<double>(classes), std::vector<double>(pairs), std::vector<double>(pairs)};
  std::vector<ClassMoments> parts(static_cast<std::size_t>(kRowBlocks), none);
  by_rows([&](Index first, Index last, std::size_t block) {
    ClassMoments& part = parts[block];
    std::vector<double> p(classes), s(classes);
    for (Index n = first; n < last; ++n) {
      const double f = fractions_[n];
      const Index label = pass_.rows.label(n);
      class_scores(n, b, s.data());
      std::copy(s.begin(), s.end(), p.begin());
      const double log_sum = softmax(p.data(), K);
      part.loss += f * (log_sum - s[static_cast<std::size_t>(label)]);
      part.g[static_cast<std::size_t>(label)] -= f;
      for (std::size_t k = 0; k < classes; ++k) {
        part.g[k] += f * p[k];
        part.scores[static_cast<std::size_t>(label) * classes + k] += f * s[k];
        part.bends[k * classes + k] += f * p[k];
        const double of = f * p[k];
        double* const bends = part.bends.data() + k * classes;
        for (std::size_t l = 0; l < classes; ++l) bends[l] -= of * p[l];
      }
    }
  });
  ClassMoments found = none;
  const auto add = [](std::vector<double>& sums, const std::vector<double>& of) {
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += of[i];
  };
  for (const ClassMoments& part : parts) {
    found.loss += part.loss;
    add(found.g, part.g);
    add(found.bends, part.bends);
    add(found.scores, part.scores);
  }
  return found;
}

template <class T>
DualSlope DualAscent<T>::slope(const double* b) {
  if (!scores_) score();
  const Index K = pass_.shape.K, columns = min(stride_, K), from = K - columns, D = pass_.shape.D;
  by_rows([&](Index first, Index last, std::size_t) {
    std::vector<double> p(static_cast<std::size_t>(K));
    for (Index n = first; n < last; ++n) {
      softmax(class_scores(n, b, p.data()), K);
      p[static_cast<std::size_t>(pass_.rows.label(n))] -= 1;
      double* const residuals = scores_->data() + n * stride_;
      for (Index c = 0; c < columns; ++c) residuals[c] = fractions_[n] * p[static_cast<std::size_t>(from + c)];
    }
  });
  const double bend = 2 * l2_;
  const double* const scale = pass_.rows.scale;
  const Index size = max(1, kBlockEntries / stride_);
  std::vector<DualSlope> parts(static_cast<std::size_t>(ceil_div(D, size)));
  by_features(scores_->data(), stride_, [&](Index block, Index begin, Index end, const double* sums) {
    double gradient[8] = {}, weights[8] = {};
    const T* const W = V_.data() + begin * stride_;
    for (Index i = 0; i < (end - begin) * stride_; ++i) {
      const double w = static_cast<double>(W[i]), g = (scale ? scale[begin + i / stride_] * sums[i] : sums[i]) + bend * w;
      gradient[i % 8] += g * g;
      weights[i % 8] += w * w;
    }
    DualSlope& part = parts[static_cast<std::size_t>(block)];
    for (int i = 0; i < 8; ++i) part.gradient += gradient[i], part.weights += weights[i];
  });
  scores_.reset();
  DualSlope found;
  for (const DualSlope& part : parts) found.gradient += part.gradient, found.weights += part.weights;
  const double copies = stride_ < K ? 2 : 1;
  return {copies * found.gradient, copies * found.weights};
}

template <class T>
void DualAscent<T>::weights(T* W) const {
  const Index K = pass_.shape.K, D = pass_.shape.D;
  const T* const V = V_.data();
  split(pass_.threads, D, [&](Index begin, Index end) {
    if (stride_ < K)
      for (Index d = begin; d < end; ++d) W[D + d] = V[d], W[d] = T(0) - V[d];
    else
      for_blocks(begin, end, K, [&](Index d, Index k) { W[k * D + d] = V[d * stride_ + k]; });
  });
}

template class DualAscent<float>;
template class DualAscent<double>;

}  // namespace onelayer
