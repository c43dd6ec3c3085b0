// Newton's method on rows that are so few that steps take microseconds: a whole descent in one call, in float64.
//
//   H_kl = sum_n f p_k ([k = l] - p_l) x x' + curvature [k = l]      or of two classes 2 sum_n f p (1 - p) x x'
//
// Lanes are over rows, whose sums are added in kRowLanes lanes and then by one tree.
#pragma once

#include "jobs.hpp"
#include "simd.hpp"

namespace onelayer::ONELAYER_KERNELS {

// A class that no row can be of; what is added to the Hessian's diagonal, relative to it; Armijo's constant; the
// shortest step; the rounding of a cost, relative to it; and steps of Newton's method on a line.
inline constexpr double kImpossible = 1e-18, kRidge = 1e-14, kSufficient = 1e-4, kMinStep = 1e-6, kCostRounding = 4e-15;
inline constexpr int kLineSteps = 2;

// Steps one after another that lower neither the cost nor its gradient: the rest is rounding.
inline constexpr int kMostStalled = 10;

// Rows of arrays whose products are summed together.
#if defined(__AVX512F__)
inline constexpr int kNewtonTile = 4;
#else
inline constexpr int kNewtonTile = 2;
#endif

class NewtonDescent {
 public:
  explicit NewtonDescent(NewtonJob& job)
      : job_(job), N_(round_up(job.N, kRowLanes)), D_(job.D), m_(job.m), U_(job.m * job.D),
        copies_(job.m == 1 ? 2 : 1) {
    double* free = job.scratch;
    const auto take = [&free](Index count) { return free = free + count, free - count; };
    X_ = take(D_ * N_), Z_ = take(D_ * N_);
    offsets_ = take(m_ * N_), S_ = take(m_ * N_), P_ = take(m_ * N_), R_ = take(m_ * N_), along_ = take(m_ * N_);
    f_ = take(N_), sign_ = take(N_), bend_ = take(N_), own_ = take(N_);
    H_ = take(U_ * U_), block_ = take(D_ * D_);
    v_ = take(U_), g_ = take(U_), trial_ = take(U_), slope_ = take(U_), step_ = take(U_), unit_ = take(U_);
    for (Index n = 0; n < job.N; ++n) {
      for (Index d = 0; d < D_; ++d) X_[d * N_ + n] = job.X[n * D_ + d];
      for (Index i = 0; job.offsets && i < m_; ++i) offsets_[i * N_ + n] = job.offsets[i * job.N + n];
      f_[n] = job.fractions[n];
      sign_[n] = job.y[n] ? 1 : -1;
    }
    for (Index i = 0; i < U_; ++i) v_[i] = job.at[i];
  }

  void run() {
    double cost = evaluate(v_, g_), lowest = cost, flattest = weights_square(g_);
    int stalled = 0;
    for (bool was_near = false; job_.evaluated < job_.most;) {
      const double size = weights_square(g_), least = job_.end + job_.relative_end * cost;
      stalled = cost < lowest - kCostRounding * lowest || size < flattest ? 0 : stalled + 1;
      if (stalled > kMostStalled) break;
      if (cost < lowest) lowest = cost;
      if (size < flattest) flattest = size;
      if (!(size > least) && (was_near || !(bias_sum(g_) > job_.bias_end * cost))) break;
      was_near = !(size > least);
      if (!find_step()) break;
      const double falls = copies_ * dot(step_, g_, U_);
      if (!(falls < 0)) break;
      double length = size > job_.far * least ? best_length() : 1, reached = 0;
      bool lower = false;
      for (; length > kMinStep && !lower && job_.evaluated < job_.most; length *= 0.5) {
        for (Index i = 0; i < U_; ++i) trial_[i] = v_[i] + length * step_[i];
        without_shared(trial_);
        reached = evaluate(trial_, slope_);
        ++job_.evaluated;
        // Where the fall is lost in rounding the slope decides.
        const bool flat = magnitude(copies_ * dot(slope_, step_, U_)) <= (1 - 2 * kSufficient) * -falls;
        lower = reached <= cost + kSufficient * length * falls || (flat && reached <= cost + kCostRounding * cost);
      }
      if (!lower) break;
      swap(v_, trial_), swap(g_, slope_);
      cost = reached;
    }
    for (Index i = 0; i < U_; ++i) job_.at[i] = v_[i], job_.gradient[i] = g_[i];
    job_.cost = cost;
  }

 private:
  static constexpr int kLane = kLanes<double>, kParts = kRowLanes / kLane;

  static double magnitude(double x) { return x < 0 ? -x : x; }
  static void swap(double*& a, double*& b) {
    double* const c = a;
    a = b, b = c;
  }
  static double dot(const double* a, const double* b, Index n) {
    double sum = 0;
    for (Index i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
  }
  static double lane_total(const double* s) {
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
  }
  // The sum over rows of what `of` gives for a vector of them.
  template <class Of>
  double row_sum(const Of& of) const {
    VecD sums[kParts] = {};
    for (Index n = 0; n < N_; n += kRowLanes)
      for (int part = 0; part < kParts; ++part) sums[part] += of(n + part * kLane);
    return lane_total(reinterpret_cast<const double*>(sums));
  }

  double weights_square(const double* g) const {
    double sum = 0;
    for (Index i = 0; i < m_; ++i) sum += dot(g + i * D_, g + i * D_, D_ - 1);
    return copies_ * sum;
  }
  double bias_sum(const double* g) const {
    double sum = 0;
    for (Index i = 0; i < m_; ++i) sum += magnitude(g[i * D_ + D_ - 1]);
    return copies_ * sum;
  }

  // Takes away what all classes share, which changes no probability.
  void without_shared(double* v) const {
    for (Index d = 0; m_ > 1 && d < D_; ++d) {
      double mean = 0;
      for (Index i = 0; i < m_; ++i) mean += v[i * D_ + d];
      mean /= static_cast<double>(m_);
      for (Index i = 0; i < m_; ++i) v[i * D_ + d] -= mean;
    }
  }

  // v x of all rows; of two classes the score of a row's own class over the other's.
  void scores_of(const double* v, const double* offsets, double* S) const {
    for (Index i = 0; i < m_; ++i)
      for (Index n = 0; n < N_; n += kLane) {
        VecD s{};
        for (Index d = 0; d < D_; ++d) s = fma(splat(copies_ * v[i * D_ + d]), load<double>(X_ + d * N_ + n), s);
        if (offsets) s += load<double>(offsets + i * N_ + n);
        if (m_ == 1) s *= load<double>(sign_ + n);
        store<double>(S + i * N_ + n, s);
      }
  }

  // The cost at v, its gradient g, and of the rows scores S, probabilities P, or p (1 - p) of two classes.
  double evaluate(const double* v, double* g) {
    scores_of(v, job_.offsets ? offsets_ : nullptr, S_);
    const double loss = m_ == 1 ? pair_losses() : softmax_losses();
    products(R_, m_, X_, D_, [&](Index i, Index d, double sum) { g[i * D_ + d] = sum; });
    double squares = 0;
    for (Index i = 0; i < U_; ++i) {
      const double pull = job_.curvatures[i % D_] * v[i];
      squares += pull * v[i];
      g[i] += pull;
    }
    without_shared(g);
    return loss + 0.5 * copies_ * squares;
  }

  double pair_losses() {
    return row_sum([&](Index n) {
      const VecD s = load<double>(S_ + n), f = load<double>(f_ + n), zero{};
      const VecD e = exp_nonpositive<double>(negative_abs<double>(s)), q = 1.0 / (1.0 + e), wrong = e * q;
      store<double>(P_ + n, wrong * q);
      store<double>(R_ + n, f * load<double>(sign_ + n) * (s > 0 ? -wrong : -q));
      return f * (log1p_unit<double>(e) - (s < 0 ? s : zero));
    });
  }

  double softmax_losses() {
    for (Index n = 0; n < job_.N; ++n) own_[n] = S_[job_.y[n] * N_ + n];
    const double loss = row_sum([&](Index n) {
      VecD top = load<double>(S_ + n), total{};
      const VecD f = load<double>(f_ + n);
      for (Index i = 1; i < m_; ++i) {
        const VecD s = load<double>(S_ + i * N_ + n);
        top = s > top ? s : top;
      }
      for (Index i = 0; i < m_; ++i) {
        const VecD e = exp_nonpositive<double>(load<double>(S_ + i * N_ + n) - top);
        total += e;
        store<double>(P_ + i * N_ + n, e);
      }
      for (Index i = 0; i < m_; ++i) {
        const VecD p = load<double>(P_ + i * N_ + n) / total;
        store<double>(P_ + i * N_ + n, p);
        store<double>(R_ + i * N_ + n, f * p);
      }
      return f * (log_from_one(total) - (load<double>(own_ + n) - top));
    });
    for (Index n = 0; n < job_.N; ++n) {
      double& own = R_[job_.y[n] * N_ + n];
      own = f_[n] * (P_[job_.y[n] * N_ + n] - 1);
    }
    return loss;
  }

  // Calls write(i, j, sum) with the sums over the rows of a_i b_j, for rows i of A and j of B, of no more than j <= i
  // where they are the same.
  template <class Write>
  void products(const double* A, Index rows_a, const double* B, Index rows_b, const Write& write, bool lower = false) const {
    constexpr int tile = kNewtonTile;
    for (Index i0 = 0; i0 < rows_a; i0 += tile)
      for (Index j0 = 0; j0 < (lower ? i0 + 1 : rows_b); j0 += tile) {
        const double *a[tile], *b[tile];
        for (int t = 0; t < tile; ++t) a[t] = A + min(i0 + t, rows_a - 1) * N_, b[t] = B + min(j0 + t, rows_b - 1) * N_;
        VecD sums[tile][tile][kParts] = {};
        for (Index n = 0; n < N_; n += kRowLanes)
#pragma GCC unroll 4
          for (int part = 0; part < kParts; ++part) {
            VecD of_b[tile];
#pragma GCC unroll 4
            for (int j = 0; j < tile; ++j) of_b[j] = load<double>(b[j] + n + part * kLane);
#pragma GCC unroll 4
            for (int i = 0; i < tile; ++i) {
              const VecD of_a = load<double>(a[i] + n + part * kLane);
#pragma GCC unroll 4
              for (int j = 0; j < tile; ++j) add_product(sums[i][j][part], of_a, of_b[j]);
            }
          }
        for (Index i = i0; i < min(i0 + tile, rows_a); ++i)
          for (Index j = j0; j < min(j0 + tile, lower ? i + 1 : rows_b); ++j)
            write(i, j, lane_total(reinterpret_cast<const double*>(sums[i - i0][j - j0])));
      }
  }

  // The sum over the rows of bend x x', (D, D), into block_.
  void gram() {
    for (Index d = 0; d < D_; ++d)
      for (Index n = 0; n < N_; n += kLane)
        store<double>(Z_ + d * N_ + n, load<double>(bend_ + n) * load<double>(X_ + d * N_ + n));
    products(Z_, D_, X_, D_, [&](Index i, Index j, double sum) { block_[i * D_ + j] = block_[j * D_ + i] = sum; }, true);
  }

  // The upper triangle of the Hessian.
  void hessian() {
    for (Index k = 0; k < m_; ++k)
      for (Index l = k; l < m_; ++l) {
        for (Index n = 0; n < N_; n += kLane) {
          const VecD f = load<double>(f_ + n), p = load<double>(P_ + k * N_ + n), q = load<double>(P_ + l * N_ + n);
          store<double>(bend_ + n, m_ == 1 ? f * (p + p) : k == l ? f * (p * (1.0 - p)) : f * (-p * q));
        }
        gram();
        for (Index i = 0; i < D_; ++i)
          for (Index j = 0; j < D_; ++j) H_[(k * D_ + i) * U_ + l * D_ + j] = block_[i * D_ + j];
      }
    // Each feature, and the bias, has a curvature of its own size; that of a constant one is 0. What all classes share
    // changes no probability: a curvature keeps it out of the step.
    for (Index d = 0; d < D_; ++d) {
      double size = 0;
      for (Index k = 0; k < m_; ++k) size += H_[(k * D_ + d) * (U_ + 1)];
      size /= static_cast<double>(m_);
      const double ridge = (size > 0 ? kRidge * size : 1) + job_.curvatures[d];
      for (Index k = 0; k < m_; ++k) {
        H_[(k * D_ + d) * (U_ + 1)] += ridge;
        for (Index l = k; m_ > 1 && l < m_; ++l) H_[(k * D_ + d) * U_ + l * D_ + d] += size / static_cast<double>(m_);
      }
    }
  }

  bool is_possible(Index k) const {
    for (Index n = 0; n < job_.N; ++n)
      if (P_[k * N_ + n] >= kImpossible) return true;
    return false;
  }

  // The step -H^-1 g, by H = R'R in units in which every curvature is 1; false where H has no such factors.
  bool find_step() {
    for (Index k = 0; m_ > 1 && k < m_; ++k)
      if (!is_possible(k)) return false;  // the cost hardly depends on the bias of such a class
    hessian();
    for (Index i = 0; i < U_; ++i) unit_[i] = 1 / __builtin_sqrt(H_[i * (U_ + 1)]);
    for (Index i = 0; i < U_; ++i) {
      for (Index j = i; j < U_; ++j) H_[i * U_ + j] *= unit_[i] * unit_[j];
      H_[i * (U_ + 1)] = 1;
    }
    for (Index k = 0; k < U_; ++k) {
      double* const row = H_ + k * U_;
      if (!(row[k] > 0)) return false;
      const double root = __builtin_sqrt(row[k]);
      for (Index j = k; j < U_; ++j) row[j] /= root;
      for (Index i = k + 1; i < U_; ++i)
        for (Index j = i; j < U_; ++j) H_[i * U_ + j] -= row[i] * row[j];
    }
    for (Index i = 0; i < U_; ++i) step_[i] = -unit_[i] * g_[i];
    for (Index k = 0; k < U_; ++k) {
      step_[k] /= H_[k * (U_ + 1)];
      for (Index j = k + 1; j < U_; ++j) step_[j] -= H_[k * U_ + j] * step_[k];
    }
    for (Index k = U_ - 1; k >= 0; --k) {
      for (Index j = k + 1; j < U_; ++j) step_[k] -= H_[k * U_ + j] * step_[j];
      step_[k] /= H_[k * (U_ + 1)];
    }
    for (Index i = 0; i < U_; ++i) step_[i] *= unit_[i];
    return true;
  }

  // About how far along the step the cost is lowest, by Newton's steps on the line from 1.
  double best_length() {
    scores_of(step_, nullptr, along_);
    double slope = 0, steep = 0, length = 1;
    for (Index i = 0; i < U_; ++i) {
      slope += copies_ * job_.curvatures[i % D_] * v_[i] * step_[i];
      steep += copies_ * job_.curvatures[i % D_] * step_[i] * step_[i];
    }
    for (Index n = 0; m_ > 1 && n < job_.N; ++n) own_[n] = along_[job_.y[n] * N_ + n];
    if (m_ > 1) slope -= row_sum([&](Index n) { return load<double>(f_ + n) * load<double>(own_ + n); });
    for (int turn = 0; turn < kLineSteps; ++turn) {
      const double first = row_sum([&](Index n) { return line_row(n, length); });
      const double falls = slope + length * steep + first;
      const double bends = steep + row_sum([&](Index n) { return load<double>(bend_ + n); });
      if (!(bends > 0)) break;
      const double reached = length - falls / bends, least = length / 2, most = 4 * length;
      length = reached < least ? least : reached > most ? most : reached;
    }
    return length;
  }

  // The slope of rows' losses on the line; their curvature is left in bend_.
  VecD line_row(Index n, double length) {
    const VecD f = load<double>(f_ + n);
    if (m_ == 1) {
      const VecD along = load<double>(along_ + n), s = load<double>(S_ + n) + length * along;
      const VecD e = exp_nonpositive<double>(negative_abs<double>(s)), q = 1.0 / (1.0 + e), p = s > 0 ? e * q : q;
      store<double>(bend_ + n, f * (p * (1.0 - p)) * along * along);
      return -f * p * along;
    }
    VecD top{}, total{}, first{}, second{};
    for (Index i = 0; i < m_; ++i) {
      const VecD s = load<double>(S_ + i * N_ + n) + length * load<double>(along_ + i * N_ + n);
      top = i && top > s ? top : s;
    }
    for (Index i = 0; i < m_; ++i) {
      const VecD along = load<double>(along_ + i * N_ + n);
      const VecD e = exp_nonpositive<double>(load<double>(S_ + i * N_ + n) + length * along - top);
      total += e, first += e * along, second += e * along * along;
    }
    first /= total, second /= total;
    store<double>(bend_ + n, f * (second - first * first));
    return f * first;
  }

  NewtonJob& job_;
  const Index N_, D_, m_, U_;  // N_ is padded by rows of no weight
  const double copies_;        // rows of weights that each of m stands for
  double *X_, *Z_;             // (D, N)
  double *offsets_, *S_, *P_, *R_, *along_;     // (m, N)
  double *f_, *sign_, *bend_, *own_;            // (N,)
  double *H_, *block_;                          // (U, U), (D, D)
  double *v_, *g_, *trial_, *slope_, *step_, *unit_;  // (m, D)
};

inline void newton(NewtonJob& job) { NewtonDescent(job).run(); }

}  // namespace onelayer::ONELAYER_KERNELS
