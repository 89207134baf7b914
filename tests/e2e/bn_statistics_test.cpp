// Batch-norm statistics for the weights that are evaluated and written, from outside.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Json = nlohmann::json;
using Arguments = std::vector<std::string>;

// Few large steps, after which the running statistics of ResNet-20 lag behind.
Arguments train(const Folder& folder, const std::string& out, const Arguments& more,
                const std::string& model = resnet20()) {
  Arguments a{"train",       model,
              "--data",      folder / "train.bin",
              "--val",       folder / "val.bin",
              "--batch",     "16",
              "--normalize", "cifar10",
              "--flip",      "--out",
              folder / out,  "--json"};
  if (std::find(more.begin(), more.end(), "--lr") == more.end()) a.insert(a.end(), {"--lr", "0.05"});
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

Json summary(const Outcome& o) {
  EXPECT_EQ(o.code, 0) << o.err;
  const size_t end = o.out.find_last_not_of('\n');
  const size_t begin = o.out.rfind('\n', end);
  return Json::parse(o.out.substr(begin == std::string::npos ? 0 : begin + 1));
}

class StatisticsOfNorms : public ::testing::Test {
 protected:
  StatisticsOfNorms() {
    write_cifar(folder / "train.bin", 320, 31);
    write_cifar(folder / "val.bin", 100, 32);
  }
  std::string model(const std::string& out) const { return bytes_of(folder / (out + "/model.onnx")); }
  Folder folder;
};

TEST_F(StatisticsOfNorms, MeasuredOnesAreNeverPartOfTheTraining) {
  for (const std::string precision : {"fp32", "fp16"}) {
    const Arguments options{"--precision", precision, "--epochs", "2"};
    Arguments with = options;
    with.insert(with.end(), {"--bn-statistics", "running"});
    const Outcome automatic = run(train(folder, precision + "auto", options));
    const Json measured = summary(automatic);
    EXPECT_EQ(measured.at("bn_statistics"), "measured");
    EXPECT_GE(measured.at("bn_batches"), 8);
    EXPECT_GT(measured.at("bn_deviation"), measured.at("bn_spread"));
    EXPECT_NE(automatic.err.find("the running statistics are"), std::string::npos) << automatic.err;
    const Json running = summary(run(train(folder, precision + "running", with)));
    EXPECT_EQ(running.at("bn_statistics"), "running");
    EXPECT_EQ(running.at("bn_batches"), 0);
    EXPECT_EQ(measured.at("train_loss"), running.at("train_loss"));
    EXPECT_LT(measured.at("val_loss"), running.at("val_loss"));
    const std::string lagging = model(precision + "running");
    EXPECT_FALSE(model(precision + "auto") == lagging);
    // Each finished run can become the other.
    EXPECT_EQ(run({"train", "--resume", folder / (precision + "running"), "--bn-statistics", "auto",
                   "--accept-changes", "--quiet"})
                  .code,
              0);
    EXPECT_TRUE(model(precision + "running") == model(precision + "auto"));
    EXPECT_EQ(run({"train", "--resume", folder / (precision + "auto"), "--bn-statistics", "running",
                   "--accept-changes", "--quiet"})
                  .code,
              0);
    EXPECT_TRUE(model(precision + "auto") == lagging);
  }
}

TEST_F(StatisticsOfNorms, AreTheSameAfterAKillAndOnAnyNumberOfThreads) {
  const Arguments options{"--multiply",         "block", "--epochs",    "2",
                          "--checkpoint-every", "3",     "--log-every", "1"};
  Arguments one = options;
  one.insert(one.end(), {"--threads", "1"});
  EXPECT_EQ(summary(run(train(folder, "whole", one))).at("bn_statistics"), "measured");
  Arguments next = train(folder, "killed", options);
  int kills = 0;
  for (const int64_t at : {8, 21, 30}) {  // the evaluation of the first epoch is line 21
    const Outcome o = run(next, {}, [&] { return lines_of(folder / "killed/events.jsonl") >= at; });
    next = {"train", "--resume", folder / "killed", "--threads", "3", "--json"};
    kills += o.signal == 9 ? 1 : 0;
  }
  EXPECT_GE(kills, 2) << "the runs ended before they were killed";
  EXPECT_EQ(run(next).code, 0);
  EXPECT_TRUE(model("killed") == model("whole"));
}

// Of folded norms too, which are folded with the measured statistics.
TEST_F(StatisticsOfNorms, AreThoseOfTheFile) {
  for (const std::string& from : {resnet20(), resnet20_folded()}) {
    const Json trained = summary(run(train(folder, "run", {"--precision", "fp32", "--overwrite"}, from)));
    EXPECT_EQ(trained.at("bn_statistics"), "measured");
    const Json file = summary(run({"eval", folder / "run/model.onnx", "--data", folder / "val.bin",
                                   "--normalize", "cifar10", "--precision", "fp32", "--json", "--quiet"}));
    // Folding rounds the weights once more: 2^-24 each, through twenty layers.
    EXPECT_NEAR(file.at("val_loss"), trained.at("val_loss"), 1e-4 * trained.at("val_loss").get<double>())
        << from;
  }
}

TEST_F(StatisticsOfNorms, RunningOnesThatFitStay) {
  // The running average forgets the file's in a hundred steps; the weights hardly move.
  const Json s =
      summary(run(train(folder, "run", {"--lr", "1e-6", "--steps", "100", "--precision", "fp32"})));
  EXPECT_EQ(s.at("bn_statistics"), "running");
  EXPECT_EQ(s.at("bn_batches"), 8);
  const std::string fits = model("run");
  EXPECT_EQ(
      run({"train", "--resume", folder / "run", "--bn-statistics", "running", "--accept-changes", "--quiet"})
          .code,
      0);
  EXPECT_TRUE(model("run") == fits);
  EXPECT_EQ(summary(run({"train", "--resume", folder / "run", "--bn-statistics", "measure",
                         "--accept-changes", "--json"}))
                .at("bn_statistics"),
            "measured");
  EXPECT_FALSE(model("run") == fits);
}

TEST_F(StatisticsOfNorms, FrozenOnesAreNotMeasured) {
  const Json s = summary(run(train(folder, "auto", {"--batchnorm", "freeze", "--steps", "3"})));
  EXPECT_TRUE(s.at("bn_statistics").is_null());
  EXPECT_EQ(summary(run(train(folder, "running",
                              {"--batchnorm", "freeze", "--steps", "3", "--bn-statistics", "running"})))
                .at("steps"),
            3);
  EXPECT_TRUE(model("auto") == model("running"));
  const Outcome contradiction =
      run(train(folder, "measure", {"--batchnorm", "freeze", "--bn-statistics", "measure"}));
  EXPECT_EQ(contradiction.code, 2);
  EXPECT_NE(contradiction.err.find("--batchnorm freeze"), std::string::npos) << contradiction.err;
  const Outcome unknown = run(train(folder, "unknown", {"--bn-statistics", "later"}));
  EXPECT_EQ(unknown.code, 2);
  EXPECT_NE(unknown.err.find("later"), std::string::npos) << unknown.err;
}

}  // namespace
}  // namespace halftone::e2e
