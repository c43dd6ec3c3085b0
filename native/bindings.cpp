// The map of the extension onelayer._native: each function checks its arrays, then calls one pass.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "arguments.hpp"
#include "dispatch.hpp"
#include "passes.hpp"
#include "phases.hpp"

namespace onelayer {

namespace {

using namespace nb::literals;

Index train_epoch_of(const ReadArray& X, const ReadArray& y, const Maybe& order, Index batch_size,
                     const WriteArray& W, const WriteArray& b, const ReadArray& learning_rate, const ReadArray& l2,
                     const ReadArray& scale, const ReadArray& offset, int threads, const Maybe& weights,
                     const Maybe& flipped, Index image_width, const Maybe& sigmoid, const Maybe& smoothing,
                     const Maybe& momentum, const Maybe& nesterov, const MaybePair& velocity, const Maybe& averaging,
                     const MaybePair& average) {
  Problem problem = check_problem(X, y, order, ReadArray(W), ReadArray(b), scale, offset, threads, weights);
  check_flips(problem, flipped, image_width);
  Method method = check_method(problem.shape, batch_size, {learning_rate, l2, momentum, nesterov, averaging});
  method.objectives = check_objectives(problem.shape.R, sigmoid, smoothing);
  check_history(velocity, "velocity", "where runs may have momentum", momentum.has_value(), ReadArray(W));
  check_history(average, "average", "where there is averaging", averaging.has_value(), ReadArray(W));
  return with_arithmetic(ReadArray(W), [&]<class T>(T) {
    TrainRequest<T> request{problem.shape, problem.rows, batch_size, method,
                            {static_cast<T*>(W.data()), static_cast<T*>(b.data())},
                            parameters<T>(velocity), parameters<T>(average), threads, {}};
    return interruptible(request, [&] { return train_epoch(kernels<T>(), request); });
  });
}

nb::tuple evaluate_of(const ReadArray& X, const ReadArray& y, const ReadArray& W, const ReadArray& b,
                      const ReadArray& scale, const ReadArray& offset, bool predictions, int threads,
                      const Maybe& order, const Maybe& weights, const Maybe& sigmoid, const Maybe& smoothing) {
  const Problem problem = check_problem(X, y, order, W, b, scale, offset, threads, weights);
  const auto [N, D, K, R] = problem.shape;
  const Objectives objectives = check_objectives(R, sigmoid, smoothing);
  Output<double> loss({R});
  Output<Index> correct({R});
  Output<std::int32_t> classes({predictions ? R : 0, N});
  with_arithmetic(W, [&]<class T>(T) {
    EvaluateRequest<T> request{problem.shape, problem.rows, static_cast<const T*>(W.data()),
                               static_cast<const T*>(b.data()), objectives, loss.data(), correct.data(),
                               predictions ? classes.data() : nullptr, nullptr, threads, {}};
    return interruptible(request, [&] { return evaluate(kernels<T>(), request); });
  });
  return nb::make_tuple(loss.array(), correct.array(), predictions ? classes.array() : nb::none());
}

nb::tuple full_gradient_of(const ReadArray& X, const ReadArray& y, const ReadArray& W, const ReadArray& b,
                           const ReadArray& scale, const ReadArray& offset, int threads,
                           const Maybe& order, const Maybe& weights) {
  const Problem problem = check_problem(X, y, order, W, b, scale, offset, threads, weights);
  const auto [N, D, K, R] = problem.shape;
  Output<double> loss({R}), gradient_W({R, K, D}), gradient_b({R, K});
  with_arithmetic(W, [&]<class T>(T) {
    GradientRequest<T> request{problem.shape, problem.rows, static_cast<const T*>(W.data()),
                               static_cast<const T*>(b.data()), loss.data(), gradient_W.data(), gradient_b.data(),
                               threads, {}};
    return interruptible(request, [&] { return full_gradient(kernels<T>(), request); });
  });
  return nb::make_tuple(loss.array(), gradient_W.array(), gradient_b.array());
}

nb::object scores_of(const ReadArray& X, const ReadArray& y, const ReadArray& W, const ReadArray& b,
                     const ReadArray& scale, const ReadArray& offset, int threads,
                     const Maybe& order) {
  const Problem problem = check_problem(X, y, order, W, b, scale, offset, threads);
  const auto [N, D, K, R] = problem.shape;
  Output<double> loss({R});
  Output<Index> correct({R});
  return with_arithmetic(W, [&]<class T>(T) {
    Output<T> scores({R, N, K});
    EvaluateRequest<T> request{problem.shape, problem.rows, static_cast<const T*>(W.data()),
                               static_cast<const T*>(b.data()), {}, loss.data(), correct.data(), nullptr, scores.data(),
                               threads, {}};
    interruptible(request, [&] { return evaluate(kernels<T>(), request); });
    return scores.array();
  });
}

nb::object weighted_sums_of(const ReadArray& X, const ReadArray& factors, const ReadArray& scale,
                            const ReadArray& offset, int threads, const Maybe& order) {
  const Problem problem = check_weighted(X, factors, order, scale, offset, threads);
  const auto [N, D, K, R] = problem.shape;
  Output<double> sums({R, K, D});
  with_arithmetic(factors, [&]<class T>(T) {
    WeightedSumsRequest<T> request{problem.shape, problem.rows, static_cast<const T*>(factors.data()), sums.data(),
                                   threads, {}};
    return interruptible(request, [&] { return weighted_sums(kernels<T>(), request); });
  });
  return sums.array();
}

// Seconds per phase since the last call, summed over threads; empty unless built with ONELAYER_PHASE_TIMES.
nb::dict phase_times() {
  nb::dict times;
#if defined(ONELAYER_PHASE_TIMES)
  for (int i = 0; i < kPhases; ++i)
    times[kPhaseNames[i]] = 1e-9 * static_cast<double>(phase_nanoseconds[static_cast<unsigned>(i)].exchange(0));
#endif
  return times;
}

}  // namespace

}  // namespace onelayer

NB_MODULE(_native, m) {
  using namespace onelayer;
  m.doc() = "Linear softmax classifiers on arrays: R runs side by side over one pass of the data.";
  m.def("train_epoch", &train_epoch_of, "X"_a, "y"_a, "order"_a.none(), "batch_size"_a, "W"_a, "b"_a,
        "learning_rate"_a, "l2"_a, "scale"_a, "offset"_a, "threads"_a, "weights"_a.none() = nb::none(),
        "flipped"_a.none() = nb::none(), "image_width"_a = 0, "sigmoid"_a.none() = nb::none(),
        "smoothing"_a.none() = nb::none(), "momentum"_a.none() = nb::none(), "nesterov"_a.none() = nb::none(),
        "velocity"_a.none() = nb::none(), "averaging"_a.none() = nb::none(), "average"_a.none() = nb::none(),
        "One pass of steps; W (R, K, D) and b (R, K), velocity and average are stepped in place.\n\n"
        "learning_rate and averaging are (T, R), for T batches. Returns the number of steps done. Ctrl-C ends it after a whole step and raises KeyboardInterrupt.");
  m.def("evaluate", &evaluate_of, "X"_a, "y"_a, "W"_a, "b"_a, "scale"_a, "offset"_a, "predictions"_a, "threads"_a,
        "order"_a.none() = nb::none(), "weights"_a.none() = nb::none(), "sigmoid"_a.none() = nb::none(),
        "smoothing"_a.none() = nb::none(),
        "Mean loss (R,), rows classified correctly (R,) and, if asked for, classes (R, N) or None.\n\n"
        "Each row's loss is times its weight; the mean is over the rows' number.");
  m.def("full_gradient", &full_gradient_of, "X"_a, "y"_a, "W"_a, "b"_a, "scale"_a, "offset"_a, "threads"_a,
        "order"_a.none() = nb::none(), "weights"_a.none() = nb::none(),
        "Mean cross-entropy (R,) and its gradients (R, K, D) and (R, K) over all rows, without the l2 term.\n\n"
        "Each row counts times its weight; the mean is over the rows' number.");
  m.def("scores", &scores_of, "X"_a, "y"_a, "W"_a, "b"_a, "scale"_a, "offset"_a, "threads"_a,
        "order"_a.none() = nb::none(), "Scores W x + b of every row, (R, N, K) in W's type.");
  m.def("weighted_sums", &weighted_sums_of, "X"_a, "factors"_a, "scale"_a, "offset"_a, "threads"_a,
        "order"_a.none() = nb::none(), "Sum over rows of factors (R, N, K) times the scaled row: (R, K, D), float64.");
  m.def("instruction_set", &instruction_set, "The instruction set that runs; ONELAYER_ISA overrides it.");
  m.def("supported_instruction_sets", &supported_instruction_sets, "Those this machine can run, best first.");
  m.def("default_threads", &default_threads,
        "Cores this process may use by affinity and cgroup; ONELAYER_THREADS overrides it.");
  m.def("phase_times", &phase_times, "Seconds per phase since the last call, in builds with ONELAYER_PHASE_TIMES.");
}
