// Gradient steps over batches, on several threads, with one barrier a step.
//
// A thread owns feature slices (and, with many threads, a range of columns). For each of its slices it runs the
// backward pass of batch t and, while those weights are in its cache, the forward pass of batch t+1. At the barrier
// every slice's partial scores are complete, and the residuals follow: small ones are computed by every thread for
// itself, which is quicker than a second barrier; large ones are divided among the threads.
//
// Without a method the same loop sums the full gradient instead of stepping.
#pragma once

#include <atomic>
#include <vector>

#include "memory.hpp"
#include "passes.hpp"
#include "phases.hpp"
#include "optimizer.hpp"
#include "threads.hpp"

namespace onelayer {

template <class T>
class BatchLoop {
 public:
  struct Plan {
    const Pass& pass;
    Index batch_size;
    const Method* method = nullptr;   // how to step; null: sum the gradient
    T* bias = nullptr;                // (R*K), stepped in place
    SlotPointers<T> slot_biases = {}; // each (R*K)
    double* gradient = nullptr;       // (R*K, D): sums, not means
    double* gradient_bias = nullptr;  // (R*K)
    double* loss = nullptr;           // (R): sum over rows
    double* rounded = nullptr;        // (R): as of GradientRequest, not yet divided; given where loss is
  };

  BatchLoop(const Kernels<T>& kernels, const Plan& plan, PackedState<T>& state, const Slices& slices);
  Index run();  // returns the number of batches done

 private:
  struct Worker {  // a thread's own memory
    Part part;
    Buffer<T> x, residuals, scratch, backward_scratch;
    Buffer<double> losses;
    ColumnSteps<T> steps;
    std::vector<const char*> next_rows;  // where the next batch's rows begin
  };

  Index batches() const { return ceil_div(shape_.N, plan_.batch_size); }
  Index first(Index t) const { return t * plan_.batch_size; }
  Index count(Index t) const { return min(plan_.batch_size, shape_.N - first(t)); }
  Index row_groups(Index t) const { return ceil_div(count(t), kernels_.lanes); }
  T* scores(Index t) { return scores_.data() + (t % 2) * slices_.count * slice_scores_; }
  T* residuals(Worker& worker) { return shared_residuals_ ? residuals_.data() : worker.residuals.data(); }
  T* tile(Worker& worker, Index slice) const {
    return worker.x.data() + (slice - worker.part.first_slice) * slices_.tile_size(plan_.batch_size);
  }

  Worker make_worker(int thread) const;
  void work(int thread);
  void poll(Index t);
  void forward(Worker& worker, Index t, Index slice);
  void compute_residuals(Worker& worker, int thread, Index t);
  void compute_residuals(Worker& worker, Index t, Index from, Index to);
  void backward(Worker& worker, Index t, Index slice, bool last);
  void step_groups(Worker& worker, Index slice, Index part, Index parts);
  void list_rows(Worker& worker, Index t) const;
  NextRows next_rows(const Worker& worker, Index t, Index slice) const;
  void step_biases(Worker& worker, Index t);
  void add_losses(const Buffer<double>& losses, Index t);

  const Kernels<T>& kernels_;
  Plan plan_;
  Shape shape_;
  PackedState<T>& state_;
  Slices slices_;
  ColumnBlocks blocks_;
  Partition partition_;
  SlicedRows<T> rows_;
  Index score_stride_, slice_scores_;
  bool shared_residuals_;
  bool grouped_ = false;  // whether steps have parts that need the weights of all columns
  Buffer<T> scores_;     // two batches of [slice][column][row]: a thread may be one step ahead
  Buffer<T> residuals_;  // where they are shared
  Buffer<double> losses_;  // of a batch, where the gradient's loss is asked for: [run][row], and squares behind them
  Barrier barrier_;
  std::vector<Worker> workers_;
  std::atomic<Index> last_batch_;
  PollTimer poll_timer_;
};

}  // namespace onelayer
