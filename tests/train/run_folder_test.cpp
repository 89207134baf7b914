#include "train/run_folder.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "train/temporary_folder.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;

class RunFolder : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& text = "x") {
    write_file_atomically(path(name), text);
  }
  std::string path(const std::string& name) const { return folder_.file(name); }
  bool has(const std::string& name) const { return fs::exists(path(name)); }
  std::string folder() const { return folder_.path(); }
  void put_run() {
    for (const char* name : kOfARun) put(name);
    for (const char* name : kOfOthers) put(name);
  }

  static constexpr const char* kOfARun[] = {"checkpoint-0000000007.htck",
                                            "checkpoint-0000000012.htck",
                                            "checkpoint-0000000013.htck.tmp",
                                            "checkpoint-0000000009.htck.damaged",
                                            "best.htck",
                                            "best.htck.tmp",
                                            "events.jsonl",
                                            "events.out.tfevents.17.halftone.0",
                                            "config.yaml"};
  static constexpr const char* kOfOthers[] = {"model.onnx", "notes.txt", "checkpoint-0000000007.pt", "x.htck",
                                              "events.out.tfevents.17.host.0"};

 private:
  TemporaryFolder folder_;
};

TEST_F(RunFolder, ARunThatHasEndedMakesRoomForANewOne) {
  put_run();
  put("summary.json");
  EXPECT_TRUE(clear_for_new_run(folder()));
  for (const char* name : kOfARun) EXPECT_FALSE(has(name)) << name;
  EXPECT_FALSE(has("summary.json"));
  for (const char* name : kOfOthers) EXPECT_TRUE(has(name)) << name;
}

TEST_F(RunFolder, AnUnfinishedRunIsNotTouched) {
  put_run();
  try {
    clear_for_new_run(folder());
    FAIL() << "it was not refused";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    EXPECT_NE(std::string(e.what()).find("checkpoint-0000000012.htck"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("--resume " + folder()), std::string::npos) << e.what();
  }
  for (const char* name : kOfARun) EXPECT_TRUE(has(name)) << name;
}

TEST_F(RunFolder, AnAnnouncedRunCanBeResumedBeforeItBegins) {
  announce_new_run(path("new"), "lr: 1\n");
  EXPECT_EQ(read_file(path("new/config.yaml")), "lr: 1\n");
  EXPECT_FALSE(clear_for_new_run(path("new")));
  // An ended run's configuration stays until the new run begins.
  put_run();
  put("summary.json");
  announce_new_run(folder(), "lr: 2\n");
  for (const char* name : kOfARun) EXPECT_EQ(read_file(path(name)), "x") << name;
  fs::remove(path("summary.json"));
  EXPECT_THROW(announce_new_run(folder(), "lr: 2\n"), Error);
}

TEST_F(RunFolder, WithoutACheckpointNothingIsLost) {
  put("config.yaml");
  put("events.jsonl");
  EXPECT_FALSE(clear_for_new_run(folder()));
  EXPECT_FALSE(has("events.jsonl"));
  EXPECT_FALSE(clear_for_new_run(path("missing")));
}

TEST_F(RunFolder, RunningMeansNoSummary) {
  put_run();
  put("summary.json");
  mark_running(folder(), "lr: 1\n");
  EXPECT_EQ(read_file(path("config.yaml")), "lr: 1\n");
  EXPECT_FALSE(has("summary.json"));
  EXPECT_THROW(clear_for_new_run(folder()), Error);
  mark_running(folder(), "");
  EXPECT_EQ(read_file(path("config.yaml")), "lr: 1\n");
}

TEST_F(RunFolder, ARunIsRemovedEndedOrNot) {
  put_run();
  remove_run(folder());
  for (const char* name : kOfARun) EXPECT_FALSE(has(name)) << name;
  for (const char* name : kOfOthers) EXPECT_TRUE(has(name)) << name;
  remove_run(path("missing"));
}

}  // namespace
}  // namespace halftone::train
