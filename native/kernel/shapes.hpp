// The letters of the kernel and how features and columns are divided.
//
//   N rows, D features, K classes, B batch rows, R runs
//   X (N, D)   y (N,)   W (R, K, D)   b (R, K)
//
// A "column" is one (run, class) pair: column c = r*K + k, and there are R*K of them.
//
// Features are cut into slices whose width depends on D and the arithmetic type ONLY, never on threads, runs or batch:
// a score is summed lane by lane inside a slice, and slice sums are added in order. That makes a run's bits
// independent of how the work is divided.
#pragma once

#include <cstdint>

// Small functions that kernels of several instruction sets use must never exist as one shared copy.
#define ONELAYER_INLINE [[gnu::always_inline]] inline

namespace onelayer {

using Index = std::int64_t;

struct Shape {
  Index N = 0, D = 0, K = 0, R = 0;
  ONELAYER_INLINE Index columns() const { return R * K; }
};

ONELAYER_INLINE constexpr Index min(Index a, Index b) { return a < b ? a : b; }
ONELAYER_INLINE constexpr Index max(Index a, Index b) { return a < b ? b : a; }
ONELAYER_INLINE constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
ONELAYER_INLINE constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

// The first element of part i, where `total` elements are divided into nearly equal parts.
ONELAYER_INLINE constexpr Index part_begin(Index total, Index parts, Index i) { return total * i / parts; }

inline constexpr Index kLineBytes = 64;
// A score is summed in this many bytes of lanes, 8 of float or 4 of double, whatever the width of a vector.
inline constexpr Index kSumBytes = 32;
// The two widest vectors of any instruction set: the backward pass updates two at a time.
inline constexpr Index kPanelBytes = 128;
// Ten weight rows and five data rows of one slice fill a 48 KB first-level cache.
inline constexpr Index kMaxSliceBytes = 3072;

// Distance between rows, in elements: an odd number of cache lines, so that rows spread over all sets.
ONELAYER_INLINE constexpr Index padded_stride(Index width, Index element_bytes) {
  const Index lines = ceil_div(width * element_bytes, kLineBytes);
  return (lines | 1) * kLineBytes / element_bytes;
}

// The converted rows of a slice, a tile, lie panel by panel: the features of one panel of all rows, then the next one.
// So a gradient reads one stream, and scores read runs of two lines.
template <class T> inline constexpr Index kPanel = kPanelBytes / static_cast<Index>(sizeof(T));

// Between panels, in elements. Panels of a power of two of rows would share their sets of the cache.
ONELAYER_INLINE constexpr Index panel_stride(Index rows, Index panel) { return (round_up(rows, 8) + 4) * panel; }

// Where a feature of a row lies from its first on.
template <class T>
ONELAYER_INLINE constexpr Index tile_index(Index d, Index panel_stride) {
  return d / kPanel<T> * panel_stride + d % kPanel<T>;
}

struct Slices {
  Index D = 0;
  Index panel = 0;   // elements: every slice width is a multiple of it
  Index count = 0;
  Index width = 0;   // of all slices but the last
  Index stride = 0;  // between rows of weights, one slice of each

  ONELAYER_INLINE Slices(Index features, Index element_bytes)
      : D(features), panel(kPanelBytes / element_bytes) {
    const Index max_width = kMaxSliceBytes / element_bytes;
    // One slice is enough below a third of a full one; above, an even number serves two threads equally.
    const Index wanted = 3 * D <= max_width ? 1 : 2 * ceil_div(D, 2 * max_width);
    width = round_up(ceil_div(D, wanted), panel);
    count = ceil_div(D, width);
    stride = padded_stride(width, element_bytes);
  }
  ONELAYER_INLINE Index begin(Index s) const { return s * width; }
  ONELAYER_INLINE Index features(Index s) const { return min(width, D - begin(s)); }
  ONELAYER_INLINE Index tile_size(Index rows) const { return width / panel * panel_stride(rows, panel); }
  ONELAYER_INLINE Index padded(Index s) const { return round_up(features(s), panel); }
};

// Columns are cut into blocks that the backward pass holds in registers. Residuals are packed block by block, so that
// one block's residuals of consecutive rows are contiguous.
// Columns whose weights share a vector, one or two, are in one block.
struct ColumnBlocks {
  Index columns = 0, shift = 0, groups = 0, count = 0;
  ONELAYER_INLINE ColumnBlocks(Index columns_, Index max_size, Index sharing)
      : columns(columns_),
        shift(sharing - 1),
        groups(ceil_div(columns, sharing)),
        count(ceil_div(groups, max_size / sharing)) {}
  ONELAYER_INLINE Index begin(Index block) const { return min(columns, part_begin(groups, count, block) << shift); }
  ONELAYER_INLINE Index size(Index block) const { return begin(block + 1) - begin(block); }
  // The block that holds a column: the largest i with begin(i) <= column.
  ONELAYER_INLINE Index of(Index column) const { return (((column >> shift) + 1) * count - 1) / groups; }
};

}  // namespace onelayer
