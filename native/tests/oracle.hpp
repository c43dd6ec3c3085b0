// The equations in plain float64 loops.
#pragma once

#include <algorithm>
#include <cmath>

#include "problem.hpp"

namespace onelayer {

// Replaces one row's scores s by its residuals; returns the loss.
inline double residual(std::vector<double>& s, Index label, const LossKind& loss_kind) {
  const double K = static_cast<double>(s.size()), top = *std::max_element(s.begin(), s.end());
  double loss = 0, total = 0;
  for (double v : s) total += std::exp(v - top);
  for (std::size_t k = 0; k < s.size(); ++k) {
    const double target = (k == size(label) ? 1 - loss_kind.smoothing : 0) + loss_kind.smoothing / K, v = s[k];
    if (loss_kind.sigmoid) {
      loss += (std::log1p(std::exp(-std::fabs(v))) + std::fmax(v, 0) - target * v) / K;
      s[k] = (1 / (1 + std::exp(-v)) - target) / K;
    } else {
      loss += target * (std::log(total) - (v - top));
      s[k] = std::exp(v - top) / total - target;
    }
  }
  return loss;
}

template <class T>
struct Oracle {
  const Data<T>& data;
  std::vector<double> W, b, velocity, average;  // the last two of W alone
  explicit Oracle(const Data<T>& d)
      : data(d), W(d.start.weights.W.begin(), d.start.weights.W.end()),
        b(d.start.weights.b.begin(), d.start.weights.b.end()), velocity(W.size()), average(W.size()) {}

  double feature(Index n, Index d) const {
    const Index width = data.image_width;
    const Index read = !data.plain && data.flipped[size(n)] ? d / width * width + width - 1 - d % width : d;
    return data.X[size(n * data.stride + read)] / 255.0 + data.offset[size(d)];
  }
  // Adds the sums over rows [from, to) of run r to G and g; returns that of the losses.
  double gradient(Index r, Index from, Index to, std::vector<double>& G, std::vector<double>& g) const {
    const auto [N, D, K, R, B] = data.at;
    const LossKind loss_kind = data.method().loss_kind(r);
    double loss = 0;
    for (Index n = from; n < to; ++n) {
      std::vector<double> s;
      for (Index k = 0; k < K; ++k) {
        double sum = b[size(r * K + k)];
        for (Index d = 0; d < D; ++d) sum += W[size((r * K + k) * D + d)] * feature(n, d);
        s.push_back(sum);
      }
      loss += residual(s, data.y[size(n)], loss_kind);
      for (Index k = 0; k < K; ++k) {
        g[size(k)] += s[size(k)];
        for (Index d = 0; d < D; ++d) G[size(k * D + d)] += s[size(k)] * feature(n, d);
      }
    }
    return loss;
  }
  void step(Index r, Index t, double& w, double g, double* v, double* a) const {
    const Method method = data.method(t);
    const double momentum = method.of(kMomentum, r);
    if (v) *v = momentum * *v + g;
    const bool nesterov = method.of(kNesterov, r) != 0;
    w -= method.of(kLearningRate, r) * (!v ? g : nesterov ? g + momentum * *v : *v);
    if (!a) return;
    const double l1 = method.of(kL1, r), length = step_length(r, t);
    if (!method.groups(r)) take(length, std::fmin(std::fmax(w / length, -l1), l1), w, *v);
  }
  double step_length(Index r, Index t) const {
    const Method method = data.method(t);
    return method.of(kLearningRate, r) * (method.of(kNesterov, r) != 0 ? 1 + method.of(kMomentum, r) : 1);
  }
  // Takes a step of this length along a subgradient z of the l1 penalty.
  static void take(double length, double z, double& w, double& v) {
    w -= length * z;
    v += z;
  }
  // The l1 step of grouped classes of feature d.
  void step_group(Index r, Index t, Index d) {
    const auto [N, D, K, R, B] = data.at;
    double squares = 0;
    for (Index k = 0; k < K; ++k) squares += W[size((r * K + k) * D + d)] * W[size((r * K + k) * D + d)];
    const double length = step_length(r, t), norm = std::sqrt(squares) / length;
    const double share = norm > 0 ? std::fmin(norm, data.method(t).of(kL1, r)) / norm : 0;
    for (Index k = 0; k < K; ++k) {
      const std::size_t at = size((r * K + k) * D + d);
      take(length, W[at] / length * share, W[at], velocity[at]);
    }
  }
  void epoch() {
    const auto [N, D, K, R, B] = data.at;
    std::vector<double> bias_velocity(b.size());
    for (Index t = 0; t < data.at.steps(); ++t)
      for (Index r = 0; r < R; ++r) {
        const Index from = t * B, to = min(N, from + B);
        const double rows = static_cast<double>(to - from);
        std::vector<double> G(size(K * D)), g(size(K));
        gradient(r, from, to, G, g);
        for (Index i = 0; i < K * D; ++i) {
          const std::size_t at = size(r * K * D + i);
          step(r, t, W[at], G[size(i)] / rows + 2 * data.settings[kL2][size(r)] * W[at], &velocity[at], &average[at]);
        }
        for (Index d = 0; d < D && data.method().groups(r); ++d) step_group(r, t, d);
        for (std::size_t at = size(r * K * D); !data.plain && at < size((r + 1) * K * D); ++at)
          average[at] += data.method(t).of(kAveraging, r) * (W[at] - average[at]);
        if (data.method().of(kNoIntercept, r) != 0) std::fill(g.begin(), g.end(), 0.0);
        for (Index k = 0; k < K; ++k) step(r, t, b[size(r * K + k)], g[size(k)] / rows, &bias_velocity[size(r * K + k)], nullptr);
      }
  }
};

template <class T>
double distance(const std::vector<T>& a, const std::vector<double>& b) {
  double worst = 0, most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::fmax(worst, std::fabs(static_cast<double>(a[i]) - b[i]));
    most = std::fmax(most, std::fabs(b[i]));
  }
  return worst == 0 ? 0 : worst / most;
}

}  // namespace onelayer
