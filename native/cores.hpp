// Each thread of a team on a core of its own, where the system left two on one.
//
// A scheduler may start a thread on its maker's core, expecting one of them to sleep soon, and mend that only after
// some milliseconds: as long as a whole call, of which either then waits for the other all the time. A thread that
// finds its core taken asks for one that is not and, once there, may be moved again like any other.
#pragma once

#if defined(__linux__)
#include <sched.h>

#include <atomic>
#endif

namespace onelayer {

#if defined(__linux__)
class Cores {
 public:
  Cores() : known_(sched_getaffinity(0, sizeof allowed_, &allowed_) == 0) {}

  void settle() {
    if (!known_ || take(sched_getcpu())) return;
    for (int core = 0; core < CPU_SETSIZE; ++core)
      if (CPU_ISSET(core, &allowed_) && take(core)) return move_to(core);
  }

 private:
  bool take(int core) { return core >= 0 && core < CPU_SETSIZE && !taken_[core].exchange(true); }
  void move_to(int core) const {
    cpu_set_t there;
    CPU_ZERO(&there);
    CPU_SET(core, &there);
    if (sched_setaffinity(0, sizeof there, &there) == 0) sched_setaffinity(0, sizeof allowed_, &allowed_);
  }

  cpu_set_t allowed_;
  bool known_;
  std::atomic<bool> taken_[CPU_SETSIZE] = {};
};
#else
class Cores {
 public:
  void settle() {}
};
#endif

}  // namespace onelayer
