// How columns step after a batch: the numbers of their runs, made in float64 and then rounded. Each thread makes
// those of its own columns.
#pragma once

#include <vector>

#include "passes.hpp"

namespace onelayer {

template <class T>
class ColumnSteps {
 public:
  ColumnSteps(const Shape& shape, const Method& method)
      : shape_(shape), method_(method), steps_(static_cast<std::size_t>(shape.columns())) {}

  // Of columns `from` to `to`, after batch t, which has `count` rows.
  void set(Index t, Index count, Index from, Index to) {
    plain_ = true;
    for (Index c = from; c < to;) {
      const Index run = c / shape_.K;
      const ColumnStep<T> step = of(run, t, count);
      plain_ = plain_ && step.momentum == 0 && step.share == 1;
      for (const Index end = smaller(to, (run + 1) * shape_.K); c < end; ++c) steps_[static_cast<std::size_t>(c)] = step;
    }
  }
  const ColumnStep<T>* data() const { return steps_.data(); }
  bool plain() const { return plain_; }  // none of them has momentum or an average to write

 private:
  ColumnStep<T> of(Index run, Index t, Index count) const {
    const double eta = method_.learning_rate[t * shape_.R + run], l2 = method_.l2[run];
    ColumnStep<T> step;
    step.rate = static_cast<T>(eta / static_cast<double>(count));
    step.shrink = static_cast<T>(1 - 2 * eta * l2);
    step.eta = static_cast<T>(eta);
    step.mean = static_cast<T>(1 / static_cast<double>(count));
    step.decay = static_cast<T>(2 * l2);
    step.momentum = method_.momentum ? static_cast<T>(method_.momentum[run]) : T(0);
    step.nesterov = method_.nesterov && method_.nesterov[run];
    step.share = share(run, t);
    step.averaged_before = t == 0 || share(run, t - 1) != 1;
    return step;
  }
  T share(Index run, Index t) const {
    return method_.averaging ? static_cast<T>(method_.averaging[t * shape_.R + run]) : T(1);
  }

  const Shape shape_;
  const Method method_;
  std::vector<ColumnStep<T>> steps_;
  bool plain_ = true;
};

// The step of one bias, which is not shrunk, by the sum of its gradient over the batch. v and a are only touched
// where the column has them.
template <class T>
void step_bias(const ColumnStep<T>& step, T sum, T& b, T* v, T* a) {
  const T before = b;
  if (step.momentum > 0) {
    const T g = sum * step.mean;
    *v = step.momentum * *v + g;
    b -= step.eta * (step.nesterov ? g + step.momentum * *v : *v);
  } else {
    b -= step.rate * sum;
  }
  if (step.share == 1) return;
  if (!step.averaged_before) *a = before;
  *a += step.share * (b - *a);
}

}  // namespace onelayer
