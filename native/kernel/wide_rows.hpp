// Sparse rows by fewer features, without a copy of what is not needed again and again.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sparse_passes.hpp"

namespace onelayer {

// Some of D features, a bit for each.
class FeatureSet {
 public:
  FeatureSet() = default;
  explicit FeatureSet(std::vector<std::uint64_t> bits);
  Index count() const { return count_; }
  Index words() const { return static_cast<Index>(bits_.size()); }
  bool has(Index d) const {
    const auto at = static_cast<std::size_t>(d);
    return bits_[at / 64] >> (at % 64) & 1;
  }
  // How many features of the set are below one.
  Index place(Index d) const {
    const auto at = static_cast<std::size_t>(d);
    return before_[at / 64] + ones(bits_[at / 64] & ((std::uint64_t{1} << (at % 64)) - 1));
  }
  // Lists the features of a word, 64 of which there may be; returns the place of the first.
  Index list(Index word, Index* features, Index& count) const;

 private:
  // Of a machine that may have no instruction for it.
  static Index ones(std::uint64_t bits) {
    bits -= (bits >> 1) & 0x5555555555555555u;
    bits = (bits & 0x3333333333333333u) + ((bits >> 2) & 0x3333333333333333u);
    return static_cast<Index>(((bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0Fu) * 0x0101010101010101u >> 56);
  }

  std::vector<std::uint64_t> bits_;
  std::vector<std::int32_t> before_;  // how many are in the set before those of a word
  Index count_ = 0;
};

// The features that rows 0 .. count store, and those that more than one of them does.
struct StoredFeatures {
  StoredFeatures(const StoredMatrix& x, Index count, Index D, int threads);
  FeatureSet any, several;
};

// What a row has of its own, by its features.
struct OwnValues {
  std::vector<Index> features, places;
  std::vector<double> values;
  Index count = 0;
};

// Rows by the features that are stored, or as they are where nearly all features are. Where most stored values are of
// features that a single row has, its own, rows keep the others, in a copy: of its own features a row's square tells a
// search enough, whose weights there are a multiple of the row.
class WideRows {
 public:
  // Counts features; `make` does the rest.
  explicit WideRows(const Pass& pass);
  Index stored() const { return stored_; }
  bool has_own() const { return has_own_; }
  void make();

  const Pass& pass() const { return pass_; }  // by the features that are kept
  std::vector<double> take_squares() { return std::move(squares_); }  // (N,), of whole rows
  // (N,), of what rows have of their own, or null.
  const double* own_squares() const { return has_own_ ? own_squares_.data() : nullptr; }
  Index features() const { return D_; }

  // Calls work(features, their number, the place of the first) for kept features, some threads at a time.
  template <class Work>
  void by_features(const Work& work) const {
    const Index words = ceil_div(D_, Index{64}), used = max(1, min(pass_.threads, words / 1024));
    run_threads(static_cast<int>(used), [&](int thread) {
      Index features[64], count = 0;
      for (Index word = part_begin(words, used, thread); word < part_begin(words, used, thread + 1); ++word) {
        Index first = 64 * word;
        if (is_numbered_)
          first = kept_.list(word, features, count);
        else
          for (count = 0; count < min(64, D_ - first); ++count) features[count] = first + count;
        work(features, count, first);
      }
    });
  }
  // What row n has of its own.
  void read_own(Index n, OwnValues& own) const;

 private:
  bool repeats_rows() const;
  template <class S> void read(const S* values, Index first, Index last, Index at);

  Pass pass_;
  const StoredMatrix x_;
  const double* const scale_;
  const Index D_;
  Index rows_, stored_ = 0;
  bool is_numbered_ = false, has_own_ = false;
  FeatureSet kept_;
  std::vector<double> squares_, own_squares_, kept_scale_;
  std::vector<Index> indptr_;
  std::unique_ptr<Buffer<std::int32_t>> indices_;
  std::unique_ptr<Buffer<char>> values_;
};

}  // namespace onelayer
