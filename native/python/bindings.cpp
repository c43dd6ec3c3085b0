// The map of the extension onelayer._native: each function checks its arrays, then runs one pass.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include "arguments.hpp"
#include "bus_error.hpp"
#include "kernel/dispatch.hpp"
#include "kernel/passes.hpp"
#include "kernel/phases.hpp"
#include "kernel/sparse_passes.hpp"

namespace onelayer {

namespace {

using namespace nb::literals;

Index train_epoch_of(const RowArrays& X, const ReadArray& y, const OptionalArray& order, Index batch_size,
                     const WriteArray& W, const WriteArray& b, const ReadArray& scale, const ReadArray& offset,
                     int threads, const SettingArrays& settings, const SlotArrays& slots, const OptionalArray& weights,
                     const OptionalArray& flipped, Index image_width) {
  const ReadArray read_W(W);
  Pass pass = check_pass(X, y, order, read_W, ReadArray(b), scale, offset, threads, weights);
  check_flips(pass, flipped, image_width);
  const Method method = check_training(settings, pass.shape, batch_size);
  check_slots(slots, method, read_W);
  return with_dtype(read_W, [&]<class T>(T) {
    TrainRequest<T> request{pass, batch_size, method, parameters<T>(W, b), {}};
    for (int slot = 0; slot < kSlots; ++slot)
      if (const auto given = slots.find(kSlotRules[slot].name); given != slots.end())
        request.slots[slot] = parameters<T>(given->second.first, given->second.second);
    return interruptible(request, [&] { return train_epoch(kernels<T>(), request); });
  });
}

nb::tuple evaluate_of(const RowArrays& X, const ReadArray& y, const ReadArray& W, const ReadArray& b,
                      const ReadArray& scale, const ReadArray& offset, int threads, const OptionalArray& order,
                      const OptionalArray& weights, const SettingArrays& settings) {
  const Pass pass = check_pass(X, y, order, W, b, scale, offset, threads, weights);
  const Index N = pass.shape.N, R = pass.shape.R;
  const Method method = check_settings(settings, R);
  std::vector<EvaluateSums> sums(static_cast<std::size_t>(R));
  with_dtype(W, [&]<class T>(T) {
    EvaluateRequest<T> request{pass, parameters<T>(W, b), method, sums.data()};
    return interruptible(request, [&] { return evaluate(kernels<T>(), request); });
  });
  Output<double> loss({R}), square({R}), right({R});
  Output<Index> correct({R});
  for (Index r = 0; r < R; ++r) {
    const EvaluateSums& of_run = sums[static_cast<std::size_t>(r)];
    loss.data()[r] = of_run.loss / static_cast<double>(N);
    square.data()[r] = of_run.square / static_cast<double>(N);
    right.data()[r] = of_run.right / static_cast<double>(N);
    correct.data()[r] = of_run.correct;
  }
  return nb::make_tuple(loss.array(), square.array(), right.array(), correct.array());
}

nb::tuple classify_of(const RowArrays& X, const ReadArray& y, const ReadArray& W, const ReadArray& b,
                      const ReadArray& scale, const ReadArray& offset, int threads, const OptionalArray& order) {
  const Pass pass = check_pass(X, y, order, W, b, scale, offset, threads);
  if (pass.rows.y.many) throw nb::value_error("y: expected shape (N,), got many labels a row");
  const Index N = pass.shape.N, R = pass.shape.R;
  std::vector<EvaluateSums> sums(static_cast<std::size_t>(R));
  Output<std::int32_t> classes({R, N}), ranks({R, N});
  Output<double> confidences({R, N}), losses({R, N});
  with_dtype(W, [&]<class T>(T) {
    EvaluateRequest<T> request{pass, parameters<T>(W, b), {}, sums.data(),
                               {classes.data(), confidences.data(), losses.data(), ranks.data()}};
    return interruptible(request, [&] { return evaluate(kernels<T>(), request); });
  });
  return nb::make_tuple(classes.array(), confidences.array(), losses.array(), ranks.array());
}

nb::tuple full_gradient_of(const RowArrays& X, const ReadArray& y, const ReadArray& W, const ReadArray& b,
                           const ReadArray& scale, const ReadArray& offset, int threads, const OptionalArray& order,
                           const OptionalArray& weights) {
  const Pass pass = check_pass(X, y, order, W, b, scale, offset, threads, weights);
  const auto [N, D, K, R] = pass.shape;
  Output<double> loss({R}), gradient_W({R, K, D}), gradient_b({R, K}), rounded({R});
  with_dtype(W, [&]<class T>(T) {
    GradientRequest<T> request{pass, parameters<T>(W, b), loss.data(), gradient_W.data(), gradient_b.data(),
                               rounded.data()};
    return interruptible(request, [&] { return full_gradient(kernels<T>(), request); });
  });
  return nb::make_tuple(loss.array(), gradient_W.array(), gradient_b.array(), rounded.array());
}

nb::object scores_of(const RowArrays& X, const ReadArray& y, const ReadArray& W, const ReadArray& b,
                     const ReadArray& scale, const ReadArray& offset, int threads, const OptionalArray& order) {
  const Pass pass = check_pass(X, y, order, W, b, scale, offset, threads);
  const Shape shape = pass.shape;
  std::vector<EvaluateSums> sums(static_cast<std::size_t>(shape.R));
  return with_dtype(W, [&]<class T>(T) {
    Output<T> scores({shape.R, shape.N, shape.K});
    EvaluateRequest<T> request{pass, parameters<T>(W, b), {}, sums.data(), {}, scores.data()};
    interruptible(request, [&] { return evaluate(kernels<T>(), request); });
    return scores.array();
  });
}

nb::object weighted_sums_of(const RowArrays& X, const ReadArray& factors, const ReadArray& scale,
                            const ReadArray& offset, int threads, const OptionalArray& order) {
  const Pass pass = check_sums(X, factors, order, scale, offset, threads);
  const auto [N, D, K, R] = pass.shape;
  Output<double> sums({R, K, D});
  with_dtype(factors, [&]<class T>(T) {
    WeightedSumsRequest<T> request{pass, static_cast<const T*>(factors.data()), sums.data()};
    return interruptible(request, [&] { return weighted_sums(kernels<T>(), request); });
  });
  return sums.array();
}

nb::tuple class_sums_of(const RowArrays& X, const ReadArray& y, Index classes, int threads, const OptionalArray& order,
                        const OptionalArray& weights) {
  const Pass pass = check_classes(X, y, classes, order, threads, weights);
  Output<double> sums({classes, pass.shape.D}), squares({pass.shape.D});
  ClassSumsRequest request{pass, sums.data(), squares.data()};
  interruptible(request, [&] {
    return pass.rows.x.type == StoredType::float64 ? class_sums(kernels<double>(), request)
                                                   : class_sums(kernels<float>(), request);
  });
  return nb::make_tuple(sums.array(), squares.array());
}

nb::tuple sparse_ranges_of(const RowArrays& X) {
  const Pass pass = check_sparse_rows(X, 1);
  return with_values(pass.rows.x, [&]<class S>(const S*) {
    Output<S> low({pass.shape.D}), high({pass.shape.D});
    {
      nb::gil_scoped_release release;
      sparse_ranges(pass, low.data(), high.data());
    }
    return nb::make_tuple(low.array(), high.array());
  });
}

std::optional<std::pair<nb::object, nb::object>> stored_features_of(const SparseArrays& X, Index most) {
  const Pass pass = check_sparse_rows(X, 1);
  const StoredMatrix& x = pass.rows.x;
  const FeatureSet stored = StoredFeatures(x, pass.shape.N, pass.shape.D, 1).any;
  if (stored.count() > most) return std::nullopt;
  Output<Index> features({stored.count()});
  Output<std::int32_t> indices({static_cast<Index>(std::get<1>(X).size())});
  for (Index word = 0, at = 0, count = 0; word < stored.words(); ++word, at += count)
    stored.list(word, features.data() + at, count);
  for (Index j = x.indptr[0]; j <= x.stored_last; ++j)
    indices.data()[j] = static_cast<std::int32_t>(stored.place(x.feature(j)));
  return std::pair(features.array(), indices.array());
}

nb::object fingerprints_of(const RowArrays& X, int threads) {
  const Pass pass = check_stored_rows(X, threads);
  Output<std::uint64_t> found({pass.shape.N});
  {
    nb::gil_scoped_release release;
    fingerprints(kernels<float>(), pass, found.data());
  }
  return found.array();
}

template <class T>
Vectors<T> vectors_of(const ReadArray& rows, const ReadArray& x) {
  return {static_cast<const T*>(rows.data()), dimension(rows, "rows", "(m, n)", 0), dimension(rows, "rows", "(m, n)", 1),
          static_cast<const T*>(x.data())};
}

nb::object products_of(const ReadArray& rows, const ReadArray& x, int threads) {
  check_vectors(rows, x);
  Output<double> sums({static_cast<Index>(rows.shape(0))});
  with_dtype(rows, [&]<class T>(T) {
    nb::gil_scoped_release release;
    products(kernels<T>(), vectors_of<T>(rows, x), threads, sums.data());
  });
  return sums.array();
}

nb::object combination_of(const ReadArray& rows, const ReadArray& factors, const ReadArray& x, double factor,
                          int threads) {
  check_vectors(rows, x);
  const double* const of_rows = check_doubles(factors, "factors", {static_cast<Index>(rows.shape(0))});
  Output<double> out({static_cast<Index>(rows.shape(1))});
  with_dtype(rows, [&]<class T>(T) {
    nb::gil_scoped_release release;
    combine(kernels<T>(), vectors_of<T>(rows, x), threads, factor, of_rows, out.data());
  });
  return out.array();
}

nb::tuple without_shared_of(const ReadArray& at, const ReadArray& present, bool wide, int threads) {
  const PointRequest request = check_point(at, present, threads);
  Output<double> out({request.K, request.D + 1});
  const auto rounded = [&]<class T>(T) {
    Output<T> W({request.K, request.D}), b({request.K});
    {
      nb::gil_scoped_release release;
      without_shared(request, out.data(), W.data(), b.data());
    }
    return nb::make_tuple(out.array(), W.array(), b.array());
  };
  return wide ? rounded(double{}) : rounded(float{});
}

nb::tuple add_penalty_of(const ReadArray& at, const ReadArray& present, const ReadArray& G, const ReadArray& g,
                         const ReadArray& bends, int threads) {
  const PointRequest request = check_point(at, present, threads);
  const auto kept = static_cast<Index>(request.present.size());
  const double* const of_W = check_doubles(G, "G", {kept, request.D});
  const double *const of_b = check_doubles(g, "g", {kept}), *const of_features = check_doubles(bends, "bends", {request.D});
  Output<double> gradient({request.K, request.D + 1});
  PenalizedSums sums;
  {
    nb::gil_scoped_release release;
    sums = add_penalty(request, of_W, of_b, of_features, gradient.data());
  }
  return nb::make_tuple(gradient.array(), sums.value, sums.squares);
}

Index coordinate_descent_of(const ReadArray& H, const ReadArray& penalty, const WriteArray& w, const WriteArray& g,
                            double tolerance, Index sweeps) {
  const Quadratic quadratic = check_quadratic(H, penalty, w, g);
  nb::gil_scoped_release release;
  return coordinate_descent(kernels<double>(), quadratic, tolerance, sweeps);
}

// A copy of sparse rows by columns, for the solver for l1.
class SparseColumns {
 public:
  SparseColumns(const SparseArrays& X, const ReadArray& scale, const ReadArray& offset, const OptionalArray& order,
                int threads)
      : columns_(columns_of(X, order, scale, offset, threads)) {}

  nb::object sums(const ReadArray& features, const ReadArray& factors, int threads) const {
    return std::visit([&](const auto& X) {
      const Index* const of = check_features(features, X.D);
      const Index n = static_cast<Index>(features.shape(0)), m = dimension(factors, "factors", "(N, m)", 1);
      const double* const given = check_doubles(factors, "factors", {X.N, m});
      Output<double> sums({m, n});
      {
        nb::gil_scoped_release release;
        column_sums(X, of, n, m, given, sums.data(), threads);
      }
      return sums.array();
    }, columns_);
  }

  nb::object scores(const ReadArray& features, const ReadArray& w) const {
    return std::visit([&](const auto& X) {
      const Index* const of = check_features(features, X.D);
      const Index n = static_cast<Index>(features.shape(0)), m = dimension(w, "w", "(m, n)", 0);
      const double* const given = check_doubles(w, "w", {m, n});
      Output<double> scores({X.N, m});
      {
        nb::gil_scoped_release release;
        add_column_scores(X, of, n, m, given, scores.data());
      }
      return scores.array();
    }, columns_);
  }

  Index descend(const ReadArray& features, const ReadArray& d, const ReadArray& l1, const ReadArray& l2, bool intercept,
                const WriteArray& w, const WriteArray& r, double tolerance, Index sweeps) const {
    return std::visit([&]<class T>(const Columns<T>& X) {
      const Index* const of = check_features(features, X.D);
      const Index n = static_cast<Index>(features.shape(0)), m = dimension(ReadArray(w), "w", "(m, n)", 0);
      check_doubles(ReadArray(w), "w", {m, n});
      check_doubles(ReadArray(r), "r", {X.N, m});
      const ColumnQuadratic<T> q{X, of, n, m, check_doubles(l1, "l1", {n}),
                                 check_doubles(l2, "l2", {n}), check_doubles(d, "d", {X.N}), intercept,
                                 static_cast<double*>(w.data()), static_cast<double*>(r.data())};
      nb::gil_scoped_release release;
      return m == 1 ? column_descent<1>(q, tolerance, sweeps) : column_descent<0>(q, tolerance, sweeps);
    }, columns_);
  }

  const AnyColumns& columns() const { return columns_; }

 private:
  AnyColumns columns_;
};

// Columns of an array that were asked for, for the same solver.
class ArrayColumns {
 public:
  ArrayColumns(Index N, bool wide, const ReadArray& scale, const ReadArray& offset)
      : columns(N, static_cast<Index>(scale.size()), wide,
                check_doubles(scale, "scale", {static_cast<Index>(scale.size())}),
                check_doubles(offset, "offset", {static_cast<Index>(scale.size())})),
        wide_(wide) {}

  void hold(const ReadArray& features) {
    columns.hold(check_features(features, columns.D), static_cast<Index>(features.shape(0)));
  }
  void read(const ReadArray& X, const OptionalArray& order, Index place, const ReadArray& features) {
    const Index* const of = check_held(features, columns, columns.D);
    Index count = 0;
    const StoredMatrix x = check_tile(X, order, wide_, columns.D, count);
    if (place < 0 || place + count > columns.N) throw nb::value_error("place: rows end before those of the tile.");
    nb::gil_scoped_release release;
    columns.read(x, place, count, of, static_cast<Index>(features.shape(0)));
  }

  HeldColumns columns;

 private:
  bool wide_;
};

// The search for few features of two classes, on columns of either kind.
class PairSearchOf {
  using Searches = std::variant<PairSearch<HeldSteps>, PairSearch<SparseSteps<float>>, PairSearch<SparseSteps<double>>>;

  mutable Searches search_;

  template <class Steps>
  static Searches made(Steps steps, const ReadArray& y, const ReadArray& fractions, const OptionalArray& offsets,
                       bool intercept) {
    const Index N = steps.N();
    return PairSearch<Steps>(std::move(steps), check_doubles(y, "y", {N}), check_doubles(fractions, "fractions", {N}),
                             offsets ? check_doubles(*offsets, "offsets", {N}) : nullptr, intercept);
  }
  template <class... Of>
  static Searches search_of(const ArrayColumns& X, int threads, const Of&... of) {
    return made(HeldSteps(X.columns, threads), of...);
  }
  template <class... Of>
  static Searches search_of(const SparseColumns& X, int threads, const Of&... of) {
    return std::visit([&](const auto& columns) { return made(SparseSteps(columns, threads), of...); }, X.columns());
  }
  template <class Work>
  auto visit(const Work& work) const { return std::visit(work, search_); }
  const Index* held(const ReadArray& features) const {
    return visit([&](auto& search) { return check_held(features, search.steps, search.steps.D()); });
  }

 public:
  PairSearchOf(const std::variant<const ArrayColumns*, const SparseColumns*>& X, const ReadArray& y,
               const ReadArray& fractions, const OptionalArray& offsets, bool intercept, int threads)
      : search_(std::visit([&](const auto* columns) { return search_of(*columns, threads, y, fractions, offsets,
                                                                       intercept); }, X)) {}

  void forget() { visit([](auto& search) { search.steps.forget(); }); }

  void place(const ReadArray& features, const ReadArray& w, double bias) {
    const Index n = static_cast<Index>(features.shape(0));
    const Index* const of = held(features);
    const double* const given = check_doubles(w, "w", {n});
    nb::gil_scoped_release release;
    visit([&](auto& search) { search.place(of, n, given, bias); });
  }
  void put(const ReadArray& scores) {
    visit([&](auto& search) { search.put(check_doubles(scores, "scores", {search.rows.N})); });
  }
  double centre(double least, double frequency) {
    return visit([&](auto& search) { return search.centre(least, frequency), search.rows.bias; });
  }
  double fit(const ReadArray& features, const ReadArray& limits, const ReadArray& curvatures, const WriteArray& w,
             const OptionalArray& given, double aim, Index cycles) {
    const Index n = static_cast<Index>(features.shape(0));
    std::vector<double> slope(static_cast<std::size_t>(n));
    if (given) std::copy_n(check_doubles(*given, "slope", {n}), n, slope.data());
    check_doubles(ReadArray(w), "w", {n});
    WorkingSet set{n, held(features), check_doubles(limits, "limits", {n}),
                   check_doubles(curvatures, "curvatures", {n}), static_cast<double*>(w.data()), slope.data()};
    Pass pass;
    interruptible(pass, [&] {
      const auto stop = [&] { return pass.should_stop && pass.should_stop(); };
      visit([&](auto& search) { search.fit(set, aim, cycles, stop, given.has_value()); });
      return true;
    });
    return visit([](auto& search) { return search.rows.bias; });
  }
  // Of the loss, the residuals, the scores and those of label 1.
  nb::tuple sums() const {
    return visit([](auto& search) {
      const LogisticSums& of = search.rows.sums;
      return nb::make_tuple(of.loss, of.residual, of.score, of.own);
    });
  }
  nb::object scores() const {
    return visit([](auto& search) {
      Output<double> scores({search.rows.N});
      std::copy_n(search.rows.s.data(), search.rows.N, scores.data());
      return scores.array();
    });
  }
  nb::tuple travel() {
    return visit([](auto& search) {
      const auto of = search.travel();
      return nb::make_tuple(of.far, of.back, of.residual);
    });
  }
  // Of what a step found, or else of the rows' probabilities.
  nb::object residuals(bool found) {
    return visit([&](auto& search) {
      Output<double> residuals({search.rows.N});
      std::copy_n(search.residuals(found), search.rows.N, residuals.data());
      return residuals.array();
    });
  }
  nb::object slopes(const ReadArray& features, bool found) {
    const Index n = static_cast<Index>(features.shape(0));
    const Index* const of = held(features);
    Output<double> slopes({n});
    {
      nb::gil_scoped_release release;
      visit([&](auto& search) {
        search.steps.slopes(of, n, search.residuals(found), slopes.data());
      });
    }
    return slopes.array();
  }
  bool has_found() const { return visit([](auto& search) { return search.has_found; }); }
  double divergence(double kept) {
    return visit([&](auto& search) {
      return column_kernels().divergence(search.found.data(), kept, search.rows.job());
    });
  }
};

// The arrays that it is made of must stay.
class DualSolution {
  // Works without the lock of the interpreter, then gives what was found to Python.
  template <class Work, class Give>
  auto run(const Work& work, const Give& give) {
    return std::visit([&](const auto& ascent) {
      const auto found = [&] {
        nb::gil_scoped_release release;
        IeeeArithmetic arithmetic;
        return work(*ascent);
      }();
      return give(*ascent, found);
    }, ascent_);
  }

 public:
  DualSolution(const SparseArrays& X, const ReadArray& y, Index classes, const ReadArray& fractions, double l2,
               bool intercept, bool wide, int threads, const OptionalArray& scale, const OptionalArray& order)
      : arrays_(X, y, fractions, scale, order), K_(classes) {
    const Pass pass = check_dual(X, y, classes, order, scale, fractions, threads);
    D_ = pass.shape.D;
    const auto* const of_rows = static_cast<const double*>(fractions.data());
    nb::gil_scoped_release release;
    IeeeArithmetic arithmetic;
    if (wide)
      ascent_ = std::make_unique<DualAscent<double>>(pass, of_rows, l2, intercept);
    else
      ascent_ = std::make_unique<DualAscent<float>>(pass, of_rows, l2, intercept);
  }

  nb::tuple sweep(const ReadArray& b) {
    const double* const at = of_classes(b);
    return run([at](auto& ascent) {
                 const DualSweep found = ascent.sweep(at);  // before the norm
                 return std::pair(found, ascent.squared_norm());
               },
               [&](const auto& ascent, const auto& found) {
                 return nb::make_tuple(copied(found.first.bent, {K_, K_}), copied(ascent.shift(), {K_}),
                                       found.first.loss, found.second, found.first.off);
               });
  }
  Index features() const {
    return std::visit([](const auto& ascent) { return ascent->stored_features(); }, ascent_);
  }
  void finish() {
    work_on_weights([](auto& ascent, auto* W) { ascent.finish(W); }, [](const auto& ascent) { return ascent.has_own(); });
  }
  nb::object weights() {
    work_on_weights([](const auto& ascent, auto* W) { ascent.weights(W); }, [](const auto&) { return true; });
    return W_;
  }
  nb::tuple moments(const ReadArray& b) {
    const double* const at = of_classes(b);
    return run([at](auto& ascent) { return ascent.moments(at); },
               [&](const auto&, const ClassMoments& found) {
                 return nb::make_tuple(found.loss, copied(found.g, {K_}), copied(found.bends, {K_, K_}),
                                       copied(found.scores, {K_, K_}));
               });
  }
  nb::tuple slope(const ReadArray& b) {
    const double* const at = of_classes(b);
    return run([at](auto& ascent) { return ascent.slope(at); },
               [](const auto& ascent, const DualSlope& found) {
                 return nb::make_tuple(found.gradient, found.weights, ascent.mean_length());
               });
  }

 private:
  // Calls work(ascent, weights) without the lock; the weights are made when they are needed, or null.
  template <class Work, class Needs>
  void work_on_weights(const Work& work, const Needs& needs) {
    std::visit([&]<class T>(const std::unique_ptr<DualAscent<T>>& ascent) {
      if (!weights_ && needs(*ascent)) {
        Output<T> W({K_, D_});
        weights_ = W.data();
        W_ = W.array();
      }
      nb::gil_scoped_release release;
      IeeeArithmetic arithmetic;
      work(*ascent, static_cast<T*>(weights_));
    }, ascent_);
  }
  const double* of_classes(const ReadArray& b) const { return check_doubles(b, "b", {K_}); }
  static nb::object copied(const std::vector<double>& values, std::initializer_list<Index> shape) {
    Output<double> out(shape);
    std::copy(values.begin(), values.end(), out.data());
    return out.array();
  }

  std::tuple<SparseArrays, ReadArray, ReadArray, OptionalArray, OptionalArray> arrays_;
  Index K_, D_ = 0;
  nb::object W_;
  void* weights_ = nullptr;  // of W_
  std::variant<std::unique_ptr<DualAscent<float>>, std::unique_ptr<DualAscent<double>>> ascent_;
};

nb::tuple newton_of(const ReadArray& X, const ReadArray& y, const ReadArray& fractions, const OptionalArray& offsets,
                    const ReadArray& curvatures, const WriteArray& at, double end, double relative_end, double bias_end,
                    double far, Index most) {
  NewtonJob job = check_newton(X, y, fractions, offsets, curvatures, at);
  job.end = end, job.relative_end = relative_end, job.bias_end = bias_end, job.far = far, job.most = most;
  Output<double> gradient({job.m, job.D});
  job.gradient = gradient.data();
  {
    nb::gil_scoped_release release;
    Buffer<double> scratch(newton_scratch(job.N, job.D, job.m));
    job.scratch = scratch.data();
    IeeeArithmetic arithmetic;
    kernels<double>().newton(job);
  }
  return nb::make_tuple(job.cost, gradient.array(), job.evaluated);
}

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
  m.doc() =
      "Linear softmax classifiers on arrays: R runs side by side in one pass over the data.\n\n"
      "X is (N, D), or of sparse rows their values (float32 or float64), indices and indptr in compressed form, and D.";
  explain_bus_errors();
  m.def("train_epoch", &train_epoch_of, "X"_a, "y"_a, "order"_a.none(), "batch_size"_a, "W"_a, "b"_a,
        "scale"_a, "offset"_a, "threads"_a, "settings"_a, "slots"_a = nb::dict(), "weights"_a.none() = nb::none(),
        "flipped"_a.none() = nb::none(), "image_width"_a = 0,
        "Takes one step for each of T batches; updates W (R, K, D), b (R, K) and the slots in place.\n\n"
        "Returns the number of steps. Ctrl-C ends the pass after a whole step and raises KeyboardInterrupt.");
  m.def("evaluate", &evaluate_of, "X"_a, "y"_a, "W"_a, "b"_a, "scale"_a, "offset"_a, "threads"_a,
        "order"_a.none() = nb::none(), "weights"_a.none() = nb::none(), "settings"_a = nb::dict(),
        "Returns the means of the loss, of its square and of 1 where the class is right, and the number of right "
        "rows, (R,) each.\n\n"
        "What is averaged is multiplied by the row's weight; the mean divides by N.");
  m.def("classify", &classify_of, "X"_a, "y"_a, "W"_a, "b"_a, "scale"_a, "offset"_a, "threads"_a,
        "order"_a.none() = nb::none(),
        "Returns of each row the class of the largest score, its probability, the cross-entropy and the label's rank, "
        "(R, N) each.\n\n"
        "The probability is NaN where any score of the row is not finite.");
  m.def("full_gradient", &full_gradient_of, "X"_a, "y"_a, "W"_a, "b"_a, "scale"_a, "offset"_a, "threads"_a,
        "order"_a.none() = nb::none(), "weights"_a.none() = nb::none(),
        "Returns the mean cross-entropy (R,) and its gradients (R, K, D) and (R, K), without the l2 term.\n\n"
        "Each row's loss is multiplied by its weight; the mean divides by N.");
  m.def("scores", &scores_of, "X"_a, "y"_a, "W"_a, "b"_a, "scale"_a, "offset"_a, "threads"_a,
        "order"_a.none() = nb::none(), "Returns the scores W x + b of every row, (R, N, K), in W's type.");
  m.def("weighted_sums", &weighted_sums_of, "X"_a, "factors"_a, "scale"_a, "offset"_a, "threads"_a,
        "order"_a.none() = nb::none(),
        "Returns the sum over rows of factors (R, N, K) times the scaled row: (R, K, D), float64.");
  m.def("class_sums", &class_sums_of, "X"_a, "y"_a, "classes"_a, "threads"_a, "order"_a.none() = nb::none(),
        "weights"_a.none() = nb::none(),
        "Returns the sum of the stored rows of each class, (K, D), and of the squares of each feature, (D,), by the "
        "rows' weights.");
  m.def("sparse_ranges", &sparse_ranges_of, "X"_a,
        "Returns the least and the largest value of each feature of sparse rows, 0 where a row stores none, (D,) each, in "
        "the values' type.");
  m.def("stored_features", &stored_features_of, "X"_a, "most"_a,
        "Returns the features that sparse rows store, ascending, and the place there of each value's, int32; or None "
        "where they are more than `most`.");
  m.def("fingerprints", &fingerprints_of, "X"_a, "threads"_a, "Returns 64 bits of the values of each row, (N,).");
  m.def("products", &products_of, "rows"_a, "x"_a, "threads"_a,
        "Returns the products of vectors (m, n) with x (n,), float64.");
  m.def("combination", &combination_of, "rows"_a, "factors"_a, "x"_a, "factor"_a, "threads"_a,
        "Returns x (n,) times its factor plus vectors (m, n) times theirs, (m,), float64.");
  m.def("without_shared", &without_shared_of, "at"_a, "present"_a, "wide"_a, "threads"_a,
        "Returns a point (K, D + 1) less what its present classes share, rounded to float64 or float32; and its W and b "
        "of that type.");
  m.def("add_penalty", &add_penalty_of, "at"_a, "present"_a, "G"_a, "g"_a, "bends"_a, "threads"_a,
        "Returns the gradient (K, D + 1) of a cost at a point from the loss's, of the present classes, and the curvatures "
        "of the penalty, less what these classes share; the penalty; and the squares of the gradient of W, summed.");
  m.def("coordinate_descent", &coordinate_descent_of, "H"_a, "penalty"_a, "w"_a, "g"_a, "tolerance"_a, "sweeps"_a,
        "Minimises a quadratic of Hessian H (n, n) and gradient g (m, n) at w (m, n) plus the sum over j of penalty_j "
        "times the norm of w_:j, in place.\n\n"
        "Ends when a sweep moves by no more than the tolerance of the first one; returns the number of sweeps.");
  nb::class_<SparseColumns>(m, "SparseColumns", "A copy of sparse rows by columns.")
      .def(nb::init<const SparseArrays&, const ReadArray&, const ReadArray&, const OptionalArray&, int>(), "X"_a, "scale"_a,
           "offset"_a, "order"_a.none() = nb::none(), "threads"_a = 1)
      .def("sums", &SparseColumns::sums, "features"_a, "factors"_a, "threads"_a = 1,
           "Returns the sums over rows of factors (N, m) times the features, (m, n).")
      .def("scores", &SparseColumns::scores, "features"_a, "w"_a,
           "Returns the scores (N, m) of weights w (m, n) of features, scaled; offsets are left out.")
      .def("descend", &SparseColumns::descend, "features"_a, "d"_a, "l1"_a, "l2"_a, "intercept"_a, "w"_a, "r"_a,
           "tolerance"_a, "sweeps"_a,
           "Minimises, in w (m, n), half the squares of what it adds to the scores, times the rows' curvatures d, plus "
           "residuals r (N, m) times it, plus l2 times squares and l1 times norms over m, at the best bias.\n\n"
           "r is overwritten. Ends as coordinate_descent does.");

  nb::class_<ArrayColumns>(m, "ArrayColumns", "Columns of those features of an array that were asked for, as stored.")
      .def(nb::init<Index, bool, const ReadArray&, const ReadArray&>(), "N"_a, "wide"_a, "scale"_a, "offset"_a)
      .def("hold", &ArrayColumns::hold, "features"_a, "Makes room for columns of features that are not held yet.")
      .def("read", &ArrayColumns::read, "X"_a, "order"_a.none(), "place"_a, "features"_a,
           "Reads columns of features that are held from rows of X, of which the first one's place is given.");
  nb::class_<PairSearchOf>(m, "PairSearch", "The search for few features of two classes: rows under weights of some.")
      .def(nb::init<const std::variant<const ArrayColumns*, const SparseColumns*>&, const ReadArray&, const ReadArray&,
                    const OptionalArray&, bool, int>(),
           "X"_a, "y"_a, "fractions"_a, "offsets"_a.none(), "intercept"_a, "threads"_a, nb::keep_alive<1, 2>())
      .def("forget", &PairSearchOf::forget, "Forgets Hessians, so that steps depend on the next ones alone.")
      .def("place", &PairSearchOf::place, "features"_a, "w"_a, "bias"_a, "Scores the rows by weights of features.")
      .def("put", &PairSearchOf::put, "scores"_a, "Takes scores (N,) as they are, with a bias of 0.")
      .def("centre", &PairSearchOf::centre, "least"_a, "frequency"_a,
           "Moves the bias to where the residuals' sum is `least` at most; returns it.")
      .def("fit", &PairSearchOf::fit, "features"_a, "limits"_a, "curvatures"_a, "w"_a, "slope"_a.none(),
           "aim"_a, "cycles"_a,
           "Solves for w, in place, from where the rows are, whose slope may be given, to a gap of `aim` of the cost; "
           "returns the bias.")
      .def("sums", &PairSearchOf::sums, "Returns the loss, and the sums of residuals, scores and those of label 1.")
      .def("scores", &PairSearchOf::scores, "Returns the rows' scores, (N,).")
      .def("travel", &PairSearchOf::travel,
           "Returns distances of the last step's probabilities, or else of the rows': from the rows' when this was last "
           "called, and from the rows'; and the sum of their residuals.")
      .def("residuals", &PairSearchOf::residuals, "found"_a = true,
           "Returns f (p - y) of the last step's probabilities, if any and `found`, or else of the rows'.")
      .def("slopes", &PairSearchOf::slopes, "features"_a, "found"_a,
           "Returns the sums of features over those residuals.")
      .def("divergence", &PairSearchOf::divergence, "kept"_a,
           "Returns the sum of f KL(q || p) for the last step's probabilities, of which q keeps a part; the rest is y.")
      .def("has_found", &PairSearchOf::has_found, "Whether the last step found probabilities.");
  m.def("newton", &newton_of, "X"_a, "y"_a, "fractions"_a, "offsets"_a.none(), "curvatures"_a, "at"_a,
        "end"_a, "relative_end"_a, "bias_end"_a, "far"_a, "most"_a,
        "Lowers the mean cross-entropy of rows X (N, D) plus half the squares of at (m, D) times curvatures (D,) by "
        "Newton's method, in place; for m = 1 of two classes, whose weights are -w and w.\n\n"
        "Returns the cost, its gradient (m, D) and how many costs were evaluated after the first.");
  nb::class_<DualSolution>(m, "DualSolution", "Weights of sparse rows that sweeps of ascent in the dual reach from 0.")
      .def(nb::init<const SparseArrays&, const ReadArray&, Index, const ReadArray&, double, bool, bool, int,
                    const OptionalArray&, const OptionalArray&>(),
           "X"_a, "y"_a, "classes"_a, "fractions"_a, "l2"_a, "intercept"_a, "wide"_a, "threads"_a,
           "scale"_a.none() = nb::none(), "order"_a.none() = nb::none())
      .def("sweep", &DualSolution::sweep, "b"_a,
           "Steps of all rows at biases b (K,), which centre them where there is an intercept.\n\n"
           "Returns what b bends the mean of r by, (K, K), the sum of steps (K,), the mean loss, the squared norm of the "
           "weights, and nearly the gap to the dual.")
      .def("features", &DualSolution::features, "Returns how many features rows store.")
      .def("finish", &DualSolution::finish, "Ends the sweeps: what follows is of weights W in their type.")
      .def("moments", &DualSolution::moments, "b"_a,
           "Returns the mean loss at biases b (K,), the mean of p - y (K,), what b bends it by (K, K), and for the rows of "
           "each class the sum of their scores, times fractions, (K, K).")
      .def("slope", &DualSolution::slope, "b"_a,
           "Returns the squared norms of the gradient by W of loss and penalty, and of W, and the mean square of rows.\n\n"
           "It is the last call but for weights.")
      .def("weights", &DualSolution::weights, "Returns W (K, D).");
  m.def("instruction_set", &instruction_set, "The instruction set in use; ONELAYER_ISA overrides it.");
  m.def("supported_instruction_sets", &supported_instruction_sets, "Those this machine supports, best first.");
  m.def("default_threads", &default_threads,
        "Cores this process may use by affinity and cgroup; ONELAYER_THREADS overrides it.");
  m.def("phase_times", &phase_times,
        "Seconds per phase since the last call, summed over threads; empty unless built with ONELAYER_PHASE_TIMES.");
}
