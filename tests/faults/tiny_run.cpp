#include "faults/tiny_run.h"

#include <algorithm>
#include <fstream>

#include "num/random.h"

namespace halftone::faults {
namespace {

using onnx::test::floats;
using onnx::test::ModelBuilder;

float number(uint64_t stream, uint64_t at) {
  return static_cast<float>(num::random16(num::random_key(11, stream), at, 0)) / 32768.0F - 1;
}

onnx::test::TensorProto random_floats(const std::string& name, const std::vector<int64_t>& dims,
                                      uint64_t stream) {
  int64_t count = 1;
  for (const int64_t d : dims) count *= d;
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(number(stream, static_cast<uint64_t>(i)));
  return floats(name, dims, values);
}

// Two layers with a norm between them.
ModelBuilder tiny_network() {
  ModelBuilder m;
  m.input("x", {"N", "4"}).output("y", {"N", "3"});
  m.initializer(random_floats("w1", {4, 8}, 1)).initializer(random_floats("b1", {8}, 2));
  m.initializer(floats("scale", {8}, std::vector<float>(8, 1)))
      .initializer(floats("shift", {8}, std::vector<float>(8, 0)));
  m.initializer(floats("mean", {8}, std::vector<float>(8, 0)))
      .initializer(floats("variance", {8}, std::vector<float>(8, 1)));
  m.initializer(random_floats("w2", {8, 3}, 3)).initializer(random_floats("b2", {3}, 4));
  m.node("Gemm", {"x", "w1", "b1"}, {"h"});
  m.node("BatchNormalization", {"h", "scale", "shift", "mean", "variance"}, {"n"});
  m.node("Relu", {"n"}, {"r"});
  m.node("Gemm", {"r", "w2", "b2"}, {"y"});
  return m;
}

void write_data(const std::string& path, int samples, uint64_t stream) {
  std::ofstream file(path);
  file << "a,b,c,d,label\n";
  for (int i = 0; i < samples; ++i) {
    for (int k = 0; k < 4; ++k)
      file << number(stream, static_cast<uint64_t>(4 * i + k)) + static_cast<float>(k == i % 3) << ',';
    file << i % 3 << '\n';
  }
}

}  // namespace

TinyRun::TinyRun() {
  ModelBuilder m = tiny_network();
  std::ofstream(network(), std::ios::binary) << m.bytes();
  std::string external;
  for (auto& t : *m.model.mutable_graph()->mutable_initializer()) {
    t.set_data_location(onnx::test::TensorProto::EXTERNAL);
    const std::pair<std::string, std::string> entries[] = {{"location", "external.bin"},
                                                           {"offset", std::to_string(external.size())},
                                                           {"length", std::to_string(t.raw_data().size())}};
    for (const auto& [key, value] : entries) {
      auto* entry = t.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    external += t.raw_data();
    t.clear_raw_data();
  }
  std::ofstream(folder_ / "external.bin", std::ios::binary) << external;
  std::ofstream(external_network(), std::ios::binary) << m.bytes();
  write_data(data(), 40, 5);
  write_data(validation(), 12, 6);
}

Arguments TinyRun::train(const std::string& network, const std::string& out, const Arguments& more) const {
  const std::pair<std::string, std::string> options[] = {
      {"--data", data()},   {"--val", validation()},     {"--epochs", "2"},       {"--batch", "8"},
      {"--lr", "0.5"},      {"--precision", "fp16"},     {"--threads", "1"},      {"--loader-threads", "1"},
      {"--log-every", "1"}, {"--checkpoint-every", "3"}, {"--multiply", "block"}, {"--out", out}};
  Arguments a{"train", network, "--keep-best", "--quiet"};
  for (const auto& [name, value] : options)
    if (std::find(more.begin(), more.end(), name) == more.end()) a.insert(a.end(), {name, value});
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

}  // namespace halftone::faults
