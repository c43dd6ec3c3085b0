// The arrays of a pass as the kernels read them: aligned, cut into slices, padded with zeros to whole vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

#include "jobs.hpp"

namespace onelayer {

#if defined(_WIN32)
inline void* allocate(std::size_t alignment, std::size_t bytes) { return _aligned_malloc(bytes, alignment); }
#else
inline void* allocate(std::size_t alignment, std::size_t bytes) { return std::aligned_alloc(alignment, bytes); }
#endif

struct FreeMemory {
#if defined(_WIN32)
  void operator()(void* p) const { _aligned_free(p); }
#else
  void operator()(void* p) const { std::free(p); }
#endif
};

// Of the whole huge pages of large memory; those that were touched before stay as they are.
inline void ask_for_huge_pages([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  constexpr std::uintptr_t huge = 2u << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory) + huge - 1) / huge * huge;
  const auto end = (reinterpret_cast<std::uintptr_t>(memory) + bytes) / huge * huge;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// For memory that is written before it is read.
struct Uninitialized {};

// Memory aligned to a cache line, or to a huge page where it is large; zeroed unless Uninitialized.
template <class T>
class Buffer {
 public:
  explicit Buffer(Index count) : Buffer(count, Uninitialized{}) {
    std::memset(static_cast<void*>(memory_.get()), 0, static_cast<std::size_t>(max(count, 1)) * sizeof(T));
  }
  Buffer(Index count, Uninitialized) {
    constexpr std::size_t huge = 2u << 20;
    const std::size_t bytes = static_cast<std::size_t>(max(count, 1)) * sizeof(T);
    const std::size_t alignment = bytes >= huge ? huge : kLineBytes;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    memory_.reset(static_cast<T*>(allocate(alignment, rounded)));
    if (!memory_) throw std::bad_alloc();
    ask_for_huge_pages(memory_.get(), rounded);
  }
  T* data() { return memory_.get(); }
  const T* data() const { return memory_.get(); }
  T& operator[](Index i) { return memory_.get()[i]; }

 private:
  std::unique_ptr<T, FreeMemory> memory_;
};

template <class T> T one_nan(T x) { return x == x ? x : std::numeric_limits<T>::quiet_NaN(); }

// W, or an array of its shape, as [slice][column][feature], and back. Empty where W is null.
//
// Where two columns share a vector it is [slice][pair][8 features][column of the pair][feature], or 4 of double, and
// an odd number of columns is filled up with zeros.
template <class T>
class PackedWeights {
 public:
  PackedWeights(const T* W, Index columns, const Slices& slices, Index sharing)
      : slices_(slices),
        sharing_(sharing),
        columns_(W ? columns : 0),
        rows_(round_up(columns_, sharing)),
        memory_(slices.count * rows_ * slices.stride) {
    for_each_part([&](T* packed, Index i, Index count) { std::copy_n(W + i, count, packed); });
  }
  // Processors give NaN different signs and payloads.
  void unpack(T* W) {
    for_each_part([&](T* packed, Index i, Index count) { std::transform(packed, packed + count, W + i, one_nan<T>); });
  }
  // The column must be the first of a vector's.
  T* row(Index slice, Index column) {
    return columns_ ? memory_.data() + (slice * rows_ + column) * slices_.stride : nullptr;
  }

 private:
  // part(where it is packed, its first element of W, elements)
  template <class Part>
  void for_each_part(const Part& part) {
    constexpr Index lanes = kSumBytes / sizeof(T);
    for (Index s = 0; s < slices_.count; ++s)
      for (Index c = 0; c < columns_; ++c) {
        T* packed = row(s, c / sharing_ * sharing_) + c % sharing_ * lanes;
        const Index first = c * slices_.D + slices_.begin(s), features = slices_.features(s);
        if (sharing_ == 1) {
          part(row(s, c), first, features);
          continue;
        }
        Index d = 0;
        for (; d + lanes <= features; d += lanes) part(packed + d * sharing_, first + d, lanes);
        part(packed + d * sharing_, first + d, features - d);
      }
  }
  Slices slices_;
  Index sharing_, columns_, rows_;
  Buffer<T> memory_;
};

// The weights of all runs and the slots of their steps.
template <class T>
struct PackedState {
  PackedWeights<T> weights;
  std::vector<PackedWeights<T>> slots;  // kSlots, or none
  SlotPointers<T> slot_rows(Index slice) {
    SlotPointers<T> rows;
    for (std::size_t i = 0; i < slots.size(); ++i) rows.slots[i] = slots[i].row(slice, 0);
    return rows;
  }
};

// A per-feature vector as [slice][feature].
template <class T>
class PackedFeatures {
 public:
  PackedFeatures(const double* values, const Slices& slices) : stride_(slices.stride), memory_(slices.count * stride_) {
    for (Index s = 0; s < slices.count; ++s)
      for (Index d = 0; d < slices.features(s); ++d)
        memory_[s * stride_ + d] = static_cast<T>(values[slices.begin(s) + d]);
  }
  const T* slice(Index s) const { return memory_.data() + s * stride_; }

 private:
  Index stride_;
  Buffer<T> memory_;
};

// The rows of a pass, slice by slice: feature = stored value * scale + offset. Where all features have one scale and no
// offset, the values stay as stored: the scale is applied to the sums, at a thirtieth of the work. Extreme scales and
// offsets are applied in float64.
template <class T>
class SlicedRows {
 public:
  SlicedRows(const Rows& rows, const Slices& slices, const Caches& caches)
      : caches_(caches),
        rows_(rows),
        slices_(slices),
        wide_(sizeof(T) < sizeof(double) && extreme(rows, slices.D)),
        common_(!wide_ && all_equal(rows.scale, rows.scale[0], slices.D) && all_equal(rows.offset, 0, slices.D)),
        common_scale_(common_ ? static_cast<T>(rows.scale[0]) : T(1)),
        scale_(rows.scale, slices),
        offset_(rows.offset, slices),
        wide_scale_(rows.scale, slices),
        wide_offset_(rows.offset, slices) {}
  T common_scale() const { return common_scale_; }

  // The job that loads slice s of rows `first` to `first + count` into x, a tile that has room for `rows`, and scores
  // nothing yet.
  ScoreJob<T> load_job(Index s, Index first, Index count, T* x, Index rows) const {
    ScoreJob<T> job;
    job.caches = caches_;
    job.rows = rows_.x;
    job.first = first;
    job.count = count;
    job.begin = slices_.begin(s);
    job.features = slices_.features(s);
    job.width = slices_.padded(s);
    if (!common_) job.scaling = {scale_.slice(s), offset_.slice(s), nullptr, nullptr};
    if (wide_) job.scaling = {nullptr, nullptr, wide_scale_.slice(s), wide_offset_.slice(s)};
    job.common_scale = common_scale_;
    job.x = x;
    job.row_stride = kPanel<T>;
    job.panel_stride = panel_stride(rows, kPanel<T>);
    job.stride = slices_.stride;
    return job;
  }

 private:
  static bool all_equal(const double* values, double value, Index count) {
    for (Index i = 0; i < count; ++i)
      if (values[i] != value) return false;
    return true;
  }
  // Whether values rounded to float32 before they are scaled would keep too few bits, or overflow: Rows.extreme.
  static bool extreme(const Rows& rows, Index D) {
    for (Index d = 0; d < D; ++d) {
      const double scale = std::abs(rows.scale[d]);
      if (std::abs(rows.offset[d]) > 1024 || scale > 1e15 || (scale < 1e-15 && scale > 0)) return true;
    }
    return false;
  }
  const Caches caches_;
  const Rows& rows_;
  Slices slices_;
  bool wide_, common_;
  T common_scale_;
  PackedFeatures<T> scale_, offset_;
  PackedFeatures<double> wide_scale_, wide_offset_;
};

}  // namespace onelayer
