// W, or what is laid out like it, as the kernels read it: [slice][column][feature], rows padded with zeros to whole
// vectors, and back. Of none there is none.
#pragma once

#include "buffer.hpp"
#include "jobs.hpp"

namespace onelayer {

template <class T>
class PackedWeights {
 public:
  PackedWeights(const T* W, Index columns, const Slices& slices)
      : slices_(slices), columns_(W ? columns : 0), memory_(slices.count * columns_ * slices.stride) {
    for (Index s = 0; s < slices_.count; ++s)
      for (Index c = 0; c < columns_; ++c)
        std::memcpy(row(s, c), W + c * slices_.D + slices_.begin(s), bytes(s));
  }
  void unpack(T* W) {
    for (Index s = 0; s < slices_.count; ++s)
      for (Index c = 0; c < columns_; ++c)
        std::memcpy(W + c * slices_.D + slices_.begin(s), row(s, c), bytes(s));
  }
  T* row(Index slice, Index column) {
    return columns_ ? memory_.data() + (slice * columns_ + column) * slices_.stride : nullptr;
  }

 private:
  std::size_t bytes(Index s) const { return static_cast<std::size_t>(slices_.features(s)) * sizeof(T); }
  Slices slices_;
  Index columns_;
  Buffer<T> memory_;
};

// Where all runs stand.
template <class T>
struct PackedState {
  PackedWeights<T> weights, velocity, average;
};

// A per-feature vector in the same slices: [slice][feature], zero in the padding.
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

// What features are made of stored values: x * scale + offset. Where all features have one factor and no offset,
// nothing is done to the values: the factor comes out of the sums, at a thirtieth of the work.
template <class T>
class PackedScaling {
 public:
  PackedScaling(const double* scale, const double* offset, const Slices& slices)
      : common_(all_equal(scale, scale[0], slices.D) && all_equal(offset, 0, slices.D)),
        factor_(common_ ? static_cast<T>(scale[0]) : T(1)),
        scale_(scale, slices),
        offset_(offset, slices) {}
  T factor() const { return factor_; }
  Scaling<T> of(Index s) const { return common_ ? Scaling<T>{} : Scaling<T>{scale_.slice(s), offset_.slice(s)}; }

 private:
  static bool all_equal(const double* values, double value, Index count) {
    for (Index i = 0; i < count; ++i)
      if (values[i] != value) return false;
    return true;
  }
  bool common_;
  T factor_;
  PackedFeatures<T> scale_, offset_;
};

}  // namespace onelayer
