// Runs that train adapters, from their options to the network and the adapter that they wrote.
#include "api/lora.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/small_networks.h"
#include "base/file.h"
#include "data/safetensors.h"
#include "halftone/adapters.h"
#include "halftone/session.h"
#include "onnx/model.h"
#include "train/checkpoint.h"
#include "train/safetensors.h"

namespace halftone::api::test {
namespace {

std::vector<float> floats_of(const onnx::Model& model, const std::string& name) {
  const Tensor t = model.tensor(name);
  return {t.as<float>().begin(), t.as<float>().end()};
}

std::vector<float> floats_of(const data::NamedArrays& arrays, const std::string& name) {
  const data::Array a = arrays.read(name);
  std::vector<float> x(static_cast<size_t>(elements(a.shape)));
  data::read_floats(a, 0, x);
  return x;
}

class Lora : public ::testing::Test {
 protected:
  Lora() {
    write_csv(folder_ / "train.csv", 64, 3);
    write_mlp(folder_ / "m.onnx");
    options_ = train_options(folder_, "fp32");
    options_.lora = "r=2,alpha=8";
    options_.epochs = 3;
    options_.lr = 0.05;
  }
  onnx::Model base() const { return onnx::Model::load(folder_ / "m.onnx"); }
  onnx::Model written() const { return onnx::Model::load(options_.out + "/model.onnx"); }

  TemporaryFolder folder_;
  TrainOptions options_;
};

TEST_F(Lora, WritesTheMergedNetworkAndTheAdapterBesideIt) {
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  const data::NamedArrays adapter = data::safetensors_arrays(options_.out + "/" + kAdapterFile);
  ASSERT_EQ(adapter.names, (std::vector<std::string>{"base_model.model.fc1.lora_A.weight",
                                                     "base_model.model.fc1.lora_B.weight"}));
  const std::vector<float> a = floats_of(adapter, adapter.names[0]);
  const std::vector<float> b = floats_of(adapter, adapter.names[1]);
  EXPECT_EQ(adapter.header(adapter.names[0])->shape, (Shape{2, kFeatures}));
  EXPECT_EQ(adapter.header(adapter.names[1])->shape, (Shape{kHidden, 2}));
  const std::vector<float> before = floats_of(base(), "fc1.weight");
  const std::vector<float> after = floats_of(written(), "fc1.weight");
  double moved = 0;
  for (int64_t i = 0; i < kFeatures; ++i)
    for (int64_t o = 0; o < kHidden; ++o) {
      double delta = 0;
      for (int64_t k = 0; k < 2; ++k)
        delta += double{b[static_cast<size_t>(o * 2 + k)]} * a[static_cast<size_t>(k * kFeatures + i)];
      const auto at = static_cast<size_t>(i * kHidden + o);
      // In double, rounded once.
      EXPECT_EQ(after[at], static_cast<float>(before[at] + 4 * delta));
      moved = std::max(moved, std::abs(4 * delta));
    }
  EXPECT_GT(moved, 1e-3);
  // Everything else is as it was.
  for (const char* name : {"fc1.bias", "fc2.weight", "fc2.bias"})
    EXPECT_EQ(floats_of(written(), name), floats_of(base(), name)) << name;
  EXPECT_EQ(written().nodes().size(), base().nodes().size());
  EXPECT_EQ(written().tensors().size(), base().tensors().size());
  const auto config = nlohmann::json::parse(read_file(options_.out + "/" + kAdapterConfig));
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 2);
  EXPECT_EQ(config["lora_alpha"], 8);
  EXPECT_EQ(config["target_modules"], nlohmann::json({"fc1"}));
}

TEST_F(Lora, SaysWhatItTrainsAndWhatThatTakes) {
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  EXPECT_TRUE(has(run.log, "adapters of 1 weights, 48 numbers (fc1)")) << run.log;
  EXPECT_TRUE(has(run.log, "2 trained tensors, 4 frozen")) << run.log;
  EXPECT_TRUE(has(run.log, "memory: the network's own weights take")) << run.log;
}

TEST_F(Lora, TrainsLikeFp32InSixteenBits) {
  const Ended wide = train(options_);
  ASSERT_TRUE(wide.done) << wide.message;
  for (const char* precision : {"fp16", "bf16"}) {
    options_.network.precision = precision;
    options_.out = folder_ / precision;
    const Ended run = train(options_);
    ASSERT_TRUE(run.done) << run.message;
    // What training wins is ten times what 16 bits change.
    const auto before = nlohmann::json::parse(run.result.summary_json)["before"]["loss"].get<double>();
    EXPECT_LT(std::abs(*run.result.val_loss - *wide.result.val_loss), 0.1 * (before - *wide.result.val_loss))
        << precision;
  }
}

TEST_F(Lora, GoesOnToTheSameBytesOnAnyNumberOfThreads) {
  options_.network.precision = "fp16";
  options_.lora += ",dropout=0.25";
  options_.optimizer = "adamw";
  options_.lr = 0.01;
  const Ended whole = train(options_);
  ASSERT_TRUE(whole.done) << whole.message;
  const std::string model = read_file(options_.out + "/model.onnx");
  const std::string adapter = read_file(options_.out + "/" + kAdapterFile);
  options_.out += "-stopped";
  options_.epochs = 1;
  ASSERT_TRUE(train(options_).done);
  EXPECT_FALSE(read_file(options_.out + "/" + kAdapterFile) == adapter);
  options_.epochs = 3;
  options_.resume = true;
  options_.network.threads = 2;
  const Ended on = train(options_);
  ASSERT_TRUE(on.done) << on.message;
  EXPECT_TRUE(read_file(options_.out + "/model.onnx") == model);
  EXPECT_TRUE(read_file(options_.out + "/" + kAdapterFile) == adapter);
  options_.lora = "r=2,alpha=4,dropout=0.25";
  options_.epochs = 4;
  const Ended other = train(options_);
  ASSERT_FALSE(other.done);
  EXPECT_TRUE(has(other.message, "--lora")) << other.message;
}

TEST_F(Lora, CheckpointsAreNetworksToo) {
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  const train::LatestCheckpoint latest = train::find_latest(options_.out);
  ASSERT_TRUE(latest.checkpoint);
  EXPECT_EQ(latest.checkpoint->tensors.count("fc1.lora_A.weight"), 1U);
  EXPECT_EQ(latest.checkpoint->tensors.count("fc1.weight"), 0U);
  export_model(options_.out, "fp32-onnx", folder_ / "last.onnx", "last");
  EXPECT_TRUE(read_file(folder_ / "last.onnx") == read_file(options_.out + "/model.onnx"));
}

TEST_F(Lora, TrainsANewHeadInFull) {
  options_.classes = 6;
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  const data::NamedArrays adapter = data::safetensors_arrays(options_.out + "/" + kAdapterFile);
  EXPECT_EQ(adapter.header("base_model.model.fc2.weight")->shape, (Shape{6, kHidden}));
  EXPECT_EQ(adapter.header("base_model.model.fc2.bias")->shape, (Shape{6}));
  const auto config = nlohmann::json::parse(read_file(options_.out + "/" + kAdapterConfig));
  EXPECT_EQ(config["modules_to_save"], nlohmann::json({"fc2"}));
  // Merged into the network that the run began with, it is the run's result.
  const std::vector<std::string> notes =
      merge_adapter(folder_ / "m.onnx", options_.out, folder_ / "merged.onnx");
  EXPECT_TRUE(has(notes.at(0), "has 6 rows")) << notes.at(0);
  const onnx::Model merged = onnx::Model::load(folder_ / "merged.onnx");
  for (const char* name : {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"})
    EXPECT_EQ(floats_of(merged, name), floats_of(written(), name)) << name;
  EXPECT_EQ(merged.outputs().at(0).dims.at(1).value, 6);
  options_.out += "-both";
  options_.lora += ",targets=fc2";
  const Ended both = train(options_);
  ASSERT_FALSE(both.done);
  EXPECT_TRUE(has(both.message, "new last layer alone")) << both.message;
}

TEST_F(Lora, MergesToTheBytesThatTheRunWrote) {
  ASSERT_TRUE(train(options_).done);
  merge_adapter(folder_ / "m.onnx", options_.out, folder_ / "merged.onnx");
  EXPECT_TRUE(has(read_file(options_.out + "/model.onnx"), "m") &&
              floats_of(onnx::Model::load(folder_ / "merged.onnx"), "fc1.weight") ==
                  floats_of(written(), "fc1.weight"));
}

TEST_F(Lora, KeepsBatchNormsAsTheyAre) {
  write_batch_norm(folder_ / "m.onnx", 0.9F);
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  for (const char* name : {"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"})
    EXPECT_EQ(floats_of(written(), name), floats_of(base(), name)) << name;
}

TEST_F(Lora, RefusesWhatIsNotUnderstood) {
  const auto message = [&](const std::string& text) {
    options_.lora = text;
    const Ended run = train(options_);
    EXPECT_FALSE(run.done) << text;
    EXPECT_EQ(run.kind, ErrorKind::kUsage) << text;
    return run.message;
  };
  EXPECT_TRUE(has(message("r=8"), "alpha is missing"));
  EXPECT_TRUE(has(message("alpha=8"), "r is missing"));
  EXPECT_TRUE(has(message("r=0,alpha=8"), "expected 1 to"));
  EXPECT_TRUE(has(message("r=1.5,alpha=8"), "expected a number"));
  EXPECT_TRUE(has(message("r=2,alpha=0"), "above 0"));
  EXPECT_TRUE(has(message("r=2,alpha=nan"), "above 0"));
  EXPECT_TRUE(has(message("r=2,r=3,alpha=8"), "given twice"));
  EXPECT_TRUE(has(message("r=2,alpha=8,dropout=1"), "below 1"));
  EXPECT_TRUE(has(message("r=2,alpha=8,"), "not understood"));
  EXPECT_TRUE(has(message("r=2,alpha=8,target=fc1"), "'target=fc1' is not understood"));
  EXPECT_TRUE(has(message("r=2,alpha=8,targets=fc7"), "matches no weight"));
  EXPECT_TRUE(has(message("r=2,alpha=8,targets=fc1.bias"), "is no weight of a MatMul"));
  options_.freeze = {"fc1*"};
  EXPECT_TRUE(has(message("r=2,alpha=8"), "--freeze"));
  options_.freeze.clear();
  options_.network.batchnorm = "keep";
  EXPECT_TRUE(has(message("r=2,alpha=8"), "--batchnorm keep"));
}

// An adapter of fc1 as PEFT would write it, with changes to its configuration.
class Merging : public Lora {
 protected:
  Merging() {
    std::filesystem::create_directories(folder_ / "adapter");
    content_.tensors["base_model.model.fc1.lora_A.weight"] = filled({2, kFeatures}, 0.25F);
    content_.tensors["base_model.model.fc1.lora_B.weight"] = filled({kHidden, 2}, 0.5F);
    config_ = {
        {"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 8}, {"bias", "none"}, {"peft_version", "0.18"}};
  }
  static Tensor filled(const Shape& shape, float value) {
    Tensor t(DType::kF32, shape);
    std::fill(t.as<float>().begin(), t.as<float>().end(), value);
    return t;
  }
  // By how much fc1's weight grew; the message of the error otherwise.
  std::string merge() {
    train::write_safetensors(folder_ / "adapter/adapter_model.safetensors", content_);
    std::ofstream(folder_ / "adapter/adapter_config.json") << config_.dump();
    try {
      merge_adapter(folder_ / "m.onnx", folder_ / "adapter", folder_ / "merged.onnx");
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      return e.what();
    }
    return "";
  }
  float growth() {
    EXPECT_EQ(merge(), "");
    return floats_of(onnx::Model::load(folder_ / "merged.onnx"), "fc1.weight")[5] -
           floats_of(base(), "fc1.weight")[5];
  }
  std::string with(const std::string& key, const nlohmann::json& value) {
    const nlohmann::json before = config_;
    config_[key] = value;
    const std::string message = merge();
    config_ = before;
    return message;
  }

  train::Safetensors content_;
  nlohmann::json config_;
};

TEST_F(Merging, ScalesAsTheConfigurationSays) {
  constexpr float kTolerance = 1e-6F;       // a rounding of numbers near 1
  EXPECT_NEAR(growth(), 1.0F, kTolerance);  // 8 / 2 * 2 * 0.25 * 0.5
  config_["use_rslora"] = true;
  EXPECT_NEAR(growth(), std::sqrt(2.0F), kTolerance);
  config_["use_rslora"] = false;
  config_["alpha_pattern"] = {{"other", 1}, {"fc1", 4}};
  EXPECT_NEAR(growth(), 0.5F, kTolerance);
  config_["r"] = 3;
  EXPECT_TRUE(has(merge(), "it has rank 2, the configuration says 3"));
  config_["rank_pattern"] = {{"fc1", 2}};
  EXPECT_NEAR(growth(), 0.5F, kTolerance);
}

TEST_F(Merging, RefusesByNameWhatItCannotDo) {
  EXPECT_TRUE(has(with("use_dora", true), "'use_dora'"));
  EXPECT_TRUE(has(with("bias", "all"), "'bias'"));
  EXPECT_TRUE(has(with("peft_type", "IA3"), "'peft_type'"));
  EXPECT_TRUE(has(with("init_lora_weights", "pissa"), "'init_lora_weights'"));
  EXPECT_TRUE(has(with("alora_invocation_tokens", {1, 2}), "'alora_invocation_tokens'"));
  EXPECT_TRUE(has(with("something_new", 3), "'something_new'"));
  EXPECT_TRUE(has(with("alpha_pattern", {{".*fc", 3}}), "regular expression"));
  EXPECT_EQ(with("something_new", nullptr), "");
  EXPECT_EQ(with("loftq_config", nlohmann::json::object()), "");
}

TEST_F(Merging, NamesEveryTensorThatFitsNothing) {
  content_.tensors["base_model.model.fc3.lora_A.weight"] = filled({2, kFeatures}, 1);
  content_.tensors["base_model.model.fc3.lora_B.weight"] = filled({4, 2}, 1);
  content_.tensors["base_model.model.fc2.lora_A.weight"] = filled({2, kHidden + 1}, 1);
  content_.tensors["base_model.model.fc2.lora_B.weight"] = filled({kClasses, 2}, 1);
  content_.tensors["base_model.model.norm.weight"] = filled({4}, 1);
  content_.tensors["base_model.model.fc1.lora_embedding_A"] = filled({4}, 1);
  const std::string message = merge();
  for (const char* part : {"no weight of a module 'fc3'", "do not fit weight 'fc2.weight'", "'norm.weight'",
                           "'fc1.lora_embedding_A'"})
    EXPECT_TRUE(has(message, part)) << part << "\n" << message;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "merged.onnx"));
}

// As many numbers in another shape are another tensor; and a tensor gets one value.
TEST_F(Merging, TakesTensorsTrainedInFullInTheirOwnShapeOnce) {
  static_assert(kHidden % 2 == 0);
  config_["modules_to_save"] = {"fc1"};
  content_.tensors["base_model.model.fc1.bias"] = filled({2, kHidden / 2}, 1);
  EXPECT_TRUE(has(merge(), "does not fit 'fc1.bias'"));
  content_.tensors["base_model.model.fc1.bias"] = filled({1, kHidden}, 1);
  EXPECT_EQ(merge(), "");
  EXPECT_EQ(floats_of(onnx::Model::load(folder_ / "merged.onnx"), "fc1.bias").at(0), 1);
  content_.tensors["base_model.model.fc1.weight"] = filled({kHidden, kFeatures}, 1);
  EXPECT_TRUE(has(merge(), "another tensor of the adapter is 'fc1.weight'"));
}

TEST_F(Merging, NeedsBothFiles) {
  EXPECT_EQ(merge(), "");
  std::filesystem::remove(folder_ / "adapter/adapter_config.json");
  EXPECT_THROW(merge_adapter(folder_ / "m.onnx", folder_ / "adapter", folder_ / "merged.onnx"), Error);
  std::ofstream(folder_ / "adapter/adapter_config.json") << "{";
  EXPECT_THROW(merge_adapter(folder_ / "m.onnx", folder_ / "adapter", folder_ / "merged.onnx"), Error);
}

}  // namespace
}  // namespace halftone::api::test
