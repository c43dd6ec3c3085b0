#include "arguments.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace onelayer {

namespace {

using DType = nb::dlpack::dtype;

[[noreturn]] void value_error(const std::string& name, const std::string& expected, const std::string& given) {
  throw nb::value_error((name + ": expected " + expected + ", got " + given).c_str());
}

std::string type_name(const DType& type) {
  const auto code = static_cast<nb::dlpack::dtype_code>(type.code);
  const char* kind = code == nb::dlpack::dtype_code::Int     ? "int"
                     : code == nb::dlpack::dtype_code::UInt  ? "uint"
                     : code == nb::dlpack::dtype_code::Float ? "float"
                     : code == nb::dlpack::dtype_code::Bool  ? "bool"
                                                             : "another type of ";
  return code == nb::dlpack::dtype_code::Bool ? kind : kind + std::to_string(type.bits);
}

[[noreturn]] void type_error(const std::string& name, const std::string& expected, const ReadArray& given) {
  throw nb::type_error((name + ": expected " + expected + ", got " + type_name(given.dtype())).c_str());
}

using Dimensions = std::vector<Index>;

Dimensions dimensions(const ReadArray& array) {
  return {array.shape_ptr(), array.shape_ptr() + array.ndim()};
}

std::string shape_text(const Dimensions& shape) {
  std::string text = "shape (";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

// Whether the dimensions after the first `from` lie in C order without gaps.
bool contiguous(const ReadArray& array, std::size_t from = 0) {
  if (array.size() == 0) return true;
  Index expected = 1;
  for (std::size_t i = array.ndim(); i-- > from;) {
    if (array.shape(i) > 1 && array.stride(i) != expected) return false;
    expected *= static_cast<Index>(array.shape(i));
  }
  return true;
}

void check_rank(const ReadArray& array, const char* name, std::size_t rank, const char* letters) {
  if (array.ndim() != rank) value_error(name, std::string("shape ") + letters, shape_text(dimensions(array)));
}

void check_array(const ReadArray& array, const std::string& name, const DType& type, const std::string& letters,
                 const Dimensions& shape) {
  if (array.dtype() != type) type_error(name, type_name(type), array);
  if (dimensions(array) != shape) value_error(name, shape_text(shape) + " = " + letters, shape_text(dimensions(array)));
  if (!contiguous(array)) value_error(name, "a C-contiguous array", "a strided one");
}

template <class T>
const T* check(const ReadArray& array, const char* name, const char* letters, const Dimensions& shape) {
  check_array(array, name, nb::dtype<T>(), letters, shape);
  return static_cast<const T*>(array.data());
}
template <class T>
const T* check(const OptionalArray& array, const char* name, const char* letters, const Dimensions& shape) {
  return array ? check<T>(*array, name, letters, shape) : nullptr;
}

void check_range(const double* values, std::size_t count, const char* name, Range range) {
  const bool inclusive = range == Range::up_to_one;
  for (std::size_t i = 0; range != Range::any && i < count; ++i)
    if (!(values[i] >= 0 && (values[i] < 1 || (inclusive && values[i] == 1))))
      value_error(name, inclusive ? "values in [0, 1]" : "values in [0, 1)", std::to_string(values[i]));
}

// The place of a name in a table of rules.
template <class Rule, std::size_t size>
std::size_t find(const Rule (&rules)[size], const std::string& name, const char* argument) {
  std::string names;
  for (std::size_t i = 0; i < size; ++i) {
    if (name == rules[i].name) return i;
    names += (i ? ", " : "") + std::string(rules[i].name);
  }
  value_error(argument, "only " + names, name);
}

// W (R, K, D) or factors (R, N, K), whose K is dimension `axis`: sets R and K.
void check_runs(const ReadArray& array, const char* name, const char* letters, std::size_t axis, Shape& shape) {
  check_rank(array, name, 3, letters);
  if (array.dtype() != nb::dtype<float>() && array.dtype() != nb::dtype<double>())
    type_error(name, "float32 or float64", array);
  shape.R = static_cast<Index>(array.shape(0));
  shape.K = static_cast<Index>(array.shape(axis));
  if (shape.R < 1 || shape.K < 1) value_error(name, "at least one run and one class", shape_text(dimensions(array)));
}

StoredType stored_type(const ReadArray& X) {
  const DType type = X.dtype();
  if (type == nb::dtype<std::uint8_t>()) return StoredType::uint8;
  if (type == nb::dtype<float>()) return StoredType::float32;
  if (type == nb::dtype<double>()) return StoredType::float64;
  if (type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float) && type.bits == 16 && type.lanes == 1)
    return StoredType::float16;
  type_error("X", "uint8, float16, float32 or float64", X);
}

// Many labels a row: as many as a run has classes, or as there are runs of one class.
Labels check_many_labels(const ReadArray& y, Index N, Index K, Index R) {
  if (y.dtype() != nb::dtype<std::uint8_t>()) type_error("y", "uint8 of many labels a row", y);
  const Index L = K == 1 ? R : K;
  check_array(y, "y", y.dtype(), "(N, L)", {N, L});
  Labels labels;
  labels.many = static_cast<const std::uint8_t*>(y.data());
  labels.L = L;
  for (Index i = 0; i < N * L; ++i)
    if (labels.many[i] > 1)
      value_error("y", "0 or 1", std::to_string(labels.many[i]) + " at row " + std::to_string(i / L));
  return labels;
}

Labels check_labels(const ReadArray& y, Index N, Index K) {
  const bool wide = y.dtype() == nb::dtype<std::int64_t>();
  if (!wide && y.dtype() != nb::dtype<std::int32_t>()) type_error("y", "int64 or int32", y);
  check_array(y, "y", y.dtype(), "(N,)", {N});
  const Labels labels{y.data(), wide};
  for (Index i = 0; i < N; ++i)
    if (const Index label = labels.at(i); label < 0 || label >= K)
      value_error("y", "labels from 0 to " + std::to_string(K - 1),
                  std::to_string(label) + " at row " + std::to_string(i));
  return labels;
}

const Index* check_order(const ReadArray& order, Index rows) {
  check_rank(order, "order", 1, "(N,)");
  const auto* index = check<Index>(order, "order", "(N,)", dimensions(order));
  for (Index i = 0; i < static_cast<Index>(order.shape(0)); ++i)
    if (index[i] < 0 || index[i] >= rows)
      value_error("order", "rows from 0 to " + std::to_string(rows - 1),
                  std::to_string(index[i]) + " at position " + std::to_string(i));
  return index;
}

void check_dense(const ReadArray& X, Pass& pass) {
  check_rank(X, "X", 2, "(N, D)");
  pass.shape.N = static_cast<Index>(X.shape(0));
  pass.shape.D = static_cast<Index>(X.shape(1));
  pass.rows.x.base = static_cast<const char*>(X.data());
  pass.rows.x.row_bytes = X.stride(0) * static_cast<Index>(X.itemsize());
  pass.rows.x.type = stored_type(X);
  if (pass.shape.N < 1 || pass.shape.D < 1)
    value_error("X", "at least one row and one feature", shape_text(dimensions(X)));
  if (!contiguous(X, 1))
    value_error("X", "rows whose features are contiguous", "strided features (make a contiguous copy)");
}

// Features must be in range, or the passes would read and write elsewhere.
void check_sparse(const SparseArrays& arrays, Pass& pass) {
  const auto& [values, indices, indptr, D] = arrays;
  StoredMatrix& x = pass.rows.x;
  check_rank(indptr, "indptr", 1, "(N + 1,)");
  x.indptr = check<Index>(indptr, "indptr", "(N + 1,)", dimensions(indptr));
  const Index N = static_cast<Index>(indptr.shape(0)) - 1, stored = static_cast<Index>(values.size());
  if (N < 1 || D < 1 || D >= Index{1} << 31)
    value_error("X", "at least one row, and one to 2^31 - 1 features", std::to_string(N) + " and " + std::to_string(D));
  check_array(values, "values", values.dtype(), "(stored,)", {stored});
  check_array(indices, "indices", indices.dtype(), "(stored,)", {stored});
  x.type = stored_type(values);
  if (x.type != StoredType::float32 && x.type != StoredType::float64) type_error("values", "float32 or float64", values);
  const bool wide = indices.dtype() == nb::dtype<std::int64_t>();
  if (!wide && indices.dtype() != nb::dtype<std::int32_t>()) type_error("indices", "int32 or int64", indices);
  x.base = static_cast<const char*>(values.data());
  x.indices = static_cast<const std::int32_t*>(indices.data());
  x.index_words = wide ? 2 : 1;
  for (Index n = 0; n < N; ++n)
    if (x.indptr[n] < 0 || x.indptr[n + 1] < x.indptr[n] || x.indptr[n + 1] > stored)
      value_error("indptr", "ascending numbers from 0 to " + std::to_string(stored), std::to_string(x.indptr[n + 1]));
  x.stored_last = x.indptr[N] - 1;
  std::uint64_t largest = 0;
  for (Index j = x.indptr[0]; j < x.indptr[N]; ++j)
    largest = std::max(largest, wide ? static_cast<const std::uint64_t*>(indices.data())[j]
                                     : static_cast<const std::uint32_t*>(indices.data())[j]);
  if (x.indptr[N] > x.indptr[0] && largest >= static_cast<std::uint64_t>(D))
    value_error("indices", "0 to " + std::to_string(D - 1), std::to_string(static_cast<std::int64_t>(largest)));
  pass.shape.N = N;
  pass.shape.D = D;
}

// A pass over stored rows, in order, without labels and scales. Its shape is that of X: N stored rows.
Pass check_stored(const RowArrays& X, const OptionalArray& order, int threads) {
  Pass pass;
  if (const auto* dense = std::get_if<ReadArray>(&X))
    check_dense(*dense, pass);
  else
    check_sparse(std::get<SparseArrays>(X), pass);
  if (order) pass.rows.x.order = check_order(*order, pass.shape.N);
  if (threads < 1) value_error("threads", "at least 1", std::to_string(threads));
  pass.threads = threads;
  return pass;
}

Pass check_rows(const RowArrays& X, const OptionalArray& order, const ReadArray& scale, const ReadArray& offset,
                int threads) {
  Pass pass = check_stored(X, order, threads);
  pass.rows.scale = check<double>(scale, "scale", "(D,)", {pass.shape.D});
  pass.rows.offset = check<double>(offset, "offset", "(D,)", {pass.shape.D});
  return pass;
}

}  // namespace

Pass check_stored_rows(const RowArrays& X, int threads) { return check_stored(X, std::nullopt, threads); }

Pass check_sparse_rows(const RowArrays& X, int threads) {
  if (!std::holds_alternative<SparseArrays>(X)) value_error("X", "sparse rows", "an array");
  return check_stored(X, std::nullopt, threads);
}

Pass check_pass(const RowArrays& X, const ReadArray& y, const OptionalArray& order, const ReadArray& W,
                const ReadArray& b, const ReadArray& scale, const ReadArray& offset, int threads,
                const OptionalArray& weights) {
  Pass pass = check_rows(X, order, scale, offset, threads);
  Shape& shape = pass.shape;
  check_runs(W, "W", "(R, K, D)", 1, shape);
  check_array(W, "W", W.dtype(), "(R, K, D)", {shape.R, shape.K, shape.D});
  check_array(b, "b", W.dtype(), "(R, K)", {shape.R, shape.K});
  pass.rows.y = y.ndim() == 2 ? check_many_labels(y, shape.N, shape.K, shape.R) : check_labels(y, shape.N, shape.K);
  pass.rows.weights = check<double>(weights, "weights", "(N,)", {shape.N});
  if (order) shape.N = static_cast<Index>(order->shape(0));
  return pass;
}

Pass check_classes(const RowArrays& X, const ReadArray& y, Index classes, const OptionalArray& order, int threads,
                   const OptionalArray& weights) {
  Pass pass = check_stored(X, order, threads);
  Shape& shape = pass.shape;
  if (classes < 1) value_error("classes", "at least 1", std::to_string(classes));
  shape.K = classes;
  pass.rows.y = check_labels(y, shape.N, shape.K);
  pass.rows.weights = check<double>(weights, "weights", "(N,)", {shape.N});
  if (order) shape.N = static_cast<Index>(order->shape(0));
  return pass;
}

Pass check_sums(const RowArrays& X, const ReadArray& factors, const OptionalArray& order, const ReadArray& scale,
                const ReadArray& offset, int threads) {
  Pass pass = check_rows(X, order, scale, offset, threads);
  Shape& shape = pass.shape;
  if (order) shape.N = static_cast<Index>(order->shape(0));
  check_runs(factors, "factors", "(R, N, K)", 2, shape);
  check_array(factors, "factors", factors.dtype(), "(R, N, K)", {shape.R, shape.N, shape.K});
  return pass;
}

Pass check_dual(const SparseArrays& X, const ReadArray& y, Index classes, const OptionalArray& order,
                const OptionalArray& scale, const ReadArray& fractions, int threads) {
  Pass pass = check_classes(X, y, classes, order, threads, std::nullopt);
  pass.rows.scale = check<double>(scale, "scale", "(D,)", {pass.shape.D});
  check<double>(fractions, "fractions", "(N,)", {pass.shape.N});
  return pass;
}

Quadratic check_quadratic(const ReadArray& H, const ReadArray& penalty, const WriteArray& w, const WriteArray& g) {
  check_rank(ReadArray(w), "w", 2, "(m, n)");
  const auto m = static_cast<Index>(w.shape(0)), n = static_cast<Index>(w.shape(1));
  check<double>(ReadArray(w), "w", "(m, n)", {m, n});
  check<double>(ReadArray(g), "g", "(m, n)", {m, n});
  return {n, m, check<double>(H, "H", "(n, n)", {n, n}), check<double>(penalty, "penalty", "(n,)", {n}),
          static_cast<double*>(w.data()), static_cast<double*>(g.data())};
}

void check_vectors(const ReadArray& rows, const ReadArray& x) {
  check_rank(rows, "rows", 2, "(m, n)");
  if (rows.dtype() != nb::dtype<float>() && rows.dtype() != nb::dtype<double>())
    type_error("rows", "float32 or float64", rows);
  check_array(rows, "rows", rows.dtype(), "(m, n)", dimensions(rows));
  check_array(x, "x", rows.dtype(), "(n,)", {static_cast<Index>(rows.shape(1))});
}

PointRequest check_point(const ReadArray& at, const ReadArray& present, int threads) {
  check_rank(at, "at", 2, "(K, D + 1)");
  const double* const values = check<double>(at, "at", "(K, D + 1)", dimensions(at));
  const Dimensions shape = dimensions(at);
  const bool* const of = check<bool>(present, "present", "(K,)", {shape[0]});
  if (shape[1] < 1) value_error("at", "a column of biases", shape_text(shape));
  PointRequest request{shape[0], shape[1] - 1, values, {}, threads};
  for (Index k = 0; k < shape[0]; ++k)
    if (of[k]) request.present.push_back(k);
  if (request.present.empty()) value_error("present", "at least one class", "none");
  return request;
}

AnyColumns columns_of(const SparseArrays& X, const OptionalArray& order, const ReadArray& scale,
                      const ReadArray& offset, int threads) {
  Pass pass = check_rows(X, order, scale, offset, threads);
  if (order) pass.shape.N = static_cast<Index>(order->shape(0));
  if (pass.rows.x.type == StoredType::float32) return Columns<float>(pass);
  return Columns<double>(pass);
}

StoredMatrix check_tile(const ReadArray& X, const OptionalArray& order, bool wide, Index D, Index& count) {
  const Pass pass = check_stored(X, order, 1);
  count = order ? static_cast<Index>(order->shape(0)) : pass.shape.N;
  check_array(X, "X", X.dtype(), "(n, D)", {pass.shape.N, D});
  if (wide != (pass.rows.x.type == StoredType::float64)) type_error("X", "the type of the columns", X);
  return pass.rows.x;
}

const Index* check_features(const ReadArray& features, Index D) {
  check_rank(features, "features", 1, "(n,)");
  const Index* const of = check<Index>(features, "features", "(n,)", dimensions(features));
  for (std::size_t i = 0; i < features.shape(0); ++i)
    if (of[i] < 0 || of[i] >= D) value_error("features", "0 to " + std::to_string(D - 1), std::to_string(of[i]));
  return of;
}

Index dimension(const ReadArray& array, const char* name, const char* letters, std::size_t axis) {
  check_rank(array, name, 2, letters);
  return static_cast<Index>(array.shape(axis));
}

const double* check_doubles(const ReadArray& array, const char* name, const Dimensions& shape) {
  return check<double>(array, name, shape.size() == 1 ? "(n,)" : "(m, n)", shape);
}

NewtonJob check_newton(const ReadArray& X, const ReadArray& y, const ReadArray& fractions,
                       const OptionalArray& offsets, const ReadArray& curvatures, const WriteArray& at) {
  const Index N = dimension(X, "X", "(N, D)", 0), D = dimension(X, "X", "(N, D)", 1);
  const Index m = dimension(ReadArray(at), "at", "(m, D)", 0), classes = m == 1 ? 2 : m;
  check_doubles(ReadArray(at), "at", {m, D});
  NewtonJob job;
  job.N = N, job.D = D, job.m = m;
  job.X = check_doubles(X, "X", {N, D}), job.y = check<Index>(y, "y", "(N,)", {N});
  for (Index n = 0; n < N; ++n)
    if (job.y[n] < 0 || job.y[n] >= classes)
      value_error("y", "0 to " + std::to_string(classes - 1), std::to_string(job.y[n]));
  job.fractions = check_doubles(fractions, "fractions", {N});
  job.offsets = offsets ? check_doubles(*offsets, "offsets", {m, N}) : nullptr;
  job.curvatures = check_doubles(curvatures, "curvatures", {D});
  job.at = static_cast<double*>(at.data());
  return job;
}

Method check_settings(const SettingArrays& settings, Index R, Index T) {
  Method method;
  for (const auto& [name, array] : settings) {
    const std::size_t i = find(kSettingRules, name, "settings");
    const auto [_, each_step, range] = kSettingRules[i];
    method.settings[i] = each_step ? check<double>(array, name.c_str(), "(T, R)", {T, R})
                                   : check<double>(array, name.c_str(), "(R,)", {R});
    check_range(method.settings[i], array.size(), name.c_str(), range);
  }
  return method;
}

Method check_training(const SettingArrays& settings, const Shape& shape, Index batch_size) {
  if (batch_size < 1) value_error("batch_size", "at least 1", std::to_string(batch_size));
  const Method method = check_settings(settings, shape.R, ceil_div(shape.N, batch_size));
  if (!method.settings[kLearningRate]) value_error("settings", "learning_rate among them", "none");
  return method;
}

void check_flips(Pass& pass, const OptionalArray& flipped, Index image_width) {
  if (!flipped) return;
  if (pass.rows.x.sparse()) value_error("flipped", "none for sparse rows", "some");
  const Index D = pass.shape.D;
  if (image_width < 1 || D % image_width != 0)
    value_error("image_width", "a divisor of D = " + std::to_string(D), std::to_string(image_width));
  pass.rows.x.flipped = check<bool>(flipped, "flipped", "(N,)", {pass.shape.N});
  pass.rows.x.image_width = image_width;
}

void check_slots(const SlotArrays& slots, const Method& method, const ReadArray& W) {
  const Dimensions shape = dimensions(W);
  for (const auto& [name, slot] : slots) {
    find(kSlotRules, name, "slots");
    check_array(ReadArray(slot.first), name + "'s W", W.dtype(), "(R, K, D)", shape);
    check_array(ReadArray(slot.second), name + "'s b", W.dtype(), "(R, K)", {shape[0], shape[1]});
  }
  for (const SlotRule& rule : kSlotRules)
    if (method.settings[rule.used_by] && !slots.contains(rule.name))
      value_error(rule.name, std::string("W and b, for ") + kSettingRules[rule.used_by].name, "none");
}

bool on_main_thread() {
  const nb::module_ threading = nb::module_::import_("threading");
  return threading.attr("current_thread")().is(threading.attr("main_thread")());
}

}  // namespace onelayer
