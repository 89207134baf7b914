// `halftone compare` from outside: what it may claim, and what its runs hand to it.
#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Json = nlohmann::json;

Json last_line(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  const size_t begin = text.rfind('\n', end);
  return Json::parse(text.substr(begin == std::string::npos ? 0 : begin + 1, end - begin));
}

std::vector<std::string> arguments(const Folder& folder, const std::string& val, const std::string& seeds) {
  return {"compare", resnet20(), "--data",       folder / "train.bin",
          "--val",   val,        "--precisions", "fp32,fp16",
          "--seeds", seeds,      "--steps",      "2",
          "--batch", "8",        "--out",        folder / "runs",
          "--json"};
}

TEST(Compare, VerdictsFromThreeSeedsWithIntervalsOverSeedsAndSamples) {
  const Folder folder;
  write_cifar(folder / "train.bin", 32, 1);
  write_cifar(folder / "val.bin", 48, 2);
  const std::vector<std::string> a = arguments(folder, folder / "val.bin", "3");
  const Outcome o = run(a);
  ASSERT_EQ(o.code, 0) << text(a) << "\n" << o.err;
  const Json row = last_line(o.out)["rows"][1];
  for (const char* key : {"accuracy_verdict", "loss_verdict"}) {
    const Json& v = row.at(key);
    EXPECT_EQ(v["seeds"], 3) << key;
    EXPECT_EQ(v["samples"], 48) << key;
    EXPECT_TRUE(v["difference"].is_number()) << v;
    EXPECT_TRUE(v["verdict"] != "none" || v.contains("why")) << v;
  }
  // fp16 rounds: losses by sample differ, so there is a spread and a claim.
  EXPECT_GT(row["loss_verdict"]["half_width"], 0.0);
  EXPECT_NE(row["loss_verdict"]["verdict"], "none") << o.out;
  // The difference is that of the runs' own figures.
  const Json base = last_line(o.out)["rows"][0];
  double difference = 0;
  for (size_t k = 0; k < 3; ++k)
    difference += (row["loss"][k].get<double>() - base["loss"][k].get<double>()) / 3;
  EXPECT_NEAR(row["loss_verdict"]["difference"], difference, 1e-6);
  // Step speed leaves waiting out.
  for (size_t k = 0; k < 3; ++k) {
    const double stepping = row["seconds"][k].get<double>() - row["data_wait_seconds"][k].get<double>();
    EXPECT_GE(row["data_wait_seconds"][k], 0.0);
    EXPECT_NEAR(row["samples_per_second"][k].get<double>() * stepping, 16, 1e-6);
  }
  EXPECT_TRUE(exists(folder / "runs/fp16-seed2/val_samples.safetensors"));
}

TEST(Compare, NoVerdictFromTwoSeeds) {
  const Folder folder;
  write_cifar(folder / "train.bin", 16, 1);
  const std::vector<std::string> a = arguments(folder, folder / "train.bin", "2");
  const Outcome o = run(a);
  ASSERT_EQ(o.code, 0) << text(a) << "\n" << o.err;
  const Json row = last_line(o.out)["rows"][1];
  EXPECT_EQ(row["accuracy_verdict"]["verdict"], "none");
  EXPECT_EQ(row["loss_verdict"]["verdict"], "none");
  EXPECT_NE(o.out.find("no verdict from 2 seeds"), std::string::npos) << o.out;
  for (const char* claim : {": better", ": worse", "no difference"})
    EXPECT_EQ(o.out.find(claim), std::string::npos);
}

TEST(Compare, EqualRunsGiveNothingToJudgeBy) {
  const Folder folder;
  write_cifar(folder / "train.bin", 16, 1);
  std::vector<std::string> a = arguments(folder, folder / "train.bin", "3");
  a[7] = "fp32,fp32:nearest";  // two names of one thing
  const Outcome o = run(a);
  ASSERT_EQ(o.code, 0) << text(a) << "\n" << o.err;
  const Json row = last_line(o.out)["rows"][1];
  EXPECT_EQ(row["accuracy_verdict"]["difference"], 0.0);
  EXPECT_EQ(row["accuracy_verdict"]["verdict"], "none");
  EXPECT_EQ(row["loss_verdict"]["verdict"], "none") << o.out;
  EXPECT_NE(o.out.find("the same results everywhere"), std::string::npos) << o.out;
}

TEST(Compare, WithoutValidationTrainingLossesAreCompared) {
  const Folder folder;
  write_cifar(folder / "train.bin", 16, 1);
  const std::vector<std::string> a = arguments(folder, "none", "3");
  const Outcome o = run(a);
  ASSERT_EQ(o.code, 0) << text(a) << "\n" << o.err;
  const Json row = last_line(o.out)["rows"][1];
  EXPECT_FALSE(row.contains("accuracy_verdict"));
  EXPECT_NE(row["loss_verdict"]["verdict"], "none") << o.out;
  EXPECT_NE(o.out.find("training loss"), std::string::npos) << o.out;
  EXPECT_FALSE(exists(folder / "runs/fp16-seed0/val_samples.safetensors"));
}

}  // namespace
}  // namespace halftone::e2e
