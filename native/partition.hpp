// Who computes what. Threads form a grid of slice ranges x column ranges; any grid gives the same bits.
#pragma once

#include <vector>

#include "shapes.hpp"

namespace onelayer {

struct Share {
  Index first_slice, last_slice;
  Index first_block, last_block;
  Index first_column, last_column;
};

struct Partition {
  int slice_parts = 1, block_parts = 1;
  int threads() const { return slice_parts * block_parts; }

  // The grid whose busiest thread has the least to do. Converting a slice costs about as much as two columns.
  Partition(const Slices& slices, const ColumnBlocks& blocks, int most_threads) {
    constexpr Index conversion = 2;
    Index least = -1;
    for (int parts = 1; parts <= most_threads && parts <= slices.count; ++parts) {
      const Index others = smaller(most_threads / parts, blocks.count);
      const Index columns = ceil_div(blocks.count, others) * ceil_div(blocks.columns, blocks.count);
      const Index cost = ceil_div(slices.count, parts) * (columns + conversion);
      if (least >= 0 && cost > least) continue;
      least = cost;
      slice_parts = parts;
      block_parts = static_cast<int>(others);
    }
  }
  Share share(int thread, const Slices& slices, const ColumnBlocks& blocks) const {
    const Index i = thread % slice_parts, j = thread / slice_parts;
    Share s{part_begin(slices.count, slice_parts, i), part_begin(slices.count, slice_parts, i + 1),
            part_begin(blocks.count, block_parts, j), part_begin(blocks.count, block_parts, j + 1), 0, 0};
    s.first_column = blocks.begin(s.first_block);
    s.last_column = blocks.begin(s.last_block);
    return s;
  }
};

}  // namespace onelayer
