#include "points.hpp"

#include <algorithm>
#include <numeric>

#include "memory.hpp"
#include "threads.hpp"

namespace onelayer {

namespace {

constexpr Index kBlockEntries = 2048;
constexpr Index kBlockColumns = 64;
constexpr Index kThreadEntries = 1 << 17;  // for which one more thread is worth its start

// Calls work(block) for each of the blocks, on a thread for each kThreadEntries of all entries.
template <class Work>
void split(int threads, Index blocks, Index entries, const Work& work) {
  threads = static_cast<int>(max(1, min(min(threads, blocks), entries / kThreadEntries)));
  run_threads(threads, [&](int thread) {
    for (Index block = part_begin(blocks, threads, thread); block < part_begin(blocks, threads, thread + 1); ++block)
      work(block);
  });
}

template <class T>
VectorsJob<T> job_of(const Vectors<T>& vectors, Index block) {
  const Index begin = block * kBlockEntries;
  return {vectors.rows + begin, vectors.count, vectors.n, min(kBlockEntries, vectors.n - begin), vectors.x + begin};
}

// Calls work(from, to) for each block of columns of a point, the bias's among them.
template <class Work>
void split_columns(const PointRequest& request, const Work& work) {
  const Index columns = request.D + 1;
  split(request.threads, ceil_div(columns, kBlockColumns), request.K * columns, [&](Index block) {
    work(block * kBlockColumns, min((block + 1) * kBlockColumns, columns));
  });
}

}  // namespace

template <class T>
void products(const Kernels<T>& kernels, const Vectors<T>& vectors, int threads, double* sums) {
  const Index blocks = ceil_div(vectors.n, kBlockEntries), count = vectors.count;
  std::vector<double> parts(static_cast<std::size_t>(blocks * count));
  split(threads, blocks, count * vectors.n, [&](Index block) {
    VectorsJob<T> job = job_of(vectors, block);
    job.sums = parts.data() + block * count;
    kernels.block_products(job);
  });
  std::fill_n(sums, count, 0.0);
  for (Index block = 0; block < blocks; ++block)
    for (Index i = 0; i < count; ++i) sums[i] += parts[static_cast<std::size_t>(block * count + i)];
}

template <class T>
void combine(const Kernels<T>& kernels, const Vectors<T>& vectors, int threads, double factor, const double* factors,
             double* out) {
  split(threads, ceil_div(vectors.n, kBlockEntries), vectors.count * vectors.n, [&](Index block) {
    VectorsJob<T> job = job_of(vectors, block);
    job.factor = factor, job.factors = factors, job.out = out + block * kBlockEntries;
    kernels.block_combination(job);
  });
}

template <class T>
void without_shared(const PointRequest& request, double* out, T* W, T* b) {
  const Index D = request.D, stride = D + 1;
  const double* const at = request.at;
  split_columns(request, [&](Index from, Index to) {
    double shared[kBlockColumns] = {};
    for (const Index k : request.present)
      for (Index d = from; d < to; ++d) shared[d - from] += at[k * stride + d];
    for (double& of : shared) of /= static_cast<double>(request.present.size());
    std::size_t next = 0;
    for (Index k = 0; k < request.K; ++k) {
      const bool present = next < request.present.size() && request.present[next] == k;
      next += present;
      const Index features = min(to, D);
      T* const weights = W + k * D;
      for (Index d = from; d < features; ++d)
        weights[d] = static_cast<T>(at[k * stride + d] - (present ? shared[d - from] : 0.0));
      for (Index d = from; d < features; ++d) out[k * stride + d] = static_cast<double>(weights[d]);
      if (to <= D) continue;
      b[k] = static_cast<T>(at[k * stride + D] - (present ? shared[D - from] : 0.0));
      out[k * stride + D] = static_cast<double>(b[k]);
    }
  });
}

PenalizedSums add_penalty(const PointRequest& request, const double* G, const double* g, const double* bends,
                          double* gradient) {
  const Index D = request.D, stride = D + 1;
  const double* const at = request.at;
  std::vector<double> values(static_cast<std::size_t>(D)), squares(values);
  split_columns(request, [&](Index from, Index to) {
    const Index features = min(to, D), count = static_cast<Index>(request.present.size());
    for (Index k = 0; k < request.K; ++k) {
      const double *const w = at + k * stride;
      double* const of = gradient + k * stride;
      for (Index d = from; d < features; ++d) {
        of[d] = bends[d] * w[d];
        values[static_cast<std::size_t>(d)] += of[d] * w[d];
      }
      if (to > D) of[D] = 0.0;
    }
    double shared[kBlockColumns] = {};
    for (Index i = 0; i < count; ++i) {
      double* const of = gradient + request.present[static_cast<std::size_t>(i)] * stride;
      for (Index d = from; d < features; ++d) shared[d - from] += of[d] += G[i * D + d];
      if (to > D) shared[D - from] += of[D] = g[i];
    }
    for (double& of : shared) of /= static_cast<double>(count);
    for (const Index k : request.present)
      for (Index d = from; d < to; ++d) gradient[k * stride + d] -= shared[d - from];
    for (Index k = 0; k < request.K; ++k)
      for (Index d = from; d < features; ++d)
        squares[static_cast<std::size_t>(d)] += gradient[k * stride + d] * gradient[k * stride + d];
  });
  return {std::accumulate(values.begin(), values.end(), 0.0) / 2.0,
          std::accumulate(squares.begin(), squares.end(), 0.0)};
}

template void products(const Kernels<float>&, const Vectors<float>&, int, double*);
template void products(const Kernels<double>&, const Vectors<double>&, int, double*);
template void combine(const Kernels<float>&, const Vectors<float>&, int, double, const double*, double*);
template void combine(const Kernels<double>&, const Vectors<double>&, int, double, const double*, double*);
template void without_shared(const PointRequest&, double*, float*, float*);
template void without_shared(const PointRequest&, double*, double*, double*);

}  // namespace onelayer
