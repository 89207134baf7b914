// Tokens that are found in the text before anything else looks at it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "text/byte_trie.h"
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
  void find_all(std::string_view text, const ByteTrie& trie, const Give& give) const;

  std::vector<AddedToken> tokens_;
  std::map<int32_t, size_t> by_id_;
  std::map<std::string, size_t, std::less<>> by_content_;
  ByteTrie as_is_;  // of contents; values are places in tokens_
  ByteTrie normalized_;
};

}  // namespace halftone::text
