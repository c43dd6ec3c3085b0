// The threads of one call: who computes what, how they start, and how they wait for each other.
//
// Threads live for one call. Starting one costs tens of microseconds and a call lasts milliseconds; nothing is left
// behind that a fork could break or that a second caller would have to share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

#include "shapes.hpp"

namespace onelayer {

// What one thread computes.
struct Part {
  Index first_slice, last_slice;
  Index first_block, last_block;
  Index first_column, last_column;
};

// Threads form a grid of slice ranges x column ranges; any grid gives the same bits.
struct Partition {
  int slice_parts = 1, block_parts = 1;
  int threads() const { return slice_parts * block_parts; }

  // The grid whose busiest thread has the least to do. Converting a slice costs about as much as two columns.
  Partition(const Slices& slices, const ColumnBlocks& blocks, int max_threads) {
    constexpr Index conversion = 2;
    Index least = -1;
    for (int parts = 1; parts <= max_threads && parts <= slices.count; ++parts) {
      const Index others = min(max_threads / parts, blocks.count);
      const Index columns = ceil_div(blocks.count, others) * ceil_div(blocks.columns, blocks.count);
      const Index cost = ceil_div(slices.count, parts) * (columns + conversion);
      if (least >= 0 && cost > least) continue;
      least = cost;
      slice_parts = parts;
      block_parts = static_cast<int>(others);
    }
  }
  Part part(int thread, const Slices& slices, const ColumnBlocks& blocks) const {
    const Index i = thread % slice_parts, j = thread / slice_parts;
    const Index first_block = part_begin(blocks.count, block_parts, j);
    const Index last_block = part_begin(blocks.count, block_parts, j + 1);
    return {part_begin(slices.count, slice_parts, i), part_begin(slices.count, slice_parts, i + 1),
            first_block, last_block, blocks.begin(first_block), blocks.begin(last_block)};
  }
};

// Arithmetic as IEEE 754 has it, which is the same on every processor: to nearest, and with subnormal numbers. They
// cost some processors a hundred times a normal one, and no two kinds of processor flush them to 0 alike; kernels take
// care that none persist. Whoever calls may have set something else: a library that was linked with -ffast-math does.
class IeeeArithmetic {
 public:
#if defined(__SSE2__)
  IeeeArithmetic() : saved_(_mm_getcsr()) { _mm_setcsr(0x1f80u); }
  ~IeeeArithmetic() { _mm_setcsr(saved_); }
  unsigned saved_;
#elif defined(__aarch64__)
  IeeeArithmetic() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(std::uint64_t{0}));
  }
  ~IeeeArithmetic() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }
  std::uint64_t saved_;
#else
  IeeeArithmetic() {}
#endif
  IeeeArithmetic(const IeeeArithmetic&) = delete;
  IeeeArithmetic& operator=(const IeeeArithmetic&) = delete;
};

// Puts each thread on a core of its own where the system started two on one.
//
// A scheduler may start a thread on its creator's core, expecting one of them to sleep soon, and correct that only
// after some milliseconds: as long as a whole call, in which each waits for the other all the time. A thread that finds
// its core taken moves to a free one; from there the system may move it like any other.
class Cores {
 public:
#if defined(__linux__)
  Cores() : known_(sched_getaffinity(0, sizeof allowed_, &allowed_) == 0) {}

  void claim_one() {
    if (!known_ || claim(sched_getcpu())) return;
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(core, &allowed_) && claim(core)) return move_to(core);
  }

 private:
  bool claim(int core) { return core >= 0 && core < CPU_SETSIZE && !claimed_[core].exchange(true); }
  void move_to(int core) const {
    cpu_set_t target;
    CPU_ZERO(&target);
    CPU_SET(core, &target);
    if (sched_setaffinity(0, sizeof target, &target) == 0) sched_setaffinity(0, sizeof allowed_, &allowed_);
  }

  cpu_set_t allowed_;
  bool known_;
  std::atomic<bool> claimed_[CPU_SETSIZE] = {};
#else
  void claim_one() {}
#endif
};

// Calls work(thread) for thread = 0 .. threads-1; the caller's thread is 0. `work` must not throw. If the system cannot
// start all threads, nothing runs and its error is thrown: threads that wait for a missing one would wait for ever.
//
// Work begins when all threads are on their cores. They wait for that without sleeping: the system puts a thread that
// sleeps on the core of the one that wakes it, whose own waiting then keeps it from running for milliseconds.
template <class Work>
void run_threads(int threads, const Work& work) {
  enum Signal { wait, start, quit };
  std::atomic<Signal> signal{wait};
  std::atomic<int> ready{0};
  Cores cores;
  const auto run = [&](int thread) noexcept {
    IeeeArithmetic arithmetic;
    work(thread);
  };
  const auto run_helper = [&](int thread) noexcept {
    cores.claim_one();
    ready.fetch_add(1, std::memory_order_release);
    while (signal.load(std::memory_order_acquire) == wait) std::this_thread::yield();
    if (signal.load(std::memory_order_acquire) == start) run(thread);
  };
  if (threads > 1) cores.claim_one();  // first, so that the helpers move and not the caller
  std::vector<std::thread> helpers;
  helpers.reserve(static_cast<std::size_t>(threads));
  try {
    for (int thread = 1; thread < threads; ++thread) helpers.emplace_back(run_helper, thread);
  } catch (...) {
    signal.store(quit, std::memory_order_release);
    for (std::thread& helper : helpers) helper.join();
    throw;
  }
  while (ready.load(std::memory_order_acquire) < threads - 1) std::this_thread::yield();
  signal.store(start, std::memory_order_release);
  run(0);
  for (std::thread& helper : helpers) helper.join();
}

// A barrier for the threads of one call, which meet every few tens of microseconds.
//
// To sleep and be woken costs as much as a whole step. A waiting thread first spins for as long as a balanced step
// differs between threads. Then it yields its core between looks, so that a thread that lost its core gets it back
// sooner. Only when a step's time has long passed does it sleep, so that no core burns for long.
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
        pause_cpu();
      else
        std::this_thread::yield();
    }
    phase_.wait(phase, std::memory_order_acquire);
  }

 private:
  static void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  static constexpr int kSpins = 1024;   // about 50 microseconds
  static constexpr int kYields = 2048;  // about a millisecond where nobody else wants the core
  const std::uint32_t threads_;
  alignas(64) std::atomic<std::uint32_t> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};
};

// How often a pass asks whether it should stop: due() is true once per interval.
class PollTimer {
 public:
  bool due() {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(50)) return false;
    last_ = now;
    return true;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace onelayer
