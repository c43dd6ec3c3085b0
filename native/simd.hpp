// One vector type per arithmetic type, on GCC's and Clang's vector extensions.
//
// Included only by kernels.cpp, inside the namespace of one instruction set: nothing here may be shared between
// translation units that were compiled with different flags. Products and sums are fused by fma() alone
// (-ffp-contract=off), so that every path rounds alike.
#pragma once

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "shapes.hpp"

namespace onelayer::ONELAYER_KERNELS {

// Register tiles: kScoreColumns x kScoreRows scores; kBlockColumns columns x 2 vectors of a gradient. kTurn: how many
// vectors of a score or rows of a gradient one turn of the innermost loop takes. With sixteen registers a tile is
// small, and counting turns would be a tenth of its work; a panel of rows passes by twice where there are ten columns,
// and kFetchesPanels has the next one brought near meanwhile.
#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kScoreColumns = 6, kScoreRows = 4, kBlockColumns = 14, kTurn = 1;
inline constexpr bool kFetchesPanels = false;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kScoreColumns = 3, kScoreRows = 4, kBlockColumns = 6, kTurn = 4;
inline constexpr bool kFetchesPanels = true;
#elif defined(__aarch64__)
inline constexpr int kVectorBytes = 16;
inline constexpr int kScoreColumns = 5, kScoreRows = 5, kBlockColumns = 12, kTurn = 1;
inline constexpr bool kFetchesPanels = false;
#else
inline constexpr int kVectorBytes = 16;
inline constexpr int kScoreColumns = 3, kScoreRows = 4, kBlockColumns = 6, kTurn = 1;
inline constexpr bool kFetchesPanels = false;
#endif

typedef float VecF [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef double VecD [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef std::int32_t VecI32 [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef std::int64_t VecI64 [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef std::uint32_t VecU32 [[gnu::vector_size(kVectorBytes), gnu::may_alias]];
typedef std::uint64_t VecU64 [[gnu::vector_size(kVectorBytes), gnu::may_alias]];

template <class T> struct VecOf;
template <> struct VecOf<float> { using Type = VecF; using Int = VecI32; using Word = std::int32_t; using Unsigned = VecU32; };
template <> struct VecOf<double> { using Type = VecD; using Int = VecI64; using Word = std::int64_t; using Unsigned = VecU64; };
template <class T> using Vec = typename VecOf<T>::Type;
template <class T> using IntVec = typename VecOf<T>::Int;
template <class T> inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T> ONELAYER_INLINE Vec<T> load(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <class T> ONELAYER_INLINE void store(T* p, Vec<T> v) { *reinterpret_cast<Vec<T>*>(p) = v; }
template <class T> ONELAYER_INLINE Vec<T> load_unaligned(const T* p) {
  Vec<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T> ONELAYER_INLINE void store_unaligned(T* p, Vec<T> v) { __builtin_memcpy(p, &v, sizeof v); }
template <class T> ONELAYER_INLINE Vec<T> splat(T x) { return Vec<T>{} + x; }

// a*b + c with one rounding where the instruction set has it; two roundings in the x86 baseline.
#if defined(__AVX512F__)
ONELAYER_INLINE VecF fma(VecF a, VecF b, VecF c) { return (VecF)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
ONELAYER_INLINE VecD fma(VecD a, VecD b, VecD c) { return (VecD)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
template <> ONELAYER_INLINE VecF splat<float>(float x) { return (VecF)_mm512_set1_ps(x); }
template <> ONELAYER_INLINE VecD splat<double>(double x) { return (VecD)_mm512_set1_pd(x); }
#elif defined(__AVX2__)
ONELAYER_INLINE VecF fma(VecF a, VecF b, VecF c) { return (VecF)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
ONELAYER_INLINE VecD fma(VecD a, VecD b, VecD c) { return (VecD)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
template <> ONELAYER_INLINE VecF splat<float>(float x) { return (VecF)_mm256_set1_ps(x); }
template <> ONELAYER_INLINE VecD splat<double>(double x) { return (VecD)_mm256_set1_pd(x); }
#elif defined(__aarch64__)
ONELAYER_INLINE VecF fma(VecF a, VecF b, VecF c) { return (VecF)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
ONELAYER_INLINE VecD fma(VecD a, VecD b, VecD c) { return (VecD)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
template <> ONELAYER_INLINE VecF splat<float>(float x) { return (VecF)vdupq_n_f32(x); }
template <> ONELAYER_INLINE VecD splat<double>(double x) { return (VecD)vdupq_n_f64(x); }
#else
ONELAYER_INLINE VecF fma(VecF a, VecF b, VecF c) { return a * b + c; }
ONELAYER_INLINE VecD fma(VecD a, VecD b, VecD c) { return a * b + c; }
#endif

// c += a*b, by an instruction that leaves every value where it is. Given the choice, GCC moves accumulators about, puts
// some of them on the stack and loads a factor anew for each of its products, where registers are few.
#if defined(__AVX2__) && !defined(__AVX512F__)
ONELAYER_INLINE void add_product(VecF& c, VecF a, VecF b) { asm("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }
ONELAYER_INLINE void add_product(VecD& c, VecD a, VecD b) { asm("vfmadd231pd %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }
#else
template <class V> ONELAYER_INLINE void add_product(V& c, V a, V b) { c = fma(a, b, c); }
#endif

template <int... I> struct Indices {};
template <int N, int... I> struct IndicesUpTo : IndicesUpTo<N - 1, N - 1, I...> {};
template <int... I> struct IndicesUpTo<0, I...> { using Type = Indices<I...>; };

}  // namespace onelayer::ONELAYER_KERNELS
