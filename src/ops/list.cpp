// The one list of operators. A new operator is its file and a line here.
#include <map>

#include "base/error.h"
#include "ops/families.h"
#include "ops/op.h"

namespace halftone::ops {
namespace {

const std::vector<const OpFamily*>& families() {
  static const std::vector<const OpFamily*> list = {
      &batch_normalization_family(),
      &binary_family(),
      &cast_family(),
      &concat_family(),
      &constant_folding_family(),
      &conv_family(),
      &dropout_family(),
      &expand_family(),
      &loss_family(),
      &matmul_family(),
      &optimizer_family(),
      &pad_family(),
      &pool_family(),
      &reduce_family(),
      &reshape_family(),
      &row_reduction_family(),
      &slice_family(),
      &softmax_family(),
      &transpose_family(),
      &unary_family(),
  };
  return list;
}

}  // namespace

const OpDef& find(std::string_view name) {
  static const std::map<std::string_view, const OpDef*> index = [] {
    std::map<std::string_view, const OpDef*> m;
    for (const OpFamily* family : families())
      for (const OpDef& def : family->ops)
        HT_ASSERT(m.emplace(def.name, &def).second, "{} is defined twice", def.name);
    return m;
  }();
  const auto it = index.find(name);
  HT_ASSERT(it != index.end(), "there is no operator {}", name);
  return *it->second;
}

const OnnxOp* find_onnx(std::string_view op_type) {
  static const std::map<std::string_view, const OnnxOp*> index = [] {
    std::map<std::string_view, const OnnxOp*> m;
    for (const OpFamily* family : families())
      for (const OnnxOp& op : family->onnx)
        HT_ASSERT(m.emplace(op.op_type, &op).second, "{} is defined twice", op.op_type);
    return m;
  }();
  const auto it = index.find(op_type);
  return it == index.end() ? nullptr : it->second;
}

std::vector<const OpDef*> all() {
  std::vector<const OpDef*> list;
  for (const OpFamily* family : families())
    for (const OpDef& def : family->ops) list.push_back(&def);
  return list;
}

std::vector<const OnnxOp*> all_onnx() {
  std::vector<const OnnxOp*> list;
  for (const OpFamily* family : families())
    for (const OnnxOp& op : family->onnx) list.push_back(&op);
  return list;
}

}  // namespace halftone::ops
