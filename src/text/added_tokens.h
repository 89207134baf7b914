// Tokens that are found in the text before anything else looks at it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_tree.h"
#include "text/normalizer.h"
#include "text/vocabulary.h"
#include "text/words.h"

namespace halftone::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  std::string decoded;  // what the decoder gets: normalised where the token is
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

// Finds the longest of several byte sequences that begins at a place.
class Trie {
 public:
  static constexpr size_t kMostBytes = 1024;  // of a sequence: what a search costs at each byte of a text

  // False where the same sequence is there already. It must not be empty.
  bool add(std::string_view sequence, int32_t value);
  bool empty() const { return nodes_.size() == 1; }
  struct Found {
    size_t begin = 0;
    size_t end = 0;
    int32_t value = -1;
  };
  // The first one at or behind `at`, and of those that begin there the longest; value -1 where there is none.
  Found find(std::string_view text, size_t at) const;

 private:
  struct Node {
    std::map<uint8_t, uint32_t> next;
    int32_t value = -1;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
};

class AddedTokens {
 public:
  // `added_tokens` of a tokenizer.json; the normalizer may be null. Errors: unknown keys, ids that are not those that the tokens get when they are
  // added one by one behind the vocabulary, tokens that cannot be told apart.
  void read(const JsonAt& at, const Vocabulary& vocabulary, const Normalizer* normalizer);

  // A token that is in the vocabulary, and special: found as it stands.
  void add_special(const std::string& content, int32_t id);

  // The text, normalised but for what is an added token, as the words that they split it into.
  Words split(Aligned text, const Normalizer* normalizer) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* find(int32_t id) const;
  const AddedToken* find(std::string_view content) const;

 private:
  // Returns what is wrong with it, or nothing.
  std::string add(AddedToken token, const Normalizer* normalizer);
  template <class Give>
  void find_all(std::string_view text, const Trie& trie, const Give& give) const;

  std::vector<AddedToken> tokens_;
  std::map<int32_t, size_t> by_id_;
  std::map<std::string, size_t, std::less<>> by_content_;
  Trie as_is_;
  Trie normalized_;
};

}  // namespace halftone::text
