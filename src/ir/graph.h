// A network as Halftone works on it: values with concrete types, nodes in execution order. Every tensor is
// dense and row-major in its own shape; images are channels-last because the nodes that need it say so
// (Transpose nodes stand at the borders).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ir/attributes.h"
#include "num/dtype.h"
#include "tensor/shape.h"
#include "tensor/tensor.h"

namespace halftone::ir {

using ValueId = int32_t;
inline constexpr ValueId kNone = -1;  // an optional input that is absent, a gradient that is zero

enum class ValueKind : uint8_t {
  kActivation,  // produced by a node
  kInput,       // fed for each step: samples, labels
  kParameter,   // trained, in storage precision, persistent
  kState,       // persistent, not trained by gradient: running statistics, momentum
  kConstant,    // known when compiling
};

// How long a persistent value (parameter, state) lives, and so what checkpoints hold and what is done when a
// step is given up. Said where the value is made.
enum class Lifetime : uint8_t {
  kCheckpointed,  // from step to step and beyond the process: checkpoints hold it
  kScratch,       // within one step: its first micro-batch writes it before anybody reads it
  kDerived,       // between steps it equals another value, its `source`, which is checkpointed
};

struct Type {
  DType dtype = DType::kF32;
  Shape shape;
  bool operator==(const Type&) const = default;
};

struct Value {
  std::string name;  // parameters and states: the ONNX initializer's name
  Type type;
  ValueKind kind = ValueKind::kActivation;
  Lifetime lifetime = Lifetime::kCheckpointed;  // of parameters and states; parameters are checkpointed
  ValueId source = kNone;                       // of what is derived: from which value
  // Constants. Parameters and states: their initial value in the file's precision and layout, here or, so
  // that graphs don't hold copies of a file, read by `load` whenever somebody asks for it (it may throw, when
  // the file is gone by then).
  std::shared_ptr<const Tensor> data;
  std::function<Tensor()> load;
  bool persistent() const { return kind == ValueKind::kParameter || kind == ValueKind::kState; }
  bool has_initial() const { return data != nullptr || load != nullptr; }
  // nullptr: there is none.
  std::shared_ptr<const Tensor> initial() const;
  // Axis i is axis storage_axes[i] of a parameter's initial value, or of the file's input; empty: the same.
  std::vector<int64_t> storage_axes;
};

// When a node runs within an optimizer step.
enum class Phase : uint8_t {
  kCompute,  // once a micro-batch: forward, backward, accumulation
  kUpdate,   // once a step, after the last micro-batch: guard, optimizer, statistics
};
// All nodes of the first phase run before those of the second, whatever their places in the list; the list
// orders those of one phase.

struct Node {
  std::string op;    // the name of an ops::OpDef
  std::string name;  // the ONNX node it comes from, for messages
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  Attributes attributes;
  Phase phase = Phase::kCompute;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Node> nodes;  // each after the producers of its inputs
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;

  ValueId add_value(Value value);
  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }

  // The index of each value's producing node, -1 for none.
  std::vector<int32_t> producers() const;
  // How many node inputs and graph outputs read each value.
  std::vector<int32_t> use_counts() const;
};

// Checks that the graph is legal as far as that can be seen without knowing operators (ops/verify.h knows
// them): ids in range, every value produced at most once and before its uses, activations produced, constants
// with data of their type, lifetimes that fit, one persistent value a name. Throws InternalError naming the
// pass that broke it.
void verify(const Graph& graph, const std::string& after_pass);

// One line a node, for people and for tests.
std::string print(const Graph& graph);

}  // namespace halftone::ir
