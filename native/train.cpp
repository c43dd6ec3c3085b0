// One pass of steps, each by the equations of step.hpp. Runs whose average is all weights (alpha = 1) cost nothing:
// nobody reads it before the next step or the end, and there the weights are.
#include <algorithm>

#include "batch_loop.hpp"

namespace onelayer {

namespace {

// Whether a run averages at any step; before the first that does, nothing is written.
bool averages(const Method& method, const Shape& shape, Index steps) {
  if (!method.averaging) return false;
  const double* end = method.averaging + steps * shape.R;
  return std::any_of(method.averaging, end, [](double share) { return share != 1; });
}

// The average of a run that took its weights as they are at its last step.
template <class T>
void copy_weights(const TrainRequest<T>& request, Index run) {
  const auto [N, D, K, R] = request.shape;
  std::copy_n(request.weights.W + run * K * D, K * D, request.average.W + run * K * D);
  std::copy_n(request.weights.b + run * K, K, request.average.b + run * K);
}

}  // namespace

template <class T>
Index train_epoch(const Kernels<T>& kernels, const TrainRequest<T>& request) {
  const Shape& shape = request.shape;
  const Method& method = request.method;
  if (shape.N == 0) return 0;
  const Slices slices(shape.D, sizeof(T));
  typename BatchLoop<T>::Plan plan{shape, &request.rows, smaller(request.batch_size, shape.N), request.threads,
                                   &request.should_stop};
  plan.method = &method;
  plan.bias = request.weights.b;
  plan.velocity_bias = request.velocity.b;
  plan.average_bias = request.average.b;
  const bool averaging = averages(method, shape, ceil_div(shape.N, plan.batch_size));
  const auto pack = [&](const T* W) { return PackedWeights<T>(W, shape.columns(), slices); };
  PackedState<T> state{pack(request.weights.W), pack(request.velocity.W), pack(averaging ? request.average.W : nullptr)};
  const Index done = BatchLoop<T>(kernels, plan, state, slices).run();
  state.weights.unpack(request.weights.W);
  state.velocity.unpack(request.velocity.W);
  state.average.unpack(request.average.W);
  for (Index r = 0; method.averaging && r < shape.R; ++r)
    if (static_cast<T>(method.averaging[(done - 1) * shape.R + r]) == 1) copy_weights(request, r);
  return done;
}

template Index train_epoch<float>(const Kernels<float>&, const TrainRequest<float>&);
template Index train_epoch<double>(const Kernels<double>&, const TrainRequest<double>&);

}  // namespace onelayer
