// A barrier for the threads of one call, which meet every few tens of microseconds.
//
// To sleep and be woken costs as much as a whole step, so a waiting thread first spins for as long as a balanced
// step differs between threads, then offers its core to others between looks (a partner that lost its core gets
// it back sooner), and only when a step's time has long passed does it sleep, so that no core burns for long.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace onelayer {

inline void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Barrier {
 public:
  explicit Barrier(int threads) : threads_(static_cast<std::uint32_t>(threads)) {}

  void arrive_and_wait() {
    if (threads_ == 1) return;
    const std::uint32_t phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      phase_.notify_all();
      return;
    }
    for (int i = 0; i < kSpins + kYields; ++i) {
      if (phase_.load(std::memory_order_acquire) != phase) return;
      if (i < kSpins)
        pause_briefly();
      else
        std::this_thread::yield();
    }
    phase_.wait(phase, std::memory_order_acquire);
  }

 private:
  static constexpr int kSpins = 1024;   // about 50 microseconds
  static constexpr int kYields = 2048;  // about a millisecond where nobody else wants the core
  const std::uint32_t threads_;
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};
};

}  // namespace onelayer
