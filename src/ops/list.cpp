// The one list of operators. A new operator is its file and a line here.
#include <map>

#include "base/error.h"
#include "ops/families.h"
#include "ops/op.h"

namespace halftone::ops {
namespace {

const std::vector<const OpFamily*>& families() {
  static const std::vector<const OpFamily*> list = {
      &attention_family(),
      &batch_normalization_family(),
      &binary_family(),
      &cast_family(),
      &class_loss_family(),
      &col2im_family(),
      &concat_family(),
      &constant_folding_family(),
      &conv_family(),
      &conv_import_family(),
      &cum_sum_family(),
      &depth_to_space_family(),
      &dft_family(),
      &dropout_family(),
      &einsum_family(),
      &expand_family(),
      &extreme_family(),
      &fused_attention_family(),
      &fused_family(),
      &gather_family(),
      &grid_sample_family(),
      &group_normalization_family(),
      &layer_normalization_family(),
      &loss_family(),
      &lrn_family(),
      &matmul_family(),
      &max_unpool_family(),
      &one_hot_family(),
      &optimizer_family(),
      &pad_family(),
      &pool_family(),
      &pool_import_family(),
      &recurrent_family(),
      &reduce_family(),
      &resample_family(),
      &reshape_family(),
      &resize_family(),
      &reverse_sequence_family(),
      &rotary_embedding_family(),
      &row_reduction_family(),
      &rows_family(),
      &scatter_family(),
      &selection_family(),
      &slice_family(),
      &softmax_family(),
      &tensor_scatter_family(),
      &tile_family(),
      &transpose_family(),
      &trilu_family(),
      &unary_family(),
      &where_family(),
      &whole_family(),
      &window_family(),
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
