// What is found in texts while their tokens are counted.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "data/text_options.h"
#include "data/text_source.h"

namespace halftone::data {

// Texts that are read, though something may be wrong with them.
class TextFindings {
 public:
  // By many threads at once.
  void look_at(int64_t index, const TextSample& sample, TextSource::Form form);
  // Lines for people. all: how many were looked at.
  std::vector<std::string> notes(const TextSource& source, int64_t all) const;

 private:
  struct Found {
    int64_t count = 0;
    int64_t first = 0;
    void add(int64_t index);
  };
  std::mutex mutex_;
  Found not_utf8_;
  Found empty_;
};

// Error: the network's table has no row for one of the tokens. name: the sample's.
void check_known_tokens(const TextReading& reading, const std::vector<int32_t>& ids, const std::string& name);

}  // namespace halftone::data
