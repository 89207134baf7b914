#include "operator_seeds.h"

#include "build_function.h"
#include "build_model.h"

namespace halftone::onnx::test {
namespace {

using Ints = std::vector<int64_t>;

TensorProto scalar(const std::string& name, int64_t value) {
  return int64s(name, {value}, true);
}

TensorProto bytes(const std::string& name, const std::vector<int>& values, int type) {
  TensorProto t;
  t.set_name(name);
  t.set_data_type(type);
  t.add_dims(static_cast<int64_t>(values.size()));
  for (const int v : values) t.add_int32_data(v);
  return t;
}

// One node on x [N, 2, 4, 4].
std::string of_image(const std::string& op, const std::vector<Attr>& attributes,
                     const std::vector<TensorProto>& more = {}, int opset = 18,
                     std::vector<std::string> outputs = {"y"}) {
  ModelBuilder b(opset);
  b.input("x", {"N", "2", "4", "4"}).open_output("y");
  std::vector<std::string> inputs{"x"};
  for (const TensorProto& t : more) {
    b.initializer(t);
    inputs.push_back(t.name());
  }
  b.node(op, inputs, outputs, attributes);
  return b.bytes();
}

// A constant from a node that is only folded, added to x.
std::string of_constants(const std::string& op, const std::vector<TensorProto>& inputs,
                         const std::vector<Attr>& attributes = {}) {
  ModelBuilder b(18);
  b.input("x", {"N", "3"}).open_output("y");
  std::vector<std::string> names;
  for (const TensorProto& t : inputs) {
    b.initializer(t);
    names.push_back(t.name());
  }
  b.node(op, names, {"c"}, attributes).node("Cast", {"c"}, {"f"}, {{"to", TensorProto::FLOAT}});
  b.node("ReduceSum", {"f"}, {"s"}).node("Add", {"x", "s"}, {"y"});
  return b.bytes();
}

std::string dft() {
  ModelBuilder b(20);
  b.input("x", {"N", "4", "1"})
      .open_output("y")
      .initializer(scalar("axis", 1))
      .initializer(scalar("length", 4));
  b.node("DFT", {"x", "length", "axis"}, {"f"}, {{"onesided", 1}})
      .node("DFT", {"f", "", "axis"}, {"y"}, {{"inverse", 1}});
  return b.bytes();
}

std::string stft() {
  ModelBuilder b(17);
  b.input("x", {"N", "8", "1"}).open_output("y");
  b.initializer(scalar("step", 2))
      .initializer(floats("window", {4}, {0, 0.5F, 1, 0.5F}))
      .initializer(scalar("length", 4));
  b.node("STFT", {"x", "step", "window", "length"}, {"y"}, {{"onesided", 1}});
  return b.bytes();
}

std::string einsum(const char* equation) {
  ModelBuilder b(17);
  b.input("x", {"N", "2", "3"}).open_output("y").initializer(floats("w", {3, 2}, {1, 2, 3, 4, 5, 6}));
  b.node("Einsum", {"x", "w"}, {"y"}, {{"equation", equation}});
  return b.bytes();
}

std::string noise() {
  ModelBuilder b(17);
  b.input("x", {"N", "3"}).open_output("y");
  b.node("RandomUniform", {}, {"u"}, {{"shape", Ints{3}}, {"low", 0.5F}})
      .node("RandomNormal", {}, {"n"}, {{"shape", Ints{3}}, {"scale", 2.0F}})
      .node("RandomUniformLike", {"x"}, {"v"}, {{"high", 2.0F}})
      .node("RandomNormalLike", {"x"}, {"m"}, {{"mean", 1.0F}})
      .node("Sigmoid", {"x"}, {"p"})
      .node("Bernoulli", {"p"}, {"b"})
      .node("Multinomial", {"x"}, {"c"}, {{"sample_size", 3}, {"dtype", 7}})
      .node("Cast", {"c"}, {"f"}, {{"to", TensorProto::FLOAT}});
  b.node("Sum", {"x", "u", "n", "v", "m", "b", "f"}, {"y"});
  return b.bytes();
}

std::string unpool() {
  ModelBuilder b(17);
  b.input("x", {"N", "1", "4", "4"}).open_output("y");
  b.node("MaxPool", {"x"}, {"p", "i"}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  b.node("MaxUnpool", {"p", "i"}, {"y"}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{2, 2}}});
  return b.bytes();
}

void import_microsoft(ModelBuilder& b) {
  for (auto& node : *b.model.mutable_graph()->mutable_node()) node.set_domain("com.microsoft");
  auto* opset = b.model.add_opset_import();
  opset->set_domain("com.microsoft");
  opset->set_version(1);
}

std::string skip_norm(const std::string& op, bool with_bias) {
  ModelBuilder b(17);
  b.input("x", {"N", "2", "4"})
      .input("skip", {"N", "2", "4"})
      .open_output("y")
      .initializer(floats("scale", {4}, {1, 2, 3, 4}));
  std::vector<std::string> inputs{"x", "skip", "scale"};
  if (with_bias) {
    b.initializer(floats("shift", {4}, {0, 0, 0, 1})).initializer(floats("bias", {4}, {1, 0, 0, 0}));
    inputs.insert(inputs.end(), {"shift", "bias"});
  }
  b.node(op, inputs, {"y", "", "", "sum"}, {{"epsilon", 1e-5F}});
  import_microsoft(b);
  return b.bytes();
}

// One of ONNX Runtime's operators on x [N, 2, 4], which may be several of its inputs.
std::string fused(const std::string& op, std::vector<std::string> inputs, const std::vector<Attr>& attributes,
                  const std::vector<TensorProto>& more = {}) {
  ModelBuilder b(17);
  b.input("x", {"N", "2", "4"}).open_output("y");
  for (const TensorProto& t : more) {
    b.initializer(t);
    inputs.push_back(t.name());
  }
  b.node(op, inputs, {"y"}, attributes);
  import_microsoft(b);
  return b.bytes();
}

std::string fused_conv() {
  ModelBuilder b(17);
  b.input("x", {"N", "2", "4", "4"}).open_output("y");
  b.initializer(floats("w", {2, 2, 1, 1}, {1, 2, 3, 4})).initializer(floats("b", {2}, {1, 2}));
  b.node("FusedConv", {"x", "w", "b"}, {"y"}, {{"activation", "Relu"}});
  import_microsoft(b);
  return b.bytes();
}

std::string embed_norm() {
  ModelBuilder b(17);
  b.input("x", {"N", "3"}, TensorProto::INT32).open_output("y");
  b.initializer(floats("words", {4, 2}, {1, 2, 3, 4, 5, 6, 7, 8}))
      .initializer(floats("places", {3, 2}, {1, 2, 3, 4, 5, 6}));
  b.initializer(floats("scale", {2}, {1, 2})).initializer(floats("shift", {2}, {3, 4}));
  b.node("EmbedLayerNormalization", {"x", "", "words", "places", "", "scale", "shift"}, {"y", "m"},
         {{"epsilon", 1e-5F}});
  import_microsoft(b);
  return b.bytes();
}

std::string class_loss(const std::string& op) {
  ModelBuilder b(17);
  b.input("x", {"N", "3"})
      .input("labels", {"N"}, TensorProto::INT64)
      .open_output("y")
      .initializer(floats("w", {3}, {1, 2, 3}));
  b.node(op, {"x", "labels", "w"}, {"y"}, {{"reduction", "none"}, {"ignore_index", 2}});
  return b.bytes();
}

std::string reverse_sequence() {
  ModelBuilder b(17);
  b.input("x", {"N", "4", "3"}).input("lengths", {"N"}, TensorProto::INT64).open_output("y");
  b.node("ReverseSequence", {"x", "lengths"}, {"y"}, {{"batch_axis", 0}, {"time_axis", 1}});
  return b.bytes();
}

std::string tensor_scatter() {
  ModelBuilder b(24);
  b.input("x", {"N", "4", "3"}).input("u", {"N", "2", "3"}).open_output("y");
  b.node("TensorScatter", {"x", "u"}, {"y"}, {{"mode", "circular"}});
  return b.bytes();
}

std::string simplified_norm() {
  ModelBuilder b(17);
  b.input("x", {"N", "4"}).open_output("y").initializer(floats("scale", {4}, {1, 2, 3, 4}));
  b.node("SimplifiedLayerNormalization", {"x", "scale"}, {"y"},
         {{"axis", -1}, {"epsilon", 1e-5F}, {"stash_type", 1}});
  return b.bytes();
}

// Two branches, of which one has a tensor and the other a choice of its own.
std::string branches(bool yes) {
  ModelBuilder b;
  b.input("x", {"N", "3"}).open_output("y").initializer(bytes("c", {yes ? 1 : 0}, TensorProto::BOOL));
  b.model.mutable_graph()->mutable_initializer(0)->clear_dims();
  b.node("If", {"c"}, {"z"}, {}, "choice").node("Neg", {"z"}, {"y"});
  const auto branch = [](NodeProto* choice, const std::string& name) {
    auto* a = choice->add_attribute();
    a->set_name(name);
    a->set_type(AttributeProto::GRAPH);
    a->mutable_g()->set_name(name);
    a->mutable_g()->add_output()->set_name("out");
    return a->mutable_g();
  };
  const auto node = [](GraphProto* g, const std::string& op, const std::vector<std::string>& in) {
    auto* n = g->add_node();
    n->set_op_type(op);
    for (const std::string& i : in) n->add_input(i);
    n->add_output("out");
    return n;
  };
  NodeProto* choice = b.model.mutable_graph()->mutable_node(0);
  GraphProto* then = branch(choice, "then_branch");
  node(then, "Mul", {"x", "w"});
  *then->add_initializer() = floats("w", {3}, {1, 2, 3});
  NodeProto* inner = node(branch(choice, "else_branch"), "If", {"c"});
  node(branch(inner, "then_branch"), "Abs", {"x"});
  node(branch(inner, "else_branch"), "Exp", {"x"});
  return b.bytes();
}

}  // namespace

std::vector<std::string> operator_seeds() {
  const TensorProto ints = int64s("i", {1, 2, 3});
  const TensorProto other = int64s("j", {3, 0, 1});
  std::vector<std::string> seeds = {
      of_constants("BitShift",
                   {bytes("i", {1, 2}, TensorProto::UINT8), bytes("j", {3, 1}, TensorProto::UINT8)},
                   {{"direction", "LEFT"}}),
      of_constants("BitwiseAnd", {ints, other}),
      of_constants("BitwiseOr", {ints, other}),
      of_constants("BitwiseXor", {ints, other}),
      of_constants("BitwiseNot", {ints}),
      of_constants("NonZero", {ints}),
      of_constants("Unique", {ints}, {{"sorted", 1}}),
      of_constants("Range", {scalar("from", 0), scalar("to", 5), scalar("step", 2)}),
      of_image("Mish", {}),
      of_image("GlobalLpPool", {{"p", 2}}),
      of_image("MaxRoiPool", {{"pooled_shape", Ints{1, 1}}}, {floats("r", {1, 5}, {0, 0, 0, 2, 2})}),
      of_image("RoiAlign", {{"output_height", 1}, {"output_width", 1}},
               {floats("r", {1, 4}, {0, 0, 2, 2}), int64s("b", {0})}, 16),
      dft(),
      stft(),
      einsum("bij,jk->bik"),
      einsum("...ij,jk->...k"),
      unpool(),
      noise(),
      reverse_sequence(),
      tensor_scatter(),
      of_constants("HannWindow", {scalar("size", 4)}),
      of_constants("HammingWindow", {scalar("size", 4)}),
      of_constants("BlackmanWindow", {scalar("size", 4)}, {{"periodic", 0}}),
      class_loss("NegativeLogLikelihoodLoss"),
      class_loss("SoftmaxCrossEntropyLoss"),
      fused("Gelu", {"x"}, {}),
      fused("QuickGelu", {"x"}, {{"alpha", 1.5F}}),
      fused("BiasGelu", {"x"}, {}, {floats("b", {4}, {1, 2, 3, 4})}),
      fused("FastGelu", {"x"}, {}, {floats("b", {4}, {1, 2, 3, 4})}),
      fused("FusedMatMul", {"x"}, {{"alpha", 0.5F}, {"transB", 1}},
            {floats("w", {3, 4}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})}),
      fused("Attention", {"x"}, {{"num_heads", 2}},
            {floats("w", {4, 12}, std::vector<float>(48, 0.25F)),
             floats("b", {12}, std::vector<float>(12, 0.5F))}),
      fused("MultiHeadAttention", {"x", "x", "x"}, {{"num_heads", 2}}),
      fused("RotaryEmbedding", {"x"}, {},
            {int64s("first", {0}), floats("cos", {3, 2}, {1, 2, 3, 4, 5, 6}),
             floats("sin", {3, 2}, {1, 2, 3, 4, 5, 6})}),
      fused_conv(),
      embed_norm(),
      skip_norm("SkipLayerNormalization", true),
      skip_norm("SkipSimplifiedLayerNormalization", false),
      simplified_norm(),
      with_functions().bytes(),
      branches(true),
      branches(false)};
  return seeds;
}

std::vector<std::string> loss_seeds() {
  std::vector<std::string> seeds;
  {
    ModelBuilder b;
    b.input("y", {"N", "3"}).input("wanted", {"N", "3"}).open_output("loss");
    b.node("Sub", {"y", "wanted"}, {"d"})
        .node("Mul", {"d", "d"}, {"q"})
        .node("ReduceMean", {"q"}, {"loss"}, {{"keepdims", 0}});
    seeds.push_back(b.bytes());
  }
  {
    // The network's input too, a weight of each class, and the labels as numbers.
    ModelBuilder b;
    b.input("y", {"N", "3"})
        .input("x", {"N", "1", "4", "4"})
        .input("labels", {"N"}, TensorProto::INT64)
        .open_output("loss");
    b.initializer(floats("weights", {3}, {1, 2, 3})).initializer(int64s("axis", {1}));
    b.node("LogSoftmax", {"y"}, {"p"}, {{"axis", 1}}).node("Mul", {"p", "weights"}, {"w"});
    b.node("Unsqueeze", {"labels", "axis"}, {"l"}).node("GatherElements", {"w", "l"}, {"g"}, {{"axis", 1}});
    b.node("ReduceMean", {"g"}, {"m"}, {{"keepdims", 0}}).node("Neg", {"m"}, {"n"});
    b.node("ReduceMean", {"x"}, {"e"}, {{"keepdims", 0}}).node("Add", {"n", "e"}, {"loss"});
    seeds.push_back(b.bytes());
  }
  return seeds;
}

}  // namespace halftone::onnx::test
