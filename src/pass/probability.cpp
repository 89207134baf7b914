#include "pass/probability.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/words.h"
#include "pass/value_range.h"

namespace halftone::pass {
namespace {

using ir::Node;
using ir::ValueId;

enum class Meaning : uint8_t {
  kOther,
  kFixed,        // the same for all samples: constants, parameters, and what is computed from them alone
  kProbability,  // or a function of it
  kLog,          // the logarithm of a probability, perhaps times a positive number
  kMinusLog,
};

struct Trace {
  Meaning meaning = Meaning::kOther;
  const Node* source = nullptr;
};

class Tracer {
 public:
  explicit Tracer(const ir::Graph& graph)
      : graph_(graph), ranges_(value_ranges(graph)), traces_(graph.values.size()) {}

  const Node* run(ValueId value) {
    for (size_t v = 0; v < graph_.values.size(); ++v) {
      const ir::ValueKind kind = graph_.values[v].kind;
      if (kind == ir::ValueKind::kConstant || kind == ir::ValueKind::kParameter)
        traces_[v].meaning = Meaning::kFixed;
    }
    for (const Node& node : graph_.nodes) {
      const Trace trace = of(node);
      for (const ValueId out : node.outputs)
        if (out != ir::kNone) traces_[static_cast<size_t>(out)] = trace;
    }
    const Trace& end = traces_[static_cast<size_t>(value)];
    return end.meaning == Meaning::kProbability || end.meaning == Meaning::kMinusLog ? end.source : nullptr;
  }

 private:
  static Meaning negative(Meaning m) {
    return m == Meaning::kLog ? Meaning::kMinusLog : m == Meaning::kMinusLog ? Meaning::kLog : m;
  }

  Trace of(const Node& n) const {
    constexpr std::array<std::string_view, 3> kSources = {"Softmax", "Sigmoid", "HardSigmoid"};
    // What moves, selects or averages elements, or changes each by itself.
    constexpr std::array<std::string_view, 14> kKeep = {
        "Reshape", "Transpose",   "Expand", "Slice",      "Split", "Concat", "Dropout",
        "MaxPool", "AveragePool", "Clip",   "ReduceMean", "Relu",  "Abs",    "Resample"};
    constexpr std::array<std::string_view, 5> kOfEach = {"Sqrt", "PowScalar", "Reciprocal", "Exp",
                                                         "ReduceSum"};
    constexpr std::array<std::string_view, 4> kBinary = {"Add", "Sub", "Mul", "Div"};
    Trace all = of_inputs(n);
    if (all.meaning == Meaning::kFixed) return all;
    if (is_one_of(n.op, kSources)) return {Meaning::kProbability, &n};
    if (n.op == "LogSoftmax") return {Meaning::kLog, &n};
    if (all.meaning == Meaning::kOther) return {};
    if (n.op == "Neg" || (n.op == "Scale" && n.attributes.float_or("alpha", 1) < 0)) {
      all.meaning = negative(all.meaning);
      return all;
    }
    if (n.op == "Scale" || is_one_of(n.op, kKeep)) return all;
    if (n.op == "Log")
      return {all.meaning == Meaning::kProbability ? Meaning::kLog : Meaning::kOther, all.source};
    if (is_one_of(n.op, kOfEach)) return {Meaning::kProbability, all.source};
    return is_one_of(n.op, kBinary) ? of_two(n, all) : Trace{};
  }

  // Of logarithms one sign must be known: the difference of two is a log-odds, which are logits.
  Trace of_two(const Node& n, const Trace& all) const {
    const Meaning left = meaning(n, 0);
    const Meaning right = meaning(n, 1);
    if (all.meaning == Meaning::kProbability) return all;
    if (left != Meaning::kFixed && right != Meaning::kFixed) return n.op == "Add" ? all : Trace{};
    const size_t fixed = left == Meaning::kFixed ? 0 : 1;
    bool minus = n.op == "Sub" && fixed == 0;
    if (n.op == "Mul" || n.op == "Div") {
      const ValueRange range = ranges_[static_cast<size_t>(n.inputs[fixed])];
      if (n.op == "Div" && fixed == 0) return {};
      if (range.low < 0 && range.high > 0) return {};
      minus = range.high <= 0;
    }
    return {minus ? negative(all.meaning) : all.meaning, all.source};
  }

  Meaning meaning(const Node& n, size_t i) const {
    return n.inputs[i] == ir::kNone ? Meaning::kFixed : traces_[static_cast<size_t>(n.inputs[i])].meaning;
  }

  // What all inputs are that are not the same for all samples; logarithms beside probabilities are no logits
  // either.
  Trace of_inputs(const Node& n) const {
    Trace all{Meaning::kFixed, nullptr};
    if (n.inputs.empty()) return {};
    for (const ValueId id : n.inputs) {
      const Trace one = id == ir::kNone ? Trace{Meaning::kFixed, nullptr} : traces_[static_cast<size_t>(id)];
      if (one.meaning == Meaning::kOther) return {};
      if (one.meaning == Meaning::kFixed) continue;
      if (all.meaning == Meaning::kFixed) {
        all = one;
      } else if (all.meaning != one.meaning) {
        all.meaning = Meaning::kProbability;
      }
    }
    return all;
  }

  const ir::Graph& graph_;
  const std::vector<ValueRange> ranges_;
  std::vector<Trace> traces_;
};

}  // namespace

const Node* source_of_probabilities(const ir::Graph& graph, ValueId value) {
  return Tracer(graph).run(value);
}

}  // namespace halftone::pass
