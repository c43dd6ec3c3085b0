// Few features of two classes: the search on a working set, by steps of Newton's method that coordinate descent solves.
#pragma once

#include <deque>

#include "coordinate_descent.hpp"

namespace onelayer {

inline Index padded_rows(Index N) { return round_up(N, kColumnLanes); }

// Work on a thread each pays from this many products on.
inline constexpr double kProductsPerThread = 2e6;

inline int threads_for(double products, int threads) {
  return static_cast<int>(std::max(1.0, std::min(static_cast<double>(threads), products / kProductsPerThread)));
}

// Calls work(first, last) for parts of `count` on threads of their own.
template <class Work>
void in_parts(int threads, Index count, const Work& work) {
  run_threads(threads, [&](int t) { work(part_begin(count, threads, t), part_begin(count, threads, t + 1)); });
}

// Columns of an array, of those features that were asked for: values as stored, in float32 unless that is too narrow.
class HeldColumns {
 public:
  const Index N, D;

  HeldColumns(Index rows, Index features, bool wide, const double* scale, const double* offset)
      : N(rows), D(features), wide_(wide), scale_(scale, scale + features), offset_(offset, offset + features),
        at_(size(features)) {}
  HeldColumns(const HeldColumns&) = delete;  // steps refer to it


  bool holds(Index feature) const { return at_[size(feature)] != nullptr; }

  // Of features that are not held yet, of which rows are still to be read.
  void hold(const Index* features, Index n) {
    const Index bytes = padded_rows(N) * (wide_ ? 8 : 4);
    memory_.emplace_back(n * bytes);
    for (Index i = 0; i < n; ++i) at_[size(features[i])] = memory_.back().data() + i * bytes;
  }
  // `count` rows, of which the first one's place is given.
  void read(const StoredMatrix& x, Index place, Index count, const Index* features, Index n) {
    std::vector<char*> to;
    for (Index k = 0; k < n; ++k) to.push_back(at_[size(features[k])] + place * (wide_ ? 8 : 4));
    column_kernels().read({x, count, n, features, to.data(), wide_});
  }
  Column column(Index feature) const {
    return {at_[size(feature)], wide_, scale_[size(feature)], offset_[size(feature)]};
  }

 private:
  static std::size_t size(Index i) { return static_cast<std::size_t>(i); }

  const bool wide_;
  std::vector<double> scale_, offset_;
  std::vector<char*> at_;
  std::deque<Buffer<char>> memory_;
};

// Features of a working set, ascending, and what is penalised: limits |w| + curvatures w^2 / 2.
struct WorkingSet {
  Index n;
  const Index* features;
  const double *limits, *curvatures;
  double* w;
  double* slope;  // room for the loss's gradient, or that where the rows are
  double penalty() const {
    double sum = 0.0;
    for (Index k = 0; k < n; ++k) sum += limits[k] * std::abs(w[k]) + 0.5 * curvatures[k] * (w[k] * w[k]);
    return sum;
  }
};

// The rows under the scores: all (padded N,), with zeros in the padding.
struct PairRows {
  Index N, padded;
  bool intercept;
  Buffer<double> labels, fractions, given, base, s, p, r, h;  // h is p (1 - p), base the scores without the bias
  double bias = 0.0;
  LogisticSums sums;

  PairRows(Index N, const double* y, const double* f, const double* offsets, bool intercept)
      : N(N), padded(padded_rows(N)), intercept(intercept), labels(padded), fractions(padded), given(padded),
        base(padded), s(padded), p(padded), r(padded), h(padded) {
    std::copy_n(y, N, labels.data());
    std::copy_n(f, N, fractions.data());
    if (offsets) std::copy_n(offsets, N, given.data());
  }
  LogisticJob job() {
    return {padded, base.data(), labels.data(), fractions.data(), bias, s.data(), p.data(), r.data(), h.data()};
  }
  void score() { sums = column_kernels().logistic(job()); }
};

// A step from where the rows are, and the quadratic that it minimises.
struct PairStep {
  std::vector<Index> moving;            // places in the working set
  std::vector<double> change, reached;  // of its w, and the quadratic's gradient of the loss there: of
                                        // those that may move, or of all where Steps::kReachesAll
  double shift = 0.0;                   // of the bias
  Buffer<double> along;                 // of the scores, but for the shift
  explicit PairStep(Index padded) : along(padded) {}
};

inline constexpr double kTiny = 1e-300;

// Steps on an array's columns, by a Hessian that is summed in float32 and grows by features while it is fresh.
class HeldSteps {
 public:
  // In the first step a weight that is 0 takes part where its slope is above this part of its limit: along a path few of
  // those that the last solution had below its own limit will count, and each makes the Hessian larger.
  static constexpr double kNearFirst = 1.25, kFirstTolerance = 1e-4;
  static constexpr bool kReachesAll = false;

  HeldSteps(const HeldColumns& X, int threads) : X_(X), threads_(threads), place_(static_cast<std::size_t>(X.D), -1) {}

  Index N() const { return X_.N; }
  Index D() const { return X_.D; }
  bool holds(Index feature) const { return X_.holds(feature); }

  void forget() {
    for (const Index j : held_) place_[size(j)] = -1;
    held_.clear(), scaled_.clear(), columns_.clear(), means_.clear(), H_.clear(), bends_.clear();
  }

  // The loss's gradient of features, by the residuals of all rows.
  void slopes(const Index* features, Index n, const double* r, double* out) const {
    const Index padded = padded_rows(X_.N);
    in_parts(threads_for(static_cast<double>(n * padded), threads_), n, [&](Index first, Index last) {
      for (Index k = first; k < last; ++k) out[k] = column_kernels().sum(X_.column(features[k]), padded, r);
    });
  }

  // Adds the scores of weights; returns what else all rows have in common.
  double add_scores(const Index* features, Index n, const double* w, double* scores) const {
    const Index count = n - std::count(w, w + n, 0.0), lanes = padded_rows(X_.N) / kColumnLanes;
    in_parts(threads_for(static_cast<double>(count * X_.N), threads_), lanes, [&](Index first, Index last) {
      constexpr Index block = 64;  // of which the scores stay in the first-level cache
      for (Index from = first; from < last; from += block)
        for (Index k = 0; k < n; ++k)
          if (w[k] != 0.0)
            column_kernels().add(X_.column(features[k]), from * kColumnLanes, min(from + block, last) * kColumnLanes,
                                 w[k], scores);
    });
    return 0.0;
  }

  // `bends` are in the end those of the rows where the Hessian was taken.
  void step(const PairRows& rows, const WorkingSet& set, double tolerance,
            Index sweeps, PairStep& step, Buffer<double>& bends) {
    hold(rows, set, step.moving);
    const auto n = static_cast<Index>(held_.size());
    std::vector<double> w(held_.size()), q(w), limits(w);
    std::vector<Index>& places = step.moving;
    places.resize(held_.size());
    const double slope = rows.intercept ? rows.sums.residual : 0.0;
    for (std::size_t i = 0; i < held_.size(); ++i) {
      const Index k = std::lower_bound(set.features, set.features + set.n, held_[i]) - set.features;
      places[i] = k, w[i] = set.w[k], limits[i] = set.limits[k];
      q[i] = set.slope[k] + set.curvatures[k] * w[i] - slope * means_[i];
    }
    coordinate_descent(kernels<double>(), {n, 1, H_.data(), limits.data(), w.data(), q.data()}, tolerance, sweeps);
    step.change.assign(size(set.n), 0.0);
    step.reached.assign(size(set.n), 0.0);
    step.shift = -slope / total_;
    for (std::size_t i = 0; i < held_.size(); ++i) {
      const std::size_t k = size(places[i]);
      step.change[k] = w[i] - set.w[k];
      step.reached[k] = q[i] - set.curvatures[k] * w[i];
      if (rows.intercept) step.shift -= step.change[k] * means_[i];
    }
    std::fill_n(step.along.data(), rows.padded, 0.0);
    add_scores(set.features, set.n, step.change.data(), step.along.data());
    std::copy(bends_.begin(), bends_.end(), bends.data());
  }

 private:
  static std::size_t size(Index i) { return static_cast<std::size_t>(i); }
  static constexpr double kStale = 0.1, kRidge = 1e-6;

  bool stale(const PairRows& rows) const {
    if (bends_.empty()) return true;
    double changed = 0.0;
    for (Index i = 0; i < rows.N; ++i) changed += rows_of(rows.fractions)[i] * std::abs(rows_of(rows.h)[i] - bends_[size(i)]);
    return changed > kStale * total_;
  }
  static const double* rows_of(const Buffer<double>& of) { return of.data(); }

  void hold(const PairRows& rows, const WorkingSet& set, const std::vector<Index>& moving) {
    if (stale(rows)) {
      forget();
      bends_.assign(rows_of(rows.h), rows_of(rows.h) + rows.padded);
      total_ = std::max(rows.sums.bend, kTiny);
    }
    const std::size_t old = held_.size();
    std::vector<double> curvatures;
    for (const Index k : moving)
      if (const Index j = set.features[k]; place_[size(j)] < 0) {
        place_[size(j)] = static_cast<Index>(held_.size());
        held_.push_back(j), curvatures.push_back(set.curvatures[k]);
      }
    if (held_.size() == old) return;
    grow(rows, old, curvatures);
  }

  void grow(const PairRows& rows, std::size_t old, const std::vector<double>& curvatures) {
    Buffer<double> factors(rows.padded), roots(rows.padded);
    for (Index i = 0; i < rows.padded; ++i) {
      factors[i] = rows_of(rows.fractions)[i] * bends_[size(i)];
      roots[i] = std::sqrt(factors[i]);
    }
    const std::size_t n = held_.size();
    const auto first = static_cast<Index>(old), last = static_cast<Index>(n);
    scaled_.emplace_back((last - first) * rows.padded, Uninitialized{});
    means_.resize(n), columns_.resize(n);
    const double products = static_cast<double>((last - first) * rows.padded);
    in_parts(threads_for(products, threads_), last - first, [&](Index from, Index to) {
      for (Index i = from; i < to; ++i) {
        float* const scaled = scaled_.back().data() + i * rows.padded;
        columns_[old + size(i)] = scaled;
        means_[old + size(i)] = column_kernels().scaled(X_.column(held_[old + size(i)]), rows.padded, factors.data(),
                                                        roots.data(), scaled) / total_;
      }
    });
    std::vector<double> H(n * n);
    for (std::size_t i = 0; i < old; ++i) std::copy_n(H_.data() + i * old, old, H.data() + i * n);
    const int threads = threads_for(0.5 * products * static_cast<double>(n) / 16, threads_);
    run_threads(threads, [&](int t) {
      column_kernels().gram({columns_.data(), first, last, rows.padded, H.data(), last, t, threads});
    });
    constexpr std::size_t block = 16;  // in which both halves stay in the cache
    for (std::size_t first_i = old; first_i < n; first_i += block)
      for (std::size_t first_j = 0; first_j < std::min(first_i + block, n); first_j += block)
        for (std::size_t i = first_i; i < std::min(first_i + block, n); ++i)
          for (std::size_t j = first_j; j <= std::min(first_j + block - 1, i); ++j) {
            double& h = H[i * n + j];
            if (rows.intercept) h -= means_[i] * means_[j] * total_;
            H[j * n + i] = h;
          }
    for (std::size_t i = old; i < n; ++i) H[i * n + i] += curvatures[i - old] + kRidge * H[i * n + i];
    H_ = std::move(H);
  }

  const HeldColumns& X_;
  const int threads_;
  std::vector<Index> place_, held_;  // of each feature in the Hessian, or -1; and the features
  std::deque<Buffer<float>> scaled_;
  std::vector<const float*> columns_;
  std::vector<double> H_, means_, bends_;
  double total_ = 1.0;
};

// Steps on columns of sparse rows, of which no product is formed.
template <class T>
class SparseSteps {
 public:
  // Features cost little where they stay 0, and a step with all of those that may count is often the only one.
  static constexpr double kNearFirst = 0.8, kFirstTolerance = 1e-3;
  static constexpr bool kReachesAll = true;

  SparseSteps(const Columns<T>& X, int threads) : X_(X), threads_(threads) {}

  Index N() const { return X_.N; }
  Index D() const { return X_.D; }
  bool holds(Index) const { return true; }

  void forget() {}

  void slopes(const Index* features, Index n, const double* r, double* out) const {
    column_sums(X_, features, n, 1, r, out, threads_);
  }

  double add_scores(const Index* features, Index n, const double* w, double* scores) const {
    add_column_scores(X_, features, n, 1, w, scores);
    double common = 0.0;
    for (Index k = 0; k < n; ++k) common += w[k] * X_.offset.data()[features[k]];
    return common;
  }

  void step(const PairRows& rows, const WorkingSet& set, double tolerance,
            Index sweeps, PairStep& step, Buffer<double>& bends) const {
    const std::vector<Index>& moving = step.moving;
    const std::size_t n = moving.size();
    std::vector<Index> features(n);
    std::vector<double> l1(n), l2(n), w(n), d(static_cast<std::size_t>(X_.N)), r(rows.r.data(), rows.r.data() + X_.N);
    for (std::size_t i = 0; i < n; ++i) {
      const Index k = moving[i];
      features[i] = set.features[k], l1[i] = set.limits[k], l2[i] = 0.5 * set.curvatures[k], w[i] = set.w[k];
    }
    std::copy_n(rows.h.data(), rows.padded, bends.data());
    for (std::size_t i = 0; i < d.size(); ++i) d[i] = rows.fractions.data()[i] * rows.h.data()[i];
    column_descent<1>(ColumnQuadratic<T>{X_, features.data(), static_cast<Index>(n), 1, l1.data(), l2.data(), d.data(),
                                         rows.intercept, w.data(), r.data()}, tolerance, sweeps);
    step.change.assign(static_cast<std::size_t>(set.n), 0.0);
    step.reached.resize(static_cast<std::size_t>(set.n));
    for (std::size_t i = 0; i < n; ++i) step.change[static_cast<std::size_t>(moving[i])] = w[i] - set.w[moving[i]];
    std::fill_n(step.along.data(), rows.padded, 0.0);
    const double common = add_scores(set.features, set.n, step.change.data(), step.along.data());
    for (Index i = 0; i < X_.N; ++i) step.along[i] += common;
    step.shift = 0.0;
    double gradient = 0.0;
    for (Index i = 0; i < X_.N; ++i) {
      const double bent = d[static_cast<std::size_t>(i)] * step.along[i];
      gradient += bent, r[static_cast<std::size_t>(i)] = rows.r.data()[i] + bent;
    }
    if (rows.intercept) step.shift = -(rows.sums.residual + gradient) / std::max(rows.sums.bend, kTiny);
    for (std::size_t i = 0; i < d.size(); ++i) r[i] += d[i] * step.shift;
    slopes(set.features, set.n, r.data(), step.reached.data());
  }

 private:
  const Columns<T>& X_;
  const int threads_;
};

// The search: rows under the weights, and probabilities that prove more than theirs.
template <class Steps>
class PairSearch {
 public:
  PairRows rows;
  Buffer<double> found;  // probabilities of the last whole step's quadratic
  bool has_found = false;
  Steps steps;

  // Distances, the root of the mean of squares, of the probabilities that were found, or else of the rows': from those
  // of the rows when this was last called, and from those of the rows. And the sum of their residuals.
  struct Travel {
    double far, back, residual;
  };

  PairSearch(Steps steps, const double* y, const double* f, const double* offsets, bool intercept)
      : rows(steps.N(), y, f, offsets, intercept), found(rows.padded), steps(std::move(steps)), bends_(rows.padded),
        residuals_(rows.padded), seen_(rows.padded), step_(rows.padded) {}

  // Weights w of features, and a bias.
  void place(const Index* features, Index n, const double* w, double bias) {
    std::copy_n(rows.given.data(), rows.padded, rows.base.data());
    const double common = steps.add_scores(features, n, w, rows.base.data());
    if (common != 0.0)
      for (Index i = 0; i < rows.N; ++i) rows.base[i] += common;
    rows.bias = bias;
    rows.score();
  }

  // Scores, with their bias; nothing is found yet.
  void put(const double* scores) {
    std::copy_n(scores, rows.N, rows.base.data());
    rows.bias = 0.0;
    has_found = false;
    rows.score();
  }

  // Moves the bias to where the residuals' sum is `least` at most: Newton's steps, and where one raises the loss
  // log(pi / mean of p), which never does. `frequency` is that of label 1.
  void centre(double least, double frequency) {
    constexpr double farthest = 4.0;
    for (int count = 0; rows.intercept && count < 50 && !(std::abs(rows.sums.residual) <= least); ++count) {
      const double loss = rows.sums.loss, g = rows.sums.residual, bias = rows.bias;
      const double newton = std::clamp(-g / std::max(rows.sums.bend, kTiny), -farthest, farthest);
      const double scaling = std::log(frequency / std::max(frequency + g, kTiny)) -
                             std::log((1.0 - frequency) / std::max(1.0 - frequency - g, kTiny));
      for (const double shift : {newton, scaling}) {
        rows.bias = bias + shift;
        rows.score();
        if (rows.sums.loss <= loss * (1.0 + kRounding)) break;
      }
    }
  }

  Travel travel() {
    const double *const f = rows.fractions.data(), *const p = rows.p.data(), *const q = has_found ? found.data() : p;
    double far = 0.0, back = 0.0, residual = 0.0;
    for (Index i = 0; i < rows.N; ++i) {
      const double from_seen = q[i] - seen_[i], from_rows = q[i] - p[i];
      far += f[i] * (from_seen * from_seen);
      back += f[i] * (from_rows * from_rows);
      residual += f[i] * (q[i] - rows.labels[i]);
    }
    std::copy_n(p, rows.N, seen_.data());
    return {std::sqrt(far), std::sqrt(back), residual};
  }

  // The residuals of what was found, or else of the rows; (padded N,).
  const double* residuals(bool of_found = true) {
    if (!has_found || !of_found) return rows.r.data();
    const double* const f = rows.fractions.data();
    for (Index i = 0; i < rows.padded; ++i) residuals_[i] = f[i] * (found[i] - rows.labels[i]);
    return residuals_.data();
  }

  // Solves for the working set's weights, until the gap is `aim` of the cost at most, from where the rows are.
  // Stops between two steps where should_stop says so. The loss's gradient may be known.
  template <class Stop>
  void fit(WorkingSet& set, double aim, Index cycles, const Stop& should_stop, bool slope_known = false) {
    has_found = false;
    for (Index cycle = 0; cycle < cycles && set.n > 0; ++cycle) {
      if (cycle > 0 || !slope_known) steps.slopes(set.features, set.n, rows.r.data(), set.slope);
      if (!advance(set, cycle > 0 ? kNear : Steps::kNearFirst, cycle > 0 ? kTolerance : Steps::kFirstTolerance)) return;
      const double cost = rows.sums.loss + set.penalty();
      if (cost <= kRounding || (has_found && gap(set) <= aim * cost && (cycle > 0 || is_whole(set))) || should_stop())
        return;
    }
  }

 private:
  static constexpr double kRounding = 4e-15, kSufficient = 1e-4, kMinLength = 1e-10;
  // A weight that is 0 takes part in a step where its slope is above this part of its limit.
  static constexpr double kNear = 0.95;
  static constexpr double kTolerance = 1e-5, kEdge = 1e-3;
  static constexpr Index kSweeps = 100;

  // One step; false where there is none that lowers the cost.
  bool advance(WorkingSet& set, double near, double tolerance) {
    has_found = false;
    step_.moving.clear();
    for (Index k = 0; k < set.n; ++k)
      if (set.w[k] != 0.0 || std::abs(set.slope[k]) > near * set.limits[k]) step_.moving.push_back(k);
    steps.step(rows, set, tolerance, kSweeps, step_, bends_);
    const double now = rows.sums.loss + set.penalty(), slack = kRounding * std::abs(now), bias = rows.bias;
    old_.assign(set.w, set.w + set.n);
    double falls = rows.sums.residual * step_.shift;
    for (Index i = 0; i < rows.N; ++i) falls += rows.r[i] * step_.along[i];
    for (Index k = 0; k < set.n; ++k) {
      const double change = step_.change[static_cast<std::size_t>(k)], w = set.w[k];
      falls += set.curvatures[k] * w * change + set.limits[k] * (std::abs(w + change) - std::abs(w));
    }
    if (!(falls < slack)) return false;
    for (Index i = 0; i < rows.padded; ++i) found[i] = rows.p[i] + bends_[i] * (step_.along[i] + step_.shift);
    start_.assign(rows.base.data(), rows.base.data() + rows.padded);
    for (double length = 1.0;; length *= 0.5) {
      if (length < kMinLength) length = 0.0;
      for (Index i = 0; i < rows.padded; ++i)
        rows.base[i] = start_[static_cast<std::size_t>(i)] + length * step_.along[i];
      for (Index k = 0; k < set.n; ++k)
        set.w[k] = old_[static_cast<std::size_t>(k)] + length * step_.change[static_cast<std::size_t>(k)];
      rows.bias = bias + length * step_.shift;
      rows.score();
      if (length == 0.0) return false;
      if (rows.sums.loss + set.penalty() <= now + kSufficient * length * falls + slack) {
        has_found = length == 1.0 &&
                    std::all_of(found.data(), found.data() + rows.N, [](double p) { return p > 0.0 && p < 1.0; });
        return true;
      }
    }
  }

  // How far the cost is from the least one of the working set, by what the step found; features that it did not move are
  // left to the proof.
  double gap(const WorkingSet& set) {
    double largest = 0.0;
    bool curved = true;
    for (const Index k : step_.moving) {
      if (set.limits[k] > 0.0) largest = std::max(largest, std::abs(reached(k)) / set.limits[k]);
      curved = curved && set.curvatures[k] > 0.0;
    }
    const double kept = curved || largest <= 1.0 ? 1.0 : 1.0 / largest;
    double distance = 0.0;
    for (const Index k : step_.moving) {
      const double w = set.w[k], slope = kept * reached(k);
      distance += set.limits[k] * std::abs(w) + 0.5 * set.curvatures[k] * (w * w) + slope * w;
      if (const double excess = std::abs(slope) - set.limits[k]; curved && excess > 0.0)
        distance += excess * excess / (2.0 * set.curvatures[k]);
    }
    return std::max(distance, 0.0) + std::max(column_kernels().divergence(found.data(), kept, rows.job()), 0.0);
  }
  // Whether what was found is within the penalty of the features that the step did not move, too.
  bool is_whole(const WorkingSet& set) {
    if constexpr (!Steps::kReachesAll) steps.slopes(set.features, set.n, residuals(), step_.reached.data());
    for (Index k = 0; k < set.n; ++k)
      if (set.w[k] == 0.0 && std::abs(reached(k)) > set.limits[k] * (1.0 + kEdge)) return false;
    return true;
  }
  double reached(Index k) const { return step_.reached[static_cast<std::size_t>(k)]; }

  Buffer<double> bends_, residuals_, seen_;
  PairStep step_;
  std::vector<double> old_, start_;
};

}  // namespace onelayer
