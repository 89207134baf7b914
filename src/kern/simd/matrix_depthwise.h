// Depthwise convolutions (as many groups as input and output channels), always `wide`: lanes are channels,
// nothing is packed but the weights, and values are widened in registers. Tiles are a few neighbouring
// pixels, so that what a row of taps shares is widened once.
//
// A tap outside the image multiplies a zero (which matters where a weight isn't finite), so nothing is left
// out at the edges.
#pragma once

#include "kern/simd/matrix_depthwise_conv.h"
#include "kern/simd/matrix_depthwise_grad_weight.h"

namespace halftone::kern::HALFTONE_KERN_NS::product {
namespace {

inline bool is_depthwise(const Product& p) {
  return p.kind != ProductKind::kMatMul && p.conv.group > 1 && p.conv.group == p.conv.c &&
         p.conv.group == p.conv.o;
}

inline void depthwise_plan(ProductPlan& plan) {
  plan.stages = 2;
  if (plan.product.kind == ProductKind::kConvGradWeight) {
    const auto w = keep_work<DepthwiseGradWork>(plan);
    plan.chunks[0] = w.chains * w.parts;
    plan.chunks[1] = w.vectors;
    plan.scratch_bytes = DepthwiseGradScratch(w, nullptr).bytes;
    return;
  }
  const auto work = keep_work<DepthwiseWork>(plan);
  plan.chunks[0] = work.vectors;
  plan.chunks[1] = work.images * work.bands;
  plan.scratch_bytes = DepthwiseScratch(work, nullptr, 0, plan.threads).bytes;
}

template <class T>
void depthwise_run(const ProductPlan& plan, const ProductOperands& x, int stage, int64_t chunk, int worker) {
  if (plan.product.kind == ProductKind::kConvGradWeight) {
    const auto w = work_of<DepthwiseGradWork>(plan);
    const DepthwiseGradScratch s(w, x.scratch);
    if (stage == 0)
      depthwise_grad_chain<T>(w, x, s, chunk);
    else
      depthwise_grad_store<T>(w, x, s, chunk);
    return;
  }
  const auto work = work_of<DepthwiseWork>(plan);
  const DepthwiseScratch s(work, x.scratch, worker, plan.threads);
  if (stage == 0)
    pack_transposed<T, false>(
        static_cast<const T*>(x.b) + chunk * 16 * work.taps, work.taps, least(16, work.channels - chunk * 16),
        reinterpret_cast<Unit*>(s.weights) + chunk * 16 * work.taps, 16, work.taps, nullptr);
  else
    depthwise_band<T>(work, x, s, chunk);
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS::product
