#include "arguments.hpp"

#include <cstdint>

namespace onelayer {

namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& expected, const std::string& got) {
  throw nb::value_error((name + ": expected " + expected + ", got " + got).c_str());
}
[[noreturn]] void refuse_type(const std::string& name, const std::string& expected, const std::string& got) {
  throw nb::type_error((name + ": expected " + expected + ", got " + got).c_str());
}

std::string type_name(const nb::dlpack::dtype& type) {
  const auto code = static_cast<nb::dlpack::dtype_code>(type.code);
  const char* kind = code == nb::dlpack::dtype_code::Int     ? "int"
                     : code == nb::dlpack::dtype_code::UInt  ? "uint"
                     : code == nb::dlpack::dtype_code::Float ? "float"
                     : code == nb::dlpack::dtype_code::Bool  ? "bool"
                                                             : "another type of ";
  return kind + std::to_string(type.bits);
}

template <class Array>
std::string shape_text(const Array& array) {
  std::string text = "shape (";
  for (std::size_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
  return text + (array.ndim() == 1 ? ",)" : ")");
}

bool contiguous(const ReadArray& array, std::size_t from = 0) {
  if (array.size() == 0) return true;
  Index expected = 1;
  for (std::size_t i = array.ndim(); i-- > from;) {
    if (array.shape(i) > 1 && array.stride(i) != expected) return false;
    expected *= static_cast<Index>(array.shape(i));
  }
  return true;
}

void check_dimensions(const ReadArray& array, const char* name, std::size_t dimensions, const char* letters) {
  if (array.ndim() != dimensions) refuse(name, std::string("shape ") + letters, shape_text(array));
}

Stored stored_type(const ReadArray& X) {
  const auto type = X.dtype();
  if (type == nb::dtype<std::uint8_t>()) return Stored::uint8;
  if (type == nb::dtype<float>()) return Stored::float32;
  if (type == nb::dtype<double>()) return Stored::float64;
  if (type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float) && type.bits == 16 && type.lanes == 1)
    return Stored::float16;
  refuse_type("X", "uint8, float16, float32 or float64", type_name(type));
}

Labels check_labels(const ReadArray& y, Index rows, Index K) {
  check_dimensions(y, "y", 1, "(N,)");
  const bool wide = y.dtype() == nb::dtype<std::int64_t>();
  if (!wide && y.dtype() != nb::dtype<std::int32_t>()) refuse_type("y", "int64 or int32", type_name(y.dtype()));
  if (static_cast<Index>(y.shape(0)) != rows) refuse("y", std::to_string(rows) + " labels, one a row of X", shape_text(y));
  if (!contiguous(y)) refuse("y", "a contiguous array", "a strided one");
  const Labels labels{y.data(), wide};
  for (Index i = 0; i < rows; ++i)
    if (const Index label = labels.at(i); label < 0 || label >= K)
      refuse("y", "labels from 0 to " + std::to_string(K - 1), std::to_string(label) + " at row " + std::to_string(i));
  return labels;
}

const Index* check_order(const ReadArray& order, Index rows) {
  check_dimensions(order, "order", 1, "(N,)");
  if (order.dtype() != nb::dtype<std::int64_t>()) refuse_type("order", "int64", type_name(order.dtype()));
  if (!contiguous(order)) refuse("order", "a contiguous array", "a strided one");
  const auto* index = static_cast<const Index*>(order.data());
  for (Index i = 0; i < static_cast<Index>(order.shape(0)); ++i)
    if (index[i] < 0 || index[i] >= rows)
      refuse("order", "rows from 0 to " + std::to_string(rows - 1), std::to_string(index[i]) + " at place " + std::to_string(i));
  return index;
}

void check_arithmetic(const ReadArray& array, const char* name) {
  if (array.dtype() != nb::dtype<float>() && array.dtype() != nb::dtype<double>())
    refuse_type(name, "float32 or float64", type_name(array.dtype()));
}

// A contiguous float64 vector of a given length.
void check_vector(const ReadArray& array, const char* name, const char* letter, Index length) {
  check_dimensions(array, name, 1, (std::string("(") + letter + ",)").c_str());
  if (array.dtype() != nb::dtype<double>()) refuse_type(name, "float64", type_name(array.dtype()));
  if (static_cast<Index>(array.shape(0)) != length)
    refuse(name, std::to_string(length) + " values (" + letter + ")", shape_text(array));
  if (!contiguous(array)) refuse(name, "a contiguous array", "a strided one");
}

const bool* check_flags(const Maybe& array, const char* name, const char* letter, Index length) {
  if (!array) return nullptr;
  check_dimensions(*array, name, 1, (std::string("(") + letter + ",)").c_str());
  if (array->dtype() != nb::dtype<bool>()) refuse_type(name, "bool", type_name(array->dtype()));
  if (static_cast<Index>(array->shape(0)) != length)
    refuse(name, std::to_string(length) + " values (" + letter + ")", shape_text(*array));
  if (!contiguous(*array)) refuse(name, "a contiguous array", "a strided one");
  return static_cast<const bool*>(array->data());
}

// A value of each step and run.
const double* check_schedule(const ReadArray& array, const char* name, Index steps, Index R) {
  const std::string wanted = "shape (" + std::to_string(steps) + ", " + std::to_string(R) + "), a value a step and run";
  if (array.ndim() != 2 || static_cast<Index>(array.shape(0)) != steps || static_cast<Index>(array.shape(1)) != R)
    refuse(name, wanted, shape_text(array));
  if (array.dtype() != nb::dtype<double>()) refuse_type(name, "float64", type_name(array.dtype()));
  if (!contiguous(array)) refuse(name, "a C-contiguous array", "a strided one");
  return doubles(array);
}

// Each of them from 0 to 1; `one` is whether 1 itself will do.
void check_shares(const double* values, Index count, const char* name, bool one) {
  for (Index i = 0; i < count; ++i)
    if (!(values[i] >= 0 && (values[i] < 1 || (one && values[i] == 1))))
      refuse(name, one ? "values in [0, 1]" : "values in [0, 1)", std::to_string(values[i]));
}

const double* check_shares_of_runs(const Maybe& array, const char* name, Index R) {
  if (!array) return nullptr;
  check_vector(*array, name, "R", R);
  check_shares(doubles(*array), R, name, false);
  return doubles(*array);
}

void check_size(const ReadArray& X, const Shape& shape) {
  if (shape.N < 1 || shape.D < 1) refuse("X", "at least one row and one feature", shape_text(X));
  if (!contiguous(X, 1)) refuse("X", "rows whose features are contiguous", "strided features (make a contiguous copy)");
}

// All that is known of rows without labels.
Rows check_rows(const ReadArray& X, const Maybe& order, Stored stored, const ReadArray& scale,
                const ReadArray& offset, int threads) {
  const Index D = static_cast<Index>(X.shape(1));
  check_vector(scale, "scale", "D", D);
  check_vector(offset, "offset", "D", D);
  if (threads < 1) refuse("threads", "at least 1", std::to_string(threads));
  Rows rows;
  const Index* index = order ? check_order(*order, static_cast<Index>(X.shape(0))) : nullptr;
  rows.x = {static_cast<const char*>(X.data()), X.stride(0) * static_cast<Index>(X.itemsize()), index, stored};
  rows.scale = doubles(scale);
  rows.offset = doubles(offset);
  return rows;
}

}  // namespace

Problem check_problem(const ReadArray& X, const ReadArray& y, const Maybe& order,
                      const ReadArray& W, const ReadArray& b, const ReadArray& scale, const ReadArray& offset,
                      int threads, const Maybe& weights) {
  check_dimensions(X, "X", 2, "(N, D)");
  check_dimensions(W, "W", 3, "(R, K, D)");
  check_dimensions(b, "b", 2, "(R, K)");
  const Stored stored = stored_type(X);
  check_arithmetic(W, "W");
  if (b.dtype() != W.dtype()) refuse_type("b", "W's type " + type_name(W.dtype()), type_name(b.dtype()));
  Shape shape{static_cast<Index>(X.shape(0)), static_cast<Index>(X.shape(1)), static_cast<Index>(W.shape(1)),
              static_cast<Index>(W.shape(0))};
  check_size(X, shape);
  if (shape.K < 1 || shape.R < 1) refuse("W", "at least one run and one class", shape_text(W));
  if (static_cast<Index>(W.shape(2)) != shape.D)
    refuse("W", "D = " + std::to_string(shape.D) + " features as X has", shape_text(W));
  if (b.shape(0) != W.shape(0) || b.shape(1) != W.shape(1))
    refuse("b", "the shape (" + std::to_string(shape.R) + ", " + std::to_string(shape.K) + ") that W calls for", shape_text(b));
  if (!contiguous(W)) refuse("W", "a C-contiguous array", "a strided one");
  if (!contiguous(b)) refuse("b", "a C-contiguous array", "a strided one");
  Rows rows = check_rows(X, order, stored, scale, offset, threads);
  rows.y = check_labels(y, shape.N, shape.K);
  if (weights) {
    check_vector(*weights, "weights", "N", shape.N);
    rows.weights = doubles(*weights);
  }
  if (order) shape.N = static_cast<Index>(order->shape(0));
  return {shape, rows};
}

Problem check_weighted(const ReadArray& X, const ReadArray& factors, const Maybe& order,
                       const ReadArray& scale, const ReadArray& offset, int threads) {
  check_dimensions(X, "X", 2, "(N, D)");
  check_dimensions(factors, "factors", 3, "(R, N, K)");
  const Stored stored = stored_type(X);
  check_arithmetic(factors, "factors");
  Shape shape{static_cast<Index>(X.shape(0)), static_cast<Index>(X.shape(1)), static_cast<Index>(factors.shape(2)),
              static_cast<Index>(factors.shape(0))};
  check_size(X, shape);
  if (shape.K < 1 || shape.R < 1) refuse("factors", "at least one run and one class", shape_text(factors));
  if (!contiguous(factors)) refuse("factors", "a C-contiguous array", "a strided one");
  const Rows rows = check_rows(X, order, stored, scale, offset, threads);
  if (order) shape.N = static_cast<Index>(order->shape(0));
  if (static_cast<Index>(factors.shape(1)) != shape.N)
    refuse("factors", "N = " + std::to_string(shape.N) + " rows", shape_text(factors));
  return {shape, rows};
}

Objectives check_objectives(Index R, const Maybe& sigmoid, const Maybe& smoothing) {
  return {check_flags(sigmoid, "sigmoid", "R", R), check_shares_of_runs(smoothing, "smoothing", R)};
}

Method check_method(const Shape& shape, Index batch_size, const MethodArrays& arrays) {
  if (batch_size < 1) refuse("batch_size", "at least 1", std::to_string(batch_size));
  const Index steps = ceil_div(shape.N, batch_size);
  Method method;
  method.learning_rate = check_schedule(arrays.learning_rate, "learning_rate", steps, shape.R);
  check_vector(arrays.l2, "l2", "R", shape.R);
  method.l2 = doubles(arrays.l2);
  method.momentum = check_shares_of_runs(arrays.momentum, "momentum", shape.R);
  method.nesterov = check_flags(arrays.nesterov, "nesterov", "R", shape.R);
  if (arrays.averaging) {
    method.averaging = check_schedule(*arrays.averaging, "averaging", steps, shape.R);
    check_shares(method.averaging, steps * shape.R, "averaging", true);
  }
  return method;
}

void check_flips(Problem& problem, const Maybe& flipped, Index image_width) {
  if (!flipped) return;
  const Index D = problem.shape.D;
  if (image_width < 1 || D % image_width != 0)
    refuse("image_width", "a divisor of D = " + std::to_string(D) + " where rows are flipped", std::to_string(image_width));
  problem.rows.x.flipped = check_flags(flipped, "flipped", "N", problem.shape.N);
  problem.rows.x.image_width = image_width;
}

void check_history(const MaybePair& given, const char* name, const char* where_needed, bool needed, const ReadArray& W) {
  if (!given) {
    if (needed) refuse(name, std::string("W and b ") + where_needed, "None");
    return;
  }
  const ReadArray parts[] = {ReadArray(given->first), ReadArray(given->second)};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::string part = std::string(name) + (i ? "'s b" : "'s W");
    bool alike = parts[i].ndim() == W.ndim() - i;
    for (std::size_t j = 0; alike && j < parts[i].ndim(); ++j) alike = parts[i].shape(j) == W.shape(j);
    if (!alike) refuse(part, i ? "b's shape" : "W's shape", shape_text(parts[i]));
    if (parts[i].dtype() != W.dtype()) refuse_type(part, "W's type " + type_name(W.dtype()), type_name(parts[i].dtype()));
    if (!contiguous(parts[i])) refuse(part, "a C-contiguous array", "a strided one");
  }
}

bool on_main_thread() {
  const nb::module_ threading = nb::module_::import_("threading");
  return threading.attr("current_thread")().is(threading.attr("main_thread")());
}

}  // namespace onelayer
