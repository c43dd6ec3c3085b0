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
  T* x;
  Index panel_stride;
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

// Adds what a score consists of beside its sum, and stores the scores of one column.
template <class T, int Rows>
ONELAYER_INLINE void store_column(T (&column)[Rows], const T* bias, bool accumulate, T* scores) {
  if (bias)
    for (T& score : column) score += *bias;
  if (accumulate)
    for (int n = 0; n < Rows; ++n) column[n] += scores[n];
  __builtin_memcpy(scores, column, sizeof column);
}

inline constexpr int kColumnUnroll = kSharing > 1 ? 16 : 1;

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
#pragma GCC unroll kColumnUnroll
  for (int c = 0; c < Groups * kSharing; ++c, scores += stride) {
    if (kSharing > 1 && c == Groups * kSharing - 1 && c >= columns) return;  // of an odd number, the last is not there
    T column[Rows];
    if constexpr (kFold<T> % Rows == 0)
      __builtin_memcpy(column, sums + sum_index<T>(c / kSharing * Rows, c % kSharing), sizeof column);
    else
      for (int n = 0; n < Rows; ++n) column[n] = sums[sum_index<T>(c / kSharing * Rows + n, c % kSharing)];
    store_column<T, Rows>(column, bias ? bias + c : nullptr, accumulate, scores);
  }
}

// The weights of a tile, each group of columns with its own pointer, so that one index serves all of them.
template <class T, int Groups>
struct WeightRows {
  const T* at[Groups];
  ONELAYER_INLINE explicit WeightRows(const ScoreTile<T>& tile) {
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) at[g] = tile.w + g * kSharing * tile.stride;
  }
};

// The vectors of a tile from feature `d` on, one for each group of columns.
template <class T, int Groups>
struct GroupWeights {
  Vec<T> w[Groups];
  ONELAYER_INLINE GroupWeights(const WeightRows<T, Groups>& rows, Index d) {
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) w[g] = load<T>(rows.at[g] + d * kSharing);
  }
  template <int Rows>
  ONELAYER_INLINE void add_products(Vec<T> row, int n, int part, Vec<T> (&acc)[Groups * Rows * kParts]) const {
#pragma GCC unroll 8
    for (int g = 0; g < Groups; ++g) add_product(acc[(g * Rows + n) * kParts + part], w[g], row);
  }
};

// Adds kSumLanes features, from `d` and in the tile from x on.
template <class T, int Groups, int Rows>
ONELAYER_INLINE void add_vector(const WeightRows<T, Groups>& w, const T* x, Index d,
                                Vec<T> (&acc)[Groups * Rows * kParts]) {
#pragma GCC unroll 2
  for (int part = 0; part < kParts; ++part, d += kLanes<T>, x += kLanes<T>) {
    const GroupWeights<T, Groups> weights(w, d);
#pragma GCC unroll 8
    for (int n = 0; n < Rows; ++n) weights.template add_products<Rows>(load_shared(x + n * kPanel<T>), n, part, acc);
  }
}

// Adds features from `d` on, of rows already in the tile.
template <class T, int Groups, int Rows>
ONELAYER_INLINE void add_features(const ScoreTile<T>& tile, Index d, Vec<T> (&acc)[Groups * Rows * kParts]) {
  constexpr Index lanes = kSumLanes<T>, unroll = kUnroll * lanes;
  const WeightRows<T, Groups> w(tile);
  const T* x = tile.x + tile_index<T>(d, tile.panel_stride);
  for (; d % kPanel<T> != 0; d += lanes, x += lanes) add_vector<T, Groups, Rows>(w, x, d, acc);
  for (x = tile.x + tile_index<T>(d, tile.panel_stride); d < tile.width; d += kPanel<T>, x += tile.panel_stride)
    for (Index i = 0; i < kPanel<T>; i += unroll)
#pragma GCC unroll 8
      for (Index j = i; j < i + unroll; j += lanes) add_vector<T, Groups, Rows>(w, x + j, d + j, acc);
}

template <class T, int Groups, int Rows>
void score_tile(const ScoreTile<T>& tile) {
  Vec<T> acc[Groups * Rows * kParts] = {};
  add_features<T, Groups, Rows>(tile, 0, acc);
  store_scores<T, Groups, Rows>(tile, acc);
}

// Where rows that are converted on the way into a tile begin as stored. The last features are in the tile already.
template <class T, class S, int Rows>
struct ConvertedRows {
  const S* source[Rows];

  ONELAYER_INLINE ConvertedRows(const ScoreTile<T>& tile, const ScoreJob<T>& job, Index first,
                                RowScratch<T, S> (&scratch)[Rows]) {
    const Index whole = whole_steps(job);
#pragma GCC unroll 8
    for (int n = 0; n < Rows; ++n) {
      source[n] = stored_features<T, S>(job, first + n, scratch[n]);
      if (whole < job.width) load_tail<T, S>(source[n], job, whole, tile.x + n * kPanel<T>);
    }
  }
};

// Converts and adds the next kStep features, in the tile from x on. Where columns share a vector they come back from
// there.
template <class T, class S, int Groups, bool Scaled>
ONELAYER_INLINE void convert_and_add_step(const WeightRows<T, Groups>& w,
                                          const ConvertedRows<T, S, kScoreRows>& rows, T* x,
                                          const Scaling<T>& scaling, Index d,
                                          Vec<T> (&acc)[Groups * kScoreRows * kParts]) {
  if constexpr (kSharing > 1) {
    const GroupWeights<T, Groups> lower(w, d), upper(w, d + kSumLanes<T>);
    const FeatureLoader<T, S, Scaled> load_row(scaling, d);
#pragma GCC unroll 8
    for (int n = 0; n < kScoreRows; ++n) {
      const Vec<T> row = load_row(rows.source[n] + d);
      store<T>(x + n * kPanel<T>, row);
      lower.template add_products<kScoreRows>(lower_halves(row, row, AllLanes<T>{}), n, 0, acc);
      upper.template add_products<kScoreRows>(upper_halves(row, row, AllLanes<T>{}), n, 0, acc);
    }
    return;
  }
#pragma GCC unroll 2
  for (int part = 0; part < kParts; ++part, d += kLanes<T>, x += kLanes<T>) {
    const GroupWeights<T, Groups> weights(w, d);
    const FeatureLoader<T, S, Scaled> load_row(scaling, d);
#pragma GCC unroll 8
    for (int n = 0; n < kScoreRows; ++n) {
      const Vec<T> row = load_row(rows.source[n] + d);
      store<T>(x + n * kPanel<T>, row);
      weights.template add_products<kScoreRows>(row, n, part, acc);
    }
  }
}

// Calls step(d, x) for each kStep features up to `end` and where they lie in a tile.
template <class T, class Step>
ONELAYER_INLINE void for_each_step(T* x, Index panel_stride, Index end, const Step& step) {
  constexpr Index unroll = min(kUnroll * kStep<T>, kPanel<T>);
  Index d = 0;
  for (; d + kPanel<T> <= end; d += kPanel<T>, x += panel_stride)
    for (Index i = 0; i < kPanel<T>; i += unroll)
#pragma GCC unroll 8
      for (Index j = i; j < i + unroll; j += kStep<T>) step(d + j, x + j);
  for (; d < end; d += kStep<T>, x += kStep<T>) step(d, x);
}

// Converts rows and adds features up to `end`: the products hide the tile's cache misses.
template <class T, class S, int Groups, bool Scaled>
ONELAYER_INLINE void convert_and_add(const ScoreTile<T>& tile, const ConvertedRows<T, S, kScoreRows> rows,
                                     const Scaling<T> scaling, Index end,
                                     Vec<T> (&acc)[Groups * kScoreRows * kParts]) {
  const WeightRows<T, Groups> w(tile);
  for_each_step<T>(tile.x, tile.panel_stride, end, [&](Index d, T* x) __attribute__((always_inline)) {
    convert_and_add_step<T, S, Groups, Scaled>(w, rows, x, scaling, d, acc);
  });
}

template <class T, class S, int Groups>
void convert_and_score_tile(const ScoreTile<T>& tile, const ScoreJob<T>& job, Index first) {
  const Index whole = whole_steps(job);
  RowScratch<T, S> scratch[kScoreRows];
  const ConvertedRows<T, S, kScoreRows> rows(tile, job, first, scratch);
  Vec<T> acc[Groups * kScoreRows * kParts] = {};
  if (job.scaling.scale)
    convert_and_add<T, S, Groups, true>(tile, rows, job.scaling, whole, acc);
  else
    convert_and_add<T, S, Groups, false>(tile, rows, job.scaling, whole, acc);
  add_features<T, Groups, kScoreRows>(tile, whole, acc);
  store_scores<T, Groups, kScoreRows>(tile, acc);
}

// Of up to kMaxPaired columns, where two to a vector would leave many of its lanes empty or waiting: two rows share a
// vector instead, beside the weights of one column in both of its halves.
inline constexpr int kPairs = 4;

// Adds the next vectors of features, which row(i) gives for row i.
template <class T, int Columns, class Row>
ONELAYER_INLINE void add_pairs(const ScoreTile<T>& tile, Index d, Vec<T> (&acc)[Columns * kPairs], const Row& row) {
  Vec<T> lower[Columns], upper[Columns];
#pragma GCC unroll 4
  for (int c = 0; c < Columns; ++c) {
    lower[c] = load_shared(tile.w + weight_index<T>(c, tile.stride, d));
    upper[c] = load_shared(tile.w + weight_index<T>(c, tile.stride, d + kSumLanes<T>));
  }
#pragma GCC unroll 4
  for (int pair = 0; pair < kPairs; ++pair) {
    const Vec<T> a = row(2 * pair), b = row(2 * pair + 1);
    const Vec<T> low = lower_halves(a, b, AllLanes<T>{}), high = upper_halves(a, b, AllLanes<T>{});
#pragma GCC unroll 4
    for (int c = 0; c < Columns; ++c) {
      add_product(acc[c * kPairs + pair], lower[c], low);
      add_product(acc[c * kPairs + pair], upper[c], high);
    }
  }
}

template <class T, class S, int Columns, bool Scaled>
ONELAYER_INLINE void convert_and_add_pairs(const ScoreTile<T> tile, const ConvertedRows<T, S, 2 * kPairs> rows,
                                           const Scaling<T> scaling, Index end, Vec<T> (&acc)[Columns * kPairs]) {
  for_each_step<T>(tile.x, tile.panel_stride, end, [&](Index d, T* x) __attribute__((always_inline)) {
    const FeatureLoader<T, S, Scaled> load_row(scaling, d);
    add_pairs<T, Columns>(tile, d, acc, [&](int n) __attribute__((always_inline)) {
      const Vec<T> row = load_row(rows.source[n] + d);
      store<T>(x + n * kPanel<T>, row);
      return row;
    });
  });
  for (Index d = end; d < tile.width; d += kLanes<T>) {
    const T* const x = tile.x + tile_index<T>(d, tile.panel_stride);
    const auto row = [&](int n) __attribute__((always_inline)) { return load<T>(x + n * kPanel<T>); };
    add_pairs<T, Columns>(tile, d, acc, row);
  }
}

// From [row of the pair][column][pair] to [column][row].
template <class V, int... I>
ONELAYER_INLINE V interleave_pairs(V v, Indices<I...>) {
  constexpr int rows = 2 * kPairs, half = sizeof...(I) / 2;
  return __builtin_shufflevector(v, v, (I % 2 * half + I / rows * kPairs + I % rows / 2)...);
}

template <class T, class S, int Columns>
void convert_and_score_pairs(const ScoreTile<T>& tile, const ScoreJob<T>& job, Index first) {
  constexpr int rows = 2 * kPairs, count = Columns * kPairs;
  const Index whole = whole_steps(job);
  RowScratch<T, S> scratch[rows];
  const ConvertedRows<T, S, rows> converted(tile, job, first, scratch);
  Vec<T> acc[count] = {};
  if (job.scaling.scale)
    convert_and_add_pairs<T, S, Columns, true>(tile, converted, job.scaling, whole, acc);
  else
    convert_and_add_pairs<T, S, Columns, false>(tile, converted, job.scaling, whole, acc);
  alignas(kVectorBytes) T sums[round_up(count, kFold<T>) * 2];
  store_sums<T, count, 0>(tile.common_scale, acc, sums);
  for (int i = 0; i < count; i += kFold<T>)
    store<T>(sums + 2 * i, interleave_pairs(load<T>(sums + 2 * i), AllLanes<T>{}));
#pragma GCC unroll 4
  for (int c = 0; c < Columns; ++c) {
    T column[rows];
    __builtin_memcpy(column, sums + c * rows, sizeof column);
    store_column<T, rows>(column, tile.bias ? tile.bias + c : nullptr, tile.accumulate,
                          tile.scores + c * tile.score_stride);
  }
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

// Indexed by columns - 1. For float alone: each takes long to compile.
template <class T> inline constexpr int kMaxPaired = sizeof(T) == 4 ? kPairedColumns : 0;

template <class T, class S, class Sequence> struct PairTiles;
template <class T, class S, int... I>
struct PairTiles<T, S, Indices<I...>> {
  static constexpr ConvertTileFunction<T> table[] = {convert_and_score_pairs<T, S, I + 1>..., nullptr};
};
template <class T, class S>
inline constexpr auto& kPairTiles = PairTiles<T, S, typename IndicesUpTo<kMaxPaired<T>>::Type>::table;

// Groups of columns are cut into blocks of nearly equal size, the larger ones first.
struct ScoreBlocks {
  Index groups = 0, count = 0;
  ONELAYER_INLINE ScoreBlocks(Index columns, Index max_size)
      : groups(ceil_div(columns, kSharing)), count(ceil_div(groups, max_size)) {}
  ONELAYER_INLINE Index begin(Index block) const { return groups - part_begin(groups, count, count - block); }
};

// Scores of one tile's rows for blocks `from` to `to`. The first block also converts the rows where `convert` is set.
template <class T, class S>
ONELAYER_INLINE void score_rows(const ScoreJob<T>& job, const ScoreBlocks& blocks, Index from, Index to, Index n,
                                Index rows, bool convert) {
  const bool fused = convert && rows >= kScoreRows && !job.scaling.wide_scale;
  if (convert && !fused) load_rows<T, S>(job, n, rows);
  for (Index block = from; block < to; ++block) {
    const Index groups = blocks.begin(block + 1) - blocks.begin(block), c = blocks.begin(block) * kSharing;
    const ScoreTile<T> tile{job.w + c * job.stride, job.x + n * kPanel<T>, job.panel_stride, job.stride, job.width,
                            min(groups * kSharing, job.columns - c), job.bias ? job.bias + c : nullptr, job.accumulate,
                            job.scores + c * job.score_stride + n, job.score_stride, job.common_scale};
    if (rows > kScoreRows)
      kPairTiles<T, S>[job.columns - 1](tile, job, n);
    else if (fused && block == from)
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
  const Index row_bytes = job.stride * static_cast<Index>(sizeof(T)), group_bytes = job.caches.second / 2;
  const Index panel_rows = job.caches.first * 5 / 6 / row_bytes;
  const Index block_groups = max(1, min(kScoreGroups, panel_rows / kSharing));
  const ScoreBlocks blocks(job.columns, block_groups);
  const Index panel_blocks = max(1, panel_rows / (block_groups * kSharing));
  const Index panels = job.columns <= panel_rows ? 1 : ceil_div(blocks.count, panel_blocks);
  const Index groups = ceil_div(job.count, max(kScoreRows, group_bytes / row_bytes));
  const bool pairs = job.columns <= kMaxPaired<T> && !job.scaling.wide_scale;
  for (Index g = 0; g < groups; ++g) {
    const Index from = part_begin(job.count, groups, g), to = part_begin(job.count, groups, g + 1);
    for (Index p = 0; p < panels; ++p)
      for (Index n = from, rows; n < to; n += rows) {
        rows = pairs && to - n >= 2 * kPairs ? 2 * kPairs : min(kScoreRows, to - n);
        score_rows<T, S>(job, blocks, part_begin(blocks.count, panels, p), part_begin(blocks.count, panels, p + 1), n,
                         rows, p == 0);
      }
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
