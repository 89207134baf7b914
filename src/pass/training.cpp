#include "pass/training.h"

#include "base/error.h"
#include "pass/arrange.h"
#include "pass/differentiate.h"
#include "pass/fuse.h"
#include "pass/head.h"

namespace halftone::pass {

using ir::kNone;
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
  }
  return "?";
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
std::string gradient_sum_name(const std::string& parameter) {
  return parameter + "#gradient_sum";
}

namespace {

struct LossInput {
  Loss kind;
  ValueId x;
};

// What the loss reads: logits where the network's last node is one that the loss can do better itself, in a shape
// that has the batch in front.
LossInput loss_input(ops::Builder& b, ValueId output, int64_t batch, Loss kind) {
  const Head head = head_of(b.graph(), output, batch);
  const bool softmax = head.ending == Ending::kSoftmax || head.ending == Ending::kLogSoftmax;
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

NetworkGraph with_loss(ir::Graph imported, DType storage, const LossOptions& options, ValueId* dx) {
  NetworkGraph n;
  n.graph = std::move(imported);
  if (n.graph.inputs.size() != 1)
    throw input_error("the network has {} inputs; training needs exactly one that takes the samples",
                      n.graph.inputs.size());
  if (n.graph.outputs.empty()) throw input_error("the network has no output");
  arrange(n.graph, storage);
  fuse_batch_norms(n.graph);
  n.sample = n.graph.inputs[0];
  ops::Builder b(n.graph, storage);
  b.set_origin("loss");
  const int64_t batch = b.shape(n.sample).at(0);
  const LossInput input = loss_input(b, n.graph.outputs[0], batch, options.loss);
  n.kind = input.kind;
  n.output = input.x;
  n.loss_reason = options.reason;
  ir::Value label;
  label.name = "labels";
  label.kind = ir::ValueKind::kInput;
  if (n.kind == Loss::kCrossEntropy && options.labels == Labels::kClasses) {
    label.type = {DType::kI32, {batch}};
    n.label = n.graph.add_value(std::move(label));
    const auto out =
        b.add("SoftmaxCrossEntropyLoss", {n.output, n.label}, {{"label_smoothing", options.label_smoothing}});
    n.loss = out[0];
    n.correct = out[1];
    *dx = out[2];
  } else if (n.kind == Loss::kCrossEntropy) {
    HT_ASSERT(options.labels == Labels::kDistributions);
    label.type = {register_type(storage), b.shape(n.output)};
    n.label = n.graph.add_value(std::move(label));
    const auto out =
        b.add("SoftTargetCrossEntropyLoss", {n.output, n.label}, {{"label_smoothing", options.label_smoothing}});
    n.loss = out[0];
    *dx = out[1];
  } else {
    if (options.label_smoothing != 0)
      throw usage_error("--label-smoothing goes with --loss cross-entropy, not with {}", name_of(n.kind));
    HT_ASSERT(n.kind != Loss::kAuto && options.labels != Labels::kDistributions);
    label.type = {register_type(storage), b.shape(n.output)};
    n.label = n.graph.add_value(std::move(label));
    static const char* const kKinds[] = {"", "", "mse", "bce", "bce_with_logits"};
    const auto out = b.add("PointwiseLoss", {n.output, n.label},
                           {{"kind", std::string(kKinds[static_cast<size_t>(n.kind)])}});
    n.loss = out[0];
    *dx = out[1];
  }
  n.graph.inputs = {n.sample, n.label};
  n.graph.outputs = {n.output, n.loss};
  if (n.correct != kNone) n.graph.outputs.push_back(n.correct);
  return n;
}

void add_gradients(NetworkGraph& n, const TrainingOptions& options, ValueId dx) {
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
    if (node.op == "CommitStatistics")
      for (const size_t i : {0, 1}) n.statistics.push_back(n.graph.value(node.inputs[i]).name);
  if (n.parameters.empty() && !n.frozen.empty())
    throw usage_error("nothing to train: --freeze leaves none of the network's {} trainable tensors", n.frozen.size());
  if (n.parameters.empty()) throw input_error("nothing to train: the network has no trainable tensor");
  ops::Builder b(n.graph, options.storage);
  n.gradients = differentiate(b, {{n.output, dx}}, n.parameters);
  std::string without;
  for (size_t i = 0; i < n.gradients.size(); ++i)
    if (n.gradients[i] == kNone) without += "\n  " + n.trained[i];
  if (!without.empty())
    throw input_error(
        "these parameters have no gradient with respect to the network's output; exclude them with "
        "--freeze:{}",
        without);
}

ValueId state_like(ir::Graph& graph, ValueId parameter, std::string name, DType dtype) {
  ir::Value value;
  value.name = std::move(name);
  value.kind = ir::ValueKind::kState;
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
                                     register_type(options.storage));
      b.add("GradientAccumulate", {sum, gradients[i]}, {{"effect", int64_t{1}}});
      gradients[i] = sum;
    }
  }
  b.set_phase(ir::Phase::kUpdate);
  b.set_origin("guard");
  b.add("GradientGuard", gradients);
  const bool adaptive = o.kind != kern::Optimizer::kSgd;
  const bool has_m = o.kind == kern::Optimizer::kAdam || o.kind == kern::Optimizer::kAdamW || o.momentum != 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const ValueId w = n.parameters[i];
    const std::string& name = n.trained[i];
    const ValueId m = has_m ? state_like(n.graph, w, momentum_name(name), options.storage) : kNone;
    const ValueId v = adaptive ? state_like(n.graph, w, variance_name(name), options.storage) : kNone;
    const ValueId carry = o.rounding == kern::Rounding::kKahan
                              ? state_like(n.graph, w, carry_name(name), options.storage)
                              : kNone;
    const bool decays = o.decay_all || n.graph.value(w).type.shape.size() >= 2;
    b.set_origin(name);
    b.add("OptimizerStep", {w, gradients[i], m, v, carry},
          {{"kind", static_cast<int64_t>(o.kind)},
           {"rounding", static_cast<int64_t>(o.rounding)},
           {"weight_decay", decays ? o.weight_decay : 0.0},
           {"momentum", o.momentum},
           {"nesterov", int64_t{o.nesterov}},
           {"beta1", o.beta1},
           {"beta2", o.beta2},
           {"eps", o.eps},
           {"stream", static_cast<int64_t>(i)}});
  }
}

// Guard first, then what depends on its verdict.
void order_updates(ir::Graph& graph) {
  std::vector<ir::Node> compute;
  std::vector<ir::Node> guard;
  std::vector<ir::Node> update;
  for (ir::Node& node : graph.nodes) {
    auto& list = node.phase == ir::Phase::kCompute ? compute : node.op == "GradientGuard" ? guard : update;
    list.push_back(std::move(node));
  }
  graph.nodes = std::move(compute);
  for (auto* list : {&guard, &update})
    for (ir::Node& node : *list) graph.nodes.push_back(std::move(node));
}

}  // namespace

NetworkGraph training_graph(ir::Graph imported, const TrainingOptions& options) {
  ValueId dx = kNone;
  NetworkGraph n = with_loss(std::move(imported), options.storage, options.loss, &dx);
  add_gradients(n, options, dx);
  add_optimizer(n, options);
  order_updates(n.graph);
  ir::remove_dead_nodes(n.graph);
  ir::verify(n.graph, "training_graph");
  return n;
}

NetworkGraph evaluation_graph(ir::Graph imported, DType storage, const LossOptions& options) {
  ValueId dx = kNone;
  NetworkGraph n = with_loss(std::move(imported), storage, options, &dx);
  ir::remove_dead_nodes(n.graph);
  ir::verify(n.graph, "evaluation_graph");
  return n;
}

NetworkGraph gradient_graph(ir::Graph imported, const TrainingOptions& options) {
  ValueId dx = kNone;
  NetworkGraph n = with_loss(std::move(imported), options.storage, options.loss, &dx);
  add_gradients(n, options, dx);
  n.graph.outputs.insert(n.graph.outputs.end(), n.gradients.begin(), n.gradients.end());
  ir::remove_dead_nodes(n.graph);
  ir::verify(n.graph, "gradient_graph");
  return n;
}

}  // namespace halftone::pass
