// --watch A,B: what is best by the first; a run goes on as long as one of them improves.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Json = nlohmann::json;

std::vector<Json> evaluations(const std::string& run) {
  std::vector<Json> all;
  std::istringstream lines(bytes_of(run + "/events.jsonl"));
  for (std::string line; std::getline(lines, line);)
    if (Json event = Json::parse(line); event.contains("val_loss")) all.push_back(std::move(event));
  return all;
}

// Evaluations without improvement, in a row, behind each; `better` as early stopping has it.
int64_t stalled(const std::vector<Json>& all, size_t until, const char* key, bool larger) {
  double best = larger ? -1e30 : 1e30;
  int64_t count = 0;
  for (size_t i = 0; i <= until; ++i) {
    const double value = all[i][key];
    const bool better = larger ? value > best : value < best;
    if (better) best = value;
    count = better ? 0 : count + 1;
  }
  return count;
}

TEST(WatchSeveral, StopsWhenNoneImproves) {
  const Folder folder;
  write_cifar(folder / "d.bin", 40, 7);
  write_cifar(folder / "v.bin", 20, 9);
  const std::string out = folder / "run";
  // A rate that makes things worse soon.
  const std::vector<std::string> train{"train",
                                       resnet20(),
                                       "--data",
                                       folder / "d.bin",
                                       "--val",
                                       folder / "v.bin",
                                       "--batch",
                                       "10",
                                       "--lr",
                                       "0.05",
                                       "--precision",
                                       "fp32",
                                       "--quiet",
                                       "--watch",
                                       "f1,loss,accuracy",
                                       "--patience",
                                       "2",
                                       "--epochs",
                                       "12",
                                       "--out",
                                       out};
  const Outcome o = run(train);
  ASSERT_EQ(o.code, 0) << o.err;
  const std::vector<Json> all = evaluations(out);
  ASSERT_FALSE(all.empty());
  const auto all_stalled = [&](size_t at) {
    return stalled(all, at, "val_macro-f1", true) >= 2 && stalled(all, at, "val_loss", false) >= 2 &&
           stalled(all, at, "val_accuracy", true) >= 2;
  };
  for (size_t i = 0; i + 1 < all.size(); ++i) EXPECT_FALSE(all_stalled(i)) << i;
  EXPECT_TRUE(all.size() == 12 || all_stalled(all.size() - 1)) << all.size();
  // A run that is killed and goes on counts on.
  const std::string model = bytes_of(out + "/model.onnx");
  std::vector<std::string> stopped = train;
  stopped.back() = folder / "second";
  stopped.insert(stopped.end(), {"--steps", "6"});
  ASSERT_EQ(run(stopped).code, 0);
  const Outcome more = run({"train", "--resume", folder / "second", "--steps", "0", "--quiet"});
  ASSERT_EQ(more.code, 0) << more.err;
  EXPECT_EQ(evaluations(folder / "second").back()["step"], all.back()["step"]);
  EXPECT_TRUE(bytes_of(folder / "second/model.onnx") == model);
  const Outcome twice = run({"train", resnet20(), "--data", folder / "d.bin", "--watch", "loss,loss"});
  EXPECT_EQ(twice.code, 2);
}

}  // namespace
}  // namespace halftone::e2e
