// Gradient of one feature slice, and the step of step.hpp:
//   G[c][d] = sum_n factor[n][c] x[n][d]  (n in order, one fused product-sum each)
//
// Lanes run over features. A block of columns x 2 vectors of G stays in registers over the whole batch; batches
// longer than a chunk park it in scratch between chunks, which changes no bit.
#pragma once

#include "jobs.hpp"
#include "simd.hpp"
#include "step.hpp"

namespace onelayer::ONELAYER_KERNELS {

// Of upcoming rows, what one panel's tile fetches: the lines under it, of every `sharing`-th row, since that many
// panels share a line.
struct Fetch {
  const char* const* rows = nullptr;
  Index count = 0, byte = 0, bytes = 0, sharing = 1;
  Index due = 0;  // rows until the next one

  ONELAYER_INLINE void turn() {
    for (; due < smaller(kTurn, count); due += sharing)
      for (Index line = 0; line < bytes; line += kLineBytes) __builtin_prefetch(rows[due] + byte + line, 0, 2);
    due -= kTurn;
    rows += kTurn;
    count -= kTurn;
  }
};

// What a tile fetches while it multiplies.
enum class Ahead { nothing, upcoming_rows, next_panel };

template <class T>
struct GradientTile {
  const T* factors;  // [n][Columns]
  const T* x;
  Index stride, rows;
  bool first, last;
  T* parked;         // Columns * 2 vectors
  Stepped<T> stepped;
  bool plain;
  T factor;
  double* gradient;
  Index gradient_stride, features;  // features: how many of the panel's exist
  Ahead ahead;
  Fetch upcoming;
};

// From registers: what columns without a history take.
template <class T, int Columns>
ONELAYER_INLINE void step_plainly(const GradientTile<T>& tile, const Vec<T> (&acc)[Columns][2]) {
  constexpr int lanes = kLanes<T>;
#pragma GCC unroll 16
  for (int c = 0; c < Columns; ++c) {
    const PlainStep<T> step(tile.stepped.steps[c], tile.factor);
    T* w = tile.stepped.w + c * tile.stride;
    store<T>(w, step(acc[c][0], load<T>(w)));
    store<T>(w + lanes, step(acc[c][1], load<T>(w + lanes)));
  }
}

template <class T, int Columns>
ONELAYER_INLINE void add_gradient(const GradientTile<T>& tile) {
  constexpr Index panel = 2 * kLanes<T>;
  for (Index c = 0; c < Columns; ++c)
    for (Index d = 0; d < smaller(panel, tile.features); ++d)
      tile.gradient[c * tile.gradient_stride + d] +=
          static_cast<double>(tile.factor) * static_cast<double>(tile.parked[c * panel + d]);
}

template <class T, int Columns>
ONELAYER_INLINE void add_row(const T* x, const T* factors, Vec<T> (&acc)[Columns][2]) {
  const Vec<T> x0 = load<T>(x), x1 = load<T>(x + kLanes<T>);
#pragma GCC unroll 16
  for (int c = 0; c < Columns; ++c) {
    const Vec<T> factor = splat<T>(factors[c]);
    add_product(acc[c][0], factor, x0);
    add_product(acc[c][1], factor, x1);
  }
}

template <class T, int Columns, Ahead ahead>
ONELAYER_INLINE void add_rows(const GradientTile<T>& tile, Vec<T> (&acc)[Columns][2]) {
  constexpr Index panel = 2 * kLanes<T>;
  const T *x = tile.x, *factors = tile.factors;
  const Index stride = tile.stride;
  Fetch upcoming = tile.upcoming;
  Index left = tile.rows;
  for (; left >= kTurn; left -= kTurn, x += kTurn * stride, factors += kTurn * Columns) {
    if constexpr (ahead == Ahead::upcoming_rows) upcoming.turn();
    if constexpr (ahead == Ahead::next_panel)
#pragma GCC unroll 8
      for (Index i = 0; i < kTurn; ++i) __builtin_prefetch(x + i * stride + panel);
#pragma GCC unroll 8
    for (Index i = 0; i < kTurn; ++i) add_row<T, Columns>(x + i * stride, factors + i * Columns, acc);
  }
  if constexpr (kTurn > 1)
    for (; left > 0; --left, x += stride, factors += Columns) add_row<T, Columns>(x, factors, acc);
}

template <class T, int Columns>
void gradient_tile(const GradientTile<T>& tile) {
  constexpr int lanes = kLanes<T>;
  Vec<T> acc[Columns][2] = {};
  if (!tile.first)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) {
      acc[c][0] = load<T>(tile.parked + c * 2 * lanes);
      acc[c][1] = load<T>(tile.parked + c * 2 * lanes + lanes);
    }
  if (tile.last && !tile.gradient)
    for (int c = 0; c < Columns; ++c) __builtin_prefetch(tile.stepped.w + c * tile.stride, 1),
        __builtin_prefetch(tile.stepped.w + c * tile.stride + lanes, 1);
  switch (tile.ahead) {
    case Ahead::nothing: add_rows<T, Columns, Ahead::nothing>(tile, acc); break;
    case Ahead::upcoming_rows: add_rows<T, Columns, Ahead::upcoming_rows>(tile, acc); break;
    case Ahead::next_panel: add_rows<T, Columns, Ahead::next_panel>(tile, acc); break;
  }
  if (tile.last && tile.plain && !tile.gradient) return step_plainly<T, Columns>(tile, acc);
#pragma GCC unroll 16
  for (int c = 0; c < Columns; ++c) {
    store<T>(tile.parked + c * 2 * lanes, acc[c][0]);
    store<T>(tile.parked + c * 2 * lanes + lanes, acc[c][1]);
  }
  if (!tile.last) return;
  if (tile.gradient)
    add_gradient<T, Columns>(tile);
  else
    step_with_history<T>(tile.stepped, Columns, tile.stride, tile.factor, tile.parked);
}

template <class T> using GradientTileFunction = void (*)(const GradientTile<T>&);

template <class T, class Sequence> struct GradientTiles;
template <class T, int... I>
struct GradientTiles<T, Indices<I...>> {
  static constexpr GradientTileFunction<T> table[] = {gradient_tile<T, I + 1>...};
};
template <class T>
inline constexpr auto& kGradientTiles = GradientTiles<T, typename IndicesUpTo<kBlockColumns>::Type>::table;

template <class T>
struct GradientChunk {
  Index from, to;        // column blocks
  Index d;               // first feature of the panel
  Index n, rows;
  bool first, last;
};

template <class T>
ONELAYER_INLINE Fetch under_panel(const Upcoming& upcoming, const GradientChunk<T>& at) {
  constexpr Index panel = 2 * kLanes<T>;
  const Index bytes = panel * upcoming.element_bytes, sharing = larger(1, kLineBytes / bytes);
  return {upcoming.rows + at.n, smaller(upcoming.count - at.n, at.rows),
          upcoming.begin_bytes + at.d * upcoming.element_bytes, bytes, sharing, at.d / panel & (sharing - 1)};
}

// The first block waits for its x; the last one can have the next panel's brought into the first-level cache.
template <class T>
ONELAYER_INLINE Ahead ahead_of(const BackwardJob<T>& job, const GradientChunk<T>& at, Index block) {
  if (block == at.from && job.upcoming.rows) return Ahead::upcoming_rows;
  if (kFetchesPanels && block + 1 == at.to && block > at.from) return Ahead::next_panel;
  return Ahead::nothing;
}

template <class T>
ONELAYER_INLINE void gradient_chunk(const BackwardJob<T>& job, const GradientChunk<T>& at) {
  T* parked = job.scratch;
  const Stepped<T> stepped{job.steps, job.w, job.velocity, job.average};
  const Fetch upcoming = job.upcoming.rows ? under_panel<T>(job.upcoming, at) : Fetch{};
  for (Index block = at.from; block < at.to; ++block) {
    const Index c = job.blocks->begin(block), size = job.blocks->size(block);
    const GradientTile<T> tile{job.factors + c * job.batch + at.n * size, job.x + at.n * job.stride + at.d,
                               job.stride, at.rows, at.first, at.last, parked,
                               stepped.at(c, job.stride, at.d), job.plain, job.factor,
                               job.gradient ? job.gradient + c * job.gradient_stride + at.d : nullptr,
                               job.gradient_stride, job.features - at.d, ahead_of<T>(job, at, block), upcoming};
    kGradientTiles<T>[size - 1](tile);
    parked += size * 2 * kLanes<T>;
  }
}

// A group's factors stay in the second-level cache over all panels, a chunk's x in the first over all blocks.
template <class T>
void backward(const BackwardJob<T>& job) {
  constexpr Index chunk_rows = 256, group_bytes = 512 * 1024, panel = 2 * kLanes<T>;
  const Index column_bytes = job.batch * static_cast<Index>(sizeof(T));
  const Index most = larger(1, smaller(group_bytes / column_bytes, kBackwardScratch / panel) / kBlockColumns);
  const Index blocks = job.last_block - job.first_block, groups = ceil_div(blocks, most);
  const Index chunks = ceil_div(job.batch, chunk_rows);
  for (Index g = 0; g < groups; ++g)
    for (Index d = 0; d < job.width; d += panel)
      for (Index chunk = 0; chunk < chunks; ++chunk) {
        const Index n = part_begin(job.batch, chunks, chunk);
        gradient_chunk<T>(job, {job.first_block + part_begin(blocks, groups, g),
                                job.first_block + part_begin(blocks, groups, g + 1), d, n,
                                part_begin(job.batch, chunks, chunk + 1) - n, chunk == 0, chunk + 1 == chunks});
      }
}

template <class T>
void factor_sums(const FactorSumJob<T>& job) {
  constexpr int lanes = kLanes<T>, vectors = (kBlockColumns + lanes - 1) / lanes;
  Vec<T> sums[vectors] = {};
  for (Index n = 0; n < job.batch; ++n)
#pragma GCC unroll 16
    for (int i = 0; i < vectors; ++i) sums[i] += load_unaligned<T>(job.factors + n * job.size + i * lanes);
  for (int i = 0; i < vectors; ++i) store_unaligned<T>(job.sums + i * lanes, sums[i]);
}

}  // namespace onelayer::ONELAYER_KERNELS
