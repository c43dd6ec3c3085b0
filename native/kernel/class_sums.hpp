// Sums of the rows of each class, and of the squares of each feature, in float64:
//   sums[y[n]][d] += w[n] x[n][d],   squares[d] += w[n] x[n][d]^2   (n in order)
#pragma once

#include "jobs.hpp"
#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

template <class T>
ONELAYER_INLINE VecD load_wide(const T* p) {
  typedef T Vector [[gnu::vector_size(kLanes<double> * sizeof(T))]];
  Vector v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, VecD);
}

// Of Count vectors of features: several, so that rows of one class do not wait for each other's sums.
template <class T, int Count>
ONELAYER_INLINE void add_to_classes(const ClassSumJob<T>& job, Index d) {
  constexpr Index lanes = kLanes<double>;
  VecD squares[Count];
#pragma GCC unroll 8
  for (int i = 0; i < Count; ++i) squares[i] = load_unaligned<double>(job.squares + d + i * lanes);
  for (Index n = 0; n < job.count; ++n) {
    const VecD weight = splat<double>(job.weights[n]);
    const T* const row = job.x + n * job.stride + d;
    double* const sums = job.sums + job.labels[n] * job.sum_stride + d;
#pragma GCC unroll 8
    for (int i = 0; i < Count; ++i) {
      const VecD x = load_wide<T>(row + i * lanes), part = x * weight;
      store_unaligned<double>(sums + i * lanes, load_unaligned<double>(sums + i * lanes) + part);
      squares[i] += part * x;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Count; ++i) store_unaligned<double>(job.squares + d + i * lanes, squares[i]);
}

template <class T>
void class_sums(const ClassSumJob<T>& job) {
  constexpr Index lanes = kLanes<double>, several = 8 * lanes;
  Index d = 0;
  for (; d + several <= job.features; d += several) add_to_classes<T, 8>(job, d);
  for (; d + lanes <= job.features; d += lanes) add_to_classes<T, 1>(job, d);
  for (; d < job.features; ++d)
    for (Index n = 0; n < job.count; ++n) {
      const double x = static_cast<double>(job.x[n * job.stride + d]), part = x * job.weights[n];
      job.sums[job.labels[n] * job.sum_stride + d] += part;
      job.squares[d] += part * x;
    }
}

}  // namespace onelayer::ONELAYER_KERNELS
