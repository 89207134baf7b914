// Writes the seeds of the fuzzers of ONNX files: FOLDER/fuzz_NAME/seedN.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "onnx/fuzzing.h"
#include "onnx/operator_seeds.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  const auto write = [&](const char* name, const std::vector<std::string>& seeds) {
    const std::filesystem::path folder = std::filesystem::path(arguments[1]) / name;
    std::filesystem::create_directories(folder);
    int number = 0;
    for (const std::string& seed : seeds)
      std::ofstream(folder / ("seed" + std::to_string(number++)), std::ios::binary) << seed;
  };
  write("fuzz_onnx", halftone::onnx::test::fuzz_seeds());
  write("fuzz_loss_graph", halftone::onnx::test::loss_seeds());
}
