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
// formula  loss[n] = sum_c t'[n, c] * -log p[n, c], t' = (1 - s) * target + s / C, p = softmax(x); dx =
//          loss_scale / (N * micro-batches) * (p * sum_c t' - t')
// shapes   x[N, C], target[N, C] (register type) -> loss[N], dx[N, C]
// dtypes   as above
// rounds   once, when dx is stored; what is between in the register type
// scratch  three arrays of a chunk's elements, for each thread
// source   PyTorch CrossEntropyLoss(label_smoothing = s) with class probabilities, reduction mean
//
// WeightedCrossEntropyLoss(x, labels, weights, total?) -> loss, correct, dx
// formula  loss[n] = w[n] * l[n], l as of SoftmaxCrossEntropyLoss; dx = loss_scale / (sum w * micro-batches)
//          * w[n] * (p - target); zeros where sum w is 0. total (register type, one number) stands for sum w
//          where a step has several micro-batches: their sums' mean, so that each target of the step counts
//          the same in whichever it is
// shapes   x[N, C], labels[N] (int32), weights[N] (register type, 0 or more) -> loss[N], correct[N] (int32),
//          dx[N, C]
// dtypes   as above
// rounds   once, when dx is stored; what is between in the register type
// scratch  the sum of the weights; two arrays of a chunk's elements, for each thread
// source   PyTorch CrossEntropyLoss(weight, ignore_index, label_smoothing), reduction mean: a weight of 0
//          ignores. There label smoothing with class weights weights each class's share by itself, here the
//          whole target.
//
// PointwiseLoss(x, target) -> loss, dx; attribute kind: mse, bce, bce_with_logits
// formula  mse (x - t)^2; bce -(t log x + (1 - t) log(1 - x)), logs clamped at -100; with logits: of
//          sigmoid(x)
// shapes   x[any], target[any] (register type) -> loss[chunks of 16384 elements] (sums; the loss is their sum
//          over the elements), dx[any]
// source   PyTorch MSELoss, BCELoss, BCEWithLogitsLoss, reduction mean
//
// LossOfGraph(x) -> loss, dx
// formula  loss = x; dx = loss_scale / (n * micro-batches): the loss is the mean of x's n numbers
// shapes   x[any, n elements] (register type) -> loss[n], dx[any]
// source   none: what --loss-graph trains
//
// Convert(x) -> y; attribute to: the float type of y, a DType
// formula  y = x
// rounds   once, where y is narrower; the gradient is converted back, and rounded likewise
// dtypes   float to float: between the storage type and the register type of a loss that is a graph
//
// All losses: attribute weight (1): what the loss counts in a sum of several; dx is multiplied by it.
//
// saves    none
// scratch  none, but as said above
// alias    dx may lie where x does, but LossOfGraph's and Convert's
// errors   shapes that don't fit
// tests    tests/ops/loss_test.cpp
#include "base/error.h"
#include "kern/pointwise.h"
#include "kern/reduce.h"
#include "ops/chunks.h"
#include "ops/op.h"

namespace halftone::ops::loss {
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

float gradient_scale(const StepState& step, int64_t count, float weight) {
  return weight * (step.loss_scale / (static_cast<float>(count) * static_cast<float>(step.micro_batches)));
}

float weight_of(const Attributes& attributes) {
  return static_cast<float>(attributes.float_or("weight", 1));
}

Prepared prepare_cross_entropy(const PrepareContext& c) {
  const Type x = c.input(0);
  const int64_t rows = x.shape[0];
  const int64_t cols = x.shape[1];
  const Chunks chunks = row_chunks(rows, cols * 4);
  const auto smoothing = static_cast<float>(c.attributes().float_or("label_smoothing", 0));
  const float weight = weight_of(c.attributes());
  const kern::Kernels& k = c.kernels;
  const int64_t width = size_bytes(x.dtype) * cols;
  const int64_t loss_width = size_bytes(register_type(x.dtype));
  return {0, [=, &k](const RunContext& r) {
            const float scale = gradient_scale(r.step, rows, weight);
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

std::vector<Type> infer_weighted(const InferContext& c) {
  std::vector<Type> types = infer_cross_entropy(c);
  const Type& x = c.input(0);
  if (c.input(2) != Type{register_type(x.dtype), {x.shape[0]}})
    throw input_error("cross-entropy needs one weight a label, got {} weights of shape {}",
                      name_of(c.input(2).dtype), to_string(c.input(2).shape));
  HT_ASSERT(!c.has(3) || (c.input(3) == Type{register_type(x.dtype), {1}}), "the sum of the weights");
  return types;
}

// Made of other kernels, each of which has the same bits on every instruction set.
Prepared prepare_weighted(const PrepareContext& c) {
  const Type x = c.input(0);
  const DType wide = register_type(x.dtype);
  const int64_t rows = x.shape[0];
  const int64_t cols = x.shape[1];
  const Chunks chunks = row_chunks(rows, cols * 4);
  const auto smoothing = static_cast<float>(c.attributes().float_or("label_smoothing", 0));
  const float weight = weight_of(c.attributes());
  const kern::Kernels& k = c.kernels;
  const int64_t width = size_bytes(x.dtype) * cols;
  const int64_t wide_width = size_bytes(wide);
  const int64_t area = aligned_bytes(chunks.size * wide_width * cols);
  const int64_t total_bytes = aligned_bytes(wide_width);
  const bool given = c.has(3);
  const int64_t worker_bytes = 2 * area;
  return {total_bytes + c.threads * worker_bytes, [=, &k](const RunContext& r) {
            if (!given) k.reduce_rows({kern::Reduce::kSum, wide, r.in[2], 1, rows, rows, r.scratch});
            const void* sum = given ? r.in[3] : r.scratch;
            const double total =
                wide == DType::kF64 ? *static_cast<const double*>(sum) : *static_cast<const float*>(sum);
            const double scale = total > 0
                                     ? static_cast<double>(weight) * static_cast<double>(r.step.loss_scale) /
                                           (total * static_cast<double>(r.step.micro_batches))
                                     : 0.0;
            r.pool.run(chunks.count(), [&](int64_t chunk, int worker) {
              const int64_t first = chunks.begin(chunk);
              const int64_t count = chunks.length(chunk);
              const int64_t n = count * cols;
              std::byte* const logits = r.scratch + total_bytes + worker * worker_bytes;
              std::byte* const slope = logits + area;
              const void* w = at(r.in[2], first * wide_width);
              void* loss = at(r.out[0], first * wide_width);
              k.convert({x.dtype, at(r.in[0], first * width), wide, logits, n, 1.0});
              k.cross_entropy({wide, logits, static_cast<const int32_t*>(r.in[1]) + first, count, cols,
                               smoothing, 1.0F, loss, static_cast<int32_t*>(r.out[1]) + first,
                               r.out[2] == nullptr ? nullptr : slope});
              k.binary({kern::Binary::kMul, wide, loss, count, 1, w, count, 1, loss, 1, count});
              if (r.out[2] == nullptr) return;
              k.binary({kern::Binary::kMul, wide, slope, cols, 1, w, 1, 0, slope, count, cols});
              k.convert({wide, slope, x.dtype, at(r.out[2], first * width), n, scale});
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
  const float weight = weight_of(c.attributes());
  const kern::Kernels& k = c.kernels;
  const int64_t width = size_bytes(x.dtype) * cols;
  const int64_t wide_row = size_bytes(wide) * cols;
  const int64_t area = aligned_bytes(chunks.size * wide_row);
  const int64_t sums = aligned_bytes(chunks.size * size_bytes(wide));
  const int64_t worker_bytes = 3 * area + sums + aligned_bytes(wide_row);
  return {c.threads * worker_bytes, [=, &k](const RunContext& r) {
            const float scale = gradient_scale(r.step, rows, weight);
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
  const float weight = weight_of(c.attributes());
  return {0, [=, &k](const RunContext& r) {
            const float scale = gradient_scale(r.step, chunks.total, weight);
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

std::vector<Type> infer_loss_of_graph(const InferContext& c) {
  const Type& x = c.input(0);
  return {{register_type(x.dtype), {elements(x.shape)}}, x};
}

Prepared prepare_loss_of_graph(const PrepareContext& c) {
  const Type x = c.input(0);
  const int64_t n = elements(x.shape);
  const float weight = weight_of(c.attributes());
  const kern::Kernels& k = c.kernels;
  return {0, [=, &k](const RunContext& r) {
            k.convert({x.dtype, r.in[0], register_type(x.dtype), r.out[0], n, 1.0});
            if (r.out[1] != nullptr) k.fill({x.dtype, r.out[1], n, gradient_scale(r.step, n, weight)});
          }};
}

std::vector<Type> infer_convert(const InferContext& c) {
  const auto to = static_cast<DType>(c.attributes().int_at("to"));
  HT_ASSERT(is_float(c.input(0).dtype) && is_float(to), "{} to {}", name_of(c.input(0).dtype), name_of(to));
  return {{to, c.input(0).shape}};
}

Prepared prepare_convert(const PrepareContext& c) {
  const Type x = c.input(0);
  const DType to = c.output(0).dtype;
  const Chunks chunks = element_chunks(elements(x.shape));
  const kern::Kernels& k = c.kernels;
  return {0, [=, &k](const RunContext& r) {
            r.pool.run(chunks.count(), [&](int64_t chunk, int) {
              const int64_t first = chunks.begin(chunk);
              k.convert({x.dtype, at(r.in[0], first * size_bytes(x.dtype)), to,
                         at(r.out[0], first * size_bytes(to)), chunks.length(chunk), 1.0});
            });
          }};
}

std::vector<ValueId> convert_gradient(GradientContext& c) {
  return {c.builder.add1("Convert", {c.dy[0]}, {{"to", static_cast<int64_t>(c.builder.type(c.x(0)).dtype)}})};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {
          OpDef("SoftmaxCrossEntropyLoss", infer_cross_entropy, prepare_cross_entropy,
                NoGradient{"it delivers the gradient of its input itself: training starts there"})
              .with(Overwrites{.input = 0, .output = 2}),
          OpDef("WeightedCrossEntropyLoss", infer_weighted, prepare_weighted,
                NoGradient{"it delivers the gradient of its input itself: training starts there"})
              .with(Overwrites{.input = 0, .output = 2}),
          OpDef("SoftTargetCrossEntropyLoss", infer_soft_targets, prepare_soft_targets,
                NoGradient{"it delivers the gradient of its input itself: training starts there"})
              .with(Overwrites{.input = 0, .output = 1}),
          OpDef("LossOfGraph", infer_loss_of_graph, prepare_loss_of_graph,
                NoGradient{"it delivers the gradient of its input itself: training starts there"}),
          OpDef("Convert", infer_convert, prepare_convert, GradientRule{convert_gradient}),
          OpDef("PointwiseLoss", infer_pointwise, prepare_pointwise,
                NoGradient{"it delivers the gradient of its input itself: training starts there"})
              .with(Overwrites{.input = 0, .output = 1}),
      },
      {},
  };
  return family;
}

}  // namespace halftone::ops::loss
