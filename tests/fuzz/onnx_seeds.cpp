// Writes the seeds of the fuzzer of the ONNX reader: FOLDER/fuzz_onnx/seedN.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "onnx/fuzzing.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  const std::filesystem::path folder = std::filesystem::path(arguments[1]) / "fuzz_onnx";
  std::filesystem::create_directories(folder);
  int number = 0;
  for (const std::string& seed : halftone::onnx::test::fuzz_seeds())
    std::ofstream(folder / ("seed" + std::to_string(number++)), std::ios::binary) << seed;
}
