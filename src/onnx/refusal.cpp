#include "onnx/refusal.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "ops/op.h"

namespace halftone::onnx {
namespace {

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// Problems of nodes with one operator and reason.
struct Kind {
  const Problem* first;
  std::vector<std::string> nodes;
};

std::vector<Kind> kinds_of(const std::vector<Problem>& problems) {
  std::vector<Kind> kinds;
  for (const Problem& p : problems) {
    const auto it = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) {
      return std::tie(k.first->op_type, k.first->opset, k.first->reason) ==
                 std::tie(p.op_type, p.opset, p.reason) &&
             !(p.node.empty() && p.op_type.empty());
    });
    if (it == kinds.end()) {
      kinds.push_back({&p, {p.node}});
    } else {
      it->nodes.push_back(p.node);
    }
  }
  return kinds;
}

}  // namespace

std::string refusal_text(const std::vector<Problem>& problems, const RefusalContext& context) {
  std::string text = fmt::format("{}: Halftone cannot train this network:", context.path);
  bool missing_operator = false;
  bool control_flow = false;
  bool opset = false;
  for (const Kind& kind : kinds_of(problems)) {
    const Problem& p = *kind.first;
    if (p.node.empty() && p.op_type.empty()) {
      text += fmt::format("\n  {}", p.reason);
    } else {
      text += fmt::format("\n  node '{}', operator {}, opset {}: {}", p.node, p.op_type, p.opset, p.reason);
    }
    if (kind.nodes.size() > 1) {
      text += fmt::format("\n    and {} more of this kind:", kind.nodes.size() - 1);
      for (size_t i = 1; i < kind.nodes.size(); ++i)
        text += fmt::format("{} '{}'", i > 1 ? "," : "", kind.nodes[i]);
    }
    missing_operator = missing_operator || (!p.op_type.empty() && ops::find_onnx(p.op_type) == nullptr);
    control_flow = control_flow || has(p.reason, "control flow") || has(p.reason, "its own function");
    opset = opset || (p.op_type.empty() && has(p.reason, "is outside"));
  }
  if (context.unchecked > 0)
    text += fmt::format(
        "\n{} nodes that come after these could be checked for their operator alone, as the shapes of their "
        "inputs are not known.",
        context.unchecked);
  if (context.file_batch > 0 && context.file_batch != context.batch)
    text += fmt::format("\nThe file was made for batches of {}, and {} were asked for: try --batch {}.",
                        context.file_batch, context.batch, context.file_batch);
  if (missing_operator) text += "\ndocs/adding-an-operator.md lists the operators that Halftone has.";
  if (control_flow)
    text +=
        "\nPrograms that simplify ONNX files (constants folded for fixed input shapes, functions inlined) "
        "can "
        "often remove control flow and functions; they need the file alone.";
  if (opset)
    text += "\nThe onnx package's version_converter changes a file's opset; it needs the file alone.";
  return text;
}

}  // namespace halftone::onnx
