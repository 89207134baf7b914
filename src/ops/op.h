// What an operator is. Its room is one file in this folder: how ONNX's node becomes our nodes, shape rule,
// forward, gradient, documentation. ops/list.cpp names them all.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "ir/graph.h"
#include "kern/kernels.h"
#include "par/pool.h"

namespace halftone::ops {

using ir::Attributes;
using ir::kNone;
using ir::Type;
using ir::ValueId;

// Adds nodes to a graph: used by ONNX import, gradients and passes. Float values that nodes produce get the
// dtype that the op's infer rule gives.
class Builder {
 public:
  // storage: the type of float activations, gradients and parameters (what --precision says; fp64 in the
  // oracle).
  Builder(ir::Graph& graph, DType storage) : graph_(graph), storage_(storage) {}

  ir::Graph& graph() { return graph_; }
  DType storage() const { return storage_; }
  // Copies: adding a node may move the graph's values.
  Type type(ValueId id) const { return graph_.value(id).type; }
  Shape shape(ValueId id) const { return graph_.value(id).type.shape; }

  // Appends a node and infers its outputs' types. `origin` names the ONNX node it comes from (messages);
  // phase as set by set_phase.
  std::vector<ValueId> add(std::string_view op, std::vector<ValueId> inputs, Attributes attributes = {});
  // The same for a node with one output of interest.
  ValueId add1(std::string_view op, std::vector<ValueId> inputs, Attributes attributes = {}) {
    return add(op, std::move(inputs), std::move(attributes)).front();
  }
  // A constant; float data takes the storage type.
  ValueId constant(Tensor data, std::string name = {});
  ValueId scalar(double value);
  // Convenience: no node is added when nothing changes.
  ValueId reshape(ValueId x, Shape shape);
  ValueId transpose(ValueId x, const std::vector<int64_t>& axes);
  // Sums over the axes along which `shape` was broadcast to x's shape: the gradient of broadcasting.
  ValueId sum_to(ValueId x, Shape shape);

  void set_origin(std::string name) { origin_ = std::move(name); }
  const std::string& origin() const { return origin_; }
  void set_phase(ir::Phase phase) { phase_ = phase; }

 private:
  ir::Graph& graph_;
  DType storage_;
  std::string origin_;
  ir::Phase phase_ = ir::Phase::kCompute;
};

// ---------------------------------------------------------------- our operators (IR)

// What infer sees: the node under construction and its input types (inputs that are absent: empty optional
// input, has(i) is false).
struct InferContext {
  const ir::Graph& graph;
  const ir::Node& node;
  bool has(size_t i) const { return i < node.inputs.size() && node.inputs[i] != kNone; }
  const Type& input(size_t i) const { return graph.value(node.inputs[i]).type; }
  const Attributes& attributes() const { return node.attributes; }
};
// The types of all outputs. Throws Error when shapes don't fit, naming axis and shapes (the caller adds the
// node's name).
using Infer = std::vector<Type> (*)(const InferContext&);

// Scalars of the running step, read and written by nodes. One struct for the whole program.
struct StepState {
  uint64_t seed = 0;
  uint64_t step = 0;          // good and skipped steps counted: numbers the random bits
  uint64_t micro_step = 0;    // forward passes counted: numbers dropout's random bits
  float loss_scale = 1;       // what the loss gradient is multiplied by
  int32_t micro_batches = 1;  // accumulated before an update; the loss is their mean
  int32_t micro_index = 0;    // which of them is running
  float lr = 0;
  double good_steps = 0;  // t of Adam's corrections for the update to come (1 for the first)
  float read_scale = 1;   // optimizer state: 1 / scale it is stored with
  float state_scale = 1;  // and the scale to store it with now
  float clip_norm = 0;    // 0: no clipping
  // The verdict on the step, by the node that gives it (Effects::verdict):
  bool finite = true;           // false: the update nodes change nothing
  double grad_norm = 0;         // L2 norm of all gradients, unscaled
  float clip_coefficient = 1;   // min(1, clip_norm / (norm + 1e-6)), as PyTorch's clip_grad_norm_
  int64_t stalled_updates = 0;  // += updates that rounded to nothing
  // Written by a node that met a number it cannot go on with (an index outside its range, a division by
  // zero): which element it is, as Prepared::explain wants it. exec::Program makes an error of it before the
  // next node runs.
  int64_t fault = -1;
  // Not 0, in fp32 only: what an operator keeps inside itself and would store in 16 bits is rounded to so many
  // significant bits (train/precision_check.h, which does the same to values).
  int significant_bits = 0;
};

// Is told which rows of output 0 are finished while a node still runs (ops/row_listener.h).
class RowListener;

// What a prepared node gets when it runs. Pointers are 64-byte aligned.
struct RunContext {
  const void* const* in;  // nullptr for an absent input
  void* const* out;       // nullptr for an output that is not read
  std::byte* scratch;     // as many bytes as prepare asked for
  par::Pool& pool;
  StepState& step;
  RowListener* row_listener = nullptr;  // of nodes that report their rows; null: there is none
  bool early_stage_done = false;        // the node's early stage has run already
  // For each input that the operator writes (Effects::writes) its memory, for all others nullptr. May be null
  // where it writes none.
  void* const* inout = nullptr;
};

// A first stage that need not wait until all of an input is there: it reads the input's rows (its last
// dimension, all others joined) unit by unit, each once, and writes nothing but scratch. Where the node that
// makes that input is near and reports its rows, each unit runs as soon as its rows are written, while a
// cache still has them.
struct EarlyStage {
  size_t input = 0;
  int64_t rows = 0;
  int64_t unit = 0;                                // rows of a unit; the last may have fewer
  std::function<void(const RunContext&)> prepare;  // once, before the first unit; empty: nothing to do
  std::function<void(const RunContext&, int64_t unit, int worker)> run;
};

struct Prepared {
  int64_t scratch_bytes = 0;
  std::function<void(const RunContext&)> run;  // must not throw and not allocate
  // What it computes, if that is a matrix product or convolution.
  std::optional<kern::Product> product = std::nullopt;
  std::optional<EarlyStage> early_stage =
      std::nullopt;           // `run` leaves it out where RunContext::early_stage_done
  bool reports_rows = false;  // `run` reports to RunContext::row_listener
  // What StepState::fault is about, in words, while the node's inputs are still there. Empty: `run` sets no
  // fault.
  std::function<std::string(const RunContext&, int64_t fault)> explain = nullptr;
};
// What prepare sees: everything about the node that stays the same while it runs.
struct PrepareContext {
  const ir::Graph& graph;
  const ir::Node& node;
  const kern::Kernels& kernels;
  kern::Multiply multiply;
  int threads;  // size of the pool; per-thread scratch is booked as threads * bytes
  bool has(size_t i) const { return i < node.inputs.size() && node.inputs[i] != kNone; }
  bool wanted(size_t i) const { return i < node.outputs.size() && node.outputs[i] != kNone; }
  const Type& input(size_t i) const { return graph.value(node.inputs[i]).type; }
  const Type& output(size_t i) const { return graph.value(node.outputs[i]).type; }
  const Attributes& attributes() const { return node.attributes; }
};
using Prepare = Prepared (*)(const PrepareContext&);

// What a gradient rule sees. dy(i) is kNone when output i has no gradient.
struct GradientContext {
  Builder& builder;
  const ir::Node& node;            // a copy: adding nodes does not move it
  const std::vector<ValueId>& dy;  // one for each output
  const std::vector<bool>& needs;  // whether input i's gradient is wanted
  ValueId x(size_t i) const { return node.inputs[i]; }
  ValueId y(size_t i) const { return node.outputs[i]; }
  bool has(size_t i) const { return i < node.inputs.size() && node.inputs[i] != kNone; }
};
// One gradient for each input (kNone: none wanted or zero), each with its input's shape.
using GradientRule = std::vector<ValueId> (*)(GradientContext&);
struct NoGradient {
  std::string_view reason;
};
// A rule or a stated reason; there is no default, so a forgotten gradient does not compile.
using Gradient = std::variant<GradientRule, NoGradient>;

// How a Transpose of input 0 moves through the node (pass/layout.h).
enum class Permute : uint8_t {
  kNever,        // the node reads its inputs in their own order
  kElementwise,  // f(T(x)) = T(f(x)); several inputs broadcast against each other
  kAxes,         // attributes name axes: `permute` below rewrites them
};
// For Permute::kAxes. perm: output axis i of the transpose is its input's axis perm[i]. Returns the node's
// attributes for the untransposed input and the permutation that then has to be applied to each output
// (empty: none), or false when it can't.
struct Permuted {
  bool possible = false;
  Attributes attributes;
  std::vector<int64_t> output_axes;
};
using PermuteRule = Permuted (*)(const ir::Graph& graph, const ir::Node& node,
                                 const std::vector<int64_t>& perm);

// What output 0 may share memory with.
enum class Alias : uint8_t {
  kFresh,     // nothing
  kView,      // is input 0 under another shape: same bytes, no work (prepare's run is never called)
  kMayShare,  // may overwrite an input (any of the same byte size) that is not read later
};

// Whether a step is taken: StepState::finite and what goes with it.
enum class Verdict : uint8_t {
  kIgnores,
  kGives,  // decides it
  kHeeds,  // does what was decided, so it comes after the node that gives it
};

// What a node does besides its outputs: the verifier, dead-code removal, the order of nodes, the memory plan
// and the program read this (ops/effects.h). `run` gets writable memory for the inputs that are named here,
// and for no others.
struct Effects {
  std::vector<size_t> writes =
      {};  // inputs that it changes in place: parameters or states; optional ones may be absent
  Verdict verdict = Verdict::kIgnores;
  // A node with one of these is needed although nobody reads its outputs.
  bool any() const { return !writes.empty() || verdict == Verdict::kGives; }
};

// An output that may be written over an input of the same byte size that is not read later: `run` reads each
// element of the input before it writes the output's. (Alias::kMayShare allows that to output 0, over any
// input.)
struct Overwrites {
  size_t input = 0;
  size_t output = 0;
};

// What an operator can do to output 0 before it stores it, in this order: add the optional input `residual`,
// and apply what its attribute "activation" names ("low" and "high" beside it for Clip). pass/fuse.h makes
// nodes behind it part of it by that.
struct Behind {
  size_t residual = 0;
  std::vector<std::string_view> activations = {};     // without a residual
  std::vector<std::string_view> after_residual = {};  // with one
};

struct OpDef {
  OpDef(std::string_view name_, Infer infer_, Prepare prepare_, Gradient gradient_,
        Alias alias_ = Alias::kFresh, Permute permute_ = Permute::kNever, PermuteRule rule_ = nullptr)
      : name(name_),
        infer(infer_),
        prepare(prepare_),
        gradient(gradient_),
        alias(alias_),
        permute(permute_),
        permute_rule(rule_) {}
  // The definition with one fact more: OpDef(...).with(Effects{.writes = {0}}).
  OpDef with(Effects facts) && {
    effects = std::move(facts);
    return std::move(*this);
  }
  OpDef with(Behind facts) && {
    behind = std::move(facts);
    return std::move(*this);
  }
  OpDef with(Overwrites facts) && {
    overwrites = facts;
    return std::move(*this);
  }
  std::string_view name;
  Infer infer;
  Prepare prepare;
  Gradient gradient;
  Alias alias;
  Permute permute;
  PermuteRule permute_rule;
  Effects effects = {};
  std::optional<Behind> behind = std::nullopt;
  std::optional<Overwrites> overwrites = std::nullopt;
};

// ---------------------------------------------------------------- ONNX's operators

// Whether batch norms and dropout act as in training or as in inference.
enum class Mode : uint8_t { kTrain, kEval };
enum class BatchNormMode : uint8_t { kTrain, kFreeze };

// One ONNX node on its way into the graph. All shapes are concrete by now; inputs that shape arithmetic
// produced are constants.
struct ImportContext {
  Builder& builder;
  std::string op_type;
  std::string name;
  int opset;                    // of the node's domain
  Attributes attributes;        // as in the file
  std::vector<ValueId> inputs;  // kNone where absent
  size_t output_count;
  Mode mode;
  BatchNormMode batch_norm;
  bool has(size_t i) const { return i < inputs.size() && inputs[i] != kNone; }
  Shape shape(size_t i) const { return builder.shape(inputs[i]); }
  // The value of input i if it is known when compiling, else nullptr. (Trained initializers are not.)
  const Tensor* constant(size_t i) const;
  // Error "input i must be a constant" unless it is one.
  std::vector<int64_t> int_constant(size_t i) const;
};
// Adds nodes and returns the ONNX node's outputs (kNone for optional ones that it does not deliver). Throws
// Error for what is not supported, saying why.
using Import = std::vector<ValueId> (*)(ImportContext&);

// x, scale, bias, running mean, running variance, channels last, as a batch norm of this mode, its running
// statistics kept up to date in training. Writes `y` when given, else a new value; returns it.
// (ops/batch_normalization_import.cpp; for passes that put batch norms back.)
ValueId add_batch_norm(Builder& builder, const std::vector<ValueId>& inputs, double epsilon, double momentum,
                       Mode mode, BatchNormMode batch_norm, ValueId y = kNone);
// The name of the copy of a running statistic that micro-batches move, and that becomes the statistic when
// the step is taken.
std::string pending_name(const std::string& statistic);

// Host evaluation when all inputs are constants (nullptr where absent): shape arithmetic. Integer, bool
// (uint8) and float (fp32) tensors.
struct FoldContext {
  std::string op_type;
  int opset;
  const Attributes& attributes;
  std::vector<const Tensor*> inputs;
  size_t output_count;
};
using Fold = std::vector<Tensor> (*)(const FoldContext&);

struct OnnxOp {
  std::string_view op_type;
  int since;                // first opset understood
  int until;                // last opset understood
  Import import = nullptr;  // nullptr: only folded (NonZero, Range, ...)
  Fold fold = nullptr;      // nullptr: on constants its nodes are run instead (ops/run_constants.h)
  // How many inputs, from the first, must be there: the importer checks it, import and fold rely on it.
  // kEveryInput: those that the node has, and at least one.
  int required_inputs = 1;
  static constexpr int kEveryInput = -1;
};

// ---------------------------------------------------------------- the list (ops/list.cpp)
const OpDef& find(std::string_view name);           // HT_ASSERTs that it exists
const OnnxOp* find_onnx(std::string_view op_type);  // nullptr when unsupported
std::vector<const OpDef*> all();
std::vector<const OnnxOp*> all_onnx();

// Each file of operators defines one of these, its definitions, by a function of its namespace:
// conv::family().
struct OpFamily {
  std::vector<OpDef> ops;
  std::vector<OnnxOp> onnx;
};

}  // namespace halftone::ops
