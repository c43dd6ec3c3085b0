// Sums over the lanes of many accumulators at once.
//
// One step with distance H replaces accumulators a and b by one vector that holds, lane by lane,
//   a[i] + a[i ^ H] where bit H of i is clear,  b[i] + b[i ^ H] where it is set.
// After log2(lanes) steps lane reverse_bits(e) holds the whole sum of accumulator e. Every accumulator goes
// through the same tree of additions whatever its neighbours are, so its bits do not depend on its place.
#pragma once

#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

template <int H, class V, int... I>
ONELAYER_INLINE V merge_lanes(V a, V b, Indices<I...>) {
  constexpr int lanes = sizeof...(I);
  const V kept = __builtin_shufflevector(a, b, ((I & H) ? I + lanes : I)...);
  const V moved = __builtin_shufflevector(a, b, ((I & H) ? (I ^ H) + lanes : (I ^ H))...);
  return kept + moved;
}

template <class T, int H, int Count>
ONELAYER_INLINE void fold_lanes(Vec<T>* acc) {
  using All = typename IndicesUpTo<kLanes<T>>::Type;
  if constexpr (H >= 1) {
    constexpr int half = (Count + 1) / 2;
#pragma GCC unroll 16
    for (int i = 0; i < half; ++i)
      acc[i] = merge_lanes<H>(acc[2 * i], acc[2 * i + 1 < Count ? 2 * i + 1 : 2 * i], All{});
    fold_lanes<T, H / 2, half>(acc);
  }
}

constexpr int reverse_bits(int value, int lanes) {
  int reversed = 0;
  for (int bit = 1; bit < lanes; bit *= 2) reversed = reversed * 2 + ((value & bit) ? 1 : 0);
  return reversed;
}

// Sums of Count <= lanes accumulators (destroyed); accumulator e's sum is in lane reverse_bits(e, lanes).
template <class T, int Count>
ONELAYER_INLINE Vec<T> lane_sums(Vec<T>* acc) {
  static_assert(Count <= kLanes<T>);
  fold_lanes<T, kLanes<T> / 2, Count>(acc);
  return acc[0];
}

template <class V, int... I>
ONELAYER_INLINE V reverse_lanes(V v, Indices<I...>) {
  return __builtin_shufflevector(v, v, reverse_bits(I, sizeof...(I))...);
}

// Lane e from lane reverse_bits(e).
template <class V>
ONELAYER_INLINE V in_order(V v) {
  return reverse_lanes(v, typename IndicesUpTo<sizeof(V) / sizeof(v[0])>::Type{});
}

}  // namespace onelayer::ONELAYER_KERNELS
