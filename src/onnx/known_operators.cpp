#include "onnx/known_operators.h"

#include <algorithm>

#include "onnx/model.h"
#include "onnx/structure.h"
#include "ops/op.h"

namespace halftone::onnx {

std::vector<KnownOperator> known_operators() {
  std::vector<KnownOperator> list;
  const auto add = [&](std::string_view name, int since, int until, OperatorKind kind) {
    list.push_back({name, std::max(since, kFirstOpset), std::min(until, kLastOpset), kind});
  };
  for (const ops::OnnxOp* op : ops::all_onnx())
    add(op->op_type, op->since, op->until,
        op->import != nullptr ? OperatorKind::kComputed : OperatorKind::kWhenLoading);
  for (const StructuralOp& op : structural_ops())
    add(op.op_type, op.since, op.until, OperatorKind::kArranges);
  std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return list;
}

}  // namespace halftone::onnx
