// Functions of a file's own, made in code.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "build_model.h"

namespace halftone::onnx::test {

inline ::onnx::FunctionProto* add_function(ModelBuilder& b, const std::string& name,
                                           const std::vector<std::string>& inputs,
                                           const std::vector<std::string>& outputs) {
  auto* f = b.model.add_functions();
  f->set_name(name);
  f->set_domain("own");
  for (const std::string& input : inputs) f->add_input(input);
  for (const std::string& output : outputs) f->add_output(output);
  f->add_opset_import()->set_version(17);
  return f;
}
inline NodeProto* add_node(::onnx::FunctionProto* f, const std::string& op,
                           const std::vector<std::string>& inputs, const std::string& output) {
  NodeProto* n = f->add_node();
  n->set_op_type(op);
  for (const std::string& i : inputs) n->add_input(i);
  n->add_output(output);
  return n;
}
inline void import_own_domain(ModelBuilder& b) {
  auto* opset = b.model.add_opset_import();
  opset->set_domain("own");
  opset->set_version(1);
}

// Scaled(a, b) = leaky(a b), whose slope is an attribute with another name; called directly, and twice by
// another function.
inline ModelBuilder with_functions() {
  ModelBuilder b;
  auto* f = add_function(b, "Scaled", {"a", "b"}, {"c"});
  f->add_attribute("slope");
  add_node(f, "MatMul", {"a", "b"}, "t");
  auto* leaky = add_node(f, "LeakyRelu", {"t"}, "c")->add_attribute();
  leaky->set_name("alpha");
  leaky->set_type(AttributeProto::FLOAT);
  leaky->set_ref_attr_name("slope");
  auto* g = add_function(b, "Twice", {"a", "b"}, {"c"});
  for (const auto& [in, out] : {std::pair{"a", "t"}, std::pair{"t", "c"}}) {
    NodeProto* call = add_node(g, "Scaled", {in, "b"}, out);
    call->set_domain("own");
    auto* slope = call->add_attribute();
    *slope = Attr("slope", 0.25F).proto;
    slope->set_name("slope");
  }
  b.input("x", {"N", "3"})
      .open_output("y")
      .initializer(floats("w", {3, 3}, {0.37F, -1.21F, 2.93F, 1.5F, 0.7F, -0.2F, 0.9F, 2.1F, -1.3F}));
  b.node("Scaled", {"x", "w"}, {"h"}, {{"slope", 0.5F}}, "first")
      .node("Twice", {"h", "w"}, {"y"}, {}, "second");
  for (auto& n : *b.model.mutable_graph()->mutable_node()) n.set_domain("own");
  import_own_domain(b);
  return b;
}

}  // namespace halftone::onnx::test
