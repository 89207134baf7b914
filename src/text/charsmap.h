// SentencePiece's table of normalisation: byte sequences and what they become.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::text {

class Charsmap {
 public:
  // The bytes that a model has. Returns what is wrong with them, or nothing.
  std::string read(std::string_view bytes);

  struct Found {
    size_t bytes = 0;  // of the text that it stands for; 0: nothing was found
    std::string_view to;
  };
  // Of the sequences that the text begins with, the shortest or the longest.
  Found find_shortest(std::string_view text) const { return find(text, true); }
  Found find_longest(std::string_view text) const { return find(text, false); }
  bool empty() const { return units_.empty(); }

 private:
  Found find(std::string_view text, bool shortest) const;

  std::vector<uint32_t> units_;  // a double array, as the library darts-clone makes it
  std::string replacements_;     // each ends with a zero byte
};

// Returns false where the text is not base64.
bool decode_base64(std::string_view text, std::string& bytes);

}  // namespace halftone::text
