// The solution of wide sparse rows by sweeps in the dual, and what proves it, in memory for little more than its weights.
//
// V lies feature by feature, as sparse.hpp has weights, by the features of WideRows; of a row's own features its W is a
// multiple of its values, rounded. What a proof needs of K x D numbers is summed up by blocks of
// features, of which all rows' values are added in the order of rows: the blocks, and so the bits, are the same for any
// number of threads.
#pragma once

#include <memory>
#include <vector>

#include "dual.hpp"
#include "wide_rows.hpp"

namespace onelayer {

struct DualSweep {
  std::vector<double> bent;  // (K, K)
  double loss = 0, off = 0;
};

// Of the rows' probabilities at a bias.
struct ClassMoments {
  double loss = 0;
  std::vector<double> g;       // (K,), their mean less that of the labels
  std::vector<double> bends;   // (K, K), what the bias bends it by
  std::vector<double> scores;  // (K, K), of each class's rows the sum of their scores times their fractions
};

struct DualSlope {
  double gradient = 0;  // ||G + 2 l2 W||^2, G that of the loss
  double weights = 0;   // ||W||^2
};

template <class T>
class DualAscent {
 public:
  // The pass has rows in order, their labels, K and no offsets; `scale` may be null. Rows are centred with an intercept.
  DualAscent(const Pass& pass, const double* fractions, double l2, bool intercept);
  Index stored_features() const { return rows_.stored(); }

  // Sweeps while the bias is b (K,).
  DualSweep sweep(const double* b);
  const std::vector<double>& shift() const { return shift_; }
  double squared_norm() const;  // of V
  double mean_length() const { return mean_length_; }  // of the squares of the rows as they are

  // Ends the sweeps: what follows is of the weights W (K, D), zeroed, of which those of rows' own features are written now.
  // W may be null where rows have none.
  void finish(T* W);
  bool has_own() const { return rows_.has_own(); }
  ClassMoments moments(const double* b);
  // Once, after the last of the moments.
  DualSlope slope(const double* b);
  void weights(T* W) const;  // the others

 private:
  const Pass& pass() const { return rows_.pass(); }
  Index columns() const { return min(stride_, pass().shape.K); }
  Index first_class() const { return pass().shape.K - columns(); }  // that of column 0
  Index rows_of_block() const { return ceil_div(pass().shape.N, kRowBlocks); }
  // Calls work(block's first feature, its last, sums) for blocks of features; sums are those of the columns of factors.
  template <class Work>
  void by_features(const double* factors, Index stride, const Work& work) const;
  // Calls work(first row, last row, number) for blocks of rows, some threads at a time.
  template <class Work>
  void by_rows(const Work& work) const;
  double* class_scores(Index n, const double* b, double* s) const;
  void prepare();
  void finish_own(T* W);
  void score();

  static constexpr Index kRowBlocks = 32, kBlockEntries = 1 << 17;

  WideRows rows_;
  const double* fractions_;
  double l2_;
  bool intercept_;
  Index stride_;
  std::vector<double> squares_, along_, shift_, at_mean_;
  double mean_square_ = 0, mean_length_ = 0;
  std::unique_ptr<Buffer<T>> V_;
  std::unique_ptr<Buffer<double>> mean_;    // (D,), with an intercept
  std::unique_ptr<Buffer<T>> r_;            // (N, K), while there are sweeps
  std::unique_ptr<Buffer<double>> scores_;  // (N, stride), after them
  // Of what rows have of their own, after sweeps: W is these factors (N, stride) times values, and what rounding added
  // to it; the sums of that times the values, and of its squares.
  std::unique_ptr<Buffer<double>> own_factors_, own_errors_;
  double own_error_squares_ = 0;
};

}  // namespace onelayer
