#include "onnx/model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "build_model.h"
#include "onnx/model_contents.h"

namespace halftone::onnx {
namespace {

using test::Attr;
using test::error_of;
using test::floats;
using test::int64s;
using test::ModelBuilder;
using test::TemporaryFolder;
using test::TensorProto;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// x -> Transpose -> y, and the tensor as an initializer that nobody reads.
ModelBuilder with_tensor(const TensorProto& t) {
  ModelBuilder b;
  b.input("x", {"N", "3"}).output("y", {"3", "N"}).node("Transpose", {"x"}, {"y"}).initializer(t);
  return b;
}
Model parse(const ModelBuilder& b) {
  return Model::parse(b.bytes(), "net.onnx");
}
std::string damage(const TensorProto& t) {
  return error_of([&] { parse(with_tensor(t)); });
}
TensorProto typed(int type, const std::vector<int64_t>& dims) {
  TensorProto t;
  t.set_name("t");
  t.set_data_type(type);
  for (const int64_t d : dims) t.add_dims(d);
  return t;
}

TEST(Model, TellsWhatTheFileContains) {
  ModelBuilder b(15);
  b.input("x", {"batch", "3", "", "8"}).input("w", {"2"}).input("ids", {"batch"}, TensorProto::INT64);
  b.initializer(floats("w", {2}, {1, 2})).open_output("y");
  b.node("Constant", {}, {"c"}, {{"value", int64s("", {4, 5})}})
      .node("Custom", {"x", "", "c"}, {"y", ""}, {}, "");
  const Model m = parse(b);
  EXPECT_EQ(m.path(), "net.onnx");
  EXPECT_EQ(m.opset(), 15);
  EXPECT_EQ(m.contents().proto.ir_version(), 8);
  ASSERT_EQ(m.inputs().size(), 2U);  // w is an initializer
  EXPECT_EQ(m.inputs()[0].name, "x");
  EXPECT_EQ(m.inputs()[0].type, "float");
  ASSERT_EQ(m.inputs()[0].dims.size(), 4U);
  EXPECT_EQ(m.inputs()[0].dims[0].param, "batch");
  EXPECT_EQ(m.inputs()[0].dims[0].value, -1);
  EXPECT_EQ(m.inputs()[0].dims[1].value, 3);
  EXPECT_EQ(m.inputs()[0].dims[2].value, -1);
  EXPECT_EQ(m.inputs()[1].dtype, DType::kI64);
  ASSERT_EQ(m.outputs().size(), 1U);
  EXPECT_FALSE(m.outputs()[0].has_shape);
  ASSERT_EQ(m.nodes().size(), 2U);
  EXPECT_EQ(m.nodes()[1].name, "Custom#1");
  EXPECT_EQ(m.nodes()[1].inputs, (std::vector<std::string>{"x", "", "c"}));
  EXPECT_TRUE(m.is_initializer("w"));
  EXPECT_FALSE(m.is_initializer("c"));
  EXPECT_EQ(to_int64s(m.tensor("c")), (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(m.find_tensor("y"), nullptr);
}

TEST(Model, ReadsEveryEncoding) {
  const auto first = [](const TensorProto& t) {
    const ModelBuilder b = with_tensor(t);
    return parse(b).tensor("t");
  };
  TensorProto t = typed(TensorProto::FLOAT, {2});
  t.add_float_data(1.5F), t.add_float_data(-2);
  EXPECT_EQ(first(t).as<float>()[1], -2);
  const float raw[] = {3.5F, 4.5F};
  t = typed(TensorProto::FLOAT, {2});
  t.set_raw_data(raw, sizeof raw);
  EXPECT_EQ(first(t).as<float>()[1], 4.5F);
  t = typed(TensorProto::DOUBLE, {1});
  t.add_double_data(0.1);
  EXPECT_EQ(first(t).as<double>()[0], 0.1);
  t = typed(TensorProto::FLOAT16, {2});
  t.add_int32_data(0x3C00), t.add_int32_data(0xC000);
  EXPECT_EQ(converted(first(t), DType::kF32).as<float>()[0], 1);
  EXPECT_EQ(converted(first(t), DType::kF32).as<float>()[1], -2);
  t = typed(TensorProto::BFLOAT16, {1});
  t.set_raw_data("\x80\x3F", 2);
  EXPECT_EQ(converted(first(t), DType::kF32).as<float>()[0], 1);
  t = typed(TensorProto::INT64, {});
  t.add_int64_data(-5);
  EXPECT_EQ(first(t).as<int64_t>()[0], -5);
  t = typed(TensorProto::INT32, {1});
  t.add_int32_data(-5);
  EXPECT_EQ(first(t).as<int32_t>()[0], -5);
  t = typed(TensorProto::UINT8, {1});
  t.add_int32_data(200);
  EXPECT_EQ(first(t).as<uint8_t>()[0], 200);
  t = typed(TensorProto::BOOL, {3});
  t.set_raw_data(std::string("\0\x01\x07", 3));
  EXPECT_EQ(to_int64s(first(t)), (std::vector<int64_t>{0, 1, 1}));
  t = typed(TensorProto::FLOAT, {0, 7});
  EXPECT_EQ(first(t).shape(), (Shape{0, 7}));
}

TEST(Model, ReadsConstantNodesOfEveryKind) {
  ModelBuilder b;
  b.input("x", {"N"}).open_output("y").node("Identity", {"x"}, {"y"});
  Attr list("value_floats", 0);
  list.proto.set_type(::onnx::AttributeProto::FLOATS);
  list.proto.clear_i();
  list.proto.add_floats(1.5F), list.proto.add_floats(2.5F);
  b.node("Constant", {}, {"f"}, {{"value_float", 0.5F}}).node("Constant", {}, {"i"}, {{"value_int", 7}});
  b.node("Constant", {}, {"is"}, {{"value_ints", std::vector<int64_t>{1, 2}}})
      .node("Constant", {}, {"fs"}, {list});
  const Model m = parse(b);
  EXPECT_EQ(m.tensor("f").as<float>()[0], 0.5F);
  EXPECT_EQ(m.tensor("f").shape(), Shape{});
  EXPECT_EQ(m.tensor("i").as<int64_t>()[0], 7);
  EXPECT_EQ(to_int64s(m.tensor("is")), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(m.tensor("fs").as<float>()[1], 2.5F);
}

TEST(Model, RefusesTensorsWhoseSizeContradictsTheirData) {
  TensorProto t = floats("t", {3}, {1, 2});
  EXPECT_TRUE(contains(damage(t), "net.onnx: tensor 't' (3 float) has 8 bytes of data, expected 12"))
      << damage(t);
  t = floats("t", {3}, {1, 2}, false);
  EXPECT_TRUE(contains(damage(t), "has 2 elements of data, expected 3")) << damage(t);
  t = floats("t", {1 << 20, 1 << 20}, {1});
  EXPECT_TRUE(contains(damage(t), "expected 4398046511104")) << damage(t);
  t = floats("t", {int64_t{1} << 40, int64_t{1} << 40}, {1});
  EXPECT_TRUE(contains(damage(t), "impossible shape")) << damage(t);
  t = floats("t", {-1}, {1});
  EXPECT_TRUE(contains(damage(t), "impossible shape -1")) << damage(t);
  t = floats("t", {int64_t{1} << 62}, {1});
  EXPECT_TRUE(contains(damage(t), "impossible shape")) << damage(t);
  t = typed(TensorProto::FLOAT, {1 << 30});
  EXPECT_TRUE(contains(damage(t), "has 0 elements of data")) << damage(t);
  t = typed(TensorProto::INT64, {2});
  t.add_int32_data(1), t.add_int32_data(1);
  EXPECT_TRUE(contains(damage(t), "has 0 elements of data")) << damage(t);
}

TEST(Model, TypesWithoutTensorsMatterOnlyWhereTheyAreUsed) {
  TensorProto t = typed(TensorProto::STRING, {1});
  t.add_string_data("label");
  const Model m = parse(with_tensor(t));
  EXPECT_TRUE(contains(error_of([&] { m.tensor("t"); }), "is of type string"));
  const Model unknown = parse(with_tensor(typed(99, {1})));
  EXPECT_TRUE(contains(error_of([&] { unknown.tensor("t"); }), "is of type type 99"));
}

TEST(Model, RefusesWhatIsNoOnnxFile) {
  EXPECT_TRUE(contains(error_of([] { Model::parse("", "a.onnx"); }), "a.onnx: this is no ONNX file"));
  EXPECT_TRUE(contains(error_of([] { Model::parse("\xff\xff\xff", "a.onnx"); }),
                       "a.onnx: this is no ONNX file, or it is damaged"));
  EXPECT_TRUE(contains(error_of([] { Model::load("no/such/file.onnx"); }), "no/such/file.onnx"));
  const std::string whole = with_tensor(floats("t", {2}, {1, 2})).bytes();
  EXPECT_TRUE(
      contains(error_of([&] { Model::parse(whole.substr(0, whole.size() - 9), "a.onnx"); }), "a.onnx"));
}

TEST(Model, RefusesBrokenGraphs) {
  const auto broken = [](const ModelBuilder& b) { return error_of([&] { parse(b); }); };
  ModelBuilder cycle;
  cycle.input("x", {"N"}).open_output("b").node("Add", {"x", "b"}, {"a"}).node("Identity", {"a"}, {"b"});
  EXPECT_TRUE(contains(broken(cycle), "a cycle through node '/a/Add'"));
  ModelBuilder twice;
  twice.input("x", {"N"}).open_output("a").node("Identity", {"x"}, {"a"}).node("Neg", {"x"}, {"a"});
  EXPECT_TRUE(contains(broken(twice), "'a' is defined twice"));
  ModelBuilder undefined;
  undefined.input("x", {"N"}).open_output("a").node("Add", {"x", "ghost"}, {"a"});
  EXPECT_TRUE(contains(broken(undefined), "reads 'ghost', which nothing defines"));
  ModelBuilder mute;
  mute.input("a", {"1"}).output("b").node("Relu", {"a"}, {"b"}).node("Constant", {}, {}, {}, "mute");
  EXPECT_TRUE(contains(broken(mute), "node 'mute' (Constant) has no output"));
  ModelBuilder no_output;
  no_output.input("x", {"N"}).node("Neg", {"x"}, {"a"});
  EXPECT_TRUE(contains(broken(no_output), "no outputs"));
  ModelBuilder ghost_output;
  ghost_output.input("x", {"N"}).open_output("b").node("Neg", {"x"}, {"a"});
  EXPECT_TRUE(contains(broken(ghost_output), "nothing defines the graph's output 'b'"));
  ModelBuilder same_initializer;
  same_initializer.input("x", {"N"}).open_output("a").node("Neg", {"x"}, {"a"});
  same_initializer.initializer(floats("w", {1}, {1})).initializer(floats("w", {1}, {1}));
  EXPECT_TRUE(contains(broken(same_initializer), "'w' is defined twice"));
}

TEST(Model, NamesAllThatStandsInTheWay) {
  ModelBuilder b(6);
  b.input("x", {"N"}).open_output("a").node("Neg", {"x"}, {"a"});
  b.model.mutable_graph()->add_sparse_initializer()->mutable_values()->set_name("sparse");
  const std::vector<Problem> problems = parse(b).problems();
  ASSERT_EQ(problems.size(), 2U);
  EXPECT_TRUE(contains(problems[0].reason, "opset 6 is outside 7 to 24"));
  EXPECT_TRUE(contains(problems[1].reason, "'sparse' is sparse"));
}

TEST(Model, ASmallFileCannotAskForALotOfMemory) {
  ModelBuilder b = with_tensor(floats("t", {1}, {1}));
  std::string bytes = b.bytes();
  // A graph of 500,000 empty nodes, 2 bytes each, merges into the first one.
  std::string nodes;
  for (int i = 0; i < 500'000; ++i) nodes += std::string("\x0A\x00", 2);
  bytes += '\x3A';  // ModelProto.graph
  for (size_t n = nodes.size(); n != 0; n >>= 7)
    bytes += static_cast<char>((n & 127U) | (n > 127 ? 128U : 0U));
  bytes += nodes;
  EXPECT_TRUE(contains(error_of([&] { Model::parse(bytes, "bomb.onnx"); }), "bomb.onnx: its"))
      << error_of([&] { Model::parse(bytes, "bomb.onnx"); });
}

// ---- external data

TensorProto external(const std::string& location, const std::string& offset, const std::string& length,
                     std::vector<int64_t> dims = {2}) {
  TensorProto t = typed(TensorProto::FLOAT, dims);
  t.set_data_location(TensorProto::EXTERNAL);
  const auto add = [&](const char* key, const std::string& value) {
    if (value.empty()) return;
    auto* e = t.add_external_data();
    e->set_key(key);
    e->set_value(value);
  };
  add("location", location);
  add("offset", offset);
  add("length", length);
  return t;
}

class ExternalData : public testing::Test {
 protected:
  ExternalData() {
    std::filesystem::create_directories(folder_ / "model/sub");
    std::filesystem::create_directories(folder_ / "outside");
    const float numbers[] = {1, 2, 3, 4};
    const std::string bytes(reinterpret_cast<const char*>(numbers), sizeof numbers);
    write_file_atomically(folder_ / "model/w.bin", bytes);
    write_file_atomically(folder_ / "model/sub/w.bin", bytes);
    write_file_atomically(folder_ / "outside/w.bin", bytes);
    std::filesystem::create_symlink(folder_ / "outside/w.bin", folder_ / "model/link.bin");
    std::filesystem::create_directory_symlink(folder_ / "outside", folder_ / "model/link");
    std::filesystem::create_symlink("w.bin", folder_ / "model/inner.bin");
  }
  float second(const TensorProto& t) {
    write_file_atomically(folder_ / "model/net.onnx", with_tensor(t).bytes());
    return Model::load(folder_ / "model/net.onnx").tensor("t").as<float>()[1];
  }
  std::string refusal(const TensorProto& t) {
    return error_of([&] { second(t); });
  }
  TemporaryFolder folder_;
};

TEST_F(ExternalData, IsReadAtItsOffset) {
  EXPECT_EQ(second(external("w.bin", "8", "8")), 4);
  EXPECT_EQ(second(external("w.bin", "", "")), 2);
  EXPECT_EQ(second(external("sub/w.bin", "4", "8")), 3);
  EXPECT_EQ(second(external("./w.bin", "4", "8")), 3);
  EXPECT_EQ(second(external("inner.bin", "4", "8")), 3);
}

TEST_F(ExternalData, NeverLeavesTheModelsFolder) {
  EXPECT_TRUE(contains(refusal(external("../outside/w.bin", "", "")), "leaves it by '..'"));
  EXPECT_TRUE(contains(refusal(external("sub/../w.bin", "", "")), "leaves it by '..'"));
  EXPECT_TRUE(contains(refusal(external(folder_ / "outside/w.bin", "", "")), "is an absolute path"));
  EXPECT_TRUE(contains(refusal(external("link.bin", "", "")), "is a symbolic link that leaves it"));
  EXPECT_TRUE(contains(refusal(external("link/w.bin", "", "")), "is a symbolic link that leaves it"));
  EXPECT_TRUE(contains(refusal(external("", "", "")), "has no location"));
  EXPECT_TRUE(contains(refusal(external(std::string("w.bin\0x", 7), "", "")), "zero byte"));
}

TEST_F(ExternalData, FitsItsFile) {
  EXPECT_TRUE(contains(refusal(external("none.bin", "", "")), "cannot be opened"));
  EXPECT_TRUE(contains(refusal(external("sub", "", "")), "is not a regular file"));
  EXPECT_TRUE(contains(refusal(external("w.bin", "12", "")), "has only 16 bytes"));
  EXPECT_TRUE(contains(refusal(external("w.bin", "9223372036854775807", "")), "has only 16 bytes"));
  EXPECT_TRUE(contains(refusal(external("w.bin", "-4", "")), "expected a number >= 0"));
  EXPECT_TRUE(contains(refusal(external("w.bin", "4x", "")), "expected a number >= 0"));
  EXPECT_TRUE(contains(refusal(external("w.bin", "", "12")), "has length 12, expected 8"));
  EXPECT_TRUE(contains(refusal(external("w.bin", "", "", {1 << 30})), "has only 16 bytes"));
}

}  // namespace
}  // namespace halftone::onnx
