// Full gradient:  loss = mean -log p_y,   G = mean (p - onehot(y)) x^T,   g = mean (p - onehot(y)).
// Tiles of rows are summed in the arithmetic type and added up in float64.
#include <vector>

#include "batch_loop.hpp"

namespace onelayer {

template <class T>
Index full_gradient(const Kernels<T>& kernels, const GradientRequest<T>& request) {
  constexpr Index tile_rows = 192;
  const Shape& shape = request.shape;
  const Slices slices(shape.D, sizeof(T));
  std::vector<T> bias(request.b, request.b + shape.columns());
  typename BatchLoop<T>::Plan plan{shape, &request.rows, smaller(tile_rows, shape.N), request.threads,
                                   &request.should_stop};
  plan.bias = bias.data();
  plan.gradient = request.gradient_W;
  plan.gradient_bias = request.gradient_b;
  plan.loss = request.loss;
  const auto pack = [&](const T* W) { return PackedWeights<T>(W, shape.columns(), slices); };
  PackedState<T> state{pack(request.W), pack(nullptr), pack(nullptr)};
  const Index done = BatchLoop<T>(kernels, plan, state, slices).run();
  const double n = static_cast<double>(shape.N);
  for (Index i = 0; i < shape.R; ++i) request.loss[i] /= n;
  for (Index i = 0; i < shape.columns(); ++i) request.gradient_b[i] /= n;
  for (Index i = 0; i < shape.columns() * shape.D; ++i) request.gradient_W[i] /= n;
  return done;
}

template Index full_gradient<float>(const Kernels<float>&, const GradientRequest<float>&);
template Index full_gradient<double>(const Kernels<double>&, const GradientRequest<double>&);

}  // namespace onelayer
