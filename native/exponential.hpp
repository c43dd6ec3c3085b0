// exp(x) for x <= 0, within 1.5 units in the last place; 0 below the smallest normal result; NaN stays NaN.
//
//   n = round(x / ln 2),  r = x - n ln 2 (ln 2 in two parts),  exp(x) = 2^n * (1 + r + r^2/2! + ...)
#pragma once

#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

template <class T> struct Exponential;
template <> struct Exponential<float> {
  static constexpr float rounder = 12582912.0f, log2e = 1.44269504f, lowest = -87.0f;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr int mantissa = 23;
  static constexpr std::uint32_t one = 127;
  static constexpr float terms[] = {1.f / 5040, 1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, .5f, 1.f, 1.f};
};
template <> struct Exponential<double> {
  static constexpr double rounder = 6755399441055744.0, log2e = 1.4426950408889634, lowest = -708.0;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr int mantissa = 52;
  static constexpr std::uint64_t one = 1023;
  static constexpr double terms[] = {1. / 6227020800, 1. / 479001600, 1. / 39916800, 1. / 3628800, 1. / 362880,
                                     1. / 40320, 1. / 5040, 1. / 720, 1. / 120, 1. / 24, 1. / 6, .5, 1., 1.};
};

template <class T>
ONELAYER_INLINE Vec<T> exp_of_nonpositive(Vec<T> x) {
  using C = Exponential<T>;
  // Adding the rounder leaves round(x / ln 2) in the low bits, where a shift makes an exponent of it.
  const Vec<T> shifted = fma(x, splat<T>(C::log2e), splat<T>(C::rounder));
  const Vec<T> n = shifted - C::rounder;
  const Vec<T> r = fma(n, splat<T>(-C::ln2_low), fma(n, splat<T>(-C::ln2_high), x));
  Vec<T> series = splat<T>(C::terms[0]);
#pragma GCC unroll 16
  for (unsigned i = 1; i < sizeof C::terms / sizeof(T); ++i) series = fma(series, r, splat<T>(C::terms[i]));
  // Unsigned arithmetic: the bits that leave on the left are the rounder's own.
  using Bits = typename VecOf<T>::Unsigned;
  const auto exponent = ((Bits)shifted << C::mantissa) + ((Bits{} + C::one) << C::mantissa);
  const Vec<T> value = series * (Vec<T>)exponent;
  return x < C::lowest ? Vec<T>{} : value;
}

// -|x|, for the exponentials of both signs; NaN stays NaN.
template <class T> ONELAYER_INLINE Vec<T> minus_size(Vec<T> x) { return x < 0 ? x : -x; }

}  // namespace onelayer::ONELAYER_KERNELS
