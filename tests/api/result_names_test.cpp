// Files of the user's whose names are those of results.
#include <gtest/gtest.h>

#include <filesystem>

#include "api/small_networks.h"
#include "base/file.h"

namespace halftone::api::test {
namespace {

namespace fs = std::filesystem;

// m.onnx of the folder with its weights in the file `location` beside it.
std::string with_external_data(const TemporaryFolder& folder, const std::string& location) {
  ::onnx::ModelProto proto;
  EXPECT_TRUE(proto.ParseFromString(read_file(folder / "m.onnx")));
  const std::string where = "of " + std::to_string(std::hash<std::string>()(location));
  fs::create_directories(folder / where);
  std::string data;
  for (auto& t : *proto.mutable_graph()->mutable_initializer()) {
    const auto entry = [&](const char* key, const std::string& value) {
      auto* e = t.add_external_data();
      e->set_key(key);
      e->set_value(value);
    };
    entry("location", location);
    entry("offset", std::to_string(data.size()));
    entry("length", std::to_string(t.raw_data().size()));
    data += t.raw_data();
    t.clear_raw_data();
    t.set_data_location(::onnx::TensorProto::EXTERNAL);
  }
  fs::create_directories(fs::path(folder / where + "/" + location).parent_path());
  std::ofstream(folder / where + "/" + location, std::ios::binary) << data;
  std::ofstream(folder / where + "/net.onnx", std::ios::binary) << proto.SerializeAsString();
  return folder / where + "/net.onnx";
}

TEST(ResultNames, ExternalDataUnderANameOfARunIsRefusedBeforeTraining) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx");
  TrainOptions o = train_options(folder, "fp32");
  for (const std::string name :
       {"summary.json", "config.yaml", "events.jsonl", "model.onnx", "classes.txt", "best.htck",
        "val_samples.safetensors", "checkpoint-0000000003.htck", "events.out.tfevents.1.halftone.1",
        "model.onnx.tmp", ".halftone-run", "model.onnx/weights"}) {
    o.network.model = with_external_data(folder, name);
    const Ended e = train(o);
    ASSERT_FALSE(e.done) << name;
    EXPECT_EQ(e.kind, ErrorKind::kInput);
    EXPECT_TRUE(has(e.message, "external data is in '" + name + "'")) << e.message;
    EXPECT_FALSE(fs::exists(o.out + "/events.jsonl"));
  }
  o.network.model = with_external_data(folder, "weights.bin");
  const Ended e = train(o);
  EXPECT_TRUE(e.done) << e.message;
  EXPECT_TRUE(fs::exists(o.out + "/weights.bin"));
}

TEST(ResultNames, WhatARunReadsInItsFolderIsNeverReplaced) {
  TemporaryFolder folder;
  write_csv(folder / "train.csv", 64, 3);
  write_mlp(folder / "m.onnx");
  TrainOptions o = train_options(folder, "fp32");
  ASSERT_TRUE(train(o).done);
  o.overwrite = true;
  const std::string before = read_file(o.out + "/summary.json");
  const auto refused = [&](const TrainOptions& changed) {
    const Ended e = train(changed);
    EXPECT_FALSE(e.done);
    EXPECT_EQ(e.kind, ErrorKind::kUsage);
    EXPECT_TRUE(has(e.message, "which is in that folder")) << e.message;
    EXPECT_EQ(read_file(o.out + "/summary.json"), before);
  };
  for (const std::string name : {"model.onnx", "summary.json", "config.yaml", "events.jsonl"}) {
    const std::string path = o.out + "/" + name;
    TrainOptions changed = o;
    changed.network.model = path;
    refused(changed);
    changed = o;
    changed.data.data = path;
    refused(changed);
    changed = o;
    changed.data.val = path;
    refused(changed);
    changed = o;
    changed.data.classes_file = path;
    refused(changed);
  }
}

TEST(ResultNames, AnExportNeverReplacesWhatItReads) {
  TemporaryFolder folder;
  write_mlp(folder / "m.onnx");
  const std::string network = with_external_data(folder, "weights.bin");
  const std::string data = fs::path(network).parent_path().string() + "/weights.bin";
  const std::string before = read_file(data);
  fs::create_symlink(data, folder / "link");
  for (const std::string format : {"fp32-onnx", "fp16-onnx", "safetensors"})
    for (const std::string& out : {data, folder / "link", network}) {
      EXPECT_THROW(export_model(network, format, out), Error) << format << " " << out;
      EXPECT_EQ(read_file(data), before);
    }
}

}  // namespace
}  // namespace halftone::api::test
