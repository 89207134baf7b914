// The one list of operators. A new operator is its file and a line here.
#include <map>

#include "base/error.h"
#include "ops/families.h"
#include "ops/op.h"

namespace halftone::ops {
namespace {

const std::vector<const OpFamily*>& families() {
  static const std::vector<const OpFamily*> list = {
      &attention::family(),
      &batch_normalization::family(),
      &batch_normalization_grad::family(),
      &batch_normalization_import::family(),
      &binary::family(),
      &block_attention::family(),
      &cast::family(),
      &class_loss::family(),
      &col2im::family(),
      &concat::family(),
      &constant_folding::family(),
      &conv::family(),
      &conv_import::family(),
      &cum_sum::family(),
      &depth_to_space::family(),
      &dft::family(),
      &dropout::family(),
      &einsum::family(),
      &expand::family(),
      &extreme::family(),
      &fused_attention::family(),
      &fused::family(),
      &gather::family(),
      &grid_sample::family(),
      &group_normalization::family(),
      &layer_normalization::family(),
      &loss::family(),
      &lrn::family(),
      &matmul::family(),
      &max_unpool::family(),
      &one_hot::family(),
      &optimizer::family(),
      &pad::family(),
      &pool::family(),
      &pool_import::family(),
      &recurrent::family(),
      &reduce::family(),
      &resample::family(),
      &reshape::family(),
      &resize::family(),
      &reverse_sequence::family(),
      &rotary_embedding::family(),
      &row_reduction::family(),
      &rows::family(),
      &running_statistics::family(),
      &scatter::family(),
      &selection::family(),
      &slice::family(),
      &softmax::family(),
      &tensor_scatter::family(),
      &tile::family(),
      &transpose::family(),
      &trilu::family(),
      &unary::family(),
      &where::family(),
      &whole::family(),
      &window::family(),
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
