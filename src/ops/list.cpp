// The one list of operators. A new operator is its file and a line here.
#include <map>

#include "base/error.h"
#include "ops/op.h"

namespace halftone::ops {

// The namespaces of the files of operators, each with a family(). Alphabetical. Declared here alone, so that a
// new one compiles this file and its own.
// clang-format off
#define HALFTONE_OP_FAMILIES(X) \
  X(attention) \
  X(batch_normalization) \
  X(batch_normalization_grad) \
  X(batch_normalization_import) \
  X(binary) \
  X(block_attention) \
  X(cast) \
  X(class_loss) \
  X(col2im) \
  X(concat) \
  X(constant_folding) \
  X(conv) \
  X(conv_import) \
  X(cum_sum) \
  X(depth_to_space) \
  X(dft) \
  X(dropout) \
  X(einsum) \
  X(expand) \
  X(extreme) \
  X(fused) \
  X(fused_attention) \
  X(gather) \
  X(grid_sample) \
  X(group_normalization) \
  X(layer_normalization) \
  X(loss) \
  X(lrn) \
  X(matmul) \
  X(max_unpool) \
  X(one_hot) \
  X(optimizer) \
  X(pad) \
  X(pool) \
  X(pool_import) \
  X(random) \
  X(recurrent) \
  X(reduce) \
  X(resample) \
  X(reshape) \
  X(resize) \
  X(reverse_sequence) \
  X(rotary_embedding) \
  X(row_reduction) \
  X(rows) \
  X(running_statistics) \
  X(scatter) \
  X(selection) \
  X(slice) \
  X(softmax) \
  X(tensor_scatter) \
  X(tile) \
  X(transpose) \
  X(trilu) \
  X(unary) \
  X(where) \
  X(whole) \
  X(window)
// clang-format on

#define HALFTONE_DECLARE(name) \
  namespace name {             \
  const OpFamily& family();    \
  }
HALFTONE_OP_FAMILIES(HALFTONE_DECLARE)
#undef HALFTONE_DECLARE

namespace {

const std::vector<const OpFamily*>& families() {
#define HALFTONE_ADDRESS(name) &name::family(),
  static const std::vector<const OpFamily*> list = {HALFTONE_OP_FAMILIES(HALFTONE_ADDRESS)};
#undef HALFTONE_ADDRESS
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
