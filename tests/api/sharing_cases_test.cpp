// Networks whose nodes share tensors beside the same networks with separate ones, and what --freeze keeps.
#include <set>

#include "api/small_run.h"

namespace halftone {
namespace {

using namespace test;

TensorProto ones(const std::string& name, float value = 1) {
  return floats(name, {kChannels}, std::vector<float>(kChannels, value));
}

ModelBuilder builder() {
  ModelBuilder b;
  b.input("x", {"N", std::to_string(kChannels), std::to_string(kSide), std::to_string(kSide)})
      .output("y", {"N", "4"});
  return b;
}
const std::vector<Attr> kPads{{"pads", std::vector<int64_t>{1, 1, 1, 1}}};

// The end of all these networks: pooling and a classifier that reads `value`.
void add_head(ModelBuilder& b, const std::string& value, const std::string& bias) {
  b.node("GlobalAveragePool", {value}, {"pooled"}).node("Flatten", {"pooled"}, {"flat"});
  b.node("Gemm", {"flat", "fc.weight", bias}, {"y"});
  b.initializer(values("fc.weight", {kChannels, kChannels}, -1, 1));
}

// Two convolutions with folded batch norms.
ModelBuilder folded(const std::string& bias1, const std::string& bias2, const std::string& bias3) {
  ModelBuilder b = builder();
  b.node("Identity", {"onnx::Conv_2"}, {"i"});
  b.node("Conv", {"x", "onnx::Conv_1", bias1}, {"c1"}, kPads).node("Relu", {"c1"}, {"r1"});
  b.node("Conv", {"r1", "onnx::Conv_3", bias2}, {"c2"}, kPads).node("Relu", {"c2"}, {"r2"});
  add_head(b, "r2", bias3);
  for (const char* name : {"onnx::Conv_1", "onnx::Conv_3"})
    b.initializer(values(name, {kChannels, kChannels, 3, 3}, -0.5F, 0.6F));
  for (const char* name : {"onnx::Conv_2", "onnx::Conv_4", "fc.bias"})
    b.initializer(values(name, {kChannels}, -0.3F, 0.4F));
  return b;
}

class SharedTensors : public testing::Test {
 protected:
  SharedTensors() { write_data(folder_ / "data.safetensors"); }

  // Trains in a folder of its own. The run's folder.
  std::string train(const ModelBuilder& b, const std::string& name, const std::string& precision,
                    const std::vector<std::string>& freeze = {}, const std::string& norms = "auto") {
    make_folder(folder_ / name);
    write_file_atomically(folder_ / (name + "/net.onnx"), b.bytes());
    TrainOptions o = options_for(folder_ / name, precision);
    o.data.data = o.data.val = folder_ / "data.safetensors";
    o.freeze = freeze;
    o.network.batchnorm = norms;
    log_.clear();
    result_ = train_model(o, [this](const std::string& line) { log_ += line + "\n"; });
    return o.out;
  }
  // The elements that each input of a node has in the written file, through Identity.
  static std::vector<std::string> inputs(const std::string& run, const std::string& node) {
    const ModelProto proto = proto_of(run + "/model.onnx");
    std::map<std::string, std::string> elements = elements_of(run, "model.onnx");
    for (const NodeProto& n : proto.graph().node())
      if (n.op_type() == "Identity") elements[n.output(0)] = elements[n.input(0)];
    std::vector<std::string> out;
    for (const NodeProto& n : proto.graph().node())
      if (n.name() == node)
        for (const std::string& input : n.input()) out.push_back(elements[input]);
    return out;
  }
  TemporaryFolder folder_;
  RunResult result_;
  std::string log_;
};

// Restored batch norms are folded back into a bias of their own, so a shared one trains as separate ones do,
// bit for bit. (In 16 bits only where the trained tensors are met in the same order, which numbers their
// random bits.)
TEST_F(SharedTensors, ABiasOfTwoFoldedConvolutions) {
  for (const char* precision : {"fp32", "fp16", "bf16"}) {
    const std::string own = train(folded("onnx::Conv_2", "onnx::Conv_4", "fc.bias"), "own", precision);
    const RunResult expected = result_;
    EXPECT_EQ(log_.find("shared tensor"), std::string::npos) << log_;
    for (const char* second : {"i", "onnx::Conv_2"}) {
      for (const std::string third : {"fc.bias", "onnx::Conv_2", "i"}) {
        if (third == "i" && precision != std::string("fp32")) continue;
        SCOPED_TRACE(fmt::format("{} {} {}", precision, second, third));
        std::filesystem::remove_all(folder_ / "shared");
        const std::string run = train(folded("onnx::Conv_2", second, third), "shared", precision);
        EXPECT_NE(log_.find("shared tensor 'onnx::Conv_2' is read by Conv"), std::string::npos) << log_;
        EXPECT_EQ(result_.val_loss, expected.val_loss);
        for (const char* node : {"/c1/Conv", "/c2/Conv", "/y/Gemm"})
          EXPECT_TRUE(inputs(run, node) == inputs(own, node)) << node;
      }
    }
    std::filesystem::remove_all(folder_ / "own");
  }
}

// A line for each tensor that several nodes read, in inspect; in train their number.
TEST_F(SharedTensors, AreListed) {
  train(folded("onnx::Conv_2", "i", "onnx::Conv_2"), "listed", "fp32", {}, "keep");
  EXPECT_NE(log_.find("1 of them are read by several nodes"), std::string::npos) << log_;
  InspectOptions o;
  o.network.model = folder_ / "listed/net.onnx";
  const std::string text = inspect_model(o, kSilent).text;
  EXPECT_NE(
      text.find(
          "shared: 'onnx::Conv_2' (trained) is read by Conv '/c1/Conv' (bias), Conv '/c2/Conv' (bias), Gemm "
          "'/y/Gemm' (bias)\n"),
      std::string::npos)
      << text;
}

// Either name that the file has for a tensor freezes it, wherever it is read.
TEST_F(SharedTensors, AreFrozenByTheNameOfAnIdentityNode) {
  for (const char* norms : {"keep", "auto"}) {
    const std::string name = std::string("frozen-") + norms;
    const std::string run = train(folded("onnx::Conv_2", "i", "fc.bias"), name, "fp16", {"i"}, norms);
    const auto before = elements_of(folder_ / name, "net.onnx");
    const auto after = elements_of(run, "model.onnx");
    EXPECT_TRUE(before.at("onnx::Conv_2") == after.at("onnx::Conv_2")) << norms;
    EXPECT_FALSE(before.at("fc.weight") == after.at("fc.weight")) << norms;
    EXPECT_NE(log_.find(" 1 frozen, "), std::string::npos) << log_;
  }
}

// Kept as they stand they are one bias, with the sum of both gradients.
TEST_F(SharedTensors, ABiasOfTwoConvolutionsThatAreKept) {
  const std::string run = train(folded("onnx::Conv_2", "i", "fc.bias"), "kept", "fp32", {}, "keep");
  EXPECT_TRUE(inputs(run, "/c1/Conv")[2] == inputs(run, "/c2/Conv")[2]);
  EXPECT_EQ(proto_of(run + "/model.onnx").graph().node_size(), 8);
}

TEST_F(SharedTensors, AWeightOfTwoConvolutionsIsTrainedAsItStands) {
  ModelBuilder b = folded("onnx::Conv_2", "onnx::Conv_4", "fc.bias");
  b.model.mutable_graph()->mutable_node(3)->set_input(1, "onnx::Conv_1");
  const std::string run = train(b, "tied", "fp32");
  EXPECT_NE(log_.find("batch norms: kept as the file has them"), std::string::npos) << log_;
  EXPECT_TRUE(inputs(run, "/c1/Conv")[1] == inputs(run, "/c2/Conv")[1]);
}

// scale, shift, mean and variance of two norms.
ModelBuilder norms(const Names& first, const Names& second) {
  ModelBuilder b = builder();
  b.node("Conv", {"x", "w"}, {"c"}, kPads);
  b.node("BatchNormalization", {"c", first[0], first[1], first[2], first[3]}, {"n1"})
      .node("Relu", {"n1"}, {"r1"});
  b.node("BatchNormalization", {"r1", second[0], second[1], second[2], second[3]}, {"n2"});
  add_head(b, "n2", "fc.bias");
  b.initializer(values("w", {kChannels, kChannels, 3, 3}, -0.5F, 0.6F))
      .initializer(values("fc.bias", {kChannels}, 0, 1));
  std::set<std::string> names(first.begin(), first.end());
  names.insert(second.begin(), second.end());
  for (const std::string& name : names) b.initializer(ones(name, name[0] == 'b' || name[0] == 'm' ? 0 : 1));
  return b;
}

TEST_F(SharedTensors, StatisticsOfTwoNormsAndScalesThatAreVariances) {
  for (const char* precision : {"fp32", "fp16", "bf16"}) {
    const Names two{"s2", "b2", "m2", "v2"};
    const std::string own = train(norms({"s1", "b1", "m1", "v1"}, two), "own", precision);
    const RunResult expected = result_;
    const std::vector<std::pair<Names, Names>> shared{{{"s1", "b1", "m1", "v1"}, {"s2", "b2", "m1", "v1"}},
                                                      {{"s1", "b1", "b1", "s1"}, two},
                                                      {{"s1", "b1", "m1", "s2"}, two},
                                                      {{"s1", "b1", "b1", "s1"}, {"s2", "b2", "b1", "s1"}}};
    for (const auto& [first, second] : shared) {
      SCOPED_TRACE(fmt::format("{}: {} {}", precision, first[3], second[3]));
      std::filesystem::remove_all(folder_ / "shared");
      const std::string run = train(norms(first, second), "shared", precision);
      EXPECT_EQ(result_.val_loss, expected.val_loss);
      for (const char* node : {"/n1/BatchNormalization", "/n2/BatchNormalization", "/y/Gemm", "/c/Conv"})
        EXPECT_TRUE(inputs(run, node) == inputs(own, node)) << node;
    }
    std::filesystem::remove_all(folder_ / "own");
  }
}

TEST_F(SharedTensors, AFrozenNormKeepsItsStatistics) {
  const Names names{"s1", "b1", "m1", "v1"};
  for (const char* precision : {"fp32", "fp16", "bf16"}) {
    for (const std::string pattern : {"s1", "?1", "m1", "v*1"}) {
      SCOPED_TRACE(fmt::format("{} {}", precision, pattern));
      std::filesystem::remove_all(folder_ / "frozen");
      ModelBuilder b = norms(names, {"s2", "b2", "m2", "v2"});
      for (TensorProto& t : *b.model.mutable_graph()->mutable_initializer())
        if (t.name() == "s1" || t.name() == "v1")
          t = values(t.name(), {kChannels}, 0.7F, 1.3F);  // 16 bits round these
      const std::string run = train(b, "frozen", precision, {pattern});
      const auto before = elements_of(folder_ / "frozen", "net.onnx");
      const auto after = elements_of(run, "model.onnx");
      for (const char* name : {"m1", "v1"}) EXPECT_TRUE(before.at(name) == after.at(name)) << name;
      for (const char* name : {"m2", "v2", "s2", "b2", "w"})
        EXPECT_FALSE(before.at(name) == after.at(name)) << name;
      for (const char* name : {"s1", "b1"})
        EXPECT_EQ(before.at(name) == after.at(name), pattern == "?1" || pattern == name) << name;
    }
  }
}

// Neither scaled, restored nor folded: what --freeze names is what it was.
TEST_F(SharedTensors, AFoldedConvolutionWithAFrozenTensorIsNotRestored) {
  for (const char* precision : {"fp32", "fp16"}) {
    for (const std::string pattern : {"onnx::Conv_1", "onnx::Conv_2", "i"}) {
      SCOPED_TRACE(fmt::format("{} {}", precision, pattern));
      std::filesystem::remove_all(folder_ / "frozen");
      const std::string run =
          train(folded("onnx::Conv_2", "onnx::Conv_4", "i"), "frozen", precision, {pattern});
      EXPECT_NE(log_.find("'/c1/Conv' keeps its folded batch norm: its weight or bias is named by --freeze"),
                std::string::npos)
          << log_;
      const auto before = elements_of(folder_ / "frozen", "net.onnx");
      const auto after = elements_of(run, "model.onnx");
      EXPECT_EQ(before.at("onnx::Conv_1") == after.at("onnx::Conv_1"), pattern == "onnx::Conv_1");
      EXPECT_EQ(before.at("onnx::Conv_2") == after.at("onnx::Conv_2"), pattern != "onnx::Conv_1");
      EXPECT_FALSE(before.at("onnx::Conv_3") == after.at("onnx::Conv_3"));
    }
  }
}

TEST_F(SharedTensors, APatternThatMatchesNothingNamesWhatIsNear) {
  const std::string error = error_of(
      [&] { train(folded("onnx::Conv_2", "onnx::Conv_4", "fc.bias"), "net", "fp32", {"fc.wieght*"}); });
  EXPECT_NE(error.find("--freeze fc.wieght* matches no float tensor of the network"), std::string::npos)
      << error;
  EXPECT_NE(error.find("names like it: 'fc.weight'"), std::string::npos) << error;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "net/run-fp32/model.onnx"));
}

// Two names at one place of the external data, one of them frozen or none: trained as two tensors with places
// of their own.
TEST_F(SharedTensors, TwoTensorsAtOnePlaceOfADataFile) {
  for (const std::string frozen : {"", "onnx::Conv_1", "onnx::Conv_3"}) {
    SCOPED_TRACE(frozen);
    std::filesystem::remove_all(folder_ / "own");
    std::filesystem::remove_all(folder_ / "shared");
    const std::vector<std::string> freeze = frozen.empty() ? std::vector<std::string>{} : std::vector{frozen};
    ModelBuilder b = folded("onnx::Conv_2", "onnx::Conv_4", "fc.bias");
    const std::string own = train(b, "own", "fp32", freeze);
    const RunResult expected = result_;
    std::string data;
    for (TensorProto& t : *b.model.mutable_graph()->mutable_initializer()) {
      if (t.name() != "onnx::Conv_1" && t.name() != "onnx::Conv_3") continue;
      data = t.raw_data();  // equal in both
      t.clear_raw_data();
      t.set_data_location(TensorProto::EXTERNAL);
      auto* entry = t.add_external_data();
      entry->set_key("location");
      entry->set_value(t.name() == "onnx::Conv_1" ? "w.bin" : "./w.bin");
    }
    make_folder(folder_ / "shared");
    write_file_atomically(folder_ / "shared/w.bin", data);
    const std::string run = train(b, "shared", "fp32", freeze);
    EXPECT_EQ(result_.val_loss, expected.val_loss);
    const ModelProto proto = proto_of(run + "/model.onnx");
    const std::string file = read_file(run + "/w.bin");
    for (const TensorProto& t : proto.graph().initializer()) {
      if (t.data_location() != TensorProto::EXTERNAL) continue;
      size_t offset = 0;
      for (const auto& e : t.external_data())
        if (e.key() == "offset") offset = std::stoul(e.value());
      EXPECT_TRUE(file.substr(offset, data.size()) == elements_of(own, "model.onnx").at(t.name()))
          << t.name();
    }
  }
}

TEST_F(SharedTensors, SparseInitializersAreNamed) {
  ModelBuilder b = norms({"s1", "b1", "m1", "v1"}, {"s2", "b2", "m2", "v2"});
  auto* sparse = b.model.mutable_graph()->add_sparse_initializer();
  *sparse->mutable_values() = floats("thin", {1}, {1});
  *sparse->mutable_indices() = int64s("", {0});
  sparse->add_dims(kChannels);
  b.model.mutable_graph()->mutable_node(1)->set_input(2, "thin");
  const std::string error = error_of([&] { train(b, "sparse", "fp32"); });
  EXPECT_NE(error.find("initializer 'thin' is sparse"), std::string::npos) << error;
  EXPECT_EQ(error.find("nothing defines"), std::string::npos) << error;
  EXPECT_EQ(error.find("node '"), std::string::npos) << "its readers are no problems of their own: " << error;
}

}  // namespace
}  // namespace halftone
