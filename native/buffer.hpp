// Memory aligned to a cache line, or to a huge page where it is large; zeroed unless told otherwise.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "shapes.hpp"

namespace onelayer {

struct FreeMemory {
  void operator()(void* p) const { std::free(p); }
};

// For memory that is written before it is read.
struct Unset {};

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(Index count) : Buffer(count, Unset{}) {
    std::memset(static_cast<void*>(memory_.get()), 0, static_cast<std::size_t>(larger(count, 1)) * sizeof(T));
  }
  Buffer(Index count, Unset) {
    constexpr std::size_t huge = 2u << 20;
    const std::size_t bytes = static_cast<std::size_t>(larger(count, 1)) * sizeof(T);
    const std::size_t alignment = bytes >= huge ? huge : kLineBytes;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    memory_.reset(static_cast<T*>(std::aligned_alloc(alignment, rounded)));
    if (!memory_) throw std::bad_alloc();
#if defined(__linux__)
    if (alignment == huge) madvise(memory_.get(), rounded, MADV_HUGEPAGE);
#endif
  }
  T* data() { return memory_.get(); }
  const T* data() const { return memory_.get(); }
  T& operator[](Index i) { return memory_.get()[i]; }

 private:
  std::unique_ptr<T, FreeMemory> memory_;
};

}  // namespace onelayer
