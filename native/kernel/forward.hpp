// Scores of one feature slice:  scores[c][n] = sum_d w[c][d] x[n][d]
//
// Lanes run over features, so neither operand is transposed. A register tile holds an accumulator for each of its scores
// over the whole slice; at its end the lanes of all of them are summed together. Per score, in every instruction set:
// lane l of 8 (4 of double) adds features l, l + 8, l + 16, ... in order, then one fixed tree adds the lanes.
//
// Vectors of 16 lanes hold two columns. Their weights are stored side by side, 8 features of each, and 8 features of a
// row are loaded into both halves of a vector, which costs no more than loading 16.
#pragma once

#include "load_rows.hpp"

namespace onelayer::ONELAYER_KERNELS {

template <class T>
struct ScoreTile {
  const T* w;
  const T* x;
  Index stride, width;
  Index columns;
  const T* bias;
  bool accumulate;
  T* scores;
  Index score_stride;
  T common_scale;
};

// Where the sum of accumulator e goes, of one of the columns that share it: [e / kFold][column][e % kFold].
template <class T>
ONELAYER_INLINE constexpr int sum_index(int e, int column) {
  return (e / kFold<T> * kSharing + column) * kFold<T> + e % kFold<T>;
}

// The sums of accumulators, times the common scale.
template <class T, int Total, int First>
ONELAYER_INLINE void store_sums(T common_scale, Vec<T>* acc, T* sums) {
  if constexpr (First < Total) {
    constexpr int count = min(Total - First, kFold<T>);
    store<T>(sums + First * kSharing, lane_sums<T, count>(acc + First) * splat<T>(common_scale));
    store_sums<T, Total, First + kFold<T>>(common_scale, acc, sums);
  }
}

template <class T, int Groups, int Rows>
ONELAYER_INLINE void store_scores(const ScoreTile<T>& tile, Vec<T>* acc) {
  constexpr int count = Groups * Rows;
  alignas(kVectorBytes) T sums[round_up(count, kFold<T>) * kSharing];
  if constexpr (kParts > 1)
#pragma GCC unroll 16
    for (int e = 0; e < count; ++e) acc[e] = acc[kParts * e] + acc[kParts * e + 1];
  store_sums<T, count, 0>(tile.common_scale, acc, sums);
  // Local copies, because the compiler must assume that storing a score changes the tile.
  const T* const bias = tile.bias;
  const bool accumulate = tile.accumulate;
  const Index stride = tile.score_stride;
  T* scores = tile.scores;
  const Index columns = tile.columns;
#pragma GCC unroll 16
  for (int c = 0; c < Groups * kSharing; ++c, scores += stride) {
    if (kSharing > 1 && c == Groups * kSharing - 1 && c >= columns) return;  // of an odd number, the last is not there
    T column[Rows];
    if constexpr (kFold<T> % Rows == 0)
      __builtin_memcpy(column, sums + sum_index<T>(c / kSharing * Rows, c % kSharing), sizeof column);
    else
      for (int n = 0; n < Rows; ++n) column[n] = sums[sum_index<T>(c / kSharing * Rows + n, c % kSharing)];
    if (bias)
      for (T& score : column) score += bias[c];
    if (accumulate)
      for (int n = 0; n < Rows; ++n) column[n] += scores[n];
    __builtin_memcpy(scores, column, sizeof column);
  }
}

// Rows one stride apart, each with its own pointer, so that one index serves all of them.
template <class T, int Count>
struct RowPointers {
  T* at[Count];
  ONELAYER_INLINE RowPointers(T* first, Index stride) {
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) at[i] = first + i * stride;
  }
  ONELAYER_INLINE operator RowPointers<const T, Count>() const { return {at[0], at[1] - at[0]}; }
};

// The vectors of a tile, one for each group of columns: from weights, or accumulators of one row.
template <class T, int Groups>
struct GroupWeights {
  Vec<T> w[Groups];
  ONELAYER_INLINE GroupWeights(const RowPointers<const T, Groups>& rows, Index d) {
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) w[g] = load<T>(rows.at[g] + d * kSharing);
  }
  template <int Rows>
  ONELAYER_INLINE void add_products(Vec<T> row, int n, int part, Vec<T> (&acc)[Groups * Rows * kParts]) const {
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) add_product(acc[(g * Rows + n) * kParts + part], w[g], row);
  }
};

// Adds the next kSumLanes features, of rows already in the tile.
template <class T, int Groups, int Rows>
ONELAYER_INLINE void add_vector(const RowPointers<const T, Groups>& w, const RowPointers<const T, Rows>& x, Index d,
                                Vec<T> (&acc)[Groups * Rows * kParts]) {
#pragma GCC unroll 2
  for (int part = 0; part < kParts; ++part, d += kLanes<T>) {
    const GroupWeights<T, Groups> weights(w, d);
#pragma GCC unroll 8
    for (int n = 0; n < Rows; ++n) weights.template add_products<Rows>(load_shared(x.at[n] + d), n, part, acc);
  }
}

// Adds features from `d` on, of rows already in the tile.
template <class T, int Groups, int Rows>
ONELAYER_INLINE void add_features(const ScoreTile<T>& tile, Index d, Vec<T> (&acc)[Groups * Rows * kParts]) {
  constexpr Index lanes = kSumLanes<T>, unroll = kUnroll * lanes;
  const RowPointers<const T, Groups> w(tile.w, kSharing * tile.stride);
  const RowPointers<const T, Rows> x(tile.x, tile.stride);
  if constexpr (kUnroll > 1)
    for (; d + unroll <= tile.width; d += unroll)
#pragma GCC unroll 8
      for (Index i = 0; i < unroll; i += lanes) add_vector<T, Groups, Rows>(w, x, d + i, acc);
  for (; d < tile.width; d += lanes) add_vector<T, Groups, Rows>(w, x, d, acc);
}

template <class T, int Groups, int Rows>
void score_tile(const ScoreTile<T>& tile) {
  Vec<T> acc[Groups * Rows * kParts] = {};
  add_features<T, Groups, Rows>(tile, 0, acc);
  store_scores<T, Groups, Rows>(tile, acc);
}

// Rows converted on the way into a tile: where each begins as stored, and in the tile.
template <class T, class S>
struct ConvertedRows {
  const S* source[kScoreRows];
  RowPointers<T, kScoreRows> x;
};

// Converts and adds the next kStep features. Where columns share a vector they come back from the tile.
template <class T, class S, int Groups, bool Scaled>
ONELAYER_INLINE void convert_and_add_step(const RowPointers<const T, Groups>& w, const ConvertedRows<T, S>& rows,
                                          const Scaling<T>& scaling, Index d,
                                          Vec<T> (&acc)[Groups * kScoreRows * kParts]) {
  if constexpr (kSharing > 1) {
#pragma GCC unroll 8
    for (int n = 0; n < kScoreRows; ++n)
      store<T>(rows.x.at[n] + d, load_feature<T, S, Scaled>(rows.source[n] + d, scaling, d));
    const RowPointers<const T, kScoreRows> x = rows.x;
#pragma GCC unroll 2
    for (int i = 0; i < kSharing; ++i) add_vector<T, Groups, kScoreRows>(w, x, d + i * kSumLanes<T>, acc);
    return;
  }
#pragma GCC unroll 2
  for (int part = 0; part < kParts; ++part, d += kLanes<T>) {
    const GroupWeights<T, Groups> weights(w, d);
#pragma GCC unroll 8
    for (int n = 0; n < kScoreRows; ++n) {
      const Vec<T> row = load_feature<T, S, Scaled>(rows.source[n] + d, scaling, d);
      store<T>(rows.x.at[n] + d, row);
      weights.template add_products<kScoreRows>(row, n, part, acc);
    }
  }
}

// Converts rows and adds features up to `end`: the products hide the tile's cache misses.
template <class T, class S, int Groups, bool Scaled>
ONELAYER_INLINE void convert_and_add(const ScoreTile<T>& tile, const ConvertedRows<T, S> rows,
                                     const Scaling<T> scaling, Index end,
                                     Vec<T> (&acc)[Groups * kScoreRows * kParts]) {
  constexpr Index step = kStep<T>, unroll = kUnroll * step;
  const RowPointers<const T, Groups> w(tile.w, kSharing * tile.stride);
  Index d = 0;
  if constexpr (kUnroll > 1)
    for (; d + unroll <= end; d += unroll)
#pragma GCC unroll 8
      for (Index i = 0; i < unroll; i += step)
        convert_and_add_step<T, S, Groups, Scaled>(w, rows, scaling, d + i, acc);
  for (; d < end; d += step) convert_and_add_step<T, S, Groups, Scaled>(w, rows, scaling, d, acc);
}

template <class T, class S, int Groups>
void convert_and_score_tile(const ScoreTile<T>& tile, const ScoreJob<T>& job, Index first) {
  const Index whole = whole_steps(job);
  ConvertedRows<T, S> rows{{}, {job.x + first * tile.stride, tile.stride}};
  RowScratch<T, S> scratch[kScoreRows];
#pragma GCC unroll 8
  for (int n = 0; n < kScoreRows; ++n) {
    rows.source[n] = stored_features<T, S>(job, first + n, scratch[n]);
    if (whole < job.width) load_tail<T, S>(rows.source[n], job, whole, rows.x.at[n]);
  }
  Vec<T> acc[Groups * kScoreRows * kParts] = {};
  if (job.scaling.scale)
    convert_and_add<T, S, Groups, true>(tile, rows, job.scaling, whole, acc);
  else
    convert_and_add<T, S, Groups, false>(tile, rows, job.scaling, whole, acc);
  add_features<T, Groups, kScoreRows>(tile, whole, acc);
  store_scores<T, Groups, kScoreRows>(tile, acc);
}

template <class T> using ScoreTileFunction = void (*)(const ScoreTile<T>&);
template <class T> using ConvertTileFunction = void (*)(const ScoreTile<T>&, const ScoreJob<T>&, Index);

template <class T, class Sequence> struct ScoreTiles;
template <class T, int... I>
struct ScoreTiles<T, Indices<I...>> {
  // Indexed by (groups - 1) * kScoreRows + (rows - 1).
  static constexpr ScoreTileFunction<T> table[] = {score_tile<T, I / kScoreRows + 1, I % kScoreRows + 1>...};
};
template <class T>
inline constexpr auto& kScoreTiles = ScoreTiles<T, typename IndicesUpTo<kScoreGroups * kScoreRows>::Type>::table;

template <class T, class S, class Sequence> struct ConvertTiles;
template <class T, class S, int... I>
struct ConvertTiles<T, S, Indices<I...>> {
  static constexpr ConvertTileFunction<T> table[] = {convert_and_score_tile<T, S, I + 1>...};
};
template <class T, class S>
inline constexpr auto& kConvertTiles = ConvertTiles<T, S, typename IndicesUpTo<kScoreGroups>::Type>::table;

// Groups of columns are cut into blocks of at most kScoreGroups and of nearly equal size, the larger ones first.
struct ScoreBlocks {
  Index groups = 0, count = 0;
  ONELAYER_INLINE explicit ScoreBlocks(Index columns)
      : groups(ceil_div(columns, kSharing)), count(ceil_div(groups, kScoreGroups)) {}
  ONELAYER_INLINE Index begin(Index block) const { return groups - part_begin(groups, count, count - block); }
};

// Scores of one tile's rows for blocks `from` to `to`. The first block also converts the rows where `convert` is set.
template <class T, class S>
ONELAYER_INLINE void score_rows(const ScoreJob<T>& job, const ScoreBlocks& blocks, Index from, Index to, Index n,
                                Index rows, bool convert) {
  const bool fused = convert && rows == kScoreRows && !job.scaling.wide_scale;
  if (convert && !fused) load_rows<T, S>(job, n, rows);
  for (Index block = from; block < to; ++block) {
    const Index groups = blocks.begin(block + 1) - blocks.begin(block), c = blocks.begin(block) * kSharing;
    const ScoreTile<T> tile{job.w + c * job.stride, job.x + n * job.stride, job.stride, job.width,
                            min(groups * kSharing, job.columns - c), job.bias ? job.bias + c : nullptr, job.accumulate,
                            job.scores + c * job.score_stride + n, job.score_stride, job.common_scale};
    if (fused && block == from)
      kConvertTiles<T, S>[groups - 1](tile, job, n);
    else
      kScoreTiles<T>[(groups - 1) * kScoreRows + (rows - 1)](tile);
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
  const Index panels = job.columns <= panel_rows ? 1 : ceil_div(blocks.count, max(1, panel_rows / (kScoreGroups * kSharing)));
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
