// What happens to gradients: accumulation, the guard that looks at all of them, and the optimizer's step on
// one tensor.
//
// GradientAccumulate(sum, dw): sum += dw (the first micro-batch overwrites). sum is fp32 (double in the
// reference): adding 16-bit gradients in 16
//          bits would round once a micro-batch and lose the small ones.
// GradientGuard(dw...): StepState.finite, grad_norm (L2 over all, unscaled) and clip_coefficient; chunks of
// 16384 elements, sums of squares in
//          double, added in ascending order.
// OptimizerStep(w, dw, m, v, carry): the formulas are in kern/kernels.h (OptimizerArgs). In place; does
// nothing when StepState.finite is false, nor in the first `begins` steps, from which it counts on.
// GradientGuard's `begins`, one number a gradient: in these steps it is left out of the norm.
//
// AverageStep(a, w): behind w's OptimizerStep, a = w in the first step, then a += (1 - d) (w - a) with d = min(decay,
//          (t - 1) / (t + 8)), t being the number of steps that were taken; so early averages forget quickly.
//          Stored in 16 bits it is rounded stochastically, whatever the weights are: a step is mostly less than
//          the last place, and the mean must stay right.
//
// shapes   all tensors of a step have w's shape; m, v and carry are absent where the optimizer or rounding
//          needs none
// dtypes   w m v carry: fp16 bf16 fp32, double in the reference; dw: the same or fp32
// rounds   w and state once, as the rounding policy says; stochastic bits are a function of (seed, stream of
//          the tensor, step, element)
// saves    none
// scratch  a few bytes a chunk
// effects  GradientAccumulate writes sum, OptimizerStep w, m, v and carry, AverageStep a; GradientGuard gives the verdict on
//          the step
// errors   shapes that differ
// source   PyTorch SGD, Adam, AdamW, RMSprop, clip_grad_norm_
// tests    tests/ops/optimizer_test.cpp
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/chunks.h"
#include "ops/op.h"

namespace halftone::ops::optimizer {
namespace {

std::vector<Type> infer_same_shapes(const InferContext& c) {
  for (size_t i = 1; i < c.node.inputs.size(); ++i)
    if (c.has(i) && c.input(i).shape != c.input(0).shape)
      throw input_error("tensors of one optimizer step have shapes {} and {}", to_string(c.input(0).shape),
                        to_string(c.input(i).shape));
  return {};
}

std::vector<Type> infer_nothing(const InferContext&) {
  return {};
}

Prepared prepare_accumulate(const PrepareContext& c) {
  const Chunks chunks = element_chunks(elements(c.input(0).shape));
  const DType dtype = c.input(1).dtype;
  const DType sum_dtype = c.input(0).dtype;
  const kern::Kernels& k = c.kernels;
  return {0, [=, &k](const RunContext& r) {
            r.pool.run(chunks.count(), [&](int64_t chunk, int) {
              const int64_t first = chunks.begin(chunk);
              auto* sum = static_cast<std::byte*>(r.inout[0]) + first * size_bytes(sum_dtype);
              const auto* dw = static_cast<const std::byte*>(r.in[1]) + first * size_bytes(dtype);
              if (r.step.micro_index == 0) {
                k.convert({dtype, dw, sum_dtype, sum, chunks.length(chunk), 1.0});
              } else {
                k.accumulate({dtype, dw, sum, chunks.length(chunk)});
              }
            });
          }};
}

struct GuardPart {
  double sum_squares;
  bool finite;
};

Prepared prepare_guard(const PrepareContext& c) {
  struct Piece {
    size_t input;
    int64_t first, count;
    DType dtype;
    double begins;
  };
  const std::vector<int64_t> begins =
      c.attributes().ints_or("begins", std::vector<int64_t>(c.node.inputs.size(), 0));
  HT_ASSERT(begins.size() == c.node.inputs.size(), "{}", begins.size());
  std::vector<Piece> pieces;
  for (size_t i = 0; i < c.node.inputs.size(); ++i) {
    const Chunks chunks = element_chunks(elements(c.input(i).shape));
    for (int64_t chunk = 0; chunk < chunks.count(); ++chunk)
      pieces.push_back(
          {i, chunks.begin(chunk), chunks.length(chunk), c.input(i).dtype, static_cast<double>(begins[i])});
  }
  const auto count = static_cast<int64_t>(pieces.size());
  const kern::Kernels& k = c.kernels;
  return {count * static_cast<int64_t>(sizeof(GuardPart)), [=, &k](const RunContext& r) {
            auto* parts = reinterpret_cast<GuardPart*>(r.scratch);
            r.pool.run(count, [&](int64_t i, int) {
              const Piece& p = pieces[static_cast<size_t>(i)];
              k.norm({p.dtype, static_cast<const std::byte*>(r.in[p.input]) + p.first * size_bytes(p.dtype),
                      p.count, &parts[i].sum_squares, &parts[i].finite});
            });
            double sum = 0;
            bool finite = true;
            for (int64_t i = 0; i < count; ++i) {
              const double from = pieces[static_cast<size_t>(i)].begins;
              if (from == 0 || r.step.good_steps > from) sum += parts[i].sum_squares;
              finite = finite && parts[i].finite;
            }
            StepState& s = r.step;
            s.finite = finite;
            s.grad_norm = std::sqrt(sum) / s.loss_scale;
            s.clip_coefficient = 1;
            if (s.clip_norm > 0 && finite) {
              const double coefficient = s.clip_norm / (s.grad_norm + 1e-6);
              s.clip_coefficient = coefficient < 1 ? static_cast<float>(coefficient) : 1.0F;
            }
          }};
}

Prepared prepare_step(const PrepareContext& c) {
  kern::OptimizerArgs base{};
  const Attributes& a = c.attributes();
  base.kind = static_cast<kern::Optimizer>(a.int_at("kind"));
  base.rounding = static_cast<kern::Rounding>(a.int_at("rounding"));
  base.dtype = c.input(0).dtype;
  base.grad_dtype = c.input(1).dtype;
  base.weight_decay = static_cast<float>(a.float_at("weight_decay"));
  base.momentum = static_cast<float>(a.float_at("momentum"));
  base.nesterov = a.int_at("nesterov") != 0;
  base.beta1 = a.float_at("beta1");
  // The kernel decays the mean of squares by one number, whichever optimizer has it.
  base.beta2 = a.float_at(base.kind == kern::Optimizer::kRmsProp ? "alpha" : "beta2");
  base.eps = static_cast<float>(a.float_at("eps"));
  const auto stream = static_cast<uint64_t>(a.int_at("stream"));
  const double lr_scale = a.float_or("lr_scale", 1);
  const auto begins = static_cast<double>(a.int_or("begins", 0));
  const double beta1 = a.float_at("beta1");
  const double beta2 = a.float_at("beta2");
  const Chunks chunks = element_chunks(elements(c.input(0).shape));
  const kern::Kernels& k = c.kernels;
  return {chunks.count() * static_cast<int64_t>(sizeof(int64_t)), [=, &k](const RunContext& r) {
            const double t = r.step.good_steps - begins;
            if (!r.step.finite || (begins > 0 && t <= 0)) return;
            auto* stalled = reinterpret_cast<int64_t*>(r.scratch);
            kern::OptimizerArgs all = base;
            all.lr = static_cast<float>(r.step.lr * lr_scale);
            all.grad_scale = r.step.clip_coefficient / r.step.loss_scale;
            all.correction1 = static_cast<float>(1 - std::pow(beta1, t));
            all.correction2 = static_cast<float>(1 - std::pow(beta2, t));
            all.read_scale = r.step.read_scale;
            all.state_scale = r.step.state_scale;
            all.key_w = num::random_key(r.step.seed, 4 * stream);
            all.key_m = num::random_key(r.step.seed, 4 * stream + 1);
            all.key_v = num::random_key(r.step.seed, 4 * stream + 2);
            all.step = r.step.step;
            r.pool.run(chunks.count(), [&](int64_t chunk, int) {
              kern::OptimizerArgs part = all;
              const int64_t first = chunks.begin(chunk);
              const auto at = [&](size_t i, DType dtype) -> void* {
                return r.inout[i] == nullptr
                           ? nullptr
                           : static_cast<std::byte*>(r.inout[i]) + first * size_bytes(dtype);
              };
              part.w = at(0, all.dtype);
              part.grad = static_cast<const std::byte*>(r.in[1]) + first * size_bytes(all.grad_dtype);
              part.m = at(2, all.dtype);
              part.v = at(3, all.dtype);
              part.carry = at(4, all.dtype);
              part.first = first;
              part.n = chunks.length(chunk);
              stalled[chunk] = 0;
              part.stalled = stalled + chunk;
              k.optimizer(part);
            });
            for (int64_t chunk = 0; chunk < chunks.count(); ++chunk) r.step.stalled_updates += stalled[chunk];
          }};
}

Prepared prepare_average(const PrepareContext& c) {
  const double decay = c.attributes().float_at("decay");
  const auto stream = static_cast<uint64_t>(c.attributes().int_at("stream"));
  const DType dtype = c.input(0).dtype;
  const Chunks chunks = element_chunks(elements(c.input(0).shape));
  const kern::Kernels& k = c.kernels;
  return {chunks.count() * static_cast<int64_t>(sizeof(int64_t)), [=, &k](const RunContext& r) {
            if (!r.step.finite) return;
            const double t = r.step.good_steps;
            // The step of SGD from a with the gradient a - w.
            kern::OptimizerArgs all{};
            all.kind = kern::Optimizer::kSgd;
            all.rounding = is_16bit(dtype) ? kern::Rounding::kStochastic : kern::Rounding::kNearest;
            all.dtype = all.grad_dtype = dtype;
            all.lr = static_cast<float>(1 - std::min(decay, (t - 1) / (t + 8)));
            all.grad_scale = -1;
            all.weight_decay = 1;
            all.read_scale = all.state_scale = all.correction1 = all.correction2 = 1;
            all.key_w = num::random_key(r.step.seed, 4 * stream + 3);
            all.step = r.step.step;
            auto* stalled = reinterpret_cast<int64_t*>(r.scratch);
            r.pool.run(chunks.count(), [&](int64_t chunk, int) {
              kern::OptimizerArgs part = all;
              const int64_t first = chunks.begin(chunk);
              part.w = static_cast<std::byte*>(r.inout[0]) + first * size_bytes(dtype);
              part.grad = static_cast<const std::byte*>(r.in[1]) + first * size_bytes(dtype);
              part.first = first;
              part.n = chunks.length(chunk);
              stalled[chunk] = 0;  // of weights alone it is of interest
              part.stalled = stalled + chunk;
              k.optimizer(part);
            });
          }};
}

constexpr NoGradient kUpdate{"it is the end of a step: nothing is differentiated through it"};

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {
          OpDef("GradientAccumulate", infer_same_shapes, prepare_accumulate, kUpdate)
              .with(Effects{.writes = {0}}),
          OpDef("GradientGuard", infer_nothing, prepare_guard, kUpdate)
              .with(Effects{.verdict = Verdict::kGives}),
          OpDef("OptimizerStep", infer_same_shapes, prepare_step, kUpdate)
              .with(Effects{.writes = {0, 2, 3, 4}, .verdict = Verdict::kHeeds}),
          OpDef("AverageStep", infer_same_shapes, prepare_average, kUpdate)
              .with(Effects{.writes = {0}, .verdict = Verdict::kHeeds}),
      },
      {},
  };
  return family;
}

}  // namespace halftone::ops::optimizer
