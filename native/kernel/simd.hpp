// Vectors: one type per arithmetic type, on GCC's and Clang's vector extensions, with their products, sums over lanes,
// exponentials and logarithms.
//
// Included only by kernels.cpp, inside the namespace of one instruction set: nothing here may be shared between
// translation units that were compiled with different flags. Products and sums are fused by fma() alone
// (-ffp-contract=off), so that every path rounds alike.
#pragma once

#include <cstdint>

#if defined(ONELAYER_PORTABLE)
#elif defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

#include "shapes.hpp"

namespace onelayer::ONELAYER_KERNELS {

// Register tiles: kScoreGroups groups of kSharing columns x kScoreRows scores; kBlockColumns columns x 2 vectors of a
// gradient. kUnroll: vectors of a score, or rows of a gradient, in one iteration of the innermost loop. With sixteen
// registers a tile is small and the loop's counter would be a tenth of its work; a panel of rows is read twice where
// there are ten columns, and kPrefetchPanels fetches the next one meanwhile.
#if defined(ONELAYER_PORTABLE)
inline constexpr int kVectorBytes = 32;
inline constexpr int kScoreGroups = 3, kScoreRows = 4, kBlockColumns = 6, kUnroll = 1, kPairedColumns = 0;
inline constexpr bool kPrefetchPanels = false;
#elif defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kScoreGroups = 6, kScoreRows = 4, kBlockColumns = 14, kUnroll = 2, kPairedColumns = 3;
inline constexpr bool kPrefetchPanels = false;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kScoreGroups = 3, kScoreRows = 4, kBlockColumns = 6, kUnroll = 4, kPairedColumns = 0;
inline constexpr bool kPrefetchPanels = true;
#else
inline constexpr int kVectorBytes = 16;
inline constexpr int kScoreGroups = 3, kScoreRows = 4, kBlockColumns = 12, kUnroll = 1, kPairedColumns = 0;
inline constexpr bool kPrefetchPanels = false;
#endif

typedef float VecF [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef double VecD [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef std::int32_t VecI32 [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef std::int64_t VecI64 [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef std::uint32_t VecU32 [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef std::uint64_t VecU64 [[gnu::vector_size(kVectorBytes), gnu::may_alias]];

template <class T> struct VecOf;
template <> struct VecOf<float> {
  using Type = VecF;
  using Int = VecI32;
  using Unsigned = VecU32;
  using Word = std::int32_t;
};
template <> struct VecOf<double> {
  using Type = VecD;
  using Int = VecI64;
  using Unsigned = VecU64;
  using Word = std::int64_t;
};
template <class T> using Vec = typename VecOf<T>::Type;
template <class T> using IntVec = typename VecOf<T>::Int;
template <class T> inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

// As many doubles as a vector has lanes.
template <class T> struct WideOf;
template <> struct WideOf<float> { typedef double Type [[gnu::vector_size(2 * kVectorBytes)]]; };
template <> struct WideOf<double> { using Type = VecD; };
template <class T> using WideVec = typename WideOf<T>::Type;
template <class T> ONELAYER_INLINE WideVec<T> widen(Vec<T> v) { return __builtin_convertvector(v, WideVec<T>); }

// The lanes that a score is summed in are the same in every instruction set: a part of a vector, which kSharing columns
// then share, or kParts vectors.
template <class T> inline constexpr int kSumLanes = kSumBytes / static_cast<int>(sizeof(T));
inline constexpr int kSharing = max(1, kVectorBytes / kSumBytes);
inline constexpr int kParts = max(1, kSumBytes / kVectorBytes);

template <class T> ONELAYER_INLINE Vec<T> load(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <class T> ONELAYER_INLINE void store(T* p, Vec<T> v) { *reinterpret_cast<Vec<T>*>(p) = v; }
template <class T> ONELAYER_INLINE Vec<T> load_unaligned(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T> ONELAYER_INLINE void store_unaligned(T* p, Vec<T> v) { __builtin_memcpy(p, &v, sizeof v); }
template <class T>
ONELAYER_INLINE Vec<T> splat(T x) {
  Vec<T> v;  // 0 + x would not keep the sign of -0
  for (int i = 0; i < kLanes<T>; ++i) v[i] = x;
  return v;
}

template <int... I> struct Indices {};
template <int N, int... I> struct IndicesUpTo : IndicesUpTo<N - 1, N - 1, I...> {};
template <int... I> struct IndicesUpTo<0, I...> { using Type = Indices<I...>; };

template <class T> using AllLanes = typename IndicesUpTo<kLanes<T>>::Type;

// Where columns share a vector: the features at p, once for each column; and one column's next vector of weights.
#if defined(__AVX512F__)
// In assembly, because GCC would take features that were just stored from their register, by a shuffle.
ONELAYER_INLINE VecF load_shared(const float* p) {
  VecF v;
  asm("vbroadcastf32x8 %1, %0" : "=v"(v) : "m"(*reinterpret_cast<const __m256*>(p)));
  return v;
}
ONELAYER_INLINE VecD load_shared(const double* p) {
  VecD v;
  asm("vbroadcastf64x4 %1, %0" : "=v"(v) : "m"(*reinterpret_cast<const __m256d*>(p)));
  return v;
}
ONELAYER_INLINE VecF load_weights(const float* p) {
  return (VecF)_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_load_ps(p)), _mm256_load_ps(p + 16), 1);
}
ONELAYER_INLINE VecD load_weights(const double* p) {
  return (VecD)_mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_load_pd(p)), _mm256_load_pd(p + 8), 1);
}
ONELAYER_INLINE void store_weights(float* p, VecF v) {
  _mm256_store_ps(p, _mm512_castps512_ps256((__m512)v));
  _mm256_store_ps(p + 16, _mm512_extractf32x8_ps((__m512)v, 1));
}
ONELAYER_INLINE void store_weights(double* p, VecD v) {
  _mm256_store_pd(p, _mm512_castpd512_pd256((__m512d)v));
  _mm256_store_pd(p + 8, _mm512_extractf64x4_pd((__m512d)v, 1));
}
#else
template <class T> ONELAYER_INLINE Vec<T> load_shared(const T* p) { return load<T>(p); }
template <class T> ONELAYER_INLINE Vec<T> load_weights(const T* p) { return load<T>(p); }
template <class T> ONELAYER_INLINE void store_weights(T* p, Vec<T> v) { store<T>(p, v); }
#endif

// The lower halves of two vectors, and their upper ones.
template <class V, int... I>
ONELAYER_INLINE V lower_halves(V a, V b, Indices<I...>) {
  constexpr int lanes = sizeof...(I), half = lanes / 2;
  return __builtin_shufflevector(a, b, (I < half ? I : I + half)...);
}
template <class V, int... I>
ONELAYER_INLINE V upper_halves(V a, V b, Indices<I...>) {
  constexpr int lanes = sizeof...(I), half = lanes / 2;
  return __builtin_shufflevector(a, b, (I < half ? I + half : I + lanes)...);
}

// Where a column's weights lie from those of column 0, which begins a vector, on; the feature begins one, too.
template <class T>
ONELAYER_INLINE Index weight_index(Index column, Index stride, Index feature) {
  return column / kSharing * kSharing * stride + (kSharing == 1 ? 0 : column % kSharing * kSumLanes<T>) +
         feature * kSharing;
}

// a*b + c with one rounding.
#if defined(ONELAYER_PORTABLE)
ONELAYER_INLINE VecF fma(VecF a, VecF b, VecF c) {
  for (int i = 0; i < kLanes<float>; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
}
ONELAYER_INLINE VecD fma(VecD a, VecD b, VecD c) {
  for (int i = 0; i < kLanes<double>; ++i) c[i] = __builtin_fma(a[i], b[i], c[i]);
  return c;
}
#elif defined(__AVX512F__)
ONELAYER_INLINE VecF fma(VecF a, VecF b, VecF c) { return (VecF)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
ONELAYER_INLINE VecD fma(VecD a, VecD b, VecD c) { return (VecD)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
template <> ONELAYER_INLINE VecF splat<float>(float x) { return (VecF)_mm512_set1_ps(x); }
template <> ONELAYER_INLINE VecD splat<double>(double x) { return (VecD)_mm512_set1_pd(x); }
#elif defined(__AVX2__)
ONELAYER_INLINE VecF fma(VecF a, VecF b, VecF c) { return (VecF)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
ONELAYER_INLINE VecD fma(VecD a, VecD b, VecD c) { return (VecD)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
template <> ONELAYER_INLINE VecF splat<float>(float x) { return (VecF)_mm256_set1_ps(x); }
template <> ONELAYER_INLINE VecD splat<double>(double x) { return (VecD)_mm256_set1_pd(x); }
#else
ONELAYER_INLINE VecF fma(VecF a, VecF b, VecF c) {
  return (VecF)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
ONELAYER_INLINE VecD fma(VecD a, VecD b, VecD c) {
  return (VecD)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
template <> ONELAYER_INLINE VecF splat<float>(float x) { return (VecF)vdupq_n_f32(x); }
template <> ONELAYER_INLINE VecD splat<double>(double x) { return (VecD)vdupq_n_f64(x); }
#endif

// c += a*b in place. With few registers and a free choice of instruction, GCC moves accumulators about, spills some of
// them and reloads a factor for each of its products.
#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(ONELAYER_PORTABLE)
ONELAYER_INLINE void add_product(VecF& c, VecF a, VecF b) { asm("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }
ONELAYER_INLINE void add_product(VecD& c, VecD a, VecD b) { asm("vfmadd231pd %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }
#else
template <class V> ONELAYER_INLINE void add_product(V& c, V a, V b) { c = fma(a, b, c); }
#endif

// Sums over the lanes of many accumulators at once.
//
// One step with distance H replaces accumulators a and b by one vector that holds, lane by lane,
//   a[i] + a[i ^ H] where bit H of i is clear,  b[i] + b[i ^ H] where it is set.
// After log2(lanes) steps lane reverse_bits(e) holds the whole sum of accumulator e. Every accumulator goes through the
// same tree of additions whatever its neighbours are, so its bits do not depend on its position. Where columns share a
// vector, each part of it is summed for itself.
template <int H, class V, int... I>
ONELAYER_INLINE V merge_lanes(V a, V b, Indices<I...>) {
  constexpr int lanes = sizeof...(I);
  const V kept = __builtin_shufflevector(a, b, ((I & H) ? I + lanes : I)...);
  const V moved = __builtin_shufflevector(a, b, ((I & H) ? (I ^ H) + lanes : (I ^ H))...);
  return kept + moved;
}

template <class T, int H, int Count>
ONELAYER_INLINE void fold_lanes(Vec<T>* acc) {
  if constexpr (H >= 1) {
    constexpr int half = (Count + 1) / 2;
#pragma GCC unroll 16
    for (int i = 0; i < half; ++i)
      acc[i] = merge_lanes<H>(acc[2 * i], acc[2 * i + 1 < Count ? 2 * i + 1 : 2 * i], AllLanes<T>{});
    fold_lanes<T, H / 2, half>(acc);
  }
}

// The bits above the lowest log2(lanes) stay.
constexpr int reverse_bits(int value, int lanes) {
  int reversed = value / lanes;
  for (int bit = 1; bit < lanes; bit *= 2) reversed = reversed * 2 + ((value & bit) ? 1 : 0);
  return reversed;
}

template <int Lanes, class V, int... I>
ONELAYER_INLINE V reverse_lanes(V v, Indices<I...>) {
  return __builtin_shufflevector(v, v, reverse_bits(I, Lanes)...);
}

// How many accumulators one vector of sums takes.
template <class T> inline constexpr int kFold = min(kLanes<T>, kSumLanes<T>);

// Lane e of the result, and of each of its parts where columns share a vector, is the sum of accumulator e, of Count <=
// kFold accumulators, which are destroyed.
template <class T, int Count>
ONELAYER_INLINE Vec<T> lane_sums(Vec<T>* acc) {
  static_assert(Count <= kFold<T>);
  fold_lanes<T, kFold<T> / 2, Count>(acc);
  return reverse_lanes<kFold<T>>(acc[0], AllLanes<T>{});
}

// exp(x) for x <= 0, within 1.5 units in the last place; 0 below the smallest normal result; NaN stays NaN.
//
//   n = round(x / ln 2),  r = x - n ln 2 (ln 2 in two parts),  exp(x) = 2^n * (1 + r + r^2/2! + ...)
template <class T> struct Exponential;
template <> struct Exponential<float> {
  static constexpr float rounder = 12582912.0f, log2e = 1.44269504f, lowest = -87.0f;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr int mantissa_bits = 23;
  static constexpr std::uint32_t exponent_bias = 127;
  static constexpr float terms[] = {1.f / 5040, 1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, .5f, 1.f, 1.f};
};
template <> struct Exponential<double> {
  static constexpr double rounder = 6755399441055744.0, log2e = 1.4426950408889634, lowest = -708.0;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr int mantissa_bits = 52;
  static constexpr std::uint64_t exponent_bias = 1023;
  static constexpr double terms[] = {1. / 6227020800, 1. / 479001600, 1. / 39916800, 1. / 3628800, 1. / 362880,
                                     1. / 40320, 1. / 5040, 1. / 720, 1. / 120, 1. / 24, 1. / 6, .5, 1., 1.};
};

template <class T>
ONELAYER_INLINE Vec<T> exp_nonpositive(Vec<T> x) {
  using C = Exponential<T>;
  // Adding the rounder leaves round(x / ln 2) in the low bits; a shift turns it into an exponent.
  const Vec<T> shifted = fma(x, splat<T>(C::log2e), splat<T>(C::rounder));
  const Vec<T> n = shifted - C::rounder;
  const Vec<T> r = fma(n, splat<T>(-C::ln2_low), fma(n, splat<T>(-C::ln2_high), x));
  Vec<T> series = splat<T>(C::terms[0]);
#pragma GCC unroll 16
  for (unsigned i = 1; i < sizeof C::terms / sizeof(T); ++i) series = fma(series, r, splat<T>(C::terms[i]));
  // Unsigned arithmetic: the bits shifted out on the left are the rounder's.
  using Bits = typename VecOf<T>::Unsigned;
  const auto exponent = ((Bits)shifted << C::mantissa_bits) + ((Bits{} + C::exponent_bias) << C::mantissa_bits);
  const Vec<T> value = series * (Vec<T>)exponent;
  return x < C::lowest ? Vec<T>{} : value;
}

// x, but no further from 0 than t, of numbers or vectors; NaN stays NaN.
template <class V> ONELAYER_INLINE V clipped(V x, V t) { return x > t ? t : x < -t ? -t : x; }

// -|x|, for the exponentials of both signs; NaN stays NaN.
template <class T> ONELAYER_INLINE Vec<T> negative_abs(Vec<T> x) { return x < 0 ? x : -x; }

// log(1 + x) for 0 <= x <= 1, within a few units in the last place, however small; NaN stays NaN.
//
//   z = x / (2 + x),   log(1 + x) = log((1 + z) / (1 - z)) = 2 z (1 + z^2 / 3 + z^4 / 5 + ...)
//
// z is at most 1/3: 8 terms are enough for float, 17 for double.
template <class T>
ONELAYER_INLINE Vec<T> log1p_unit(Vec<T> x) {
  constexpr int terms = sizeof(T) == 4 ? 8 : 17;
  const Vec<T> z = x / (T(2) + x), square = z * z;
  Vec<T> series = splat<T>(T(1) / T(2 * terms - 1));
#pragma GCC unroll 16
  for (int i = terms - 2; i >= 0; --i) series = fma(series, square, splat<T>(T(1) / T(2 * i + 1)));
  return (z + z) * series;
}

// log(x) for x >= 1, within a few units in the last place; NaN stays NaN. A C library's may differ in the last bit.
//
//   x = 2^e m, 1 <= m < 2,   log(x) = e ln 2 + log(1 + (m - 1))
ONELAYER_INLINE VecD log_from_one(VecD x) {
  constexpr double two52 = 4503599627370496.0, ln2 = 0.693147180559945309;
  const VecU64 bits = (VecU64)x, zero{};
  const VecD m = (VecD)((bits & (zero + 0x000fffffffffffffu)) | (zero + 0x3ff0000000000000u));
  // The low bits of 2^52 + i are i.
  const VecD e = (VecD)((bits >> 52) | (zero + 0x4330000000000000u)) - (two52 + 1023);
  return fma(e, splat(ln2), log1p_unit<double>(m - 1.0)) + (x - x);
}

// The logarithms of a vector's lanes.
template <class T>
ONELAYER_INLINE void store_logs(Vec<T> x, double* logs) {
  for (int i = 0; i < kLanes<T>; ++i) logs[i] = static_cast<double>(x[i]);
  for (int i = 0; i < kLanes<T>; i += kLanes<double>) store<double>(logs + i, log_from_one(load<double>(logs + i)));
}

// 0 for what is below 2^-95 (2^-767 in double), so that products are no subnormal numbers: weights that shrink by a
// factor every step would end there. All upper bits of the exponent of such a number are 0.
#if defined(__AVX512F__)
ONELAYER_INLINE VecF without_tiny(VecF x) {
  return (VecF)_mm512_maskz_mov_ps(_mm512_test_epi32_mask((__m512i)x, _mm512_set1_epi32(0x70000000)), (__m512)x);
}
ONELAYER_INLINE VecD without_tiny(VecD x) {
  return (VecD)_mm512_maskz_mov_pd(_mm512_test_epi64_mask((__m512i)x, _mm512_set1_epi64(0x7000000000000000)), (__m512d)x);
}
#else
ONELAYER_INLINE VecF without_tiny(VecF x) { return ((VecU32)x & (VecU32{} + 0x70000000u)) == 0 ? VecF{} : x; }
ONELAYER_INLINE VecD without_tiny(VecD x) { return ((VecU64)x & (VecU64{} + 0x7000000000000000u)) == 0 ? VecD{} : x; }
#endif

}  // namespace onelayer::ONELAYER_KERNELS
