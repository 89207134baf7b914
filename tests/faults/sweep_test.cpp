// Every call that can fail, fails: whatever the program was about, it ends by the right exit code and a
// message, loses nothing, and can go on.
//
// The short sweep takes a few calls of each kind, the long one (HALFTONE_LONG_FAULTS=1) as many as there are,
// but for allocations, of which it takes several hundred. HALFTONE_FAULT_WAYS=TEXT leaves those whose
// KIND:HOW contains it ("malloc", "write:torn", ":SIG"), HALFTONE_FAULT_POINT=N the N-th call of each.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "faults/faulty.h"
#include "faults/run_result.h"
#include "faults/tiny_run.h"

namespace halftone::faults {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// What may become of a call. `codes`: the exit codes that are right.
struct Way {
  Kind kind;
  std::string how;
  bool stays;
  std::vector<int> codes;
};

const std::vector<Way>& ways() {
  static const std::vector<Way> all{{kWrite, "ENOSPC", false, {5}},
                                    {kWrite, "ENOSPC", true, {5}},
                                    {kWrite, "EIO", false, {5}},
                                    {kWrite, "EINTR", false, {0}},
                                    {kWrite, "short", false, {0}},
                                    {kWrite, "short", true, {0}},
                                    {kWrite, "torn", false, {0, 5}},
                                    {kWrite, "kill", false, {}},
                                    {kWrite, "torn-kill", false, {}},
                                    {kWrite, "SIGINT", false, {0, 130}},
                                    {kSync, "EIO", false, {5}},
                                    {kSync, "ENOSPC", true, {5}},
                                    {kSync, "kill", false, {}},
                                    {kSync, "SIGTERM", false, {0, 143}},
                                    {kRename, "EIO", false, {5}},
                                    {kRename, "ENOSPC", true, {5}},
                                    {kRename, "kill", false, {}},
                                    {kRename, "SIGHUP", false, {0, 129}},
                                    {kOpen, "EMFILE", false, {0, 5}},
                                    {kOpen, "EMFILE", true, {0, 5}},
                                    {kOpen, "EIO", false, {0, 5}},
                                    {kOpen, "EACCES", false, {0, 3}},
                                    {kOpen, "kill", false, {}},
                                    {kOpen, "SIGINT", false, {0, 130}},
                                    {kMap, "ENOMEM", false, {0, 5}},
                                    {kMap, "ENOMEM", true, {5}},
                                    {kMap, "SIGTERM", false, {0, 143}},
                                    {kMemory, "ENOMEM", false, {0, 5}},
                                    {kMemory, "ENOMEM", true, {5}},
                                    {kMemory, "kill", false, {}},
                                    {kMemory, "SIGHUP", false, {0, 129}},
                                    {kMemory, "SIGTERM", false, {0, 143}},
                                    {kThread, "EAGAIN", false, {5}},
                                    {kThread, "EAGAIN", true, {5}},
                                    {kThread, "SIGINT", false, {0, 130}},
                                    {kRead, "EIO", false, {0, 5}},
                                    {kRead, "EIO", true, {5}},
                                    {kRead, "EINTR", false, {0}},
                                    {kRead, "short", false, {0}},
                                    {kRead, "short", true, {0}},
                                    {kRead, "kill", false, {}},
                                    {kRead, "SIGINT", false, {0, 130}},
                                    {kRemove, "EIO", false, {0, 5}},
                                    {kRemove, "kill", false, {}},
                                    {kTruncate, "EIO", false, {5}},
                                    {kTruncate, "kill", false, {}},
                                    {kLink, "EIO", false, {0, 5}},
                                    {kLink, "kill", false, {}},
                                    {kFolder, "ENOSPC", false, {5}},
                                    {kFolder, "kill", false, {}},
                                    {kLock, "ENOLCK", false, {5}},
                                    {kLock, "kill", false, {}}};
  return all;
}

// Something that the program does, and how one sees that it did.
struct Job {
  Arguments arguments;
  std::function<void()> prepare;        // before the run
  std::function<std::string()> result;  // after it, or after recover()
  std::function<void()> recover;        // after a run that failed: to the same result
  std::string folder;                   // a message names this, or the file that failed
  bool in_children = false;             // part of it runs in other processes, which may be what is killed
};

int64_t long_points(const char* name, int64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::atoll(text);
}
bool is_long() {
  return std::getenv("HALFTONE_LONG_FAULTS") != nullptr;
}

// A message of one line, but for what comes of the checkpoint, that names the file.
void check_message(const FaultyOutcome& f, const Fault& fault, const Job& job) {
  const std::string& err = f.outcome.err;
  const size_t begin = err.find("halftone: ");
  EXPECT_TRUE(begin == 0 || (begin != std::string::npos && err[begin - 1] == '\n')) << err;
  EXPECT_LE(
      std::count(err.begin() + static_cast<std::ptrdiff_t>(std::min(begin, err.size())), err.end(), '\n'),
      job.in_children ? 4 : 3)
      << err;
  EXPECT_FALSE(contains(err, "bug")) << err;
  EXPECT_FALSE(contains(err, "Success")) << err;
  if (fault.kind == kMemory || fault.kind == kMap) {
    // A thread that gets none of it cannot start.
    EXPECT_TRUE(contains(err, "emory") || contains(err, "threads")) << err;
  } else if (fault.kind == kThread) {
    EXPECT_TRUE(contains(err, "threads")) << err;
  } else {
    const std::string name = fs::path(f.state.path).filename().string();
    // Of many failures the first may have been harmless.
    EXPECT_TRUE((!name.empty() && contains(err, name)) || contains(err, fault.stays ? "/" : job.folder))
        << f.state.path << ": " << err;
  }
}

void try_point(const Job& job, const Way& way, uint64_t number, const std::string& expected) {
  const Fault fault{way.kind, number, way.stays, way.how};
  SCOPED_TRACE(command_of(job.arguments, fault));
  job.prepare();
  const FaultyOutcome f = run_with_fault(job.arguments, fault);
  const e2e::Outcome& o = f.outcome;
  EXPECT_FALSE(f.hung);
  if (f.hung) return;
  if (f.state.faults == 0) {  // threads don't always make the same calls
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_TRUE(job.result() == expected);
    return;
  }
  if (way.codes.empty()) {
    // A comparison that loses a run by a kill says so.
    if (job.in_children && o.code == 5) {
      EXPECT_TRUE(contains(o.err, "killed")) << o.err;
    } else {
      EXPECT_EQ(o.signal, SIGKILL) << o.code << o.err;
    }
  } else {
    EXPECT_EQ(o.signal, 0) << o.err;
    EXPECT_TRUE(std::count(way.codes.begin(), way.codes.end(), o.code) > 0) << o.code << ": " << o.err;
    if (o.code > 128) {
      EXPECT_TRUE(contains(o.err, "saved; continue with") || contains(o.err, "stopped by")) << o.err;
    } else if (o.code != 0) {
      check_message(f, fault, job);
    }
  }
  if (o.code == 0) {
    EXPECT_TRUE(job.result() == expected) << "another result, and exit code 0";
    return;
  }
  job.recover();
  EXPECT_TRUE(job.result() == expected) << "another result after " << o.code << ": " << o.err;
}

// The short sweep's points of each way are chosen by a fixed seed. `kinds`: empty: all.
void sweep(const Job& job, const std::string& name, size_t share_of_ways, const std::vector<Kind>& kinds = {},
           uint64_t short_points = 1) {
  job.prepare();
  const FaultyOutcome whole = run_with_fault(job.arguments, {});
  ASSERT_EQ(whole.outcome.code, 0) << whole.outcome.err;
  const std::string expected = job.result();
  ASSERT_FALSE(expected.empty());
  std::mt19937_64 random(std::hash<std::string>{}(name));
  int64_t points = 0;
  std::vector<Way> chosen;
  for (const Way& way : ways()) {
    const bool meant = kinds.empty() || std::count(kinds.begin(), kinds.end(), way.kind) > 0;
    if (meant && whole.state.calls[way.kind] > 0) chosen.push_back(way);
  }
  if (!is_long()) {
    std::shuffle(chosen.begin(), chosen.end(), random);
    chosen.resize(std::min(chosen.size(), share_of_ways));
  }
  const char* only = std::getenv("HALFTONE_FAULT_WAYS");
  for (const Way& way : chosen) {
    if (only != nullptr && !contains(std::string(kKindNames[way.kind]) + ":" + way.how, only)) continue;
    const uint64_t calls = whole.state.calls[way.kind];
    const auto most =
        static_cast<uint64_t>(!is_long()            ? static_cast<int64_t>(short_points)
                              : way.kind == kMemory ? long_points("HALFTONE_FAULT_ALLOCATIONS", 400)
                                                    : long_points("HALFTONE_FAULT_CALLS", 100));
    std::vector<uint64_t> numbers;
    if (calls <= most) {
      for (uint64_t n = 1; n <= calls; ++n) numbers.push_back(n);
    } else {
      // One from each part of the run.
      for (uint64_t i = 0; i < most; ++i) {
        const uint64_t first = i * calls / most, next = (i + 1) * calls / most;
        numbers.push_back(1 + first + random() % (next - first));
      }
    }
    for (const uint64_t n : numbers) {
      try_point(job, way, n, expected);
      ++points;
      // Enough to see of what kind they are.
      const auto* result = testing::UnitTest::GetInstance()->current_test_info()->result();
      if (result->total_part_count() > 60) return;
    }
  }
  std::printf("%s: %ld points in %zu ways\n", name.c_str(), static_cast<long>(points), chosen.size());
}

Job training(const Arguments& arguments, const std::string& out) {
  Job job;
  job.arguments = arguments;
  job.folder = out;
  job.prepare = [out] { fs::remove_all(out); };
  job.result = [out] { return result_of_run(out); };
  job.recover = [out, arguments] { go_on(out, arguments); };
  return job;
}

TEST(FaultSweep, Train) {
  const TinyRun run;
  sweep(training(run.train(run.network(), run / "a"), run / "a"), "train", 40);
}

TEST(FaultSweep, TrainWithDataBesideTheNetwork) {
  const TinyRun run;
  sweep(training(run.train(run.external_network(), run / "a",
                           {"--threads", "2", "--precision", "bf16", "--optimizer", "adam", "--lr", "0.01"}),
                 run / "a"),
        "train external", 4);
}

// On several threads, whose calls come in any order; a sample is never left out as a bad one.
TEST(FaultSweep, TrainOnImages) {
  const TinyRun run;
  const std::string out = run / "a";
  const Arguments more{"--data",  run.images(), "--val",     run.images(), "--batch",          "2",
                       "--steps", "6",          "--threads", "2",          "--loader-threads", "3"};
  Arguments skipping = more;
  skipping.insert(skipping.end(), {"--skip-bad", "--cache", "0"});
  sweep(training(run.train(run.image_network(), out, more), out), "train on images", 4,
        {kMemory, kMap, kThread, kOpen, kRead}, 2);
  sweep(training(run.train(run.image_network(), out, skipping), out), "train on images --skip-bad", 4,
        {kMemory, kMap, kThread, kRead}, 2);
}

TEST(FaultSweep, TrainOnFieldsWithALossGraphAndAFunction) {
  const TinyRun run;
  const std::string out = run / "a";
  for (const std::string kind : {"npz", "safetensors"}) {
    const Arguments more{
        "--data",         run.fields(kind), "--val", run.fields(kind) + "[:8]", "--loss-graph",
        run.loss_graph(), "--threads",      "2",     "--loader-threads",        "2"};
    sweep(training(run.train(run.fields_network(), out, more), out), "train on " + kind, 3,
          {kMemory, kMap, kThread, kOpen, kRead}, 2);
  }
}

// Each of the threads that a run starts, those of the checks before the first step too.
TEST(FaultSweep, EveryThread) {
  const TinyRun run;
  const std::string out = run / "a";
  const Arguments more{
      "--data",         run.fields("npz"), "--val", run.fields("npz") + "[:8]", "--loss-graph",
      run.loss_graph(), "--threads",       "2",     "--loader-threads",         "2"};
  sweep(training(run.train(run.fields_network(), out, more), out), "every thread", 3, {kThread}, 100);
}

TEST(FaultSweep, OutputsAndGradients) {
  const TinyRun run;
  const std::string out = run / "a";
  const Arguments commands[] = {
      {"run", run.network(), "--input", run.samples(), "--threads", "2", "--output-dir", out},
      {"gradients", run.network(), "--input", run.samples(), "--labels", run.labels(), "--threads", "2",
       "--output-dir", out}};
  for (const Arguments& arguments : commands) {
    Job job;
    job.arguments = arguments;
    job.folder = out;
    job.prepare = [&] { fs::remove_all(out); };
    job.result = [&] {
      std::vector<std::string> files;
      if (!fs::exists(out)) return std::string();
      for (const auto& entry : fs::directory_iterator(out))
        files.push_back(entry.path().filename().string() + e2e::bytes_of(entry.path().string()));
      std::sort(files.begin(), files.end());
      std::string all;
      for (const std::string& file : files) all += file;
      return all;
    };
    job.recover = [&] {
      const e2e::Outcome again = e2e::run(job.arguments);
      EXPECT_EQ(again.code, 0) << again.err;
    };
    sweep(job, arguments[0], 5);
  }
}

TEST(FaultSweep, Resume) {
  const TinyRun run;
  const std::string out = run / "a", kept = run / "kept";
  const Arguments whole = run.train(run.network(), out);
  Arguments first = whole;
  first.insert(first.end(), {"--steps", "5"});
  const e2e::Outcome o = e2e::run(first);
  ASSERT_EQ(o.code, 0) << o.err;
  fs::rename(out, kept);
  Job job;
  job.arguments = {"train", "--resume", out, "--steps", "10", "--quiet"};
  job.folder = out;
  job.prepare = [&] {
    fs::remove_all(out);
    fs::copy(kept, out);
  };
  job.result = [&] { return result_of_run(out); };
  job.recover = [&] {
    const e2e::Outcome again = e2e::run(job.arguments);
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_FALSE(contains(again.err, "damaged")) << again.err;
  };
  sweep(job, "resume", 12);
}

TEST(FaultSweep, Overwrite) {
  const TinyRun run;
  const std::string out = run / "a", kept = run / "kept";
  ASSERT_EQ(e2e::run(run.train(run.network(), out)).code, 0);
  fs::rename(out, kept);
  const Arguments over = run.train(run.external_network(), out, {"--overwrite", "--lr", "0.1"});
  Job job = training(over, out);
  job.prepare = [&] {
    fs::remove_all(out);
    fs::copy(kept, out);
  };
  job.recover = [&] {
    // Until the new run has begun, the old one is there, whole.
    const e2e::Outcome again = e2e::run(over);
    EXPECT_EQ(again.code, 0) << again.err;
  };
  sweep(job, "overwrite", 6);
}

TEST(FaultSweep, Export) {
  const TinyRun run;
  ASSERT_EQ(e2e::run(run.train(run.external_network(), run / "a")).code, 0);
  for (const std::string form : {"fp32-onnx", "fp16-onnx", "safetensors"}) {
    const std::string to = run / ("folder-" + form);
    Job job;
    job.arguments = {"export", run / "a", "--to", form, "--out", to + "/x.onnx"};
    job.folder = to;
    job.prepare = [&] { fs::remove_all(to); };
    job.result = [&] {
      std::string bytes;
      for (const std::string name : {"/x.onnx", "/external.bin"})
        if (e2e::exists(to + name)) bytes += e2e::bytes_of(to + name);
      return bytes;
    };
    job.recover = [&] {
      const e2e::Outcome again = e2e::run(job.arguments);
      EXPECT_EQ(again.code, 0) << again.err;
    };
    sweep(job, "export " + form, 3);
  }
}

// Commands that print their result. What they print about time is left out.
Job printing(const Arguments& arguments, std::string& out) {
  Job job;
  job.arguments = arguments;
  job.folder = arguments[1];
  job.prepare = [&out] { out.clear(); };
  job.recover = [arguments] { EXPECT_EQ(e2e::run(arguments).code, 0); };
  job.result = [arguments, &out] {
    if (out.empty()) out = e2e::run(arguments).out;
    out.resize(std::min(out.size(), out.find('(')));
    return out;
  };
  return job;
}

TEST(FaultSweep, Evaluation) {
  const TinyRun run;
  ASSERT_EQ(e2e::run(run.train(run.network(), run / "a")).code, 0);
  std::string out;
  for (const Arguments& source :
       {Arguments{run / "a"}, Arguments{run / "a", "--weights", "best"}, Arguments{run.external_network()}}) {
    Arguments a{"eval"};
    a.insert(a.end(), source.begin(), source.end());
    a.insert(a.end(), {"--data", run.validation(), "--threads", "1", "--loader-threads", "1", "--quiet"});
    sweep(printing(a, out), "eval " + std::to_string(source.size()), 3);
  }
  sweep(printing({"inspect", run.network(), "--data", run.data(), "--threads", "1"}, out), "inspect", 3);
}

TEST(FaultSweep, Comparison) {
  const TinyRun run;
  const std::string out = run / "a";
  const Arguments arguments{
      "compare",          run.network(), "--data", run.data(), "--val",  run.validation(), "--precisions",
      "fp32,fp16",        "--steps",     "3",      "--batch",  "8",      "--threads",      "1",
      "--loader-threads", "1",           "--out",  out,        "--quiet"};
  Job job;
  job.arguments = arguments;
  job.folder = out;
  job.in_children = true;
  job.prepare = [&] { fs::remove_all(out); };
  job.result = [&] {
    const auto json = nlohmann::json::parse(e2e::bytes_of(out + "/summary.json"), nullptr, false);
    return json.is_object() ? json["rows"][1]["loss"].dump() : "";
  };
  job.recover = [&] {
    Arguments again = arguments;
    again.emplace_back("--overwrite");
    const e2e::Outcome o = e2e::run(again);
    EXPECT_EQ(o.code, 0) << o.err;
  };
  sweep(job, "compare", 4);
}

}  // namespace
}  // namespace halftone::faults
