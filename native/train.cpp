// One epoch:  W <- W (1 - 2 eta l2) - eta G,   b <- b - eta g,   for each batch in order.
#include "batch_loop.hpp"

namespace onelayer {

template <class T>
Index train_epoch(const Kernels<T>& kernels, const TrainRequest<T>& request) {
  const Shape& shape = request.shape;
  if (shape.N == 0) return 0;
  const Slices slices(shape.D, sizeof(T));
  const Index batch = smaller(request.batch_size, shape.N);
  const Index last = shape.N % batch == 0 ? batch : shape.N % batch;
  typename BatchLoop<T>::Plan plan{shape, &request.rows, batch, request.threads, &request.should_stop, request.b,
                                   {}, {}, {}};
  for (Index c = 0; c < shape.columns(); ++c) {
    const double eta = request.learning_rate[c / shape.K];
    plan.shrink.push_back(static_cast<T>(1 - 2 * eta * request.l2[c / shape.K]));
    plan.rate.push_back(static_cast<T>(eta / static_cast<double>(batch)));
    plan.last_rate.push_back(static_cast<T>(eta / static_cast<double>(last)));
  }
  PackedWeights<T> weights(request.W, shape.columns(), slices);
  const Index done = BatchLoop<T>(kernels, plan, weights, slices).run();
  weights.unpack(request.W);
  return done;
}

template Index train_epoch<float>(const Kernels<float>&, const TrainRequest<float>&);
template Index train_epoch<double>(const Kernels<double>&, const TrainRequest<double>&);

}  // namespace onelayer
