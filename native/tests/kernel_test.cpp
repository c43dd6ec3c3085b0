// The kernel over shapes at every boundary, without Python, so that sanitizers see it alone: against a plain
// float64 loop, on several threads, and bit for bit against one thread, one run and an identity order.
#include <cmath>
#include <cstdio>
#include <random>
#include <thread>
#include <vector>

#include "dispatch.hpp"
#include "passes.hpp"

using namespace onelayer;

namespace {

int failures = 0;

#define CHECK(condition, ...)                            \
  do {                                                   \
    if (!(condition)) {                                  \
      ++failures;                                        \
      std::printf("FAILED %s:%d ", __FILE__, __LINE__);  \
      std::printf(__VA_ARGS__);                          \
      std::printf("\n");                                 \
    }                                                    \
  } while (0)

struct Case {
  Index N, D, K, R, B;
};

template <class T>
struct Data {
  Case at;
  Index stride;
  std::vector<unsigned char> X;
  std::vector<float> X_float;
  std::vector<std::int64_t> y, identity;
  std::vector<T> W, b;
  std::vector<double> eta, l2, scale, offset;

  explicit Data(const Case& c) : at(c), stride(c.D + 3) {
    std::mt19937 random(7);
    const auto size = [](Index n) { return static_cast<std::size_t>(n); };
    std::normal_distribution<double> normal;
    // The last row ends with its last feature: a read behind it is a read behind the allocation.
    X.resize(size(stride * (c.N - 1) + c.D));
    for (auto& x : X) x = static_cast<unsigned char>(random() % 256);
    X_float.assign(X.begin(), X.end());
    for (Index n = 0; n < c.N; ++n) y.push_back(static_cast<Index>(random() % static_cast<unsigned>(c.K)));
    for (Index n = 0; n < c.N; ++n) identity.push_back(n);
    W.resize(size(c.R * c.K * c.D));
    b.resize(size(c.R * c.K));
    for (auto& w : W) w = static_cast<T>(0.05 * normal(random));
    for (auto& v : b) v = static_cast<T>(0.05 * normal(random));
    for (Index r = 0; r < c.R; ++r) eta.push_back(0.01 * static_cast<double>(r + 1)), l2.push_back(0.1 * static_cast<double>(r));
    scale.assign(size(c.D), 1 / 255.0);
    offset.assign(size(c.D), c.N % 2 ? -0.25 : 0);  // without one, the common factor leaves the sums
  }
  Rows rows(Stored stored, bool ordered) const {
    const char* base = stored == Stored::uint8 ? reinterpret_cast<const char*>(X.data())
                                               : reinterpret_cast<const char*>(X_float.data());
    return {{base, stride * stored_bytes(stored), ordered ? identity.data() : nullptr, stored},
            {y.data(), true}, scale.data(), offset.data()};
  }
};

template <class T>
struct Weights {
  std::vector<T> W, b;
  bool operator==(const Weights&) const = default;
};

template <class T>
Weights<T> train(const Data<T>& data, int threads, Stored stored, bool ordered) {
  Weights<T> out{data.W, data.b};
  TrainRequest<T> request{{data.at.N, data.at.D, data.at.K, data.at.R}, data.rows(stored, ordered), data.at.B,
                          out.W.data(), out.b.data(), data.eta.data(), data.l2.data(), threads, {}};
  CHECK(train_epoch(kernels<T>(), request) == ceil_div(data.at.N, smaller(data.at.B, data.at.N)), "steps");
  return out;
}

template <class T>
Weights<T> train_alone(const Data<T>& data, Index r) {
  const Case& c = data.at;
  Weights<T> out{{data.W.begin() + r * c.K * c.D, data.W.begin() + (r + 1) * c.K * c.D},
                 {data.b.begin() + r * c.K, data.b.begin() + (r + 1) * c.K}};
  TrainRequest<T> request{{c.N, c.D, c.K, 1}, data.rows(Stored::uint8, false), c.B, out.W.data(), out.b.data(),
                          data.eta.data() + r, data.l2.data() + r, 2, {}};
  train_epoch(kernels<T>(), request);
  return out;
}

// p - onehot of one row, in place of its scores; returns its loss.
double residual(std::vector<double>& s, Index label) {
  double top = s[0], total = 0;
  for (double v : s) top = std::fmax(top, v);
  const double own = s[static_cast<std::size_t>(label)] - top;
  for (double& v : s) total += v = std::exp(v - top);
  for (double& v : s) v /= total;
  s[static_cast<std::size_t>(label)] -= 1;
  return std::log(total) - own;
}

template <class T>
struct Oracle {
  const Data<T>& data;
  std::vector<double> W, b;
  explicit Oracle(const Data<T>& d) : data(d), W(d.W.begin(), d.W.end()), b(d.b.begin(), d.b.end()) {}

  double feature(Index n, Index d) const {
    return data.X[static_cast<std::size_t>(n * data.stride + d)] / 255.0 + data.offset[static_cast<std::size_t>(d)];
  }
  // Sums over rows [from, to) of run r.
  double gradient(Index r, Index from, Index to, std::vector<double>& G, std::vector<double>& g) const {
    const auto [N, D, K, R, B] = data.at;
    double loss = 0;
    for (Index n = from; n < to; ++n) {
      std::vector<double> s;
      for (Index k = 0; k < K; ++k) {
        double sum = b[static_cast<std::size_t>(r * K + k)];
        for (Index d = 0; d < D; ++d) sum += W[static_cast<std::size_t>((r * K + k) * D + d)] * feature(n, d);
        s.push_back(sum);
      }
      loss += residual(s, data.y[static_cast<std::size_t>(n)]);
      for (Index k = 0; k < K; ++k) {
        g[static_cast<std::size_t>(k)] += s[static_cast<std::size_t>(k)];
        for (Index d = 0; d < D; ++d)
          G[static_cast<std::size_t>(k * D + d)] += s[static_cast<std::size_t>(k)] * feature(n, d);
      }
    }
    return loss;
  }
  void epoch() {
    const auto [N, D, K, R, B] = data.at;
    for (Index from = 0; from < N; from += B)
      for (Index r = 0; r < R; ++r) {
        const Index to = smaller(N, from + B);
        std::vector<double> G(static_cast<std::size_t>(K * D)), g(static_cast<std::size_t>(K));
        gradient(r, from, to, G, g);
        const double eta = data.eta[static_cast<std::size_t>(r)], rate = eta / static_cast<double>(to - from);
        const double shrink = 1 - 2 * eta * data.l2[static_cast<std::size_t>(r)];
        for (Index i = 0; i < K * D; ++i) {
          double& w = W[static_cast<std::size_t>(r * K * D + i)];
          w = w * shrink - rate * G[static_cast<std::size_t>(i)];
        }
        for (Index k = 0; k < K; ++k) b[static_cast<std::size_t>(r * K + k)] -= rate * g[static_cast<std::size_t>(k)];
      }
  }
};

template <class T>
double distance(const std::vector<T>& a, const std::vector<double>& b) {
  double worst = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::fmax(worst, std::fabs(static_cast<double>(a[i]) - b[i]));
    size = std::fmax(size, std::fabs(b[i]));
  }
  return worst == 0 ? 0 : worst / size;
}

template <class T>
void check_training(const Data<T>& data, double tolerance, const char* what) {
  const auto [N, D, K, R, B] = data.at;
  const Weights<T> one = train(data, 1, Stored::uint8, false);
  Oracle<T> oracle(data);
  oracle.epoch();
  CHECK(distance(one.W, oracle.W) < tolerance, "W %s N%ld D%ld K%ld R%ld B%ld: %g", what, N, D, K, R, B, distance(one.W, oracle.W));
  CHECK(distance(one.b, oracle.b) < tolerance, "b %s N%ld D%ld K%ld R%ld B%ld: %g", what, N, D, K, R, B, distance(one.b, oracle.b));
  for (int threads : {2, 3, 5}) CHECK(train(data, threads, Stored::uint8, false) == one, "threads %d", threads);
  CHECK(train(data, 2, Stored::float32, true) == one, "float32 by an identity order");
  const Weights<T> alone = train_alone(data, R - 1);
  CHECK(std::equal(alone.W.begin(), alone.W.end(), one.W.end() - K * D), "run alone %s D%ld K%ld R%ld B%ld", what, D, K, R, B);
}

// The gradient is the rows' sum weighted by (p - onehot(y)) / N: the same from the scores as from the fused pass.
template <class T>
void check_weighted_sums(const Data<T>& data, const std::vector<T>& scores, const std::vector<double>& gradient,
                         double tolerance) {
  const auto [N, D, K, R, B] = data.at;
  std::vector<T> factors = scores;
  for (Index i = 0; i < R * N; ++i) {
    T* s = factors.data() + i * K;
    const T top = *std::max_element(s, s + K);
    T total = 0;
    for (Index k = 0; k < K; ++k) total += s[k] = std::exp(s[k] - top);
    for (Index k = 0; k < K; ++k) s[k] /= total;
    s[data.y[static_cast<std::size_t>(i % N)]] -= 1;
  }
  for (int threads : {1, 3}) {
    std::vector<double> sums(static_cast<std::size_t>(R * K * D));
    WeightedSumsRequest<T> request{{N, D, K, R}, data.rows(Stored::uint8, false), factors.data(), sums.data(), threads, {}};
    CHECK(weighted_sums(kernels<T>(), request), "weighted sums");
    for (double& v : sums) v /= static_cast<double>(N);
    CHECK(distance(sums, gradient) < tolerance, "weighted sums %g", distance(sums, gradient));
  }
}

template <class T>
void check_passes(const Data<T>& data, double tolerance) {
  const auto [N, D, K, R, B] = data.at;
  std::vector<double> loss(static_cast<std::size_t>(R)), loss2 = loss, G(static_cast<std::size_t>(R * K * D)), g(static_cast<std::size_t>(R * K));
  std::vector<Index> correct(static_cast<std::size_t>(R));
  std::vector<std::int32_t> classes(static_cast<std::size_t>(R * N), -1);
  std::vector<T> scores(static_cast<std::size_t>(R * N * K), T(-1));
  EvaluateRequest<T> evaluation{{N, D, K, R}, data.rows(Stored::uint8, false), data.W.data(), data.b.data(),
                                loss.data(), correct.data(), classes.data(), scores.data(), 3, {}};
  CHECK(evaluate(kernels<T>(), evaluation), "evaluate");
  GradientRequest<T> full{{N, D, K, R}, data.rows(Stored::uint8, false), data.W.data(), data.b.data(),
                          loss2.data(), G.data(), g.data(), 3, {}};
  full_gradient(kernels<T>(), full);
  check_weighted_sums(data, scores, G, tolerance);
  const Oracle<T> oracle(data);
  for (Index r = 0; r < R; ++r) {
    std::vector<double> wanted(static_cast<std::size_t>(K * D)), wanted_b(static_cast<std::size_t>(K));
    const double wanted_loss = oracle.gradient(r, 0, N, wanted, wanted_b) / static_cast<double>(N);
    for (double& v : wanted) v /= static_cast<double>(N);
    const std::vector<double> got(G.begin() + r * K * D, G.begin() + (r + 1) * K * D);
    CHECK(distance(got, wanted) < tolerance, "gradient %g", distance(got, wanted));
    CHECK(std::fabs(loss[static_cast<std::size_t>(r)] - wanted_loss) <= tolerance * wanted_loss, "loss");
    CHECK(std::fabs(loss2[static_cast<std::size_t>(r)] - wanted_loss) <= tolerance * wanted_loss, "loss of the gradient pass");
    Index hits = 0;
    for (Index n = 0; n < N; ++n) hits += classes[static_cast<std::size_t>(r * N + n)] == data.y[static_cast<std::size_t>(n)];
    CHECK(hits == correct[static_cast<std::size_t>(r)], "hits");
  }
}

template <class T>
void check_stop() {
  const Data<T> data({4000, 300, 10, 2, 1});
  Weights<T> out{data.W, data.b};
  int asked = 0;
  TrainRequest<T> request{{4000, 300, 10, 2}, data.rows(Stored::uint8, false), 1, out.W.data(), out.b.data(),
                          data.eta.data(), data.l2.data(), 3, [&] { return ++asked > 0; }};
  const Index done = train_epoch(kernels<T>(), request);
  Data<T> prefix({larger(done, 1), 300, 10, 2, 1});
  prefix.X = data.X, prefix.y = data.y, prefix.W = data.W, prefix.b = data.b, prefix.offset = data.offset;
  CHECK(train(prefix, 1, Stored::uint8, false) == out, "stopped after %ld steps", done);
}

}  // namespace

int main() {
  std::printf("instruction set %s, %d threads by default\n", instruction_set().c_str(), default_threads());
  const std::vector<Case> cases = {
      {1, 1, 1, 1, 1},     {5, 1, 2, 1, 2},      {7, 15, 2, 1, 1},     {33, 31, 3, 3, 8},    {40, 33, 10, 1, 40},
      {64, 257, 5, 2, 9},  {30, 700, 17, 1, 16}, {23, 785, 10, 5, 10}, {270, 64, 3, 2, 263}, {50, 96, 130, 1, 25},
      {120, 64, 10, 7, 100}, {20, 1537, 3, 1, 6}};
  for (const Case& c : cases) {
    check_training(Data<float>(c), 3e-6, "float32");
    check_training(Data<double>(c), 1e-14, "float64");
    check_passes(Data<float>(c), 2e-5);
    check_passes(Data<double>(c), 1e-12);
  }
  check_stop<float>();
  // Two callers at once share nothing but the machine.
  const Data<float> data(cases[7]);
  const Weights<float> wanted = train(data, 2, Stored::uint8, false);
  std::thread other([&] { for (int i = 0; i < 20; ++i) CHECK(train(data, 2, Stored::uint8, false) == wanted, "beside"); });
  for (int i = 0; i < 20; ++i) CHECK(train(data, 3, Stored::uint8, false) == wanted, "beside");
  other.join();
  std::printf(failures ? "%d checks FAILED\n" : "all checks passed\n", failures);
  return failures != 0;
}
