// `halftone gradients` from outside.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

// A .npy file, version 1.0. descr: "<f4" or "<i8".
void write_npy(const std::string& path, const std::string& descr, const std::string& shape, const void* data,
               size_t bytes) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::ofstream out(path, std::ios::binary);
  out.write("\x93NUMPY\x01\x00", 8);
  const auto length = static_cast<uint16_t>(header.size());
  out.write(reinterpret_cast<const char*>(&length), 2);
  out << header;
  out.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
}

// A field of a protocol buffer's message: bytes, or a number below 128.
std::string field(int number, const std::string& bytes) {
  return std::string{static_cast<char>(number * 8 + 2), static_cast<char>(bytes.size())} + bytes;
}
std::string field(int number, int value) {
  return {static_cast<char>(number * 8), static_cast<char>(value)};
}

// An ONNX file that takes `logits` and gives the mean of their squares.
std::string mean_of_squares() {
  const std::string type = field(1, 1);  // fp32
  const std::string shape = field(2, field(1, field(2, "N")) + field(1, field(1, 10)));
  const std::string graph =
      field(1, field(1, "logits") + field(1, "logits") + field(2, "s") + field(4, "Mul")) +
      field(1, field(1, "s") + field(2, "loss") + field(4, "ReduceMean")) + field(2, "loss") +
      field(11, field(1, "logits") + field(2, field(1, type + shape))) +
      field(12, field(1, "loss") + field(2, field(1, type)));
  return field(1, 8) + field(8, field(2, 13)) + field(7, graph);
}

class Gradients : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<float> x(size_t{2} * 3 * 32 * 32);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 2654435761U % 4096) / 2048.0F - 1;
    write_npy(folder / "x.npy", "<f4", "(2, 3, 32, 32)", x.data(), x.size() * sizeof(float));
  }
  Outcome gradients(int64_t second_label, const std::string& out, const std::vector<std::string>& more = {}) {
    const int64_t labels[2] = {3, second_label};
    write_npy(folder / "y.npy", "<i8", "(2,)", labels, sizeof labels);
    std::vector<std::string> a = {"gradients",      resnet20(), "--input", folder / "x.npy", "--labels",
                                  folder / "y.npy", "--mode",   "eval",    "--output-dir",   folder / out};
    a.insert(a.end(), more.begin(), more.end());
    return run(a);
  }
  std::string of_first_convolution(const std::string& out) const {
    return bytes_of(folder / (out + "/conv1.weight.npy"));
  }
  Folder folder;
};

TEST_F(Gradients, LabelsThatAreNoClassAreNamed) {
  for (const int64_t label : {-1, 10}) {
    const Outcome o = gradients(label, "out");
    EXPECT_EQ(o.code, 3) << label;
    EXPECT_NE(o.err.find("label " + std::to_string(label)), std::string::npos) << o.err;
    EXPECT_FALSE(exists(folder / "out"));
  }
  const Outcome o = gradients(9, "out");
  EXPECT_EQ(o.code, 0) << o.err;
}

TEST_F(Gradients, TheLossScaleIsDividedOutAndKeepsSmallOnes) {
  EXPECT_EQ(gradients(9, "fp32", {"--loss-scale", "1"}).code, 0);
  EXPECT_EQ(gradients(9, "fp32_scaled", {"--loss-scale", "1024"}).code, 0);
  ASSERT_GT(of_first_convolution("fp32").size(), 432 * sizeof(float));
  EXPECT_EQ(of_first_convolution("fp32"),
            of_first_convolution("fp32_scaled"));  // a power of two changes no bit
  EXPECT_EQ(gradients(9, "auto", {"--precision", "fp16"}).code, 0);
  EXPECT_EQ(gradients(9, "fp16_scaled", {"--precision", "fp16", "--loss-scale", "1024"}).code, 0);
  EXPECT_EQ(gradients(9, "fp16", {"--precision", "fp16", "--loss-scale", "1"}).code, 0);
  EXPECT_EQ(of_first_convolution("auto"), of_first_convolution("fp16_scaled"));
  EXPECT_NE(of_first_convolution("auto"), of_first_convolution("fp16"));  // fp16's subnormals round coarsely
  EXPECT_EQ(gradients(9, "odd", {"--loss-scale", "1000"}).code, 2);
}

TEST_F(Gradients, OverflowIsAnErrorAndWritesNothing) {
  const Outcome o = gradients(9, "out", {"--precision", "fp16", "--loss-scale", "16777216"});
  EXPECT_EQ(o.code, 4) << o.err;
  EXPECT_NE(o.err.find("--loss-scale"), std::string::npos) << o.err;
  EXPECT_FALSE(exists(folder / "out"));
}

TEST_F(Gradients, ALossGraphWithoutFieldsNeedsNoLabels) {
  std::ofstream(folder / "loss.onnx", std::ios::binary) << mean_of_squares();
  const std::vector<std::string> a = {"gradients", resnet20(), "--input",      folder / "x.npy",
                                      "--mode",    "eval",     "--output-dir", folder / "out"};
  const Outcome without = run(a);
  EXPECT_EQ(without.code, 2) << without.err;
  EXPECT_NE(without.err.find("1 losses need as many files with --labels, got 0"), std::string::npos)
      << without.err;
  std::vector<std::string> b = a;
  b.insert(b.end(), {"--loss-graph", folder / "loss.onnx"});
  const Outcome o = run(b);
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_GT(of_first_convolution("out").size(), 432 * sizeof(float));
}

}  // namespace
}  // namespace halftone::e2e
