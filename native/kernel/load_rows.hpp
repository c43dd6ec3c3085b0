// From rows as stored to a tile of the arithmetic type:  tile[n][d] = fma(x[n][d], scale[d], offset[d])
//
// A stored value is first rounded to the arithmetic type, then scaled: uint8 pixels and the same values given as
// float32 therefore produce the same bits. Where scales or offsets are
// extreme, float64 does it. Features behind the slice's end are zero (scale and offset are). Where every
// feature has one scale and no offset, values are left as stored: scores and gradient are multiplied by the scale.
#pragma once

#include "jobs.hpp"
#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

struct Half { std::uint16_t bits; };

// Exact: every float16 is a float32. Subnormals are scaled by a multiplication, so no flag of the CPU matters.
ONELAYER_INLINE float to_float(Half h) {
#if defined(__F16C__)
  return _cvtsh_ss(h.bits);
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(h.bits & 0x8000u) << 16;
  const std::uint32_t rest = h.bits & 0x7fffu;
  std::uint32_t word;
  if (rest >= 0x7c00u) {
    word = sign | 0x7f800000u | ((rest & 0x3ffu) << 13);
  } else if (rest >= 0x0400u) {
    word = sign | ((rest << 13) + 0x38000000u);
  } else {
    const float tiny = static_cast<float>(rest) * 0x1p-24f;
    __builtin_memcpy(&word, &tiny, 4);
    word |= sign;
  }
  float value;
  __builtin_memcpy(&value, &word, 4);
  return value;
#endif
}
template <class T> ONELAYER_INLINE T convert(Half h) { return static_cast<T>(to_float(h)); }
template <class T, class S> ONELAYER_INLINE T convert(S x) { return static_cast<T>(x); }

template <class T, class S>
ONELAYER_INLINE Vec<T> load_stored(const S* p) {
  constexpr int lanes = kLanes<T>;
  Vec<T> v;
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) v[i] = convert<T>(p[i]);
  return v;
}
template <> ONELAYER_INLINE VecF load_stored<float, float>(const float* p) { return load_unaligned<float>(p); }
template <> ONELAYER_INLINE VecD load_stored<double, double>(const double* p) { return load_unaligned<double>(p); }
#if defined(__AVX512F__)
template <> ONELAYER_INLINE VecF load_stored<float, std::uint8_t>(const std::uint8_t* p) {
  return (VecF)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
template <> ONELAYER_INLINE VecF load_stored<float, Half>(const Half* p) {
  return (VecF)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <> ONELAYER_INLINE VecF load_stored<float, double>(const double* p) {
  const __m256 low = _mm512_cvtpd_ps(_mm512_loadu_pd(p)), high = _mm512_cvtpd_ps(_mm512_loadu_pd(p + 8));
  return (VecF)_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}
template <> ONELAYER_INLINE VecD load_stored<double, float>(const float* p) {
  return (VecD)_mm512_cvtps_pd(_mm256_loadu_ps(p));
}
template <> ONELAYER_INLINE VecD load_stored<double, Half>(const Half* p) {
  return (VecD)_mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
template <> ONELAYER_INLINE VecD load_stored<double, std::uint8_t>(const std::uint8_t* p) {
  return (VecD)_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
#elif defined(__AVX2__)
template <> ONELAYER_INLINE VecF load_stored<float, std::uint8_t>(const std::uint8_t* p) {
  return (VecF)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
template <> ONELAYER_INLINE VecF load_stored<float, Half>(const Half* p) {
  return (VecF)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
template <> ONELAYER_INLINE VecD load_stored<double, float>(const float* p) {
  return (VecD)_mm256_cvtps_pd(_mm_loadu_ps(p));
}
template <> ONELAYER_INLINE VecD load_stored<double, Half>(const Half* p) {
  return (VecD)_mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
template <> ONELAYER_INLINE VecF load_stored<float, double>(const double* p) {
  return (VecF)_mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)), _mm256_cvtpd_ps(_mm256_loadu_pd(p)));
}
#endif

// Loads one vector of features, scaled, of any row from feature `d` of the slice on. What scales them is read once for
// several rows: a compiler must assume that storing one's features changes it.
template <class T, class S, bool Scaled>
struct FeatureLoader {
  Vec<T> scale, offset;
  ONELAYER_INLINE FeatureLoader(const Scaling<T>& scaling, Index d)
      : scale(load<T>(scaling.scale + d)), offset(load<T>(scaling.offset + d)) {}
  ONELAYER_INLINE Vec<T> operator()(const S* source) const { return fma(load_stored<T, S>(source), scale, offset); }
};
template <class T, class S>
struct FeatureLoader<T, S, false> {
  ONELAYER_INLINE FeatureLoader(const Scaling<T>&, Index) {}
  ONELAYER_INLINE Vec<T> operator()(const S* source) const { return load_stored<T, S>(source); }
};
template <class T, class S>
ONELAYER_INLINE Vec<T> load_feature(const S* source, const Scaling<T>& scaling, Index d) {
  return scaling.scale ? FeatureLoader<T, S, true>(scaling, d)(source) : load_stored<T, S>(source);
}

// Features from `d` on, which lie in one panel.
template <class T, class S>
[[gnu::noinline]] void load_tail(const S* source, const ScoreJob<T>& job, Index d, T* tile) {
  constexpr int lanes = kLanes<T>;
  // The row's end must not be read past: the next byte may be another process's page.
  S tail[2 * kMaxLanes] = {};
  tile += tile_index<T>(d, job.panel_stride) - d;
  for (Index i = d; i < job.features; ++i) tail[i - d] = source[i];
  for (Index at = 0; d < job.width; d += lanes, at = min(at + lanes, kMaxLanes))
    store<T>(tile + d, load_feature<T, S>(tail + at, job.scaling, d));
}

// Features that are converted together: whole vectors, and whole lanes of a sum.
template <class T> inline constexpr int kStep = max(kLanes<T>, kSumLanes<T>);

// Features that fill whole steps; load_tail loads the rest.
template <class T>
ONELAYER_INLINE Index whole_steps(const ScoreJob<T>& job) { return job.features / kStep<T> * kStep<T>; }

// Rows of images read mirrored:  flipped[line * width + i] = row[line * width + width - 1 - i]
// A slice of a flipped row is made in a scratch of the stored type and loaded from there.
template <class S> inline constexpr int kFlipLanes = 16 / static_cast<int>(sizeof(S));
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
  v = __builtin_shufflevector(v, v, (kFlipLanes<S> - 1 - I)...);
  __builtin_memcpy(to, &v, sizeof v);
}

template <class S>
ONELAYER_INLINE void reverse(const S* from, Index count, S* to) {
  constexpr int lanes = kFlipLanes<S>;
  Index i = 0;
  for (; i + lanes <= count; i += lanes)
    reverse_vector<S>(from + count - i - lanes, to + i, typename IndicesUpTo<lanes>::Type{});
  for (; i < count; ++i) to[i] = from[count - 1 - i];
}

// Features begin .. begin + count of the flipped row. A slice may begin and end anywhere in a line.
template <class S>
[[gnu::noinline]] void flip(const S* row, Index width, Index begin, Index count, S* to) {
  for (Index d = begin, end = begin + count; d < end;) {
    const Index line = d / width * width, stop = min(end, line + width);
    reverse<S>(row + 2 * line + width - stop, stop - d, to + (d - begin));
    d = stop;
  }
}

// Room for a slice of a row, left uninitialized.
template <class T, class S>
struct RowScratch { S features[kMaxSliceBytes / sizeof(T)]; };

// Where the slice's features of a row begin: in the row itself or, flipped, in `scratch`.
template <class T, class S>
ONELAYER_INLINE const S* stored_features(const ScoreJob<T>& job, Index n, RowScratch<T, S>& scratch) {
  const Index i = job.first + n;
  const S* row = reinterpret_cast<const S*>(job.rows.at(i));
  if (!job.rows.flipped || !job.rows.flipped[i]) return row + job.begin;
  flip<S>(row, job.rows.image_width, job.begin, job.features, scratch.features);
  return scratch.features;
}

// Scaled in float64, where rounding to T first would lose what tells the values apart.
template <class T, class S>
[[gnu::noinline]] void load_wide(const S* source, const ScoreJob<T>& job, T* tile) {
  for (Index d = 0; d < job.features; ++d)
    tile[tile_index<T>(d, job.panel_stride)] =
        static_cast<T>(convert<double>(source[d]) * job.scaling.wide_scale[d] + job.scaling.wide_offset[d]);
  for (Index d = job.features; d < job.width; ++d) tile[tile_index<T>(d, job.panel_stride)] = 0;
}

template <class T, class S>
void load_rows(const ScoreJob<T>& job, Index n, Index count) {
  const Index whole = whole_steps(job);
  RowScratch<T, S> scratch;
  for (Index i = n; i < n + count; ++i) {
    const S* source = stored_features<T, S>(job, i, scratch);
    T* tile = job.x + i * job.row_stride;
    if (job.scaling.wide_scale) {
      load_wide<T, S>(source, job, tile);
      continue;
    }
    for (Index d = 0; d < whole; d += kLanes<T>)
      store<T>(tile + tile_index<T>(d, job.panel_stride), load_feature<T, S>(source + d, job.scaling, d));
    load_tail<T, S>(source, job, whole, tile);
  }
}

}  // namespace onelayer::ONELAYER_KERNELS
