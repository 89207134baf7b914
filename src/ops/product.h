// From a product (kern/matrix.h) to a prepared node: the kernel's plan, its stages one after the other, their
// chunks on the pool.
#pragma once

#include "base/error.h"
#include "ops/row_listener.h"

namespace halftone::ops {

// The node's operands, by input index (-1: none); its output is output 0.
struct ProductInputs {
  int a;
  int b;
  int bias;
};

// Error unless all operands are floats of one type: the kernels take input 0's for all of them, and know no
// other.
inline void check_operands(const InferContext& c) {
  const DType first = c.input(0).dtype;
  if (!is_float(first)) throw input_error("a float tensor was expected, got {}", name_of(first));
  for (size_t i = 1; i < c.node.inputs.size(); ++i)
    if (c.has(i) && c.input(i).dtype != first)
      throw input_error("the operands have different types: {} and {}", name_of(first),
                        name_of(c.input(i).dtype));
}

// How many products of two numbers it adds up.
inline double multiply_adds(const kern::Product& p) {
  if (p.kind == kern::ProductKind::kMatMul) {
    const kern::MatMulGeometry& g = p.matmul;
    double count = static_cast<double>(g.m) * static_cast<double>(g.k) * static_cast<double>(g.n);
    for (int i = 0; i < g.batch_rank; ++i) count *= static_cast<double>(g.batch[i]);
    return count;
  }
  const kern::ConvGeometry& g = p.conv;
  return static_cast<double>(g.n * g.oh * g.ow) * static_cast<double>(g.o * g.kh * g.kw) *
         static_cast<double>(g.c / g.group);
}

inline Prepared prepare_product(const PrepareContext& c, const kern::Product& product, ProductInputs inputs) {
  HT_ASSERT(c.kernels.matrix.half || product.multiply != kern::Multiply::kHalf,
            "half on kernels that don't deliver it");
  kern::ProductPlan plan{};
  plan.product = product;
  plan.threads = c.threads;
  c.kernels.matrix.plan(plan);
  const auto operands_of = [inputs](const RunContext& r) {
    return kern::ProductOperands{r.in[inputs.a], r.in[inputs.b],
                                 inputs.bias < 0 ? nullptr : r.in[inputs.bias], r.out[0], r.scratch};
  };
  const auto kernel = c.kernels.matrix.run;
  Prepared prepared;
  prepared.scratch_bytes = plan.scratch_bytes;
  prepared.product = product;
  prepared.reports_rows =
      product.kind == kern::ProductKind::kConv || product.kind == kern::ProductKind::kConvGradInput;
  prepared.run = [plan, operands_of, kernel, written = c.kernels.matrix.written](const RunContext& r) {
    struct Job {
      const kern::ProductPlan& plan;
      const RunContext& context;
      kern::ProductOperands operands;
      decltype(kernel) run;
      decltype(written) result;
      int stage;
    };
    Job job{plan, r, operands_of(r), kernel, written, 0};
    for (; job.stage < plan.stages; ++job.stage) {
      if (job.stage == plan.scales_stage && r.early_stage_done) continue;
      // One captured reference: std::function keeps it in place instead of allocating.
      r.pool.run(plan.chunks[job.stage], [&job](int64_t chunk, int worker) {
        job.run(job.plan, job.operands, job.stage, chunk, worker);
        if (job.context.row_listener == nullptr || job.stage + 1 < job.plan.stages) return;
        const kern::Written w = job.result(job.plan, chunk);
        for (int64_t i = 0; i < w.runs; ++i)
          job.context.row_listener->wrote(w.first + i * w.step, w.pixels, w.channels, worker);
      });
    }
  };
  if (plan.scales_stage >= 0) {
    const int64_t groups = product.conv.group;
    const int64_t images = product.conv.n;
    const Shape& a = c.input(static_cast<size_t>(inputs.a)).shape;
    const int64_t rows = elements(a) / a.back();
    prepared.early_stage =
        EarlyStage{static_cast<size_t>(inputs.a),
                   rows,
                   rows / images,
                   {},
                   [plan, operands_of, kernel, groups](const RunContext& r, int64_t image, int worker) {
                     const kern::ProductOperands operands = operands_of(r);
                     for (int64_t g = 0; g < groups; ++g)
                       kernel(plan, operands, plan.scales_stage, image * groups + g, worker);
                   }};
  }
  return prepared;
}

}  // namespace halftone::ops
