// Time per phase of the batch loop in nanoseconds, summed over threads; only in builds with ONELAYER_PHASE_TIMES.
#pragma once

#if defined(ONELAYER_PHASE_TIMES)
#include <array>
#include <atomic>
#include <chrono>
#endif

namespace onelayer {

enum class Phase { forward, wait, softmax, backward };
inline constexpr int kPhases = 4;
inline constexpr const char* kPhaseNames[kPhases] = {"forward", "wait", "softmax", "backward"};

#if defined(ONELAYER_PHASE_TIMES)
inline std::array<std::atomic<long long>, kPhases> phase_nanoseconds{};

class PhaseTimer {
 public:
  explicit PhaseTimer(Phase phase) : phase_(phase), start_(std::chrono::steady_clock::now()) {}
  ~PhaseTimer() {
    const auto elapsed = std::chrono::steady_clock::now() - start_;
    phase_nanoseconds[static_cast<unsigned>(phase_)] +=
        std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count();
  }

 private:
  Phase phase_;
  std::chrono::steady_clock::time_point start_;
};
#else
struct PhaseTimer {
  explicit PhaseTimer(Phase) {}
};
#endif

}  // namespace onelayer
