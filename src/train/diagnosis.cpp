#include "train/diagnosis.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::train {

Stage stage_of(const exec::NonFinite& bad, const ir::Graph& graph, const std::vector<ir::ValueId>& losses) {
  switch (bad.kind) {
    case ir::ValueKind::kParameter:
    case ir::ValueKind::kState:
      if (bad.at < 0) return Stage::kTensor;
      break;
    case ir::ValueKind::kInput:
      return Stage::kSample;
    case ir::ValueKind::kActivation:
    case ir::ValueKind::kConstant:
      break;
  }
  // A loss node writes the loss and the gradient that the backward pass starts from.
  bool forward = true;
  const std::vector<int32_t> producers = graph.producers();
  for (const ir::ValueId loss : losses) {
    const int32_t at_loss = producers[static_cast<size_t>(loss)];
    if (bad.at == at_loss && bad.value == graph.value(loss).name) return Stage::kLoss;
    forward = forward && bad.at < at_loss;
  }
  return forward ? Stage::kForward : Stage::kBackward;
}

std::string describe(const exec::NonFinite& bad) {
  if (bad.at >= 0) return fmt::format("tensor {} of node {} ({})", bad.value, bad.node, bad.op);
  switch (bad.kind) {
    case ir::ValueKind::kParameter:
      return fmt::format("the weight {}", bad.value);
    case ir::ValueKind::kState:
      return fmt::format("the statistic or optimizer state {}", bad.value);
    default:
      return fmt::format("the input {}", bad.value);
  }
}

std::string remedy(Stage stage, const Circumstances& c) {
  const bool fp16 = c.storage == DType::kF16;
  const bool trained = c.training && c.trained;
  const std::string wider = fp16 ? "try --precision bf16, which has the range of fp32" : "";
  const std::string slower = "a smaller --lr or --clip 1";
  const auto join = [](std::initializer_list<std::string> parts) {
    std::string text;
    for (const std::string& part : parts)
      if (!part.empty()) text += (text.empty() ? "" : "; ") + part;
    return text;
  };
  const std::string since = trained ? "if it began during the training, try " + slower : "";
  switch (stage) {
    case Stage::kTensor:
      if (!c.training)
        return "the file holds values that are not finite; evaluate another checkpoint or export";
      return join(
          {"the training has diverged: try a smaller --lr, --warmup or --clip 1",
           fp16 ? "--precision bf16 has a wider range, but does not mend a rate that is too large" : ""});
    case Stage::kSample:
      if (!c.prepares)
        return join(
            {fmt::format(
                 "look at the samples: they hold values that are not finite, or that are too large for {}",
                 name_of(c.storage)),
             wider});
      return join(
          {fmt::format(
               "the samples hold values that are not finite, or that are too large for {}: look at the data "
               "and at --normalize, --mean and --std",
               name_of(c.storage)),
           wider});
    case Stage::kForward:
      // Of weights that steps have moved the rate comes first.
      if (fp16)
        return join({since, wider,
                     c.training && !trained ? "a smaller --lr or another loss scale does not help" : ""});
      if (!c.prepares)
        return fmt::format(
            "the network leaves the range of {} on these samples: look at the samples and at the network",
            name_of(c.storage));
      return join(
          {since,
           fmt::format(
               "{}the network leaves the range of {} on these samples: look at --normalize, --mean and "
               "--std, and at the network",
               trained ? "otherwise " : "", name_of(c.storage))});
    case Stage::kLoss:
      return join({since,
                   "every precision computes the loss in fp32, and outputs or targets are too large for "
                   "that: scale the "
                   "targets"});
    case Stage::kBackward:
      if (c.loss_scale > 1 && c.automatic)
        return join(
            {"--loss-scale auto halves the scale with each skipped step: give it more steps, or begin with a "
             "smaller "
             "one, such as --loss-scale 1",
             wider});
      if (c.loss_scale > 1) return join({"try a smaller --loss-scale, or --loss-scale auto", wider});
      return join(
          {since, wider, trained ? "" : "scale the targets, or look at the samples and at the network"});
  }
  return "";
}

}  // namespace halftone::train
