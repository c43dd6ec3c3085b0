// Threads that live for one call. Starting one costs tens of microseconds and a call lasts milliseconds; nothing
// is left behind that a fork could break or that a second caller would have to share.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cores.hpp"

namespace onelayer {

// Weights that shrink by a factor every step end as subnormal numbers, which cost a hundred times a normal one.
class FlushSubnormals {
 public:
#if defined(__SSE2__)
  FlushSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ~FlushSubnormals() { _mm_setcsr(saved_); }
  unsigned saved_;
#elif defined(__aarch64__)
  FlushSubnormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (1ul << 24)));
  }
  ~FlushSubnormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }
  unsigned long saved_;
#else
  FlushSubnormals() {}
#endif
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;
};

// Calls work(thread) for thread = 0 .. threads-1, 0 being the caller's. `work` must not throw. Where the system
// gives no more threads nothing is run at all and its error is thrown: a team short of one would wait for ever.
//
// All are on their cores before any begins, and wait for that without sleeping: a thread that sleeps is put by the
// system on the core of the one that wakes it, whose own waiting then keeps it from running for milliseconds.
template <class Work>
void run_team(int threads, const Work& work) {
  enum Order { wait, go, leave };
  std::atomic<Order> order{wait};
  std::atomic<int> settled{0};
  Cores cores;
  const auto guarded = [&](int thread) noexcept {
    FlushSubnormals flush;
    work(thread);
  };
  const auto help = [&](int thread) noexcept {
    cores.settle();
    settled.fetch_add(1, std::memory_order_release);
    while (order.load(std::memory_order_acquire) == wait) std::this_thread::yield();
    if (order.load(std::memory_order_acquire) == go) guarded(thread);
  };
  if (threads > 1) cores.settle();  // before the others, so that it is they who move
  std::vector<std::thread> others;
  others.reserve(static_cast<std::size_t>(threads));
  const auto tell = [&](Order what) { order.store(what, std::memory_order_release); };
  try {
    for (int thread = 1; thread < threads; ++thread) others.emplace_back(help, thread);
  } catch (...) {
    tell(leave);
    for (std::thread& other : others) other.join();
    throw;
  }
  while (settled.load(std::memory_order_acquire) < threads - 1) std::this_thread::yield();
  tell(go);
  guarded(0);
  for (std::thread& other : others) other.join();
}

}  // namespace onelayer
