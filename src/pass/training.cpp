#include "pass/training.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "ops/effects.h"
#include "ops/verify.h"
#include "pass/arrange.h"
#include "pass/block_attention.h"
#include "pass/differentiate.h"
#include "pass/embedding_loss.h"
#include "pass/fuse.h"
#include "pass/head.h"
#include "pass/layout.h"
#include "pass/order.h"
#include "tensor/permutation.h"

namespace halftone::pass {

using ir::kNone;
using ir::Type;
using ir::ValueId;

std::string name_of(Loss loss) {
  switch (loss) {
    case Loss::kAuto:
      return "auto";
    case Loss::kCrossEntropy:
      return "cross-entropy";
    case Loss::kMse:
      return "mse";
    case Loss::kBce:
      return "bce";
    case Loss::kBceWithLogits:
      return "bce-with-logits";
    case Loss::kGraph:
      return "loss graph";
    case Loss::kInBatchNegatives:
      return "in-batch-negatives";
    case Loss::kCosine:
      return "cosine";
    case Loss::kTriplet:
      return "triplet";
  }
  return "?";
}

bool compares_texts(Loss loss) {
  return loss == Loss::kInBatchNegatives || loss == Loss::kCosine || loss == Loss::kTriplet;
}

std::string momentum_name(const std::string& parameter) {
  return parameter + "#momentum";
}
std::string variance_name(const std::string& parameter) {
  return parameter + "#variance";
}
std::string carry_name(const std::string& parameter) {
  return parameter + "#carry";
}
std::string average_name(const std::string& parameter) {
  return parameter + "#average";
}
std::string gradient_sum_name(const std::string& parameter) {
  return parameter + "#gradient_sum";
}

namespace {

struct LossInput {
  Loss kind;
  ValueId x;
};

// The transposed value; what was transposed the other way just before is taken as it was.
ValueId transposed_back(ops::Builder& b, ValueId x, const std::vector<int64_t>& perm) {
  const int32_t producer = b.graph().producers()[static_cast<size_t>(x)];
  if (producer >= 0) {
    const ir::Node& node = b.graph().nodes[static_cast<size_t>(producer)];
    if (node.op == "Transpose" && node.attributes.ints_at("perm") == inverse(perm)) return node.inputs[0];
  }
  return b.transpose(x, perm);
}

// The logits of each position's classes, [positions, classes].
ValueId rows_of_classes(ops::Builder& b, ValueId output, ClassAxis axis) {
  const Shape shape = b.shape(output);
  const int64_t classes = axis == ClassAxis::kFirst ? shape.at(1) : shape.back();
  if (axis == ClassAxis::kFirst) {
    std::vector<int64_t> perm{0};
    for (size_t i = 2; i < shape.size(); ++i) perm.push_back(static_cast<int64_t>(i));
    perm.push_back(1);
    output = transposed_back(b, output, perm);
  }
  return b.reshape(output, {elements(shape) / classes, classes});
}

// What the loss reads: logits where the network's last node is one that the loss can do better itself, in a
// shape that has the batch in front.
LossInput loss_input(ops::Builder& b, ValueId output, int64_t batch, const LossOptions& options) {
  Loss kind = options.loss;
  const Head head = head_of(b.graph(), output, batch);
  const bool softmax = head.ending == Ending::kSoftmax || head.ending == Ending::kLogSoftmax;
  if (kind == Loss::kCrossEntropy && options.axis != ClassAxis::kSample) {
    if (softmax) output = logits_of(b, output);
    return {kind, rows_of_classes(b, output, options.axis)};
  }
  if (kind == Loss::kCrossEntropy) {
    HT_ASSERT(head.classes >= 2 && head.over_classes, "cross-entropy of {}", describe(head));
    if (softmax) output = logits_of(b, output);
    return {kind, b.reshape(output, {batch, head.classes})};
  }
  if (kind == Loss::kBce && head.ending == Ending::kSigmoid) {
    // The same function of the logits, without the cancellation near 0 and 1.
    output = logits_of(b, output);
    kind = Loss::kBceWithLogits;
  }
  // A batch of one sample may have lost its dimension (Squeeze).
  if (b.shape(output).empty() || b.shape(output)[0] != batch)
    output = b.reshape(output, {batch, head.per_sample});
  return {kind, output};
}

using Seeds = std::map<ValueId, ValueId>;  // the gradient of each value that a loss reads

ValueId add_input(ir::Graph& graph, const std::string& name, DType dtype, const Shape& shape) {
  ir::Value value;
  value.name = name;
  value.kind = ir::ValueKind::kInput;
  value.type = {dtype, shape};
  return graph.add_value(std::move(value));
}

// `suffix` tells the values of several losses apart.
void add_loss(NetworkGraph& n, ops::Builder& b, const LossInput& input, const LossOptions& options,
              const std::string& suffix, bool accumulate, Seeds& seeds) {
  const DType storage = b.storage();
  LossNode l;
  l.kind = input.kind;
  l.output = input.x;
  l.name = options.output_name;
  l.field = options.field;
  l.weight = options.weight;
  l.reason = options.reason;
  ops::Attributes attributes;
  if (options.weight != 1) attributes.set("weight", options.weight);
  const Shape shape = b.shape(l.output);
  ValueId dx = kNone;
  if (l.kind == Loss::kCrossEntropy && options.labels == Labels::kClasses) {
    l.label = add_input(n.graph, "labels" + suffix, DType::kI32, {shape[0]});
    attributes.set("label_smoothing", options.label_smoothing);
    std::vector<ValueId> inputs{l.output, l.label};
    if (options.weighted)
      inputs.push_back(l.weights =
                           add_input(n.graph, "weights" + suffix, register_type(storage), {shape[0]}));
    if (options.weighted && accumulate)
      inputs.push_back(l.total = add_input(n.graph, "total" + suffix, register_type(storage), {1}));
    const auto out = b.add(options.weighted ? "WeightedCrossEntropyLoss" : "SoftmaxCrossEntropyLoss", inputs,
                           std::move(attributes));
    l.loss = out[0];
    l.correct = out[1];
    dx = out[2];
  } else if (l.kind == Loss::kCrossEntropy) {
    HT_ASSERT(options.labels == Labels::kDistributions && !options.weighted);
    l.label = add_input(n.graph, "labels" + suffix, register_type(storage), shape);
    attributes.set("label_smoothing", options.label_smoothing);
    const auto out = b.add("SoftTargetCrossEntropyLoss", {l.output, l.label}, std::move(attributes));
    l.loss = out[0];
    dx = out[1];
  } else {
    if (options.label_smoothing != 0)
      throw usage_error("--label-smoothing goes with --loss cross-entropy, not with {}", name_of(l.kind));
    HT_ASSERT(l.kind != Loss::kAuto && options.labels != Labels::kDistributions && !options.weighted);
    l.label = add_input(n.graph, "labels" + suffix, register_type(storage), shape);
    static const char* const kKinds[] = {"", "", "mse", "bce", "bce_with_logits"};
    attributes.set("kind", std::string(kKinds[static_cast<size_t>(l.kind)]));
    const auto out = b.add("PointwiseLoss", {l.output, l.label}, std::move(attributes));
    l.loss = out[0];
    dx = out[1];
  }
  const auto [it, first] = seeds.emplace(l.output, dx);
  if (!first) it->second = b.add1("Add", {it->second, dx});
  n.losses.push_back(std::move(l));
}

void add_seed(ops::Builder& b, Seeds& seeds, ValueId output, ValueId slope) {
  const auto [it, first] = seeds.emplace(output, slope);
  if (!first) it->second = b.add1("Add", {it->second, slope});
}

// A loss of embeddings, which the output has in the register type.
void add_loss_of_texts(NetworkGraph& n, DType storage, ValueId output, const LossOptions& options,
                       Seeds& seeds) {
  if (options.label_smoothing != 0)
    throw usage_error("--label-smoothing goes with --loss cross-entropy, not with {}", name_of(options.loss));
  ops::Builder b(n.graph, register_type(storage));
  b.set_origin("loss");
  LossNode l;
  l.kind = options.loss;
  l.output = output;
  l.name = options.output_name;
  l.field = options.field;
  l.weight = options.weight;
  l.reason = options.reason;
  l.similarity_scale = options.similarity_scale;
  if (options.loss == Loss::kCosine)
    l.label = add_input(n.graph, "labels", b.storage(), {b.shape(output).at(0)});
  const LossOfTexts made = add_loss_of_texts(b, output, l.label, options);
  l.loss = made.loss;
  add_seed(b, seeds, output, made.slope);
  n.losses.push_back(std::move(l));
}

// A loss that is a graph: its nodes in the register type, and how the loss changes with each output of the
// network.
void add_loss_graph(NetworkGraph& n, DType storage, const LossOptions& options, int64_t batch,
                    const std::vector<ValueId>& outputs, Seeds& seeds) {
  const DType wide = register_type(storage);
  ops::Builder b(n.graph, wide);
  b.set_origin("loss graph");
  std::map<std::string, ValueId> known;
  std::vector<ValueId> wanted;  // the outputs in the register type
  const auto widened = [&](ValueId x) {
    return is_float(b.type(x).dtype) ? b.add1("Convert", {x}, {{"to", static_cast<int64_t>(wide)}}) : x;
  };
  for (const ValueId input : n.inputs) {
    const std::string name = n.graph.value(input).name;  // a new value moves the others
    known.emplace(name, widened(input));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    wanted.push_back(widened(outputs[i]));
    known.insert_or_assign(options.outputs.at(i), wanted.back());
  }
  LossNode l;
  l.kind = Loss::kGraph;
  l.name = options.output_name;
  l.weight = options.weight;
  l.reason = options.reason;
  l.output = options.append(n.graph, known, batch, wide, options.size_class);
  n.inputs = n.graph.inputs;
  const Type type = b.type(l.output);
  if (!is_float(type.dtype) ||
      (elements(type.shape) != 1 && (elements(type.shape) != batch || type.shape[0] != batch)))
    throw input_error(
        "the loss graph gives {} of shape {} for a batch of {}; expected one number, or one a sample",
        halftone::name_of(type.dtype), halftone::to_string(type.shape), batch);
  ops::Attributes attributes;
  if (options.weight != 1) attributes.set("weight", options.weight);
  b.set_origin("loss");
  const auto out = b.add("LossOfGraph", {l.output}, std::move(attributes));
  l.loss = out[0];
  b.set_origin("loss graph");
  const std::vector<ValueId> slopes = differentiate(b, {{l.output, out[1]}}, wanted);
  bool any = false;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (slopes[i] == kNone) continue;
    any = true;
    const ValueId dx = b.add1("Convert", {slopes[i]}, {{"to", static_cast<int64_t>(storage)}});
    const auto [it, first] = seeds.emplace(outputs[i], dx);
    if (!first) it->second = b.add1("Add", {it->second, dx});
  }
  if (!any)
    throw input_error(
        "the loss graph does not depend on any output of the network through nodes that have gradients");
  n.losses.push_back(std::move(l));
}

// A training step reads the outputs of losses of two classes alone, to count what was right; the gradient may
// take the place of any other.
enum class OutputsRead : uint8_t { kAll, kOfTwoClasses };

// keep_shares: of block_attention(). accumulate: a step has several micro-batches.
NetworkGraph with_loss(ir::Graph imported, DType storage, const LossOptions& options, int64_t keep_shares,
                       bool accumulate, OutputsRead read, Seeds& seeds) {
  NetworkGraph n;
  n.graph = std::move(imported);
  if (n.graph.inputs.empty()) throw input_error("the network has no input that takes the samples");
  if (n.graph.outputs.empty()) throw input_error("the network has no output");
  std::vector<LossOptions> all{options};
  all[0].more.clear();
  all.insert(all.end(), options.more.begin(), options.more.end());
  arrange(n.graph, storage);
  fuse(n.graph);
  block_attention(n.graph, storage, keep_shares);
  n.inputs = n.graph.inputs;
  ops::Builder b(n.graph, storage);
  b.set_origin("loss");
  const int64_t batch = b.shape(n.inputs[0]).at(0);
  // What all of them read comes before the first of them.
  const std::vector<ValueId> outputs = n.graph.outputs;
  std::vector<LossInput> inputs;
  for (const LossOptions& o : all) {
    if (const DType type = b.type(outputs.at(o.output)).dtype; o.loss != Loss::kGraph && !is_float(type))
      throw input_error("output '{}' is of type {}, of which there is no loss; expected an output of floats",
                        o.output_name, halftone::name_of(type));
    inputs.push_back(o.loss == Loss::kGraph || compares_texts(o.loss)
                         ? LossInput{o.loss, kNone}
                         : loss_input(b, outputs.at(o.output), batch, o));
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (compares_texts(all[i].loss)) {
      add_loss_of_texts(n, storage, outputs.at(all[i].output), all[i], seeds);
      continue;
    }
    if (all[i].loss == Loss::kGraph) {
      add_loss_graph(n, storage, all[i], batch, outputs, seeds);
      continue;
    }
    if (all.size() > 1) b.set_origin("loss of " + all[i].output_name);
    add_loss(n, b, inputs[i], all[i], i == 0 ? "" : fmt::format("#{}", i), accumulate, seeds);
  }
  n.graph.outputs.clear();
  for (const LossNode& l : n.losses) {
    if (l.label != kNone) n.graph.inputs.push_back(l.label);
    if (l.weights != kNone) n.graph.inputs.push_back(l.weights);
    if (l.total != kNone) n.graph.inputs.push_back(l.total);
    const bool two_classes = l.kind == Loss::kBce || l.kind == Loss::kBceWithLogits;
    if (read == OutputsRead::kAll || two_classes) n.graph.outputs.push_back(l.output);
    n.graph.outputs.push_back(l.loss);
    if (l.correct != kNone) n.graph.outputs.push_back(l.correct);
    // Read again once all has run, when other losses have been computed too.
    if (!options.single() && l.label != kNone) n.graph.outputs.push_back(l.label);
    if (l.weights != kNone) n.graph.outputs.push_back(l.weights);
  }
  // Nobody else reads whether scores are finite (pass/watch.h).
  for (const ir::Node& node : n.graph.nodes)
    if (node.op == "BlockAttention") n.graph.outputs.push_back(node.outputs[2]);
  ops::verify(n.graph, "with_loss");
  return n;
}

void add_gradients(NetworkGraph& n, const TrainingOptions& options, const Seeds& seeds) {
  const std::vector<int32_t> uses = n.graph.use_counts();
  for (size_t v = 0; v < n.graph.values.size(); ++v) {
    if (n.graph.values[v].kind != ir::ValueKind::kParameter || uses[v] == 0) continue;
    const std::string& name = n.graph.values[v].name;
    if (options.frozen.count(name) != 0) {
      n.frozen.push_back(name);
    } else {
      n.trained.push_back(name);
      n.parameters.push_back(static_cast<ValueId>(v));
    }
  }
  for (const ir::Node& node : n.graph.nodes)
    for (const size_t i : ops::find(node.op).effects.writes) {
      if (node.inputs.at(i) == kNone) continue;
      const ir::Value& written = n.graph.value(node.inputs[i]);
      if (written.kind == ir::ValueKind::kState && written.lifetime == ir::Lifetime::kCheckpointed)
        n.statistics.push_back(written.name);
    }
  if (n.parameters.empty() && !n.frozen.empty())
    throw usage_error("nothing to train: --freeze leaves none of the network's {} trainable tensors",
                      n.frozen.size());
  if (n.parameters.empty()) throw input_error("nothing to train: the network has no trainable tensor");
  ops::Builder b(n.graph, options.storage);
  n.gradients = differentiate(b, seeds, n.parameters);
  std::string without;
  for (size_t i = 0; i < n.gradients.size(); ++i)
    if (n.gradients[i] == kNone) without += "\n  " + n.trained[i];
  if (!without.empty())
    throw input_error(
        "these parameters have no gradient with respect to the network's output; exclude them with "
        "--freeze:{}",
        without);
  ops::verify(n.graph, "add_gradients");
}

ValueId state_like(ir::Graph& graph, ValueId parameter, std::string name, DType dtype,
                   ir::Lifetime lifetime = ir::Lifetime::kCheckpointed) {
  ir::Value value;
  value.name = std::move(name);
  value.kind = ir::ValueKind::kState;
  value.lifetime = lifetime;
  value.type = {dtype, graph.value(parameter).type.shape};
  return graph.add_value(std::move(value));
}

void add_optimizer(NetworkGraph& n, const TrainingOptions& options) {
  const OptimizerOptions& o = options.optimizer;
  ops::Builder b(n.graph, options.storage);
  std::vector<ValueId> gradients = n.gradients;
  if (options.accumulate) {
    for (size_t i = 0; i < gradients.size(); ++i) {
      b.set_origin(n.trained[i]);
      const ValueId sum = state_like(n.graph, n.parameters[i], gradient_sum_name(n.trained[i]),
                                     register_type(options.storage), ir::Lifetime::kScratch);
      b.add("GradientAccumulate", {sum, gradients[i]});
      gradients[i] = sum;
    }
  }
  b.set_phase(ir::Phase::kUpdate);
  b.set_origin("guard");
  const auto rates_of = [&](const std::string& name) -> const TensorRates* {
    const auto own = options.rates.find(name.substr(0, name.find("#bn_")));
    return own == options.rates.end() ? nullptr : &own->second;
  };
  std::vector<int64_t> begins;
  for (const std::string& name : n.trained)
    begins.push_back(rates_of(name) == nullptr ? 0 : rates_of(name)->begins_at);
  ir::Attributes of_guard;
  if (std::any_of(begins.begin(), begins.end(), [](int64_t at) { return at > 0; }))
    of_guard.set("begins", begins);
  b.add("GradientGuard", gradients, of_guard);
  using kern::Optimizer;
  const bool adaptive = o.kind != Optimizer::kSgd && o.kind != Optimizer::kLion;
  const bool has_m = o.kind == Optimizer::kAdam || o.kind == Optimizer::kAdamW ||
                     o.kind == Optimizer::kLion || o.momentum != 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const ValueId w = n.parameters[i];
    const std::string& name = n.trained[i];
    const ValueId m = has_m ? state_like(n.graph, w, momentum_name(name), options.storage) : kNone;
    const ValueId v = adaptive ? state_like(n.graph, w, variance_name(name), options.storage) : kNone;
    const ValueId carry = o.rounding == kern::Rounding::kKahan
                              ? state_like(n.graph, w, carry_name(name), options.storage)
                              : kNone;
    const bool decays = o.decay_all || n.graph.value(w).type.shape.size() >= 2;
    const TensorRates* rates = rates_of(name);
    const bool own_decay = rates != nullptr && rates->weight_decay.has_value();
    b.set_origin(name);
    ir::Attributes attributes({{"kind", static_cast<int64_t>(o.kind)},
                               {"rounding", static_cast<int64_t>(o.rounding)},
                               {"weight_decay", own_decay ? *rates->weight_decay
                                                : decays  ? o.weight_decay
                                                          : 0.0},
                               {"lr_scale", rates == nullptr ? 1.0 : rates->lr_scale},
                               {"momentum", o.momentum},
                               {"nesterov", int64_t{o.nesterov}},
                               {"beta1", o.beta1},
                               {"beta2", o.beta2},
                               {"alpha", o.alpha},
                               {"eps", o.eps},
                               {"stream", static_cast<int64_t>(i)}});
    if (begins[i] > 0) attributes.set("begins", begins[i]);
    b.add("OptimizerStep", {w, gradients[i], m, v, carry}, attributes);
    if (options.average_decay == 0) continue;
    const ValueId average = state_like(n.graph, w, average_name(name), options.storage);
    b.add("AverageStep", {average, w},
          {{"decay", options.average_decay}, {"stream", static_cast<int64_t>(i)}});
  }
}

}  // namespace

NetworkGraph training_graph(ir::Graph imported, const TrainingOptions& options) {
  Seeds seeds;
  NetworkGraph n = with_loss(std::move(imported), options.storage, options.loss, kKeepShares,
                             options.accumulate, OutputsRead::kOfTwoClasses, seeds);
  add_gradients(n, options, seeds);
  add_optimizer(n, options);
  order_nodes(n.graph);
  absorb_input_transposes(n.graph);
  ops::remove_dead_nodes(n.graph);
  ops::verify(n.graph, "training_graph");
  return n;
}

NetworkGraph evaluation_graph(ir::Graph imported, DType storage, const LossOptions& options) {
  Seeds seeds;
  NetworkGraph n = with_loss(std::move(imported), storage, options, /*keep_shares=*/0, /*accumulate=*/false,
                             OutputsRead::kAll, seeds);
  absorb_input_transposes(n.graph);
  ops::remove_dead_nodes(n.graph);
  ops::verify(n.graph, "evaluation_graph");
  return n;
}

NetworkGraph gradient_graph(ir::Graph imported, const TrainingOptions& options) {
  Seeds seeds;
  NetworkGraph n = with_loss(std::move(imported), options.storage, options.loss, kKeepShares,
                             /*accumulate=*/false, OutputsRead::kAll, seeds);
  add_gradients(n, options, seeds);
  n.graph.outputs.insert(n.graph.outputs.end(), n.gradients.begin(), n.gradients.end());
  ops::remove_effects(n.graph);
  ops::remove_dead_nodes(n.graph);
  ops::verify(n.graph, "gradient_graph");
  return n;
}

}  // namespace halftone::pass
