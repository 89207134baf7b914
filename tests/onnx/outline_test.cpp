#include "onnx/outline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "build_model.h"
#include "fuzzing.h"
#include "onnx/model.h"
#include "onnx/save.h"

namespace halftone::onnx {
namespace {

using test::error_of;
using test::floats;
using test::ModelBuilder;
using test::ModelProto;
using test::outline_of;
using test::put_back;
using test::TemporaryFolder;
using test::TensorProto;

ModelBuilder net() {
  ModelBuilder b;
  b.input("x", {"N", "2"}).open_output("y").node("Add", {"x", "w"}, {"y"});
  return b;
}

TEST(Outline, WithTheElementsPutBackIsTheWholeMessage) {
  int networks = 0;
  size_t tensors = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(std::string(HALFTONE_TESTS_DIR) + "/fixtures")) {
    if (entry.path().extension() != ".onnx") continue;
    const std::string bytes = read_file(entry.path().string());
    const std::optional<Outline> outline = outline_of(bytes);
    ASSERT_TRUE(outline.has_value()) << entry.path();
    ModelProto whole;
    ASSERT_TRUE(whole.ParseFromString(bytes));
    EXPECT_TRUE(put_back(*outline, bytes) == whole.SerializeAsString()) << entry.path();
    ++networks;
    tensors += outline->tensors.size();
  }
  EXPECT_GT(networks, 20);
  EXPECT_GT(tensors, 500U);
}

TEST(Outline, TakesOutRawAndPackedElements) {
  ModelBuilder b = net();
  b.initializer(floats("w", {2}, {1, 2})).initializer(floats("packed", {3}, {3, 4, 5}, false));
  TensorProto twice;
  twice.set_name("double");
  twice.set_data_type(TensorProto::DOUBLE);
  twice.add_double_data(6);
  b.initializer(twice).initializer(test::int64s("ints", {7, 8}));
  b.node("Constant", {}, {"c"}, {{"value", floats("", {1}, {9})}});
  const std::optional<Outline> outline = outline_of(b.bytes());
  ASSERT_TRUE(outline.has_value());
  ASSERT_EQ(outline->tensors.size(), 4U);  // not the integers, which are variable in length
  EXPECT_EQ(std::count_if(outline->tensors.begin(), outline->tensors.end(),
                          [](const auto& t) { return t.first.node == 1 && t.first.attribute == 0; }),
            1);
  EXPECT_EQ(std::count_if(outline->tensors.begin(), outline->tensors.end(),
                          [](const auto& t) { return t.second.raw; }),
            2);
  ModelProto message;
  ASSERT_TRUE(message.ParseFromString(outline->message));
  EXPECT_FALSE(message.graph().initializer(0).has_raw_data());
  EXPECT_EQ(message.graph().initializer(1).float_data_size(), 0);
  EXPECT_EQ(message.graph().initializer(2).double_data_size(), 0);
  EXPECT_EQ(message.graph().initializer(3).int64_data_size(), 2);
}

TEST(Outline, LeavesWhatIsUnusualToTheParser) {
  ModelBuilder b = net();
  b.initializer(floats("w", {2}, {1, 2}));
  const std::string bytes = b.bytes();
  EXPECT_TRUE(outline_of(bytes).has_value());
  EXPECT_FALSE(outline_of(bytes.substr(0, bytes.size() - 3)).has_value());
  EXPECT_FALSE(outline_of(bytes + "\xFF").has_value());
  EXPECT_FALSE(outline_of("").has_value());
  // A second graph merges into the first.
  EXPECT_FALSE(outline_of(bytes + bytes).has_value());
  // A group.
  EXPECT_FALSE(outline_of(bytes + "\xA3\x06\xA4\x06").has_value());
  // 300,000 fields that nobody knows.
  std::string many = bytes;
  for (int i = 0; i < 300'000; ++i) many += std::string("\xA0\x06\x00", 3);
  EXPECT_FALSE(outline_of(many).has_value());

  // raw_data twice: the second wins, and both stay in the message.
  TensorProto tensor = floats("w", {2}, {1, 2});
  std::string part = tensor.SerializeAsString();
  const std::string two = part + std::string("\x4A\x08", 2) + std::string(8, '\0');
  ASSERT_TRUE(tensor.ParseFromString(two));
  EXPECT_EQ(tensor.raw_data(), std::string(8, '\0'));
  ModelBuilder other = net();
  const std::string graph =
      other.model.graph().SerializeAsString() + "\x2A" + static_cast<char>(two.size()) + two;
  ASSERT_LT(graph.size(), 128U);
  other.model.clear_graph();
  const std::string file = other.bytes() + "\x3A" + static_cast<char>(graph.size()) + graph;
  const std::optional<Outline> outline = outline_of(file);
  ASSERT_TRUE(outline.has_value());
  EXPECT_TRUE(outline->tensors.empty());
  ModelProto whole;
  ASSERT_TRUE(whole.ParseFromString(file));
  EXPECT_TRUE(put_back(*outline, file) == whole.SerializeAsString());
}

int64_t resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmRSS:", 0) == 0) return std::stoll(line.substr(6)) * 1024;
  return 0;
}

// A network whose tensor has 64 MiB.
std::string large_network(const TemporaryFolder& folder) {
  ModelBuilder b;
  b.input("x", {"N", "4096"}).open_output("y").node("MatMul", {"x", "w"}, {"y"});
  b.initializer(floats("w", {4096, 4096}, std::vector<float>(size_t{4096} * 4096, 0.5F)));
  write_file_atomically(folder / "large.onnx", b.bytes());
  return folder / "large.onnx";
}

TEST(Outline, ALoadedModelLeavesItsElementsInTheFile) {
  TemporaryFolder folder;
  const std::string path = large_network(folder);
  const int64_t before = resident_bytes();
  if (before == 0) GTEST_SKIP() << "there is no /proc here";
  const Model model = Model::load(path);
  EXPECT_LT(resident_bytes() - before, int64_t{8} << 20);
  {
    const Tensor w = model.tensor("w");
    EXPECT_EQ(w.as<float>().back(), 0.5F);
    EXPECT_GT(resident_bytes() - before, int64_t{48} << 20) << "resident_bytes sees nothing";
  }
  EXPECT_LT(resident_bytes() - before, int64_t{8} << 20) << "memory is not given back";
  // Patched on the way from file to file.
  save(
      model, {"w"},
      [](const std::string&) {
        Tensor w(DType::kF16, {4096, 4096});
        w.as<uint16_t>().back() = 0x4000;
        return w;
      },
      folder / "out.onnx");
  EXPECT_LT(resident_bytes() - before, int64_t{8} << 20);
  const Tensor saved = Model::load(folder / "out.onnx").tensor("w");
  EXPECT_EQ(saved.as<float>()[0], 0);
  EXPECT_EQ(saved.as<float>().back(), 2);
}

TEST(Outline, AFileThatChangedIsNamed) {
  TemporaryFolder folder;
  ModelBuilder b = net();
  b.initializer(floats("w", {2}, {1, 2}));
  const std::string path = folder / "net.onnx";
  write_file_atomically(path, b.bytes());
  const Model model = Model::load(path);
  EXPECT_EQ(model.tensor("w").as<float>()[1], 2);
  // Another file under the name: the one that was read is still there.
  write_file_atomically(path, "something else");
  EXPECT_EQ(model.tensor("w").as<float>()[1], 2);

  write_file_atomically(path, b.bytes());
  const Model second = Model::load(path);
  // The same size, another time.
  std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) + std::chrono::seconds(2));
  EXPECT_NE(error_of([&] { second.tensor("w"); }).find(path + " was changed while it was in use"),
            std::string::npos)
      << error_of([&] { second.tensor("w"); });
  EXPECT_NE(error_of([&] { save(second, {}, folder / "out.onnx"); }).find("was changed"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "out.onnx"));
}

TEST(Outline, AModelCanBeWrittenOverItself) {
  TemporaryFolder folder;
  ModelBuilder b = net();
  b.initializer(floats("w", {2}, {1, 2}));
  const std::string path = folder / "net.onnx";
  write_file_atomically(path, b.bytes());
  const Model model = Model::load(path);
  for (const float first : {5.0F, 7.0F}) {
    std::map<std::string, Tensor> changed;
    changed["w"] = Tensor(DType::kF32, {2});
    changed["w"].as<float>()[0] = first;
    save(model, changed, path);
    EXPECT_EQ(Model::load(path).tensor("w").as<float>()[0], first);
    EXPECT_EQ(model.tensor("w").as<float>()[0], 1);
  }
}

}  // namespace
}  // namespace halftone::onnx
