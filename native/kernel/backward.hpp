// Gradient of one feature slice, and the step of optimizer.hpp:
//   G[c][d] = sum_n residual[n][c] x[n][d]  (n in order, one fused product-sum each)
//
// Lanes run over features. A block of columns x 2 vectors of G stays in registers over the whole batch; in batches
// longer than a chunk it is saved to scratch between chunks, which changes no bit.
#pragma once

#include "optimizer.hpp"

namespace onelayer::ONELAYER_KERNELS {

// Prefetches the lines of the next rows that lie under one panel. `sharing` panels share a line, so each fetches every
// `sharing`-th row.
struct RowPrefetch {
  const char* const* rows = nullptr;
  Index count = 0, byte = 0, bytes = 0, sharing = 1;
  Index due = 0;  // rows until the next prefetch

  // Once per iteration of the loop over rows.
  ONELAYER_INLINE void advance() {
    for (; due < min(kUnroll, count); due += sharing)
      for (Index line = 0; line < bytes; line += kLineBytes) __builtin_prefetch(rows[due] + byte + line, 0, 2);
    due -= kUnroll;
    rows += kUnroll;
    count -= kUnroll;
  }
};

// What a tile prefetches while it multiplies.
enum class Prefetch { nothing, next_rows, next_panel };

template <class T>
struct GradientTile {
  const T* residuals;  // [n][Columns]
  const T* x;
  Index next_panel;    // from x on
  Index stride, rows;
  bool first, last;
  T* saved;            // Columns * 2 vectors
  StepArrays<T> arrays;
  bool plain;
  T common_scale;
  double* gradient;
  Index gradient_stride, features;  // features: how many of the panel's exist
  Prefetch prefetch;
  RowPrefetch next_rows;
};

template <class T>
ONELAYER_INLINE void plain_step(const PlainStep<T>& step, Vec<T> G, T* w) {
  store<T>(w, step(G, load<T>(w)));
}

// The step of plain columns, from registers.
template <class T, int Columns>
ONELAYER_INLINE void plain_steps(const GradientTile<T>& tile, const Vec<T> (&acc)[Columns][2]) {
  constexpr int lanes = kLanes<T>;
#pragma GCC unroll 16
  for (int c = 0; c < Columns; c += kSharing) {
    const PlainStep<T> step(tile.arrays.steps[c], tile.common_scale);
    T* w = tile.arrays.w + c * tile.stride;
    if constexpr (kSharing == 1) {
      plain_step<T>(step, acc[c][0], w);
      plain_step<T>(step, acc[c][1], w + lanes);
    } else {
      // Beside a last column without another, anything may be stored.
      const int other = c + 1 < Columns ? c + 1 : c;
      const PlainStep<T> steps(step, PlainStep<T>(tile.arrays.steps[other], tile.common_scale));
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v, w += 2 * lanes) {
        plain_step<T>(steps, lower_halves(acc[c][v], acc[other][v], AllLanes<T>{}), w);
        plain_step<T>(steps, upper_halves(acc[c][v], acc[other][v], AllLanes<T>{}), w + lanes);
      }
    }
  }
}

template <class T, int Columns>
ONELAYER_INLINE void add_gradient(const GradientTile<T>& tile) {
  constexpr Index panel = 2 * kLanes<T>;
  for (Index c = 0; c < Columns; ++c)
    for (Index d = 0; d < min(panel, tile.features); ++d)
      tile.gradient[c * tile.gradient_stride + d] +=
          static_cast<double>(tile.common_scale) * static_cast<double>(tile.saved[c * panel + d]);
}

template <class T, int Columns>
ONELAYER_INLINE void add_row(const T* x, const T* residuals, Vec<T> (&acc)[Columns][2]) {
  const Vec<T> x0 = load<T>(x), x1 = load<T>(x + kLanes<T>);
#pragma GCC unroll 16
  for (int c = 0; c < Columns; ++c) {
    const Vec<T> residual = splat<T>(residuals[c]);
    add_product(acc[c][0], residual, x0);
    add_product(acc[c][1], residual, x1);
  }
}

template <class T, int Columns, Prefetch prefetch>
ONELAYER_INLINE void add_rows(const GradientTile<T>& tile, Vec<T> (&acc)[Columns][2]) {
  constexpr Index stride = kPanel<T>;
  const T *x = tile.x, *residuals = tile.residuals;
  RowPrefetch next_rows = tile.next_rows;
  Index left = tile.rows;
  for (; left >= kUnroll; left -= kUnroll, x += kUnroll * stride, residuals += kUnroll * Columns) {
    if constexpr (prefetch == Prefetch::next_rows) next_rows.advance();
    if constexpr (prefetch == Prefetch::next_panel)
#pragma GCC unroll 8
      for (Index i = 0; i < kUnroll; ++i) __builtin_prefetch(x + i * stride + tile.next_panel);
#pragma GCC unroll 8
    for (Index i = 0; i < kUnroll; ++i) add_row<T, Columns>(x + i * stride, residuals + i * Columns, acc);
  }
  if constexpr (kUnroll > 1)
    for (; left > 0; --left, x += stride, residuals += Columns) add_row<T, Columns>(x, residuals, acc);
}

template <class T, int Columns>
void gradient_tile(const GradientTile<T>& tile) {
  constexpr int lanes = kLanes<T>;
  Vec<T> acc[Columns][2] = {};
  if (!tile.first)
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) {
      acc[c][0] = load<T>(tile.saved + c * 2 * lanes);
      acc[c][1] = load<T>(tile.saved + c * 2 * lanes + lanes);
    }
  if (tile.last && !tile.gradient)
    for (int c = 0; c < Columns; ++c) {
      constexpr int line = kLineBytes / sizeof(T);
      T* w = tile.arrays.w + c / kSharing * kSharing * tile.stride + c % kSharing * 2 * line;
      __builtin_prefetch(w, 1), __builtin_prefetch(w + line, 1);
    }
  switch (tile.prefetch) {
    case Prefetch::nothing: add_rows<T, Columns, Prefetch::nothing>(tile, acc); break;
    case Prefetch::next_rows: add_rows<T, Columns, Prefetch::next_rows>(tile, acc); break;
    case Prefetch::next_panel:
      if constexpr (kPrefetchPanels) add_rows<T, Columns, Prefetch::next_panel>(tile, acc);
      break;
  }
  if (tile.last && tile.plain && !tile.gradient) return plain_steps<T, Columns>(tile, acc);
#pragma GCC unroll 16
  for (int c = 0; c < Columns; ++c) {
    store<T>(tile.saved + c * 2 * lanes, acc[c][0]);
    store<T>(tile.saved + c * 2 * lanes + lanes, acc[c][1]);
  }
  if (!tile.last) return;
  if (tile.gradient)
    add_gradient<T, Columns>(tile);
  else
    step_columns<T>(tile.arrays, Columns, tile.stride, tile.common_scale, tile.saved);
}

template <class T> using GradientTileFunction = void (*)(const GradientTile<T>&);

template <class T, class Sequence> struct GradientTiles;
template <class T, int... I>
struct GradientTiles<T, Indices<I...>> {
  static constexpr GradientTileFunction<T> table[] = {gradient_tile<T, I + 1>...};
};
template <class T>
inline constexpr auto& kGradientTiles = GradientTiles<T, typename IndicesUpTo<kBlockColumns>::Type>::table;

struct GradientChunk {
  Index from, to;  // column blocks
  Index d;         // first feature of the panel
  Index n, rows;
  bool first, last;
};

template <class T>
ONELAYER_INLINE RowPrefetch under_panel(const NextRows& next, const GradientChunk& chunk) {
  constexpr Index panel = 2 * kLanes<T>;
  const Index bytes = panel * next.element_bytes, sharing = max(1, kLineBytes / bytes);
  return {next.rows + chunk.n, min(next.count - chunk.n, chunk.rows),
          next.begin_bytes + chunk.d * next.element_bytes, bytes, sharing, chunk.d / panel & (sharing - 1)};
}

// The first block waits for its x anyway; the last one can fetch the next panel into the first-level cache.
template <class T>
ONELAYER_INLINE Prefetch prefetch_of(const BackwardJob<T>& job, const GradientChunk& chunk, Index block) {
  if (block == chunk.from && job.next.rows) return Prefetch::next_rows;
  if (kPrefetchPanels && block + 1 == chunk.to && block > chunk.from) return Prefetch::next_panel;
  return Prefetch::nothing;
}

template <class T>
ONELAYER_INLINE void gradient_chunk(const BackwardJob<T>& job, const GradientChunk& chunk) {
  T* saved = job.scratch;
  const StepArrays<T> arrays{job.steps, job.w, &job.slots, 0};
  const RowPrefetch next_rows = job.next.rows ? under_panel<T>(job.next, chunk) : RowPrefetch{};
  const Index x_index = tile_index<T>(chunk.d, job.panel_stride);
  const Index next_panel = tile_index<T>(chunk.d + 2 * kLanes<T>, job.panel_stride);
  const T* const x = job.x + chunk.n * kPanel<T> + x_index;
  for (Index block = chunk.from; block < chunk.to; ++block) {
    const Index c = job.blocks->begin(block), size = job.blocks->size(block);
    const GradientTile<T> tile{job.residuals + c * job.B + chunk.n * size, x, next_panel - x_index, job.stride,
                               chunk.rows, chunk.first, chunk.last, saved,
                               arrays.at(c, job.stride, chunk.d), job.plain, job.common_scale,
                               job.gradient ? job.gradient + c * job.gradient_stride + chunk.d : nullptr,
                               job.gradient_stride, job.features - chunk.d, prefetch_of<T>(job, chunk, block),
                               next_rows};
    kGradientTiles<T>[size - 1](tile);
    saved += size * 2 * kLanes<T>;
  }
}

// A group's residuals stay in the second-level cache over all panels, a chunk's x in the first over all blocks.
template <class T>
void backward(const BackwardJob<T>& job) {
  constexpr Index panel = 2 * kLanes<T>;
  const Index chunk_rows = job.caches.first * 2 / 3 / kPanelBytes, group_bytes = job.caches.second / 2;
  const Index column_bytes = job.B * static_cast<Index>(sizeof(T));
  const Index group_blocks = max(1, min(group_bytes / column_bytes, kBackwardScratch / panel) / kBlockColumns);
  const Index blocks = job.last_block - job.first_block, groups = ceil_div(blocks, group_blocks);
  const Index chunks = ceil_div(job.B, chunk_rows);
  for (Index g = 0; g < groups; ++g)
    for (Index d = 0; d < job.width; d += panel)
      for (Index chunk = 0; chunk < chunks; ++chunk) {
        const Index n = part_begin(job.B, chunks, chunk);
        gradient_chunk<T>(job, {job.first_block + part_begin(blocks, groups, g),
                                job.first_block + part_begin(blocks, groups, g + 1), d, n,
                                part_begin(job.B, chunks, chunk + 1) - n, chunk == 0, chunk + 1 == chunks});
      }
}

template <class T>
void residual_sums(const ResidualSumJob<T>& job) {
  constexpr int lanes = kLanes<T>, vectors = (kBlockColumns + lanes - 1) / lanes;
  Vec<T> sums[vectors] = {};
  WideVec<T> totals[vectors] = {};
  for (Index n = 0; n < job.B; ++n)
#pragma GCC unroll 16
    for (int i = 0; i < vectors; ++i) {
      const Vec<T> residuals = load_unaligned<T>(job.residuals + n * job.size + i * lanes);
      if (job.totals)
        totals[i] += widen<T>(residuals);
      else
        sums[i] += residuals;
    }
  for (int i = 0; i < vectors; ++i)
    if (job.totals)
      __builtin_memcpy(job.totals + i * lanes, &totals[i], sizeof totals[i]);
    else
      store_unaligned<T>(job.sums + i * lanes, sums[i]);
}

}  // namespace onelayer::ONELAYER_KERNELS
