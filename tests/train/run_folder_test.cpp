#include "train/run_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "train/temporary_folder.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;

class RunFolders : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& text = "x") {
    make_folder(fs::path(path(name)).parent_path().string());
    write_file_atomically(path(name), text);
  }
  std::string path(const std::string& name) const { return folder_.file(name); }
  bool has(const std::string& name) const { return fs::exists(path(name)); }

  NewRun new_run(const std::string& name, bool overwrite = false) const {
    return {path(name), "train", overwrite, {}};
  }
  // What a run leaves that has ended.
  void make_run(const std::string& name) {
    RunFolder folder = RunFolder::create(new_run(name));
    for (const char* file : kOfARun) put(name + "/" + file);
    put(name + "/model.onnx", "result");
    put(name + "/data/weights.bin", "data");
    folder.record_results({"model.onnx", "data/weights.bin"});
    put(name + "/summary.json", "{}");
  }
  // The message; empty when it was not refused.
  std::string refusal(const NewRun& run) const {
    try {
      RunFolder::create(run);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUsage) << e.what();
      return e.what();
    }
    return "";
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

 private:
  TemporaryFolder folder_;
};

TEST_F(RunFolders, AreNewOrEmpty) {
  EXPECT_EQ(refusal(new_run("new")), "");
  fs::create_directory(path("empty"));
  EXPECT_EQ(refusal(new_run("empty")), "");
  make_run("run");
  EXPECT_NE(refusal(new_run("run")).find("--overwrite"), std::string::npos);
  fs::remove(path("run/summary.json"));
  EXPECT_NE(refusal(new_run("run")).find("halftone train --resume " + path("run")), std::string::npos);
  put("file");
  EXPECT_NE(refusal(new_run("file")).find("a file is in the way"), std::string::npos);
}

TEST_F(RunFolders, WithoutARunTheyGoAgain) {
  {
    const RunFolder folder = RunFolder::create(new_run("new"));
    folder.write_config("lr: 1\n");
    EXPECT_EQ(read_file(path("new/config.yaml")), "lr: 1\n");
  }
  EXPECT_FALSE(has("new"));
  {
    const RunFolder folder = RunFolder::create(new_run("new"));
    put("new/events.jsonl");
  }
  EXPECT_TRUE(has("new/events.jsonl"));
}

TEST_F(RunFolders, OfRunsAreOverwrittenAndOthersNever) {
  make_run("run");
  EXPECT_EQ(refusal(new_run("run", true)), "");
  for (const std::string name :
       {"notes.txt", "checkpoint-0000000007.pt", "x.htck", "events.out.tfevents.17.host.0", "model.onnx",
        "data/weights.bin", "data/other", "sub/config.yaml"}) {
    fs::remove_all(path("run"));
    make_run("run");
    put("run/" + name, "mine");
    const std::string why = refusal(new_run("run", true));
    EXPECT_NE(why.find(name.starts_with("sub") ? "'sub'" : name), std::string::npos) << name << ": " << why;
    EXPECT_EQ(read_file(path("run/" + name)), "mine");
    EXPECT_TRUE(has("run/checkpoint-0000000007.htck"));
  }
  // A folder that no run made, whatever its files are called.
  put("mine/model.onnx");
  EXPECT_NE(refusal(new_run("mine", true)), "");
  EXPECT_FALSE(has("mine/.halftone-run"));
  fs::create_directory(path("linked"));
  make_run("linked/run");
  fs::create_symlink(path("mine"), path("linked/run/checkpoint-0000000001.htck"));
  EXPECT_NE(refusal(new_run("linked/run", true)), "");
}

// Only a record that was changed has such names.
TEST_F(RunFolders, WhatLiesOutsideStaysWhateverTheRecordSays) {
  make_run("run");
  const std::string record = read_file(path("run/.halftone-run"));
  const std::string last = record.substr(record.rfind('\n', record.size() - 2) + 1);
  for (const std::string& name :
       {std::string("../mine"), path("mine"), std::string("data/../../mine"), std::string("./model.onnx"),
        std::string("data//weights.bin"), std::string("")}) {
    put("mine", "mine");
    std::string text = last;
    ASSERT_NE(text.find("data/weights.bin"), std::string::npos);
    write_file_atomically(path("run/.halftone-run"), text.replace(text.find("data/weights.bin"), 16, name));
    // Nothing of the record is believed, so nothing here is a run's.
    EXPECT_NE(refusal(new_run("run", true)).find("was not written by a run"), std::string::npos) << name;
    {
      RunFolder folder = RunFolder::resume(path("run"));
      folder.record_results({"model.onnx", "data/weights.bin"});
    }
    remove_run(path("run"));
    put("run/summary.json", "{}");
    EXPECT_EQ(read_file(path("mine")), "mine") << name;
    EXPECT_EQ(read_file(path("run/model.onnx")), "result") << name;
    EXPECT_EQ(read_file(path("run/data/weights.bin")), "data") << name;
  }
}

TEST_F(RunFolders, ThatARunReadsAreNotOverwritten) {
  make_run("run");
  NewRun run = new_run("run", true);
  run.reads = {path("run/model.onnx")};
  EXPECT_NE(refusal(run).find("reads"), std::string::npos);
  run.reads = {path("other/model.onnx"), path("")};
  EXPECT_EQ(refusal(run), "");
}

TEST_F(RunFolders, HaveOneWriterWhoIsNamed) {
  make_run("run");
  const std::string us = "process " + std::to_string(::getpid());
  {
    const RunFolder first = RunFolder::resume(path("run"));
    EXPECT_THROW(RunFolder::resume(path("run")), Error);
    EXPECT_NE(refusal(new_run("run", true)).find(us), std::string::npos);
  }
  const RunFolder again = RunFolder::resume(path("run"));
}

TEST_F(RunFolders, OfSeveralThreadsAreDifferent) {
  const fs::path before = fs::current_path();
  fs::current_path(path(""));
  std::vector<std::string> made(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < made.size(); ++i)
    threads.emplace_back([&made, i] {
      const RunFolder folder = RunFolder::create({"", "train", false, {}});
      made[i] = folder.path();
      write_file_atomically(folder.path() + "/events.jsonl", "");
    });
  for (std::thread& thread : threads) thread.join();
  fs::current_path(before);
  std::sort(made.begin(), made.end());
  EXPECT_EQ(std::unique(made.begin(), made.end()), made.end());
  for (const std::string& folder : made) EXPECT_TRUE(has(folder + "/events.jsonl")) << folder;
}

TEST_F(RunFolders, ResultsOfAnEarlierRunGoWhenOthersAreThere) {
  make_run("run");
  RunFolder folder = RunFolder::create(new_run("run", true));
  remove_run(folder.path());
  for (const char* name : kOfARun) EXPECT_FALSE(has(std::string("run/") + name)) << name;
  EXPECT_FALSE(has("run/summary.json"));
  EXPECT_EQ(read_file(path("run/model.onnx")), "result");
  folder.announce_results({"model.onnx"});
  put("run/model.onnx", "new");
  folder.record_results({"model.onnx"});
  EXPECT_EQ(read_file(path("run/model.onnx")), "new");
  EXPECT_FALSE(has("run/data/weights.bin"));
}

TEST_F(RunFolders, OfAnEarlierVersionAreResumedUnlessTheModelIsNotTheirs) {
  put("old/config.yaml");
  put("old/checkpoint-0000000007.htck");
  { const RunFolder folder = RunFolder::resume(path("old")); }
  put("old/model.onnx", "mine");
  EXPECT_THROW(RunFolder::resume(path("old")), Error);
  put("old/summary.json");
  const RunFolder folder = RunFolder::resume(path("old"));
}

TEST_F(RunFolders, OfAComparisonHoldRuns) {
  {
    const RunFolder folder = RunFolder::create(new_run("compare"));
    make_run("compare/fp16-seed0");
    put("compare/summary.json");
  }
  put("compare/fp16-seed0/notes.txt");
  EXPECT_NE(refusal(new_run("compare", true)).find("fp16-seed0/notes.txt"), std::string::npos);
  fs::remove(path("compare/fp16-seed0/notes.txt"));
  EXPECT_EQ(refusal(new_run("compare", true)), "");
  remove_run(path("compare"));
  EXPECT_FALSE(has("compare/fp16-seed0/model.onnx"));
}

TEST_F(RunFolders, RunningMeansNoSummary) {
  make_run("run");
  mark_running(path("run"), "lr: 1\n");
  EXPECT_EQ(read_file(path("run/config.yaml")), "lr: 1\n");
  EXPECT_FALSE(has("run/summary.json"));
  mark_running(path("run"), "");
  EXPECT_EQ(read_file(path("run/config.yaml")), "lr: 1\n");
  remove_run(path("missing"));
}

TEST(ResumeCommand, IsQuotedForAShell) {
  EXPECT_EQ(resume_command("runs/train-1"), "halftone train --resume runs/train-1");
  EXPECT_EQ(resume_command("my run's"), "halftone train --resume 'my run'\\''s'");
}

TEST_F(RunFolders, InThatOfAComparisonAreKnown) {
  make_folder(path("compare/fp16-seed0"));
  make_folder(path("alone"));
  EXPECT_FALSE(is_in_comparison(path("compare/fp16-seed0")));
  put("compare/.halftone-run", "");
  EXPECT_TRUE(is_in_comparison(path("compare/fp16-seed0")));
  EXPECT_TRUE(is_in_comparison(path("compare/fp16-seed0/")));
  EXPECT_FALSE(is_in_comparison(path("alone")));
  put("compare/config.yaml", "lr: 1\n");  // of a run that an earlier version made
  EXPECT_FALSE(is_in_comparison(path("compare/fp16-seed0")));
  for (const std::string kind : {"train", "compare"}) {
    NewRun run = new_run("of-" + kind);
    run.kind = kind;
    RunFolder folder = RunFolder::create(run);
    make_folder(path("of-" + kind + "/sub"));
    EXPECT_EQ(is_in_comparison(path("of-" + kind + "/sub")), kind == "compare");
    put("of-" + kind + "/model.onnx");
    folder.record_results({"model.onnx"});
    EXPECT_EQ(is_in_comparison(path("of-" + kind + "/sub")), kind == "compare");
  }
}

}  // namespace
}  // namespace halftone::train
