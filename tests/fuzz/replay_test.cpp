// The seeds in tests/fuzz/corpus, and those made in code, through the readers that are fuzzed: what the
// fuzzers found once stays mended.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "data/fuzzing.h"
#include "onnx/operator_seeds.h"
#include "train/mutation.h"

#define F(name) extern "C" int read_##name(const uint8_t* data, size_t size);
#include "fuzzers.inc"
#undef F

namespace halftone::fuzz {
namespace {

namespace fs = std::filesystem;

using Reader = int (*)(const uint8_t*, size_t);
const std::map<std::string, Reader>& readers() {
  static const std::map<std::string, Reader> all = {
#define F(name) {#name, read_##name},
#include "fuzzers.inc"
#undef F
  };
  return all;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder))
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

fs::path corpus() {
  return fs::path(HALFTONE_TESTS_DIR) / "fuzz/corpus";
}

// The bytes, by what to call them.
std::map<std::string, std::string> seeds_of(const std::string& reader) {
  std::map<std::string, std::string> seeds;
  const auto add = [&](const std::vector<std::string>& made) {
    for (const std::string& bytes : made) seeds["made in code #" + std::to_string(seeds.size())] = bytes;
  };
  const std::vector<std::string>& of_data = data::kFuzzedReaders;
  if (std::find(of_data.begin(), of_data.end(), reader) != of_data.end()) add(data::seeds_of(reader));
  if (reader == "onnx") add(onnx::test::operator_seeds());
  if (reader == "loss_graph") add(onnx::test::loss_seeds());
  for (const std::string& name : names_in(corpus() / reader))
    seeds[name] = read_file((corpus() / reader / name).string());
  return seeds;
}

TEST(Fuzz, EverySeedIsReadOrRefused) {
  for (const auto& [name, read] : readers()) {
    const std::map<std::string, std::string> seeds = seeds_of(name);
    EXPECT_FALSE(seeds.empty()) << name;
    for (const auto& [seed, text] : seeds) {
      SCOPED_TRACE(name + ", " + seed);
      // A vector: its end is the end of an allocation.
      const std::vector<uint8_t> bytes(text.begin(), text.end());
      ASSERT_NO_THROW(EXPECT_EQ(read(bytes.data(), bytes.size()), 0));
    }
  }
}

// A quick, deterministic fuzzer of those readers whose own tests have none.
TEST(Fuzz, MutatedSeedsAreReadOrRefused) {
  constexpr int kMutations = 300;
  for (const char* name :
       {"class_weights", "config", "event_log", "run_config", "run_marker", "sample_scores", "summary"}) {
    const Reader read = readers().at(name);
    std::vector<std::string> seeds;
    for (const auto& [seed, text] : seeds_of(name)) seeds.push_back(text);
    train::Mutator mutator(5);
    for (int i = 0; i < kMutations; ++i) {
      SCOPED_TRACE(fmt::format("{}, mutation {}", name, i));
      const std::string text = mutator.mutated(seeds[static_cast<size_t>(i) % seeds.size()]);
      const std::vector<uint8_t> bytes(text.begin(), text.end());
      ASSERT_NO_THROW(EXPECT_EQ(read(bytes.data(), bytes.size()), 0));
    }
  }
}

TEST(Fuzz, EveryFolderOfSeedsHasAReader) {
  const std::vector<std::string> names = names_in(corpus());
  EXPECT_FALSE(names.empty());
  for (const std::string& name : names) EXPECT_EQ(readers().count(name), 1U) << name;
}

}  // namespace
}  // namespace halftone::fuzz
