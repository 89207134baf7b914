// formula  y = keep ? x / (1 - ratio) : 0; element i is kept when its 32 random bits, a function of (seed,
//          stream, micro-step, i), are at least ratio * 2^32. i counts in the order of memory (channels last
//          for images)
// gradient the same function of dy: the same bits
// shapes   x[any] -> y[same]
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored
// saves    none
// scratch  none
// alias    y may share memory with x
// errors   a ratio outside [0, 1) or computed; the mask as an output
// source   ONNX Dropout-1/6/7/10 (ratio an attribute), -12/13/22 (a constant input, with training_mode).
//          --batchnorm has no say in it: a network in training drops whatever training_mode says, for
//          exporters write false; in evaluation nothing is dropped
// tests    tests/ops/dropout_test.cpp
#include "base/error.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::ops::dropout {
namespace {

// Apart from the streams of the optimizer and the loader.
constexpr int64_t kFirstStream = int64_t{0x44726F70} << 32;  // "Drop"

// IR attributes: ratio, stream (unique to the ONNX node).
std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  return {x};
}

Prepared prepare(const PrepareContext& c) {
  const Type& y = c.output(0);
  const int64_t n = elements(y.shape);
  const int64_t width = size_bytes(y.dtype);
  const auto ratio = static_cast<float>(c.attributes().float_at("ratio"));
  const auto stream = static_cast<uint64_t>(c.attributes().int_at("stream"));
  return {0, [=, dropout = c.kernels.dropout, dtype = y.dtype](const RunContext& r) {
            const num::RandomKey key = num::random_key(r.step.seed, stream);
            for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
              dropout({dtype, at(r.in[0], first * width), at(r.out[0], first * width), first, count, ratio,
                       key, r.step.micro_step});
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  return {c.builder.add1("Dropout", {c.dy[0]}, c.node.attributes)};
}

std::vector<ValueId> import(ImportContext& c) {
  double ratio = 0.5;
  if (c.opset < 12) {
    check_attributes(c.attributes, {"ratio"});
    ratio = c.attributes.float_or("ratio", 0.5);
  } else {
    check_attributes(c.attributes, {"seed"});  // our seed is the run's
    if (c.has(1)) {
      const std::optional<double> value = scalar_of(c.constant(1));
      if (!value) throw input_error("ratio must be one constant number");
      ratio = *value;
    }
  }
  if (!(ratio >= 0 && ratio < 1)) throw input_error("ratio is {}, expected 0 <= ratio < 1", ratio);
  ValueId y = c.inputs[0];
  if (c.mode == Mode::kTrain && ratio > 0) {
    const auto& nodes = c.builder.graph().nodes;
    const auto before =
        std::count_if(nodes.begin(), nodes.end(), [](const ir::Node& node) { return node.op == "Dropout"; });
    y = c.builder.add1("Dropout", {y}, {{"ratio", ratio}, {"stream", kFirstStream + before}});
  }
  std::vector<ValueId> out(c.output_count, kNone);  // the mask is not delivered: whoever reads it is told
  out[0] = y;
  return out;
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Dropout", infer, prepare, GradientRule{gradient}, Alias::kMayShare, Permute::kElementwise)},
      {{.op_type = "Dropout", .since = 1, .until = 24, .import = import}},
  };
  return family;
}

}  // namespace halftone::ops::dropout
