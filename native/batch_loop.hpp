// Gradient steps over batches, by a team of threads, with one barrier a step.
//
// A thread owns feature slices (and, with many threads, a range of columns). For each of its slices it runs the
// backward pass of batch t and, while those weights are in its cache, the forward pass of batch t+1. At the
// barrier every slice's partial scores are there, and the softmax follows: small ones are computed by every
// thread for itself, which is quicker than a second barrier; large ones are shared out.
//
// The same loop sums the full gradient instead of stepping, where there is no method.
#pragma once

#include <atomic>
#include <chrono>
#include <limits>
#include <vector>

#include "barrier.hpp"
#include "column_steps.hpp"
#include "packed_weights.hpp"
#include "partition.hpp"
#include "passes.hpp"
#include "phases.hpp"

namespace onelayer {

template <class T>
class BatchLoop {
 public:
  struct Plan {
    Shape shape;
    const Rows* rows;
    Index batch_size;
    int threads;
    const ShouldStop* should_stop;
    const Method* method = nullptr;   // how to step; none: sum the gradient
    T* bias = nullptr;                // (R*K), stepped in place
    T* velocity_bias = nullptr;       // (R*K), or none
    T* average_bias = nullptr;        // (R*K), or none
    double* gradient = nullptr;       // (R*K, D): sums, not means
    double* gradient_bias = nullptr;  // (R*K)
    double* loss = nullptr;           // (R): sum over rows
  };

  BatchLoop(const Kernels<T>& kernels, const Plan& plan, PackedState<T>& state, const Slices& slices);
  Index run();  // batches done

 private:
  struct Own {  // what one thread writes
    Share share;
    Buffer<T> x, factors, scratch, backward_scratch;
    Buffer<double> loss;
    ColumnSteps<T> steps;
    std::vector<const char*> upcoming;  // rows of the next batch
  };

  Index batches() const { return ceil_div(plan_.shape.N, plan_.batch_size); }
  Index first(Index t) const { return t * plan_.batch_size; }
  Index count(Index t) const { return smaller(plan_.batch_size, plan_.shape.N - first(t)); }
  Index row_groups(Index t) const { return ceil_div(count(t), kernels_.lanes); }
  T* scores(Index t) { return scores_.data() + (t % 2) * slices_.count * slice_scores_; }
  T* factors(Own& own) { return shared_residuals_ ? factors_.data() : own.factors.data(); }

  Own prepare(int thread) const;
  void work(int thread);
  void forward(Own& own, Index t, Index slice);
  void residuals(Own& own, int thread, Index t);
  void residual_range(Own& own, Index t, Index from, Index to);
  void backward(Own& own, Index t, Index slice, bool last);
  void list_rows(Own& own, Index t) const;
  Upcoming upcoming(const Own& own, Index t, Index slice) const;
  void step_biases(Own& own, Index t);
  void add_loss(const Buffer<double>& loss, Index t);
  void poll(Index t);

  const Kernels<T>& kernels_;
  Plan plan_;
  PackedState<T>& state_;
  Slices slices_;
  ColumnBlocks blocks_;
  Partition partition_;
  PackedScaling<T> scaling_;
  Index score_stride_, slice_scores_;
  bool shared_residuals_;
  Buffer<T> scores_;             // two batches of [slice][column][row]: a thread may be one step ahead
  Buffer<T> factors_;            // where residuals are shared out
  Buffer<double> loss_;
  Barrier barrier_;
  std::vector<Own> own_;
  std::atomic<Index> stop_after_{std::numeric_limits<Index>::max()};
  std::chrono::steady_clock::time_point last_poll_;
};

}  // namespace onelayer
