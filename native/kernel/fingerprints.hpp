// Fingerprints of rows as stored, by the arithmetic of data/fingerprints.py, modulo 2^64: its sums are exact in any order.
#pragma once

#include "load_rows.hpp"

namespace onelayer::ONELAYER_KERNELS {

// Adding and subtracting it leaves the nearest whole number of one below 2^22.
template <class S> inline constexpr S kRounder = sizeof(S) == 4 ? S(12582912) : S(6755399441055744);

// Of up to kBlockValues values that are loaded at a time, zeros behind them.
inline constexpr Index kBlockValues = 256;

// A row's values as they are compared and hashed: bytes, or floats of which float16 are float32.
template <class S> struct HashedAs { using Type = S; };
template <> struct HashedAs<Half> { using Type = float; };

// Calls work(values, first, count) for each block of a row until it returns false; returns whether it never did.
template <class S, class Work>
ONELAYER_INLINE bool for_blocks_of(const S* row, Index D, const Work& work) {
  using Value = typename HashedAs<S>::Type;
  alignas(kVectorBytes) Value values[kBlockValues];
  for (Index first = 0; first < D; first += kBlockValues) {
    const Index count = min(kBlockValues, D - first);
    if constexpr (sizeof(S) == 1)
      __builtin_memcpy(values, row + first, static_cast<std::size_t>(count));
    else
      for (Index i = 0; i < count; ++i) values[i] = convert<Value>(row[first + i]) + Value(0);  // -0 is 0
    for (Index i = count; i < kBlockValues; ++i) values[i] = 0;
    if (!work(values, first, count)) return false;
  }
  return true;
}

// Whether all of a row's values are whole numbers of a byte, or numbers of float32.
template <class S>
ONELAYER_INLINE bool holds_bytes(const S* row, Index D) {
  using Value = typename HashedAs<S>::Type;
  const auto hold = [](const Value* values, Index count) __attribute__((always_inline)) {
    int other = 0;
    for (Index i = 0; i < count; ++i) {
      const Value v = values[i];
      other |= !(v >= 0 && v <= 255) | ((v + kRounder<Value>) - kRounder<Value> != v);
    }
    return other == 0;
  };
  const Value first = convert<Value>(row[0]);  // of most rows it tells
  return hold(&first, 1) && for_blocks_of(row, D, [&](const Value* values, Index, Index) { return hold(values, kBlockValues); });
}

inline bool holds_floats(const double* row, Index D) {
  int other = 0;
  for (Index d = 0; d < D; ++d) other |= static_cast<double>(static_cast<float>(row[d])) != row[d];
  return other == 0;
}

// The sum of products of the words of eight bytes of a row's values as type B. `factors` are two of each word.
template <class B, class S>
ONELAYER_INLINE std::uint64_t word_sum(const S* row, Index D, const FingerprintJob& job) {
  constexpr Index each = 8 / static_cast<Index>(sizeof(B)), words = kBlockValues / each;
  std::uint64_t sum = 0;
  for_blocks_of(row, D, [&](const auto* values, Index first, Index) __attribute__((always_inline)) {
    alignas(kVectorBytes) B narrow[kBlockValues];
    for (Index i = 0; i < kBlockValues; ++i) narrow[i] = static_cast<B>(values[i]);
    alignas(kVectorBytes) std::uint64_t bits[words];
    __builtin_memcpy(bits, narrow, sizeof bits);
    const std::uint64_t *one = job.first + first / each, *other = job.second + first / each;
    for (Index w = 0; w < words; ++w) {
      const std::uint64_t product = bits[w] * one[w];
      sum += (product ^ (product >> 32)) * other[w];
    }
    return true;
  });
  return sum;
}

template <class S>
void row_words_of(const FingerprintJob& job) {
  for (Index n = job.begin; n < job.end; ++n) {
    const S* const row = reinterpret_cast<const S*>(job.rows.at(n));
    if constexpr (sizeof(S) == 1)
      job.sums[n] = word_sum<std::uint8_t>(row, job.D, job);
    else if (holds_bytes(row, job.D))
      job.sums[n] = word_sum<std::uint8_t>(row, job.D, job);
    else if constexpr (sizeof(S) == 8)
      job.sums[n] = holds_floats(row, job.D) ? word_sum<float>(row, job.D, job) : word_sum<double>(row, job.D, job);
    else
      job.sums[n] = word_sum<float>(row, job.D, job);
  }
}

inline void row_words(const FingerprintJob& job) {
  switch (job.rows.type) {
    case StoredType::uint8: return row_words_of<std::uint8_t>(job);
    case StoredType::float16: return row_words_of<Half>(job);
    case StoredType::float32: return row_words_of<float>(job);
    case StoredType::float64: return row_words_of<double>(job);
  }
}

}  // namespace onelayer::ONELAYER_KERNELS
