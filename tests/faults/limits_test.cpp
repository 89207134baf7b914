// Whatever the limits of the process: each command does its work or ends in one line and exit code 5.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "e2e/program.h"
#include "faults/tiny_run.h"

namespace halftone::faults {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kKib = 1024;
constexpr int64_t kMost = 4'000'000;  // KiB; enough for any command

bool is_long() {
  return std::getenv("HALFTONE_LONG_FAULTS") != nullptr;
}

e2e::Outcome run_within(const Arguments& arguments, int64_t kib) {
  e2e::Setting setting;
  setting.most_address_bytes = kib * kKib;
  // The system's loader says when it hands over.
  setting.environment["LD_DEBUG"] = "files";
  return e2e::run_with(arguments, setting);
}

// Whether the loader came so far that anything of ours could run: before that it ends by a code, or a signal,
// of its own.
bool loaded(const e2e::Outcome& o) {
  return o.err.find("calling preinit: ") != std::string::npos;
}

int64_t first_loaded_kib() {
  int64_t below = 0;
  int64_t at = kMost;
  while (at - below > 4) {
    const int64_t middle = (below + at) / 8 * 4;
    (loaded(run_within({"--version"}, middle)) ? at : below) = middle;
  }
  return at;
}

std::vector<std::string> own_lines(const std::string& err) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < err.size();) {
    const size_t end = std::min(err.find('\n', begin), err.size());
    if (const std::string line = err.substr(begin, end - begin); line.starts_with("halftone: "))
      lines.push_back(line);
    begin = end + 1;
  }
  return lines;
}

class Limits : public ::testing::Test {
 protected:
  Limits() : out_(run_ / "a") {
    const std::vector<std::pair<std::string, std::string>> training{
        {"--val", "none"}, {"--steps", "2"}, {"--batch", "4"}, {"--out", out_}};
    const auto with = [&](Arguments a) {
      for (const auto& [name, value] : training) a.insert(a.end(), {name, value});
      a.emplace_back("--quiet");
      return a;
    };
    commands_ = {{"--version"},
                 {"info"},
                 {"inspect", run_.image_network(), "--data", run_.images()},
                 with({"train", run_.image_network(), "--data", run_.images()}),
                 with({"train", run_.fields_network(), "--data", run_.fields("npz"), "--loss-graph",
                       run_.loss_graph()}),
                 {"eval", run_.network(), "--data", run_.validation(), "--quiet"},
                 {"run", run_.network(), "--input", run_.samples(), "--output-dir", out_},
                 {"gradients", run_.network(), "--input", run_.samples(), "--labels", run_.labels(),
                  "--output-dir", out_},
                 {"export", run_.network(), "--to", "safetensors", "--out", out_},
                 with({"compare", run_.network(), "--data", run_.data(), "--precisions", "fp32,fp16"})};
  }
  void expect_well_ended(const Arguments& arguments, const e2e::Outcome& o, const std::string& limit) {
    ++codes_[o.signal != 0 ? 128 + o.signal : o.code];
    const size_t lines = own_lines(o.err).size();
    EXPECT_TRUE(o.code == 0 || o.code == 5) << limit << ": " << e2e::text(arguments) << "\n"
                                            << o.code << " " << o.signal << " " << o.err;
    if (o.code == 0) return;
    // A comparison's run says what it was, and the comparison that it ended.
    EXPECT_TRUE(lines == 1 || (lines == 2 && arguments[0] == "compare"))
        << limit << ": " << e2e::text(arguments) << "\n"
        << o.err;
  }
  void report(const std::string& name) {
    std::printf("%s:", name.c_str());
    for (const auto& [code, count] : codes_) std::printf(" %d times exit code %d;", count, code);
    std::printf("\n");
  }

  TinyRun run_;
  std::string out_;
  std::vector<Arguments> commands_;
  std::map<int, int> codes_;
};

TEST_F(Limits, OfAddressesFromTheFirstThatTheLoaderLivesOn) {
  const int64_t first = first_loaded_kib();
  ASSERT_LT(first, kMost);
  std::vector<int64_t> all, some;
  for (int64_t more = 0; more < 200; more += is_long() ? 4 : 8) all.push_back(first + more);
  for (const int64_t more : {10, 300, 700, 2500, 14'000, 60'000}) some.push_back(first + more);
  if (is_long()) {
    for (int64_t more = 12; more < 1000; more += 28) some.push_back(first + more);
    for (int64_t more = 1000; more < 40'000; more += 700) some.push_back(first + more);
    for (int64_t more = 40'000; more < 400'000; more += 20'000) some.push_back(first + more);
  }
  for (const Arguments& arguments : commands_) {
    for (const int64_t kib : arguments == commands_.front() ? all : some) {
      fs::remove_all(out_);
      const e2e::Outcome o = run_within(arguments, kib);
      if (!loaded(o)) continue;  // it is not the same limit each time
      expect_well_ended(arguments, o, "ulimit -v " + std::to_string(kib));
      if (HasFailure()) return;
    }
  }
  report("addresses");
  EXPECT_GT(codes_[0], 10);
  EXPECT_GT(codes_[5], 30);
}

TEST_F(Limits, OfTheStack) {
  for (const int64_t kib : {40, 64, 255, 256}) {
    for (const Arguments& arguments : commands_) {
      if (!is_long() && arguments[0] != "--version" && arguments[0] != "train") continue;
      fs::remove_all(out_);
      e2e::Setting setting;
      setting.most_stack_bytes = kib * kKib;
      const e2e::Outcome o = e2e::run_with(arguments, setting);
      EXPECT_EQ(o.code, kib < 256 ? 5 : 0)
          << kib << ": " << e2e::text(arguments) << " " << o.signal << " " << o.err;
      EXPECT_EQ(own_lines(o.err).size(), kib < 256 ? 1U : 0U) << o.err;
    }
  }
}

}  // namespace
}  // namespace halftone::faults
