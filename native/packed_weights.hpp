// W as the kernels read it: [slice][column][feature], rows padded with zeros to whole vectors, and back.
#pragma once

#include "buffer.hpp"
#include "shapes.hpp"

namespace onelayer {

template <class T>
class PackedWeights {
 public:
  PackedWeights(const T* W, Index columns, const Slices& slices)
      : slices_(slices), columns_(columns), memory_(slices.count * columns * slices.stride) {
    for (Index s = 0; s < slices_.count; ++s)
      for (Index c = 0; c < columns_; ++c)
        std::memcpy(row(s, c), W + c * slices_.D + slices_.begin(s), bytes(s));
  }
  void unpack(T* W) {
    for (Index s = 0; s < slices_.count; ++s)
      for (Index c = 0; c < columns_; ++c)
        std::memcpy(W + c * slices_.D + slices_.begin(s), row(s, c), bytes(s));
  }
  T* row(Index slice, Index column) { return memory_.data() + (slice * columns_ + column) * slices_.stride; }

 private:
  std::size_t bytes(Index s) const { return static_cast<std::size_t>(slices_.features(s)) * sizeof(T); }
  Slices slices_;
  Index columns_;
  Buffer<T> memory_;
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

}  // namespace onelayer
