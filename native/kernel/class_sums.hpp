// Sums of the rows of each class, and of the squares of each feature, in float64:
//   sums[y[n]][d] += w[n] x[n][d],   squares[d] += w[n] x[n][d]^2   (in the order of the rows that a job has)
// and of rows times a few factors each, of which nothing is converted before it is multiplied.
#pragma once

#include "load_rows.hpp"

namespace onelayer::ONELAYER_KERNELS {

// Vectors of features whose sums and squares stay in registers.
inline constexpr int kSummed = kVectorBytes >= 64 ? 8 : 4;

// Of Count vectors of features. Sums of a class's rows stay in registers, and so do all squares.
template <class S, int Count>
ONELAYER_INLINE void add_to_classes(const ClassSumJob& job, Index d) {
  constexpr Index lanes = kLanes<double>, bytes = Count * lanes * static_cast<Index>(sizeof(S));
  VecD squares[Count];
#pragma GCC unroll 8
  for (int i = 0; i < Count; ++i) squares[i] = load_unaligned<double>(job.squares + d + i * lanes);
  for (Index n = 0; n < job.count;) {
    const Index label = job.labels[n];
    double* const at = job.sums + label * job.sum_stride + d;
    VecD sums[Count];
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) sums[i] = load_unaligned<double>(at + i * lanes);
    for (; n < job.count && job.labels[n] == label; ++n) {
      const S* const row = reinterpret_cast<const S*>(job.rows[n]) + d;
      const char* const next = job.next[n] + d * static_cast<Index>(sizeof(S));
      for (Index byte = 0; byte < bytes; byte += kLineBytes) __builtin_prefetch(next + byte, 0, 2);
      const VecD weight = splat<double>(job.weights[n]);
#pragma GCC unroll 8
      for (int i = 0; i < Count; ++i) {
        const VecD x = load_stored<double, S>(row + i * lanes), part = x * weight;
        sums[i] += part;
        squares[i] = fma(part, x, squares[i]);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) store_unaligned<double>(at + i * lanes, sums[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < Count; ++i) store_unaligned<double>(job.squares + d + i * lanes, squares[i]);
}

template <class S>
void class_sums_of(const ClassSumJob& job) {
  constexpr Index lanes = kLanes<double>, several = kSummed * lanes;
  Index d = 0;
  for (; d + several <= job.features; d += several) add_to_classes<S, kSummed>(job, d);
  for (; d + lanes <= job.features; d += lanes) add_to_classes<S, 1>(job, d);
  for (; d < job.features; ++d)
    for (Index n = 0; n < job.count; ++n) {
      const double x = convert<double>(reinterpret_cast<const S*>(job.rows[n])[d]), part = x * job.weights[n];
      job.sums[job.labels[n] * job.sum_stride + d] += part;
      job.squares[d] = __builtin_fma(part, x, job.squares[d]);
    }
}

inline void class_sums(const ClassSumJob& job) {
  switch (job.type) {
    case StoredType::uint8: return class_sums_of<std::uint8_t>(job);
    case StoredType::float16: return class_sums_of<Half>(job);
    case StoredType::float32: return class_sums_of<float>(job);
    case StoredType::float64: return class_sums_of<double>(job);
  }
}

// sums += factor x, rounded twice an element.
inline void add_scaled(double* sums, const double* x, double factor, Index count) {
  for (Index i = 0; i < count; ++i) sums[i] += factor * x[i];
}

// Several rows at once, so that sums are loaded and stored once for all of them.
template <class S, int Columns, int Rows>
ONELAYER_INLINE void add_row_sums(const RowSumJob& job, Index n) {
  constexpr Index lanes = kLanes<double>;
  const S* rows[Rows];
  for (int i = 0; i < Rows; ++i) rows[i] = reinterpret_cast<const S*>(job.x.at(n + i));
  const double* factors[Rows];
  for (int i = 0; i < Rows; ++i) factors[i] = job.factors + (n + i) * job.factor_stride;
  Index d = job.begin;
  for (; d + lanes <= job.end; d += lanes) {
    VecD sums[Columns];
#pragma GCC unroll 4
    for (int c = 0; c < Columns; ++c) sums[c] = load_unaligned<double>(job.sums + c * job.stride + d);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const VecD x = load_stored<double, S>(rows[i] + d);
#pragma GCC unroll 4
      for (int c = 0; c < Columns; ++c) add_product(sums[c], splat<double>(factors[i][c]), x);
    }
    for (int c = 0; c < Columns; ++c) store_unaligned<double>(job.sums + c * job.stride + d, sums[c]);
  }
  for (; d < job.end; ++d)
    for (int c = 0; c < Columns; ++c) {
      double& sum = job.sums[c * job.stride + d];
      for (int i = 0; i < Rows; ++i)
        sum = __builtin_fma(factors[i][c], convert<double>(rows[i][d]), sum);
    }
}

template <class S, int Columns>
void row_sums_of(const RowSumJob& job) {
  constexpr Index several = 8;
  Index n = job.first;
  const Index last = job.first + job.count;
  for (; n + several <= last; n += several) add_row_sums<S, Columns, several>(job, n);
  for (; n < last; ++n) add_row_sums<S, Columns, 1>(job, n);
}

template <class S>
void row_sums_of(const RowSumJob& job) {
  switch (job.columns) {
    case 1: return row_sums_of<S, 1>(job);
    case 2: return row_sums_of<S, 2>(job);
    case 3: return row_sums_of<S, 3>(job);
    default: return row_sums_of<S, 4>(job);
  }
}

inline void row_sums(const RowSumJob& job) {
  switch (job.x.type) {
    case StoredType::uint8: return row_sums_of<std::uint8_t>(job);
    case StoredType::float16: return row_sums_of<Half>(job);
    case StoredType::float32: return row_sums_of<float>(job);
    case StoredType::float64: return row_sums_of<double>(job);
  }
}

template <class T, int Lanes>
struct Lanewise {
  typedef T Type [[gnu::vector_size(Lanes * sizeof(T))]];
};

template <class Vector, class T>
ONELAYER_INLINE void add_to(T* at, const Vector& values) {
  Vector sums;
  __builtin_memcpy(&sums, at, sizeof sums);
  sums += values;
  __builtin_memcpy(at, &sums, sizeof sums);
}

// Sums of a class's rows stay in registers, and so do the halves of all squares, which 16 bits hold.
template <int Lanes, int Count>
ONELAYER_INLINE void add_bytes(const ByteSumJob& job, Index d) {
  using Bytes = typename Lanewise<std::uint8_t, Lanes>::Type;
  using Words = typename Lanewise<std::uint16_t, Lanes>::Type;
  Words low[Count] = {}, high[Count] = {};
  for (Index n = 0; n < job.count;) {
    const Index label = job.labels[n];
    Words sums[Count] = {};
    for (; n < job.count && job.labels[n] == label; ++n) {
      __builtin_prefetch(job.next[n] + d, 0, 2);
#pragma GCC unroll 4
      for (int i = 0; i < Count; ++i) {
        Bytes bytes;
        __builtin_memcpy(&bytes, job.rows[n] + d + i * Lanes, sizeof bytes);
        const Words x = __builtin_convertvector(bytes, Words), square = x * x;
        sums[i] += x;
        low[i] += square & 255;
        high[i] += square >> 8;
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < Count; ++i) add_to(job.sums + label * job.sum_stride + d + i * Lanes, sums[i]);
  }
  for (int i = 0; i < Count; ++i)
    for (int lane = 0; lane < Lanes; ++lane)
      job.squares[d + i * Lanes + lane] += low[i][lane] + 256u * high[i][lane];
}

inline void byte_sums(const ByteSumJob& job) {
  Index d = 0;
  for (; d + 64 <= job.features; d += 64) add_bytes<32, 2>(job, d);
  for (; d + 16 <= job.features; d += 16) add_bytes<16, 1>(job, d);
  for (; d < job.features; ++d)
    for (Index n = 0; n < job.count; ++n) {
      const std::uint32_t x = static_cast<std::uint8_t>(job.rows[n][d]);
      std::uint16_t& sum = job.sums[job.labels[n] * job.sum_stride + d];
      sum = static_cast<std::uint16_t>(sum + x);
      job.squares[d] += x * x;
    }
}

}  // namespace onelayer::ONELAYER_KERNELS
