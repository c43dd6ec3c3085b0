// What a solver does with points W, b between two passes. A point is (K, D + 1), float64: the last column is the bias.
//
// Bits depend on neither threads nor the instruction set: sums are of blocks of entries, or of one column's classes.
#pragma once

#include <vector>

#include "jobs.hpp"

namespace onelayer {

// Vectors rows (count, n) and x (n,).
template <class T>
struct Vectors {
  const T* rows = nullptr;
  Index count = 0, n = 0;
  const T* x = nullptr;
};

// sums[i] = rows[i] x
template <class T> void products(const Kernels<T>& kernels, const Vectors<T>& vectors, int threads, double* sums);

// out = factor x + sum over i of factors[i] rows[i]
template <class T>
void combine(const Kernels<T>& kernels, const Vectors<T>& vectors, int threads, double factor, const double* factors,
             double* out);

// A point, and which of its classes have rows.
struct PointRequest {
  Index K = 0, D = 0;
  const double* at = nullptr;
  std::vector<Index> present;
  int threads = 1;
};

// The point less what all present classes share, rounded to T: as a point, and as weights.
template <class T> void without_shared(const PointRequest& request, double* out, T* W, T* b);

struct PenalizedSums { double value = 0, squares = 0; };

// gradient = 2 lambda f W plus the loss's gradients G and g of the present classes, less what these share; and
// lambda f W^2 and gradient_W^2, summed. `bends` is 2 lambda f of each feature.
PenalizedSums add_penalty(const PointRequest& request, const double* G, const double* g, const double* bends,
                          double* gradient);

}  // namespace onelayer
