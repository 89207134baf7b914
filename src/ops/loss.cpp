// Losses: nodes that give the loss, what was right, and the gradient that training starts from.
//
// SoftmaxCrossEntropyLoss(x, labels) -> loss, correct, dx
// formula  loss[n] = (1 - s) * -log p[n, label] + s / C * sum_c -log p[n, c], p = softmax(x); dx = loss_scale
//          / (N * micro-batches) * (p - target)
// shapes   x[N, C], labels[N] (int32) -> loss[N], correct[N] (int32, 1 when the first maximum is the label),
//          dx[N, C]
// dtypes   x dx: fp16 bf16 fp32, double in the reference; loss in the register type
// rounds   once, when dx is stored; exp, log and sums in registers
// source   PyTorch CrossEntropyLoss(label_smoothing = s), reduction mean
//
// SoftTargetCrossEntropyLoss(x, target) -> loss, dx
// formula  loss[n] = sum_c t'[n, c] * -log p[n, c], t' = (1 - s) * target + s / C, p = softmax(x); dx = loss_scale
//          / (N * micro-batches) * (p * sum_c t' - t')
// shapes   x[N, C], target[N, C] (register type) -> loss[N], dx[N, C]
// dtypes   as above
// rounds   once, when dx is stored; what is between in the register type
// scratch  three arrays of a chunk's elements, for each thread
// source   PyTorch CrossEntropyLoss(label_smoothing = s) with class probabilities, reduction mean
//
// PointwiseLoss(x, target) -> loss, dx; attribute kind: mse, bce, bce_with_logits
// formula  mse (x - t)^2; bce -(t log x + (1 - t) log(1 - x)), logs clamped at -100; with logits: of
//          sigmoid(x)
// shapes   x[any], target[any] (register type) -> loss[chunks of 16384 elements] (sums; the loss is their sum
//          over the elements), dx[any]
// source   PyTorch MSELoss, BCELoss, BCEWithLogitsLoss, reduction mean
//
// saves    none
// scratch  none, but as said above
// alias    none
// errors   shapes that don't fit
// tests    tests/ops/loss_test.cpp
#include "base/error.h"
#include "kern/pointwise.h"
#include "kern/reduce.h"
#include "ops/chunks.h"
#include "ops/families.h"

namespace halftone::ops {
namespace {

std::vector<Type> infer_cross_entropy(const InferContext& c) {
  const Type& x = c.input(0);
  if (x.shape.size() != 2)
    throw input_error("cross-entropy needs an output of shape [batch, classes], got {}", to_string(x.shape));
  if (c.input(1) != Type{DType::kI32, {x.shape[0]}})
    throw input_error("cross-entropy needs one class label a sample, got {} labels of shape {}",
                      name_of(c.input(1).dtype), to_string(c.input(1).shape));
  return {{register_type(x.dtype), {x.shape[0]}}, {DType::kI32, {x.shape[0]}}, x};
}

float gradient_scale(const StepState& step, int64_t count) {
  return step.loss_scale / (static_cast<float>(count) * static_cast<float>(step.micro_batches));
}

Prepared prepare_cross_entropy(const PrepareContext& c) {
  const Type x = c.input(0);
  const int64_t rows = x.shape[0];
  const int64_t cols = x.shape[1];
  const Chunks chunks = row_chunks(rows, cols * 4);
  const auto smoothing = static_cast<float>(c.attributes().float_or("label_smoothing", 0));
  const kern::Kernels& k = c.kernels;
  const int64_t width = size_bytes(x.dtype) * cols;
  const int64_t loss_width = size_bytes(register_type(x.dtype));
  return {0, [=, &k](const RunContext& r) {
            const float scale = gradient_scale(r.step, rows);
            r.pool.run(chunks.count(), [&](int64_t chunk, int) {
              const int64_t first = chunks.begin(chunk);
              k.cross_entropy(
                  {x.dtype, static_cast<const std::byte*>(r.in[0]) + first * width,
                   static_cast<const int32_t*>(r.in[1]) + first, chunks.length(chunk), cols, smoothing, scale,
                   static_cast<std::byte*>(r.out[0]) + first * loss_width,
                   static_cast<int32_t*>(r.out[1]) + first,
                   r.out[2] == nullptr ? nullptr : static_cast<std::byte*>(r.out[2]) + first * width});
            });
          }};
}

std::vector<Type> infer_soft_targets(const InferContext& c) {
  const Type& x = c.input(0);
  if (x.shape.size() != 2)
    throw input_error("cross-entropy needs an output of shape [batch, classes], got {}", to_string(x.shape));
  if (c.input(1) != Type{register_type(x.dtype), x.shape})
    throw input_error("cross-entropy compares an output of shape {} with probabilities of shape {}",
                      to_string(x.shape), to_string(c.input(1).shape));
  return {{register_type(x.dtype), {x.shape[0]}}, x};
}

// Made of other kernels, each of which has the same bits on every instruction set.
Prepared prepare_soft_targets(const PrepareContext& c) {
  const Type x = c.input(0);
  const DType wide = register_type(x.dtype);
  const int64_t rows = x.shape[0];
  const int64_t cols = x.shape[1];
  const Chunks chunks = row_chunks(rows, cols * 4);
  const double smoothing = c.attributes().float_or("label_smoothing", 0);
  const kern::Kernels& k = c.kernels;
  const int64_t width = size_bytes(x.dtype) * cols;
  const int64_t wide_row = size_bytes(wide) * cols;
  const int64_t area = aligned_bytes(chunks.size * wide_row);
  const int64_t sums = aligned_bytes(chunks.size * size_bytes(wide));
  const int64_t worker_bytes = 3 * area + sums + aligned_bytes(wide_row);
  return {c.threads * worker_bytes, [=, &k](const RunContext& r) {
            const float scale = gradient_scale(r.step, rows);
            r.pool.run(chunks.count(), [&](int64_t chunk, int worker) {
              const int64_t first = chunks.begin(chunk);
              const int64_t count = chunks.length(chunk);
              const int64_t n = count * cols;
              std::byte* const logits = r.scratch + worker * worker_bytes;
              std::byte* const logs = logits + area;
              std::byte* const target = logs + area;
              std::byte* const sum = target + area;
              std::byte* const share = sum + sums;
              const void* given = at(r.in[1], first * wide_row);
              if (smoothing != 0) {
                k.fill({wide, share, cols, smoothing / static_cast<double>(cols)});
                k.convert({wide, given, wide, target, n, 1 - smoothing});
                k.binary({kern::Binary::kAdd, wide, target, cols, 1, share, 0, 1, target, count, cols});
                given = target;
              }
              k.convert({x.dtype, at(r.in[0], first * width), wide, logits, n, 1.0});
              k.softmax({wide, logits, logs, count, cols, true});
              k.binary({kern::Binary::kMul, wide, logs, cols, 1, given, cols, 1, logs, count, cols});
              k.reduce_rows({kern::Reduce::kSum, wide, logs, count, cols, cols, sum});
              k.convert({wide, sum, wide, at(r.out[0], first * size_bytes(wide)), count, -1.0});
              if (r.out[1] == nullptr) return;
              k.softmax({wide, logits, logs, count, cols, false});
              k.reduce_rows({kern::Reduce::kSum, wide, given, count, cols, cols, sum});
              k.binary({kern::Binary::kMul, wide, logs, cols, 1, sum, 1, 0, logs, count, cols});
              k.binary({kern::Binary::kSub, wide, logs, cols, 1, given, cols, 1, logs, count, cols});
              k.convert({wide, logs, x.dtype, at(r.out[1], first * width), n, scale});
            });
          }};
}

std::vector<Type> infer_pointwise(const InferContext& c) {
  const Type& x = c.input(0);
  if (c.input(1) != Type{register_type(x.dtype), x.shape})
    throw input_error("the loss compares an output of shape {} with targets of shape {}", to_string(x.shape),
                      to_string(c.input(1).shape));
  return {{register_type(x.dtype), {element_chunks(elements(x.shape)).count()}}, x};
}

kern::PointwiseLoss kind_of(const std::string& name) {
  if (name == "mse") return kern::PointwiseLoss::kSquaredError;
  if (name == "bce") return kern::PointwiseLoss::kBinaryCrossEntropy;
  HT_ASSERT(name == "bce_with_logits", "{}", name);
  return kern::PointwiseLoss::kBinaryCrossEntropyWithLogits;
}

Prepared prepare_pointwise(const PrepareContext& c) {
  const Type x = c.input(0);
  const Chunks chunks = element_chunks(elements(x.shape));
  const kern::PointwiseLoss kind = kind_of(c.attributes().string_or("kind", "mse"));
  const kern::Kernels& k = c.kernels;
  const int64_t width = size_bytes(x.dtype);
  const int64_t register_width = size_bytes(register_type(x.dtype));
  return {0, [=, &k](const RunContext& r) {
            const float scale = gradient_scale(r.step, chunks.total);
            r.pool.run(chunks.count(), [&](int64_t chunk, int) {
              const int64_t first = chunks.begin(chunk);
              k.pointwise_loss(
                  {kind, x.dtype, static_cast<const std::byte*>(r.in[0]) + first * width,
                   static_cast<const std::byte*>(r.in[1]) + first * register_width, chunks.length(chunk),
                   scale, static_cast<std::byte*>(r.out[0]) + chunk * register_width,
                   r.out[1] == nullptr ? nullptr : static_cast<std::byte*>(r.out[1]) + first * width});
            });
          }};
}

}  // namespace

const OpFamily& loss_family() {
  static const OpFamily family{
      {
          OpDef("SoftmaxCrossEntropyLoss", infer_cross_entropy, prepare_cross_entropy,
                NoGradient{"it delivers the gradient of its input itself: training starts there"}),
          OpDef("SoftTargetCrossEntropyLoss", infer_soft_targets, prepare_soft_targets,
                NoGradient{"it delivers the gradient of its input itself: training starts there"}),
          OpDef("PointwiseLoss", infer_pointwise, prepare_pointwise,
                NoGradient{"it delivers the gradient of its input itself: training starts there"}),
      },
      {},
  };
  return family;
}

}  // namespace halftone::ops
