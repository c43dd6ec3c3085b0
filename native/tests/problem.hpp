// Problems for the kernel's own test: data at every boundary, plain or with every setting that a run may have.
#pragma once

#include <array>
#include <cstdio>
#include <random>
#include <vector>

#include "kernel/dispatch.hpp"
#include "kernel/passes.hpp"

namespace onelayer {

inline int failures = 0;

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
  Index steps() const { return ceil_div(N, B); }
};

inline std::size_t size(Index n) { return static_cast<std::size_t>(n); }

// A bool that std::vector stores as one byte.
using Flag = unsigned char;
inline const bool* flags(const std::vector<Flag>& values) { return reinterpret_cast<const bool*>(values.data()); }

// Each by run, or by step and run.
using Settings = std::array<std::vector<double>, kSettings>;

template <class T>
struct Weights {
  std::vector<T> W, b;
  bool operator==(const Weights&) const = default;
};

template <class T>
struct State {
  Weights<T> weights;
  std::array<Weights<T>, kSlots> slots;
  bool operator==(const State&) const = default;
};

// FNV-1a of the bytes of numbers.
struct Digest {
  std::uint64_t value = 14695981039346656037u;
  template <class T>
  void add(const std::vector<T>& numbers) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(numbers.data());
    for (std::size_t i = 0; i < numbers.size() * sizeof(T); ++i) value = (value ^ bytes[i]) * 1099511628211u;
  }
  template <class T>
  void add(const State<T>& state) {
    add(state.weights.W), add(state.weights.b);
    for (const Weights<T>& slot : state.slots) add(slot.W), add(slot.b);
  }
};

template <class T>
struct Data {
  Case at;
  Index stride;
  std::vector<unsigned char> X;
  std::vector<float> X_float;
  std::vector<std::int64_t> y, identity;
  std::vector<Flag> flipped;
  Index image_width;
  State<T> start;
  Settings settings;
  std::vector<double> scale, offset;
  bool plain, sparse;
  // Of sparse rows the values that are not 0, in both types, their features in both, and where rows begin.
  std::vector<double> values;
  std::vector<float> values_float;
  std::vector<Index> features, indptr;
  std::vector<std::int32_t> features_narrow;

  explicit Data(const Case& c, bool plain_ = true, bool sparse_ = false)
      : at(c), stride(c.D + 3), image_width(c.D), plain(plain_), sparse(sparse_) {
    std::mt19937 random(7);
    // The last row ends with its last feature, so that a read behind it is a read behind the allocation.
    X.resize(size(stride * (c.N - 1) + c.D));
    for (auto& x : X) x = static_cast<unsigned char>(random() % 256);
    if (sparse) store_some();
    X_float.assign(X.begin(), X.end());
    for (Index n = 0; n < c.N; ++n) y.push_back(static_cast<Index>(random() % static_cast<unsigned>(c.K)));
    for (Index n = 0; n < c.N; ++n) identity.push_back(n);
    start.weights = {std::vector<T>(size(c.R * c.K * c.D)), std::vector<T>(size(c.R * c.K))};
    start.slots.fill(start.weights);
    // The standard's distributions differ between libraries; this one is the same everywhere.
    const auto number = [&random] { return static_cast<T>(static_cast<double>(random()) * 0x1p-34 - 0x1p-3); };
    for (auto& w : start.weights.W) w = number();
    for (auto& v : start.weights.b) v = number();
    scale.assign(size(c.D), 1 / 255.0);
    offset.assign(size(c.D), c.N % 2 ? -0.25 : 0);  // without one, the common scale is applied to the sums
    for (Index n = 0; n < c.N; ++n) flipped.push_back(sparse ? 0 : random() % 2);
    for (Index width = 1; width < c.D; ++width)
      if (c.D % width == 0) image_width = width;
    choose_settings();
  }

  // Keeps a sixth of the values, and of every fifth row none.
  void store_some() {
    for (Index n = 0; n < at.N; ++n) {
      indptr.push_back(static_cast<Index>(values.size()));
      for (Index d = 0; d < at.D; ++d) {
        unsigned char& x = X[size(n * stride + d)];
        if (n % 5 == 4 || x % 6 != 0) x = 0;
        if (x == 0) continue;
        values.push_back(x), values_float.push_back(x);
        features.push_back(d), features_narrow.push_back(static_cast<std::int32_t>(d));
      }
    }
    indptr.push_back(static_cast<Index>(values.size()));
  }

  void choose_settings() {
    for (Index r = 0; r < at.R; ++r) {
      const double run = static_cast<double>(r);
      settings[kL2].push_back(0.1 * run);
      settings[kL1].push_back((r + at.B) % 2 ? 0.03 : 0);
      settings[kGrouped].push_back((r + at.B) % 4 == 1);
      settings[kMomentum].push_back((r + at.N) % 2 ? 0.8 : 0);
      settings[kNesterov].push_back(r % 3 == 0);
      settings[kSigmoid].push_back(static_cast<double>((r + at.D) % 2));
      settings[kLabelSmoothing].push_back((r + at.K) % 2 ? 0.2 : 0);
      settings[kNoIntercept].push_back((r + at.D + at.K) % 3 == 0);
    }
    for (Index t = 0; t < at.steps(); ++t)
      for (Index r = 0; r < at.R; ++r) {
        settings[kLearningRate].push_back(0.01 * static_cast<double>(r + 1) *
                                          (plain ? 1 : 1 / (1 + 0.1 * static_cast<double>(t))));
        settings[kAveraging].push_back((t + r) % 3 ? 0.3 : 1);
      }
    if (plain)
      for (int i = 0; i < kSettings; ++i)
        if (i != kLearningRate && i != kL2) settings[size(i)].clear();
  }

  Rows sparse_rows(bool wide, bool ordered, Index from) const {
    StoredMatrix source;
    source.base = wide ? reinterpret_cast<const char*>(values.data()) : reinterpret_cast<const char*>(values_float.data());
    source.type = wide ? StoredType::float64 : StoredType::float32;
    source.order = ordered ? identity.data() + from : nullptr;
    source.indptr = indptr.data() + (ordered ? 0 : from);
    source.indices = wide ? reinterpret_cast<const std::int32_t*>(features.data()) : features_narrow.data();
    source.index_words = wide ? 2 : 1;
    source.stored_last = static_cast<Index>(values.size()) - 1;
    return {source, {y.data() + (ordered ? 0 : from), true}, scale.data(), offset.data()};
  }

  // Sparse rows are of float32 with narrow features in the place of bytes, else of float64 with wide ones.
  Rows rows(StoredType type, bool ordered, Index from = 0) const {
    if (sparse) return sparse_rows(type != StoredType::uint8, ordered, from);
    const char* base = type == StoredType::uint8 ? reinterpret_cast<const char*>(X.data())
                                               : reinterpret_cast<const char*>(X_float.data());
    StoredMatrix source{base, stride * stored_bytes(type), ordered ? identity.data() + from : nullptr, type};
    if (!plain) source.flipped = flags(flipped) + from, source.image_width = image_width;
    return {source, {y.data(), true}, scale.data(), offset.data()};
  }

  Method method(Index step = 0) const {
    Method m;
    for (std::size_t i = 0; i < kSettings; ++i)
      if (!settings[i].empty()) m.settings[i] = settings[i].data() + (kSettingRules[i].each_step ? step * at.R : 0);
    return m;
  }

  // Run r without the others.
  Data alone(Index r) const {
    Data one = *this;
    one.at.R = 1;
    one.start.weights = part(start.weights, r);
    for (std::size_t slot = 0; slot < kSlots; ++slot) one.start.slots[slot] = part(start.slots[slot], r);
    for (std::size_t i = 0; i < kSettings; ++i) {
      one.settings[i].clear();
      for (std::size_t at_run = size(r); at_run < settings[i].size(); at_run += size(at.R))
        one.settings[i].push_back(settings[i][at_run]);
    }
    return one;
  }
  Weights<T> part(const Weights<T>& whole, Index r) const {
    return {{whole.W.begin() + r * at.K * at.D, whole.W.begin() + (r + 1) * at.K * at.D},
            {whole.b.begin() + r * at.K, whole.b.begin() + (r + 1) * at.K}};
  }
};

// Takes steps `from` to `to`, starting from `state`.
template <class T>
Index take_steps(const Data<T>& data, State<T>& state, Index from, Index to, int threads, StoredType type, bool ordered,
                 const ShouldStop& should_stop = {}, const Caches& caches = machine_caches()) {
  const Index first = from * data.at.B, count = min(data.at.N, to * data.at.B) - first;
  const Pass pass{{count, data.at.D, data.at.K, data.at.R}, data.rows(type, ordered, first), threads, should_stop, caches};
  TrainRequest<T> request{pass, data.at.B, data.method(from), {state.weights.W.data(), state.weights.b.data()}, {}};
  for (std::size_t slot = 0; slot < kSlots; ++slot)
    if (!data.plain) request.slots[slot] = {state.slots[slot].W.data(), state.slots[slot].b.data()};
  return train_epoch(kernels<T>(), request);
}

template <class T>
State<T> train(const Data<T>& data, int threads, StoredType type = StoredType::uint8, bool ordered = false) {
  State<T> state = data.start;
  CHECK(take_steps(data, state, 0, data.at.steps(), threads, type, ordered) == data.at.steps(), "steps");
  return state;
}

}  // namespace onelayer
