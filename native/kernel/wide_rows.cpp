#include "wide_rows.hpp"

#include <algorithm>
#include <bit>

namespace onelayer {

namespace {

// Features are numbered anew where those that rows store are no more than this part of all.
constexpr double kMostStored = 0.8;

// Stored values from which on another thread is worth it.
constexpr Index kEntriesOfThread = 1 << 17;

int threads_of(Index entries, int threads) { return static_cast<int>(max(1, min(threads, entries / kEntriesOfThread))); }

}  // namespace

FeatureSet::FeatureSet(std::vector<std::uint64_t> bits) : bits_(std::move(bits)), before_(bits_.size()) {
  for (std::size_t word = 0; word < bits_.size(); ++word) {
    before_[word] = static_cast<std::int32_t>(count_);
    count_ += ones(bits_[word]);
  }
}

Index FeatureSet::list(Index word, Index* features, Index& count) const {
  count = 0;
  for (std::uint64_t bits = bits_[static_cast<std::size_t>(word)]; bits; bits &= bits - 1)
    features[count++] = 64 * word + std::countr_zero(bits);
  return before_[static_cast<std::size_t>(word)];
}

StoredFeatures::StoredFeatures(const StoredMatrix& x, Index count, Index D, int threads) {
  const int used = threads_of(x.indptr[count] - x.indptr[0], threads);
  const auto words = static_cast<std::size_t>(ceil_div(D, Index{64}));
  struct Word {
    std::uint64_t any = 0, several = 0;
  };
  std::vector<std::vector<Word>> of_threads(static_cast<std::size_t>(used));
  run_threads(used, [&](int thread) {
    std::vector<Word> found(words);
    for (Index j = x.indptr[part_begin(count, used, thread)]; j < x.indptr[part_begin(count, used, thread + 1)]; ++j) {
      const auto d = static_cast<std::size_t>(x.feature(j));
      const std::uint64_t bit = std::uint64_t{1} << (d % 64);
      Word& word = found[d / 64];
      word.several |= word.any & bit;
      word.any |= bit;
    }
    of_threads[static_cast<std::size_t>(thread)] = std::move(found);
  });
  std::vector<std::uint64_t> of_any(words), of_several(words);
  for (const std::vector<Word>& of : of_threads)
    for (std::size_t word = 0; word < words; ++word) {
      of_several[word] |= of[word].several | (of_any[word] & of[word].any);
      of_any[word] |= of[word].any;
    }
  any = FeatureSet(std::move(of_any));
  several = FeatureSet(std::move(of_several));
}

WideRows::WideRows(const Pass& pass) : pass_(pass), x_(pass.rows.x), scale_(pass.rows.scale), D_(pass.shape.D) {
  rows_ = x_.order ? 1 + *std::max_element(x_.order, x_.order + pass.shape.N) : pass.shape.N;
  StoredFeatures found(x_, rows_, D_, pass.threads);
  stored_ = found.any.count();
  const Index own = stored_ - found.several.count(), entries = x_.indptr[rows_] - x_.indptr[0];
  has_own_ = 2 * own > entries && !repeats_rows();
  is_numbered_ = has_own_ || static_cast<double>(stored_) <= kMostStored * static_cast<double>(D_);
  if (is_numbered_) kept_ = std::move(has_own_ ? found.several : found.any);
}

// What a row has of its own would be of two.
bool WideRows::repeats_rows() const {
  std::vector<bool> met(static_cast<std::size_t>(x_.order ? rows_ : 0));
  for (Index n = 0; x_.order && n < pass_.shape.N; ++n) {
    const auto row = static_cast<std::size_t>(x_.order[n]);
    if (met[row]) return true;
    met[row] = true;
  }
  return false;
}

void WideRows::make() {
  const Index N = pass_.shape.N, entries = x_.indptr[rows_] - x_.indptr[0];
  const Index own = has_own_ ? stored_ - kept_.count() : 0, kept = has_own_ ? entries - own : x_.indptr[rows_];
  std::vector<double> squares(static_cast<std::size_t>(rows_)), own_squares(has_own_ ? squares.size() : 0);
  squares_.swap(squares), own_squares_.swap(own_squares);
  if (is_numbered_) indices_ = std::make_unique<Buffer<std::int32_t>>(kept, Uninitialized{});
  if (has_own_) {
    const Index bytes = x_.type == StoredType::float32 ? sizeof(float) : sizeof(double);
    values_ = std::make_unique<Buffer<char>>(kept * bytes, Uninitialized{});
    indptr_.resize(static_cast<std::size_t>(rows_) + 1);
    indptr_.back() = kept;
  }
  const int used = threads_of(entries, pass_.threads);
  std::vector<Index> at(static_cast<std::size_t>(used));
  if (has_own_ && used > 1) run_threads(used - 1, [&](int thread) {  // where the rows of the next thread begin
    Index count = 0;
    for (Index j = x_.indptr[part_begin(rows_, used, thread)]; j < x_.indptr[part_begin(rows_, used, thread + 1)]; ++j)
      count += kept_.has(x_.feature(j));
    at[static_cast<std::size_t>(thread) + 1] = count;
  });
  for (std::size_t thread = 1; thread < at.size(); ++thread) at[thread] += at[thread - 1];
  run_threads(used, [&](int thread) {
    with_values(x_, [&](const auto* values) {
      read(values, part_begin(rows_, used, thread), part_begin(rows_, used, thread + 1), at[static_cast<std::size_t>(thread)]);
    });
  });
  if (x_.order) {
    for (std::vector<double>* of : {&squares_, &own_squares_}) {
      if (of->empty()) continue;
      std::vector<double> in_order(static_cast<std::size_t>(N));
      for (Index n = 0; n < N; ++n) in_order[static_cast<std::size_t>(n)] = (*of)[static_cast<std::size_t>(x_.order[n])];
      of->swap(in_order);
    }
  }
  if (!is_numbered_) return;
  StoredMatrix& x = pass_.rows.x;
  x.indices = indices_->data();
  x.index_words = 1;
  if (has_own_) {
    x.base = values_->data();
    x.indptr = indptr_.data();
    x.stored_last = kept - 1;
  }
  pass_.shape.D = max(1, kept_.count());
  if (!scale_) return;
  kept_scale_.resize(static_cast<std::size_t>(pass_.shape.D));
  by_features([&](const Index* features, Index count, Index first) {
    for (Index i = 0; i < count; ++i) kept_scale_[static_cast<std::size_t>(first + i)] = scale_[features[i]];
  });
  pass_.rows.scale = kept_scale_.data();
}

// Sums up the squares of rows, and copies what they keep to place `at` and on.
template <class S>
void WideRows::read(const S* values, Index first, Index last, Index at) {
  const StoredMatrix x = x_;
  const double* const scale = scale_;
  std::int32_t* const indices = is_numbered_ ? indices_->data() : nullptr;
  S* const kept_values = has_own_ ? reinterpret_cast<S*>(values_->data()) : nullptr;
  std::vector<Index> listed;
  for (Index row = first; row < last; ++row) {
    const Index begin = x.indptr[row], end = x.indptr[row + 1];
    const auto square_of = [&](Index j) {
      const double stored = static_cast<double>(values[j]), value = scale ? stored * scale[x.feature(j)] : stored;
      return value * value;
    };
    double square = 0, own = 0;
    if (!has_own_) {
      for (Index j = begin; j < end; ++j) square += square_of(j);
      squares_[static_cast<std::size_t>(row)] = square;
      for (Index j = begin; indices && j < end; ++j) indices[j] = static_cast<std::int32_t>(kept_.place(x.feature(j)));
      continue;
    }
    if (static_cast<Index>(listed.size()) < end - begin) listed.resize(static_cast<std::size_t>(end - begin));
    Index* const places = listed.data();
    Index count = 0;
    for (Index j = begin; j < end; ++j) {  // without branches, which would be foretold badly
      const bool is_kept = kept_.has(x.feature(j));
      const double of_value = square_of(j);
      square += of_value;
      own += of_value * static_cast<double>(!is_kept);
      places[count] = j;
      count += is_kept;
    }
    squares_[static_cast<std::size_t>(row)] = square;
    own_squares_[static_cast<std::size_t>(row)] = own;
    indptr_[static_cast<std::size_t>(row)] = at;
    for (Index i = 0; i < count; ++i, ++at) {
      const Index j = places[i];
      indices[at] = static_cast<std::int32_t>(kept_.place(x.feature(j)));
      kept_values[at] = values[j];
    }
  }
}

void WideRows::read_own(Index n, OwnValues& own) const {
  const StoredMatrix x = x_;
  const Index begin = x.indptr[x.row(n)], end = x.indptr[x.row(n) + 1];
  if (static_cast<Index>(own.places.size()) < end - begin) {
    own.places.resize(static_cast<std::size_t>(end - begin));
    own.features.resize(own.places.size());
    own.values.resize(own.places.size());
  }
  Index count = 0;
  for (Index j = begin; j < end; ++j) {  // without branches, which would be foretold badly
    own.places.data()[count] = j;
    count += !kept_.has(x.feature(j));
  }
  own.count = count;
  with_values(x_, [&](const auto* values) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      const Index j = own.places[i], d = own.features[i] = x_.feature(j);
      const double stored = static_cast<double>(values[j]);
      own.values[i] = scale_ ? stored * scale_[d] : stored;
    }
  });
}

}  // namespace onelayer
