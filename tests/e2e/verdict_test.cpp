// What people see first and last, and runs that only look.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Json = nlohmann::json;

Json last_object(const Outcome& o) {
  const size_t end = o.out.find_last_not_of('\n');
  const size_t begin = o.out.rfind('\n', end);
  return Json::parse(o.out.substr(begin == std::string::npos ? 0 : begin + 1));
}

Outcome run_in(const std::string& folder, const std::vector<std::string>& command) {
  Setting setting;
  setting.folder = folder;
  return run_with(command, setting);
}

std::vector<std::string> entries(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    names.push_back(entry.path().string());
  return names;
}

TEST(DryRun, DoesEverythingButTrainAndWritesNothing) {
  const Folder folder;
  write_cifar(folder / "d.bin", 64, 1);
  const std::vector<std::string> before = entries(folder.path());
  const std::vector<std::string> command{"train",   resnet20(), "--data",    folder / "d.bin",
                                         "--val",   "25%",      "--out",     folder / "run",
                                         "--batch", "16",       "--dry-run", "--json"};
  const Outcome o = run_in(folder.path(), command);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(entries(folder.path()), before);
  const Json j = last_object(o);
  EXPECT_EQ(j.at("dry_run"), true);
  EXPECT_EQ(j.at("verdict").get<std::string>().find("10 classes · 44 train / 20 val · fp16 · "), 0U) << j;
  EXPECT_NE(j.at("verdict").get<std::string>().find(" s an epoch"), std::string::npos) << j;
  EXPECT_GT(j.at("epoch_seconds").get<double>(), 0);
  EXPECT_GT(j.at("planned_bytes").get<int64_t>(), 0);
  // The verdict comes before what was decided.
  EXPECT_LT(o.err.find("10 classes · 44 train"), o.err.find("data: ")) << o.err;
}

TEST(DryRun, EndsAsTrainWould) {
  const Folder folder;
  write_cifar(folder / "d.bin", 32, 1);
  std::ofstream(folder / "cut.bin") << "short";
  const auto code = [&](const std::string& data, const std::vector<std::string>& more) {
    std::vector<std::string> command{"train", resnet20(), "--data", data, "--val", "none", "--dry-run"};
    command.insert(command.end(), more.begin(), more.end());
    return run_in(folder.path(), command).code;
  };
  EXPECT_EQ(code(folder / "d.bin", {"--batch", "8"}), 0);
  EXPECT_EQ(code(folder / "d.bin", {"--lr", "-1"}), 2);
  EXPECT_EQ(code(folder / "cut.bin", {}), 3);
  EXPECT_EQ(code(folder / "missing.bin", {}), 3);
  // A folder that is somebody else's.
  std::filesystem::create_directory(folder / "mine");
  std::ofstream(folder / "mine/notes.txt") << "mine";
  EXPECT_EQ(code(folder / "d.bin", {"--out", folder / "mine"}), 2);
  EXPECT_EQ(code(folder / "d.bin", {"--out", folder / "mine", "--overwrite"}), 2);
}

TEST(Verdict, StandsFirstAndTheEndSaysWhereThingsAre) {
  const Folder folder;
  write_cifar(folder / "d.bin", 64, 1);
  const std::string out = folder / "a run";
  const Outcome o =
      run({"train", resnet20(), "--data", folder / "d.bin", "--val", "25%", "--out", out, "--batch", "16"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(o.err.find("10 classes · 44 train / 20 val · fp16 · "), 0U) << o.err;
  EXPECT_NE(o.err.find(" MiB  scale "), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("done: 2 steps in 0:0"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find(out + "/model.onnx"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("next: halftone predict '" + out + "' --data NEW --out new.csv"), std::string::npos)
      << o.err;
  const Outcome quiet = run(
      {"train", resnet20(), "--data", folder / "d.bin", "--out", folder / "q", "--batch", "16", "--quiet"});
  EXPECT_EQ(quiet.err, "");
}

TEST(Verdict, OfInspectStandsFirst) {
  const Outcome o = run({"inspect", resnet20(), "--quiet"});
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(o.out.find(resnet20() + ": can be trained in fp16 · 2"), 0U) << o.out;
  EXPECT_NE(o.out.find(" MiB for batch 128\n"), std::string::npos) << o.out;
  EXPECT_NE(o.out.find("trainable tensor"), std::string::npos) << "elsewhere than on a terminal all is said";
}

}  // namespace
}  // namespace halftone::e2e
