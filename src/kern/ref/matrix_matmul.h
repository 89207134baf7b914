// Matrix products, row by row.
//
// Stages: quantise each matrix of b; rows.
#pragma once

#include "kern/ref/matrix_sums.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

constexpr int64_t kRowsPerChunk = 16;

struct Batch {
  int64_t count, a_count, b_count;
};
Batch batch_of(const MatMulGeometry& g) {
  Batch b{1, 1, 1};
  for (int d = 0; d < g.batch_rank; ++d) {
    b.count *= g.batch[d];
    b.a_count += (g.batch[d] - 1) * g.a_stride[d];
    b.b_count += (g.batch[d] - 1) * g.b_stride[d];
  }
  return b;
}

template <class V, class R>
struct MatMulScratch {
  using Sum = typename Chunk<V, R>::Sum;
  V* b;           // [b matrix][k][n_padded]
  float* scales;  // [b matrix][run][n_padded]
  V* a;           // this worker's row, [k]
  R* acc;         // [n_padded]
  Sum* sums;      // [kSums][n_padded]
  int64_t n_padded, runs;
  int64_t bytes;

  MatMulScratch(const Product& p, std::byte* base, int worker, int threads) {
    const MatMulGeometry& g = p.matmul;
    n_padded = round_up(g.n, kLanes);
    runs = ceil_div(g.k, kChunkTerms);
    const int64_t matrices = batch_of(g).b_count;
    Carver c{base};
    b = c.take<V>(matrices * g.k * n_padded);
    scales = c.take<float>(matrices * runs * n_padded);
    for (int w = 0; w < threads; ++w) {
      V* const a_here = c.take<V>(g.k);
      R* const acc_here = c.take<R>(n_padded);
      Sum* const sums_here = c.take<Sum>(Chunk<V, R>::kSums * n_padded);
      if (w != worker) continue;
      a = a_here;
      acc = acc_here;
      sums = sums_here;
    }
    bytes = c.used;
  }
};

template <class T, class V, class R>
void arrange_b(const Product& p, const ProductOperands& operands, const MatMulScratch<V, R>& s,
               int64_t matrix) {
  const MatMulGeometry& g = p.matmul;
  const T* const b = static_cast<const T*>(operands.b) + matrix * g.k * g.n;
  const auto element = [&](int64_t k, int64_t n) { return g.trans_b ? b[n * g.k + k] : b[k * g.n + n]; };
  for (int64_t run = 0; run < s.runs; ++run)
    for (int64_t n = 0; n < s.n_padded; ++n) {
      const int64_t end = least((run + 1) * kChunkTerms, g.k);
      typename ScaleOf<V>::type scale;
      for (int64_t k = run * kChunkTerms; n < g.n && k < end; ++k) scale.see(element(k, n));
      scale.settle();
      s.scales[(matrix * s.runs + run) * s.n_padded + n] = scale.scale;
      for (int64_t k = run * kChunkTerms; k < end; ++k)
        s.b[(matrix * g.k + k) * s.n_padded + n] = n < g.n ? scale.quantised(element(k, n)) : V{0};
    }
}

template <class T, class V, class R>
void matmul_rows(const Product& p, const ProductOperands& operands, const MatMulScratch<V, R>& s,
                 int64_t chunk) {
  const MatMulGeometry& g = p.matmul;
  const int64_t chunks_a_matrix = ceil_div(g.m, kRowsPerChunk);
  const int64_t batch = chunk / chunks_a_matrix;
  int64_t a_matrix = 0;
  int64_t b_matrix = 0;
  for (int64_t d = g.batch_rank - 1, rest = batch; d >= 0; --d) {
    a_matrix += rest % g.batch[d] * g.a_stride[d];
    b_matrix += rest % g.batch[d] * g.b_stride[d];
    rest /= g.batch[d];
  }
  const T* const a = static_cast<const T*>(operands.a) + a_matrix * g.m * g.k;
  const int64_t first = chunk % chunks_a_matrix * kRowsPerChunk;
  for (int64_t m = first; m < least(first + kRowsPerChunk, g.m); ++m) {
    Row<V, R> row{s.acc, s.sums, nullptr, 1, s.n_padded, 0};
    row.begin();
    R* const sums = static_cast<R*>(operands.y) + (batch * g.m + m) * g.n;
    for (int64_t n = 0; g.sums && n < g.n; ++n) row.acc[n] = sums[n];
    for (int64_t run = 0; run < s.runs; ++run) {
      const int64_t begin = run * kChunkTerms;
      const int64_t count = least(kChunkTerms, g.k - begin);
      const auto element = [&](int64_t k) {
        return g.trans_a ? a[(begin + k) * g.m + m] : a[m * g.k + begin + k];
      };
      typename ScaleOf<V>::type scale;
      for (int64_t k = 0; k < count; ++k) scale.see(element(k));
      scale.settle();
      for (int64_t k = 0; k < count; ++k) s.a[k] = scale.quantised(element(k));
      row.scale_a = scale.scale;
      row.scale_b = s.scales + (b_matrix * s.runs + run) * s.n_padded;
      row.add(s.a, count, s.b + (b_matrix * g.k + begin) * s.n_padded);
      row.flush();
    }
    for (int64_t n = 0; g.sums && n < g.n; ++n) sums[n] = row.acc[n];
    if (g.sums) continue;
    T* const y = static_cast<T*>(operands.y) + (batch * g.m + m) * g.n;
    for (int64_t n = 0; n < g.n; ++n)
      y[n] = finished<T>(row.acc[n], static_cast<R>(g.alpha), p.has_bias, operands.bias, n);
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS
