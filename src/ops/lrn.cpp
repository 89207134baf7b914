// Local response normalization over channels, channels last.
//
// formula  y = x * s^-beta, s = bias + alpha / size * sum of x^2 over the channels c - (size - 1) / 2 ... c +
//          size / 2 as far as there are any
// gradient LrnGrad: dx = dy s^-beta - 2 alpha beta / size * x * sum of dy x s^(-beta - 1) over the channels
//          whose window has this one
// shapes   x[N, ..., C] -> y[same]
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y (dx) is stored; squares, their sum and the power in registers. A sum that is not
//          finite gives NaN, not 0
// saves    x
// scratch  3 values a channel (and of its window) a thread
// alias    y may share memory with x; dx with x or dy
// errors   size < 1; an input of rank < 3
// source   ONNX LRN-1/13
// tests    tests/ops/lrn_test.cpp
#include "base/error.h"
#include "kern/normalization.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "tensor/permutation.h"

namespace halftone::ops::lrn {
namespace {

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  if (x.shape.empty()) throw input_error("an input with channels was expected, got one number");
  return {x};
}

std::vector<Type> infer_grad(const InferContext& c) {
  return {c.input(1)};
}

// LRN(x) -> y; LrnGrad(dy, x) -> dx
template <bool kGradient>
Prepared prepare(const PrepareContext& c) {
  const Type& type = c.output(0);
  const Attributes& a = c.attributes();
  kern::LrnArgs args{};
  args.dtype = type.dtype;
  args.cols = type.shape.back();
  const int64_t size = a.int_at("size");
  // What lies further away than all channels are is in no window.
  const int64_t furthest = std::max<int64_t>(0, args.cols - 1);
  args.before = std::min((size - 1) / 2, furthest);
  args.after = std::min(size / 2, furthest);
  args.factor = a.float_at("alpha") / static_cast<double>(size);
  args.beta = a.float_at("beta");
  args.bias = a.float_at("bias");
  const int64_t rows = args.cols == 0 ? 0 : elements(type.shape) / args.cols;
  const int64_t row_bytes = args.cols * size_bytes(type.dtype);
  const int64_t scratch =
      aligned_bytes(3 * (args.cols + args.before + args.after) * size_bytes(register_type(type.dtype)));
  const Chunks chunks = row_chunks(rows, args.cols);
  return {scratch * c.threads, [=, kernel = kGradient ? c.kernels.normalization->lrn_grad
                                                      : c.kernels.normalization->lrn](const RunContext& r) {
            run_chunks(r.pool, chunks.count(), [&](int64_t chunk, int worker) {
              const int64_t offset = chunks.begin(chunk) * row_bytes;
              kern::LrnArgs call = args;
              call.x = at(r.in[kGradient ? 1 : 0], offset);
              if (kGradient) call.dy = at(r.in[0], offset);
              call.y = at(r.out[0], offset);
              call.rows = chunks.length(chunk);
              call.scratch = r.scratch + worker * scratch;
              kernel(call);
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  return {c.builder.add1("LrnGrad", {c.dy[0], c.x(0)}, c.node.attributes)};
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"alpha", "beta", "bias", "size"});
  const int64_t size = c.attributes.int_at("size");
  if (size < 1) throw input_error("size is {}, expected at least 1", size);
  const Shape x = c.shape(0);
  if (x.size() < 3) throw input_error("an input [N, C, ...] was expected, got {}", to_string(x));
  const std::vector<int64_t> perm = channels_last(x.size());
  Builder& b = c.builder;
  const ValueId y = b.add1("LRN", {b.transpose(c.inputs[0], perm)},
                           {{"size", size},
                            {"alpha", c.attributes.float_or("alpha", 1e-4)},
                            {"beta", c.attributes.float_or("beta", 0.75)},
                            {"bias", c.attributes.float_or("bias", 1.0)}});
  return {b.transpose(y, inverse(perm))};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("LRN", infer, prepare<false>, GradientRule{gradient}, Alias::kMayShare),
       OpDef("LrnGrad", infer_grad, prepare<true>, NoGradient{"second derivatives are not computed"},
             Alias::kMayShare)},
      {{.op_type = "LRN", .since = 1, .until = 24, .import = import}},
  };
  return family;
}

}  // namespace halftone::ops::lrn
