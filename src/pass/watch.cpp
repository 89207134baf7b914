#include "pass/watch.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "kern/finite.h"
#include "ops/effects.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::Node;
using ir::ValueId;

using Specials = uint8_t;  // a bit for each
constexpr Specials bit(Special s) {
  return static_cast<Specials>(1U << static_cast<unsigned>(s));
}
constexpr Specials kNan = bit(Special::kNan);
constexpr Specials kPlus = bit(Special::kPlus);
constexpr Specials kMinus = bit(Special::kMinus);
constexpr Specials kInfinities = kPlus | kMinus;
constexpr Specials kAny = kNan | kInfinities;
constexpr std::array<Special, 3> kSpecials{Special::kNan, Special::kPlus, Special::kMinus};

// What one special number at an input does to one output.
struct Effect {
  Outcome outcome = Outcome::kLost;  // where it does not arrive
  Specials arrives = 0;              // as which of these it arrives; 0: not at all
  bool whole = true;  // every element arrives; else some do and the others have no influence on this output
  bool larger =
      true;  // what arrives stands for numbers as large as what came, so that what settles it later is right
};
constexpr Effect kLoses{};
constexpr Effect kSettles{Outcome::kSettled};
constexpr Effect changed(Specials to, bool whole = true) {
  return {Outcome::kLost, to, whole, false};
}
constexpr Effect moved(Specials to, bool whole = true) {
  return {Outcome::kLost, to, whole, true};
}

Specials mirrored(Specials s) {
  return static_cast<Specials>((s & kNan) | ((s & kPlus) != 0 ? kMinus : 0) |
                               ((s & kMinus) != 0 ? kPlus : 0));
}

// Functions of one element, of +inf and of -inf; NaN stays NaN. alpha and beta are the node's attributes.
std::optional<Effect> unary(const std::string& op, Specials x, double alpha, double beta) {
  const bool plus = x == kPlus;
  if (op == "Relu" || op == "Elu" || op == "Selu" || op == "Celu" || op == "Softplus" || op == "Exp" ||
      op == "ThresholdedRelu")
    return plus ? moved(kPlus) : kSettles;
  if (op == "MinZero") return plus ? kSettles : moved(kMinus);
  if (op == "Clip") return std::isinf(plus ? beta : alpha) ? moved(x) : kSettles;
  if (op == "Sigmoid" || op == "Tanh" || op == "Erf" || op == "HardSigmoid" || op == "Atan" || op == "Sign")
    return kSettles;
  // No angle, outside of the domain, or infinity by infinity.
  if (op == "Sin" || op == "Cos" || op == "Tan" || op == "Asin" || op == "Acos" || op == "Atanh" ||
      op == "Softsign")
    return changed(kNan);
  if (op == "Sinh" || op == "Floor" || op == "Ceil" || op == "Round") return moved(x);
  if (op == "Cosh") return moved(kPlus);
  if (op == "Asinh" || op == "Shrink") return changed(x);
  if (op == "Swish") return changed(kAny);
  // Of -inf: a product of -inf and 0, a root or a logarithm.
  if (op == "HardSwish" || op == "Gelu" || op == "GeluTanh" || op == "Silu" || op == "Mish" || op == "Sqrt" ||
      op == "Log" || op == "Acosh")
    return changed(plus ? kPlus : kNan);
  if (op == "LeakyRelu") return plus ? moved(kPlus) : changed(kAny);
  if (op == "Neg") return moved(mirrored(x));
  if (op == "Abs") return moved(kPlus);
  if (op == "Scale") return changed(kAny);
  if (op == "PowScalar")
    return alpha == 2 || alpha == 1 ? changed(kInfinities) : alpha > 0 && plus ? changed(kPlus) : kLoses;
  if (op == "Reciprocal") return kLoses;
  return std::nullopt;
}

// The derivative's factor that a saved value gives: UnaryGrad(dy, saved) -> dx.
Effect saved_for_gradient(const std::string& op, Specials s, double alpha) {
  // Selections: an infinity lies on its side, a NaN on either.
  if (op == "Relu" || op == "Clip" || op == "HardSigmoid" || op == "HardSwish" || op == "Abs" ||
      op == "MinZero" || op == "LeakyRelu" || op == "Elu" || op == "Selu" || op == "Celu" ||
      op == "ThresholdedRelu" || op == "Shrink")
    return s == kNan ? kLoses : kSettles;
  if (op == "Sqrt" || op == "Log") return s == kNan ? changed(kNan) : kLoses;  // dy / inf
  if (s == kNan) return op == "PowScalar" && alpha != 2 ? kLoses : changed(kNan);
  if (op == "Erf" || op == "Softplus") return kSettles;
  if (op == "Exp" || op == "Reciprocal") return changed(kAny);  // dy * inf
  if (op == "PowScalar") return alpha == 2 ? changed(kAny) : alpha == 1 ? kSettles : kLoses;
  if (op == "Gelu" || op == "GeluTanh" || op == "Silu" || op == "Mish" || op == "Swish")
    return changed(kNan);  // inf * 0
  if (op == "Sin" || op == "Cos") return changed(kNan);
  return kLoses;
}

// Whether all elements of x[N, H, W, C] are under a window.
bool covers(const ir::Attributes& a, const Shape& x, const Shape& y, const std::vector<int64_t>& kernel) {
  const std::vector<int64_t> ones{1, 1};
  const std::vector<int64_t> strides = a.ints_or("strides", ones);
  const std::vector<int64_t> dilations = a.ints_or("dilations", ones);
  const std::vector<int64_t> pads = a.ints_or("pads", {0, 0, 0, 0});
  for (size_t i = 0; i < 2; ++i) {
    if (kernel[i] > 1 && dilations[i] != 1) return false;
    if (strides[i] > kernel[i]) return false;
    if ((y[i + 1] - 1) * strides[i] - pads[i] + kernel[i] < x[i + 1]) return false;
  }
  return true;
}

// What a Resample's tables say: whether each element of its result is one of x's, or 0; whether all weights
// are positive and those of an element add up to 1 at most; whether all elements of x come in.
struct Tables {
  bool selects = true, positive = true, averages = true, whole = true;
};
Tables tables_of(const ir::Attributes& a, const Shape& x) {
  Tables t;
  const std::vector<int64_t>& axes = a.ints_at("axes");
  const std::vector<int64_t>& sizes = a.ints_at("sizes");
  const auto offsets = a.tensor_at("offsets").as<int64_t>();
  const auto indices = a.tensor_at("indices").as<int64_t>();
  const auto weights = a.tensor_at("weights").as<double>();
  size_t table = 0;      // where an axis's offsets begin
  size_t first_tap = 0;  // and its taps
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto count = static_cast<size_t>(sizes[i]);
    std::vector<bool> read(static_cast<size_t>(x[static_cast<size_t>(axes[i])]), false);
    for (size_t j = 0; j < count; ++j) {
      double sum = 0;
      const auto first = static_cast<size_t>(offsets[table + j]);
      const auto last = static_cast<size_t>(offsets[table + j + 1]);
      for (size_t k = first_tap + first; k < first_tap + last; ++k) {
        read[static_cast<size_t>(indices[k])] = true;
        t.positive = t.positive && weights[k] > 0;
        t.selects = t.selects && weights[k] == 1 && last - first == 1;
        sum += weights[k];
      }
      t.averages = t.averages && sum <= 1 + 0x1p-20;
    }
    t.whole = t.whole && std::all_of(read.begin(), read.end(), [](bool r) { return r; });
    first_tap += static_cast<size_t>(offsets[table + count]);
    table += count + 1;
  }
  t.averages = t.averages && t.positive;
  return t;
}

class Watcher {
 public:
  Watcher(const ir::Graph& graph, const std::vector<ValueId>& losses, kern::Multiply multiply)
      : graph_(graph), multiply_(multiply), producers_(graph.producers()) {
    for (const ValueId loss : losses) loss_nodes_.push_back(producers_[static_cast<size_t>(loss)]);
    first_loss_ = *std::min_element(loss_nodes_.begin(), loss_nodes_.end());
    watch_.outcomes.assign(graph.values.size(), {Outcome::kSettled, Outcome::kSettled, Outcome::kSettled});
    readers_.resize(graph.values.size());
    for (size_t n = 0; n < graph.nodes.size(); ++n)
      for (size_t i = 0; i < graph.nodes[n].inputs.size(); ++i)
        if (const ValueId id = graph.nodes[n].inputs[i]; id != kNone)
          readers_[static_cast<size_t>(id)].push_back({n, i});
    seen_.assign(graph.values.size(), false);
    for (const ValueId loss : losses) seen_[static_cast<size_t>(loss)] = true;
    for (const ir::Node& node : graph.nodes) {
      if (node.op != "BlockAttention") continue;
      seen_[static_cast<size_t>(node.outputs[2])] = true;
      watch_.always.push_back(node.outputs[2]);
    }
  }

  Watch run() {
    follow_constants();
    for (size_t n = graph_.nodes.size(); n-- > 0;)
      for (const ValueId id : graph_.nodes[n].outputs)
        if (id != kNone) decide(id, static_cast<int32_t>(n));
    for (const ValueId id : graph_.inputs)
      if (is_float(graph_.value(id).type.dtype)) decide(id, -1);
    std::sort(watch_.always.begin(), watch_.always.end());
    std::sort(watch_.sometimes.begin(), watch_.sometimes.end());
    return std::move(watch_);
  }

 private:
  struct Reader {
    size_t node, input;
  };

  const Shape& shape(ValueId id) const { return graph_.value(id).type.shape; }

  // What a product makes of it. Integers with shared scales: a block without a scale makes NaNs of all it
  // meets.
  Effect product(const Node& n, bool whole) const {
    const bool depthwise = n.op != "MatMul" && n.attributes.int_or("group", 1) > 1;
    const bool block = multiply_ == kern::Multiply::kBlock && !depthwise;
    return changed(block ? kNan : kAny, whole);
  }

  // Whether each element of a ConvGradInput's dy meets the result: not where padding is as large as the
  // kernel.
  bool reaches(const Node& n) const {
    const Shape& w = shape(n.inputs[1]);
    const std::vector<int64_t> pads = n.attributes.ints_or("pads", {0, 0, 0, 0});
    const std::vector<int64_t> dilations = n.attributes.ints_or("dilations", {1, 1});
    for (size_t i = 0; i < 4; ++i)
      if (pads[i] > (w[i % 2 + 1] - 1) * dilations[i % 2]) return false;
    return true;
  }

  bool only_relu_reads(ValueId id) const {
    const auto& readers = readers_[static_cast<size_t>(id)];
    return !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](const Reader& r) {
      return graph_.nodes[r.node].op == "Relu";
    });
  }

  Effect of_loss(const Node& n, Specials s) const {
    if (n.op != "PointwiseLoss") return s == kMinus ? changed(kPlus, false) : changed(kNan);  // softmax
    const std::string kind = n.attributes.string_or("kind", "");
    if (kind == "mse") return changed(kAny);
    if (kind == "bce_with_logits") return s == kNan ? changed(kNan) : changed(kAny, false);
    return s == kNan ? changed(kNan) : kLoses;
  }

  static Effect of_scatter(const Node& n, size_t input, Specials s) {
    const std::string how = n.attributes.string_or("op", "");
    if (how == "last" || how == "clear") return moved(s, false);  // what is replaced has no influence
    if (how == "add") return changed(static_cast<Specials>(s | kNan), input == 0);
    if (how == "mul") return changed(kAny);
    return s == kNan ? changed(kNan) : kLoses;
  }

  Effect of_batch_norm(const Node& n, size_t input, size_t output, Specials s) const {
    const size_t residual = ops::find(n.op).behind->residual;
    const std::string activation = n.attributes.string_or("activation", "");
    if (output > 0) return input == 0 ? changed(kAny) : kSettles;  // the batch's statistics
    if (input == residual) {
      if (activation.empty()) return changed(static_cast<Specials>(s | kNan));
      return s == kMinus ? kSettles : changed(static_cast<Specials>(s | kNan));
    }
    if (s == kNan) return changed(kNan);
    if (input == 0 && n.op == "BatchNormTrain") return changed(kNan);  // so are mean and variance
    return activation.empty() ? changed(kAny) : kLoses;
  }

  // Rows or groups that are normalised by what they are: one number that is not finite makes all of them NaN.
  static std::optional<Effect> of_norm(const std::string& op, size_t input, size_t output, Specials s) {
    if (op == "LayerNormalization" || op == "RMSNormalization" || op == "L1Normalization" ||
        op == "GroupNormalization") {
      if (output > 0) return input == 0 ? changed(kAny) : kSettles;  // mean and spread
      if (input == 0) return changed(kNan);
      return input == 1 ? changed(s == kNan ? kNan : kAny) : changed(static_cast<Specials>(s | kNan));
    }
    if (op == "NormalizeGrad" || op == "GroupNormalizationGrad") {
      // dy, x, scale, mean, spread -> dx, dscale, dbias
      const bool reads = output == 0 || (output == 1 ? input != 2 : input == 0);
      return reads ? changed(kAny) : kSettles;
    }
    if (op == "LRN") return changed(kNan);
    if (op == "LrnGrad") return input == 0 ? changed(kAny) : changed(kNan);
    return std::nullopt;
  }

  // V, Q, K, masks -> Y, statistics, whether scores are finite, shares. A key that is left out for a block of queries
  // is met by the last ones.
  Effect of_attention(const Node& n, size_t input, size_t output, Specials s) const {
    if (output == 2) return input == 1 || input == 2 ? changed(kNan) : kSettles;
    if (input == 0) return output == 0 ? product(n, true) : kSettles;
    // A share of exp(-inf) = 0.
    if (input > 2 && s == kMinus) return kLoses;
    return changed(kNan, input < 3);
  }

  Effect effect(const Node& n, size_t input, size_t output, Special special) const {
    const Specials s = bit(special);
    const std::string& op = n.op;
    const auto number = [&](const char* name) { return n.attributes.float_or(name, 0); };
    if (output >= n.outputs.size() || n.outputs[output] == kNone) return kSettles;
    if (op == "PowScalar" && number("alpha") == 0) return kLoses;
    if (input == 0)
      if (const auto u = unary(op, s, number("alpha"), number("beta"))) return s == kNan ? moved(kNan) : *u;
    if (op == "Reshape" || op == "Transpose" || op == "Expand" || op == "Concat" || op == "Pad")
      return moved(s);
    if (op == "Split" || op == "Slice" || op == "Dropout") return moved(s, false);
    if (op == "GatherRows") return input == 0 ? moved(s, false) : kSettles;
    if (op == "ScatterRows") return of_scatter(n, input, s);
    if (op == "Where") return input == 0 ? kSettles : moved(s, false);
    if (op == "CumSum")
      return changed(static_cast<Specials>(s | kNan), n.attributes.int_or("exclusive", 0) == 0);
    // Asked for: the network says what becomes of it.
    if (op == "Classify") return kSettles;
    // Steps: of any large number they are the same, of a NaN they are wrong.
    if (op == "Compare" || op == "ArgExtreme" || op == "LargestFew") return s == kNan ? kLoses : kSettles;
    if (op == "MaxPool") {
      const bool whole =
          covers(n.attributes, shape(n.inputs[0]), shape(n.outputs[0]), n.attributes.ints_at("kernel"));
      return moved(s, whole && s != kMinus);
    }
    if (op == "AveragePool")
      return changed(
          static_cast<Specials>(s | kNan),
          covers(n.attributes, shape(n.inputs[0]), shape(n.outputs[0]), n.attributes.ints_at("kernel")));
    if (op == "Resample") {
      const Tables t = tables_of(n.attributes, shape(n.inputs[0]));
      if (t.selects) return moved(s, t.whole);
      return changed(t.positive ? static_cast<Specials>(s | kNan) : kAny, t.whole);
    }
    if (op == "GridSample") return input == 0 ? changed(kAny, false) : changed(kNan, false);
    if (op == "GridSampleGrad" && input == 1) return changed(kAny, false);
    if (op == "ReduceMean" || op == "ReduceSum") return changed(static_cast<Specials>(s | kNan));
    // The largest element settles all others; a NaN is the largest and the smallest.
    if (op == "ReduceMax" || op == "Max") return moved(s, s != kMinus);
    if (op == "ReduceMin" || op == "Min") return moved(s, s != kPlus);
    if (op == "ReduceL1" || op == "ReduceL2" || op == "ReduceSumSquare")
      return changed(s == kNan ? kNan : static_cast<Specials>(kPlus | kNan));
    if (op == "ReduceProd" || op == "ReduceLogSum") return changed(kAny);
    if (op == "ReduceLogSumExp") return s == kMinus ? kSettles : changed(static_cast<Specials>(s | kNan));
    if (op == "Fmod" && input == 0) return changed(kNan);
    if (op == "Add" || op == "Sub") {
      const Specials to = op == "Sub" && input == 1 ? mirrored(s) : s;
      if (to == kMinus && only_relu_reads(n.outputs[0])) return kSettles;
      return changed(static_cast<Specials>(to | kNan));
    }
    if (op == "Mul" || (op == "Div" && input == 0)) return changed(s == kNan ? kNan : kAny);
    if (op == "Div") return s == kNan ? changed(kNan) : kLoses;
    if (op == "PRelu" && input == 0)
      return s == kNan ? moved(kNan) : s == kPlus ? moved(kPlus) : changed(kAny);
    if (op == "MatMul") return product(n, true);
    if (op == "Conv") {
      if (input == 2) return changed(kAny);
      const Shape& w = shape(n.inputs[1]);
      return product(
          n, input == 1 || covers(n.attributes, shape(n.inputs[0]), shape(n.outputs[0]), {w[1], w[2]}));
    }
    if (op == "ConvGradWeight")
      return product(n, input == 1 || covers(n.attributes, shape(n.inputs[0]), shape(n.inputs[1]),
                                             n.attributes.ints_at("kernel")));
    if (op == "ConvGradInput") return product(n, input == 1 || reaches(n));
    if (op == "BlockAttention") return of_attention(n, input, output, s);
    if (op == "BlockAttentionGrad")  // dY, V, Q, K, statistics, shares, masks -> dV, dQ, dK
      return input < 4 && (input != 1 || output > 0) ? changed(kAny) : kLoses;
    if (op == "Softmax") return s == kMinus ? kSettles : changed(kNan);
    if (op == "LogSoftmax") return changed(s == kMinus ? kMinus | kNan : kNan);
    if (op == "SoftmaxGrad")  // of the logarithm: exp(-inf) = 0
      return input == 1 && s == kMinus && n.attributes.int_or("log", 0) != 0 ? kSettles : changed(kAny);
    if (const auto e = of_norm(op, input, output, s)) return *e;
    if (op == "BatchNormTrain" || op == "BatchNormalization") return of_batch_norm(n, input, output, s);
    if (op == "BatchNormTrainGrad" || op == "BatchNormFrozenGrad") {
      const bool train = op == "BatchNormTrainGrad";
      if (input == 4) return changed(kAny, false);  // dy, as far as the activation lets it through
      if (input == 0 && output == 1) return changed(kAny);
      if (train && output <= 1 && (input == 0 || input == 2 || input == 3)) return changed(kNan);
      return input == 6 && s == kPlus ? kSettles : kLoses;
    }
    if (op == "UnaryGrad") {
      const std::string of = n.attributes.string_or("op", "");
      return input == 0 ? changed(kAny, false) : saved_for_gradient(of, s, number("alpha"));
    }
    if (op == "MaxPoolGrad") return input == 0 ? changed(kAny, false) : s == kNan ? kLoses : kSettles;
    if (is_loss(n) && input == 0) return output == 0 ? of_loss(n, s) : kSettles;
    return kLoses;
  }

  bool is_loss(const Node& n) const {
    return std::any_of(loss_nodes_.begin(), loss_nodes_.end(),
                       [&](int64_t node) { return &graph_.nodes[static_cast<size_t>(node)] == &n; });
  }

  // Whether what the node reads is looked at.
  static bool is_guard(const Node& n, size_t input) {
    return ops::verdict_of(n) == ops::Verdict::kGives || (n.op == "GradientAccumulate" && input == 1);
  }

  Outcome of_reader(const Reader& r, Special s) const {
    const Node& n = graph_.nodes[r.node];
    if (is_guard(n, r.input)) return Outcome::kSeen;
    if (n.phase == ir::Phase::kUpdate) return Outcome::kSettled;  // the verdict decides whether it is done
    if (n.op == "UpdateStatistics") return Outcome::kLost;  // running statistics are looked at now and then
    Outcome worst = Outcome::kSettled;
    for (size_t o = 0; o < n.outputs.size(); ++o) {
      const ValueId id = n.outputs[o];
      if (id == kNone || (readers_[static_cast<size_t>(id)].empty() && !seen_[static_cast<size_t>(id)]))
        continue;
      const Effect e = effect(n, r.input, o, s);
      Outcome out = e.outcome;
      if (e.arrives != 0) {
        out = Outcome::kSeen;
        for (const Special to : kSpecials)
          if ((e.arrives & bit(to)) != 0) out = std::min(out, outcome(id, to));
        if (out == Outcome::kSettled && !e.larger) out = Outcome::kLost;
        if (!e.whole) out = std::min(out, Outcome::kSettled);
      }
      if (out == Outcome::kSeen) return out;
      worst = std::min(worst, out);
    }
    return worst;
  }

  Outcome outcome(ValueId id, Special s) const {
    return seen_[static_cast<size_t>(id)] ? Outcome::kSeen
                                          : watch_.outcomes[static_cast<size_t>(id)][static_cast<size_t>(s)];
  }

  // Which special numbers a node can make of finite ones.
  Specials made(const Node& n, DType dtype) const {
    const std::string& op = n.op;
    const auto number = [&](const char* name) { return n.attributes.float_or(name, 0); };
    static const char* const kNever[] = {
        "Reshape",   "Transpose", "Expand",  "Concat",     "Split",       "Slice",
        "Pad",       "MaxPool",   "Relu",    "MinZero",    "Clip",        "Sigmoid",
        "Tanh",      "Erf",       "Abs",     "Neg",        "HardSigmoid", "HardSwish",
        "Gelu",      "GeluTanh",  "Silu",    "Softplus",   "Softmax",     "Sin",
        "Cos",       "Atan",      "Asinh",   "Softsign",   "Mish",        "ThresholdedRelu",
        "Sign",      "Floor",     "Ceil",    "Round",      "Max",         "Min",
        "ReduceMax", "ReduceMin", "Hardmax", "GatherRows", "Where"};
    if (std::find(std::begin(kNever), std::end(kNever), op) != std::end(kNever)) return 0;
    if (op == "Cast") return graph_.value(n.inputs[0]).type.dtype == DType::kU8 ? 0 : kInfinities;
    if (op == "ScatterRows" && n.attributes.string_or("op", "") != "add" &&
        n.attributes.string_or("op", "") != "mul")
      return 0;
    if (op == "LeakyRelu" || op == "Elu") return std::abs(number("alpha")) <= 1 ? 0 : kAny;
    if (op == "Scale") return std::abs(number("alpha")) <= 1 && number("beta") == 0 ? 0 : kInfinities;
    if (op == "Sqrt") return kNan;
    if (op == "Resample") {
      const Tables t = tables_of(n.attributes, shape(n.inputs[0]));
      return t.selects || (t.averages && dtype == DType::kF16) ? 0 : kAny;
    }
    // A mean of fp16's numbers is exact enough in fp32; a sum of bf16's can leave its range.
    if ((op == "ReduceMean" || op == "AveragePool") && dtype == DType::kF16) return 0;
    return kAny;
  }

  // Special numbers that come from infinite constants.
  void follow_constants() {
    from_constants_.assign(graph_.values.size(), 0);
    for (size_t v = 0; v < graph_.values.size(); ++v) {
      const ir::Value& value = graph_.values[v];
      if (value.kind != ir::ValueKind::kConstant || value.data == nullptr || !is_float(value.type.dtype))
        continue;
      const Tensor stored = converted(*value.data, value.type.dtype);
      if (!kern::any_non_finite(stored.dtype(), stored.data(), stored.size())) continue;
      const Tensor numbers = converted(stored, DType::kF64);
      for (const double x : numbers.as<double>())
        if (!std::isfinite(x)) from_constants_[v] |= std::isnan(x) ? kNan : x > 0 ? kPlus : kMinus;
    }
    for (const Node& n : graph_.nodes)
      for (size_t i = 0; i < n.inputs.size(); ++i) {
        if (n.inputs[i] == kNone) continue;
        for (const Special s : kSpecials) {
          if ((from_constants_[static_cast<size_t>(n.inputs[i])] & bit(s)) == 0) continue;
          for (size_t o = 0; o < n.outputs.size(); ++o)
            if (n.outputs[o] != kNone)
              from_constants_[static_cast<size_t>(n.outputs[o])] |= effect(n, i, o, s).arrives;
        }
      }
  }

  void decide(ValueId id, int32_t node) {
    const auto v = static_cast<size_t>(id);
    const ir::Type& type = graph_.value(id).type;
    if (!is_float(type.dtype)) return;
    Specials lost = 0;
    Specials settled = 0;
    for (const Special s : kSpecials) {
      Outcome best = Outcome::kSettled;
      bool seen = seen_[v];
      for (const Reader& r : readers_[v]) {
        const Outcome o = of_reader(r, s);
        seen = seen || o == Outcome::kSeen;
        best = std::min(best, o);
      }
      if (seen) best = Outcome::kSeen;
      watch_.outcomes[v][static_cast<size_t>(s)] = best;
      if (best == Outcome::kLost) lost |= bit(s);
      if (best == Outcome::kSettled) settled |= bit(s);
    }
    if (node >= first_loss_) return;  // gradients: a mask of 0 is all that hides them
    if (readers_[v].empty() || from_constants_[v] != 0) return;
    const Specials makes = node < 0 ? kAny : made(graph_.nodes[static_cast<size_t>(node)], type.dtype);
    if ((lost & makes) != 0) {
      const ValueId at = smallest_behind(id, static_cast<Specials>(lost & makes));
      watch_.always.push_back(at);
      seen_[static_cast<size_t>(at)] = true;
      for (const Special s : kSpecials)
        if (at == id || (lost & makes & bit(s)) != 0)
          watch_.outcomes[v][static_cast<size_t>(s)] = Outcome::kSeen;
      return;
    }
    if ((settled & makes) != 0) watch_.sometimes.push_back(id);
  }

  // The smallest value to which all of `specials` arrive: itself, or one behind it.
  ValueId smallest_behind(ValueId id, Specials specials) const {
    ValueId best = id;
    for (bool found = true; found;) {
      found = false;
      for (const Reader& r : readers_[static_cast<size_t>(best)]) {
        const Node& n = graph_.nodes[r.node];
        if (static_cast<int64_t>(r.node) >= first_loss_ || ops::find(n.op).alias == ops::Alias::kView)
          continue;
        const ValueId out = n.outputs.empty() ? kNone : n.outputs[0];
        if (out == kNone || from_constants_[static_cast<size_t>(out)] != 0 ||
            elements(shape(out)) >= elements(shape(best)))
          continue;
        Specials arrives = 0;
        bool all = true;
        for (const Special s : kSpecials) {
          if ((specials & bit(s)) == 0) continue;
          const Effect e = effect(n, r.input, 0, s);
          all = all && e.arrives != 0 && e.whole;
          arrives |= e.arrives;
        }
        if (!all) continue;
        best = out;
        specials = arrives;
        found = true;
        break;
      }
    }
    return best;
  }

  const ir::Graph& graph_;
  const kern::Multiply multiply_;
  const std::vector<int32_t> producers_;
  std::vector<int64_t> loss_nodes_;
  int64_t first_loss_ = 0;
  std::vector<std::vector<Reader>> readers_;
  std::vector<bool> seen_;  // looked at as a whole
  std::vector<Specials> from_constants_;
  Watch watch_;
};

}  // namespace

Watch watch(const ir::Graph& graph, const std::vector<ValueId>& losses, kern::Multiply multiply) {
  return Watcher(graph, losses, multiply).run();
}

}  // namespace halftone::pass
