// The common test of operators: a few nodes, run in every type; their gradient by the rules that live with
// the operators, against central differences in double.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kern/dispatch.h"
#include "ops/op.h"

namespace halftone::ops::test {

using Numbers = std::vector<double>;

struct Case {
  std::vector<Shape> inputs;
  // Adds the nodes to be tested; returns their outputs. What it puts into the graph's outputs is computed as
  // well.
  std::function<std::vector<ValueId>(Builder&, const std::vector<ValueId>& x)> build;
  // The outputs, computed another way in double; empty when nothing simpler than the operator is at hand.
  std::function<std::vector<Numbers>(const std::vector<Numbers>& x)> expected = nullptr;

  // Elements are random in [low, high], no closer than 1/32 to a kink; distinct: and to each other 1/64 at
  // least (then low and high only say where they lie).
  double low = -2;
  double high = 2;
  std::vector<double> kinks = {};
  bool distinct = false;
  // Which inputs have the register type (statistics), which are class labels (int32), and which are not
  // differentiated.
  std::vector<size_t> statistics = {};
  std::vector<size_t> labels = {};
  std::map<size_t, DType> whole = {};  // inputs of integers or booleans: random ones are cut toward zero
  std::vector<size_t> fixed = {};
  // At least this share of the gradient's elements must not be zero: a test of zeros proves nothing.
  double nonzero = 0.5;
  // Stored values between the inputs and a gradient, each rounded once: the 16-bit gradient may be off by as
  // many units of rounding, relative to the sum of its terms' magnitudes.
  double roundings = 4;
  // The same for the outputs: one, the element's own, for a single node.
  double y_roundings = 1;
  uint64_t seed = 1;
  kern::Multiply multiply = kern::Multiply::kWide;  // in fp32 and 16 bits
  StepState step = {.seed = 7};
};

struct Result {
  std::vector<Numbers> y;
  std::vector<Numbers> dx;  // zeros where the rules give no gradient
};

// Runs the case's nodes on x and the gradient from dy.
Result run(const Case& c, DType dtype, const std::vector<Numbers>& x, const std::vector<Numbers>& dy,
           kern::Isa isa = kern::Isa::kReference, int threads = 1);

// All of it: the forward against `expected`, the gradient in double against central differences, then fp32,
// fp16 and bf16 against double, and each instruction set and number of threads against the reference.
void check(const Case& c);

// Those that handle this type here.
std::vector<kern::Isa> isas(DType dtype);

// The outputs alone, for values that are exact in fp32: no gradient, any size. One list an output.
std::vector<Numbers> forward(const Case& c, DType dtype, const std::vector<Numbers>& x, int threads = 1);

// What a run of the nodes says when it stops; empty when it doesn't.
std::string fault(const Case& c, const std::vector<Numbers>& x);

// Random numbers for a case's input, representable in dtype.
std::vector<Numbers> random_inputs(const Case& c, DType dtype);

// A function of one element or of two broadcast ones, on the host.
Numbers map(const Numbers& x, const std::function<double(double)>& f);
Numbers broadcast_map(const Numbers& a, const Shape& a_shape, const Numbers& b, const Shape& b_shape,
                      const std::function<double(double, double)>& f);

// What Builder::add says when it refuses a node; empty when it doesn't.
std::string refusal(const std::vector<Type>& inputs, const std::string& op, const Attributes& attributes);

// ---------------------------------------------------------------- as ONNX writes it
using TensorPtr = std::shared_ptr<const Tensor>;
TensorPtr floats(const Numbers& values, const Shape& shape);
TensorPtr ints(const std::vector<int64_t>& values, DType dtype = DType::kI64);  // of rank 1
TensorPtr ints(const std::vector<int64_t>& values, const Shape& shape, DType dtype = DType::kI64);
TensorPtr number(double value);  // fp32, of rank 0

// A node of a file. `known` are inputs whose value is known when loading (null: absent); the others are the
// case's, in order.
struct OnnxNode {
  std::string op_type;
  int opset = 17;
  Attributes attributes = {};
  std::map<size_t, TensorPtr> known = {};
  size_t outputs = 1;
  Mode mode = Mode::kTrain;
  BatchNormMode batch_norm = BatchNormMode::kTrain;
};
// What the node's import makes of it.
std::vector<ValueId> import(Builder& b, const OnnxNode& node, const std::vector<ValueId>& x);
// A case of it, with the outputs that it has.
Case onnx_case(const OnnxNode& node, const std::vector<Shape>& inputs);
// The shapes of its outputs, and what import says when it refuses (empty when it doesn't).
std::vector<Shape> imported_shapes(const OnnxNode& node, const std::vector<Shape>& inputs);
std::string refusal(const OnnxNode& node, const std::vector<Shape>& inputs);
// The operators that import adds, in order.
std::vector<std::string> imported_ops(const OnnxNode& node, const std::vector<Shape>& inputs);

// The node evaluated on the host, all of its inputs being known.
std::vector<Tensor> fold(const std::string& op_type, int opset, const std::vector<TensorPtr>& inputs,
                         const Attributes& attributes = {}, size_t outputs = 1);
// "1 2 3 (int64 3)": elements, type and shape of a fold's first output, or its error.
std::string folded_text(const std::string& op_type, int opset, const std::vector<TensorPtr>& inputs,
                        const Attributes& attributes = {});

}  // namespace halftone::ops::test
