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
  const Index D = pass().shape.D, N = pass().shape.N, size = max(1, kBlockEntries / stride), blocks = ceil_div(D, size);
  const std::vector<Index> bounds = feature_bounds(pass());
  run_threads(pass().threads, [&](int thread) {
    const auto t = static_cast<std::size_t>(thread);
    const Index first = bounds[t] / size, stop = thread + 1 == pass().threads ? blocks : bounds[t + 1] / size;
    if (first == stop) return;
    Buffer<double> sums(size * stride);
    std::vector<Index> next(static_cast<std::size_t>(N));
    for (Index n = 0; n < N; ++n)
      next[static_cast<std::size_t>(n)] = first_of(pass().rows.x, pass().rows.x.row(n), first * size);
    for (Index block = first; block < stop; ++block) {
      const Index begin = block * size, end = min(begin + size, D);
      std::fill_n(sums.data(), (end - begin) * stride, 0.0);
      kernels<double>().sparse_block({pass().rows.x, N, begin, end, factors, next.data(), sums.data(), stride});
      work(block, begin, end, sums.data());
    }
  });
}

template <class T>
template <class Work>
void DualAscent<T>::by_rows(const Work& work) const {
  const Index N = pass().shape.N, size = rows_of_block(), blocks = ceil_div(N, size);
  const int used = static_cast<int>(max(1, min(pass().threads, N / 1024)));
  run_threads(used, [&](int thread) {
    for (Index block = part_begin(blocks, used, thread); block < part_begin(blocks, used, thread + 1); ++block)
      work(block * size, min(block * size + size, N), static_cast<std::size_t>(block));
  });
}

template <class T>
DualAscent<T>::DualAscent(const Pass& pass, const double* fractions, double l2, bool intercept)
    : rows_(pass),
      fractions_(fractions),
      l2_(l2),
      intercept_(intercept),
      stride_(dual_stride(pass.shape.K)),
      shift_(static_cast<std::size_t>(pass.shape.K)),
      at_mean_(shift_.size()) {}

template <class T>
void DualAscent<T>::prepare() {
  rows_.make();
  const Index N = pass().shape.N, D = pass().shape.D;
  const double* const own = rows_.own_squares();
  V_ = std::make_unique<Buffer<T>>(D * stride_);
  r_ = std::make_unique<Buffer<T>>(N * pass().shape.K);
  squares_ = rows_.take_squares();
  for (std::size_t n = 0; n < squares_.size(); ++n) mean_length_ += fractions_[n] * squares_[n];
  if (!intercept_) return;
  const double* const scale = pass().rows.scale;
  mean_ = std::make_unique<Buffer<double>>(D);
  double* const mean = mean_->data();
  by_features(fractions_, 1, [&](Index, Index begin, Index end, const double* sums) {
    for (Index d = begin; d < end; ++d) mean[d] = scale ? scale[d] * sums[d - begin] : sums[d - begin];
  });
  for (Index d = 0; d < D; ++d) mean_square_ += mean[d] * mean[d];
  along_.resize(squares_.size());
  by_rows([&](Index first, Index last, std::size_t) {
    kernels<double>().sparse_products(product_job<double>(pass(), first, last, mean, 1, 1, along_.data()));
  });
  for (std::size_t n = 0; own && n < squares_.size(); ++n) {
    along_[n] += fractions_[n] * own[n];
    mean_square_ += fractions_[n] * fractions_[n] * own[n];
  }
  for (std::size_t n = 0; n < squares_.size(); ++n)
    squares_[n] = std::fmax(squares_[n] - 2 * along_[n] + mean_square_, 0.0);
}

template <class T>
DualSweep DualAscent<T>::sweep(const double* b) {
  if (!V_) prepare();
  const Index K = pass().shape.K;
  DualSweep found{std::vector<double>(static_cast<std::size_t>(K * K))};
  DualSweepJob<T> job;
  job.x = pass().rows.x;
  job.y = pass().rows.y;
  job.N = pass().shape.N;
  job.K = K;
  job.stride = stride_;
  job.l2 = l2_;
  job.mean_square = mean_square_;
  job.scale = pass().rows.scale;
  job.fractions = fractions_;
  job.squares = squares_.data();
  job.along = intercept_ ? along_.data() : nullptr;
  job.own_squares = rows_.own_squares();
  job.b = b;
  job.V = V_->data();
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
  const T* const V = V_->data();
  const double* const own = rows_.own_squares();
  const Index K = pass().shape.K;
  double sums[8] = {};
  for (Index i = 0; i < pass().shape.D * stride_; ++i) sums[i % 8] += static_cast<double>(V[i]) * static_cast<double>(V[i]);
  for (Index n = 0; own && n < pass().shape.N; ++n)
    for (Index c = 0; c < columns(); ++c) {
      const double factor = -0.5 * fractions_[n] * static_cast<double>((*r_)[n * K + first_class() + c]) / l2_;
      sums[n % 8] += factor * factor * own[n];
    }
  double total = 0;
  for (double sum : sums) total += sum;
  return stride_ < K ? 2 * total : total;
}

template <class T>
void DualAscent<T>::finish(T* W) {
  if (!V_) prepare();
  if (has_own()) finish_own(W);
  r_.reset();
  squares_ = {}, along_ = {};
  if (!mean_) return;
  split(pass().threads, pass().shape.D, [&](Index begin, Index end) {
    for (Index d = begin; d < end; ++d)
      for (Index c = 0; c < columns(); ++c) {
        T& w = (*V_)[d * stride_ + c];
        w = static_cast<T>(static_cast<double>(w) - shift_[static_cast<std::size_t>(first_class() + c)] * (*mean_)[d]);
      }
  });
  mean_.reset();
}

template <class T>
void DualAscent<T>::weights(T* W) const {
  const Index D = rows_.features(), from = first_class();
  rows_.by_features([&](const Index* features, Index count, Index first) {
    for (Index c = 0; c < columns(); ++c)
      for (Index i = 0; i < count; ++i) W[(from + c) * D + features[i]] = (*V_)[(first + i) * stride_ + c];
  });
  if (from) split(pass().threads, D, [&](Index begin, Index end) {
    for (Index d = begin; d < end; ++d) W[d] = T(0) - W[D + d];
  });
}

template <class T>
void DualAscent<T>::finish_own(T* W) {
  const Index N = pass().shape.N, K = pass().shape.K, D = rows_.features(), from = first_class();
  own_factors_ = std::make_unique<Buffer<double>>(N * stride_);
  own_errors_ = std::make_unique<Buffer<double>>(N * stride_);
  std::vector<double> parts(static_cast<std::size_t>(kRowBlocks));
  by_rows([&](Index first, Index last, std::size_t block) {
    OwnValues own;
    for (Index n = first; n < last; ++n) {
      rows_.read_own(n, own);
      for (Index c = 0; c < columns(); ++c) {
        const double step = -0.5 * fractions_[n] * static_cast<double>((*r_)[n * K + from + c]) / l2_;
        const double factor = intercept_ ? step - shift_[static_cast<std::size_t>(from + c)] * fractions_[n] : step;
        T* const of_class = W + (from + c) * D;
        for (Index i = 0; i < own.count; ++i) __builtin_prefetch(of_class + own.features[static_cast<std::size_t>(i)], 1, 3);
        double errors = 0, squares = 0;
        for (Index i = 0; i < own.count; ++i) {
          const auto at = static_cast<std::size_t>(i);
          const double value = own.values[at], exact = factor * value;
          const T w = static_cast<T>(exact);
          const double error = static_cast<double>(w) - exact;
          of_class[own.features[at]] = w;
          errors += error * value;
          squares += error * error;
        }
        (*own_factors_)[n * stride_ + c] = factor;
        (*own_errors_)[n * stride_ + c] = errors;
        parts[block] += squares;
      }
    }
  });
  for (double part : parts) own_error_squares_ += part;
}

template <class T>
void DualAscent<T>::score() {
  const double* const own = rows_.own_squares();
  scores_ = std::make_unique<Buffer<double>>(pass().shape.N * stride_);
  by_rows([&](Index first, Index last, std::size_t) {
    kernels<T>().sparse_products(product_job<T>(pass(), first, last, V_->data(), stride_, columns(), scores_->data()));
    for (Index n = first; own && n < last; ++n)
      for (Index i = n * stride_; i < n * stride_ + columns(); ++i)
        (*scores_)[i] += (*own_factors_)[i] * own[n] + (*own_errors_)[i];
  });
}

// The scores of a row at a bias, (K,), in s.
template <class T>
double* DualAscent<T>::class_scores(Index n, const double* b, double* s) const {
  const Index K = pass().shape.K;
  std::copy_n(scores_->data() + n * stride_, columns(), s);
  if (stride_ < K) mirror(s);
  for (Index k = 0; k < K; ++k) s[k] += b[k];
  return s;
}

template <class T>
ClassMoments DualAscent<T>::moments(const double* b) {
  if (!scores_) score();
  const Index K = pass().shape.K;
  const auto classes = static_cast<std::size_t>(K), pairs = static_cast<std::size_t>(K * K);
  const ClassMoments none{0, std::vector<double>(classes), std::vector<double>(pairs), std::vector<double>(pairs)};
  std::vector<ClassMoments> parts(static_cast<std::size_t>(kRowBlocks), none);
  by_rows([&](Index first, Index last, std::size_t block) {
    ClassMoments& part = parts[block];
    std::vector<double> p(classes), s(classes);
    for (Index n = first; n < last; ++n) {
      const double f = fractions_[n];
      const Index label = pass().rows.label(n);
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
  const Index K = pass().shape.K, from = first_class(), D = pass().shape.D;
  const double bend = 2 * l2_;
  const double* const own = rows_.own_squares();
  std::vector<DualSlope> of_rows(static_cast<std::size_t>(kRowBlocks));
  by_rows([&](Index first, Index last, std::size_t block) {
    std::vector<double> p(static_cast<std::size_t>(K));
    for (Index n = first; n < last; ++n) {
      softmax(class_scores(n, b, p.data()), K);
      p[static_cast<std::size_t>(pass().rows.label(n))] -= 1;
      for (Index c = 0; c < columns(); ++c) {
        const Index i = n * stride_ + c;
        const double residual = (*scores_)[i] = fractions_[n] * p[static_cast<std::size_t>(from + c)];
        if (!own) continue;
        // Where W is the factor times a value of the row, and an error.
        const double factor = (*own_factors_)[i], error = (*own_errors_)[i], left = residual + bend * factor;
        of_rows[block].gradient += left * (left * own[n] + 2 * bend * error);
        of_rows[block].weights += factor * (factor * own[n] + 2 * error);
      }
    }
  });
  const double* const scale = pass().rows.scale;
  const Index size = max(1, kBlockEntries / stride_);
  std::vector<DualSlope> parts(static_cast<std::size_t>(ceil_div(D, size)));
  by_features(scores_->data(), stride_, [&](Index block, Index begin, Index end, const double* sums) {
    double gradient[8] = {}, weights[8] = {};
    const T* const W = V_->data() + begin * stride_;
    for (Index i = 0; i < (end - begin) * stride_; ++i) {
      const double w = static_cast<double>(W[i]), g = (scale ? scale[begin + i / stride_] * sums[i] : sums[i]) + bend * w;
      gradient[i % 8] += g * g;
      weights[i % 8] += w * w;
    }
    DualSlope& part = parts[static_cast<std::size_t>(block)];
    for (int i = 0; i < 8; ++i) part.gradient += gradient[i], part.weights += weights[i];
  });
  scores_.reset();
  DualSlope found{bend * bend * own_error_squares_, own_error_squares_};
  for (const DualSlope& part : of_rows) found.gradient += part.gradient, found.weights += part.weights;
  for (const DualSlope& part : parts) found.gradient += part.gradient, found.weights += part.weights;
  const double copies = from ? 2 : 1;
  return {copies * std::fmax(found.gradient, 0.0), copies * found.weights};
}

template class DualAscent<float>;
template class DualAscent<double>;

}  // namespace onelayer
