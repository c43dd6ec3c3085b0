// Which instruction set is used, how many threads this process may use, and how large caches are.
#pragma once

#include <string>
#include <vector>

#include "jobs.hpp"

namespace onelayer {

// Best first; all give the same bits. ONELAYER_ISA selects another supported one for the whole process.
std::vector<std::string> supported_instruction_sets();
std::string instruction_set();

template <class T> const Kernels<T>& kernels();
template <> const Kernels<float>& kernels<float>();
template <> const Kernels<double>& kernels<double>();
const ColumnKernels& column_kernels();

// ONELAYER_THREADS, else the cores of the affinity mask, limited by the cgroup's CPU quota.
int default_threads();

// Those of this machine, or of a common one where it does not tell.
const Caches& machine_caches();

}  // namespace onelayer
