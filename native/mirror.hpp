// Rows of images read mirrored: of each line of `width` stored features the last comes first.
//
//   mirrored[line * width + i] = row[line * width + width - 1 - i]
//
// A slice of a mirrored row is made in a scratch of the stored type, from where it is loaded like any other. Slices
// begin and end anywhere in a line.
#pragma once

#include "jobs.hpp"
#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

template <class S> inline constexpr int kMirrorLanes = 16 / static_cast<int>(sizeof(S));
template <int Bytes> struct WordOf;
template <> struct WordOf<1> { using Type = std::uint8_t; };
template <> struct WordOf<2> { using Type = std::uint16_t; };
template <> struct WordOf<4> { using Type = std::uint32_t; };
template <> struct WordOf<8> { using Type = std::uint64_t; };

template <class S, int... I>
ONELAYER_INLINE void reverse_vector(const S* from, S* to, Indices<I...>) {
  typedef typename WordOf<sizeof(S)>::Type Words [[gnu::vector_size(16)]];
  Words v;
  __builtin_memcpy(&v, from, sizeof v);
  v = __builtin_shufflevector(v, v, (kMirrorLanes<S> - 1 - I)...);
  __builtin_memcpy(to, &v, sizeof v);
}

template <class S>
ONELAYER_INLINE void reverse(const S* from, Index count, S* to) {
  constexpr int lanes = kMirrorLanes<S>;
  Index i = 0;
  for (; i + lanes <= count; i += lanes)
    reverse_vector<S>(from + count - i - lanes, to + i, typename IndicesUpTo<lanes>::Type{});
  for (; i < count; ++i) to[i] = from[count - 1 - i];
}

// Features begin .. begin + count of the mirrored row.
template <class S>
[[gnu::noinline]] void mirror(const S* row, Index width, Index begin, Index count, S* to) {
  for (Index d = begin, end = begin + count; d < end;) {
    const Index line = d / width * width, stop = smaller(end, line + width);
    reverse<S>(row + 2 * line + width - stop, stop - d, to + (d - begin));
    d = stop;
  }
}

}  // namespace onelayer::ONELAYER_KERNELS
