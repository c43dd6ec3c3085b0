// The cores this process may use: affinity, then the quota of its cgroup (v2 cpu.max, v1 cpu.cfs_quota_us).
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "dispatch.hpp"

namespace onelayer {

namespace {

int affinity_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

// Cores granted by one control group folder, or 0 where it sets no limit.
double quota_of(const std::string& folder) {
  std::string quota;
  double period = 0;
  if (std::ifstream max(folder + "/cpu.max"); max >> quota >> period)
    return quota == "max" || period <= 0 ? 0 : std::stod(quota) / period;
  std::ifstream v1_quota(folder + "/cpu.cfs_quota_us"), v1_period(folder + "/cpu.cfs_period_us");
  double value = 0;
  return v1_quota >> value && v1_period >> period && value > 0 && period > 0 ? value / period : 0;
}

// The path of this process's group in `line` of /proc/self/cgroup where that group governs the CPU.
std::string group_of(const std::string& line) {
  const auto first = line.find(':'), second = line.find(':', first + 1);
  if (second == std::string::npos) return "";
  const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
  return controllers == ",," || controllers.find(",cpu,") != std::string::npos ? line.substr(second + 1) : "";
}

// A limit on any ancestor binds, too.
double cgroup_cores() {
  double least = 0;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    std::string path = group_of(line);
    if (path.empty()) continue;
    for (const std::string root : {"/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"})
      for (std::string at = path;; at.resize(at.rfind('/'))) {
        const double cores = quota_of(root + (at == "/" ? "" : at));
        if (cores > 0 && (least == 0 || cores < least)) least = cores;
        if (at.rfind('/') == std::string::npos || at.empty()) break;
      }
  }
  return least;
}

}  // namespace

int default_threads() {
  if (const char* wanted = std::getenv("ONELAYER_THREADS"); wanted && *wanted) {
    char* end = nullptr;
    const long threads = std::strtol(wanted, &end, 10);
    if (*end || threads < 1 || threads > 4096)
      throw std::invalid_argument("ONELAYER_THREADS: expected a whole number from 1 to 4096, got " +
                                  std::string(wanted));
    return static_cast<int>(threads);
  }
  const double quota = cgroup_cores();
  const int cores = affinity_cores();
  return std::max(1, quota > 0 ? std::min(cores, static_cast<int>(std::ceil(quota))) : cores);
}

}  // namespace onelayer
