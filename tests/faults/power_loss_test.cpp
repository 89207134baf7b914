// A power failure at any moment of a run, whatever the disk had done by then of what it had not promised: the
// run goes on to the same bytes, from the last checkpoint that had been written. The short test tries thirty
// states of the disk, the long one (HALFTONE_LONG_FAULTS=1) a thousand and more.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "faults/crash_disk.h"
#include "faults/tiny_run.h"

namespace halftone::faults {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

size_t states_wanted(size_t of_long, size_t of_short) {
  return std::getenv("HALFTONE_LONG_FAULTS") != nullptr ? of_long : of_short;
}

// What lies in a folder below `base`, hard links included.
Tree tree_of(const std::string& base, const std::string& name) {
  Tree tree;
  if (!fs::exists(base + "/" + name)) return tree;
  tree.folders.push_back(name);
  std::vector<std::string> seen;
  for (const auto& entry : fs::directory_iterator(base + "/" + name)) {
    const std::string path = name + "/" + entry.path().filename().string();
    int number = -1;
    for (const auto& [other, of_other] : tree.files)
      if (fs::equivalent(entry.path(), base + "/" + other)) number = of_other;
    if (number < 0) {
      number = static_cast<int>(tree.contents.size());
      tree.contents[number] = e2e::bytes_of(entry.path());
    }
    tree.files[path] = number;
  }
  return tree;
}

std::string key_of(const Tree& tree) {
  std::string key;
  for (const std::string& folder : tree.folders) key += folder + "\n";
  for (const auto& [path, node] : tree.files)
    key += path + "\n" + std::to_string(node) + "\n" + tree.contents.at(node) + "\n";
  return std::to_string(std::hash<std::string>{}(key)) + std::to_string(key.size());
}

int64_t newest_checkpoint(const Tree& tree) {
  int64_t newest = -1;
  for (const auto& [path, node] : tree.files) {
    const std::string name = fs::path(path).filename().string();
    if (name.starts_with("checkpoint-") && name.ends_with(".htck"))
      newest = std::max<int64_t>(newest, std::stoll(name.substr(11)));
  }
  return newest;
}

std::string listing(const Tree& tree) {
  std::string text;
  for (const auto& [path, node] : tree.files)
    text += "  " + path + " " + std::to_string(tree.contents.at(node).size()) + " bytes\n";
  return text;
}

// Distinct states of the disk during a run, those that lie nearest to what was promised first.
class States {
 public:
  explicit States(const CrashDisk& disk) : disk_(disk), random_(disk.calls()) {}

  // The next one, with the number of calls before the crash.
  std::pair<size_t, Tree> next(bool thorough) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      size_t count = 1 + random_() % disk_.calls();
      Tree tree;
      if (thorough && sweep_ <= 2 * disk_.calls() + 1) {
        count = sweep_ / 2;
        tree = sweep_++ % 2 == 0 ? disk_.least(count) : disk_.most(count);
      } else {
        tree = disk_.random(count, random_);
      }
      if (seen_.insert(key_of(tree)).second) return {count, tree};
    }
    return {0, {}};
  }

 private:
  const CrashDisk& disk_;
  std::mt19937_64 random_;
  std::set<std::string> seen_;
  size_t sweep_ = 0;
};

void clear(const std::string& out) {
  fs::remove_all(out);
}

// What a run must be able to do from this state: to go on with `resume`, or to start with `start`, and to end
// with `expected`.
void check_state(const TinyRun& run, const std::string& out, const Tree& tree, const Tree& least,
                 const Arguments& start, const std::string& expected) {
  const std::string name = fs::path(out).filename().string() + "/";
  // What has its final name is whole.
  if (const std::string* summary = tree.find(name + "summary.json")) {
    EXPECT_TRUE(nlohmann::json::accept(*summary));
    const std::string* model = tree.find(name + "model.onnx");
    EXPECT_TRUE(model != nullptr && *model == expected) << "the run has ended, and its network is not whole";
  }
  clear(out);
  tree.write_to(run.path());
  const e2e::Outcome resumed = e2e::run({"train", "--resume", out});
  EXPECT_FALSE(contains(resumed.err, "damaged")) << resumed.err;
  if (resumed.code == 0) {
    const size_t at = resumed.err.find("resuming at step ");
    const int64_t step = at == std::string::npos ? -1 : std::stoll(resumed.err.substr(at + 17));
    EXPECT_GE(step, newest_checkpoint(least)) << "a checkpoint that had been written is lost";
    EXPECT_GE(step, newest_checkpoint(tree));
  } else {
    // Nothing had been saved, and nothing is in the way of another start.
    EXPECT_EQ(newest_checkpoint(least), -1) << resumed.err;
    EXPECT_EQ(newest_checkpoint(tree), -1) << resumed.err;
    EXPECT_EQ(resumed.code, 3) << resumed.err;
    EXPECT_TRUE(contains(resumed.err, out)) << resumed.err;
    const e2e::Outcome again = e2e::run(start);
    EXPECT_EQ(again.code, 0) << again.err;
  }
  EXPECT_TRUE(e2e::bytes_of(out + "/model.onnx") == expected);
  EXPECT_TRUE(e2e::exists(out + "/summary.json"));
  int64_t lines = 0;
  std::ifstream events(out + "/events.jsonl");
  for (std::string line; std::getline(events, line); ++lines)
    EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  EXPECT_EQ(lines, 12);
}

void try_states(const TinyRun& run, const std::string& out, const CrashDisk& disk, const Arguments& start,
                const std::string& expected, size_t wanted) {
  States states(disk);
  size_t tried = 0;
  for (; tried < wanted; ++tried) {
    const auto [count, tree] = states.next(wanted > 100);
    if (count == 0 && tree.files.empty() && tried > 2) break;
    SCOPED_TRACE("crash after " + std::to_string(count) + " of " + std::to_string(disk.calls()) +
                 " calls:\n" + listing(tree));
    check_state(run, out, tree, disk.least(count), start, expected);
    if (testing::Test::HasFailure()) {
      std::printf("the first state that fails is number %zu\n", tried);
      return;
    }
  }
  EXPECT_GE(tried, std::min<size_t>(wanted, 1000)) << "there are no more states";
  std::printf("%zu distinct states of the disk\n", tried);
}

TEST(PowerLoss, DuringARun) {
  const TinyRun run;
  const std::string out = run / "a";
  const Arguments start = run.train(run.external_network(), out);
  e2e::Outcome whole;
  const std::vector<RecordedCall> calls = record(start, whole);
  ASSERT_EQ(whole.code, 0) << whole.err;
  const std::string expected = e2e::bytes_of(out + "/model.onnx");
  const CrashDisk disk(run.path(), {}, calls);
  // The replay of all calls is what is there.
  EXPECT_EQ(listing(disk.most(disk.calls())), listing(tree_of(run.path(), "out-a")));
  // What the program said at its end is there whatever happens.
  const Tree least = disk.least(disk.calls());
  for (const std::string name :
       {"model.onnx", "external.bin", "summary.json", "config.yaml", "val_samples.safetensors"}) {
    const std::string* bytes = least.find("out-a/" + name);
    ASSERT_TRUE(bytes != nullptr) << name;
    EXPECT_TRUE(*bytes == e2e::bytes_of(out + "/" + name)) << name;
  }
  try_states(run, out, disk, start, expected, states_wanted(1200, 20));
}

TEST(PowerLoss, DuringAResumedRun) {
  const TinyRun run;
  const std::string out = run / "a";
  const Arguments start = run.train(run.network(), out);
  ASSERT_EQ(e2e::run(start).code, 0);
  const std::string expected = e2e::bytes_of(out + "/model.onnx");
  clear(out);
  ASSERT_EQ(e2e::run(run.train(run.network(), out, {"--steps", "5"})).code, 0);
  const Tree before = tree_of(run.path(), "out-a");
  e2e::Outcome whole;
  const std::vector<RecordedCall> calls =
      record({"train", "--resume", out, "--steps", "10", "--quiet"}, whole);
  ASSERT_EQ(whole.code, 0) << whole.err;
  ASSERT_TRUE(e2e::bytes_of(out + "/model.onnx") == expected);
  const CrashDisk disk(run.path(), before, calls);
  EXPECT_EQ(listing(disk.most(disk.calls())), listing(tree_of(run.path(), "out-a")));
  States states(disk);
  const size_t wanted = states_wanted(400, 6);
  for (size_t tried = 0; tried < wanted && !testing::Test::HasFailure(); ++tried) {
    const auto [count, tree] = states.next(wanted > 100);
    SCOPED_TRACE("crash after " + std::to_string(count) + " of " + std::to_string(disk.calls()) +
                 " calls:\n" + listing(tree));
    clear(out);
    tree.write_to(run.path());
    // The network is that of the five steps or that of the ten.
    const std::string* model = tree.find("out-a/model.onnx");
    ASSERT_TRUE(model != nullptr);
    EXPECT_TRUE(*model == expected || *model == *before.find("out-a/model.onnx"));
    const e2e::Outcome again = e2e::run({"train", "--resume", out, "--steps", "10"});
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_FALSE(contains(again.err, "damaged")) << again.err;
    EXPECT_TRUE(contains(again.err, "resuming at step ")) << again.err;
    EXPECT_TRUE(e2e::bytes_of(out + "/model.onnx") == expected);
  }
}

TEST(PowerLoss, WhileARunIsReplaced) {
  const TinyRun run;
  const std::string out = run / "a";
  ASSERT_EQ(e2e::run(run.train(run.network(), out)).code, 0);
  const Tree before = tree_of(run.path(), "out-a");
  const std::string old = e2e::bytes_of(out + "/model.onnx");
  const Arguments over = run.train(run.external_network(), out, {"--overwrite", "--lr", "0.1"});
  e2e::Outcome whole;
  const std::vector<RecordedCall> calls = record(over, whole);
  ASSERT_EQ(whole.code, 0) << whole.err;
  const std::string expected = e2e::bytes_of(out + "/model.onnx");
  ASSERT_FALSE(expected == old);
  const CrashDisk disk(run.path(), before, calls);
  States states(disk);
  const size_t wanted = states_wanted(400, 6);
  for (size_t tried = 0; tried < wanted && !testing::Test::HasFailure(); ++tried) {
    const auto [count, tree] = states.next(wanted > 100);
    SCOPED_TRACE("crash after " + std::to_string(count) + " of " + std::to_string(disk.calls()) +
                 " calls:\n" + listing(tree));
    // Until the new network is written, the old one is there.
    const std::string* model = tree.find("out-a/model.onnx");
    ASSERT_TRUE(model != nullptr);
    EXPECT_TRUE(*model == expected || *model == old);
    clear(out);
    tree.write_to(run.path());
    // Either run goes on, or this is refused by name; it is never a mixture of both.
    const e2e::Outcome resumed = e2e::run({"train", "--resume", out, "--quiet"});
    if (resumed.code == 0) {
      const std::string now = e2e::bytes_of(out + "/model.onnx");
      EXPECT_TRUE(now == expected || now == old);
    } else {
      EXPECT_TRUE(resumed.code == 2 || resumed.code == 3) << resumed.err;
      EXPECT_TRUE(contains(resumed.err, out)) << resumed.err;
    }
    clear(out);
    tree.write_to(run.path());
    const e2e::Outcome again = e2e::run(over);
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_TRUE(e2e::bytes_of(out + "/model.onnx") == expected);
  }
}

}  // namespace
}  // namespace halftone::faults
