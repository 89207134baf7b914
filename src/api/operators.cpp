#include "halftone/operators.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "onnx/known_operators.h"
#include "onnx/missing_operators.h"

namespace halftone {
namespace {

std::string_view name_of(onnx::OperatorKind kind) {
  switch (kind) {
    case onnx::OperatorKind::kComputed:
      return "computed";
    case onnx::OperatorKind::kWhenLoading:
      return "when loading";
    case onnx::OperatorKind::kArranges:
      return "arranges others";
  }
  return "";
}

}  // namespace

Operators operators() {
  Operators out;
  nlohmann::json list = nlohmann::json::array();
  for (const onnx::KnownOperator& op : onnx::known_operators()) {
    out.text +=
        fmt::format("{:<27} opsets {:2} to {}{}\n", op.name, op.since, op.until,
                    op.kind == onnx::OperatorKind::kComputed ? "" : fmt::format(", {}", name_of(op.kind)));
    list.push_back({{"name", op.name}, {"since", op.since}, {"until", op.until}, {"kind", name_of(op.kind)}});
  }
  out.text += "\nRefused with a reason:\n";
  nlohmann::json refused = nlohmann::json::array();
  for (const onnx::MissingOperators& missing : onnx::missing_operators())
    for (const std::string_view name : missing.op_types) {
      out.text += fmt::format("{}: {}\n", name, missing.reason);
      refused.push_back({{"name", name}, {"reason", missing.reason}});
    }
  out.json = nlohmann::json{{"operators", std::move(list)}, {"refused", std::move(refused)}}.dump();
  return out;
}

}  // namespace halftone
