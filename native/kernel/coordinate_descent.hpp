// Coordinate descent on a quadratic with a penalty that is not smooth: the step of the solver for ℓ1. Its Hessian is
// given, or that of columns of sparse rows, of which no product is ever formed.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "memory.hpp"
#include "sparse_passes.hpp"

namespace onelayer {

// ½ Σ_c δ_cᵀ H δ_c + Σ_c g_cᵀ δ_c + Σ_j λ_j ‖w_j + δ_j‖₂ over δ (m, n): m rows of weights that share the Hessian
// H (n, n), of which the features' columns w_j (m,) are penalised as a whole. For m = 1 that is ℓ1.
struct Quadratic {
  Index n, m;
  const double* H;
  const double* penalty;  // (n,)
  double* w;              // (m, n); w + δ in the end
  double* g;              // (m, n); the gradient at w, in the end as well
};

// The minimum over a feature's weights w (m,), each `stride` further, whose curvature is h, while the others stay: its
// changes, for which step holds the gradient. Returns h times their squares' sum.
inline double shrink(Index m, double h, double penalty, double* w, Index stride, double* step) {
  double size = 0.0, moved = 0.0;
  for (Index c = 0; c < m; ++c) {
    step[c] = w[c * stride] - step[c] / h;
    size += step[c] * step[c];
  }
  size = std::sqrt(size);
  const double threshold = penalty / h, kept = size > threshold ? 1.0 - threshold / size : 0.0;
  for (Index c = 0; c < m; ++c) {
    const double reached = kept * step[c];
    step[c] = reached - w[c * stride];
    w[c * stride] = reached;
    moved += step[c] * step[c];
  }
  return h * moved;
}

// The minimum over one feature while the others stay; returns h ‖δ_j‖².
inline double minimise_feature(const Kernels<double>& kernels, const Quadratic& q, Index j, double* step) {
  const double h = q.H[j * q.n + j];
  if (!(h > 0.0)) return 0.0;
  for (Index c = 0; c < q.m; ++c) step[c] = q.g[c * q.n + j];
  const double moved = shrink(q.m, h, q.penalty[j], q.w + j, q.n, step);
  const double* row = q.H + j * q.n;
  for (Index c = 0; c < q.m; ++c) {
    if (step[c] != 0.0) kernels.add_scaled(q.g + c * q.n, row, step[c], q.n);
  }
  return moved;
}

// Where the weights that are not 0 keep their signs the quadratic is smooth: a step to its minimum over them, or as far
// as the first that becomes 0. For m = 1.
inline void minimise_support(const Kernels<double>& kernels, const Quadratic& q) {
  std::vector<Index> of;
  for (Index j = 0; j < q.n; ++j)
    if (q.w[j] != 0.0) of.push_back(j);
  const std::size_t n = of.size();
  std::vector<double> U(n * n), step(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double* const row = q.H + of[i] * q.n;
    for (std::size_t k = i; k < n; ++k) U[i * n + k] = row[of[k]];
    step[i] = -(q.g[of[i]] + std::copysign(q.penalty[of[i]], q.w[of[i]]));
  }
  for (std::size_t i = 0; i < n; ++i) {  // U = D L^T of the Hessian L D L^T
    const double* const row = &U[i * n];
    if (!(row[i] > 1e-10 * q.H[of[i] * (q.n + 1)])) return;
    for (std::size_t k = i + 1; k < n; ++k) {
      const double factor = -row[k] / row[i];
      kernels.add_scaled(&U[k * n + k], row + k, factor, static_cast<Index>(n - k));
      step[k] += factor * step[i];
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) step[i] -= U[i * n + k] * step[k];
    step[i] /= U[i * n + i];
  }
  double length = 1.0;
  for (std::size_t i = 0; i < n; ++i)
    if (const double w = q.w[of[i]]; q.penalty[of[i]] > 0.0 && (w > 0.0) != (w + step[i] > 0.0))
      length = std::min(length, -w / step[i]);
  for (std::size_t i = 0; i < n; ++i) {
    const double w = q.w[of[i]], whole = w + length * step[i];
    const bool ends = q.penalty[of[i]] > 0.0 && (w > 0.0) != (whole > 0.0);
    q.w[of[i]] = ends ? 0.0 : whole;
    kernels.add_scaled(q.g, q.H + of[i] * q.n, q.w[of[i]] - w, q.n);
  }
}

// Sweeps over all n features, and between two of them over those whose weights w (m, n) are not all 0, until a sweep
// over all moves by no more than `tolerance` of the first one. Where many sweeps would follow each other they end by
// settle(count of weights), which may return false. Returns the number of sweeps.
template <class Minimise, class Settle>
Index sweeps_of(Index n, Index m, const double* w, double tolerance, Index sweeps, const Minimise& minimise,
                const Settle& settle) {
  const auto is_zero = [&](Index j) {
    for (Index c = 0; c < m; ++c)
      if (w[c * n + j] != 0.0) return false;
    return true;
  };
  double first = -1.0;
  bool all = true;
  for (Index sweep = 1, since = 0; sweep <= sweeps; ++sweep) {
    double moved = 0.0;
    Index visits = 0;
    for (Index j = 0; j < n; ++j)
      if (all || !is_zero(j)) moved += minimise(j), ++visits;
    if (first < 0.0) first = moved;
    const bool rests = moved <= tolerance * first;
    if (rests && all) return sweep;
    since = all ? 0 : since + 1;
    all = rests || (since > 0 && settle(since, visits));
  }
  return sweeps;
}

inline Index coordinate_descent(const Kernels<double>& kernels, const Quadratic& q, double tolerance, Index sweeps) {
  std::vector<double> step(static_cast<std::size_t>(q.m));
  // A step of all weights at once, where it costs no more than the sweeps before it.
  const auto settle = [&](Index since, Index count) {
    if (q.m != 1 || since < 3 || count * count > 6 * since * q.n) return false;
    minimise_support(kernels, q);
    return true;
  };
  return sweeps_of(q.n, q.m, q.w, tolerance, sweeps,
                   [&](Index j) { return minimise_feature(kernels, q, j, step.data()); }, settle);
}

// Places that cut features, of which `begin` says where what is stored of each begins, into parts of as much each.
inline std::vector<Index> equal_parts(const std::vector<Index>& begin, Index parts) {
  std::vector<Index> places;
  for (Index part = 0; part <= parts; ++part)
    places.push_back(std::lower_bound(begin.begin(), begin.end() - 1, part_begin(begin.back(), parts, part)) -
                     begin.begin());
  places.back() = static_cast<Index>(begin.size()) - 1;
  return places;
}

// Calls work(first, last) for ranges of features on threads, each of as much that is stored.
template <class Work>
void split_stored(int threads, const std::vector<Index>& begin, const Work& work) {
  constexpr Index least = 1 << 16;  // that pays for a thread
  const int used = static_cast<int>(max(1, min(threads, begin.back() / least)));
  const std::vector<Index> places = equal_parts(begin, used);
  run_threads(used, [&](int thread) { work(places.data()[thread], places.data()[thread + 1]); });
}

// A copy of sparse rows by columns: the values that are stored of each feature, and the rows that they are of,
// ascending. A feature is its values times `scale`, and then `offset` is added in all rows.
template <class T>
struct Columns {
  Index N, D;
  std::vector<double> scale, offset;  // (D,)
  std::vector<Index> begin;           // (D + 1,)
  Buffer<T> values;
  Buffer<std::int32_t> rows;

  explicit Columns(const Pass& pass)
      : N(pass.shape.N),
        D(pass.shape.D),
        scale(pass.rows.scale, pass.rows.scale + D),
        offset(pass.rows.offset, pass.rows.offset + D),
        begin(counted(pass)),
        values(begin.back(), Uninitialized{}),
        rows(begin.back(), Uninitialized{}) {
    constexpr Index block = 1 << 17;  // stored values that stay in the second-level cache until a line of them is whole
    const StoredMatrix& x = pass.rows.x;
    std::vector<Index> next(begin);
    split_stored(pass.threads, begin, [&](Index from, Index to) {
      std::vector<Index> own(begin.begin() + from, begin.begin() + to + 1);
      for (Index& place : own) place -= begin.data()[from];
      const Index parts = own.back() / block + 1;
      const std::vector<Index> ends = equal_parts(own, parts);
      std::vector<Index> at(static_cast<std::size_t>(N));  // in each row what comes next
      for (Index n = 0; n < N; ++n) {
        const Index row = x.row(n);
        at.data()[n] = x.lower_bound(x.indptr[row], x.indptr[row + 1], from);
      }
      for (Index part = 0; part < parts; ++part) {
        const Index end = from + ends.data()[part + 1];
        for (Index n = 0; n < N; ++n) {
          const Index last = x.indptr[x.row(n) + 1];
          Index i = at.data()[n];
          for (; i < last && x.feature(i) < end; ++i) {
            const Index place = next.data()[x.feature(i)]++;
            values[place] = reinterpret_cast<const T*>(x.base)[i];
            rows[place] = static_cast<std::int32_t>(n);
          }
          at.data()[n] = i;
        }
      }
    });
  }
  // Calls visit(row, value) for what is stored of a feature.
  template <class Visit>
  void each(Index j, const Visit& visit) const {
    const Index* const from = begin.data() + j;
    for (Index i = from[0]; i < from[1]; ++i) visit(Index{rows.data()[i]}, static_cast<double>(values.data()[i]));
  }
  // The sum of term(row, value) over the same: four sums, of every fourth, for which no addition waits.
  template <class Term>
  double sum(Index j, const Term& term) const {
    const auto of = [&](Index i) { return term(Index{rows.data()[i]}, static_cast<double>(values.data()[i])); };
    const Index end = begin.data()[j + 1];
    double sums[4] = {};
    Index i = begin.data()[j];
    for (; i + 4 <= end; i += 4)
      for (int part = 0; part < 4; ++part) sums[part] += of(i + part);
    for (; i < end; ++i) sums[0] += of(i);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

 private:
  static std::vector<Index> counted(const Pass& pass) {
    const StoredMatrix& x = pass.rows.x;
    std::vector<Index> begin(static_cast<std::size_t>(pass.shape.D + 1));
    for (Index n = 0; n < pass.shape.N; ++n)
      for (Index i = x.indptr[x.row(n)]; i < x.indptr[x.row(n) + 1]; ++i) ++begin.data()[x.feature(i) + 1];
    std::partial_sum(begin.begin(), begin.end(), begin.begin());
    return begin;
  }
};

// scale_j Σ value · factors (N, m) over what is stored of feature j, for each of m, which is M unless that is 0.
template <int M, class T>
void column_sum(const Columns<T>& X, Index j, Index m, const double* factors, double* sums) {
  if constexpr (M == 1) {
    sums[0] = X.sum(j, [&](Index row, double value) { return value * factors[row]; });
  } else {
    std::fill(sums, sums + m, 0.0);
    X.each(j, [&](Index row, double value) {
      for (Index c = 0; c < m; ++c) sums[c] += value * factors[row * m + c];
    });
  }
  for (Index c = 0; c < m; ++c) sums[c] *= X.scale.data()[j];
}

// Those of n features, and what their offsets add, (m, n). Each thread has features of its own.
template <int M, class T>
void column_sums_of(const Columns<T>& X, const Index* features, Index n, Index m, const double* factors, double* sums,
                    int threads) {
  std::vector<double> totals(static_cast<std::size_t>(m));
  for (Index i = 0; i < X.N; ++i)
    for (Index c = 0; c < m; ++c) totals[static_cast<std::size_t>(c)] += factors[i * m + c];
  std::vector<Index> stored(static_cast<std::size_t>(n + 1));
  for (Index k = 0; k < n; ++k)
    stored.data()[k + 1] = stored.data()[k] + X.begin.data()[features[k] + 1] - X.begin.data()[features[k]];
  split_stored(threads, stored, [&](Index first, Index last) {
    std::vector<double> room(static_cast<std::size_t>(m));
    double* const of_feature = room.data();
    for (Index k = first; k < last; ++k) {
      column_sum<M>(X, features[k], m, factors, of_feature);
      const double offset = X.offset.data()[features[k]];
      for (Index c = 0; c < m; ++c) sums[c * n + k] = of_feature[c] + offset * totals.data()[c];
    }
  });
}

template <class T>
void column_sums(const Columns<T>& X, const Index* features, Index n, Index m, const double* factors, double* sums,
                 int threads) {
  const auto sum = m == 1 ? column_sums_of<1, T> : column_sums_of<0, T>;
  sum(X, features, n, m, factors, sums, threads);
}

// Adds the scores of weights w (m, n) of features to scores (N, m), without offsets.
template <class T>
void add_column_scores(const Columns<T>& X, const Index* features, Index n, Index m, const double* w, double* scores) {
  std::vector<double> scaled(static_cast<std::size_t>(m));
  for (Index k = 0; k < n; ++k) {
    bool any = false;
    for (Index c = 0; c < m; ++c) {
      scaled[static_cast<std::size_t>(c)] = X.scale.data()[features[k]] * w[c * n + k];
      any = any || w[c * n + k] != 0.0;
    }
    if (any)
      X.each(features[k], [&](Index row, double value) {
        for (Index c = 0; c < m; ++c) scores[row * m + c] += value * scaled[static_cast<std::size_t>(c)];
      });
  }
}

// ½ Σ_c ‖z_c‖²_d + Σ_c rᵀ z_c + Σ_j (λ2_j ‖w_j‖² + λ1_j ‖w_j‖₂) over weights w (m, n) of some features, where z (N, m)
// is what they add to the scores of the weights given, at the best bias where there is one. d are the curvatures of the
// rows, r (N, m) the residuals.
template <class T>
struct ColumnQuadratic {
  const Columns<T>& X;
  const Index* features;  // (n,)
  Index n, m;
  const double *l1, *l2;  // (n,)
  const double* d;        // (N,)
  bool intercept;
  double* w;  // (m, n)
  double* r;  // (N, m); r + d z in the end, but for what all rows are moved by
};

// A change δ of a weight adds δ (scale v + offset) + shift to the scores. The constants that all rows have in common
// are one number a class, c; the residuals of a row are r + d c, and where there is a bias their sum is 0.
template <int M, class T>
Index column_descent(const ColumnQuadratic<T>& q, double tolerance, Index sweeps) {
  const Columns<T>& X = q.X;
  const Index m = M ? M : q.m;
  std::vector<double> bends(static_cast<std::size_t>(q.n)), sums(bends), sum(static_cast<std::size_t>(m)), common(sum),
      step(sum), added(sum);
  double total = 0.0;
  for (Index i = 0; i < X.N; ++i) {
    total += q.d[i];
    for (Index c = 0; c < m; ++c) sum[static_cast<std::size_t>(c)] += q.r[i * m + c];
  }
  total = std::max(total, std::numeric_limits<double>::min());
  for (Index k = 0; k < q.n; ++k) {
    const Index j = q.features[k];
    const double s = X.scale.data()[j], o = X.offset.data()[j];
    const double square = X.sum(j, [&](Index row, double value) { return s * value * (s * value * q.d[row]); }),
                 along = X.sum(j, [&](Index row, double value) { return s * value * q.d[row]; });
    const double bend = q.intercept ? square - along * (along / total) : square + o * (2.0 * along + o * total);
    bends[static_cast<std::size_t>(k)] = bend > 1e-12 * square ? bend + 2.0 * q.l2[k] : 0.0;
    sums[static_cast<std::size_t>(k)] = along;
  }
  const auto minimise = [&](Index k) {
    const Index j = q.features[k];
    const double h = bends[static_cast<std::size_t>(k)], along = sums[static_cast<std::size_t>(k)],
                 o = X.offset.data()[j];
    if (!(h > 0.0)) return 0.0;
    column_sum<M>(X, j, m, q.r, step.data());
    for (Index c = 0; c < m; ++c) {
      const auto at = static_cast<std::size_t>(c);
      if (q.intercept) common[at] = -sum[at] / total;
      step[at] += along * common[at] + 2.0 * q.l2[k] * q.w[c * q.n + k];
      if (!q.intercept) step[at] += o * (sum[at] + common[at] * total);
    }
    const double moved = shrink(m, h, q.l1[k], q.w + k, q.n, step.data());
    if (moved == 0.0) return 0.0;
    for (Index c = 0; c < m; ++c) {
      const auto at = static_cast<std::size_t>(c);
      sum[at] += along * step[at];
      if (!q.intercept) common[at] += o * step[at];
      added[at] = X.scale.data()[j] * step[at];
    }
    X.each(j, [&](Index row, double value) {
      const double of = value * q.d[row];
      for (Index c = 0; c < m; ++c) q.r[row * m + c] += of * added[static_cast<std::size_t>(c)];
    });
    return moved;
  };
  return sweeps_of(q.n, m, q.w, tolerance, sweeps, minimise, [](Index, Index) { return false; });
}

}  // namespace onelayer
