// Arithmetic on the columns of features, for two classes: sums over rows, and the rows under scores.
//
// Arrays over rows are padded to whole kColumnLanes, and begin a line. A sum over rows is that of kColumnLanes lanes,
// each in order, and one fixed tree of them, whatever the width of a vector.
#pragma once

#include "load_rows.hpp"

namespace onelayer::ONELAYER_KERNELS {

inline constexpr int kColumnParts = static_cast<int>(kColumnLanes) / kLanes<double>;

// Of kColumnLanes sums, which are destroyed.
ONELAYER_INLINE double sum_of_lanes(VecD (&sums)[kColumnParts]) {
  double lanes[kColumnLanes];
  for (int i = 0; i < kColumnParts; ++i) store_unaligned<double>(lanes + i * kLanes<double>, sums[i]);
  for (Index half = kColumnLanes / 2; half > 0; half /= 2)
    for (Index i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// Calls work(row, part) for vectors of rows, where part is that of a sum's lanes.
template <class Work>
ONELAYER_INLINE void for_rows(Index first, Index last, const Work& work) {
  for (Index n = first; n < last; n += kColumnLanes)
#pragma GCC unroll 16
    for (int part = 0; part < kColumnParts; ++part) work(n + part * kLanes<double>, part);
}

template <class S, class T>
void read_columns_of(const ColumnReadJob& job) {
  constexpr Index block = kLineBytes / static_cast<Index>(sizeof(T));  // rows whose values fill a line of a column
  const S* rows[block];
  for (Index from = 0; from < job.count; from += block) {
    const Index count = min(block, job.count - from);
    for (Index i = 0; i < count; ++i) rows[i] = reinterpret_cast<const S*>(job.x.at(from + i));
    for (Index k = 0; k < job.n; ++k) {
      T* const to = reinterpret_cast<T*>(job.to[k]) + from;
      for (Index i = 0; i < count; ++i) to[i] = convert<T>(rows[i][job.features[k]]);
    }
  }
}

inline void read_columns(const ColumnReadJob& job) {
  if (job.wide) return read_columns_of<double, double>(job);
  switch (job.x.type) {
    case StoredType::uint8: return read_columns_of<std::uint8_t, float>(job);
    case StoredType::float16: return read_columns_of<Half, float>(job);
    default: return read_columns_of<float, float>(job);
  }
}

template <class S>
ONELAYER_INLINE VecD load_column(const Column& column, Index n) {
  const VecD x = load_stored<double, S>(static_cast<const S*>(column.values) + n);
  return fma(x, splat<double>(column.scale), splat<double>(column.offset));
}

template <class S>
double column_sum(const Column column, Index N, const double* factors) {
  VecD sums[kColumnParts] = {};
  for_rows(0, N, [&](Index n, int part) __attribute__((always_inline)) {
    add_product(sums[part], load_column<S>(column, n), load<double>(factors + n));
  });
  return sum_of_lanes(sums);
}

inline double column_sum(const Column& column, Index N, const double* factors) {
  return column.wide ? column_sum<double>(column, N, factors) : column_sum<float>(column, N, factors);
}

template <class S>
void add_column(const Column column, Index first, Index last, double weight, double* scores) {
  for_rows(first, last, [&](Index n, int) __attribute__((always_inline)) {
    store<double>(scores + n, fma(load_column<S>(column, n), splat<double>(weight), load<double>(scores + n)));
  });
}

inline void add_column(const Column& column, Index first, Index last, double weight, double* scores) {
  column.wide ? add_column<double>(column, first, last, weight, scores)
              : add_column<float>(column, first, last, weight, scores);
}

template <class S>
double scaled_column(const Column column, Index N, const double* factors, const double* roots, float* scaled) {
  VecD sums[kColumnParts] = {};
  for_rows(0, N, [&](Index n, int part) __attribute__((always_inline)) {
    const VecD x = load_column<S>(column, n), of = x * load<double>(roots + n);
    add_product(sums[part], x, load<double>(factors + n));
    for (int i = 0; i < kLanes<double>; ++i) scaled[n + i] = static_cast<float>(of[i]);
  });
  return sum_of_lanes(sums);
}

inline double scaled_column(const Column& column, Index N, const double* factors, const double* roots, float* scaled) {
  return column.wide ? scaled_column<double>(column, N, factors, roots, scaled)
                     : scaled_column<float>(column, N, factors, roots, scaled);
}

// A tile of the Hessian; each of its entries is summed over a slice of rows in 16 lanes.
inline constexpr int kGramParts = 16 / kLanes<float>, kGramTile = kLanes<float> == 16 ? 4 : 2;

ONELAYER_INLINE void add_gram_tile(const GramJob& job, Index i, Index j, Index begin, Index end) {
  constexpr int T = kGramTile, P = kGramParts;
  const float *a[T], *b[T];
  for (int t = 0; t < T; ++t) a[t] = job.columns[min(i + t, job.last - 1)], b[t] = job.columns[min(j + t, job.last - 1)];
  VecF acc[T * T * P] = {};
  for (Index n = begin; n < end; n += 16)
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      VecF row[T];
#pragma GCC unroll 4
      for (int u = 0; u < T; ++u) row[u] = load<float>(b[u] + n + p * kLanes<float>);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const VecF own = load<float>(a[t] + n + p * kLanes<float>);
#pragma GCC unroll 4
        for (int u = 0; u < T; ++u) add_product(acc[(t * T + u) * P + p], own, row[u]);
      }
    }
  VecF sums[T * T];
#pragma GCC unroll 16
  for (int e = 0; e < T * T; ++e) {
    VecF* const of = acc + e * P;
#pragma GCC unroll 4
    for (int half = P / 2; half > 0; half /= 2)
#pragma GCC unroll 4
      for (int p = 0; p < half; ++p) of[p] += of[p + half];
    sums[e] = of[0];
  }
  fold_lanes<float, kLanes<float> / 2, T * T>(sums);
  float entries[kLanes<float>];
  store_unaligned<float>(entries, reverse_lanes<kLanes<float>>(sums[0], AllLanes<float>{}));
  for (int t = 0; t < T && i + t < job.last; ++t)
    for (int u = 0; u < T && j + u <= i + t; ++u)
      job.H[(i + t) * job.stride + j + u] += static_cast<double>(entries[t * T + u]);
}

// Slices of the columns stay in the second-level cache.
inline void gram(const GramJob& job) {
  constexpr Index slice = 1024;
  for (Index begin = 0; begin < job.N; begin += slice)
    for (Index i = job.first + job.part * kGramTile; i < job.last; i += job.parts * kGramTile)
      for (Index j = 0; j <= i + kGramTile - 1 && j < job.last; j += kGramTile)
        add_gram_tile(job, i, j, begin, min(begin + slice, job.N));
}

// log(1 + exp(s)) of e = exp(-|s|).
ONELAYER_INLINE VecD softplus(VecD s, VecD e) { return (s > 0 ? s : VecD{}) + log1p_unit<double>(e); }

inline LogisticSums logistic(const LogisticJob& job) {
  VecD losses[kColumnParts] = {}, residuals[kColumnParts] = {}, bends[kColumnParts] = {}, scores[kColumnParts] = {},
       owns[kColumnParts] = {};
  for_rows(0, job.N, [&](Index n, int part) __attribute__((always_inline)) {
    const VecD s = load<double>(job.base + n) + splat<double>(job.bias), f = load<double>(job.fractions + n),
               y = load<double>(job.labels + n), e = exp_nonpositive<double>(negative_abs<double>(s)),
               larger = 1.0 / (1.0 + e), smaller = e * larger, p = s >= 0 ? larger : smaller, r = f * (p - y),
               h = larger * smaller;
    store<double>(job.s + n, s);
    store<double>(job.p + n, p);
    store<double>(job.r + n, r);
    store<double>(job.h + n, h);
    losses[part] += f * (softplus(s, e) - y * s);
    scores[part] += f * s;
    owns[part] += f * (y * s);
    residuals[part] += r;
    bends[part] += f * h;
  });
  return {sum_of_lanes(losses), sum_of_lanes(residuals), sum_of_lanes(bends), sum_of_lanes(scores), sum_of_lanes(owns)};
}

inline double divergence(const double* found, double kept, const LogisticJob& job) {
  constexpr double tiny = 1e-300;
  VecD sums[kColumnParts] = {};
  const auto entropy = [](VecD p) __attribute__((always_inline)) {
    const VecD at = p > tiny ? p : splat<double>(tiny);
    return -p * log_from_one(at < 1 ? 1.0 / at : splat<double>(1.0));
  };
  for_rows(0, job.N, [&](Index n, int part) __attribute__((always_inline)) {
    const VecD s = load<double>(job.s + n), f = load<double>(job.fractions + n), y = load<double>(job.labels + n),
               p = kept * load<double>(found + n) + (1.0 - kept) * y,
               e = exp_nonpositive<double>(negative_abs<double>(s));
    sums[part] += f * (entropy(p) + entropy(1.0 - p) + (softplus(s, e) - p * s));
  });
  return sum_of_lanes(sums);
}

}  // namespace onelayer::ONELAYER_KERNELS
