// Samples of several sizes, from outside: a folder with a folder of .npy for each length.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "e2e/program.h"
#include "onnx/build_model.h"

namespace halftone::e2e {
namespace {

using onnx::test::floats;
using onnx::test::ModelBuilder;

std::vector<float> wave(size_t n, double step) {
  std::vector<float> out(n);
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<float>(std::sin(step * static_cast<double>(i + 1)));
  return out;
}

template <class T>
void write_array(const std::string& path, const std::string& descr, const std::string& shape,
                 const std::vector<T>& values) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write("\x93NUMPY\x01\x00", 8);
  out << static_cast<char>(header.size() & 0xFF) << static_cast<char>(header.size() >> 8) << header;
  out.write(reinterpret_cast<const char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(T)));
}

class Sizes : public testing::Test {
 protected:
  Sizes() {
    ModelBuilder m;
    m.input("x", {"N", "4", "T"}).output("y", {"N", "3"});
    m.initializer(floats("w", {6, 4, 3}, wave(72, 0.7))).initializer(floats("v", {6, 3}, wave(18, 1.3)));
    m.node("Conv", {"x", "w"}, {"c"},
           {{"kernel_shape", std::vector<int64_t>{3}}, {"pads", std::vector<int64_t>{1, 1}}});
    m.node("Tanh", {"c"}, {"t"});
    m.node("ReduceMean", {"t"}, {"p"}, {{"axes", std::vector<int64_t>{2}}, {"keepdims", 0}});
    m.node("MatMul", {"p", "v"}, {"y"});
    std::ofstream(folder_ / "net.onnx", std::ios::binary) << m.bytes();
    samples("data/short", 10, 5, 0.3);
    samples("data/long", 7, 9, 0.4);
  }

  void samples(const std::string& at, size_t n, size_t length, double step) const {
    const std::string shape = "(" + std::to_string(n) + ", 4, " + std::to_string(length) + ")";
    write_array(folder_ / (at + "/x.npy"), "<f4", shape, wave(n * 4 * length, step));
    std::vector<int64_t> labels(n);
    for (size_t i = 0; i < n; ++i) labels[i] = static_cast<int64_t>(i % 3);
    write_array(folder_ / (at + "/y.npy"), "<i8", "(" + std::to_string(n) + ",)", labels);
  }
  std::vector<std::string> train(const std::string& out) const {
    const std::string data = folder_ / "data";
    return {"train",
            folder_ / "net.onnx",
            "--data",
            data,
            "--val",
            data,
            "--batch",
            "4",
            "--epochs",
            "40",
            "--last",
            "keep",
            "--lr",
            "0.05",
            "--precision",
            "fp16",
            "--json",
            "--log-every",
            "1",
            "--quiet",
            "--threads",
            "1",
            "--out",
            folder_ / out,
            "--checkpoint-every",
            "5"};
  }

  Folder folder_;
};

TEST_F(Sizes, AKilledRunGoesOnWithTheSameBytes) {
  const Outcome straight = run(train("straight"));
  ASSERT_EQ(straight.code, 0) << straight.err;
  const std::string events = folder_ / "killed/events.jsonl";
  const Outcome killed = run(train("killed"), {}, [&] { return exists(events) && lines_of(events) >= 23; });
  ASSERT_NE(killed.code, 0) << "it ended before it was killed";
  const Outcome resumed = run({"train", "--resume", folder_ / "killed", "--quiet"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_TRUE(bytes_of(folder_ / "killed/model.onnx") == bytes_of(folder_ / "straight/model.onnx"));
  // 2 full batches and one of 2 samples of the short ones, one and one of 3 of the long ones, an epoch.
  const auto summary = nlohmann::json::parse(bytes_of(folder_ / "straight/summary.json"));
  EXPECT_EQ(summary.at("steps"), 40 * 5);
  const Outcome evaluated = run({"eval", folder_ / "straight", "--data", folder_ / "data", "--precision",
                                 "fp16", "--batch", "4", "--json"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  const std::string line = evaluated.out.substr(0, evaluated.out.find_last_not_of('\n') + 1);
  const auto json = nlohmann::json::parse(line.substr(line.rfind('\n') + 1));
  EXPECT_NEAR(json.at("val_loss").get<double>(), summary.at("val_loss").get<double>(), 1e-6);
}

TEST_F(Sizes, FilesThatDisagreeAreRefusedByName) {
  write_array(folder_ / "data/third/x.npy", "<f8", "(2, 4, 3)", std::vector<double>(24, 0.5));
  write_array(folder_ / "data/third/y.npy", "<i8", "(2,)", std::vector<int64_t>{0, 1});
  const Outcome types = run(train("types"));
  EXPECT_EQ(types.code, 3);
  EXPECT_NE(types.err.find("data/third: its array x is of fp64 2x4x3"), std::string::npos) << types.err;
  std::filesystem::remove(folder_ / "data/third/x.npy");
  const Outcome missing = run(train("missing"));
  EXPECT_EQ(missing.code, 3);
  EXPECT_NE(missing.err.find("data/third"), std::string::npos) << missing.err;
}

}  // namespace
}  // namespace halftone::e2e
