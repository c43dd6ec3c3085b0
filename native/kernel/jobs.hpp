// What the passes ask of a kernel: plain descriptions of work, and the table of functions that does it.
//
// The kernels are compiled once per instruction set, each into its own namespace; the passes are compiled once and
// reach them through this table only.
#pragma once

#include <cstdint>

#include "method.hpp"

namespace onelayer {

enum class StoredType : int { uint8 = 0, float16 = 1, float32 = 2, float64 = 3 };

constexpr Index stored_bytes(StoredType type) { return Index{1} << static_cast<int>(type); }

// X as the caller stores it. Row i of a pass is stored row order[i], or i without an order; where flipped[i] is set,
// each of its lines of image_width features is read from its last to its first.
struct StoredMatrix {
  const char* base = nullptr;
  Index row_bytes = 0;
  const Index* order = nullptr;
  StoredType type = StoredType::float32;
  const bool* flipped = nullptr;  // (rows of the pass,), or null
  Index image_width = 0;
  // Of sparse rows, whose stored values, float32 or float64, are at base: where those of each row begin, and the
  // feature of each, ascending in a row; of 8 bytes or 4, of which only the lower 4 are read.
  const Index* indptr = nullptr;
  const std::int32_t* indices = nullptr;
  Index index_words = 1;
  Index stored_last = 0;  // the last stored value
  ONELAYER_INLINE bool sparse() const { return indptr != nullptr; }
  ONELAYER_INLINE Index feature(Index j) const { return indices[j * index_words]; }
  // The first of the stored values begin .. end of a row whose feature is `least` or above.
  ONELAYER_INLINE Index lower_bound(Index begin, Index end, Index least) const {
    for (Index count = end - begin; count > 0;) {
      const Index half = count / 2, below = feature(begin + half) < least;
      begin += below ? half + 1 : 0;
      count = below ? count - half - 1 : half;
    }
    return begin;
  }
  ONELAYER_INLINE Index row(Index i) const { return order ? order[i] : i; }
  ONELAYER_INLINE const char* at(Index i) const { return base + row(i) * row_bytes; }
};

// One class a row; or of many labels a row which of them it has, 0 or 1, (stored rows, L).
struct Labels {
  const void* base = nullptr;
  bool wide = true;  // int64, else int32
  const std::uint8_t* many = nullptr;
  Index L = 0;
  ONELAYER_INLINE Index at(Index row) const {
    return wide ? static_cast<const std::int64_t*>(base)[row] : static_cast<const std::int32_t*>(base)[row];
  }
};

// The rows of a pass, already checked: labels lie in 0..K-1, the order in 0..(stored rows)-1.
struct Rows {
  StoredMatrix x;
  Labels y;
  const double* scale = nullptr;    // (D,)
  const double* offset = nullptr;   // (D,)
  const double* weights = nullptr;  // (stored rows,), or null: every row's weight is 1
  ONELAYER_INLINE Index label(Index i) const { return y.at(x.row(i)); }
  // Of many labels that of a column, of which there are L, or L for each run.
  ONELAYER_INLINE bool has(Index i, Index column) const { return y.many[x.row(i) * y.L + column % y.L] != 0; }
  ONELAYER_INLINE double weight(Index i) const { return weights ? weights[x.row(i)] : 1.0; }
};

// The first- and second-level data caches of a core, in bytes. They decide in which order scores and gradients are
// computed, and never in which order one is summed.
struct Caches { Index first, second; };

// Features of one slice: stored values times scale plus offset, both zero in the padding; or the stored values
// themselves where scale is null. Where wide_scale is given, they are computed in float64.
template <class T>
struct Scaling {
  const T* scale = nullptr;
  const T* offset = nullptr;
  const double* wide_scale = nullptr;
  const double* wide_offset = nullptr;
};

// scores[c][n] = common_scale * sum over the slice's features of w[c][d] * fma(x[n][d], scale[d], offset[d])
//                (+ bias[c])
// The converted rows are left in x for the backward pass. Without columns rows are converted and nothing is scored.
template <class T>
struct ScoreJob {
  Caches caches;
  StoredMatrix rows;
  Index first = 0, count = 0;                // rows of the pass
  Index begin = 0, features = 0, width = 0;  // of the slice; width is padded
  Scaling<T> scaling;
  T common_scale = 1;
  T* x = nullptr;                            // of `first`
  Index row_stride = 0, panel_stride = 0;    // of x; where rows are scored, they are kPanel apart
  const T* w = nullptr;
  Index stride = 0;                          // of w
  Index columns = 0;
  const T* bias = nullptr;                   // or null
  bool accumulate = false;                   // add to the values of scores
  T* scores = nullptr;
  Index score_stride = 0;
};

// One run's scores of up to `lanes` rows, from row `first` of the pass on.
template <class T>
struct LossJob {
  LossKind loss_kind;
  const T* scores = nullptr;  // [column][row], from the run's first column and the first row on
  Index score_stride = 0;
  Index run = 0, K = 0;
  const Rows* rows = nullptr;
  Index first = 0, count = 0;
  ONELAYER_INLINE Index label(Index lane) const { return rows->label(first + lane); }
  ONELAYER_INLINE double weight(Index lane) const { return rows->weight(first + lane); }
};

// Residuals of scores that are still split by slice, packed by column block; and the loss, if asked for, which only
// plain softmax and that of many labels are. Both are multiplied by the row's weight.
template <class T>
struct ResidualJob : LossJob<T> {
  Index slices = 0, slice_stride = 0;
  Index row = 0, B = 0;        // `first` in the batch; the batch's rows
  const ColumnBlocks* blocks = nullptr;
  T* scratch = nullptr;        // K * lanes
  T* residuals = nullptr;
  double* losses = nullptr;    // of these rows, or null
  double* squares = nullptr;   // of their losses' residuals, sum_k (p_k - y_k)^2, too times the weight; or null
};

// Sums over rows: of the loss, of its square and of 1 where the label is right, each times the row's weight; and the
// number of right labels.
struct EvaluateSums {
  double loss = 0, square = 0, right = 0;
  Index correct = 0;
};

// What the scores of each row say, or nulls.
struct RowFigures {
  std::int32_t* classes = nullptr;   // of the largest score
  double* confidences = nullptr;     // softmax of that score; NaN where any score is not finite
  double* losses = nullptr;          // by the run's loss
  std::int32_t* ranks = nullptr;     // how many classes come before the label: of a larger score, or equal and lower
  ONELAYER_INLINE RowFigures from(Index row) const {
    return classes ? RowFigures{classes + row, confidences + row, losses + row, ranks + row} : RowFigures{};
  }
};

// Finished scores: adds to the sums, and writes figures of the rows.
template <class T>
struct EvaluateJob : LossJob<T> {
  EvaluateSums* sums = nullptr;
  RowFigures figures;
};

// Stored rows that the next forward pass will read. The backward pass fetches them into the second-level cache.
struct NextRows {
  const char* const* rows = nullptr;         // where each begins, or null
  Index count = 0;
  Index begin_bytes = 0, element_bytes = 0;  // of the slice
};

template <class T> struct ColumnStep;  // in optimizer.hpp

// G[c][d] = sum over the batch, in order, of residuals[n][c] * x[n][d], for a range of column blocks; then
//   training:  the step of optimizer.hpp
//   gradient:  gradient[c][d] += common_scale * G
template <class T>
struct BackwardJob {
  Caches caches;
  const T* residuals = nullptr;
  const ColumnBlocks* blocks = nullptr;
  Index first_block = 0, last_block = 0;
  Index B = 0;
  const T* x = nullptr;
  Index panel_stride = 0;
  T* w = nullptr;
  SlotPointers<T> slots;                 // each laid out like w
  Index stride = 0;
  Index width = 0, features = 0;
  const ColumnStep<T>* steps = nullptr;
  bool plain = true;                     // no column has momentum, l1 or an average to write
  T common_scale = 1;
  double* gradient = nullptr;            // from the slice's first feature on; or null
  Index gradient_stride = 0;
  T* scratch = nullptr;                  // kBackwardScratch elements
  NextRows next;
};

// The step of l1 of optimizer.hpp over the classes of grouped runs, for the features begin .. end of a slice.
template <class T>
struct GroupJob {
  const ColumnStep<T>* steps = nullptr;
  Index columns = 0, K = 0;
  Index begin = 0, end = 0;  // multiples of a panel
  T* w = nullptr;
  SlotPointers<T> slots;     // each laid out like w
  Index stride = 0;
};

// sums[j] = sum over the batch, in order, of the residuals of one column block; or in float64, as totals
template <class T>
struct ResidualSumJob {
  const T* residuals = nullptr;  // of the block
  Index size = 0, B = 0;
  T* sums = nullptr;             // kResidualPadding elements, each
  double* totals = nullptr;
};

// What some features of rows add to the sums of their classes and to the squares of the features.
struct ClassSumJob {
  const char* const* rows = nullptr;  // of these features; those of a class one after another
  const char* const* next = nullptr;  // as many rows that are read after these
  StoredType type = StoredType::float32;
  Index features = 0, count = 0;
  const Index* labels = nullptr;  // of these rows, and their weights
  const double* weights = nullptr;
  double* sums = nullptr;  // [class][feature]
  Index sum_stride = 0;
  double* squares = nullptr;
};

// The same of bytes that weigh 1, in integers: exact for up to 257 rows of a class or of a job, and 65536 rows.
struct ByteSumJob {
  const char* const* rows = nullptr;
  const char* const* next = nullptr;
  Index features = 0, count = 0;
  const Index* labels = nullptr;
  std::uint16_t* sums = nullptr;  // [class][feature]
  Index sum_stride = 0;
  std::uint32_t* squares = nullptr;
};

// scores[c][n] = bias[c] + sum over stored values x of a row of w[feature][c] * (scale[feature] * x), in float64
template <class T>
struct SparseScoreJob {
  StoredMatrix rows;
  Index first = 0, count = 0;     // rows of the pass
  Index last = 0;                 // the last stored value of all rows
  const T* w = nullptr;           // [feature][column]
  Index stride = 0, columns = 0;  // of w, padded; the columns that are scored
  const double* scale = nullptr;  // or null
  const double* bias = nullptr;
  T* scores = nullptr;            // of `first`
  Index score_stride = 0;
};

// sums[feature][c] += residuals[n][c] * x, row by row, for the features begin .. end
template <class T>
struct SparseAddJob {
  StoredMatrix rows;
  Index first = 0, count = 0, last = 0;
  Index begin = 0, end = 0;
  const T* residuals = nullptr;  // of `first`
  double* sums = nullptr;
  Index stride = 0;              // of both
};

// products[n][c] = sum over stored values x of a row of w[feature][c] * (scale[feature] * x), in float64
template <class T>
struct SparseProductJob {
  StoredMatrix rows;
  Index first = 0, count = 0;     // rows of the pass
  Index last = 0;                 // the last stored value of all rows
  const T* w = nullptr;           // [feature][column]
  Index stride = 0, columns = 0;  // of w, padded, as of the products; the columns that are wanted
  const double* scale = nullptr;  // or null
  double* products = nullptr;     // of `first`
};

// sums[feature - begin][c] += factors[n][c] * x, row by row, for the features begin .. end. Row n's stored values from
// next[n] on are those of `begin` or above; it is moved to `end`.
struct SparseBlockJob {
  StoredMatrix rows;
  Index count = 0, begin = 0, end = 0;
  const double* factors = nullptr;
  Index* next = nullptr;
  double* sums = nullptr;
  Index stride = 0;  // of factors and sums
};

template <class T> struct DualSweepJob;  // in dual.hpp

// A step of features from their sums, which it sets to 0; without sums only of the steps that were missed.
template <class T>
struct SparseStepJob {
  const Index* features = nullptr;  // or null: all of begin .. end
  Index begin = 0, end = 0, stride = 0, columns = 0;
  const ColumnStep<T>* steps = nullptr;
  T* w = nullptr;
  SlotPointers<T> slots;
  double* sums = nullptr;
  const double* bias_sums = nullptr;  // (columns,)
  const double *scale = nullptr, *offset = nullptr;
  Index* stepped = nullptr;  // of each feature how many steps it has taken, or null: every one
  Index t = 0;               // the number of this step
  Index K = 0;
  const bool* grouped = nullptr;  // of each run, or null: none is
  const T *shrinks = nullptr, *thresholds = nullptr;  // (steps, stride); the latter null without l1
};

// sums[c][d] += factors[n][c] x[n][d] of stored rows and of features begin .. end, in float64 (n in order).
struct RowSumJob {
  StoredMatrix x;
  Index first = 0, count = 0, begin = 0, end = 0;
  const double* factors = nullptr;  // (rows of the pass, factor_stride)
  Index factor_stride = 0, columns = 0;  // 1 to 4 columns
  double* sums = nullptr;  // (columns, stride)
  Index stride = 0;
};

// Newton's method from a point of m classes, or for m = 1 of two, whose rows of weights are -w and w.
//
//   J = sum_n f_n l_n + 1/2 sum_d curvature_d sum_k w_kd^2
//
// It ends where |dJ/dW|^2 <= end + relative_end J and sum |dJ/db| <= bias_end J, where `most` costs were evaluated, or
// where a step fails; a gradient of more than `far` times as much has steps of another length than 1.
struct NewtonJob {
  Index N = 0, D = 0, m = 0;           // D with the bias
  const double* X = nullptr;           // (N, D), of which the last column is 1, or 0 without a bias
  const Index* y = nullptr;            // (N,)
  const double* fractions = nullptr;   // (N,)
  const double* offsets = nullptr;     // (m, N) of the scores, or null; of two classes their difference
  const double* curvatures = nullptr;  // (D,), 0 of the bias
  double end = 0, relative_end = 0, bias_end = 0, far = 0;
  Index most = 0;
  double *at = nullptr, *gradient = nullptr;  // (m, D); where it begins and ends
  double cost = 0;
  Index evaluated = 0;
  double* scratch = nullptr;  // of `newton_scratch` elements
};

inline constexpr Index kRowLanes = 8;  // that sums over rows are added in
ONELAYER_INLINE constexpr Index newton_scratch(Index N, Index D, Index m) {
  const Index U = m * D;
  return round_up(N, kRowLanes) * (2 * D + 5 * m + 4) + U * U + D * D + 6 * U + kRowLanes * 8;
}

// sums[n] of the words of eight bytes of each row from `begin` to `end`, each by two factors; fingerprints.hpp says how.
struct FingerprintJob {
  StoredMatrix rows;
  Index D = 0, begin = 0, end = 0;
  const std::uint64_t *first = nullptr, *second = nullptr;  // of each word, and of kMoreWords behind the last one
  std::uint64_t* sums = nullptr;
};
inline constexpr Index kMoreWords = 256;

// Some entries of `count` vectors, each `stride` further, and of one more; vectors.hpp says what becomes of them.
template <class T>
struct VectorsJob {
  const T* rows = nullptr;
  Index count = 0, stride = 0, entries = 0;
  const T* x = nullptr;
  double* sums = nullptr;           // (count,), of products
  double factor = 0;                // of a combination that of x
  const double* factors = nullptr;  // (count,)
  double* out = nullptr;            // (entries,)
};

// A feature of all rows: values as stored, float32 or float64, times scale plus offset.
struct Column {
  const void* values;
  bool wide;  // float64
  double scale, offset;
};

// Columns of n features of rows, each from where its first value goes on; float32, or float64 where they are wide.
struct ColumnReadJob {
  StoredMatrix x;
  Index count, n;
  const Index* features;
  char* const* to;
  bool wide;
};

// H[i][j] += sum over N rows of columns i and j, for i of first .. last that are this part's, and j <= i.
struct GramJob {
  const float* const* columns;
  Index first, last, N;
  double* H;
  Index stride, part, parts;
};

// Rows of two classes under scores s = base + bias, of which the labels are 0 or 1; all (N,).
struct LogisticJob {
  Index N;
  const double *base, *labels, *fractions;
  double bias;
  double *s, *p, *r, *h;  // scores, probabilities p, residuals f (p - y), and p (1 - p)
};
struct LogisticSums { double loss = 0, residual = 0, bend = 0, score = 0, own = 0; };  // of f l, r, f h, f s and f y s

// What solving for few features of two classes takes of an instruction set; in columns.hpp.
struct ColumnKernels {
  void (*read)(const ColumnReadJob&);
  double (*sum)(const Column&, Index N, const double* factors);
  void (*add)(const Column&, Index first, Index last, double weight, double* scores);
  // A column times roots, and its sum times the factors.
  double (*scaled)(const Column&, Index N, const double* factors, const double* roots, float* scaled);
  void (*gram)(const GramJob&);
  LogisticSums (*logistic)(const LogisticJob&);
  // Sum of f KL(q || p) for q = kept * found + (1 - kept) y.
  double (*divergence)(const double* found, double kept, const LogisticJob&);
};

// Arrays over rows that these kernels read are padded to whole ones.
inline constexpr Index kColumnLanes = 32;

inline constexpr Index kResidualPadding = 16;         // elements that may be read behind the residuals
inline constexpr Index kBackwardScratch = 64 * 1024;  // elements
inline constexpr Index kMaxLanes = 16;
inline constexpr Index kMaxBlockColumns = 16;

template <class T>
struct Kernels {
  Index lanes;
  Index sharing;        // columns whose weights share a vector
  Index block_columns;  // most columns the backward pass holds in registers
  void (*score)(const ScoreJob<T>&);
  void (*residual)(const ResidualJob<T>&);
  void (*evaluate)(const EvaluateJob<T>&);
  void (*backward)(const BackwardJob<T>&);
  void (*step_groups)(const GroupJob<T>&);
  void (*residual_sums)(const ResidualSumJob<T>&);
  void (*class_sums)(const ClassSumJob&);
  void (*row_sums)(const RowSumJob&);
  void (*add_scaled)(double* sums, const double* x, double factor, Index count);
  void (*byte_sums)(const ByteSumJob&);
  void (*sparse_scores)(const SparseScoreJob<T>&);
  void (*sparse_add)(const SparseAddJob<T>&);
  void (*sparse_step)(const SparseStepJob<T>&);
  void (*newton)(NewtonJob&);
  void (*row_words)(const FingerprintJob&);
  void (*block_products)(const VectorsJob<T>&);
  void (*block_combination)(const VectorsJob<T>&);
  void (*sparse_products)(const SparseProductJob<T>&);
  void (*sparse_block)(const SparseBlockJob&);
  void (*dual_sweep)(DualSweepJob<T>&);
};

}  // namespace onelayer
