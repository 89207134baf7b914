#include "onnx/save.h"

#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/full_disk.h"
#include "build_model.h"
#include "onnx/external_files.h"

namespace halftone::onnx {
namespace {

using test::error_of;
using test::floats;
using test::ModelBuilder;
using test::ModelProto;
using test::TemporaryFolder;
using test::TensorProto;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string fixture(const std::string& name) {
  return std::string(HALFTONE_TESTS_DIR) + "/fixtures/models/" + name;
}

Tensor filled(DType dtype, const Shape& shape, double first) {
  Tensor t(DType::kF64, shape);
  for (size_t i = 0; i < t.as<double>().size(); ++i) t.as<double>()[i] = first + static_cast<double>(i);
  return converted(t, dtype);
}

ModelProto read(const std::string& path) {
  ModelProto m;
  EXPECT_TRUE(m.ParseFromString(read_file(path)));
  return m;
}

bool equal(const ModelProto& a, const ModelProto& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

TEST(Save, AnUntrainedNetworkIsByteIdentical) {
  TemporaryFolder folder;
  for (const char* name : {"resnet20-cifar10.onnx", "resnet20-cifar10-bnfolded.onnx"}) {
    const Model model = Model::load(fixture(name));
    save(model, {}, folder / name);
    EXPECT_TRUE(read_file(folder / name) == read_file(fixture(name))) << name;
    // The same values again are no change either.
    std::map<std::string, Tensor> all;
    for (const TensorInfo& t : model.tensors())
      if (t.dtype == DType::kF32) all[t.name] = model.tensor(t.name);
    EXPECT_GT(all.size(), 20U);
    save(model, all, folder / name);
    EXPECT_TRUE(read_file(folder / name) == read_file(fixture(name))) << name;
  }
}

TEST(Save, NetworksOfBothExportersAreByteIdentical) {
  TemporaryFolder folder;
  int networks = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(HALFTONE_TESTS_DIR) + "/fixtures/small")) {
    const std::string path = (entry.path() / "model.onnx").string();
    if (!std::filesystem::exists(path)) continue;
    save(Model::load(path), {}, folder / "same.onnx");
    EXPECT_TRUE(read_file(folder / "same.onnx") == read_file(path)) << path;
    ++networks;
  }
  EXPECT_GT(networks, 10);
}

TEST(Save, ReplacesOnlyWhatChanged) {
  TemporaryFolder folder;
  const Model model = Model::load(fixture("resnet20-cifar10.onnx"));
  std::map<std::string, Tensor> changed;
  changed["linear.bias"] = filled(DType::kF16, {10}, 3);
  save(model, changed, folder / "out.onnx");
  ModelProto expected = read(fixture("resnet20-cifar10.onnx"));
  int replaced = 0;
  for (auto& t : *expected.mutable_graph()->mutable_initializer()) {
    if (t.name() != "linear.bias") continue;
    const Tensor wide = filled(DType::kF32, {10}, 3);
    t.set_raw_data(wide.data(), static_cast<size_t>(wide.bytes()));
    ++replaced;
  }
  EXPECT_EQ(replaced, 1);
  EXPECT_TRUE(equal(read(folder / "out.onnx"), expected));
}

TEST(Save, KeepsEncodingsAndUnknownFields) {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").node("Identity", {"x"}, {"y"});
  b.initializer(floats("raw", {2}, {1, 2})).initializer(floats("typed", {2}, {1, 2}, false));
  TensorProto half;
  half.set_name("half");
  half.set_data_type(TensorProto::FLOAT16);
  half.add_dims(2);
  half.add_int32_data(0x3C00), half.add_int32_data(0x3C00);
  b.initializer(half);
  TensorProto twice = floats("", {2}, {1, 2}, false);
  b.node("Constant", {}, {"constant"}, {{"value", twice}})
      .node("Constant", {}, {"number"}, {{"value_float", 1.0F}});
  // Fields that this schema does not know, everywhere.
  const auto unknown = [](google::protobuf::Message* m) {
    m->GetReflection()->MutableUnknownFields(m)->AddLengthDelimited(900, "kept");
  };
  unknown(&b.model);
  unknown(b.model.mutable_graph());
  unknown(b.model.mutable_graph()->mutable_initializer(0));
  unknown(b.model.mutable_graph()->mutable_node(0));
  auto* metadata = b.model.add_metadata_props();
  metadata->set_key("author");
  metadata->set_value("somebody");

  TemporaryFolder folder;
  write_file_atomically(folder / "net.onnx", b.bytes());
  for (const bool from_file : {false, true}) {
    const Model model =
        from_file ? Model::load(folder / "net.onnx") : Model::parse(b.bytes(), folder / "net.onnx");
    save(model, {}, folder / "same.onnx");
    EXPECT_EQ(read_file(folder / "same.onnx"), b.bytes());
    std::map<std::string, Tensor> changed;
    changed["raw"] = filled(DType::kF32, {2}, 5);
    changed["typed"] = filled(DType::kF32, {2}, 7);
    changed["constant"] = filled(DType::kF32, {2}, 9);
    save(model, changed, folder / "new.onnx");
    ModelProto expected = b.model;
    const float raw[] = {5, 6};
    expected.mutable_graph()->mutable_initializer(0)->set_raw_data(raw, sizeof raw);
    auto* t = expected.mutable_graph()->mutable_initializer(1);
    t->set_float_data(0, 7), t->set_float_data(1, 8);
    t = expected.mutable_graph()->mutable_node(1)->mutable_attribute(0)->mutable_t();
    t->set_float_data(0, 9), t->set_float_data(1, 10);
    EXPECT_EQ(read_file(folder / "new.onnx"), expected.SerializeAsString());
  }
  // Elements of other forms among them, which the whole message is written for.
  const Model model = Model::load(folder / "net.onnx");
  std::map<std::string, Tensor> changed;
  changed["raw"] = filled(DType::kF32, {2}, 5);
  changed["typed"] = filled(DType::kF32, {2}, 7);
  changed["half"] = filled(DType::kF32, {2}, 2);
  changed["constant"] = filled(DType::kF32, {2}, 9);
  changed["number"] = filled(DType::kF32, {}, 11);
  save(model, changed, folder / "new.onnx");
  ModelProto expected = b.model;
  const float raw[] = {5, 6};
  expected.mutable_graph()->mutable_initializer(0)->set_raw_data(raw, sizeof raw);
  auto* t = expected.mutable_graph()->mutable_initializer(1);
  t->set_float_data(0, 7), t->set_float_data(1, 8);
  t = expected.mutable_graph()->mutable_initializer(2);
  t->set_int32_data(0, 0x4000), t->set_int32_data(1, 0x4200);
  t = expected.mutable_graph()->mutable_node(1)->mutable_attribute(0)->mutable_t();
  t->set_float_data(0, 9), t->set_float_data(1, 10);
  expected.mutable_graph()->mutable_node(2)->mutable_attribute(0)->set_f(11);
  EXPECT_TRUE(equal(read(folder / "new.onnx"), expected));
}

TEST(Save, AValueThatTheFilesTypeCannotHoldIsAnError) {
  ModelBuilder b;
  TensorProto half;
  half.set_name("half");
  half.set_data_type(TensorProto::FLOAT16);
  half.add_dims(1);
  half.add_int32_data(0);
  b.input("x", {"N"}).open_output("y").node("Identity", {"x"}, {"y"}).initializer(half);
  const Model model = Model::parse(b.bytes(), "net.onnx");
  std::map<std::string, Tensor> changed;
  changed["half"] = filled(DType::kF32, {1}, 70000);
  TemporaryFolder folder;
  EXPECT_TRUE(
      contains(error_of([&] { save(model, changed, folder / "a.onnx"); }), "element 0 of 'half' is 70000"));
  EXPECT_FALSE(std::filesystem::exists(folder / "a.onnx"));
}

TensorProto external(const std::string& name, int64_t offset, int64_t count) {
  TensorProto t;
  t.set_name(name);
  t.set_data_type(TensorProto::FLOAT);
  t.add_dims(count);
  t.set_data_location(TensorProto::EXTERNAL);
  for (const auto& [key, value] :
       std::map<std::string, std::string>{{"location", "sub/w.bin"}, {"offset", std::to_string(offset)}}) {
    auto* e = t.add_external_data();
    e->set_key(key);
    e->set_value(value);
  }
  return t;
}

class SaveExternal : public testing::Test {
 protected:
  SaveExternal() {
    std::filesystem::create_directories(folder_ / "in/sub");
    const Tensor data = filled(DType::kF32, {1 << 19}, 0);  // 2 MiB: more than one block
    bytes_ = std::string(static_cast<const char*>(data.data()), static_cast<size_t>(data.bytes())) + "end";
    write_file_atomically(folder_ / "in/sub/w.bin", bytes_);
  }
  Model model(const std::vector<TensorProto>& tensors) {
    ModelBuilder b;
    b.input("x", {"N"}).open_output("y").node("Identity", {"x"}, {"y"});
    for (const TensorProto& t : tensors) b.initializer(t);
    write_file_atomically(folder_ / "in/net.onnx", b.bytes());
    return Model::load(folder_ / "in/net.onnx");
  }
  TemporaryFolder folder_;
  std::string bytes_;
};

TEST_F(SaveExternal, DataIsCopiedAndPatched) {
  // `middle` lies across the first MiB.
  const Model m =
      model({external("a", 0, 4), external("middle", (1 << 20) - 8, 4), external("last", (1 << 21) - 4, 1)});
  std::map<std::string, Tensor> changed;
  changed["middle"] = filled(DType::kF16, {4}, -9);
  changed["last"] = filled(DType::kF32, {1}, 1.5);
  save(m, changed, folder_ / "out/net.onnx");
  std::string expected = bytes_;
  const float middle[] = {-9, -8, -7, -6};
  const float last = 1.5F;
  expected.replace((1 << 20) - 8, sizeof middle, reinterpret_cast<const char*>(middle), sizeof middle);
  expected.replace((1 << 21) - 4, sizeof last, reinterpret_cast<const char*>(&last), sizeof last);
  EXPECT_TRUE(read_file(folder_ / "out/sub/w.bin") == expected);
  EXPECT_EQ(read_file(folder_ / "out/net.onnx"), read_file(folder_ / "in/net.onnx"));
  EXPECT_TRUE(read_file(folder_ / "in/sub/w.bin") == bytes_);
  EXPECT_EQ(Model::load(folder_ / "out/net.onnx").tensor("last").as<float>()[0], 1.5F);
}

// The tensors of an If's branches are written where they stand, and nothing else changes.
TEST(Save, WritesTheTensorsOfBranches) {
  ModelBuilder b;
  b.input("x", {"N"})
      .input("c", {}, TensorProto::BOOL)
      .open_output("y")
      .node("If", {"c"}, {"y"}, {}, "choice");
  for (const std::string name : {"then_branch", "else_branch"}) {
    auto* a = b.model.mutable_graph()->mutable_node(0)->add_attribute();
    a->set_name(name);
    a->set_type(::onnx::AttributeProto::GRAPH);
    *a->mutable_g()->add_initializer() = floats("w", {2}, {1, 2});
    auto* constant = a->mutable_g()->add_node();
    constant->set_op_type("Constant");
    constant->add_output("k");
    auto* value = constant->add_attribute();
    value->set_name("value_floats");
    value->set_type(::onnx::AttributeProto::FLOATS);
    value->add_floats(3);
    value->add_floats(4);
    auto* add = a->mutable_g()->add_node();
    add->set_op_type("Sum");
    for (const char* input : {"x", "w", "k"}) add->add_input(input);
    add->add_output("z");
    a->mutable_g()->add_output()->set_name("z");
  }
  TemporaryFolder folder;
  write_file_atomically(folder / "in.onnx", b.bytes());
  const Model model = Model::load(folder / "in.onnx");
  ASSERT_EQ(model.tensors().size(), 4U);
  EXPECT_EQ(model.tensor("choice/else_branch/k").as<float>()[1], 4.0F);
  std::map<std::string, Tensor> changed;
  changed["choice/else_branch/k"] = filled(DType::kF32, {2}, 30);
  changed["choice/then_branch/w"] = filled(DType::kF32, {2}, 10);
  save(model, changed, folder / "out.onnx");
  ModelProto expected = b.model;
  auto* choice = expected.mutable_graph()->mutable_node(0);
  *choice->mutable_attribute(0)->mutable_g()->mutable_initializer(0) = floats("w", {2}, {10, 11});
  auto* k = choice->mutable_attribute(1)->mutable_g()->mutable_node(0)->mutable_attribute(0);
  k->set_floats(0, 30);
  k->set_floats(1, 31);
  EXPECT_TRUE(equal(read(folder / "out.onnx"), expected));
}

// Tensors that only the body of a node, a function or a sparse tensor has: their files go with the network.
TEST_F(SaveExternal, DataOfBodiesAndFunctionsIsCopiedToo) {
  for (const std::string where : {"body", "list", "sparse", "function"}) {
    ModelBuilder b;
    b.input("x", {"N"}).open_output("y");
    b.node("If", {"x"}, {"y"}, {}, "if");
    auto* body = b.model.mutable_graph()->mutable_node(0)->add_attribute();
    body->set_name("then_branch");
    body->set_type(::onnx::AttributeProto::GRAPH);
    auto* constant = body->mutable_g()->add_node();
    constant->set_op_type("Constant");
    constant->add_output("c");
    if (where == "body") *body->mutable_g()->add_initializer() = external("only", 8, 4);
    if (where == "list") *constant->add_attribute()->add_tensors() = external("only", 8, 4);
    if (where == "sparse")
      *body->mutable_g()->add_sparse_initializer()->mutable_values() = external("only", 8, 4);
    if (where == "function")
      *b.model.add_functions()->add_node()->add_attribute()->mutable_t() = external("only", 8, 4);
    write_file_atomically(folder_ / "in/net.onnx", b.bytes());
    const Model m = Model::load(folder_ / "in/net.onnx");
    ASSERT_EQ(external_files(m).size(), 1U) << where;
    EXPECT_EQ(external_files(m)[0].location, "sub/w.bin");
    save(m, {}, folder_ / (where + "/net.onnx"));
    EXPECT_TRUE(read_file(folder_ / (where + "/sub/w.bin")) == bytes_) << where;
    // What is not there is no network that could be written elsewhere.
    std::filesystem::rename(folder_ / "in/sub", folder_ / "in/gone");
    EXPECT_NE(error_of([&] { Model::load(folder_ / "in/net.onnx"); }), "") << where;
    std::filesystem::rename(folder_ / "in/gone", folder_ / "in/sub");
  }
}

// What can't be copied is refused on loading: after a training would be too late.
TEST_F(SaveExternal, DataOfTypesThatNobodyComputesWithIsCopiedOrRefusedOnLoading) {
  TensorProto bytes = external("bytes", 0, 16);
  bytes.set_data_type(TensorProto::INT8);
  save(model({bytes}), {}, folder_ / "out/net.onnx");
  EXPECT_TRUE(read_file(folder_ / "out/sub/w.bin") == bytes_);
  TensorProto unknown = external("unknown", 0, 4);
  unknown.set_data_type(TensorProto::UNDEFINED);
  EXPECT_TRUE(
      contains(error_of([&] { model({unknown}); }), "'unknown' (4 type 0) is external data of a type"));
  // In an attribute of another kind, as the fuzzer put it.
  ModelBuilder b;
  b.input("x", {"N"}).open_output("y").node("Identity", {"x"}, {"y"});
  auto* a = b.model.mutable_graph()->mutable_node(0)->add_attribute();
  a->set_name("starts");
  a->set_type(::onnx::AttributeProto::INTS);
  *a->mutable_t() = unknown;
  EXPECT_TRUE(contains(error_of([&] { Model::parse(b.bytes(), folder_ / "in/net.onnx"); }), "'unknown'"));
}

TEST_F(SaveExternal, NeverOverwritesTheDataItWasReadFrom) {
  const Model m = model({external("a", 0, 4)});
  std::map<std::string, Tensor> changed;
  changed["a"] = filled(DType::kF32, {4}, 9);
  EXPECT_TRUE(contains(error_of([&] { save(m, changed, folder_ / "in/other.onnx"); }),
                       "write the network to another folder"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "in/other.onnx"));
  save(m, {}, folder_ / "in/other.onnx");  // unchanged: both can share it
  EXPECT_TRUE(read_file(folder_ / "in/sub/w.bin") == bytes_);
}

// Tensors whose bytes in the data file overlap are separate tensors all the same: of those that change, only
// one can stay where it was, and those that don't change keep their bytes.
TEST_F(SaveExternal, TensorsThatOverlapAreWrittenApart) {
  const auto values = [](const Model& m, const char* name) {
    const Tensor t = m.tensor(name);
    return std::vector<float>(t.as<float>().begin(), t.as<float>().end());
  };
  using Floats = std::vector<float>;
  const auto at = [](TensorProto t, const char* location) {
    t.mutable_external_data(0)->set_value(location);
    return t;
  };
  ASSERT_EQ(external("a", 0, 4).external_data(0).key(), "location");
  // a, b: one place; c reaches into both; d by another spelling of the path; e by a link; f stands alone.
  std::filesystem::create_symlink("w.bin", folder_ / "in/sub/link.bin");
  const Model m = model({external("a", 0, 4), external("b", 0, 4), external("c", 8, 4),
                         at(external("d", 0, 4), "./sub//w.bin"), at(external("e", 0, 4), "sub/link.bin"),
                         external("f", 400, 4)});
  for (const std::string kept : {"", "a", "b", "c", "d", "e", "f"}) {
    SCOPED_TRACE("unchanged: " + kept);
    std::map<std::string, Tensor> changed;
    float value = 1000;
    for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
      if (name != kept) changed[name] = filled(DType::kF32, {4}, value);
      value += 100;
    }
    save(m, changed, folder_ / "out/net.onnx");
    const Model written = Model::load(folder_ / "out/net.onnx");
    value = 1000;
    for (const char* name : {"a", "b", "c", "d", "e", "f"}) {
      const Floats wanted = name == kept ? values(m, name) : Floats{value, value + 1, value + 2, value + 3};
      EXPECT_EQ(values(written, name), wanted) << name;
      value += 100;
    }
    EXPECT_EQ(read_file(folder_ / "in/sub/w.bin"), bytes_);
    // What is written can be written again, with nothing to separate any more.
    save(written, changed, folder_ / "again/net.onnx");
    const Model again = Model::load(folder_ / "again/net.onnx");
    for (const auto& [name, tensor] : changed)
      EXPECT_EQ(values(again, name.c_str())[3], tensor.as<float>()[3]);
    EXPECT_EQ(read_file(folder_ / "again/sub/w.bin").size(), read_file(folder_ / "out/sub/w.bin").size());
  }
}

TEST_F(SaveExternal, AFullDiskLeavesNoHalfFile) {
  const Model m = model({external("a", 0, 4)});
  std::filesystem::create_directories(folder_ / "out");
  {
    const FullDisk full(8);
    EXPECT_TRUE(contains(error_of([&] { save(m, {}, folder_ / "out/net.onnx"); }), "File too large"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/net.onnx"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/net.onnx.tmp"));
}

}  // namespace
}  // namespace halftone::onnx
