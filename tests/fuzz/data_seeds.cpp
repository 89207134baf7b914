// Writes the seeds of the fuzzers of the data readers: FOLDER/fuzz_READER/seedN.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "data/fuzzing.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  for (const std::string& reader : halftone::data::kFuzzedReaders) {
    const std::filesystem::path folder = std::filesystem::path(arguments[1]) / ("fuzz_" + reader);
    std::filesystem::create_directories(folder);
    int number = 0;
    for (const std::string& seed : halftone::data::seeds_of(reader))
      std::ofstream(folder / ("seed" + std::to_string(number++)), std::ios::binary) << seed;
  }
}
