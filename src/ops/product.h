// From a product (kern/matrix.h) to a prepared node: the kernel's plan, its stages one after the other, their
// chunks on the pool.
#pragma once

#include "base/error.h"
#include "ops/op.h"

namespace halftone::ops {

// The node's operands, by input index (-1: none); its output is output 0.
struct ProductInputs {
  int a;
  int b;
  int bias;
};

inline Prepared prepare_product(const PrepareContext& c, const kern::Product& product, ProductInputs inputs) {
  HT_ASSERT(c.kernels.matrix.half || product.multiply != kern::Multiply::kHalf,
            "half on kernels that don't deliver it");
  kern::ProductPlan plan{};
  plan.product = product;
  plan.threads = c.threads;
  c.kernels.matrix.plan(plan);
  return {plan.scratch_bytes, [plan, inputs, run = c.kernels.matrix.run](const RunContext& r) {
            struct Job {
              const kern::ProductPlan& plan;
              kern::ProductOperands operands;
              decltype(run) kernel;
              int stage;
            };
            Job job{plan,
                    {r.in[inputs.a], r.in[inputs.b], inputs.bias < 0 ? nullptr : r.in[inputs.bias], r.out[0],
                     r.scratch},
                    run,
                    0};
            for (; job.stage < plan.stages; ++job.stage)
              // One captured reference: std::function keeps it in place instead of allocating.
              r.pool.run(plan.chunks[job.stage], [&job](int64_t chunk, int worker) {
                job.kernel(job.plan, job.operands, job.stage, chunk, worker);
              });
          },
          product};
}

}  // namespace halftone::ops
