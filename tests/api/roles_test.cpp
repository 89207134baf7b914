// What is trained, from the file to the written result; files with a fixed batch.
#include <functional>
#include <nlohmann/json.hpp>

#include "api/small_run.h"
#include "base/error.h"

namespace halftone {
namespace {

using namespace test;
using Json = nlohmann::json;

class Roles : public testing::Test {
 protected:
  Roles() { write_data(folder_ / "data.safetensors"); }

  TrainOptions options(const ModelBuilder& b, const std::string& name) {
    make_folder(folder_ / name);
    write_file_atomically(folder_ / (name + "/net.onnx"), b.bytes());
    TrainOptions o = options_for(folder_ / name, "fp32");
    o.data.data = o.data.val = folder_ / "data.safetensors";
    return o;
  }
  // Names of the initializers that training changed.
  Names changed(const TrainOptions& o) {
    log_.clear();
    result_ = train_model(o, [this](const std::string& line) { log_ += line + "\n"; });
    const std::string source = o.network.model.substr(0, o.network.model.rfind('/'));
    const auto before = elements_of(source, "net.onnx");
    Names out;
    for (const auto& [name, bytes] : elements_of(o.out, "model.onnx"))
      if (before.at(name) != bytes) out.push_back(name);
    return out;
  }
  // y = x w + 3 over 6 inputs, as float targets.
  void write_regression(const std::string& path) const {
    std::mt19937_64 random(7);
    train::Safetensors data;
    data.tensors["x"] = Tensor(DType::kF32, {64, 6});
    data.tensors["y"] = Tensor(DType::kF32, {64, 1});
    for (float& x : data.tensors["x"].as<float>()) x = static_cast<float>(random() % 2001) / 1000 - 1;
    for (size_t i = 0; i < 64; ++i) {
      float y = 3;
      for (size_t k = 0; k < 6; ++k)
        y += data.tensors["x"].as<float>()[i * 6 + k] * (static_cast<float>(k) - 2.5F);
      data.tensors["y"].as<float>()[i] = y;
    }
    train::write_safetensors(path, data);
  }

  // Images with as many float targets as the networks have outputs.
  static void write_targets(const std::string& path) {
    std::mt19937_64 random(9);
    train::Safetensors data;
    data.tensors["x"] = Tensor(DType::kF32, {kSamples, kChannels, kSide, kSide});
    data.tensors["y"] = Tensor(DType::kF32, {kSamples, kChannels});
    for (const char* name : {"x", "y"})
      for (float& x : data.tensors[name].as<float>()) x = static_cast<float>(random() % 2001) / 1000 - 1;
    train::write_safetensors(path, data);
  }

  TemporaryFolder folder_;
  RunResult result_;
  std::string log_;
};

// A convolution, what a test puts behind it, pooling and a classifier.
ModelBuilder network(const std::function<std::string(ModelBuilder&)>& middle,
                     const std::string& batch = "N") {
  ModelBuilder b;
  b.input("x", {batch, std::to_string(kChannels), std::to_string(kSide), std::to_string(kSide)});
  b.output("y", {batch, std::to_string(kChannels)});
  b.initializer(values("conv.weight", {kChannels, kChannels, 3, 3}, -0.5F, 0.6F));
  b.initializer(values("fc.weight", {kChannels, kChannels}, -1, 1))
      .initializer(values("fc.bias", {kChannels}, -1, 1));
  b.node("Conv", {"x", "conv.weight"}, {"h"}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  const std::string value = middle(b);
  b.node("GlobalAveragePool", {value}, {"pooled"});
  return b;
}
ModelBuilder with_flatten(ModelBuilder b) {
  b.node("Flatten", {"pooled"}, {"flat"}).node("Gemm", {"flat", "fc.weight", "fc.bias"}, {"y"});
  return b;
}

TEST_F(Roles, ABiasOfOneElementIsTrainedAsThatOfGemmIs) {
  write_regression(folder_ / "reg.safetensors");
  const auto loss_of = [&](const std::string& name, const std::vector<int64_t>& bias, bool gemm) {
    ModelBuilder b;
    b.input("x", {"N", "6"}).output("y", {"N", "1"});
    b.initializer(floats("w", {6, 1}, {0.1F, -0.2F, 0.3F, 0, 0.2F, -0.1F}))
        .initializer(floats("b", bias, {0}));
    if (gemm) {
      b.node("Gemm", {"x", "w", "b"}, {"y"});
    } else {
      b.node("MatMul", {"x", "w"}, {"h"}).node("Add", {"h", "b"}, {"y"});
    }
    TrainOptions o = options(b, name);
    o.data.data = o.data.val = folder_ / "reg.safetensors";
    o.steps = 400;
    o.epochs = 100;
    EXPECT_EQ(changed(o), (Names{"b", "w"})) << name;
    return result_.val_loss.value_or(1e9);
  };
  const double gemm = loss_of("gemm", {1}, true);
  EXPECT_LT(gemm, 1e-4);
  EXPECT_NEAR(loss_of("one", {1}, false), gemm, 1e-4);
  EXPECT_NEAR(loss_of("one-one", {1, 1}, false), gemm, 1e-4);
}

TEST_F(Roles, ScalesOfOneElementThatAModuleNamed) {
  const auto middle = [](ModelBuilder& b) {
    b.initializer(floats("lab.scale", {1}, {1.25F})).initializer(floats("lab.bias", {1, 1, 1, 1}, {0.1F}));
    b.initializer(floats("half", {1}, {0.5F}));
    b.node("Relu", {"h"}, {"r"}).node("Mul", {"lab.scale", "r"}, {"m"}).node("Add", {"m", "lab.bias"}, {"a"});
    b.node("Mul", {"a", "half"}, {"s"});
    return std::string("s");
  };
  for (const char* precision : {"fp32", "fp16", "bf16"}) {
    TrainOptions o = options(with_flatten(network(middle)), precision);
    o.network.precision = precision;
    o.lr = 0.5;
    EXPECT_EQ(changed(o), (Names{"conv.weight", "fc.bias", "fc.weight", "lab.bias", "lab.scale"})) << log_;
    EXPECT_NE(log_.find("tensors: 5 trained (166 numbers), 0 running statistics, 0 frozen, 1 constant"),
              std::string::npos)
        << log_;
    const Json counts = Json::parse(result_.summary_json).at("tensors");
    EXPECT_EQ(counts, (Json{{"trained", 5}, {"statistic", 0}, {"frozen", 0}, {"constant", 1}}));
  }
}

TEST_F(Roles, TheUserOverrules) {
  const auto middle = [](ModelBuilder& b) {
    b.initializer(floats("onnx::Mul_9", {1}, {1.3719265F}))
        .initializer(floats("mask", {1, kChannels, 1, 1}, {0.5F, 1, 0.5F, 1}));
    b.node("Mul", {"h", "onnx::Mul_9"}, {"m"}).node("Mul", {"m", "mask"}, {"s"});
    return std::string("s");
  };
  const ModelBuilder b = with_flatten(network(middle));
  TrainOptions o = options(b, "plain");
  EXPECT_EQ(changed(o), (Names{"conv.weight", "fc.bias", "fc.weight"}));
  EXPECT_NE(
      log_.find("not trained (a single number without the name of a module; --train overrules): onnx::Mul_9"),
      std::string::npos)
      << log_;
  o = options(b, "train");
  o.train = {"onnx::*", "mask"};
  EXPECT_EQ(changed(o), (Names{"conv.weight", "fc.bias", "fc.weight", "mask", "onnx::Mul_9"}));
  o = options(b, "both");
  o.train = {"fc*"};
  o.freeze = {"*", "fc.bias"};
  EXPECT_EQ(changed(o), Names{"fc.weight"});
  o = options(b, "wrong");
  o.train = {"fc.wieght"};
  EXPECT_NE(error_of([&] { train_model(o, kSilent); }).find("'fc.weight'"), std::string::npos);
}

TEST_F(Roles, TablesBehindGatherAreTrained) {
  const auto middle = [](ModelBuilder& b) {
    b.initializer(values("attention_biases", {2, kChannels}, -0.3F, 0.4F)).initializer(int64s("row", {1}));
    b.initializer(int64s("shape", {1, kChannels, 1, 1}));
    b.node("Gather", {"attention_biases", "row"}, {"g"}).node("Reshape", {"g", "shape"}, {"bias"});
    b.node("Add", {"h", "bias"}, {"s"});
    return std::string("s");
  };
  const TrainOptions o = options(with_flatten(network(middle)), "gather");
  EXPECT_EQ(changed(o), (Names{"attention_biases", "conv.weight", "fc.bias", "fc.weight"}));
  EXPECT_EQ(log_.find("attention_biases"), std::string::npos) << log_;
}

// The same network made for batches of two, and for any.
ModelBuilder fixed_batch() {
  ModelBuilder b = network([](ModelBuilder&) { return std::string("h"); }, "2");
  b.initializer(int64s("shape", {2, kChannels})).node("Reshape", {"pooled", "shape"}, {"flat"});
  b.node("Gemm", {"flat", "fc.weight", "fc.bias"}, {"y"});
  return b;
}

TEST_F(Roles, AFileWithAFixedBatchWorksWithItsBatch) {
  const ModelBuilder open = with_flatten(network([](ModelBuilder&) { return std::string("h"); }));
  TrainOptions o = options(fixed_batch(), "fixed");
  TrainOptions any = options(open, "open");
  o.network.batch = any.network.batch = 2;
  EXPECT_EQ(changed(o), (Names{"conv.weight", "fc.bias", "fc.weight"}));
  const auto fixed_weights = elements_of(o.out, "model.onnx");
  const double loss = result_.val_loss.value();
  EXPECT_EQ(changed(any), (Names{"conv.weight", "fc.bias", "fc.weight"}));
  EXPECT_EQ(result_.val_loss.value(), loss);
  for (const auto& [name, bytes] : elements_of(any.out, "model.onnx"))
    EXPECT_EQ(fixed_weights.at(name), bytes) << name;
  // 23 samples: the last batch has one, and is filled up.
  write_targets(folder_ / "targets.safetensors");
  for (const char* data : {"data.safetensors[:23]", "targets.safetensors[:23]"}) {
    EvalOptions e;
    e.network = o.network;
    e.data = o.data;
    e.data.data = folder_ / data;
    const RunResult fixed = evaluate_model(e, kSilent);
    e.network.model = any.network.model;
    const RunResult plain = evaluate_model(e, kSilent);
    EXPECT_NEAR(fixed.val_loss.value(), plain.val_loss.value(), 1e-6) << data;
    EXPECT_EQ(fixed.val_accuracy, plain.val_accuracy);
  }
}

TEST_F(Roles, AnotherBatchThanTheFixedOneIsRefusedWithWhatToTry) {
  TrainOptions o = options(fixed_batch(), "fixed");
  o.network.batch = 4;
  const std::string message = error_of([&] { train_model(o, kSilent); });
  EXPECT_NE(message.find("made for batches of 2, and 4 were asked for: try --batch 2"), std::string::npos)
      << message;
  InspectOptions i;
  i.network = o.network;
  EXPECT_NE(inspect_model(i, kSilent).refusal.find("try --batch 2"), std::string::npos);
  i.network.batch = 2;
  EXPECT_EQ(inspect_model(i, kSilent).refusal, "");
}

TEST_F(Roles, InspectListsThemEvenOfNetworksThatCannotBeTrained) {
  const auto middle = [](ModelBuilder& b) {
    b.initializer(values("norm.weight", {kSide}, 0.5F, 1.5F))
        .initializer(values("attn_mask", {kSide}, 0.1F, 0.5F));
    b.initializer(int64s("lengths", {1}));
    b.node("LayerNormalization", {"h", "norm.weight"}, {"n"})
        .node("ReverseSequence", {"n", "lengths"}, {"r"});
    b.node("Add", {"r", "attn_mask"}, {"s"});
    return std::string("s");
  };
  InspectOptions i;
  i.network = options(with_flatten(network(middle)), "norm").network;
  const InspectResult r = inspect_model(i, kSilent);
  EXPECT_NE(r.refusal.find("operator ReverseSequence"), std::string::npos) << r.refusal;
  const Json j = Json::parse(r.json);
  EXPECT_EQ(j.at("refusal"), r.refusal);
  std::map<std::string, std::string> roles;
  for (const Json& tensor : j.at("roles")) roles[tensor.at("name")] = tensor.at("role");
  EXPECT_EQ(roles, (std::map<std::string, std::string>{{"conv.weight", "trained"},
                                                       {"fc.weight", "trained"},
                                                       {"fc.bias", "trained"},
                                                       {"norm.weight", "trained"},
                                                       {"attn_mask", "constant"}}));
  EXPECT_NE(r.text.find("attn_mask"), std::string::npos) << r.text;
  i.train = {"attn_mask"};
  EXPECT_EQ(Json::parse(inspect_model(i, kSilent).json).at("tensor_counts").at("trained"), 5);
}

}  // namespace
}  // namespace halftone
