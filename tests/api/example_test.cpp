// The example of docs/library.md is short, and does what it says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "halftone/halftone.h"
#include "onnx/build_model.h"

namespace halftone::test {
namespace {

std::string output_of(const std::string& command) {
  std::string text;
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  char line[256];
  while (std::fgets(line, sizeof(line), pipe) != nullptr) text += line;
  EXPECT_EQ(::pclose(pipe), 0) << text;
  return text;
}

TEST(Example, TrainsStepByStepAndReadsATensor) {
  const std::string tests = HALFTONE_TESTS_DIR;
  const std::string source = read_file(tests + "/../examples/train_steps.cpp");
  EXPECT_LE(std::count(source.begin(), source.end(), '\n'), 40);
  EXPECT_NE(read_file(tests + "/../docs/library.md").find(source), std::string::npos)
      << "docs/library.md has another example";

  const onnx::test::TemporaryFolder folder;
  const std::string program =
      std::filesystem::path(HALFTONE_PROGRAM).parent_path().string() + "/example_train_steps";
  const std::string network = tests + "/fixtures/small/mlp_dynamo20_folded/model.onnx";
  const std::string text = output_of(program + " " + network + " " + (folder / "result.onnx"));
  const auto number_after = [&](const std::string& words) {
    const size_t at = text.find(words);
    EXPECT_NE(at, std::string::npos) << text;
    return at == std::string::npos ? 0.0 : std::stod(text.substr(at + words.size()));
  };
  EXPECT_LT(number_after("step 100: loss "), 0.5 * number_after("step 1: loss "));
  EXPECT_GT(number_after("accuracy "), 90);
  EXPECT_NE(read_file(folder / "result.onnx"), read_file(network));
}

}  // namespace
}  // namespace halftone::test
