// `halftone predict` from outside.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Arguments = std::vector<std::string>;

Arguments joined(Arguments a, const Arguments& more) {
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

std::vector<std::vector<std::string>> table(const std::string& csv) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(csv);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream cells(line);
    rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
  }
  return rows;
}

class Predict : public testing::Test {
 protected:
  void SetUp() override { write_cifar(folder / "d.bin", 20, 7); }
  Outcome predict(const Arguments& more) {
    return run(
        joined({"predict", resnet20(), "--data", folder / "d.bin", "--quiet", "--as", "numbers"}, more));
  }
  Folder folder;
};

TEST_F(Predict, GivesTheNumbersThatRunGives) {
  const Outcome rows = predict({});
  ASSERT_EQ(rows.code, 0) << rows.err;
  const auto cells = table(rows.out);
  ASSERT_EQ(cells.size(), 21U);
  EXPECT_EQ(cells[0][0], "sample");
  EXPECT_EQ(cells[20][0], "19");
  // The same samples, as run takes them: pixels / 255.
  const std::string cifar = bytes_of(folder / "d.bin");
  std::vector<float> x;
  for (size_t sample = 0; sample < 20; ++sample)
    for (size_t i = 0; i < 3072; ++i)
      x.push_back(static_cast<float>(static_cast<uint8_t>(cifar[sample * 3073 + 1 + i])) / 255.0F);
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (20, 3, 32, 32), }";
  header.resize(128 - 10 - 1, ' ');
  header += '\n';
  {
    std::ofstream out(folder / "x.npy", std::ios::binary);
    out.write("\x93NUMPY\x01\x00\x76\x00", 10);
    out << header;
    out.write(reinterpret_cast<const char*>(x.data()),
              static_cast<std::streamsize>(x.size() * sizeof(float)));
  }
  const Outcome ran = run(
      {"run", resnet20(), "--input", folder / "x.npy", "--precision", "fp32", "--output-dir", folder / "o"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  const std::string npy = bytes_of(folder / "o/0.npy");
  std::vector<float> y(200);
  std::memcpy(y.data(), npy.data() + npy.size() - 800, 800);
  bool any = false;
  for (size_t row = 0; row < 20; ++row)
    for (size_t c = 0; c < 10; ++c) {
      EXPECT_EQ(std::stof(cells[row + 1][c + 1]), y[row * 10 + c]) << row << " " << c;
      any = any || y[row * 10 + c] != 0;
    }
  EXPECT_TRUE(any);
}

TEST_F(Predict, HasTheSameBytesOnAnyThreadsAndBatches) {
  const Outcome one = predict({"--threads", "1", "--batch", "7", "--loader-threads", "1"});
  const Outcome two = predict({"--threads", "2", "--batch", "16"});
  ASSERT_EQ(one.code, 0) << one.err;
  EXPECT_FALSE(one.out.empty());
  EXPECT_EQ(one.out, two.out);
}

TEST_F(Predict, WritesAFileThatIsNotReplacedUnasked) {
  const std::string out = folder / "rows.jsonl";
  const Outcome first = predict({"--out", out, "--json"});
  ASSERT_EQ(first.code, 0) << first.err;
  const auto summary = nlohmann::json::parse(first.out);
  EXPECT_EQ(summary["samples"], 20);
  EXPECT_EQ(summary["format"], "jsonl");
  EXPECT_EQ(lines_of(out), 20);
  EXPECT_FALSE(exists(out + ".tmp"));
  EXPECT_EQ(predict({"--out", out}).code, 2);
  EXPECT_EQ(predict({"--out", out, "--overwrite"}).code, 0);
  EXPECT_EQ(predict({"--out", folder / "d.bin", "--overwrite", "--format", "csv"}).code, 2);
  EXPECT_EQ(predict({"--json"}).code, 2);
}

TEST_F(Predict, TakesLabelsAlongAndAgreesWithEval) {
  const Outcome rows =
      run({"predict", resnet20(), "--data", folder / "d.bin", "--quiet", "--as", "classes", "--with-labels"});
  ASSERT_EQ(rows.code, 0) << rows.err;
  const auto cells = table(rows.out);
  int right = 0;
  for (size_t i = 1; i < cells.size(); ++i) right += cells[i][1] == cells[i][2] ? 1 : 0;
  const Outcome evaluated =
      run({"eval", resnet20(), "--data", folder / "d.bin", "--quiet", "--precision", "fp32", "--json"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_DOUBLE_EQ(nlohmann::json::parse(evaluated.out)["val_accuracy"].get<double>(), right / 20.0);
}

TEST_F(Predict, KnowsWhatItsRunWasTrainedWith) {
  const std::string out = folder / "run";
  const Outcome trained =
      run({"train", resnet20(), "--data", folder / "d.bin", "--batch", "10", "--precision", "fp32",
           "--normalize", "cifar10", "--val", "none", "--out", out, "--quiet"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const Outcome rows = run({"predict", out, "--data", folder / "d.bin"});
  ASSERT_EQ(rows.code, 0) << rows.err;
  EXPECT_NE(rows.err.find("as the run in " + out + ": --normalize cifar10"), std::string::npos) << rows.err;
  EXPECT_EQ(table(rows.out)[0], (Arguments{"sample", "class", "probability"}));
  const Outcome same =
      run({"predict", out + "/model.onnx", "--data", folder / "d.bin", "--normalize", "cifar10"});
  EXPECT_EQ(same.out, rows.out);
  const Outcome other = run({"predict", out, "--data", folder / "d.bin", "--normalize", "none"});
  EXPECT_NE(other.err.find("normalises them differently"), std::string::npos) << other.err;
}

TEST_F(Predict, TrainingSaysBeforeAndAfterAndMeasuresEachClass) {
  const std::string out = folder / "run";
  const Arguments train{
      "train", resnet20(), "--data", folder / "d.bin", "--val",       folder / "d.bin", "--batch", "10",
      "--out", out,        "--lr",   "0.001",          "--precision", "fp32",           "--quiet", "--json"};
  const Outcome first = run(train);
  ASSERT_EQ(first.code, 0) << first.err;
  const auto summary = nlohmann::json::parse(first.out);
  const Outcome start =
      run({"eval", resnet20(), "--data", folder / "d.bin", "--precision", "fp32", "--json", "--quiet"});
  EXPECT_EQ(summary["before"]["loss"], nlohmann::json::parse(start.out)["val_loss"]);
  const auto metrics = nlohmann::json::parse(bytes_of(out + "/metrics.json"));
  EXPECT_EQ(metrics[0]["accuracy"], summary["val_accuracy"]);
  EXPECT_EQ(metrics[0]["confusion"].size(), 10U);
  EXPECT_EQ(lines_of(out + "/metrics.csv"), 11);
  EXPECT_EQ(lines_of(out + "/confusion.csv"), 11);
  // The weights do not depend on it, and a run that is continued remembers it.
  const std::string model = bytes_of(out + "/model.onnx");
  const Outcome without = run(joined(train, {"--overwrite", "--evaluate-first", "off"}));
  ASSERT_EQ(without.code, 0) << without.err;
  EXPECT_FALSE(nlohmann::json::parse(without.out).contains("before"));
  EXPECT_FALSE(exists(out + "/before.json"));
  EXPECT_EQ(bytes_of(out + "/model.onnx"), model);
  ASSERT_EQ(run(joined(train, {"--overwrite"})).code, 0);
  const Outcome more = run({"train", "--resume", out, "--epochs", "2", "--json", "--quiet"});
  ASSERT_EQ(more.code, 0) << more.err;
  EXPECT_EQ(nlohmann::json::parse(more.out)["before"], summary["before"]);
}

TEST_F(Predict, BrokenImagesStopItByName) {
  std::ofstream(folder / "a.png") << "no picture";
  const Outcome stopped =
      run({"predict", resnet20(), "--data", folder / "a.png", "--as", "numbers", "--out", folder / "p.csv"});
  EXPECT_EQ(stopped.code, 3);
  EXPECT_NE(stopped.err.find("a.png"), std::string::npos) << stopped.err;
  EXPECT_FALSE(exists(folder / "p.csv"));
}

}  // namespace
}  // namespace halftone::e2e
