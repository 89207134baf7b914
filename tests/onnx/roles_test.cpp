#include "onnx/roles.h"

#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "build_model.h"
#include "onnx/pytorch_names.h"
#include "onnx/tensor_signs.h"

namespace halftone::onnx {
namespace {

using test::Attr;
using test::floats;
using test::int64s;
using test::ModelBuilder;

using Names = std::vector<std::string>;

Names named(const Model& m, Role role) {
  Names out;
  for (const auto& [name, r] : tensor_roles(m))
    if (r == role) out.push_back(name);
  return out;
}
Names parameters(const ModelBuilder& b) {
  return named(Model::parse(b.bytes(), "net.onnx"), Role::kParameter);
}
Names states(const ModelBuilder& b) {
  return named(Model::parse(b.bytes(), "net.onnx"), Role::kState);
}
Model fixture(const std::string& name) {
  return Model::load(std::string(HALFTONE_TESTS_DIR) + "/fixtures/models/" + name);
}

const test::TensorProto kFour = floats("", {2, 2}, {1, 2, 3, 4});
test::TensorProto four(const std::string& name, std::vector<int64_t> dims = {2, 2}) {
  return floats(name, dims, {1, 2, 3, 4});
}
test::TensorProto two(const std::string& name) {
  return floats(name, {2}, {1, 2});
}

TEST(Roles, SlotsThatAnOperatorTrains) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y");
  b.initializer(four("w")).initializer(two("bias")).initializer(four("m"));
  b.node("Constant", {}, {"c"}, {{"value", kFour}});
  b.node("Gemm", {"x", "w", "bias"}, {"a"})
      .node("MatMul", {"a", "m"}, {"b"})
      .node("MatMul", {"b", "c"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"bias", "c", "m", "w"}));
}

// A filter bank is called fb too; where only a bias can be, the name does not matter.
TEST(Roles, APlaceThatOnlyAParameterHasCountsMoreThanAName) {
  for (const std::string name : {"fb", "mean", "net.std", "grid"}) {
    ModelBuilder gemm;
    gemm.input("x", {"N", "2"}).open_output("y").initializer(four("w")).initializer(two(name));
    gemm.node("Gemm", {"x", "w", name}, {"y"});
    EXPECT_EQ(parameters(gemm).size(), 2U) << name;
    ModelBuilder add;
    add.input("x", {"N", "2"}).open_output("y").initializer(four("w")).initializer(two(name));
    add.node("MatMul", {"x", "w"}, {"h"}).node("Add", {"h", name}, {"y"});
    EXPECT_EQ(parameters(add).size(), 2U) << name;
    ModelBuilder bank;
    bank.input("x", {"N", "2"}).open_output("y").initializer(four("w")).initializer(four(name));
    bank.node("MatMul", {"x", "w"}, {"h"}).node("MatMul", {"h", name}, {"y"});
    EXPECT_EQ(parameters(bank), Names{"w"}) << name;
  }
}

// The places of norms are parameters, one-element ones too; what an exporter writes there for a norm that has
// none is not.
TEST(Roles, ScalesAndShiftsOfNorms) {
  const auto net = [](const std::string& op, int64_t size, const std::string& scale, const std::string& shift,
                      bool literal) {
    ModelBuilder b;
    b.input("x", {"N", std::to_string(size), "2"}).open_output("y").initializer(four("w"));
    const std::vector<float> ones(static_cast<size_t>(size), 1);
    const std::vector<float> zeros(static_cast<size_t>(size), 0);
    const auto t = floats("", {size}, ones);
    const auto u = floats("", {size}, zeros);
    if (literal) {
      b.node("Constant", {}, {scale}, {{"value", t}}).node("Constant", {}, {shift}, {{"value", u}});
    } else {
      b.initializer(floats(scale, {size}, ones)).initializer(floats(shift, {size}, zeros));
    }
    b.node("MatMul", {"x", "w"}, {"h"}).node(op, {"h", scale, shift}, {"y"});
    return b;
  };
  for (const char* op : {"InstanceNormalization", "GroupNormalization", "LayerNormalization"})
    for (const int64_t size : {1, 3})
      for (const std::string bias : {"n.bias", "n.mean", "b"})
        EXPECT_EQ(parameters(net(op, size, "n.weight", bias, false)).size(), 3U)
            << op << " " << size << " " << bias;
  for (const int64_t size : {1, 3})
    EXPECT_EQ(parameters(net("InstanceNormalization", size, "ones", "zeros", true)), Names{"w"}) << size;
  // A literal that is neither 1 nor 0 is somebody's.
  ModelBuilder b;
  b.input("x", {"N", "1", "2"}).open_output("y").initializer(four("w"));
  b.node("Constant", {}, {"s"}, {{"value", floats("", {1}, {1.5F})}});
  b.node("Constant", {}, {"z"}, {{"value", floats("", {1}, {0})}});
  b.node("MatMul", {"x", "w"}, {"h"}).node("InstanceNormalization", {"h", "s", "z"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"s", "w"}));
}

TEST(Roles, TheScaleOfALayerNormSpelledInNodes) {
  ModelBuilder b;
  b.input("x", {"N", "2"})
      .open_output("y")
      .initializer(four("w"))
      .initializer(two("g"))
      .initializer(two("b"));
  b.initializer(floats("two", {}, {2})).initializer(floats("eps", {}, {1e-5F}));
  b.node("MatMul", {"x", "w"}, {"h"}).node("ReduceMean", {"h"}, {"m"}, {{"axes", std::vector<int64_t>{-1}}});
  b.node("Sub", {"h", "m"}, {"d"}).node("Pow", {"d", "two"}, {"p"});
  b.node("ReduceMean", {"p"}, {"v"}, {{"axes", std::vector<int64_t>{-1}}}).node("Add", {"v", "eps"}, {"e"});
  b.node("Sqrt", {"e"}, {"s"}).node("Div", {"d", "s"}, {"n"});
  b.node("Mul", {"n", "g"}, {"ng"}).node("Add", {"ng", "b"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"b", "g", "w"}));
}

TEST(Roles, StatisticsAreStates) {
  ModelBuilder b;
  b.input("x", {"N", "2", "4", "4"}).open_output("y");
  for (const char* name : {"scale", "shift", "mean", "var"}) b.initializer(two(name));
  b.node("Identity", {"var"}, {"var2"})
      .node("BatchNormalization", {"x", "scale", "shift", "mean", "var2"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"scale", "shift"}));
  EXPECT_EQ(states(b), (Names{"mean", "var"}));
}

TEST(Roles, ArithmeticTrainsOnlyAfterAParameter) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y");
  b.initializer(two("input_mean"))
      .initializer(four("w"))
      .initializer(two("bias"))
      .initializer(floats("half", {1}, {0.5F}));
  b.initializer(two("scale")).initializer(int64s("shape", {1, 2})).initializer(two("unrelated"));
  b.node("Sub", {"x", "input_mean"}, {"normal"})
      .node("MatMul", {"normal", "w"}, {"a"})
      .node("Add", {"bias", "a"}, {"b"});
  b.node("Mul", {"b", "half"}, {"c"})
      .node("Reshape", {"scale", "shape"}, {"wide"})
      .node("Mul", {"c", "wide"}, {"d"});
  b.node("Pow", {"d", "unrelated"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"bias", "scale", "w"}));
}

TEST(Roles, WeightsBehindOtherNodesAreTrained) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y");
  b.initializer(four("stored"))
      .initializer(four("v"))
      .initializer(two("g"))
      .initializer(floats("eps", {1}, {1e-5F}));
  b.node("Transpose", {"stored"}, {"w"}).node("MatMul", {"x", "w"}, {"a"});
  // Weight normalisation: v * g / (|v| + eps).
  b.node("Mul", {"v", "g"}, {"vg"}).node("Add", {"v", "eps"}, {"norm"}).node("Div", {"vg", "norm"}, {"w2"});
  b.node("MatMul", {"a", "w2"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"g", "stored", "v"}));
}

TEST(Roles, AResNetsParametersAndStates) {
  const Model m = fixture("resnet20-cifar10.onnx");
  EXPECT_EQ(named(m, Role::kParameter).size(), 19U + 2 * 19 + 2);
  EXPECT_EQ(named(m, Role::kState).size(), 2U * 19);
  const Model folded = fixture("resnet20-cifar10-bnfolded.onnx");
  EXPECT_EQ(named(folded, Role::kParameter).size(), 2U * 19 + 2);
  EXPECT_EQ(named(folded, Role::kState).size(), 0U);
}

// ---- why, and the cases that names and values decide

TensorRole role_in(const ModelBuilder& b, const std::string& tensor, const TrainFreeze& choice = {}) {
  const Model m = Model::parse(b.bytes(), "net.onnx");
  for (const TensorRole& r : roles_of(m, choice))
    if (r.name == tensor) return r;
  ADD_FAILURE() << "no float tensor " << tensor;
  return {};
}
test::TensorProto ramp(const std::string& name, std::vector<int64_t> dims) {
  int64_t n = 1;
  for (const int64_t d : dims) n *= d;
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i)
    values.push_back(0.1F + 0.013F * static_cast<float>((i * 7) % 31) + 1e-4F * static_cast<float>(i));
  return floats(name, dims, values);
}
// x [N, 4] -> MatMul -> h, from which a test goes on.
ModelBuilder product(int64_t outputs = 4) {
  ModelBuilder b;
  b.input("x", {"N", "4"}).open_output("y").initializer(ramp("w", {4, outputs}));
  b.node("MatMul", {"x", "w"}, {"h"});
  return b;
}

TEST(Roles, ABiasOfOneElementBehindAProductWithOneOutput) {
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{1}, {1, 1}}) {
    ModelBuilder b = product(1);
    b.initializer(floats("b", shape, {0})).node("Add", {"h", "b"}, {"y"});
    EXPECT_EQ(role_in(b, "b").role, Role::kParameter) << shape.size();
    EXPECT_EQ(role_in(b, "b").reason, "the bias of a product with one output");
  }
  // The number that a literal is has no shape, and four outputs have four biases.
  ModelBuilder scalar = product(1);
  scalar.initializer(floats("b", {}, {0})).node("Add", {"h", "b"}, {"y"});
  EXPECT_EQ(role_in(scalar, "b").role, Role::kConstant);
  ModelBuilder wide = product(4);
  wide.initializer(floats("b", {1}, {0.3F})).node("Add", {"h", "b"}, {"y"});
  EXPECT_EQ(role_in(wide, "b").role, Role::kConstant);
}

TEST(Roles, SingleNumbersAreTrainedWhereAModuleNamedThem) {
  struct Case {
    const char* name;
    const char* producer;
    float value;
    Role role;
    bool doubtful;
  };
  for (const Case& c :
       {Case{"stem.lab.scale", "", 0.3719265F, Role::kParameter, false},
        Case{"alpha", "pytorch", 0.3719265F, Role::kParameter, false},
        Case{"alpha", "", 0.3719265F, Role::kConstant, true}, Case{"half", "", 0.5F, Role::kConstant, false},
        Case{"onnx::Mul_12", "pytorch", 0.3719265F, Role::kConstant, true},
        Case{"val_12", "pytorch", 1.41421356F, Role::kConstant, false},
        Case{"val_13", "pytorch", 0.08838835F, Role::kConstant, false},
        Case{"norm.eps", "pytorch", 1e-5F, Role::kConstant, true},
        Case{"layer.factor", "pytorch", 0.125F, Role::kParameter, true},
        Case{"layer.factor", "pytorch", 1, Role::kParameter, false},
        Case{"model/tf.math.multiply/Mul/y:0", "tf2onnx", 0.3719265F, Role::kConstant, true},
        Case{"dense/mul/ReadVariableOp:0", "tf2onnx", 0.3719265F, Role::kParameter, false}}) {
    ModelBuilder b = product();
    b.model.set_producer_name(c.producer);
    b.initializer(floats(c.name, {1}, {c.value})).node("Mul", {"h", c.name}, {"y"});
    const TensorRole r = role_in(b, c.name);
    EXPECT_EQ(r.role, c.role) << c.name << " of " << c.producer << ": " << r.reason;
    EXPECT_EQ(r.doubtful, c.doubtful) << c.name << ": " << r.reason;
  }
  // A literal of the exporter stands in a Constant node.
  ModelBuilder b = product();
  b.node("Constant", {}, {"lab.scale"}, {{"value", floats("", {1}, {0.37F})}})
      .node("Mul", {"h", "lab.scale"}, {"y"});
  EXPECT_EQ(role_in(b, "lab.scale").role, Role::kConstant);
}

// PyTorch's older exporter takes the names from a temperature and its shift, as contrastive losses have them.
TEST(Roles, ALearnedScaleWithoutAName) {
  const auto scaled = [](const std::string& scale, const std::string& shift, bool exponential) {
    ModelBuilder b = product();
    b.model.set_producer_name("pytorch");
    b.initializer(floats(scale, {1}, {0.0078F})).initializer(floats(shift, {1}, {-0.0045F}));
    if (exponential) b.node("Exp", {scale}, {"e"});
    b.node("Mul", {"h", exponential ? "e" : scale}, {"s"}).node("Add", {"s", shift}, {"y"});
    return parameters(b);
  };
  EXPECT_EQ(scaled("onnx::Exp_846", "onnx::Add_847", true), (Names{"onnx::Add_847", "onnx::Exp_846", "w"}));
  EXPECT_EQ(scaled("onnx::Mul_846", "onnx::Add_847", false), Names{"w"});
}

// A row of -inf masks the scores that it is added to; the table stays as it is. Other infinities are left to
// be refused.
TEST(Roles, ATableWithRowsOfMinusInfinityIsConstant) {
  const float inf = std::numeric_limits<float>::infinity();
  const auto of_table = [](const std::vector<float>& values) {
    ModelBuilder b = product();
    b.input("i", {"N", "4"}, test::TensorProto::INT64);
    b.initializer(floats("spatial.weight", {2, 2}, values));
    b.node("Gather", {"spatial.weight", "i"}, {"bias"})
        .node("ReduceSum", {"bias"}, {"sum"}, {{"keepdims", 0}});
    b.node("Add", {"h", "sum"}, {"y"});
    return role_in(b, "spatial.weight").role;
  };
  EXPECT_EQ(of_table({-inf, -inf, 0.5F, -3}), Role::kConstant);
  EXPECT_EQ(of_table({-1, 2, 0.5F, -3}), Role::kParameter);
  for (const float bad : {inf, std::nanf("")})
    EXPECT_EQ(of_table({bad, bad, 0.5F, -3}), Role::kParameter) << bad;
  EXPECT_EQ(of_table({-inf, 1, 0.5F, -3}), Role::kParameter);
  EXPECT_EQ(of_table({-inf, -inf, -inf, -inf}), Role::kParameter);
}

TEST(TensorSigns, NamesThatExportersMakeUp) {
  for (const char* name :
       {"onnx::Conv_253", "253", "val_12", "_to_copy_3", "expand", "cat_1", "zeros_2",
        "/layer1/Constant_output_0", "const_fold_opt__23", "model/add/Const:0", "helper.constant.46"})
    EXPECT_TRUE(is_made_up(name)) << name;
  for (const char* name : {"weight", "layer1.0.expand", "val", "cls_token", "mul_3.weight", "w_1"})
    EXPECT_FALSE(is_made_up(name)) << name;
}

TEST(Roles, MasksAndTablesAreConstants) {
  const auto role_of_values = [](const std::string& name, const std::vector<int64_t>& dims,
                                 const std::vector<float>& values, const std::string& op = "Add") {
    ModelBuilder b = product();
    b.initializer(floats(name, dims, values)).node(op, {"h", name}, {"y"});
    return role_in(b, name);
  };
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(role_of_values("onnx::Add_3", {4}, {0, -100, -100, 0}).reason,
            "a mask: its values are 0 and one large negative number");
  EXPECT_EQ(role_of_values("onnx::Add_3", {4}, {0, -inf, -inf, 0}).role, Role::kConstant);
  EXPECT_EQ(role_of_values("onnx::Mul_3", {4}, {0, 1, 1, 0}, "Mul").role, Role::kConstant);
  EXPECT_TRUE(role_of_values("onnx::Mul_3", {4}, {0, 1, 1, 0}, "Mul").doubtful);
  EXPECT_EQ(role_of_values("layers.0.attn_mask", {4}, {0.5F, 0.2F, 0.1F, 0}).role, Role::kConstant);
  EXPECT_EQ(role_of_values("grid", {8, 1}, {0.5F, 1.5F, 2.5F, 3.5F, 4.5F, 5.5F, 6.5F, 7.5F}).role,
            Role::kConstant);
  EXPECT_EQ(role_of_values("val_3", {4}, {2, 2, 2, 2}).role, Role::kConstant);
  const std::vector<float> whole{0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(role_of_values("onnx::Add_3", {8, 1}, whole).role, Role::kConstant);
  EXPECT_EQ(role_of_values("b", {8, 1}, whole).role, Role::kParameter);
  EXPECT_EQ(role_of_values("b", {4}, {0, 1, 1, 0}).role, Role::kParameter);
  std::vector<float> waves;
  for (int row = 0; row < 4; ++row)
    for (const bool sine : {true, false})
      for (int k = 0; k < 2; ++k) {
        const float angle = static_cast<float>(row + 1) * (k == 0 ? 0.9F : 0.4F);
        waves.push_back(sine ? std::sin(angle) : std::cos(angle));
      }
  EXPECT_EQ(role_of_values("pos_embed", {4, 4}, waves).reason, "a fixed table of sines and cosines");
  // And what looks like them only from afar: fresh biases and scales, a bias that has zeros.
  const std::vector<std::vector<float>> trained{
      {0, 0, 0, 0}, {1, 1, 1, 1}, {0, -1, -1, 0}, {0, 0.5F, -100, 0}, {0.1F, -3, 2, 7}};
  for (const std::vector<float>& fresh : trained)
    EXPECT_EQ(role_of_values("onnx::Add_3", {4}, fresh).role, Role::kParameter);
}

TEST(Roles, TablesReachedThroughGatherAreParameters) {
  ModelBuilder b = product();
  b.initializer(ramp("attn.attention_biases", {2, 6})).initializer(int64s("idx", {0, 1, 2, 3}));
  b.initializer(int64s("one", {0}));
  b.node("Gather", {"attn.attention_biases", "idx"}, {"bias"}, {{"axis", 1}})
      .node("Gather", {"bias", "one"}, {"row"}, {{"axis", 0}})
      .node("Add", {"h", "row"}, {"y"});
  const TensorRole r = role_in(b, "attn.attention_biases");
  EXPECT_EQ(r.role, Role::kParameter);
  EXPECT_FALSE(r.doubtful);
  EXPECT_EQ(r.reason, "a module's parameter: combined with activations by Add");
  EXPECT_EQ(parameters(b), (Names{"attn.attention_biases", "w"}));
}

TEST(Roles, TokensReachedThroughExpandAndConcat) {
  ModelBuilder b;
  b.input("x", {"N", "3", "4"}).open_output("y").initializer(ramp("w", {4, 4}));
  b.initializer(floats("cls_token", {1, 1, 4}, {0, 0, 0, 0})).initializer(ramp("pos_embed", {1, 4, 4}));
  b.initializer(floats("onnx::Concat_7", {1, 1, 4}, {0, 0, 0, 0}));
  b.initializer(int64s("zero", {0})).initializer(int64s("rest", {1, 4}));
  b.node("MatMul", {"x", "w"}, {"h"}).node("Shape", {"h"}, {"s"}).node("Gather", {"s", "zero"}, {"n"});
  b.node("Concat", {"n", "rest"}, {"shape"}, {{"axis", 0}});
  b.node("Expand", {"cls_token", "shape"}, {"token"})
      .node("Expand", {"onnx::Concat_7", "shape"}, {"padding"});
  b.node("Concat", {"token", "h", "padding"}, {"tokens"}, {{"axis", 1}});
  b.node("Slice", {"pos_embed", "zero", "one", "zero"}, {"pos"}).initializer(int64s("one", {1}));
  b.node("Add", {"tokens", "pos"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"cls_token", "pos_embed", "w"}));
  EXPECT_EQ(role_in(b, "onnx::Concat_7").reason, "all its values are the same: a literal or padding");
}

TEST(Roles, OperatorsThatHalftoneLacksHideNothing) {
  ModelBuilder b = product();
  b.initializer(two("norm.weight")).initializer(two("norm.bias")).initializer(four("onnx::Where_3"));
  b.node("LayerNormalization", {"h", "norm.weight", "norm.bias"}, {"n"})
      .node("Mish", {"n"}, {"m"})
      .initializer(ramp("head.weight", {4, 4}))
      .node("MatMul", {"m", "head.weight"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"head.weight", "norm.bias", "norm.weight", "w"}));
  EXPECT_EQ(role_in(b, "norm.bias").reason, "the shift of LayerNormalization");
}

TEST(Roles, ShapeArithmeticIsNotTrained) {
  ModelBuilder b = product();
  b.initializer(floats("resize.weight", {1}, {2})).initializer(floats("scales", {2}, {1, 1}));
  b.node("Shape", {"h"}, {"s"})
      .node("Cast", {"s"}, {"f"}, {{"to", 1}})
      .node("Mul", {"f", "resize.weight"}, {"f2"})
      .node("Floor", {"f2"}, {"f3"})
      .node("Cast", {"f3"}, {"s2"}, {{"to", 7}})
      .node("Expand", {"h", "s2"}, {"e"})
      .node("Resize", {"e", "", "scales"}, {"y"});
  EXPECT_EQ(parameters(b), Names{"w"});
  EXPECT_EQ(role_in(b, "resize.weight").reason,
            "no gradient reaches it: it is used for shapes, indices, conditions or bounds");
}

TEST(Roles, WeightsOfRecurrencesAndTransposedConvolutionsAreTrained) {
  const std::vector<float> ramp = {0.1F, -0.2F, 0.3F, 0.4F, -0.5F, 0.6F, 0.7F, 0.85F};
  const auto some = [&](const char* name, std::vector<int64_t> shape) {
    int64_t n = 1;
    for (const int64_t d : shape) n *= d;
    std::vector<float> values;
    for (int64_t i = 0; i < n; ++i) values.push_back(ramp[static_cast<size_t>(i * 5 + i / 8) % 8] * 0.37F);
    return floats(name, shape, values);
  };
  ModelBuilder b;
  b.input("x", {"T", "2", "3"}).open_output("y");
  b.initializer(some("w", {1, 8, 3})).initializer(some("r", {1, 8, 2})).initializer(some("b", {1, 16}));
  b.initializer(floats("zeros", {1, 2, 2}, {0, 0, 0, 0})).initializer(some("up", {2, 3, 2}));
  b.node("LSTM", {"x", "w", "r", "b", "", "zeros", "zeros"}, {"all", "h"}, {{"hidden_size", 2}})
      .node("Transpose", {"h"}, {"t"})
      .node("ConvTranspose", {"t", "up"}, {"y"});
  EXPECT_EQ(parameters(b), (Names{"b", "r", "up", "w"}));
}

TEST(Roles, FixedFiltersAreConstants) {
  const auto role_of_filter = [](const std::string& name, const std::vector<float>& values) {
    ModelBuilder b;
    b.input("x", {"N", "2", "4", "4"}).open_output("y").initializer(floats(name, {2, 1, 1, 3}, values));
    b.node("Conv", {"x", name}, {"y"}, {{"group", 2}});
    return role_in(b, name);
  };
  EXPECT_EQ(role_of_filter("onnx::Conv_9", {0.25F, 0.5F, 0.25F, 0.25F, 0.5F, 0.25F}).role, Role::kConstant);
  const float third = 1.0F / 3;
  EXPECT_EQ(role_of_filter("onnx::Conv_9", {third, third, third, third, third, third}).role, Role::kConstant);
  EXPECT_EQ(role_of_filter("pool.filt", {0.25F, 0.5F, 0.25F, 0.3F, 0.5F, 0.25F}).role, Role::kConstant);
  EXPECT_EQ(role_of_filter("onnx::Conv_9", {0.25F, 0.5F, 0.25F, 0.3F, 0.5F, 0.25F}).role, Role::kParameter);
  EXPECT_EQ(role_of_filter("onnx::Conv_9", {0, 0, 0, 0, 0, 0}).role, Role::kParameter);
  EXPECT_EQ(role_of_filter("w", {0.25F, 0.5F, 0.25F, 0.25F, 0.5F, 0.25F}).role, Role::kParameter);
  // Numbered bins, whatever the name; the same numbers in a kernel are somebody's first try.
  ModelBuilder b;
  b.input("x", {"N", "8", "2", "2"}).open_output("y");
  b.initializer(floats("dfl.weight", {1, 8, 1, 1}, {0, 1, 2, 3, 4, 5, 6, 7}));
  b.node("Conv", {"x", "dfl.weight"}, {"c"}).initializer(floats("k", {1, 1, 2, 2}, {0, 1, 2, 3}));
  b.node("Conv", {"c", "k"}, {"y"});
  EXPECT_EQ(role_in(b, "dfl.weight").role, Role::kConstant);
  EXPECT_EQ(role_in(b, "k").role, Role::kParameter);
}

TEST(Roles, PatternsOverrule) {
  ModelBuilder b = product();
  b.initializer(floats("onnx::Mul_3", {1}, {0.37F})).node("Mul", {"h", "onnx::Mul_3"}, {"m"});
  b.initializer(ramp("head.weight", {4, 4})).node("MatMul", {"m", "head.weight"}, {"y"});
  b.initializer(floats("unused", {1}, {1}));
  EXPECT_EQ(role_in(b, "onnx::Mul_3", {{"onnx::*"}, {}}).role, Role::kParameter);
  EXPECT_EQ(role_in(b, "head.weight", {{}, {"head*"}}).role, Role::kFrozen);
  EXPECT_EQ(role_in(b, "w", {{"head*"}, {"*"}}).role, Role::kFrozen);
  EXPECT_EQ(role_in(b, "head.weight", {{"head*"}, {"*"}}).role, Role::kParameter);
  EXPECT_EQ(role_in(b, "head.weight", {{"*"}, {"head.*"}}).role, Role::kFrozen);
  const auto refused = [&](const TrainFreeze& choice) {
    return test::error_of([&] { roles_of(Model::parse(b.bytes(), "net.onnx"), choice); });
  };
  const std::string near = refused({{"heda.weight"}, {}});
  EXPECT_NE(
      near.find("--train heda.weight matches no float tensor of the network; names like it: 'head.weight'"),
      std::string::npos)
      << near;
  EXPECT_NE(refused({{"head*"}, {"*.wei"}}).find("--freeze *.wei matches no float tensor"),
            std::string::npos);
  EXPECT_NE(refused({{"head*"}, {"head*"}}).find("both name 'head.weight'"), std::string::npos);
  EXPECT_EQ(refused({{"unused"}, {}}), "--train unused: 'unused' cannot be trained: no node uses it");
}

// What an exporter transposes or folds has a name of its own making: a layer's pattern means it all the same. What is no
// parameter is not trained by such a name.
TEST(Roles, PatternsMatchPytorchsNamesOfWhatExportersName) {
  ModelBuilder b;
  b.input("x", {"N", "4"}).open_output("y");
  b.initializer(ramp("onnx::MatMul_7", {4, 4})).initializer(ramp("layer.1.bias", {4}));
  b.initializer(floats("onnx::Add_9", {1}, {0.5F}));
  b.node("MatMul", {"x", "onnx::MatMul_7"}, {"m"}, {}, "/layer.1/MatMul")
      .node("Add", {"layer.1.bias", "m"}, {"a"}, {}, "/layer.1/Add")
      .node("Add", {"a", "onnx::Add_9"}, {"y"}, {}, "/layer.2/Add");
  const TensorRole weight = role_in(b, "onnx::MatMul_7", {{}, {"layer.1.*"}});
  EXPECT_EQ(weight.role, Role::kFrozen);
  EXPECT_EQ(weight.reason, "--freeze names it, as 'layer.1.weight'");
  EXPECT_EQ(role_in(b, "layer.1.bias", {{}, {"layer.1.*"}}).role, Role::kFrozen);
  EXPECT_EQ(role_in(b, "onnx::MatMul_7", {{"layer.1.weight"}, {"*"}}).role, Role::kParameter);
  EXPECT_EQ(role_in(b, "layer.1.bias", {{"layer.1.weight"}, {"*"}}).role, Role::kFrozen);
  EXPECT_EQ(role_in(b, "onnx::Add_9").role, Role::kConstant);
  EXPECT_EQ(role_in(b, "onnx::Add_9", {{"layer.*"}, {}}).role, Role::kConstant);
}

// One tensor that the file calls by two names: a pattern for either decides about it.
TEST(Roles, PatternsMatchTheNamesOfIdentityNodesToo) {
  ModelBuilder b = product();
  b.node("Identity", {"w"}, {"w.merged"}).node("Identity", {"w.merged"}, {"w.again"});
  b.node("MatMul", {"h", "w.again"}, {"y"});
  EXPECT_EQ(role_in(b, "w", {{}, {"w.merged"}}).role, Role::kFrozen);
  EXPECT_EQ(role_in(b, "w", {{}, {"*again"}}).role, Role::kFrozen);
  EXPECT_EQ(role_in(b, "w", {{}, {"*again"}}).reason, "--freeze names it, as 'w.again'");
  EXPECT_EQ(role_in(b, "w", {{"w.again"}, {"w.*"}}).role, Role::kParameter);
  const std::string both = test::error_of([&] {
    roles_of(Model::parse(b.bytes(), "net.onnx"), {{"w.again"}, {"w.*ain"}});
  });
  EXPECT_EQ(both, "") << "the pattern with more letters counts";
  EXPECT_NE(test::error_of([&] {
              roles_of(Model::parse(b.bytes(), "net.onnx"), {{"w.again"}, {"w.again"}});
            }).find("both name 'w'"),
            std::string::npos);
}

TEST(PytorchNames, ModulePathsOfNodeNames) {
  EXPECT_EQ(module_path("/layer1/layer1.0/conv1/Conv"), "layer1.0.conv1");
  EXPECT_EQ(module_path("/layer2/layer2.0/downsample/downsample.0/Conv"), "layer2.0.downsample.0");
  EXPECT_EQ(module_path("/features/features.0/features.0.1/Conv_1"), "features.0.1");
  EXPECT_EQ(module_path("/conv1/Conv"), "conv1");
  EXPECT_EQ(module_path("/Add"), "");
  EXPECT_EQ(module_path("node_Conv_292"), "");
  EXPECT_EQ(module_path(""), "");
}

TEST(PytorchNames, AFoldedNetworksTensors) {
  std::map<std::string, std::string> names;
  for (const PytorchTensor& t : pytorch_tensors(fixture("resnet20-cifar10-bnfolded.onnx")))
    names[t.tensor] = t.name;
  EXPECT_EQ(names.size(), 2U * 19 + 2);
  EXPECT_EQ(names["onnx::Conv_253"], "conv1.weight");
  EXPECT_EQ(names["onnx::Conv_254"], "conv1.bias");
  EXPECT_EQ(names["onnx::Conv_256"], "layer1.0.conv1.weight");
  EXPECT_EQ(names["linear.weight"], "linear.weight");
  std::set<std::string> distinct;
  for (const auto& [file, name] : names) distinct.insert(name);
  EXPECT_EQ(distinct.size(), names.size());
}

TEST(PytorchNames, TheNewerExportersMetadataTellsTheModule) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").initializer(floats("val_3", {2, 1}, {1, 2}));
  b.node("PRelu", {"x", "val_3"}, {"y"}, {}, "node_prelu");
  ::onnx::StringStringEntryProto entry;
  entry.set_key("pkg.torch.onnx.name_scopes");
  entry.set_value("['', 'block', 'block.0', 'block.0.act', 'prelu']");
  auto* node = b.model.mutable_graph()->mutable_node(0);
  // Parsed, so that it is a known field where the schema has it, and an unknown one elsewhere.
  google::protobuf::UnknownFieldSet fields;
  fields.AddLengthDelimited(9, entry.SerializeAsString());
  std::string bytes;
  ASSERT_TRUE(fields.SerializeToString(&bytes) && node->MergeFromString(bytes));
  const std::vector<PytorchTensor> found = pytorch_tensors(Model::parse(b.bytes(), "net.onnx"));
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].name, "block.0.act.weight");
  EXPECT_EQ(found[0].shape, (Shape{2}));
}

TEST(PytorchNames, KeepsModuleNamesAndUndoesTransposes) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").initializer(floats("onnx::MatMul_7", {2, 3}, {1, 2, 3, 4, 5, 6}));
  b.initializer(floats("fc.bias", {3}, {1, 2, 3})).initializer(floats("conv.weight_bias", {3}, {1, 2, 3}));
  b.node("MatMul", {"x", "onnx::MatMul_7"}, {"a"}, {}, "/fc/MatMul")
      .node("Add", {"fc.bias", "a"}, {"b"}, {}, "/fc/Add");
  b.node("Gemm", {"b", "onnx::Gemm_9", "conv.weight_bias"}, {"y"}, {}, "node_7");
  b.initializer(floats("onnx::Gemm_9", {3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}));
  std::map<std::string, PytorchTensor> found;
  for (const PytorchTensor& t : pytorch_tensors(Model::parse(b.bytes(), "net.onnx"))) found[t.tensor] = t;
  EXPECT_EQ(found["onnx::MatMul_7"].name, "fc.weight");
  EXPECT_TRUE(found["onnx::MatMul_7"].transposed);
  EXPECT_EQ(found["onnx::MatMul_7"].shape, (Shape{3, 2}));
  EXPECT_EQ(found["conv.weight_bias"].name, "conv.bias");
  EXPECT_EQ(found["onnx::Gemm_9"].name, "onnx::Gemm_9");  // nothing to derive it from
}

}  // namespace
}  // namespace halftone::onnx
