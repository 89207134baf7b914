// Training of networks made in code, within the test's process.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "halftone/halftone.h"
#include "onnx/build_model.h"
#include "train/safetensors.h"

namespace halftone::test {

using namespace onnx::test;
using Names = std::vector<std::string>;

inline constexpr int kChannels = 4;  // of every activation, and classes: so any vector can serve in any place
inline constexpr int kSide = 5;
inline constexpr int kSamples = 24;

inline TensorProto values(const std::string& name, const std::vector<int64_t>& dims, float first,
                          float last) {
  int64_t size = 1;
  for (const int64_t d : dims) size *= d;
  std::vector<float> v;
  // Neither sorted nor symmetrical.
  for (int64_t i = 0; i < size; ++i)
    v.push_back(first + (last - first) * static_cast<float>(i * 7 % 11) / 10);
  return floats(name, dims, v);
}

inline std::string bytes_of(const TensorProto& t, const std::string& folder) {
  if (t.data_location() != TensorProto::EXTERNAL) return t.raw_data();
  std::map<std::string, std::string> entries;
  for (const auto& e : t.external_data()) entries[e.key()] = e.value();
  const std::string all = read_file(folder + "/" + entries["location"]);
  return all.substr(std::stoul(entries["offset"]), std::stoul(entries["length"]));
}

inline ModelProto proto_of(const std::string& path) {
  ModelProto proto;
  EXPECT_TRUE(proto.ParseFromString(read_file(path)));
  return proto;
}

// Each initializer's bytes, wherever they are.
inline std::map<std::string, std::string> elements_of(const std::string& folder, const std::string& name) {
  std::map<std::string, std::string> out;
  const ModelProto proto = proto_of(folder + "/" + name);
  for (const TensorProto& t : proto.graph().initializer()) out[t.name()] = bytes_of(t, folder);
  return out;
}

// Images of noise, and labels in turn.
inline void write_data(const std::string& path) {
  std::mt19937_64 random(5);
  train::Safetensors data;
  data.tensors["x"] = Tensor(DType::kF32, {kSamples, kChannels, kSide, kSide});
  data.tensors["y"] = Tensor(DType::kI64, {kSamples});
  for (float& x : data.tensors["x"].as<float>()) x = static_cast<float>(random() % 2001) / 1000 - 1;
  int64_t i = 0;
  for (int64_t& y : data.tensors["y"].as<int64_t>()) y = i++ % kChannels;
  train::write_safetensors(path, data);
}

inline const Log kSilent = [](const std::string&) {};

// Three steps of net.onnx of the folder on its data.safetensors, into run-PRECISION.
inline TrainOptions options_for(const std::string& folder, const std::string& precision) {
  TrainOptions o;
  o.network.model = folder + "/net.onnx";
  o.network.precision = precision;
  o.network.batch = 8;
  o.network.threads = 1;
  o.data.data = o.data.val = folder + "/data.safetensors";
  o.data.loader_threads = 1;
  o.steps = 3;
  o.lr = 0.05;
  o.out = folder + "/run-" + precision;
  o.quiet = true;
  return o;
}

}  // namespace halftone::test
