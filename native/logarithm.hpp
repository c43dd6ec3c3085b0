// log(1 + x) for 0 <= x <= 1, within a few units in the last place of itself, however small; NaN stays NaN.
//
//   z = x / (2 + x),   log(1 + x) = log((1 + z) / (1 - z)) = 2 z (1 + z^2 / 3 + z^4 / 5 + ...)
//
// z is at most 1/3: 8 terms are enough for float, 17 for double.
#pragma once

#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

template <class T>
ONELAYER_INLINE Vec<T> log_of_one_plus(Vec<T> x) {
  constexpr int terms = sizeof(T) == 4 ? 8 : 17;
  const Vec<T> z = x / (T(2) + x), square = z * z;
  Vec<T> series = splat<T>(T(1) / T(2 * terms - 1));
#pragma GCC unroll 16
  for (int i = terms - 2; i >= 0; --i) series = fma(series, square, splat<T>(T(1) / T(2 * i + 1)));
  return (z + z) * series;
}

}  // namespace onelayer::ONELAYER_KERNELS
