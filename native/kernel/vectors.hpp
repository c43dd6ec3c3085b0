// Products and combinations of long vectors, in float64: of the steps that a solver remembers.
//
// Entries are taken in blocks, and a block's products in kSums partial sums, whatever the instruction set and the number
// of threads, so the bits are the same everywhere.
#pragma once

#include "jobs.hpp"

namespace onelayer::ONELAYER_KERNELS {

// sums[i] = sum over the block's entries of rows[i] x
template <class T>
void block_products(const VectorsJob<T>& job) {
  constexpr Index sums = 32;
  for (Index i = 0; i < job.count; ++i) {
    const T *row = job.rows + i * job.stride, *x = job.x;
    double parts[sums] = {};
    Index j = 0;
    for (; j + sums <= job.entries; j += sums)
#pragma GCC unroll 32
      for (Index lane = 0; lane < sums; ++lane)
        parts[lane] += static_cast<double>(row[j + lane]) * static_cast<double>(x[j + lane]);
    for (Index lane = 0; j < job.entries; ++j, ++lane)
      parts[lane] += static_cast<double>(row[j]) * static_cast<double>(x[j]);
    for (Index half = sums / 2; half > 0; half /= 2)
      for (Index lane = 0; lane < half; ++lane) parts[lane] += parts[lane + half];
    job.sums[i] = parts[0];
  }
}

// out = factor x + sum over i of factors[i] rows[i], of the block's entries, in order
template <class T>
void block_combination(const VectorsJob<T>& job) {
  constexpr Index several = 4;
  double* const out = job.out;
  for (Index j = 0; j < job.entries; ++j) out[j] = job.factor * static_cast<double>(job.x[j]);
  Index i = 0;
  for (; i + several <= job.count; i += several) {
    const T* const row = job.rows + i * job.stride;
    const double* const f = job.factors + i;
    for (Index j = 0; j < job.entries; ++j) {
      double sum = out[j];
      for (Index k = 0; k < several; ++k) sum += f[k] * static_cast<double>(row[k * job.stride + j]);
      out[j] = sum;
    }
  }
  for (; i < job.count; ++i)
    for (Index j = 0; j < job.entries; ++j)
      out[j] += job.factors[i] * static_cast<double>(job.rows[i * job.stride + j]);
}

}  // namespace onelayer::ONELAYER_KERNELS
