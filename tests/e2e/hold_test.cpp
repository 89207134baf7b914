// What a run survives: signals, a second writer, other data, odd files, a full disk.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "base/clock.h"
#include "e2e/program.h"

namespace halftone::e2e {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Arguments = std::vector<std::string>;

// 20 steps an epoch; no checkpoint inside one. `more` takes the place of what is given here already.
Arguments train(const std::string& data, const std::string& out, const Arguments& more = {}) {
  Arguments a{"train", resnet20()};
  const std::pair<std::string, std::string> options[] = {
      {"--data", data},     {"--val", "none"},  {"--normalize", "cifar10"},
      {"--epochs", "2"},    {"--batch", "16"},  {"--multiply", "block"},
      {"--log-every", "1"}, {"--threads", "2"}, {"--out", out}};
  for (const auto& [name, value] : options)
    if (std::find(more.begin(), more.end(), name) == more.end()) a.insert(a.end(), {name, value});
  a.insert(a.end(), more.begin(), more.end());
  a.emplace_back("--quiet");
  return a;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Signals, FinishTheStepAndSaveIt) {
  Folder folder;
  write_cifar(folder / "train.bin", 320, 2);
  const Outcome whole = run_with(train(folder / "train.bin", folder / "whole"), Setting{});
  ASSERT_EQ(whole.code, 0) << whole.err;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const std::string out = folder / std::to_string(signal);
    Setting setting;
    setting.until = [&] { return lines_of(out + "/events.jsonl") >= 3 + signal; };
    setting.signals = {signal};
    const Outcome stopped = run_with(train(folder / "train.bin", out), setting);
    ASSERT_EQ(stopped.code, 128 + signal) << stopped.err;
    EXPECT_EQ(stopped.err, "saved; continue with: halftone train --resume " + out + "\n");
    // Not all of it, or the test shows nothing.
    EXPECT_FALSE(exists(out + "/model.onnx"));
    const Outcome resumed = run_with({"train", "--resume", out, "--quiet"}, Setting{});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_TRUE(bytes_of(out + "/model.onnx") == bytes_of(folder / "whole/model.onnx")) << signal;
    EXPECT_EQ(lines_of(out + "/events.jsonl"), lines_of(folder / "whole/events.jsonl"));
  }
}

TEST(Signals, AtRandomMomentsLoseNothing) {
  Folder folder;
  write_cifar(folder / "train.bin", 320, 3);
  write_cifar(folder / "val.bin", 160, 4);
  const auto command = [&](const std::string& out) {
    return train(
        folder / "train.bin", out,
        {"--val", folder / "val.bin", "--watch", "accuracy", "--schedule", "plateau:factor=0.5,patience=0"});
  };
  const double begin = now_seconds();
  ASSERT_EQ(run_with(command(folder / "whole"), Setting{}).code, 0);
  const double length = now_seconds() - begin;
  std::mt19937 random(7);
  int stopped = 0;
  for (int trial = 0; trial < 4; ++trial) {
    const std::string out = folder / std::to_string(trial);
    Arguments next = command(out);
    for (int i = 0; i < 4; ++i) {
      const int signal = std::vector<int>{SIGINT, SIGTERM, SIGHUP}[random() % 3];
      const double at = now_seconds() + length * 0.7 * static_cast<double>(random() % 1000) / 1000;
      Setting setting;
      setting.until = [&] { return now_seconds() >= at; };
      setting.signals = {signal};
      const Outcome o = run_with(next, setting);
      if (o.code == 0) break;
      // Before main() has set itself up a signal does what it always does, and there is no run yet.
      if (o.signal == signal) continue;
      ASSERT_EQ(o.code, 128 + signal) << text(next) << o.err;
      ++stopped;
      if (contains(o.err, "nothing to save")) {
        EXPECT_FALSE(exists(out)) << o.err;
        continue;
      }
      EXPECT_TRUE(contains(o.err, "saved; continue with: halftone train --resume " + out)) << o.err;
      next = {"train", "--resume", out, "--quiet"};
    }
    if (!exists(out + "/summary.json")) {
      ASSERT_EQ(run_with(next, Setting{}).code, 0);
    }
    EXPECT_TRUE(bytes_of(out + "/model.onnx") == bytes_of(folder / "whole/model.onnx")) << trial;
    EXPECT_EQ(lines_of(out + "/events.jsonl"), lines_of(folder / "whole/events.jsonl")) << trial;
  }
  EXPECT_GE(stopped, 6) << "the runs ended before they were stopped";
}

TEST(Signals, TheSecondOneEndsAtOnceAndTwoTogetherAreOne) {
  Folder folder;
  write_cifar(folder / "train.bin", 6400, 5);
  // A batch takes long: the second signal comes before its end.
  const Arguments a = train(folder / "train.bin", folder / "slow",
                            {"--batch", "2000", "--multiply", "wide", "--threads", "1"});
  Setting setting;
  // Half a second into the first step, which takes several: before it there is a moment at which one signal
  // is enough.
  std::optional<double> began;
  setting.until = [&] {
    if (!began && exists(folder / "slow/events.jsonl")) began = now_seconds();
    return began && now_seconds() > *began + 0.5;
  };
  setting.signals = {SIGINT, SIGTERM};
  const Outcome o = run_with(a, setting);
  EXPECT_EQ(o.code, 128 + SIGTERM) << o.err;
  // timeout(1) signals its child, and then the whole group with it.
  const Outcome by_timeout = [&] {
    Setting s;
    s.before = {"timeout", "-s", "TERM", "1.5"};
    return run_with(train(folder / "train.bin", folder / "timeout", {"--epochs", "1000"}), s);
  }();
  EXPECT_EQ(by_timeout.code, 124);
  EXPECT_TRUE(contains(by_timeout.err, "saved; continue with") || contains(by_timeout.err, "nothing to save"))
      << by_timeout.err;
}

TEST(Signals, EvaluationAndComparisonEndSoon) {
  Folder folder;
  write_cifar(folder / "train.bin", 6400, 6);
  // Late enough for the program to be on its way, and long before an evaluation of so many images on one
  // thread ends with 0.
  const double begin = now_seconds();
  Setting setting;
  setting.until = [&] { return now_seconds() > begin + 1.5; };
  setting.signals = {SIGTERM};
  const Outcome eval = run_with(
      {"eval", resnet20(), "--data", folder / "train.bin", "--batch", "3200", "--threads", "1"}, setting);
  EXPECT_EQ(eval.code, 128 + SIGTERM) << eval.err;
  EXPECT_TRUE(contains(eval.err, "nothing to save")) << eval.err;
  const std::string out = folder / "compare";
  for (const int signal : {SIGINT, SIGKILL}) {
    setting.until = [&] { return lines_of(out + "/fp16-seed0/events.jsonl") > 0; };
    setting.signals = {signal};
    const Outcome o =
        run_with({"compare", resnet20(), "--data", folder / "train.bin", "--val", "none", "--precisions",
                  "fp16,fp32", "--batch", "16", "--log-every", "1", "--overwrite", "--out", out},
                 setting);
    EXPECT_EQ(signal == SIGKILL ? o.signal : o.code, signal == SIGKILL ? SIGKILL : 128 + signal) << o.err;
    // It returned, so nobody holds its standard error any more: the child has ended too.
    EXPECT_GT(lines_of(out + "/fp16-seed0/events.jsonl"), 0);
    EXPECT_FALSE(exists(out + "/fp32-seed0"));
    if (signal == SIGINT) {
      EXPECT_TRUE(contains(o.err, "saved; this run is part of a comparison")) << o.err;
      EXPECT_FALSE(contains(o.err, "--resume")) << o.err;
    }
  }
}

TEST(RunFolders, HaveOneWriter) {
  Folder folder;
  write_cifar(folder / "train.bin", 320, 7);
  const std::string out = folder / "run";
  std::vector<Outcome> others;
  Setting setting;
  setting.until = [&] {
    if (lines_of(out + "/events.jsonl") < 2) return false;
    others.push_back(run_with({"train", "--resume", out, "--quiet"}, Setting{}));
    others.push_back(run_with(train(folder / "train.bin", out), Setting{}));
    others.push_back(run_with(train(folder / "train.bin", out, {"--overwrite"}), Setting{}));
    return true;
  };
  setting.signals = {SIGINT};
  const Outcome first = run_with(train(folder / "train.bin", out, {"--epochs", "1000"}), setting);
  EXPECT_EQ(first.code, 130) << first.err;
  ASSERT_EQ(others.size(), 3U);
  for (const Outcome& o : others) {
    EXPECT_EQ(o.code, 2) << o.err;
    EXPECT_TRUE(contains(o.err, "process ")) << o.err;
  }
  const Outcome resumed = run_with({"train", "--resume", out, "--epochs", "3", "--quiet"}, Setting{});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
}

TEST(RunFolders, NewRunsGetNewOnesAndOthersAreNeverReplaced) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 8);
  Arguments a{"train", resnet20(), "--data", folder / "train.bin", "--val", "none", "--steps",
              "1",     "--batch",  "16"};
  Setting here;
  here.folder = folder.path();
  for (const std::string name : {"train-1", "train-2"}) {
    const Outcome o = run_with(a, here);
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_TRUE(contains(o.err, "runs/" + name)) << o.err;
    EXPECT_TRUE(exists(folder / ("runs/" + name + "/model.onnx")));
  }
  // A run that failed before it began leaves no folder.
  Arguments bad = a;
  bad[3] = folder / "missing";
  EXPECT_EQ(run_with(bad, here).code, 3);
  EXPECT_FALSE(exists(folder / "runs/train-3"));
  // A folder of the user's, and a run's with something of the user's in it.
  const auto with = [&](const Arguments& more) {
    Arguments all = a;
    all.insert(all.end(), more.begin(), more.end());
    return run_with(all, here);
  };
  std::ofstream(folder / "model.onnx") << "mine";
  for (const Arguments& more : {Arguments{"--out", "."}, Arguments{"--out", ".", "--overwrite"}}) {
    const Outcome o = with(more);
    EXPECT_EQ(o.code, 2) << o.err;
    EXPECT_EQ(bytes_of(folder / "model.onnx"), "mine");
    EXPECT_FALSE(exists(folder / "config.yaml"));
  }
  EXPECT_EQ(with({"--out", "runs/train-1"}).code, 2);
  const std::string before = bytes_of(folder / "runs/train-1/model.onnx");
  const Outcome over = with({"--out", "runs/train-1", "--overwrite", "--lr", "0.1"});
  EXPECT_EQ(over.code, 0) << over.err;
  EXPECT_FALSE(before == bytes_of(folder / "runs/train-1/model.onnx"));
  for (const std::string name : {"notes.txt", "model.onnx", "sub/x"}) {
    fs::create_directories(folder / "runs/train-2/sub");
    if (name != "sub/x") fs::remove_all(folder / "runs/train-2/sub");
    const std::string saved = bytes_of(folder / ("runs/train-2/" + name));
    std::ofstream(folder / ("runs/train-2/" + name)) << "mine";
    const Outcome o = with({"--out", "runs/train-2", "--overwrite"});
    EXPECT_EQ(o.code, 2) << o.err;
    EXPECT_TRUE(contains(o.err, name == "sub/x" ? "sub" : name)) << o.err;
    EXPECT_EQ(bytes_of(folder / ("runs/train-2/" + name)), "mine");
    fs::remove(folder / ("runs/train-2/" + name));
    if (!saved.empty()) std::ofstream(folder / ("runs/train-2/" + name), std::ios::binary) << saved;
  }
  // Not what the run itself reads.
  a[1] = "runs/train-1/model.onnx";
  EXPECT_EQ(with({"--out", "runs/train-1", "--overwrite"}).code, 2);
  EXPECT_TRUE(exists(folder / "runs/train-1/model.onnx"));
}

TEST(Resume, KnowsItsRun) {
  Folder folder;
  write_cifar(folder / "train.bin", 160, 9);
  write_cifar(folder / "other.bin", 160, 10);
  fs::copy_file(resnet20(), folder / "net.onnx");
  const std::string out = folder / "run";
  Arguments a = train(folder / "train.bin", out, {"--checkpoint-every", "3"});
  a[1] = folder / "net.onnx";
  Setting setting;
  setting.until = [&] { return lines_of(out + "/events.jsonl") >= 4; };
  setting.signals = {SIGINT};
  ASSERT_EQ(run_with(a, setting).code, 130);
  const Arguments resume{"train", "--resume", out, "--quiet"};
  const auto with = [&](const Arguments& more) {
    Arguments all = resume;
    all.insert(all.end(), more.begin(), more.end());
    return run_with(all, Setting{});
  };
  const struct {
    Arguments options;
    int code;
    std::string named;
  } cases[] = {{{"--batch", "32"}, 2, "--batch was 16 and is 32"},
               {{"--seed", "5"}, 2, "--seed was 0 and is 5"},
               {{"--lr", "0.5"}, 2, "--lr was 0.01 and is 0.5"},
               {{"--data", folder / "other.bin"}, 3, "training data was"},
               {{"--val", folder / "other.bin"}, 3, "validation data was none"},
               {{resnet20_folded()}, 3, "model was"}};
  const std::string config = bytes_of(out + "/config.yaml");
  for (const auto& c : cases) {
    const Outcome o = with(c.options);
    EXPECT_EQ(o.code, c.code) << text(c.options) << o.err;
    EXPECT_TRUE(contains(o.err, c.named)) << o.err;
    EXPECT_EQ(bytes_of(out + "/config.yaml"), config);
  }
  // The same file with other contents.
  const std::string right = bytes_of(folder / "train.bin");
  std::string changed = right;
  changed[40000] = static_cast<char>(changed[40000] ^ 1);
  std::ofstream(folder / "train.bin", std::ios::binary) << changed;
  EXPECT_EQ(with({}).code, 3);
  // Moved, all of it: the run, the data and the network.
  fs::remove(folder / "train.bin");
  std::ofstream(folder / "moved.bin", std::ios::binary) << right;
  fs::rename(folder / "net.onnx", folder / "moved.onnx");
  fs::rename(out, folder / "moved");
  const Outcome moved = run_with({"train", folder / "moved.onnx", "--resume", folder / "moved", "--data",
                                  folder / "moved.bin", "--quiet"},
                                 Setting{});
  ASSERT_EQ(moved.code, 0) << moved.err;
  ASSERT_EQ(
      run_with(train(folder / "moved.bin", folder / "whole", {"--checkpoint-every", "3"}), Setting{}).code,
      0);
  EXPECT_TRUE(bytes_of(folder / "moved/model.onnx") == bytes_of(folder / "whole/model.onnx"));
  // Another batch is another place in the epoch.
  const Outcome accepted = run_with({"train", "--resume", folder / "moved", "--batch", "64", "--epochs", "4",
                                     "--quiet", "--accept-changes"},
                                    Setting{});
  EXPECT_EQ(accepted.code, 0) << accepted.err;
  EXPECT_TRUE(contains(accepted.err, "--batch was 16 and is 64")) << accepted.err;
}

TEST(Errors, InTheMiddleOfARunLeaveTheLastStep) {
  Folder folder;
  write_cifar(folder / "train.bin", 320, 11);
  const std::string out = folder / "run";
  Setting setting;
  bool touched = false;
  setting.until = [&] {
    if (touched || lines_of(out + "/events.jsonl") < 3) return false;
    touched = true;
    fs::last_write_time(folder / "train.bin", fs::file_time_type::clock::now() + std::chrono::seconds(5));
    return false;
  };
  const Outcome o = run_with(train(folder / "train.bin", out, {"--epochs", "1000"}), setting);
  EXPECT_EQ(o.code, 3) << o.err;
  EXPECT_TRUE(contains(o.err, "train.bin was changed while it was in use")) << o.err;
  EXPECT_TRUE(contains(o.err, "saved; continue with: halftone train --resume " + out)) << o.err;
  const Outcome resumed = run_with({"train", "--resume", out, "--epochs", "2", "--quiet"}, Setting{});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  ASSERT_EQ(run_with(train(folder / "train.bin", folder / "whole"), Setting{}).code, 0);
  EXPECT_TRUE(bytes_of(out + "/model.onnx") == bytes_of(folder / "whole/model.onnx"));
}

TEST(ExitCodes, TheMachine) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 12);
  const Arguments info{"info", "--json"};
  Setting full;
  full.output = "/dev/full";
  EXPECT_EQ(run_with(info, full).code, 5);
  Setting closed;
  closed.closed = {1};
  const Outcome refused = run_with(train(folder / "train.bin", folder / "a", {"--json"}), closed);
  EXPECT_EQ(refused.code, 5) << refused.err;
  EXPECT_FALSE(exists(folder / "a"));
  Setting small;
  small.most_file_bytes = 100'000;  // less than a checkpoint
  const Outcome disk = run_with(train(folder / "train.bin", folder / "b"), small);
  EXPECT_EQ(disk.code, 5) << disk.err;
  EXPECT_TRUE(contains(disk.err, "File too large")) << disk.err;
  const Outcome help = run_with({"--help"}, Setting{});
  EXPECT_TRUE(contains(help.out, "128+n")) << help.out;
}

TEST(Descriptors, ThatAreClosedAreNoFilesOfTheRun) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 13);
  Setting closed;
  closed.closed = {0, 1, 2};
  Arguments a = train(folder / "train.bin", folder / "run");
  a.pop_back();  // --quiet
  ASSERT_EQ(run_with(a, closed).code, 0);
  std::ifstream events(folder / "run/events.jsonl");
  int lines = 0;
  for (std::string line; std::getline(events, line); ++lines) EXPECT_TRUE(Json::accept(line)) << line;
  EXPECT_EQ(lines, 8);
  EXPECT_EQ(run_with({"train", "--resume", folder / "run", "--quiet"}, Setting{}).code, 0);
}

TEST(SpecialFiles, AreRefusedAndNeverWaitedFor) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 14);
  const std::string fifo = folder / "fifo.bin";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  fs::create_symlink("loop", folder / "loop");
  const std::string deep = folder / std::string(300, 'x');
  for (const std::string& odd : {fifo, std::string("/dev/zero"), folder / "loop", deep}) {
    const auto refused = [&](const Arguments& a) {
      Setting setting;
      const double begin = now_seconds();
      setting.until = [&] { return now_seconds() > begin + 20; };
      setting.signals = {SIGKILL};
      const Outcome o = run_with(a, setting);
      EXPECT_TRUE(o.code == 2 || o.code == 3) << text(a) << " " << o.code << " " << o.signal << " " << o.err;
    };
    Arguments model = train(folder / "train.bin", folder / "a");
    model[1] = odd;
    refused(model);
    refused(train(odd, folder / "a"));
    refused(train(folder / "train.bin", folder / "a", {"--val", odd}));
    refused({"train", "--config", odd});
    refused({"train", "--resume", odd});
    refused(train(folder / "train.bin", odd));
    refused({"export", resnet20(), "--to", "fp32-onnx", "--out", odd});
    refused({"eval", resnet20(), "--data", odd});
    refused({"inspect", odd});
    EXPECT_FALSE(exists(folder / "a")) << odd;
  }
  EXPECT_TRUE(fs::is_character_file("/dev/zero"));
}

TEST(Names, WithControlCharactersAreShownEscaped) {
  Folder folder;
  const std::string evil = "a\x1b[2J\nb\xff";
  const Outcome o = run_with({"eval", folder / evil, "--data", folder / evil, "--json"}, Setting{});
  EXPECT_EQ(o.code, 3);
  EXPECT_TRUE(contains(o.err, "a\\x1b[2J\\nb\\xff")) << o.err;
  EXPECT_FALSE(contains(o.err, "\x1b")) << o.err;
  fs::copy_file(resnet20(), folder / evil);
  write_cifar(folder / "d\xff\t.bin", 32, 15);
  const Outcome eval =
      run_with({"eval", folder / evil, "--data", folder / "d\xff\t.bin", "--json"}, Setting{});
  ASSERT_EQ(eval.code, 0) << eval.err;
  EXPECT_FALSE(contains(eval.err, "\xff"));
  EXPECT_TRUE(Json::accept(eval.out)) << eval.out;
  const Outcome inspect = run_with({"inspect", folder / evil, "--json"}, Setting{});
  ASSERT_EQ(inspect.code, 0) << inspect.err;
  EXPECT_TRUE(Json::accept(inspect.out)) << inspect.out;
  // A run could not be resumed from a configuration that cannot hold the name.
  Arguments a = train(folder / "d\xff\t.bin", folder / "run");
  const Outcome refused = run_with(a, Setting{});
  EXPECT_EQ(refused.code, 2) << refused.err;
  EXPECT_TRUE(contains(refused.err, "UTF-8")) << refused.err;
  EXPECT_FALSE(exists(folder / "run"));
}

}  // namespace
}  // namespace halftone::e2e
