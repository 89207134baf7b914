#include "train/diagnosis.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::train {

Stage stage_of(const exec::NonFinite& bad, const ir::Graph& graph, ir::ValueId loss) {
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
  if (loss == ir::kNone) return Stage::kForward;
  // The loss node writes the loss and the gradient that the backward pass starts from.
  const int32_t at_loss = graph.producers()[static_cast<size_t>(loss)];
  if (bad.at < at_loss) return Stage::kForward;
  return bad.at == at_loss && bad.value == graph.value(loss).name ? Stage::kForward : Stage::kBackward;
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

std::string remedy(Stage stage, DType storage, bool training, bool trained, double loss_scale) {
  const bool fp16 = storage == DType::kF16;
  const std::string wider = fp16 ? "try --precision bf16, which has the range of fp32" : "";
  const auto join = [](std::initializer_list<std::string> parts) {
    std::string text;
    for (const std::string& part : parts)
      if (!part.empty()) text += (text.empty() ? "" : "; ") + part;
    return text;
  };
  switch (stage) {
    case Stage::kTensor:
      return training
                 ? join(
                       {"the training has diverged: try a smaller --lr, --warmup or --clip 1",
                        fp16
                            ? "--precision bf16 has a wider range, but does not mend a rate that is too large"
                            : ""})
                 : "the file holds values that are not finite; evaluate another checkpoint or export";
    case Stage::kSample:
      return join({"the samples hold values that are not finite, or that are too large for " +
                       std::string(name_of(storage)) +
                       ": look at the data and at --normalize, --mean and --std",
                   wider});
    case Stage::kForward: {
      const std::string other =
          training && trained ? "if it began during the training, a smaller --lr or --clip 1" : "";
      if (fp16)
        return join({wider, other,
                     training && !trained ? "a smaller --lr or another loss scale does not help" : ""});
      return join({other.empty()
                       ? "the network leaves the range of " + std::string(name_of(storage)) +
                             " on these samples: look at --normalize, --mean and --std, and at the network"
                       : "try: " + other});
    }
    case Stage::kBackward:
      if (fp16 && loss_scale > 1) return join({"try a smaller --loss-scale, or --loss-scale auto", wider});
      return join({wider, "try a smaller --lr or --clip 1"});
  }
  return "";
}

}  // namespace halftone::train
