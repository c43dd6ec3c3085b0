// Scores of one feature slice:  scores[c][n] = sum_d w[c][d] x[n][d]
//
// Lanes run over features, so neither operand is packed or transposed. A register tile holds an accumulator for each of
// kScoreColumns x kScoreRows scores over the whole slice; at its end the lanes of all of them are summed together. Per
// score: lane l adds features l, l + lanes, l + 2 lanes, ... in order, then one fixed tree.
#pragma once

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
  T common_scale;
};

// The sum of accumulator e, times the common scale, goes to sums[e].
template <class T, int Total, int First>
ONELAYER_INLINE void store_sums(T common_scale, Vec<T>* acc, T* sums) {
  constexpr int lanes = kLanes<T>;
  if constexpr (First < Total) {
    constexpr int count = Total - First < lanes ? Total - First : lanes;
    store<T>(sums + First, lane_sums<T, count>(acc + First) * splat<T>(common_scale));
    store_sums<T, Total, First + lanes>(common_scale, acc, sums);
  }
}

template <class T, int Columns, int Rows>
ONELAYER_INLINE void store_scores(const ScoreTile<T>& tile, Vec<T>* acc) {
  alignas(kVectorBytes) T sums[round_up(Columns * Rows, kLanes<T>)];
  store_sums<T, Columns * Rows, 0>(tile.common_scale, acc, sums);
  // Local copies, because the compiler must assume that storing a score changes the tile.
  const T* const bias = tile.bias;
  const bool accumulate = tile.accumulate;
  const Index stride = tile.score_stride;
  T* scores = tile.scores;
  for (int c = 0; c < Columns; ++c, scores += stride) {
    T column[Rows];
    __builtin_memcpy(column, sums + c * Rows, sizeof column);
    if (bias)
      for (T& score : column) score += bias[c];
    if (accumulate)
      for (int n = 0; n < Rows; ++n) column[n] += scores[n];
    __builtin_memcpy(scores, column, sizeof column);
  }
}

template <class T, int Columns, int Rows>
ONELAYER_INLINE void add_products(Vec<T> (&acc)[Columns * Rows], const Vec<T> (&column)[Columns], Vec<T> row, int n) {
#pragma GCC unroll 8
  for (int c = 0; c < Columns; ++c) add_product(acc[c * Rows + n], column[c], row);
}

// Rows one stride apart, each with its own pointer, so that one index serves all of them.
template <class T, int Count>
struct RowPointers {
  T* at[Count];
  ONELAYER_INLINE RowPointers(T* first, Index stride) {
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) at[i] = first + i * stride;
  }
};

template <class T, int Columns>
ONELAYER_INLINE void load_columns(const RowPointers<const T, Columns>& w, Index d, Vec<T> (&column)[Columns]) {
#pragma GCC unroll 8
  for (int c = 0; c < Columns; ++c) column[c] = load<T>(w.at[c] + d);
}

// Adds one vector of features, of rows already in the tile.
template <class T, int Columns, int Rows>
ONELAYER_INLINE void add_vector(const RowPointers<const T, Columns>& w, const RowPointers<const T, Rows>& x, Index d,
                                Vec<T> (&acc)[Columns * Rows]) {
  Vec<T> column[Columns];
  load_columns<T, Columns>(w, d, column);
#pragma GCC unroll 8
  for (int n = 0; n < Rows; ++n) add_products<T, Columns, Rows>(acc, column, load<T>(x.at[n] + d), n);
}

// Adds features from `d` on, of rows already in the tile.
template <class T, int Columns, int Rows>
ONELAYER_INLINE void add_features(const ScoreTile<T>& tile, Index d, Vec<T> (&acc)[Columns * Rows]) {
  constexpr Index lanes = kLanes<T>, unroll = kUnroll * lanes;
  const RowPointers<const T, Columns> w(tile.w, tile.stride);
  const RowPointers<const T, Rows> x(tile.x, tile.stride);
  if constexpr (kUnroll > 1)
    for (; d + unroll <= tile.width; d += unroll)
#pragma GCC unroll 8
      for (Index i = 0; i < unroll; i += lanes) add_vector<T, Columns, Rows>(w, x, d + i, acc);
  for (; d < tile.width; d += lanes) add_vector<T, Columns, Rows>(w, x, d, acc);
}

template <class T, int Columns, int Rows>
void score_tile(const ScoreTile<T>& tile) {
  Vec<T> acc[Columns * Rows] = {};
  add_features<T, Columns, Rows>(tile, 0, acc);
  store_scores<T, Columns, Rows>(tile, acc);
}

// Rows converted on the way into a tile: where each begins as stored, and in the tile.
template <class T, class S>
struct ConvertedRows {
  const S* source[kScoreRows];
  RowPointers<T, kScoreRows> x;
};

template <class T, class S, int Columns, bool Scaled>
ONELAYER_INLINE void convert_and_add_vector(const RowPointers<const T, Columns>& w, const ConvertedRows<T, S>& rows,
                                            const Scaling<T>& scaling, Index d, Vec<T> (&acc)[Columns * kScoreRows]) {
  Vec<T> column[Columns];
  load_columns<T, Columns>(w, d, column);
#pragma GCC unroll 8
  for (int n = 0; n < kScoreRows; ++n) {
    const Vec<T> row = load_feature<T, S, Scaled>(rows.source[n] + d, scaling, d);
    store<T>(rows.x.at[n] + d, row);
    add_products<T, Columns, kScoreRows>(acc, column, row, n);
  }
}

// Converts rows and adds features up to `end`: the products hide the tile's cache misses.
template <class T, class S, int Columns, bool Scaled>
ONELAYER_INLINE void convert_and_add(const ScoreTile<T>& tile, const ConvertedRows<T, S> rows,
                                     const Scaling<T> scaling, Index end, Vec<T> (&acc)[Columns * kScoreRows]) {
  constexpr Index lanes = kLanes<T>, unroll = kUnroll * lanes;
  const RowPointers<const T, Columns> w(tile.w, tile.stride);
  Index d = 0;
  if constexpr (kUnroll > 1)
    for (; d + unroll <= end; d += unroll)
#pragma GCC unroll 8
      for (Index i = 0; i < unroll; i += lanes)
        convert_and_add_vector<T, S, Columns, Scaled>(w, rows, scaling, d + i, acc);
  for (; d < end; d += lanes) convert_and_add_vector<T, S, Columns, Scaled>(w, rows, scaling, d, acc);
}

template <class T, class S, int Columns>
void convert_and_score_tile(const ScoreTile<T>& tile, const ScoreJob<T>& job, Index first) {
  const Index whole = whole_vectors(job);
  ConvertedRows<T, S> rows{{}, {job.x + first * tile.stride, tile.stride}};
  RowScratch<T, S> scratch[kScoreRows];
#pragma GCC unroll 8
  for (int n = 0; n < kScoreRows; ++n) {
    rows.source[n] = stored_features<T, S>(job, first + n, scratch[n]);
    if (whole < job.width) load_tail<T, S>(rows.source[n], job, whole, rows.x.at[n]);
  }
  Vec<T> acc[Columns * kScoreRows] = {};
  if (job.scaling.scale)
    convert_and_add<T, S, Columns, true>(tile, rows, job.scaling, whole, acc);
  else
    convert_and_add<T, S, Columns, false>(tile, rows, job.scaling, whole, acc);
  add_features<T, Columns, kScoreRows>(tile, whole, acc);
  store_scores<T, Columns, kScoreRows>(tile, acc);
}

template <class T> using ScoreTileFunction = void (*)(const ScoreTile<T>&);
template <class T> using ConvertTileFunction = void (*)(const ScoreTile<T>&, const ScoreJob<T>&, Index);

template <class T, class Sequence> struct ScoreTiles;
template <class T, int... I>
struct ScoreTiles<T, Indices<I...>> {
  // Indexed by (columns - 1) * kScoreRows + (rows - 1).
  static constexpr ScoreTileFunction<T> table[] = {score_tile<T, I / kScoreRows + 1, I % kScoreRows + 1>...};
};
template <class T>
inline constexpr auto& kScoreTiles = ScoreTiles<T, typename IndicesUpTo<kScoreColumns * kScoreRows>::Type>::table;

template <class T, class S, class Sequence> struct ConvertTiles;
template <class T, class S, int... I>
struct ConvertTiles<T, S, Indices<I...>> {
  static constexpr ConvertTileFunction<T> table[] = {convert_and_score_tile<T, S, I + 1>...};
};
template <class T, class S>
inline constexpr auto& kConvertTiles = ConvertTiles<T, S, typename IndicesUpTo<kScoreColumns>::Type>::table;

// Columns are cut into blocks of at most kScoreColumns and of nearly equal size, the larger ones first.
struct ScoreBlocks {
  Index columns = 0, count = 0;
  ONELAYER_INLINE explicit ScoreBlocks(Index columns_) : columns(columns_), count(ceil_div(columns_, kScoreColumns)) {}
  ONELAYER_INLINE Index begin(Index block) const { return columns - part_begin(columns, count, count - block); }
};

// Scores of one tile's rows for blocks `from` to `to`. The first block also converts the rows where `convert` is set.
template <class T, class S>
ONELAYER_INLINE void score_rows(const ScoreJob<T>& job, const ScoreBlocks& blocks, Index from, Index to, Index n,
                                Index rows, bool convert) {
  const bool fused = convert && rows == kScoreRows && !job.scaling.wide_scale;
  if (convert && !fused) load_rows<T, S>(job, n, rows);
  for (Index block = from; block < to; ++block) {
    const Index c = blocks.begin(block), columns = blocks.begin(block + 1) - c;
    const ScoreTile<T> tile{job.w + c * job.stride, job.x + n * job.stride, job.stride, job.width,
                            job.bias ? job.bias + c : nullptr, job.accumulate,
                            job.scores + c * job.score_stride + n, job.score_stride, job.common_scale};
    if (fused && block == from)
      kConvertTiles<T, S>[columns - 1](tile, job, n);
    else
      kScoreTiles<T>[(columns - 1) * kScoreRows + (rows - 1)](tile);
  }
}

// A panel of weight rows stays in the first-level cache while all data rows of a group, which stay in the second, pass
// by it. The first panel's pass converts the data rows as it needs them.
template <class T, class S>
void score_stored(const ScoreJob<T>& job) {
  if (job.columns == 0) return load_rows<T, S>(job, 0, job.count);
  constexpr Index panel_bytes = 40 * 1024, group_bytes = 512 * 1024;
  const Index row_bytes = job.stride * static_cast<Index>(sizeof(T)), panel_rows = panel_bytes / row_bytes;
  const ScoreBlocks blocks(job.columns);
  const Index panels = job.columns <= panel_rows ? 1 : ceil_div(blocks.count, max(1, panel_rows / kScoreColumns));
  const Index groups = ceil_div(job.count, max(kScoreRows, group_bytes / row_bytes));
  for (Index g = 0; g < groups; ++g) {
    const Index from = part_begin(job.count, groups, g), to = part_begin(job.count, groups, g + 1);
    for (Index p = 0; p < panels; ++p)
      for (Index n = from; n < to; n += kScoreRows)
        score_rows<T, S>(job, blocks, part_begin(blocks.count, panels, p), part_begin(blocks.count, panels, p + 1), n,
                         min(kScoreRows, to - n), p == 0);
  }
}

template <class T>
void score(const ScoreJob<T>& job) {
  switch (job.rows.type) {
    case StoredType::uint8: return score_stored<T, std::uint8_t>(job);
    case StoredType::float16: return score_stored<T, Half>(job);
    case StoredType::float32: return score_stored<T, float>(job);
    case StoredType::float64: return score_stored<T, double>(job);
  }
}

}  // namespace onelayer::ONELAYER_KERNELS
