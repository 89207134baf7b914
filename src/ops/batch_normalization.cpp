// Batch normalization in training and in inference, channels last.
//
// formula  y = (x - mean) / sqrt(var + epsilon) * scale + bias, computed as fma(x, a, b) with a = scale /
//          sqrt(var + epsilon), b = bias - mean * a
//          fused (pass/fuse.h): y = activation(fma(x, a, b) + residual), either of them optional; activation:
//          Relu, or Clip with the attributes low and high
// shapes   x[..., C], scale[C], bias[C], mean[C], var[C], residual[..., C] -> y[..., C]
// dtypes   x y dx dy scale bias: fp16 bf16 fp32, double in the reference; statistics in the register type
//          (fp32): per-channel scalars that decide the evaluated accuracy (docs/numerics.md)
// rounds   once, when y (dx, dscale, dbias) is stored, behind residual and activation. Statistics: two passes
//          a chunk of 16384 elements (sum, then squared deviations from the chunk's mean), chunks merged in
//          ascending order by Chan's formula
// saves    x, the batch's mean and 1 / sqrt(var + epsilon); y where both a residual and Relu follow (else the
//          gradient finds out from x what the activation let through)
// scratch  2 or 3 values a channel and chunk
// alias    dx may share memory with x or dy
// errors   x of rank < 2; scale, bias, mean, var not of shape [C]; a residual of another shape than x, or
//          with Clip; fewer than two values a channel in training
// nodes    a mean or variance that other nodes compute makes the formula Sub, Sqrt, Div, Mul, Add instead;
//          with training_mode 1, LayerNormalization, Mul, Add (batch_normalization_import.cpp)
// source   ONNX BatchNormalization-7/9/14/15; running statistics as PyTorch: the unbiased variance is what is
//          averaged (ONNX 14 writes the biased one; with B*H*W values a channel they differ by 1 / (B*H*W))
// tests    tests/ops/batch_normalization_test.cpp
#include <algorithm>
#include <cmath>

#include "kern/reduce.h"
#include "ops/batch_norm.h"
#include "ops/op.h"

namespace halftone::ops::batch_normalization {
namespace {

using namespace batch_norm;

// The attributes that the gradient shares.
Attributes gradient_attributes(const Attributes& forward) {
  Attributes a{{"epsilon", forward.float_or("epsilon", 1e-5)}};
  if (forward.has("activation")) {
    a.set("activation", forward.string_or("activation", ""));
    a.set("low", forward.float_or("low", 0));
    a.set("high", forward.float_or("high", 0));
  }
  return a;
}
// Gradient of x, scale, bias and (last) the residual: the operator `op` on what statistics it needs.
std::vector<ValueId> gradient_of(GradientContext& c, std::string_view op, ValueId first, ValueId second,
                                 size_t residual) {
  const Attributes attributes = gradient_attributes(c.node.attributes);
  const bool masks = fused_of(attributes).activation != kern::Activation::kNone;
  const bool has_residual = c.has(residual);
  // Without an activation the residual's gradient is dy itself.
  const ValueId y = masks && has_residual ? c.y(0) : kNone;
  const auto d = c.builder.add(op, {c.x(0), c.x(1), first, second, c.dy[0], c.x(2), y}, attributes);
  std::vector<ValueId> out(c.node.inputs.size(), kNone);
  for (size_t i = 0; i < 3; ++i) out[i] = d[i];
  if (has_residual) out[residual] = masks ? d[3] : c.dy[0];
  return out;
}

// ---------------------------------------------------------------- training
constexpr size_t kTrainResidual = 3;
constexpr size_t kEvalResidual = 5;

std::vector<Type> infer_train(const InferContext& c) {
  check_channels(c, 1, 2);
  check_residual(c, kTrainResidual);
  const Type& x = c.input(0);
  if (elements(x.shape) / std::max<int64_t>(1, x.shape.back()) < 2)
    throw input_error(
        "a batch norm in training needs at least two values a channel, got {}; use a larger batch or "
        "--batchnorm freeze",
        to_string(x.shape));
  const Type channel{register_type(x.dtype), {x.shape.back()}};
  return {x, channel, channel, channel};
}

// Chan's formula: mean m and sum of squared deviations s of n values take in those of `more`, by share = more
// / (n + more) and weight = n * more / (n + more).
template <class R>
void merge(const R* __restrict mean, const R* __restrict deviation, R share, R weight, int64_t cols,
           R* __restrict m, R* __restrict s) {
  for (int64_t j = 0; j < cols; ++j) {
    const R delta = mean[j] - m[j];
    m[j] = m[j] + delta * share;
    s[j] = s[j] + deviation[j] + delta * delta * weight;
  }
}
// y = activation(fma(x, a, b) + residual) over all chunks.
void run_affine(const Plane& p, const kern::Kernels& k, const Fused& fused, const RunContext& r,
                const void* a, const void* b, const void* residual) {
  run_chunks(r.pool, p.chunks.count(), [&](int64_t chunk, int worker) {
    k.channel_affine({p.dtype, p.at(r.in[0], chunk), a, b, p.at(r.out[0], chunk), p.chunks.length(chunk),
                      p.cols, residual == nullptr ? nullptr : p.at(residual, chunk), fused.activation,
                      fused.low, fused.high});
    p.report_chunk(r, chunk, worker);
  });
}

Prepared prepare_train(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Plane p(c.input(0));
    const auto epsilon = static_cast<R>(static_cast<float>(c.attributes().float_or("epsilon", 1e-5)));
    const DType parameter = c.input(1).dtype;
    const kern::Kernels& k = c.kernels;
    const Fused fused = fused_of(c.attributes());
    const bool residual = c.has(kTrainResidual);
    const int64_t partials = p.chunks.count() * p.cols;
    Prepared prepared;
    prepared.scratch_bytes = static_cast<int64_t>(sizeof(R)) * (2 * partials + 2 * p.cols);
    prepared.reports_rows = true;
    prepared.early_stage = p.early_stage(0);
    prepared.early_stage->run = [=, &k](const RunContext& r, int64_t chunk, int) {
      const int64_t n = p.chunks.length(chunk);
      R* sum = reinterpret_cast<R*>(r.scratch) + chunk * p.cols;
      k.sum_columns({p.dtype, p.at(r.in[0], chunk), n, p.cols, p.cols, sum});
      for (int64_t j = 0; j < p.cols; ++j) sum[j] /= static_cast<R>(n);
      k.squared_deviation({p.dtype, p.at(r.in[0], chunk), sum, n, p.cols, sum + partials});
    };
    prepared.run = [=, &k, statistics = prepared.early_stage->run](const RunContext& r) {
      R* sums = reinterpret_cast<R*>(r.scratch);
      R* deviations = sums + partials;
      R* a = deviations + partials;
      R* b = a + p.cols;
      if (!r.early_stage_done)
        run_chunks(r.pool, p.chunks.count(),
                   [&](int64_t chunk, int worker) { statistics(r, chunk, worker); });
      R* mean = static_cast<R*>(r.out[1]);
      R* invstd = static_cast<R*>(r.out[2]);
      R* variance = static_cast<R*>(r.out[3]);
      // Chunk by chunk, all channels: memory is read as it lies. The first chunk's place collects.
      R n = static_cast<R>(p.chunks.length(0));
      for (int64_t chunk = 1; chunk < p.chunks.count(); ++chunk) {
        const R more = static_cast<R>(p.chunks.length(chunk));
        const R all = n + more;
        merge(sums + chunk * p.cols, deviations + chunk * p.cols, more / all, n * more / all, p.cols, sums,
              deviations);
        n = all;
      }
      for (int64_t j = 0; j < p.cols; ++j) {
        const R spread = R{1} / std::sqrt(deviations[j] / n + epsilon);
        // Nobody reads them where nothing before is trained, nor its own scale and bias.
        if (mean != nullptr) mean[j] = sums[j];
        if (invstd != nullptr) invstd[j] = spread;
        if (variance != nullptr) variance[j] = deviations[j] / (n - R{1});
        a[j] = load<R>(parameter, r.in[1], j) * spread;
        b[j] = load<R>(parameter, r.in[2], j) - sums[j] * a[j];
      }
      run_affine(p, k, fused, r, a, b, residual ? r.in[kTrainResidual] : nullptr);
    };
    return prepared;
  });
}

std::vector<ValueId> gradient_train(GradientContext& c) {
  if (c.dy[0] == kNone) return {};
  return gradient_of(c, "BatchNormTrainGrad", c.y(1), c.y(2), kTrainResidual);
}

// ---------------------------------------------------------------- inference
std::vector<Type> infer_eval(const InferContext& c) {
  check_channels(c, 1, 4);
  check_residual(c, kEvalResidual);
  for (size_t i = 3; i < 5; ++i)
    HT_ASSERT(c.input(i).dtype == register_type(c.input(0).dtype), "statistic {}", i);
  return {c.input(0)};
}

Prepared prepare_eval(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Plane p(c.input(0));
    const auto epsilon = static_cast<R>(static_cast<float>(c.attributes().float_or("epsilon", 1e-5)));
    const DType parameter = c.input(1).dtype;
    const kern::Kernels& k = c.kernels;
    const Fused fused = fused_of(c.attributes());
    const bool residual = c.has(kEvalResidual);
    Prepared prepared;
    prepared.scratch_bytes = 2 * p.cols * static_cast<int64_t>(sizeof(R));
    prepared.reports_rows = true;
    prepared.run = [=, &k](const RunContext& r) {
      R* a = reinterpret_cast<R*>(r.scratch);
      R* b = a + p.cols;
      const R* mean = static_cast<const R*>(r.in[3]);
      const R* variance = static_cast<const R*>(r.in[4]);
      for (int64_t j = 0; j < p.cols; ++j) {
        a[j] = load<R>(parameter, r.in[1], j) / std::sqrt(variance[j] + epsilon);
        b[j] = load<R>(parameter, r.in[2], j) - mean[j] * a[j];
      }
      run_affine(p, k, fused, r, a, b, residual ? r.in[kEvalResidual] : nullptr);
    };
    return prepared;
  });
}

std::vector<ValueId> gradient_eval(GradientContext& c) {
  HT_ASSERT(!c.needs[3] && !c.needs[4], "statistics that are computed belong to import_computed");
  return gradient_of(c, "BatchNormFrozenGrad", c.x(3), c.x(4), kEvalResidual);
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {
          OpDef("BatchNormTrain", infer_train, prepare_train, GradientRule{gradient_train})
              .with(behind(kTrainResidual)),
          OpDef("BatchNormalization", infer_eval, prepare_eval, GradientRule{gradient_eval})
              .with(behind(kEvalResidual)),
      },
      {},
  };
  return family;
}

}  // namespace halftone::ops::batch_normalization
