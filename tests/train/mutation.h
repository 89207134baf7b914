// Deterministic damage to a file's bytes, for the readers' tests: flips, overwrites with interesting numbers,
// cuts, insertions, and copies within the file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "num/random.h"

namespace halftone::train {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : key_(num::random_key(seed, 77)) {}

  // One to four changes.
  std::string mutated(std::string bytes) {
    for (uint64_t changes = 1 + draw(4); changes > 0; --changes) change(bytes);
    return bytes;
  }

 private:
  uint64_t draw(uint64_t n) { return num::random_below(key_, count_++, 0, n); }

  void change(std::string& bytes) {
    if (bytes.empty()) {
      bytes = "x";
      return;
    }
    const size_t at = draw(bytes.size());
    const size_t length = std::min<size_t>(bytes.size() - at, 1 + draw(16));
    switch (draw(7)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1U << draw(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(draw(256));
        break;
      case 2: {
        static constexpr uint64_t kNumbers[] = {0,         1,          7,          0x7F,       0x80,
                                                0xFF,      0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1ULL << 40,
                                                INT64_MAX, 1ULL << 63, ~0ULL};
        const uint64_t number = kNumbers[draw(std::size(kNumbers))];
        std::memcpy(&bytes[at], &number, std::min({length, sizeof number, bytes.size() - at}));
        break;
      }
      case 3:
        bytes.erase(at, length);
        break;
      case 4:
        bytes.insert(at, bytes.substr(draw(bytes.size()), length));
        break;
      case 5:
        bytes.resize(at);
        break;
      default: {
        static constexpr char kText[] = "0123456789-.{}[],:\"eE ";
        bytes[at] = kText[draw(sizeof kText - 1)];
        break;
      }
    }
  }

  num::RandomKey key_;
  uint64_t count_ = 0;
};

}  // namespace halftone::train
