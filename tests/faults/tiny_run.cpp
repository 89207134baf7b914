#include "faults/tiny_run.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "data/files.h"
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

std::vector<float> random_numbers(int64_t count, uint64_t stream) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(number(stream, static_cast<uint64_t>(i)));
  return values;
}

}  // namespace

void TinyRun::write_images() const {
  ModelBuilder m;
  m.input("x", {"N", "3", "8", "8"}).output("y", {"N", "2"});
  m.initializer(random_floats("w1", {4, 3, 3, 3}, 11)).initializer(random_floats("b1", {4}, 12));
  m.initializer(random_floats("w2", {4, 2}, 13)).initializer(random_floats("b2", {2}, 14));
  m.node("Conv", {"x", "w1", "b1"}, {"h"}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}})
      .node("Relu", {"h"}, {"r"});
  m.node("GlobalAveragePool", {"r"}, {"p"})
      .node("Flatten", {"p"}, {"f"})
      .node("Gemm", {"f", "w2", "b2"}, {"y"});
  std::ofstream(image_network(), std::ios::binary) << m.bytes();
  int i = 0;
  for (const std::string name : {"photo.jpg", "rgb.png", "progressive.jpg", "interlaced.png", "cmyk.jpg",
                                 "palette.png", "422.jpg", "grey16.png"}) {
    const std::string folder = images() + "/class" + std::to_string(i++ % 2);
    std::filesystem::create_directories(folder);
    std::filesystem::copy_file(data::fixture("images/" + name), folder + "/" + name);
  }
}

void TinyRun::write_fields() const {
  ModelBuilder m;
  m.input("ids", {"N", "5"}, onnx::test::TensorProto::INT64)
      .input("values", {"N", "4"})
      .output("y", {"N", "3"});
  m.initializer(random_floats("table", {20, 6}, 21));
  m.initializer(random_floats("w1", {10, 8}, 22)).initializer(random_floats("b1", {8}, 23));
  m.initializer(random_floats("w2", {8, 3}, 24)).initializer(random_floats("b2", {3}, 25));
  m.node("Gather", {"table", "ids"}, {"e"});
  m.node("ReduceMean", {"e"}, {"mean"}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{0}}});
  m.node("Concat", {"mean", "values"}, {"c"}, {{"axis", int64_t{1}}});
  m.node("Layer", {"c", "w1", "b1"}, {"h"}).node("Layer", {"h", "w2", "b2"}, {"y"});
  for (auto& node : *m.model.mutable_graph()->mutable_node())
    if (node.op_type() == "Layer") node.set_domain("local");
  auto* import = m.model.add_opset_import();
  import->set_domain("local");
  import->set_version(1);
  auto* function = m.model.add_functions();
  function->set_domain("local");
  function->set_name("Layer");
  *function->add_opset_import() = m.model.opset_import(0);
  for (const char* name : {"x", "w", "b"}) function->add_input(name);
  function->add_output("y");
  const auto add = [&](const char* op, const std::vector<std::string>& inputs, const char* output) {
    auto* node = function->add_node();
    node->set_op_type(op);
    for (const std::string& name : inputs) node->add_input(name);
    node->add_output(output);
  };
  add("Gemm", {"x", "w", "b"}, "t");
  add("Tanh", {"t"}, "y");
  std::ofstream(fields_network(), std::ios::binary) << m.bytes();
  ModelBuilder loss;
  loss.input("y", {"N", "3"}).input("target", {"N", "3"}).input("weight", {"N", "1"}).output("loss", {});
  loss.node("Sub", {"y", "target"}, {"d"}).node("Mul", {"d", "d"}, {"s"}).node("Mul", {"s", "weight"}, {"t"});
  loss.node("ReduceMean", {"t"}, {"loss"}, {{"axes", std::vector<int64_t>{0, 1}}, {"keepdims", int64_t{0}}});
  std::ofstream(loss_graph(), std::ios::binary) << loss.bytes();
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < 200; ++i) ids.push_back(i * 7 % 20);
  std::vector<float> weights(40, 1);
  weights[3] = 0.5;
  const struct {
    const char* name;
    const char* numpy;
    const char* dtype;
    std::string width, bytes;
  } arrays[] = {{"ids", "<i8", "I64", "5", data::bytes_of(ids)},
                {"target", "<f4", "F32", "3", data::bytes_of(random_numbers(120, 26))},
                {"values", "<f4", "F32", "4", data::bytes_of(random_numbers(160, 27))},
                {"weight", "<f4", "F32", "1", data::bytes_of(weights)}};
  std::vector<data::Member> members;
  std::string header, bytes;
  for (const auto& a : arrays) {
    members.push_back({std::string(a.name) + ".npy", data::npy(a.numpy, "(40, " + a.width + ")", a.bytes)});
    header += (header.empty() ? "{\"" : ",\"") + std::string(a.name) + "\":{\"dtype\":\"" + a.dtype +
              "\",\"shape\":[40," + a.width + "],\"data_offsets\":[" + std::to_string(bytes.size()) + "," +
              std::to_string(bytes.size() + a.bytes.size()) + "]}";
    bytes += a.bytes;
  }
  std::ofstream(fields("npz"), std::ios::binary) << data::zip(members, true);
  std::ofstream(fields("safetensors"), std::ios::binary) << data::safetensors(header + "}", bytes);
}

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
  write_images();
  write_fields();
  std::ofstream(samples(), std::ios::binary)
      << data::npy("<f4", "(8, 4)", data::bytes_of(random_numbers(32, 31)));
  std::ofstream(labels(), std::ios::binary)
      << data::npy("<i8", "(8,)", data::bytes_of(std::vector<int64_t>{0, 1, 2, 0, 1, 2, 0, 1}));
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
