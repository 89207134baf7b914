// Folders that vanish, and data files made in memory, for the tests of the readers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace halftone::data {

// A fresh temporary folder; removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  // Writes bytes to a file below the folder, making the folders on the way; its path.
  std::string write(const std::string& name, const std::string& bytes) const;

 private:
  std::string path_;
};

std::string fixture(const std::string& name);  // a file of tests/fixtures
std::string gzip(const std::string& bytes);

// IDX with elements given as their bytes, big-endian.
std::string idx(uint8_t type, const std::vector<uint32_t>& dims, const std::string& elements);
// `count` bytes, each a function of its place and the seed.
std::string noise(int64_t count, uint64_t seed);

// .npy, version 1: `descr` and `shape` as Python writes them, e.g. "<f4" and "(2, 3)".
std::string npy(const std::string& descr, const std::string& shape, const std::string& elements);
// A zip file of these members, stored or deflated.
struct Member {
  std::string name;
  std::string contents;
};
std::string zip(const std::vector<Member>& members, bool deflated);
std::string safetensors(const std::string& header, const std::string& data);
// The bytes of numbers, little-endian.
template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// The message of the Error that `call` throws; "no error" if it throws none.
template <class Call>
std::string message_of(const Call& call);

}  // namespace halftone::data

#include "base/error.h"

namespace halftone::data {

template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace halftone::data
