#include "pass/block_attention.h"

#include <algorithm>
#include <map>
#include <optional>

#include "ops/block_attention.h"
#include "ops/effects.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/verify.h"

namespace halftone::pass {
namespace {

using ir::kNone;
using ir::Node;
using ir::ValueId;
using ops::AttentionStep;

// A value as a step reads it, and the shape of the scores there.
struct Operand {
  ValueId value = kNone;
  Shape scores;
  bool trained = false;
};

struct Attention {
  ValueId v = kNone, q = kNone, k = kNone;
  bool keys_down = false;
  double alpha = 1;
  bool guard = false;
  double ratio = 0;  // of the shares' Dropout, and its stream; 0: there is none
  int64_t stream = 0;
  std::vector<AttentionStep> steps;
  std::vector<double> numbers;
  std::vector<Operand> operands;  // in the order of the steps; a condition before what it chooses
  Shape scores;                   // of the first product
};

// The shape of `operand`, which broadcasts to `from`, where `from` is reshaped to `to` and both end in the
// same two sizes; empty: there is none.
std::optional<Shape> reshaped_operand(const Shape& operand, const Shape& from, const Shape& to) {
  if (from == to) return operand;
  Shape full = operand;
  full.insert(full.begin(), from.size() - full.size(), 1);
  Shape out;
  size_t i = 0;
  size_t j = 0;
  while (i + 2 < from.size() || j + 2 < to.size()) {
    // Axes of one and of the other that have as many elements.
    int64_t a = 1;
    int64_t b = 1;
    const size_t i0 = i;
    const size_t j0 = j;
    do {
      const bool from_next = j + 2 >= to.size() || (i + 2 < from.size() && a <= b);
      if (from_next)
        a *= from[i++];
      else
        b *= to[j++];
    } while (a != b);
    const bool single =
        std::all_of(full.begin() + static_cast<std::ptrdiff_t>(i0),
                    full.begin() + static_cast<std::ptrdiff_t>(i), [](int64_t size) { return size == 1; });
    for (size_t axis = i0; axis < i && !single; ++axis)
      if (full[axis] != from[axis]) return std::nullopt;
    for (size_t axis = j0; axis < j; ++axis) out.push_back(single ? 1 : to[axis]);
  }
  out.insert(out.end(), full.end() - 2, full.end());
  return out;
}

class Finder {
 public:
  explicit Finder(const ir::Graph& graph)
      : graph_(graph),
        producers_(graph.producers()),
        uses_(graph.use_counts()),
        readers_(graph.values.size()),
        trained_(graph.values.size(), false) {
    for (size_t n = 0; n < graph.nodes.size(); ++n)
      for (const ValueId id : graph.nodes[n].inputs)
        if (id != kNone) readers_[static_cast<size_t>(id)].push_back(n);
    // As differentiate() asks: what depends on a parameter by floats alone.
    for (size_t v = 0; v < graph.values.size(); ++v)
      trained_[v] = graph.values[v].kind == ir::ValueKind::kParameter;
    for (const Node& node : graph.nodes) {
      const bool any = std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
        return id != kNone && trained_[static_cast<size_t>(id)];
      });
      for (const ValueId id : node.outputs)
        if (any && id != kNone && is_float(type(id).dtype)) trained_[static_cast<size_t>(id)] = true;
    }
  }

  // By the node whose place it takes: the product of shares and values.
  std::map<size_t, Attention> find() const {
    std::map<size_t, Attention> found;
    for (const Node& node : graph_.nodes) {
      if (node.op != "Softmax" || node.phase != ir::Phase::kCompute) continue;
      Attention a;
      if (!read_scores(node, a)) continue;
      if (const auto last = read_values(node, a)) found.emplace(*last, std::move(a));
    }
    return found;
  }

 private:
  const ir::Type& type(ValueId id) const { return graph_.value(id).type; }
  const Shape& shape(ValueId id) const { return type(id).shape; }
  const Node* producer(ValueId id) const {
    const int32_t at = producers_[static_cast<size_t>(id)];
    return at < 0 ? nullptr : &graph_.nodes[static_cast<size_t>(at)];
  }
  bool read_once(ValueId id) const { return uses_[static_cast<size_t>(id)] == 1; }
  const Node* only_reader(ValueId id) const {
    return read_once(id) && !readers_[static_cast<size_t>(id)].empty()
               ? &graph_.nodes[readers_[static_cast<size_t>(id)][0]]
               : nullptr;
  }
  size_t index(const Node& node) const { return static_cast<size_t>(&node - graph_.nodes.data()); }

  // A product of rows as they lie, without a bias.
  static bool is_plain_product(const Node& n) {
    return n.op == "MatMul" && n.attributes.int_or("trans_a", 0) == 0 &&
           (n.inputs.size() == 2 || n.inputs[2] == kNone);
  }
  static bool same_matrices(const Shape& a, const Shape& b) {
    return a.size() >= 2 && b.size() >= 2 && std::equal(a.end() - 2, a.end(), b.end() - 2);
  }

  // From the softmax back to the product of queries and keys.
  bool read_scores(const Node& softmax, Attention& a) const {
    ValueId x = softmax.inputs[0];
    struct Read {
      AttentionStep kind;
      double alpha = 1, beta = 0;
      std::vector<Operand> operands = {};
    };
    std::vector<Read> reads;  // the last step first
    for (;;) {
      const Node* n = producer(x);
      if (n == nullptr || !read_once(x) || n->outputs[0] != x || n->phase != ir::Phase::kCompute)
        return false;
      if (n->op == "Reshape") {
        if (!same_matrices(shape(n->inputs[0]), shape(x))) return false;
        x = n->inputs[0];
        continue;
      }
      if (n->op == "Scale") {
        reads.push_back(
            {AttentionStep::kScale, n->attributes.float_or("alpha", 1), n->attributes.float_or("beta", 0)});
        x = n->inputs[0];
        continue;
      }
      if (n->op == "Add" || n->op == "Where") {
        const size_t first = n->op == "Add" ? 0 : 1;
        // Which of the two are the scores: what leads back to a product.
        const auto leads = [&](size_t i) {
          return n->inputs[i] != n->inputs[1 + 2 * first - i] && shape(n->inputs[i]) == shape(x) &&
                 read_once(n->inputs[i]) && leads_to_product(n->inputs[i]);
        };
        const bool second = !leads(first);
        if (second && !leads(first + 1)) return false;
        const ValueId other = n->inputs[second ? first : first + 1];
        const bool trained = trained_[static_cast<size_t>(other)];
        if (trained && first == 1) return false;
        Read read{first == 0 ? AttentionStep::kAdd
                  : second   ? AttentionStep::kChooseOther
                             : AttentionStep::kChooseScore};
        if (first == 1) read.operands.push_back({n->inputs[0], shape(x)});
        read.operands.push_back({other, shape(x), trained});
        reads.push_back(std::move(read));
        x = n->inputs[second ? first + 1 : first];
        continue;
      }
      if (!is_plain_product(*n)) return false;
      a.q = n->inputs[0];
      a.k = n->inputs[1];
      a.keys_down = n->attributes.int_or("trans_b", 0) == 0;
      a.alpha = n->attributes.float_or("alpha", 1);
      a.scores = shape(x);
      break;
    }
    // A matrix of rank 2 for all of a's gets one gradient for all (ops/matmul.cpp), in another order.
    if (shape(a.k).size() < 3) return false;
    for (size_t i = reads.size(); i-- > 0;) {
      a.steps.push_back(reads[i].kind);
      if (reads[i].kind == AttentionStep::kScale)
        a.numbers.insert(a.numbers.end(), {reads[i].alpha, reads[i].beta});
      a.operands.insert(a.operands.end(), reads[i].operands.begin(), reads[i].operands.end());
    }
    return std::all_of(a.operands.begin(), a.operands.end(), [&](const Operand& o) {
      const std::optional<Shape> there = reshaped_operand(shape(o.value), o.scores, a.scores);
      return there && (!o.trained || ops::is_bias_with_gradient(*there, a.scores));
    });
  }
  bool leads_to_product(ValueId x) const {
    for (int depth = 0; depth < 16; ++depth) {
      const Node* n = producer(x);
      if (n == nullptr) return false;
      if (n->op == "MatMul") return true;
      if (n->op == "Reshape" || n->op == "Scale") {
        x = n->inputs[0];
      } else if (n->op == "Add" || n->op == "Where") {
        for (size_t i = n->inputs.size() - 2; i < n->inputs.size(); ++i)
          if (shape(n->inputs[i]) == shape(x) && leads_to_product(n->inputs[i])) return true;
        return false;
      } else {
        return false;
      }
    }
    return false;
  }

  // From the softmax to the product with the values: the node of that.
  std::optional<size_t> read_values(const Node& softmax, Attention& a) const {
    ValueId x = softmax.outputs[0];
    if (const ValueId guarded = behind_guard(x); guarded != kNone) {
      a.guard = true;
      x = guarded;
    }
    const Node* n = only_reader(x);
    while (n != nullptr && ((n->op == "Reshape" && same_matrices(shape(x), shape(n->outputs[0]))) ||
                            (n->op == "Dropout" && a.ratio == 0 && n->phase == ir::Phase::kCompute))) {
      if (n->op == "Dropout") {
        a.ratio = n->attributes.float_at("ratio");
        a.stream = n->attributes.int_at("stream");
      }
      x = n->outputs[0];
      n = only_reader(x);
    }
    if (n == nullptr || n->inputs[0] != x || !is_plain_product(*n) || n->phase != ir::Phase::kCompute ||
        n->attributes.int_or("trans_b", 0) != 0 || n->attributes.float_or("alpha", 1) != 1 ||
        n->inputs[1] == x)
      return std::nullopt;
    a.v = n->inputs[1];
    const Shape& y = shape(n->outputs[0]);
    if (shape(x) != a.scores || shape(a.v).size() < 3 || y.size() != a.scores.size() ||
        !std::equal(y.begin(), y.end() - 2, a.scores.begin()))
      return std::nullopt;
    return index(*n);
  }
  // Where(IsNaN(x), 0, x), if that is all that reads x.
  ValueId behind_guard(ValueId x) const {
    const std::vector<size_t>& readers = readers_[static_cast<size_t>(x)];
    if (readers.size() != 2 || uses_[static_cast<size_t>(x)] != 2) return kNone;
    const Node* is_nan = &graph_.nodes[readers[0]];
    const Node* where = &graph_.nodes[readers[1]];
    if (is_nan->op == "Where") std::swap(is_nan, where);
    const auto flag = [&](const char* name) { return is_nan->attributes.int_or(name, 0) != 0; };
    if (is_nan->op != "Classify" || !flag("nan") || flag("plus_infinity") || flag("minus_infinity") ||
        !read_once(is_nan->outputs[0]) || where->op != "Where" || where->inputs[0] != is_nan->outputs[0] ||
        where->inputs[2] != x)
      return kNone;
    const ir::Value& zero = graph_.value(where->inputs[1]);
    if (zero.kind != ir::ValueKind::kConstant || zero.data == nullptr || shape(where->outputs[0]) != shape(x))
      return kNone;
    const Tensor numbers = converted(*zero.data, DType::kF64);
    const auto all = numbers.as<double>();
    return std::all_of(all.begin(), all.end(), [](double v) { return v == 0; }) ? where->outputs[0] : kNone;
  }

  const ir::Graph& graph_;
  const std::vector<int32_t> producers_;
  const std::vector<int32_t> uses_;
  std::vector<std::vector<size_t>> readers_;
  std::vector<bool> trained_;
};

// Keys whose rows lie one behind the other, where a Transpose has laid them across: then keys that a mask
// leaves out for a block of queries need not be touched.
void lay_keys_in_rows(ops::Builder& b, const std::map<ValueId, Node>& transposes, Attention& a) {
  const auto it = a.keys_down ? transposes.find(a.k) : transposes.end();
  if (it == transposes.end()) return;
  std::vector<int64_t> perm = it->second.attributes.ints_at("perm");
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  a.k = b.transpose(it->second.inputs[0], perm);
  a.keys_down = false;
}

}  // namespace

int64_t block_attention(ir::Graph& graph, DType storage, int64_t keep_shares) {
  std::map<size_t, Attention> found = Finder(graph).find();
  if (found.empty()) return 0;
  std::map<ValueId, Node> transposes;
  for (const Node& node : graph.nodes)
    if (node.op == "Transpose") transposes.emplace(node.outputs[0], node);
  ops::Builder b(graph, storage);
  std::vector<Node> nodes = std::move(graph.nodes);
  graph.nodes.clear();
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto it = found.find(i);
    if (it == found.end()) {
      graph.nodes.push_back(std::move(nodes[i]));
      continue;
    }
    Attention& a = it->second;
    b.set_origin(nodes[i].name);
    lay_keys_in_rows(b, transposes, a);
    std::vector<int64_t> steps;
    for (const AttentionStep step : a.steps) steps.push_back(static_cast<int64_t>(step));
    ir::Attributes attributes{{"alpha", a.alpha},
                              {"keys_down", int64_t{a.keys_down}},
                              {"guard", int64_t{a.guard}},
                              {"keeps_shares", int64_t{a.scores.back() <= keep_shares}},
                              {"steps", steps}};
    if (a.ratio > 0) {
      attributes.set("ratio", a.ratio);
      attributes.set("stream", a.stream);
    }
    if (!a.numbers.empty()) {
      const auto count = static_cast<int64_t>(a.numbers.size());
      attributes.set("numbers",
                     std::make_shared<const Tensor>(ops::from_doubles(a.numbers, DType::kF64, {count})));
    }
    std::vector<ValueId> inputs{a.v, a.q, a.k};
    for (const Operand& o : a.operands)
      inputs.push_back(b.reshape(o.value, *reshaped_operand(b.shape(o.value), o.scores, a.scores)));
    b.add("BlockAttention", inputs, std::move(attributes));
    graph.value(graph.nodes.back().outputs[2]).name = "scores of " + nodes[i].name;
    graph.nodes.back().outputs[0] = nodes[i].outputs[0];
  }
  ops::remove_dead_nodes(graph);
  ops::verify(graph, "block_attention");
  return static_cast<int64_t>(found.size());
}

}  // namespace halftone::pass
