#include "text/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/characters.h"

namespace halftone::text {
namespace {

bool begins_with_word(std::string_view text) {
  size_t at = 0;
  return !text.empty() && is_word(next_character(text, at));
}

// Where the last character begins; the text is not empty.
size_t last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && begins_with_word(text.substr(last_character(text)));
}

size_t space_bytes_at_begin(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (!is_white_space(next_character(text, next))) break;
    at = next;
  }
  return at;
}

size_t space_bytes_at_end(std::string_view text) {
  const size_t all = text.size();
  while (!text.empty()) {
    const size_t last = last_character(text);
    size_t at = last;
    if (!is_white_space(next_character(text, at))) break;
    text = text.substr(0, last);
  }
  return all - text.size();
}

// Of a token: what a search may cost at each byte of a text.
constexpr size_t kMostTokenBytes = 1024;

struct Found {
  size_t begin = 0;
  size_t end = 0;
  int32_t value = ByteTrie::kNoValue;
};

// The first one at or behind `at`, and of those that begin there the longest.
Found find_longest(const ByteTrie& trie, std::string_view text, size_t at) {
  if (trie.empty()) return {};
  for (; at < text.size(); ++at) {
    Found found;
    uint32_t node = ByteTrie::kRoot;
    for (size_t i = at; i < text.size(); ++i) {
      node = trie.next(node, text[i]);
      if (node == ByteTrie::kNowhere) break;
      if (trie.value(node) != ByteTrie::kNoValue) found = {at, i + 1, trie.value(node)};
    }
    if (found.value != ByteTrie::kNoValue) return found;
  }
  return {};
}

}  // namespace

std::string AddedTokens::add(AddedToken token, const Normalizer* normalizer) {
  if (token.content.empty()) return "the token is empty";
  token.decoded = token.content;
  if (token.normalized && normalizer != nullptr) token.decoded = normalizer->normalized(token.content);
  if (token.decoded.empty())
    return fmt::format("of the token '{}' nothing is left when it is normalised", token.content);
  if (token.decoded.size() > kMostTokenBytes)
    return fmt::format("the token is longer than {} bytes", kMostTokenBytes);
  if (by_id_.count(token.id) != 0) return fmt::format("two tokens have the id {}", token.id);
  if (by_content_.count(token.content) != 0)
    return fmt::format("the token '{}' is there twice", token.content);
  ByteTrie& trie = token.normalized ? normalized_ : as_is_;
  if (!trie.add(token.decoded, static_cast<int32_t>(tokens_.size())))
    return fmt::format("the token '{}' cannot be told from another: both are '{}' when they are normalised",
                       token.content, token.decoded);
  by_content_.emplace(token.content, tokens_.size());
  by_id_.emplace(token.id, tokens_.size());
  tokens_.push_back(std::move(token));
  return {};
}

void AddedTokens::add_special(const std::string& content, int32_t id) {
  AddedToken token;
  token.id = id;
  token.content = content;
  token.special = true;
  const std::string wrong = add(std::move(token), nullptr);
  HT_ASSERT(wrong.empty(), "{}", wrong);
}

void AddedTokens::read(const JsonAt& at, const Vocabulary& vocabulary, const Normalizer* normalizer) {
  if (at.is_null()) return;
  // The ids that new tokens get are counted, from the vocabulary's size; the id in the file is what its writer got so.
  int64_t next = vocabulary.count();
  for (size_t i = 0; i < at.list().size(); ++i) {
    JsonObject object(at.item(i));
    AddedToken token;
    const JsonAt id = object.need("id");
    token.id = static_cast<int32_t>(id.integer(0, INT32_MAX - 1));
    token.content = object.need("content").text();
    token.single_word = object.need("single_word").flag();
    token.lstrip = object.need("lstrip").flag();
    token.rstrip = object.need("rstrip").flag();
    token.normalized = object.need("normalized").flag();
    token.special = object.need("special").flag();
    object.done();
    const int32_t known = vocabulary.id_of(token.content);
    const int64_t expected = known == Vocabulary::kNone ? next++ : known;
    if (expected != token.id)
      id.refuse(fmt::format("expected {}, {}, got {}", expected,
                            known == Vocabulary::kNone ? "the next free id behind the vocabulary"
                                                       : "which is the token's id in the vocabulary",
                            token.id));
    if (const std::string wrong = add(std::move(token), normalizer); !wrong.empty())
      object.at().refuse(wrong);
  }
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

// give(begin, end, token or null)
template <class Give>
void AddedTokens::find_all(std::string_view text, const ByteTrie& trie, const Give& give) const {
  size_t open = 0;
  for (size_t at = 0;;) {
    const Found found = find_longest(trie, text, at);
    if (found.value < 0) break;
    at = found.end;
    const AddedToken& token = tokens_[static_cast<size_t>(found.value)];
    if (token.single_word &&
        (ends_with_word(text.substr(0, found.begin)) || begins_with_word(text.substr(found.end))))
      continue;
    size_t begin = found.begin;
    size_t end = found.end;
    // Spaces that belong to the token before are not taken again.
    if (token.lstrip && begin > open) begin -= space_bytes_at_end(text.substr(open, begin - open));
    if (token.lstrip && begin < open) begin = open;
    if (token.rstrip) end += space_bytes_at_begin(text.substr(end));
    if (open < begin) give(open, begin, nullptr);
    give(begin, end, &token);
    open = end;
  }
  if (open < text.size()) give(open, text.size(), nullptr);
}

Words AddedTokens::split(Aligned text, const Normalizer* normalizer) const {
  Words out;
  const auto put = [&](const Aligned& part, size_t begin, size_t end, int32_t added) {
    if (begin == end) return;
    Word w;
    w.begin = static_cast<uint32_t>(out.buffer.text.size());
    out.buffer.text.append(part.text, begin, end - begin);
    const auto from = part.from.begin();
    out.buffer.from.insert(out.buffer.from.end(), from + static_cast<std::ptrdiff_t>(begin),
                           from + static_cast<std::ptrdiff_t>(end));
    w.end = static_cast<uint32_t>(out.buffer.text.size());
    w.original_begin = part.from[begin].begin;
    w.added = added;
    out.words.push_back(w);
  };
  const auto normalise = [&](Aligned& part) {
    if (normalizer != nullptr && !part.text.empty()) normalizer->apply(part);
    if (normalized_.empty() && out.words.empty() && !part.text.empty() && as_is_.empty()) {
      out.words.push_back({0, static_cast<uint32_t>(part.text.size()), part.from[0].begin, -1});
      out.buffer = std::move(part);
      return;
    }
    find_all(part.text, normalized_, [&](size_t begin, size_t end, const AddedToken* token) {
      put(part, begin, end, token == nullptr ? -1 : token->id);
    });
  };
  find_all(text.text, as_is_, [&](size_t begin, size_t end, const AddedToken* token) {
    if (token != nullptr) {
      put(text, begin, end, token->id);
      return;
    }
    Aligned part;
    if (begin == 0 && end == text.text.size()) {
      part = std::move(text);
    } else {
      part.text = text.text.substr(begin, end - begin);
      part.from.assign(text.from.begin() + static_cast<std::ptrdiff_t>(begin),
                       text.from.begin() + static_cast<std::ptrdiff_t>(end));
    }
    normalise(part);
  });
  return out;
}

}  // namespace halftone::text
