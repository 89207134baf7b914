// A node's attributes, as operators read them.
#include <memory>

#include "base/error.h"
#include "onnx/domain.h"
#include "onnx/model_contents.h"
#include "onnx/structure.h"
#include "onnx/tensor_proto.h"

namespace halftone::onnx {
namespace {

ir::Attribute attribute(const ::onnx::AttributeProto& a, const TensorFile& file) {
  switch (a.type()) {
    case ::onnx::AttributeProto::INT:
      return a.i();
    case ::onnx::AttributeProto::FLOAT:
      return static_cast<double>(a.f());
    case ::onnx::AttributeProto::STRING:
      return a.s();
    case ::onnx::AttributeProto::INTS:
      return std::vector<int64_t>(a.ints().begin(), a.ints().end());
    case ::onnx::AttributeProto::FLOATS:
      return std::vector<double>(a.floats().begin(), a.floats().end());
    case ::onnx::AttributeProto::STRINGS: {  // one a line
      std::string lines;
      for (const std::string& line : a.strings()) lines += line + "\n";
      return lines;
    }
    case ::onnx::AttributeProto::TENSOR:
      checked_shape(a.t(), file);
      return std::make_shared<const Tensor>(decode(a.t(), file));
    default:
      throw input_error("attribute '{}' is of kind {}, which Halftone has no use for", a.name(),
                        ::onnx::AttributeProto::AttributeType_Name(a.type()));
  }
}

}  // namespace

// Without the graphs and types of what arranges others, which branch_of gives.
ir::Attributes attributes_of(const ::onnx::NodeProto& node, const TensorFile& file) {
  const bool structural = is_default_domain(node.domain()) && find_structural(node.op_type()) != nullptr;
  ir::Attributes out;
  for (const auto& a : node.attribute())
    if (!structural || (!a.has_g() && !a.has_tp())) out.set(a.name(), attribute(a, file));
  return out;
}

}  // namespace halftone::onnx
