// The kernel without Python, so that sanitizers see it alone, on shapes at every boundary: against a plain float64
// loop, and bit for bit on several threads against one thread, one run and an identity order. What it computes has one
// digest on every instruction set and processor, with every compiler.
#include <algorithm>
#include <cfenv>
#include <thread>

#include "oracle.hpp"
#include "problem.hpp"
#include "kernel/pair_search.hpp"

using namespace onelayer;

namespace {

constexpr std::uint64_t kPinned = 0x85f142d236769126, kPinnedSparse = 0x68fd080236aef5dd,
                        kPinnedPair = 0xe1344f8a2b7c6306;
Digest digest;

// They cut even these problems into many parts.
constexpr Caches kSmallCaches = {4 << 10, 16 << 10}, kLargeCaches = {1 << 20, 8 << 20};

// As printf takes it on every system.
long long wide(Index count) { return count; }

template <class T>
Pass pass_over(const Data<T>& data, int threads) {
  const auto [N, D, K, R, B] = data.at;
  return {{N, D, K, R}, data.rows(StoredType::uint8, false), threads, {}, kSmallCaches};
}

template <class T>
Parameters<const T> start_weights(const Data<T>& data) {
  return {data.start.weights.W.data(), data.start.weights.b.data()};
}

template <class T>
void check_training(const Data<T>& data, double tolerance) {
  const auto [N, D, K, R, B] = data.at;
  char what[99];
  std::snprintf(what, sizeof what, "float%d N%lld D%lld K%lld R%lld B%lld %s%s", static_cast<int>(8 * sizeof(T)),
                wide(N), wide(D), wide(K), wide(R), wide(B), data.plain ? "plain" : "all settings",
                data.sparse ? ", sparse" : "");
  const State<T> one = train(data, 1);
  Oracle<T> oracle(data);
  oracle.epoch();
  CHECK(distance(one.weights.W, oracle.W) < tolerance, "W %s: %g", what, distance(one.weights.W, oracle.W));
  CHECK(distance(one.weights.b, oracle.b) < tolerance, "b %s: %g", what, distance(one.weights.b, oracle.b));
  const std::vector<T>& average = one.slots[kAverage].W;
  if (!data.plain)
    CHECK(distance(average, oracle.average) < tolerance, "A %s: %g", what, distance(average, oracle.average));
  digest.add(one);
  for (int threads : {2, 3, 5}) CHECK(train(data, threads) == one, "threads %d %s", threads, what);
  CHECK(train(data, 2, StoredType::float32, true) == one, "float32 by an identity order %s", what);
  for (const Caches& caches : {kSmallCaches, kLargeCaches}) {
    State<T> other = data.start;
    take_steps(data, other, 0, data.at.steps(), 2, StoredType::uint8, false, {}, caches);
    CHECK(other == one, "caches of %lld bytes %s", wide(caches.first), what);
  }
  std::fesetround(FE_UPWARD);
  const State<T> upward = train(data, 2);
  std::fesetround(FE_TONEAREST);
  CHECK(upward == one, "called where sums are rounded upward %s", what);
  const State<T> alone = train(data.alone(R - 1), 2);
  CHECK(std::equal(alone.weights.W.begin(), alone.weights.W.end(), one.weights.W.end() - K * D), "alone %s", what);
  const std::vector<T>& average_alone = alone.slots[kAverage].W;
  CHECK(std::equal(average_alone.begin(), average_alone.end(), average.end() - K * D), "alone, A %s", what);
  State<T> parts = data.start;
  const Index middle = data.at.steps() / 2;
  if (middle > 0) take_steps(data, parts, 0, middle, 2, StoredType::uint8, true);
  take_steps(data, parts, middle, data.at.steps(), 3, StoredType::uint8, true);
  CHECK(parts == one, "in two parts %s", what);
}

// The gradient is the sum of rows weighted by (p - onehot(y)) / N; computed from the scores it equals the fused pass.
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
    s[data.y[size(i % N)]] -= 1;
  }
  for (int threads : {1, 3}) {
    std::vector<double> sums(size(R * K * D));
    WeightedSumsRequest<T> request{pass_over(data, threads), factors.data(), sums.data()};
    CHECK(weighted_sums(kernels<T>(), request), "weighted sums");
    for (double& v : sums) v /= static_cast<double>(N);
    CHECK(distance(sums, gradient) < tolerance, "weighted sums %g", distance(sums, gradient));
  }
}

template <class T>
std::vector<double> check_evaluation(const Data<T>& data, const Oracle<T>& oracle, std::vector<T>& scores, double tolerance) {
  const auto [N, D, K, R, B] = data.at;
  std::vector<double> loss(size(R)), losses(size(R * N)), confidences(size(R * N));
  std::vector<EvaluateSums> sums(size(R));
  std::vector<std::int32_t> classes(size(R * N), -1), ranks(size(R * N), -1);
  EvaluateRequest<T> request{pass_over(data, 3), start_weights(data), data.method(), sums.data(),
                             {classes.data(), confidences.data(), losses.data(), ranks.data()}, scores.data()};
  CHECK(evaluate(kernels<T>(), request), "evaluate");
  for (Index r = 0; r < R; ++r) {
    std::vector<double> G(size(K * D)), g(size(K));
    const double wanted = oracle.gradient(r, 0, N, G, g) / static_cast<double>(N);
    const EvaluateSums& of_run = sums[size(r)];
    loss[size(r)] = of_run.loss / static_cast<double>(N);
    CHECK(std::fabs(loss[size(r)] - wanted) <= tolerance * wanted, "loss %g for %g", loss[size(r)], wanted);
    Index hits = 0, first = 0;
    double square = 0;
    for (Index n = 0; n < N; ++n) {
      const std::size_t at = size(r * N + n);
      hits += classes[at] == data.y[size(n)];
      first += ranks[at] == 0;
      square += losses[at] * losses[at];
    }
    CHECK(hits == of_run.correct && first == hits && of_run.right == static_cast<double>(hits), "hits");
    CHECK(std::fabs(of_run.square - square) <= 1e-12 * square, "square %g for %g", of_run.square, square);
  }
  digest.add(loss), digest.add(losses), digest.add(confidences), digest.add(ranks), digest.add(scores);
  return loss;
}

template <class T>
void check_passes(const Data<T>& data, double tolerance) {
  const auto [N, D, K, R, B] = data.at;
  const Oracle<T> oracle(data);
  std::vector<T> scores(size(R * N * K), T(-1));
  const std::vector<double> evaluated = check_evaluation(data, oracle, scores, tolerance);
  std::vector<double> loss(size(R)), G(size(R * K * D)), g(size(R * K)), rounded(size(R));
  GradientRequest<T> full{pass_over(data, 3), start_weights(data), loss.data(), G.data(), g.data(), rounded.data()};
  full_gradient(kernels<T>(), full);
  digest.add(loss), digest.add(G), digest.add(g);
  check_weighted_sums(data, scores, G, tolerance);
  for (Index r = 0; r < R; ++r) {
    std::vector<double> wanted(size(K * D)), wanted_b(size(K));
    oracle.gradient(r, 0, N, wanted, wanted_b);
    for (double& v : wanted) v /= static_cast<double>(N);
    const std::vector<double> got(G.begin() + r * K * D, G.begin() + (r + 1) * K * D);
    CHECK(distance(got, wanted) < tolerance, "gradient %g", distance(got, wanted));
    double squares = 0;
    for (Index n = 0; n < N; ++n) {
      std::vector<double> ignored(size(K * D)), residuals(size(K));
      oracle.gradient(r, n, n + 1, ignored, residuals);
      const Index of_tile = std::min<Index>(192, N - n / 192 * 192) - n % 192;
      const double sums = data.sparse ? 1.0 : static_cast<double>(of_tile);  // sparse rows are added in float64
      for (double v : residuals) squares += sums * sums * v * v / static_cast<double>(N);
    }
    CHECK(std::fabs(rounded[size(r)] - squares) <= tolerance * squares, "squares %g for %g", rounded[size(r)], squares);
    CHECK(std::fabs(loss[size(r)] - evaluated[size(r)]) <= tolerance * evaluated[size(r)], "loss of the gradient pass");
  }
}

// Sums of the stored values of each class and of the squares of each feature, on any number of threads.
template <class T>
void check_class_sums(const Data<T>& data) {
  const auto [N, D, K, R, B] = data.at;
  std::vector<double> wanted(size(K * D)), wanted_squares(size(D));
  for (Index n = 0; n < N; ++n)
    for (Index d = 0; d < D; ++d) {
      const double x = data.X[size(n * data.stride + d)];
      wanted[size(data.y[size(n)] * D + d)] += x;
      wanted_squares[size(d)] += x * x;
    }
  for (int threads : {1, 2, 3}) {
    std::vector<double> sums(size(K * D)), squares(size(D));
    CHECK(class_sums(kernels<T>(), ClassSumsRequest{pass_over(data, threads), sums.data(), squares.data()}), "class sums");
    CHECK(sums == wanted && squares == wanted_squares, "class sums on %d threads", threads);  // of whole numbers: exact
  }
}

// With every setting that a run may have.
template <class T>
void check_descent(const Case& c, double tolerance, double tolerance_of_losses, bool sparse = false) {
  const Data<T> data(c, false, sparse);
  check_training(data, tolerance);
  std::vector<T> scores(size(c.R * c.N * c.K));
  check_evaluation(data, Oracle<T>(data), scores, tolerance_of_losses);
}

// The search for few features of two classes: its end is where the slopes are within the penalty.
void check_pair() {
  const Index N = 2500, D = 40;
  std::mt19937 random(11);
  const auto number = [&random] { return static_cast<double>(random()) * 0x1p-31 - 1.0; };
  std::vector<float> X(size(N * D));
  std::vector<double> y, f(size(N), 1.0 / static_cast<double>(N)), one(size(D), 1.0), none(size(D));
  std::vector<Index> features;
  for (float& x : X) x = static_cast<float>(number());
  for (Index n = 0; n < N; ++n) y.push_back(X[size(n * D)] + X[size(n * D + 1)] + number() > 0.0 ? 1.0 : 0.0);
  for (Index d = 0; d < D; ++d) features.push_back(d);
  HeldColumns columns(N, D, false, one.data(), none.data());
  columns.hold(features.data(), D);
  StoredMatrix x;
  x.base = reinterpret_cast<const char*>(X.data()), x.row_bytes = D * 4, x.type = StoredType::float32;
  columns.read(x, 0, N, features.data(), D);
  std::vector<double> w(size(D)), slope(size(D)), limits(size(D), 0.01), curvatures(size(D), 0.001);
  PairSearch<HeldSteps> search(HeldSteps(columns, 2), y.data(), f.data(), nullptr, true);
  search.place(features.data(), D, w.data(), 0.0);
  search.steps.slopes(features.data(), D, search.rows.r.data(), slope.data());
  WorkingSet set{D, features.data(), limits.data(), curvatures.data(), w.data(), slope.data()};
  search.fit(set, 1e-9, 50, [] { return false; });
  search.steps.slopes(features.data(), D, search.rows.r.data(), slope.data());
  Index count = 0;
  for (std::size_t d = 0; d < w.size(); ++d) {
    const double g = slope[d] + curvatures[d] * w[d];
    count += w[d] != 0.0;
    CHECK(w[d] == 0.0 ? std::fabs(g) < 0.01 + 1e-6 : std::fabs(std::fabs(g) - 0.01) < 1e-5, "slope %g of %g", g, w[d]);
  }
  CHECK(count > 1 && count < D, "%lld features", wide(count));
  digest = {};
  digest.add(w), digest.add(slope);
  digest.add(std::vector<double>{search.rows.bias, search.rows.sums.loss,
                                 column_kernels().divergence(search.found.data(), 0.5, search.rows.job())});
  CHECK(digest.value == kPinnedPair, "the digest of a pair is %016llx", static_cast<unsigned long long>(digest.value));
}

template <class T>
void check_stop(bool plain, bool sparse = false) {
  const Index steps = 200'000;  // more than are done before the first look at should_stop
  const Data<T> data({steps, sparse ? 20 : 100, 10, 5, 1}, plain, sparse);
  State<T> stopped = data.start, wanted = data.start;
  int asked = 0;
  const Index done = take_steps(data, stopped, 0, steps, 3, StoredType::uint8, false, [&] { return ++asked > 0; });
  take_steps(data, wanted, 0, done, 1, StoredType::uint8, false);
  CHECK(done < steps && stopped == wanted, "stopped after %lld steps", wide(done));
}

}  // namespace

int main() {
  std::printf("instruction set %s, %d threads by default\n", instruction_set().c_str(), default_threads());
  const std::vector<Case> cases = {
      {1, 1, 1, 1, 1},     {5, 1, 2, 1, 2},      {7, 15, 2, 1, 1},     {33, 31, 3, 3, 8},    {40, 33, 10, 1, 40},
      {64, 257, 5, 2, 9},  {30, 700, 17, 1, 16}, {23, 785, 10, 5, 10}, {270, 64, 3, 2, 263}, {50, 96, 130, 1, 25},
      {120, 64, 10, 7, 100}, {20, 1537, 3, 1, 6}};
  for (const Case& c : cases) {
    check_training(Data<float>(c), 3e-6);
    check_training(Data<double>(c), 1e-14);
    check_descent<float>(c, 1e-5, 2e-5);
    check_descent<double>(c, 3e-14, 1e-12);
    check_passes(Data<float>(c), 2e-5);
    check_passes(Data<double>(c), 1e-12);
  }
  check_stop<float>(true);
  check_stop<float>(false);
  CHECK(digest.value == kPinned, "the digest is %016llx", static_cast<unsigned long long>(digest.value));
  digest = {};
  for (const Case& c : cases) {
    check_training(Data<float>(c, true, true), 3e-6);
    check_training(Data<double>(c, true, true), 1e-14);
    check_descent<float>(c, 1e-5, 2e-5, true);
    check_descent<double>(c, 3e-14, 1e-12, true);
    check_passes(Data<float>(c, true, true), 2e-5);
    check_passes(Data<double>(c, true, true), 1e-12);
    check_class_sums(Data<double>(c, true, true));
    check_class_sums(Data<double>(c));
  }
  check_stop<float>(true, true);
  check_stop<float>(false, true);
  CHECK(digest.value == kPinnedSparse, "the digest of sparse rows is %016llx", static_cast<unsigned long long>(digest.value));
  check_pair();
  // Two callers at once share nothing but the machine.
  const Data<float> data(cases[7]);
  const State<float> wanted = train(data, 2);
  std::thread other([&] { for (int i = 0; i < 20; ++i) CHECK(train(data, 2) == wanted, "beside"); });
  for (int i = 0; i < 20; ++i) CHECK(train(data, 3) == wanted, "beside");
  other.join();
  std::printf(failures ? "%d checks FAILED\n" : "all checks passed\n", failures);
  return failures != 0;
}
