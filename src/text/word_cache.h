// Words that were met before, with their tokens: most words of a text are.
#pragma once

#include <array>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/model.h"

namespace halftone::text {

// May be used by many threads at once. What it gives does not depend on what it holds.
class WordCache {
 public:
  // Appends the word's tokens.
  void tokenize(const Model& model, std::string_view word, std::vector<Piece>& out) const;

 private:
  static constexpr size_t kMostBytes = 128;          // of a word: longer ones are rare
  static constexpr size_t kMostWordsOfShard = 4096;  // 16 shards of about a megabyte
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<Piece>, Hash, std::equal_to<>> words;
  };
  mutable std::array<Shard, 16> shards_;
};

}  // namespace halftone::text
