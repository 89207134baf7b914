// What is said where a run begins at the level of chance.
#include <gtest/gtest.h>

#include <fstream>

#include "api/small_networks.h"

namespace halftone::api::test {
namespace {

// Ten classes of CIFAR's pictures by their mean red and blue in [0, 1]: 0 is bright red, 1 blue, 2 dark red. With red and blue
// exchanged 2 is taken for 1, so that no other order of the classes explains it.
void write_colours(const std::string& path) {
  std::vector<float> w(3 * 10, 0.0F);
  w[0] = 20;           // red for 0
  w[2] = 2;            // red for 2
  w[2 * 10 + 1] = 10;  // blue for 1
  std::vector<float> b(10, -1000.0F);
  b[0] = -15;
  b[1] = -1;
  b[2] = 0;
  ModelBuilder m;
  m.input("x", {"batch", "3", "32", "32"}).output("logits", {"batch", "10"});
  m.initializer(floats("fc.weight", {3, 10}, w)).initializer(floats("fc.bias", {10}, b));
  m.node("GlobalAveragePool", {"x"}, {"p"}).node("Flatten", {"p"}, {"f"});
  m.node("Gemm", {"f", "fc.weight", "fc.bias"}, {"logits"}, {}, "fc");
  std::ofstream(path, std::ios::binary) << m.bytes();
}

// In turn bright red, blue, dark red; planes are red, green, blue, or the other way round. labels: of the three.
void write_pictures(const std::string& path, bool bgr, const std::string& labels) {
  std::ofstream file(path, std::ios::binary);
  for (int i = 0; i < 60; ++i) {
    const int kind = i % 3;
    const char red = static_cast<char>(kind == 0 ? 255 : kind == 2 ? 128 : 0);
    const char blue = static_cast<char>(kind == 1 ? 255 : 0);
    file << static_cast<char>(labels[static_cast<size_t>(kind)] - '0');
    file << std::string(1024, bgr ? blue : red) << std::string(1024, '\0')
         << std::string(1024, bgr ? red : blue);
  }
}

std::string said(const TemporaryFolder& folder, const std::string& channel_order = "rgb") {
  TrainOptions o;
  o.network.model = folder / "m.onnx";
  o.network.precision = "fp32";
  o.network.batch = 20;
  o.network.threads = 1;
  o.data.data = o.data.val = folder / "d.bin";
  o.data.channel_order = channel_order;
  o.lr = 0;
  o.steps = 1;
  o.quiet = true;
  o.out = folder / "run";
  o.overwrite = true;
  std::string log;
  train_model(o, [&](const std::string& line) { log += line + "\n"; });
  return log;
}

TEST(StartingPoint, NamesTheOrderOfChannels) {
  TemporaryFolder folder;
  write_colours(folder / "m.onnx");
  write_pictures(folder / "d.bin", false, "012");
  const std::string right = said(folder);
  EXPECT_EQ(right.find("level of chance"), std::string::npos) << right;
  write_pictures(folder / "d.bin", true, "012");
  const std::string wrong = said(folder);
  EXPECT_NE(
      wrong.find(
          "warning: before the first step 0.00 % are right, which is the level of chance for 10 classes: "
          "--channel-order bgr gives 100.0 % of 60 samples where this run's options give 0.0 %"),
      std::string::npos)
      << wrong;
  const std::string told = said(folder, "bgr");
  EXPECT_EQ(told.find("level of chance"), std::string::npos) << told;
  EXPECT_NE(told.find("accuracy 100.00 %"), std::string::npos) << told;
}

TEST(StartingPoint, NamesAnotherOrderOfClasses) {
  TemporaryFolder folder;
  write_colours(folder / "m.onnx");
  write_pictures(folder / "d.bin", false, "120");
  const std::string log = said(folder);
  EXPECT_NE(log.find("in another order 100.0 % are right; give --classes-file"), std::string::npos) << log;
}

}  // namespace
}  // namespace halftone::api::test
