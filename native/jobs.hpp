// What the drivers ask of a kernel: plain descriptions of work, and the table of functions that does it.
//
// The kernels are compiled once per instruction set, each into its own namespace; drivers are compiled once
// and reach them through this table only.
#pragma once

#include <cstdint>

#include "shapes.hpp"

namespace onelayer {

enum class Stored : int { uint8 = 0, float16 = 1, float32 = 2, float64 = 3 };

constexpr Index stored_bytes(Stored stored) { return Index{1} << static_cast<int>(stored); }

// Rows of X as the caller stores them. Row i of a pass is row order[i], or row i without an order; where flipped[i]
// is set, each of its lines of image_width elements is read from its last to its first.
struct RowSource {
  const char* base = nullptr;
  Index row_bytes = 0;
  const Index* order = nullptr;
  Stored stored = Stored::float32;
  const bool* flipped = nullptr;  // (rows of the pass,), or none
  Index image_width = 0;
  ONELAYER_INLINE Index row(Index i) const { return order ? order[i] : i; }
  ONELAYER_INLINE const char* at(Index i) const { return base + row(i) * row_bytes; }
};

struct Labels {
  const void* base = nullptr;
  bool wide = true;  // int64, else int32
  ONELAYER_INLINE Index at(Index row) const {
    return wide ? static_cast<const std::int64_t*>(base)[row] : static_cast<const std::int32_t*>(base)[row];
  }
};

// What a run lowers: the cross-entropy of its softmax, or the mean of K binary ones. Its targets are
// (1 - smoothing) onehot(y) + smoothing / K.
struct Objective {
  bool sigmoid = false;
  double smoothing = 0;
};

// A slice's features are made of stored values by x * scale + offset, both zero in the padding; or are those values,
// where there is no scale.
template <class T>
struct Scaling {
  const T* scale = nullptr;
  const T* offset = nullptr;
};

// scores[c][n] = factor * sum over the slice's features of w[c][d] * fma(x[n][d], scale[d], offset[d])  (+ bias[c])
// The converted rows are left in x for the backward pass.
template <class T>
struct ScoreJob {
  RowSource rows;
  Index first = 0, count = 0;             // rows of the pass
  Index begin = 0, features = 0, width = 0;  // of the slice; width is padded
  Scaling<T> scaling;
  T factor = 1;
  T* x = nullptr;
  const T* w = nullptr;
  Index stride = 0;                       // of x and of w
  Index columns = 0;
  const T* bias = nullptr;                // or none
  bool accumulate = false;                // add to what scores holds
  T* scores = nullptr;
  Index score_stride = 0;
};

// For 1 run and up to `lanes` rows: s = sum of slice scores in order, factor = p - target with p = softmax(s), or
// (sigmoid(s) - target) / K, written packed by column block; the cross-entropy sum of these rows where asked for,
// which only the plain objective is. Both are times the row's weight.
template <class T>
struct ResidualJob {
  Objective objective;
  const T* scores = nullptr;  // [slice][column][row]
  Index slices = 0, slice_stride = 0, score_stride = 0;
  Index K = 0, run = 0;
  Index row = 0, rows = 0;    // first row of the batch, how many (at most `lanes`)
  Index batch = 0;
  const RowSource* source = nullptr;
  Index first = 0;            // of the batch in the pass
  const Labels* labels = nullptr;
  const double* weights = nullptr;  // of stored rows, or none
  const ColumnBlocks* blocks = nullptr;
  T* scratch = nullptr;       // K * lanes
  T* factors = nullptr;
  double* loss = nullptr;
};

// Loss (times the row's weight), label hits and predictions of finished scores, for 1 run and up to `lanes` rows.
template <class T>
struct JudgeJob {
  Objective objective;
  const T* scores = nullptr;  // [column][row] of the run's first column and first row
  Index score_stride = 0;
  Index K = 0, rows = 0;
  const RowSource* source = nullptr;
  Index first = 0;
  const Labels* labels = nullptr;
  const double* weights = nullptr;  // of stored rows, or none
  std::int32_t* predictions = nullptr;  // or none
  double* loss = nullptr;     // added to
  Index* correct = nullptr;   // added to
};

// Stored rows that the next forward pass will read: fetched into the second-level cache while products hide it.
struct Upcoming {
  const char* const* rows = nullptr;  // where each begins, or none
  Index count = 0;
  Index begin_bytes = 0, element_bytes = 0;  // of the slice
};

// How a column steps after a batch, by the equations of step.hpp.
template <class T>
struct ColumnStep {
  T rate = 0, shrink = 1;                      // eta / B, 1 - 2 eta l2: all that a plain step needs
  T eta = 0, mean = 0, decay = 0, momentum = 0;  // mean = 1 / B, decay = 2 l2; momentum 0 is a plain step
  T share = 1;                                 // of the weights in their average; 1 leaves the average unwritten
  bool nesterov = false;
  bool averaged_before = true;                 // else the average is the weights as they were before this step
};

// G[c][d] = sum over the batch, in order, of factors[n][c] * x[n][d], for a range of column blocks; then
//   training:  the step of step.hpp
//   gradient:  gradient[c][d] += factor * G
template <class T>
struct BackwardJob {
  const T* factors = nullptr;
  const ColumnBlocks* blocks = nullptr;
  Index first_block = 0, last_block = 0;
  Index batch = 0;
  const T* x = nullptr;
  T* w = nullptr;
  T* velocity = nullptr;       // laid out like w; or none
  T* average = nullptr;        // likewise
  Index stride = 0;
  Index width = 0, features = 0;
  const ColumnStep<T>* steps = nullptr;
  bool plain = true;           // no column of these has momentum or an average to write
  T factor = 1;
  double* gradient = nullptr;  // of the slice's first feature; or none
  Index gradient_stride = 0;
  T* scratch = nullptr;        // kBackwardScratch elements
  Upcoming upcoming;
};

// sums[j] = sum over the batch, in order, of the factors of one column block
template <class T>
struct FactorSumJob {
  const T* factors = nullptr;  // of the block
  Index size = 0, batch = 0;
  T* sums = nullptr;           // kFactorPadding elements
};

inline constexpr Index kFactorPadding = 16;           // elements that may be read behind the factors
inline constexpr Index kBackwardScratch = 64 * 1024;  // elements
inline constexpr Index kMaxLanes = 16;
inline constexpr Index kMaxBlockColumns = 16;

template <class T>
struct Kernels {
  Index lanes;
  Index block_columns;  // most columns the backward pass holds in registers
  void (*score)(const ScoreJob<T>&);
  void (*residual)(const ResidualJob<T>&);
  void (*judge)(const JudgeJob<T>&);
  void (*backward)(const BackwardJob<T>&);
  void (*factor_sums)(const FactorSumJob<T>&);
};

}  // namespace onelayer
