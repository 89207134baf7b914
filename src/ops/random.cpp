// Random numbers as nodes: noise of an autoencoder, a drop of whole paths, a choice of classes.
//
// formula  RandomUniform: low <= y < high (rounding may reach high); RandomNormal: mean + scale z; Bernoulli:
//          1 with probability x, else 0; Multinomial: class c with probability exp(x[c]) / sum exp(x). The
//          random bits of element i are a function of (seed, stream, micro-step, i), as dropout's are: the
//          seed is the run's, the stream the node's. i counts in the order of memory
// gradient none: what is drawn does not depend on what is trained but by its probabilities, of which a draw
//          has no derivative
// shapes   y has the attribute's shape, or x's; Multinomial x[N, C] -> y[N, sample_size]
// dtypes   fp16 bf16 fp32; fp64 in the oracle. Multinomial's y int64
// rounds   once, from double
// saves    none
// scratch  none
// alias    none
// errors   types that are no floats where floats are drawn; a scale below 0; low above high; sizes below 1
// source   ONNX RandomUniform-1/22, RandomNormal-1/22, RandomUniformLike-1/22, RandomNormalLike-1/22,
//          Bernoulli-15/22, Multinomial-7/22. The attribute seed has no say, as Dropout's. They draw in
//          evaluation too, as the file says: of seed and micro-step 0, so that every batch, every run and a
//          file that is read back are measured with the same numbers
// tests    tests/ops/random_test.cpp, tests/kern/draws_test.cpp
#include <algorithm>

#include "base/error.h"
#include "kern/draws.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/whole.h"

namespace halftone::ops::random {
namespace {

constexpr NoGradient kDrawn{"a draw has no derivative"};
constexpr int64_t kFirstStream = int64_t{0x52616E64} << 32;  // "Rand"; apart from dropout's

int64_t next_stream(Builder& b) {
  const ir::Graph& graph = b.graph();
  return kFirstStream + std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const ir::Node& node) {
           return node.op == "Random" || node.op == "Bernoulli" || node.op == "Multinomial";
         });
}

// IR attributes: stream; fixed (in evaluation). Of Random also shape, dtype, normal, a, b; of Multinomial
// sample_size.
std::vector<Type> infer(const InferContext& c) {
  return {{static_cast<DType>(c.attributes().int_at("dtype")), c.attributes().ints_at("shape")}};
}
std::vector<Type> infer_bernoulli(const InferContext& c) {
  if (!is_float(c.input(0).dtype))
    throw input_error("probabilities must be floats, got {}", name_of(c.input(0).dtype));
  return {c.input(0)};
}
std::vector<Type> infer_multinomial(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype) || x.shape.size() != 2 || x.shape[1] < 1)
    throw input_error("logarithms [N, classes] were expected, got {} {}", name_of(x.dtype),
                      to_string(x.shape));
  return {{DType::kI64, {x.shape[0], c.attributes().int_at("sample_size")}}};
}

Prepared prepare(const PrepareContext& c) {
  const Type& y = c.output(0);
  const int64_t n = elements(y.shape);
  const int64_t width = size_bytes(y.dtype);
  const auto stream = static_cast<uint64_t>(c.attributes().int_at("stream"));
  const bool fixed = c.attributes().int_at("fixed") != 0;
  const bool given = c.node.op == "Bernoulli";
  const kern::Draw kind = given                                     ? kern::Draw::kBernoulli
                          : c.attributes().int_or("normal", 0) != 0 ? kern::Draw::kNormal
                                                                    : kern::Draw::kUniform;
  const double a = c.attributes().float_or("a", 0);
  const double b = c.attributes().float_or("b", 1);
  return {0, [=, dtype = y.dtype](const RunContext& r) {
            const num::RandomKey key = num::random_key(fixed ? 0 : r.step.seed, stream);
            for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
              kern::draw({kind, dtype, at(r.out[0], first * width), first, count, a, b,
                          given ? at(r.in[0], first * width) : nullptr, key, fixed ? 0 : r.step.micro_step});
            });
          }};
}

Prepared prepare_multinomial(const PrepareContext& c) {
  const Type x = c.input(0);
  const int64_t samples = c.output(0).shape[1];
  const int64_t row = x.shape[1] * size_bytes(x.dtype);
  const auto stream = static_cast<uint64_t>(c.attributes().int_at("stream"));
  const bool fixed = c.attributes().int_at("fixed") != 0;
  return {0, [=](const RunContext& r) {
            const num::RandomKey key = num::random_key(fixed ? 0 : r.step.seed, stream);
            for_chunks(
                r.pool, row_chunks(x.shape[0], x.shape[1] * std::max<int64_t>(1, samples)),
                [&](int64_t first, int64_t count) {
                  kern::choose_classes({x.dtype, at(r.in[0], first * row),
                                        static_cast<int64_t*>(r.out[0]) + first * samples, first, count,
                                        x.shape[1], samples, key, fixed ? 0 : r.step.micro_step});
                });
          }};
}

// ---------------------------------------------------------------- import
constexpr int64_t kOnnxFloat = 1;
constexpr int64_t kOnnxInt32 = 6;
constexpr int64_t kOnnxInt64 = 7;
constexpr int64_t kOnnxBool = 9;

void check_dtype(const Attributes& attributes) {
  const int64_t code = attributes.int_or("dtype", kOnnxFloat);
  if (!is_float(dtype_of_onnx(code))) throw input_error("dtype is {}, a float type was expected", code);
}

ValueId add_random(ImportContext& c, const Shape& shape) {
  const bool normal = c.op_type.rfind("RandomNormal", 0) == 0;
  const double a = c.attributes.float_or(normal ? "mean" : "low", 0);
  const double b = c.attributes.float_or(normal ? "scale" : "high", 1);
  if (normal ? !(b >= 0) : !(a <= b))
    throw input_error("{}", normal ? "scale is below 0" : "low is above high");
  for (const int64_t size : shape)
    if (size < 1) throw input_error("the shape is {}", to_string(shape));
  return c.builder.add1("Random", {},
                        {{"shape", shape},
                         {"dtype", static_cast<int64_t>(c.builder.storage())},
                         {"normal", int64_t{normal}},
                         {"a", a},
                         {"b", b},
                         {"stream", next_stream(c.builder)},
                         {"fixed", int64_t{c.mode == Mode::kEval}}});
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"dtype", "high", "low", "mean", "scale", "seed", "shape"});
  check_dtype(c.attributes);
  if (!c.attributes.has("shape")) throw input_error("shape is missing");
  return {add_random(c, c.attributes.ints_at("shape"))};
}

std::vector<ValueId> import_like(ImportContext& c) {
  check_attributes(c.attributes, {"dtype", "high", "low", "mean", "scale", "seed"});
  check_dtype(c.attributes);
  if (!c.attributes.has("dtype") && !is_float(c.builder.type(c.inputs[0]).dtype))
    throw input_error("its input is {}; a float tensor was expected, or the attribute dtype",
                      name_of(c.builder.type(c.inputs[0]).dtype));
  return {add_random(c, c.shape(0))};
}

std::vector<ValueId> import_bernoulli(ImportContext& c) {
  check_attributes(c.attributes, {"dtype", "seed"});
  Builder& b = c.builder;
  const ValueId y = b.add1("Bernoulli", {c.inputs[0]},
                           {{"stream", next_stream(b)}, {"fixed", int64_t{c.mode == Mode::kEval}}});
  const int64_t code = c.attributes.int_or("dtype", kOnnxFloat);
  return {add_cast(b, y, dtype_of_onnx(code), code == kOnnxBool)};
}

std::vector<ValueId> import_multinomial(ImportContext& c) {
  check_attributes(c.attributes, {"dtype", "sample_size", "seed"});
  const int64_t code = c.attributes.int_or("dtype", kOnnxInt32);
  if (code != kOnnxInt32 && code != kOnnxInt64)
    throw input_error("dtype is {}, expected {} (int32) or {} (int64)", code, kOnnxInt32, kOnnxInt64);
  const int64_t samples = c.attributes.int_or("sample_size", 1);
  if (samples < 1) throw input_error("sample_size is {}", samples);
  Builder& b = c.builder;
  const ValueId y = b.add1(
      "Multinomial", {c.inputs[0]},
      {{"sample_size", samples}, {"stream", next_stream(b)}, {"fixed", int64_t{c.mode == Mode::kEval}}});
  return {add_cast(b, y, dtype_of_onnx(code))};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("Random", infer, prepare, kDrawn), OpDef("Bernoulli", infer_bernoulli, prepare, kDrawn),
       OpDef("Multinomial", infer_multinomial, prepare_multinomial, kDrawn)},
      {{.op_type = "RandomUniform", .since = 1, .until = 24, .import = import, .required_inputs = 0},
       {.op_type = "RandomNormal", .since = 1, .until = 24, .import = import, .required_inputs = 0},
       {.op_type = "RandomUniformLike", .since = 1, .until = 24, .import = import_like},
       {.op_type = "RandomNormalLike", .since = 1, .until = 24, .import = import_like},
       {.op_type = "Bernoulli", .since = 15, .until = 24, .import = import_bernoulli},
       {.op_type = "Multinomial", .since = 7, .until = 24, .import = import_multinomial}}};
  return family;
}

}  // namespace halftone::ops::random
