// Coordinate descent on a quadratic with a penalty that is not smooth: the step of the solver for ℓ1.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "shapes.hpp"

namespace onelayer {

// ½ Σ_c δ_cᵀ H δ_c + Σ_c g_cᵀ δ_c + Σ_j λ_j ‖w_j + δ_j‖₂ over δ (m, n): m rows of weights that share the Hessian
// H (n, n), of which the features' columns w_j (m,) are penalised as a whole. For m = 1 that is ℓ1.
struct Quadratic {
  Index n, m;
  const double* H;
  const double* penalty;  // (n,)
  double* w;              // (m, n); w + δ in the end
  double* g;              // (m, n); the gradient at w, in the end as well
};

// The minimum over one feature while the others stay; returns h ‖δ_j‖².
inline double minimise_feature(const Quadratic& q, Index j, double* step) {
  const double h = q.H[j * q.n + j];
  if (!(h > 0.0)) return 0.0;
  double size = 0.0, moved = 0.0;
  for (Index c = 0; c < q.m; ++c) {
    step[c] = q.w[c * q.n + j] - q.g[c * q.n + j] / h;
    size += step[c] * step[c];
  }
  size = std::sqrt(size);
  const double threshold = q.penalty[j] / h, kept = size > threshold ? 1.0 - threshold / size : 0.0;
  const double* row = q.H + j * q.n;
  for (Index c = 0; c < q.m; ++c) {
    double& w = q.w[c * q.n + j];
    const double reached = kept * step[c], change = reached - w;
    if (change == 0.0) continue;
    w = reached;
    moved += change * change;
    double* g = q.g + c * q.n;
    for (Index i = 0; i < q.n; ++i) g[i] += change * row[i];
  }
  return h * moved;
}

inline bool is_zero(const Quadratic& q, Index j) {
  for (Index c = 0; c < q.m; ++c)
    if (q.w[c * q.n + j] != 0.0) return false;
  return true;
}

// Sweeps over all features, and between two of them over those that are not 0, until a sweep over all moves by no
// more than `tolerance` of the first one. Returns the number of sweeps.
inline Index coordinate_descent(const Quadratic& q, double tolerance, Index sweeps) {
  std::vector<double> step(static_cast<std::size_t>(q.m));
  double first = -1.0;
  bool all = true;
  for (Index sweep = 1; sweep <= sweeps; ++sweep) {
    double moved = 0.0;
    for (Index j = 0; j < q.n; ++j)
      if (all || !is_zero(q, j)) moved += minimise_feature(q, j, step.data());
    if (first < 0.0) first = moved;
    const bool rests = moved <= tolerance * first;
    if (rests && all) return sweep;
    all = rests;
  }
  return sweeps;
}

}  // namespace onelayer
