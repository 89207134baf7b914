#include "onnx/sharing.h"

#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "onnx/build_model.h"
#include "onnx/external_files.h"
#include "onnx/pytorch_names.h"
#include "onnx/roles.h"
#include "onnx/save.h"

namespace halftone::onnx {
namespace {

using namespace test;
using Names = std::vector<std::string>;

TensorProto two(const std::string& name, float first = 1) {
  return floats(name, {2}, {first, first + 1});
}
Model parsed(const ModelBuilder& b) {
  return Model::parse(b.bytes(), "net.onnx");
}
Names inputs_of(const Model& m, const std::string& node) {
  for (const NodeInfo& n : m.nodes())
    if (n.name == node) return n.inputs;
  return {};
}
std::vector<float> values(const Model& m, const std::string& name) {
  const Tensor t = m.tensor(name);
  return {t.as<float>().begin(), t.as<float>().end()};
}

// Two norms behind each other; what they read is given.
ModelBuilder norms(const Names& first, const Names& second) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y");
  const auto with = [](const std::string& x, const Names& rest) {
    Names all{x};
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
  };
  b.node("BatchNormalization", with("x", first), {"a"}, {}, "n1");
  b.node("BatchNormalization", with("a", second), {"y"}, {}, "n2");
  return b;
}

TEST(Sharing, ReadersAreFoundThroughViewsAndDeadNodesAreNone) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").initializer(two("t")).initializer(int64s("shape", {1, 2}));
  b.node("Identity", {"t"}, {"i"}).node("Identity", {"i"}, {"ii"}).node("Reshape", {"t", "shape"}, {"r"});
  b.node("Cast", {"t"}, {"c"}, {{"to", int64_t{1}}});
  b.node("Add", {"x", "ii"}, {"a"}).node("Mul", {"a", "r"}, {"m"}).node("Add", {"m", "c"}, {"y"});
  b.node("Sub", {"x", "t"}, {"nobody"});
  const Model m = parsed(b);
  const Sharing sharing(m);
  const std::vector<Use>& uses = sharing.uses("t");
  ASSERT_EQ(uses.size(), 3U);
  EXPECT_EQ(uses[0].value, "ii");
  EXPECT_TRUE(uses[0].direct && uses[0].same_elements);
  EXPECT_EQ(uses[1].value, "r");
  EXPECT_FALSE(uses[1].direct || uses[1].same_elements);
  EXPECT_EQ(uses[2].value, "c");
  EXPECT_TRUE(!uses[2].direct && uses[2].same_elements);
  EXPECT_EQ(sharing.aliases("t"), (Names{"i", "ii"}));
  EXPECT_EQ(sharing.uses("shape").size(), 1U);
}

TEST(OwnStatistics, NothingChangesWhereNothingIsShared) {
  ModelBuilder b = norms({"s1", "b1", "m1", "v1"}, {"s1", "b1", "m2", "v2"});
  for (const char* name : {"s1", "b1", "m1", "v1", "m2", "v2"}) b.initializer(two(name));
  const Model m = parsed(b);
  EXPECT_EQ(&with_own_statistics(m, true).contents(), &m.contents());
}

TEST(OwnStatistics, AScaleThatIsAVarianceToo) {
  ModelBuilder b = norms({"one", "zero", "zero", "one"}, {"one", "zero", "zero", "one"});
  b.initializer(two("one")).initializer(two("zero", 0));
  Names notes;
  const Model m = with_own_statistics(parsed(b), true, &notes);
  const Names first = inputs_of(m, "n1");
  const Names second = inputs_of(m, "n2");
  EXPECT_EQ(first[1], "one");
  EXPECT_EQ(second[2], "zero");
  const std::set<std::string> own{first[3], first[4], second[3], second[4], "one", "zero"};
  EXPECT_EQ(own.size(), 6U);
  EXPECT_EQ(values(m, second[4]), (std::vector<float>{1, 2}));
  EXPECT_EQ(m.origin(second[4]), "one");
  EXPECT_EQ(m.origin("one"), "one");
  EXPECT_EQ(notes.size(), 2U);
  std::map<std::string, Role> roles = tensor_roles(m);
  EXPECT_EQ(roles.at("one"), Role::kParameter);
  EXPECT_EQ(roles.at(first[4]), Role::kState);
}

// Norms in the PyTorch way: what keeps the name and what the others are called.
TEST(OwnStatistics, AreCalledAfterTheirNorm) {
  ModelBuilder b =
      norms({"p.weight", "p.bias", "q.running_mean", "v"}, {"q.weight", "q.bias", "q.running_mean", "v"});
  for (const char* name : {"p.weight", "p.bias", "q.weight", "q.bias", "q.running_mean", "v"})
    b.initializer(two(name));
  const Model file = parsed(b);
  EXPECT_EQ(&with_own_statistics(file, false).contents(), &file.contents()) << "nothing moves in evaluation";
  const Model m = with_own_statistics(file, true);
  EXPECT_EQ(inputs_of(m, "n1"), (Names{"x", "p.weight", "p.bias", "p.running_mean", "v"}));
  EXPECT_EQ(inputs_of(m, "n2"), (Names{"a", "q.weight", "q.bias", "q.running_mean", "q.running_var"}));
}

TEST(OwnStatistics, TakeThePlaceOfIdentityNodes) {
  ModelBuilder b = norms({"s", "b", "m", "v"}, {"s", "b", "m2", "v2"});
  b.node("Identity", {"m"}, {"m1"}).node("Identity", {"m1"}, {"m2"}).node("Identity", {"v"}, {"v2"});
  for (const char* name : {"s", "b", "m", "v"}) b.initializer(two(name));
  // A node's index in the file plays no role.
  b.model.mutable_graph()->mutable_node()->SwapElements(0, 3);
  const Model m = with_own_statistics(parsed(b), true);
  EXPECT_EQ(inputs_of(m, "n2"), (Names{"a", "s", "b", "m2", "v2"}));
  EXPECT_EQ(m.nodes().size(), 2U) << "no Identity is left";
  EXPECT_TRUE(m.is_initializer("m2") && m.is_initializer("v2"));
  EXPECT_EQ(m.origin("m2"), "m");
}

// A branch reads the Identity node's output: the written file needs it there.
TEST(OwnStatistics, LeaveTheIdentityNodesThatBranchesRead) {
  ModelBuilder b = norms({"s", "b", "m", "v"}, {"s", "b", "m2", "v2"});
  b.node("Identity", {"m"}, {"m2"})
      .input("c", {"1"}, TensorProto::BOOL)
      .node("If", {"c"}, {"z"}, {}, "choice")
      .open_output("z");
  for (const char* name : {"s", "b", "m", "v", "v2"}) b.initializer(two(name));
  for (const std::string op : {"Add", "Sub"}) {
    auto* branch = b.model.mutable_graph()->mutable_node(3)->add_attribute();
    branch->set_name(op == "Add" ? "then_branch" : "else_branch");
    branch->set_type(AttributeProto::GRAPH);
    auto* node = branch->mutable_g()->add_node();
    node->set_op_type(op);
    for (const char* read : {"x", "m2"}) node->add_input(read);
    node->add_output("r");
    branch->mutable_g()->add_output()->set_name("r");
  }
  const Model m = with_own_statistics(parsed(b), true);
  const Names read = inputs_of(m, "n2");
  EXPECT_TRUE(read[3] != "m2" && m.is_initializer(read[3])) << read[3];
  EXPECT_EQ(inputs_of(m, "choice/then_branch/Add#0"), (Names{"x", "m2"}));
}

TEST(OwnStatistics, ATensorThatIsAnOutputOrAnOperandToo) {
  ModelBuilder b = norms({"s", "b", "m", "v"}, {"s", "b", "m2", "v2"});
  b.open_output("m").node("Mul", {"x", "v"}, {"z"}).open_output("z");
  for (const char* name : {"s", "b", "m", "v", "m2", "v2"}) b.initializer(two(name));
  const Model m = with_own_statistics(parsed(b), false);
  EXPECT_NE(inputs_of(m, "n1")[3], "m");
  EXPECT_NE(inputs_of(m, "n1")[4], "v");
  EXPECT_EQ(inputs_of(m, "n2")[3], "m2");
}

// Elements that stay in the file, are in the message, in a Constant node or beside the file; an old file
// lists initializers as inputs.
TEST(OwnStatistics, AreWrittenWhateverTheTensorWas) {
  TemporaryFolder folder;
  write_file_atomically(folder / "w.bin", std::string(8, '\0') + std::string("\0\0\x80\x3f\0\0\0\x40", 8));
  TensorProto outside = two("outside");
  outside.clear_raw_data();
  outside.set_data_location(TensorProto::EXTERNAL);
  for (const auto& [key, value] : {std::pair{"location", "w.bin"}, {"offset", "8"}, {"length", "8"}}) {
    auto* entry = outside.add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }
  for (const char* shared : {"inside", "typed", "constant", "outside"}) {
    SCOPED_TRACE(shared);
    ModelBuilder b;
    b.node("Constant", {}, {"constant"}, {{"value", two("")}});
    const ModelBuilder rest = norms({"s", "b", "m", shared}, {"s", "b", "m2", shared});
    for (const auto& node : rest.model.graph().node()) *b.model.mutable_graph()->add_node() = node;
    b.input("x", {"N", "2"}).open_output("y");
    b.initializer(two("inside")).initializer(floats("typed", {2}, {1, 2}, false)).initializer(outside);
    for (const char* name : {"s", "b", "m", "m2"}) b.initializer(two(name));
    b.model.set_ir_version(3);
    for (const auto& t : b.model.graph().initializer()) b.input(t.name(), {"2"});
    write_file_atomically(folder / "net.onnx", b.bytes());
    const Model m = with_own_statistics(Model::load(folder / "net.onnx"), true);
    const std::string own = inputs_of(m, "n2")[4];
    ASSERT_NE(own, shared);
    EXPECT_EQ(values(m, own), (std::vector<float>{1, 2}));
    std::map<std::string, Tensor> changed;
    changed[own] = Tensor(DType::kF32, {2});
    changed[own].as<float>()[1] = 7;
    save(m, changed, folder / (std::string(shared) + "/net.onnx"));
    const Model written = Model::load(folder / (std::string(shared) + "/net.onnx"));
    EXPECT_EQ(values(written, own), (std::vector<float>{0, 7}));
    EXPECT_EQ(values(written, shared), (std::vector<float>{1, 2}));
    EXPECT_EQ(inputs_of(written, "n1")[4], shared);
    EXPECT_EQ(inputs_of(written, "n2")[4], own);
    EXPECT_EQ(written.inputs().size(), 1U) << "initializers are no inputs";
    ModelProto proto;
    ASSERT_TRUE(proto.ParseFromString(read_file(folder / (std::string(shared) + "/net.onnx"))));
    EXPECT_EQ(proto.graph().input_size(), proto.graph().initializer_size() + 1) << "version 3 lists them";
  }
}

ModelBuilder two_convolutions(const std::string& b1, const std::string& b2, const std::string& w2 = "w2") {
  ModelBuilder b;
  b.input("x", {"N", "2", "4", "4"}).open_output("y");
  for (const char* w : {"w1", "w2"}) b.initializer(floats(w, {2, 2, 1, 1}, {1, 2, 3, 4}));
  b.initializer(two("b"));
  b.node("Identity", {"b"}, {"i"});
  b.node("Conv", {"x", "w1", b1}, {"c"}, {}, "c1").node("Conv", {"c", w2, b2}, {"y"}, {}, "c2");
  return b;
}

TEST(OwnBiases, ConvolutionsWithOneBias) {
  for (const char* second : {"b", "i"}) {
    const Model file = parsed(two_convolutions("b", second));
    EXPECT_TRUE(can_restore(file, Sharing(file), "c1") && can_restore(file, Sharing(file), "c2"));
    const Model both = with_own_biases(file, {"c1", "c2"});
    EXPECT_EQ(inputs_of(both, "c1")[2], "b");
    EXPECT_EQ(inputs_of(both, "c2")[2], second == std::string("b") ? "w2_bias" : "i");
    const Model one = with_own_biases(file, {"c1"});
    EXPECT_EQ(inputs_of(one, "c1")[2], "w1_bias");
    EXPECT_EQ(inputs_of(one, "c2")[2], second);
    EXPECT_EQ(values(one, "w1_bias"), (std::vector<float>{1, 2}));
  }
  const Model own = parsed(two_convolutions("b", ""));
  EXPECT_EQ(&with_own_biases(own, {"c1", "c2"}).contents(), &own.contents());
}

TEST(CanRestore, NotASharedWeightNorOneBehindOtherNodes) {
  const Model shared = parsed(two_convolutions("b", "b", "w1"));
  EXPECT_FALSE(can_restore(shared, Sharing(shared), "c1"));
  ModelBuilder b = two_convolutions("b", "b", "w3");
  b.node("Transpose", {"w2"}, {"w3"}, {{"perm", std::vector<int64_t>{1, 0, 2, 3}}});
  const Model behind = parsed(b);
  EXPECT_TRUE(can_restore(behind, Sharing(behind), "c1"));
  EXPECT_FALSE(can_restore(behind, Sharing(behind), "c2"));
  EXPECT_FALSE(can_restore(behind, Sharing(behind), "c3"));
  b.model.mutable_graph()->mutable_node(1)->set_name("c2");
  const Model same_names = parsed(b);
  EXPECT_FALSE(can_restore(same_names, Sharing(same_names), "c2"));
}

TEST(FrozenBy, NamesAliasesAndTheFilesNames) {
  ModelBuilder b = norms({"n1.weight", "n1.bias", "mean", "var"}, {"n2.weight", "alias", "mean", "var2"});
  b.node("Identity", {"n1.bias"}, {"alias"});
  for (const char* name : {"n1.weight", "n1.bias", "mean", "var", "n2.weight", "var2", "odd[1]"})
    b.initializer(two(name));
  const Model m = with_own_statistics(parsed(b), true);
  const Sharing sharing(m);
  const auto frozen = [&](const std::string& pattern) { return frozen_by(m, sharing, {{}, {pattern}}); };
  EXPECT_EQ(frozen("n2.w*").tensors, (std::set<std::string>{"n2.weight"}));
  EXPECT_EQ(frozen("n2.w*").norms.size(), 1U);
  EXPECT_EQ(frozen("mean").tensors.size(), 2U) << "both of those that the file has as one";
  EXPECT_EQ(frozen("mean").norms.size(), 2U);
  EXPECT_EQ(frozen("ali?s").tensors, (std::set<std::string>{"n1.bias"}));
  EXPECT_EQ(frozen("ali?s").norms.size(), 2U);
  EXPECT_EQ(frozen("odd[1]").tensors.size(), 1U);
  EXPECT_TRUE(frozen("n1.wieght").tensors.empty());
  EXPECT_TRUE(frozen_by(m, sharing, {{"alias"}, {"*bias"}}).tensors.empty()) << "one tensor, one choice";
}

TEST(PytorchNames, MergedTensorsHaveBothNames) {
  ModelBuilder b = norms({"p.weight", "p.bias", "m", "v"}, {"q.weight", "q.bias", "m2", "v2"});
  b.node("Identity", {"p.weight"}, {"q.weight"}).node("Identity", {"p.bias"}, {"q.bias"});
  b.node("Identity", {"m"}, {"/Identity_output_0"});
  for (const char* name : {"p.weight", "p.bias", "m", "v", "m2", "v2"}) b.initializer(two(name));
  std::set<std::string> names;
  for (const PytorchTensor& t : pytorch_tensors(parsed(b))) names.insert(t.name);
  EXPECT_EQ(names, (std::set<std::string>{"m", "m2", "p.bias", "p.weight", "q.bias", "q.weight", "v", "v2"}));
}

// A norm's scale, shift, mean or variance, read directly or through Identity nodes, some of which others read
// too: whatever name of it --freeze has, the norm is frozen.
TEST(FrozenBy, ANormByAnyNameOfAnyOfItsTensors) {
  std::mt19937 random(7);
  const auto draw = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int trial = 0; trial < 200; ++trial) {
    const size_t role = static_cast<size_t>(draw(4));
    Names tensors{"s", "b", "m", "v"};
    Names known{"shared"};  // the names on the norm's way to the tensor
    ModelBuilder b;
    b.input("x", {"N", "2"}).open_output("y").initializer(two("shared"));
    for (const int end = draw(4); static_cast<int>(known.size()) <= end;) {
      const std::string next = "q" + std::to_string(known.size());
      b.node("Identity", {known.back()}, {next});
      known.push_back(next);
    }
    for (size_t i = 0; i < tensors.size(); ++i)
      if (i != role) b.initializer(two(tensors[i]));
    tensors[role] = known.back();
    b.node("BatchNormalization", {"x", tensors[0], tensors[1], tensors[2], tensors[3]}, {"h0"}, {}, "norm");
    const int readers = draw(3);  // of any of the names, straight or through one more Identity node
    for (int r = 0; r < readers; ++r) {
      std::string read = known[static_cast<size_t>(draw(static_cast<int>(known.size())))];
      if (draw(2) == 1) {
        b.node("Identity", {read}, {"beside" + std::to_string(r)});
        read = "beside" + std::to_string(r);
      }
      b.node("Add", {"h" + std::to_string(r), read}, {"h" + std::to_string(r + 1)});
    }
    b.node("Relu", {"h" + std::to_string(readers)}, {"y"});
    const Model m = with_own_statistics(parsed(b), true);
    for (const std::string& name : known) {
      TrainFreeze choice;
      choice.freeze = {name};
      const Frozen frozen = frozen_by(m, Sharing(m), choice);
      ASSERT_EQ(frozen.norms.size(), 1U)
          << "trial " << trial << ", input " << role + 1 << ", --freeze " << name;
      EXPECT_EQ(m.nodes()[*frozen.norms.begin()].name, "norm");
    }
    TrainFreeze other;
    other.freeze = {role == 0 ? "v" : "s"};
    EXPECT_EQ(frozen_by(m, Sharing(m), other).norms.size(), 1U);
    EXPECT_TRUE(frozen_by(m, Sharing(m), TrainFreeze{{}, {"nothing"}}).norms.empty());
  }
}

// Two norms of one tensor: --train may free the one whose own name it has, and --freeze keeps the one whose
// own name it has.
TEST(FrozenBy, OwnNamesBeforeThatOfTheSharedTensor) {
  ModelBuilder b = norms({"s1", "b1", "one", "v1"}, {"s2", "b2", "two", "v2"});
  for (const char* name : {"s1", "b1", "v1", "s2", "b2", "v2", "t"}) b.initializer(two(name));
  b.node("Identity", {"t"}, {"one"})
      .node("Identity", {"t"}, {"two"})
      .node("Add", {"y", "t"}, {"z"})
      .open_output("z");
  const Model m = with_own_statistics(parsed(b), true);
  const auto frozen = [&](const Names& train, const Names& freeze) {
    Names out;
    for (const size_t n : frozen_by(m, Sharing(m), TrainFreeze{train, freeze}).norms)
      out.push_back(m.nodes()[n].name);
    return out;
  };
  EXPECT_EQ(frozen({}, {"t"}), (Names{"n1", "n2"}));
  EXPECT_EQ(frozen({"two"}, {"t"}), Names{"n1"});
  EXPECT_EQ(frozen({"*t"}, {"one"}), Names{"n1"});
  EXPECT_EQ(frozen({"t"}, {"on?"}), Names{"n1"});
}

// What a state dictionary cannot hold is refused by name, wherever it is.
TEST(PytorchTensors, RefusesWhatWouldBeLeftOut) {
  const auto net = [] {
    ModelBuilder b;
    b.input("x", {"N", "2"}).open_output("y").initializer(two("bias")).node("Add", {"x", "bias"}, {"y"});
    return b;
  };
  const auto error = [](const ModelBuilder& b) { return error_of([&] { pytorch_tensors(parsed(b)); }); };
  EXPECT_EQ(error(net()), "");
  ModelBuilder sparse = net();
  auto* t = sparse.model.mutable_graph()->add_sparse_initializer();
  *t->mutable_values() = two("thin");
  *t->mutable_indices() = int64s("", {0, 1});
  t->add_dims(2);
  EXPECT_NE(error(sparse).find("'thin' is sparse"), std::string::npos) << error(sparse);
  // A branch with a Constant node, in `g` or in `graphs`; a single number is a literal.
  for (const bool list : {false, true})
    for (const bool single : {false, true}) {
      ModelBuilder branch = net();
      branch.node("If", {"x"}, {"z"}, {}, "choice");
      auto* a = branch.model.mutable_graph()->mutable_node(1)->add_attribute();
      a->set_name("then_branch");
      a->set_type(list ? AttributeProto::GRAPHS : AttributeProto::GRAPH);
      NodeProto* constant = (list ? a->add_graphs() : a->mutable_g())->add_node();
      constant->set_op_type("Constant");
      constant->add_output("c");
      auto* value = constant->add_attribute();
      value->set_name("value");
      value->set_type(AttributeProto::TENSOR);
      *value->mutable_t() = single ? floats("", {1}, {1}) : two("");
      EXPECT_EQ(error(branch).find("'choice' (If)") != std::string::npos, !single) << error(branch);
    }
}

TEST(SharedPlaces, NamesOfOnePlaceAndPlacesThatOverlap) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "w.bin", std::string(64, '\0'));
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y");
  const auto external = [&](const std::string& name, int offset) {
    TensorProto t = two(name);
    t.clear_raw_data();
    t.set_data_location(TensorProto::EXTERNAL);
    for (const auto& [key, value] :
         {std::pair<std::string, std::string>{"location", "w.bin"}, {"offset", std::to_string(offset)}}) {
      auto* entry = t.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    b.initializer(t);
  };
  external("a", 0), external("c", 8), external("d", 16), external("b", 0), external("e", 20),
      external("f", 32);
  b.node("Sum", {"x", "a", "b", "c", "d", "e", "f"}, {"y"});
  const Names lines = shared_places(Model::parse(b.bytes(), folder / "net.onnx"));
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0],
            "'a', 'b' are the same bytes of w.bin (0 to 7): separate tensors, each with elements of its own");
  EXPECT_EQ(lines[1],
            "'d', 'e' overlap in bytes of w.bin (16 to 27): separate tensors, each with elements of its own");
}

TEST(RolesOf, WhatOnlyAnotherOutputNeeds) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").open_output("aux").initializer(two("b1")).initializer(two("b2"));
  b.initializer(two("b3"))
      .node("Add", {"x", "b1"}, {"y"})
      .node("Add", {"x", "b2"}, {"h"})
      .node("Relu", {"h"}, {"aux"});
  b.node("Add", {"x", "b3"}, {"unread"});
  std::map<std::string, std::string> reasons;
  for (const TensorRole& r : roles_of(parsed(b).with_output("y"))) reasons[r.name] = r.reason;
  EXPECT_EQ(reasons.at("b2"), "only output 'aux' depends on it");
  EXPECT_EQ(reasons.at("b3"), "no output depends on it");
}

}  // namespace
}  // namespace halftone::onnx
