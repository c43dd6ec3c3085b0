// Scores of one feature slice:  scores[c][n] = sum_d w[c][d] x[n][d]
//
// Lanes run over features, so neither operand is packed or transposed. A register tile holds an accumulator for
// each of kScoreColumns x kScoreRows scores over the whole slice; the lanes of all of them are summed together at
// its end. Per score: lane l adds features l, l + lanes, l + 2 lanes, ... in order, then one fixed tree.
#pragma once

#include "lane_sums.hpp"
#include "load_rows.hpp"

namespace onelayer::ONELAYER_KERNELS {

template <class T>
struct ScoreTile {
  const T* w;
  const T* x;
  Index stride, width;
  const T* bias;
  bool accumulate;
  T* scores;
  Index score_stride;
  T factor;
};

// The sum of accumulator e, times the factor, goes to sums[e].
template <class T, int Total, int First>
ONELAYER_INLINE void sum_lanes(T factor, Vec<T>* acc, T* sums) {
  constexpr int lanes = kLanes<T>;
  if constexpr (First < Total) {
    constexpr int count = Total - First < lanes ? Total - First : lanes;
    store<T>(sums + First, in_order(lane_sums<T, count>(acc + First)) * splat<T>(factor));
    sum_lanes<T, Total, First + lanes>(factor, acc, sums);
  }
}

template <class T, int Columns, int Rows>
ONELAYER_INLINE void put_scores(const ScoreTile<T>& tile, Vec<T>* acc) {
  alignas(kVectorBytes) T sums[round_up(Columns * Rows, kLanes<T>)];
  sum_lanes<T, Columns * Rows, 0>(tile.factor, acc, sums);
  if (tile.bias)
    for (int c = 0; c < Columns; ++c)
      for (int n = 0; n < Rows; ++n) sums[c * Rows + n] += tile.bias[c];
  if (tile.accumulate)
    for (int c = 0; c < Columns; ++c)
      for (int n = 0; n < Rows; ++n) sums[c * Rows + n] += tile.scores[c * tile.score_stride + n];
#pragma GCC unroll 8
  for (int c = 0; c < Columns; ++c)
    __builtin_memcpy(tile.scores + c * tile.score_stride, sums + c * Rows, Rows * sizeof(T));
}

template <class T, int Columns, int Rows>
ONELAYER_INLINE void add_products(Vec<T> (&acc)[Columns * Rows], const Vec<T> (&column)[Columns], Vec<T> row, int n) {
#pragma GCC unroll 8
  for (int c = 0; c < Columns; ++c) acc[c * Rows + n] = fma(column[c], row, acc[c * Rows + n]);
}

// Features from `d` on, of rows that are in the tile already.
template <class T, int Columns, int Rows>
ONELAYER_INLINE void add_loaded(const ScoreTile<T>& tile, Index d, Vec<T> (&acc)[Columns * Rows]) {
  const Index stride = tile.stride;
  const T* x = tile.x + d;
  for (const T *w = tile.w + d, *end = tile.w + tile.width; w != end; w += kLanes<T>, x += kLanes<T>) {
    Vec<T> column[Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) column[c] = load<T>(w + c * stride);
#pragma GCC unroll 8
    for (int n = 0; n < Rows; ++n) add_products<T, Columns, Rows>(acc, column, load<T>(x + n * stride), n);
  }
}

template <class T, int Columns, int Rows>
void score_tile(const ScoreTile<T>& tile) {
  Vec<T> acc[Columns * Rows] = {};
  add_loaded<T, Columns, Rows>(tile, 0, acc);
  put_scores<T, Columns, Rows>(tile, acc);
}

template <class T, class S>
struct StoredRows {
  const S* source[kScoreRows];
  Index whole;  // features in whole vectors
  T* x;         // the tile they are converted into
};

// The same sums, converting the rows on the way: the tile's misses hide behind the products.
template <class T, class S, int Columns, bool Scaled>
ONELAYER_INLINE void add_stored(const ScoreTile<T>& tile, const ScoreJob<T>& job, const StoredRows<T, S>& rows,
                                Vec<T> (&acc)[Columns * kScoreRows]) {
  const Index stride = tile.stride;
  const T* w = tile.w;
  T* x = rows.x;
  for (Index d = 0; d < rows.whole; d += kLanes<T>, w += kLanes<T>, x += kLanes<T>) {
    Vec<T> column[Columns];
#pragma GCC unroll 8
    for (int c = 0; c < Columns; ++c) column[c] = load<T>(w + c * stride);
#pragma GCC unroll 8
    for (int n = 0; n < kScoreRows; ++n) {
      const Vec<T> row = load_feature<T, S, Scaled>(rows.source[n] + d, job, d);
      store<T>(x + n * stride, row);
      add_products<T, Columns, kScoreRows>(acc, column, row, n);
    }
  }
}

template <class T, class S, int Columns>
void load_and_score_tile(const ScoreTile<T>& tile, const ScoreJob<T>& job, Index first) {
  StoredRows<T, S> rows;
  SliceOfRow<T, S> scratch[kScoreRows];
  rows.whole = whole_vectors(job);
  rows.x = job.x + first * tile.stride;
#pragma GCC unroll 8
  for (int n = 0; n < kScoreRows; ++n) {
    rows.source[n] = stored_features<T, S>(job, first + n, scratch[n]);
    if (rows.whole < job.width) load_tail<T, S>(rows.source[n], job, rows.whole, rows.x + n * tile.stride);
  }
  Vec<T> acc[Columns * kScoreRows] = {};
  if (job.scale)
    add_stored<T, S, Columns, true>(tile, job, rows, acc);
  else
    add_stored<T, S, Columns, false>(tile, job, rows, acc);
  add_loaded<T, Columns, kScoreRows>(tile, rows.whole, acc);
  put_scores<T, Columns, kScoreRows>(tile, acc);
}

template <class T> using ScoreTileFunction = void (*)(const ScoreTile<T>&);
template <class T> using LoadTileFunction = void (*)(const ScoreTile<T>&, const ScoreJob<T>&, Index);

template <class T, class Sequence> struct ScoreTiles;
template <class T, int... I>
struct ScoreTiles<T, Indices<I...>> {
  // Indexed by (columns - 1) * kScoreRows + (rows - 1).
  static constexpr ScoreTileFunction<T> table[] = {score_tile<T, I / kScoreRows + 1, I % kScoreRows + 1>...};
};
template <class T>
inline constexpr auto& kScoreTiles = ScoreTiles<T, typename IndicesUpTo<kScoreColumns * kScoreRows>::Type>::table;

template <class T, class S, class Sequence> struct LoadTiles;
template <class T, class S, int... I>
struct LoadTiles<T, S, Indices<I...>> {
  static constexpr LoadTileFunction<T> table[] = {load_and_score_tile<T, S, I + 1>...};
};
template <class T, class S>
inline constexpr auto& kLoadTiles = LoadTiles<T, S, typename IndicesUpTo<kScoreColumns>::Type>::table;

// A range of columns and the rows of one tile; `fresh` rows are still to be converted.
template <class T, class S>
ONELAYER_INLINE void score_rows(const ScoreJob<T>& job, Index n, Index rows, Index from, Index to, bool fresh) {
  const Index blocks = ceil_div(to - from, kScoreColumns);
  const bool converting = fresh && rows == kScoreRows;
  if (fresh && !converting) load_rows<T, S>(job, n, rows);
  for (Index i = 0; i < blocks; ++i) {
    const Index c = from + part_begin(to - from, blocks, i), end = from + part_begin(to - from, blocks, i + 1);
    const ScoreTile<T> tile{job.w + c * job.stride, job.x + n * job.stride, job.stride, job.width,
                            job.bias ? job.bias + c : nullptr, job.accumulate,
                            job.scores + c * job.score_stride + n, job.score_stride, job.factor};
    if (converting && i == 0)
      kLoadTiles<T, S>[end - c - 1](tile, job, n);
    else
      kScoreTiles<T>[(end - c - 1) * kScoreRows + (rows - 1)](tile);
  }
}

// The panel of weight rows stays in the first-level cache while all data rows of a group, which stay in the
// second, pass by it. The first panel's pass converts the data rows as it needs them.
template <class T, class S>
void score_stored(const ScoreJob<T>& job) {
  if (job.columns == 0) return load_rows<T, S>(job, 0, job.count);
  constexpr Index panel_bytes = 40 * 1024, group_bytes = 512 * 1024;
  const Index row_bytes = job.stride * static_cast<Index>(sizeof(T));
  const Index fitting = panel_bytes / row_bytes, most = larger(1, fitting / kScoreColumns) * kScoreColumns;
  const Index panels = job.columns <= fitting ? 1 : ceil_div(job.columns, most);
  const Index groups = ceil_div(job.count, larger(kScoreRows, group_bytes / row_bytes));
  for (Index g = 0; g < groups; ++g) {
    const Index from = part_begin(job.count, groups, g), to = part_begin(job.count, groups, g + 1);
    for (Index p = 0; p < panels; ++p)
      for (Index n = from; n < to; n += kScoreRows)
        score_rows<T, S>(job, n, smaller(kScoreRows, to - n), part_begin(job.columns, panels, p),
                         part_begin(job.columns, panels, p + 1), p == 0);
  }
}

template <class T>
void score(const ScoreJob<T>& job) {
  switch (job.rows.stored) {
    case Stored::uint8: return score_stored<T, std::uint8_t>(job);
    case Stored::float16: return score_stored<T, Half>(job);
    case Stored::float32: return score_stored<T, float>(job);
    case Stored::float64: return score_stored<T, double>(job);
  }
}

}  // namespace onelayer::ONELAYER_KERNELS
