// Byte pair encoding: the characters of a word are merged, pair by pair, in the order of the file's list of merges.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <queue>
#include <string>
#include <utility>

#include "base/error.h"
#include "text/aligned.h"
#include "text/byte_tokens.h"
#include "text/model.h"

namespace halftone::text {
namespace {

struct MergeRule {
  uint64_t pair = 0;  // left << 32 | right
  uint32_t rank = 0;
  int32_t merged = Vocabulary::kNone;  // kNone: a free slot
};

// Pairs of tokens and what they become.
class MergeRules {
 public:
  explicit MergeRules(size_t count) {
    size_t slots = 64;
    while (slots < 2 * count) slots *= 2;
    slots_.resize(slots);
  }
  static uint64_t pair_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  // A pair that comes again counts where it is last.
  void add(const MergeRule& rule) { slots_[slot_of(rule.pair)] = rule; }
  const MergeRule* find(int32_t left, int32_t right) const {
    const MergeRule& rule = slots_[slot_of(pair_of(left, right))];
    return rule.merged == Vocabulary::kNone ? nullptr : &rule;
  }

 private:
  size_t slot_of(uint64_t pair) const {
    const size_t mask = slots_.size() - 1;
    size_t slot = (pair * 0x9E3779B97F4A7C15u >> 24) & mask;
    while (slots_[slot].merged != Vocabulary::kNone && slots_[slot].pair != pair) slot = (slot + 1) & mask;
    return slot;
  }
  std::vector<MergeRule> slots_;
};

struct Symbol {
  int32_t id = 0;
  int32_t previous = -1;
  int32_t next = -1;
  uint32_t bytes = 0;  // 0: merged into another
};

struct Candidate {
  uint32_t rank = 0;
  int32_t at = 0;
  int32_t merged = 0;
  bool operator<(const Candidate& other) const {  // the queue gives the largest first
    return rank != other.rank ? rank > other.rank : at > other.at;
  }
};

struct BpeOptions {
  std::optional<std::string> unknown;
  std::string prefix;  // of each character but a word's first
  std::string suffix;  // of its last
  bool fuse_unknown = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

class Bpe : public Model {
 public:
  Bpe(std::string file, Vocabulary vocabulary, MergeRules merges, BpeOptions options)
      : file_(std::move(file)),
        vocabulary_(std::move(vocabulary)),
        merges_(std::move(merges)),
        options_(std::move(options)),
        bytes_(vocabulary_) {
    if (options_.unknown) unknown_ = vocabulary_.id_of(*options_.unknown);
  }

  const Vocabulary& vocabulary() const override { return vocabulary_; }

  void tokenize(std::string_view word, std::vector<Piece>& out) const override {
    if (options_.ignore_merges) {
      if (const int32_t id = vocabulary_.id_of(word); id != Vocabulary::kNone) {
        out.push_back({id, 0, static_cast<uint32_t>(word.size())});
        return;
      }
    }
    std::vector<Symbol> symbols = split(word);
    merge(symbols);
    uint32_t at = 0;
    for (const Symbol& s : symbols) {
      if (s.bytes == 0) continue;
      out.push_back({s.id, at, at + s.bytes});
      at += s.bytes;
    }
  }

 private:
  static void push(std::vector<Symbol>& to, int32_t id, uint32_t bytes) {
    const auto at = static_cast<int32_t>(to.size());
    if (at > 0) to.back().next = at;
    to.push_back({id, at - 1, -1, bytes});
  }

  std::vector<Symbol> split(std::string_view word) const {
    std::vector<Symbol> out;
    out.reserve(word.size());
    uint32_t unknown_bytes = 0;  // of an unknown character that is not in `out` yet
    std::string character;
    for (size_t at = 0; at < word.size();) {
      const size_t begin = at;
      next_character(word, at);
      const auto bytes = static_cast<uint32_t>(at - begin);
      std::string_view s = word.substr(begin, bytes);
      if ((begin > 0 && !options_.prefix.empty()) || (at == word.size() && !options_.suffix.empty())) {
        character.clear();
        if (begin > 0) character += options_.prefix;
        character += s;
        if (at == word.size()) character += options_.suffix;
        s = character;
      }
      if (const int32_t id = vocabulary_.id_of(s); id != Vocabulary::kNone) {
        if (unknown_bytes > 0) push(out, unknown_, std::exchange(unknown_bytes, 0));
        push(out, id, bytes);
        continue;
      }
      if (options_.byte_fallback && bytes_.has_all(s)) {
        for (const char c : s) push(out, bytes_.id_of(c), 1);
        continue;
      }
      if (!options_.unknown) continue;  // as the original, which leaves it out
      if (unknown_ == Vocabulary::kNone)
        throw input_error("{}: the vocabulary has neither '{}' nor the token for what is unknown, '{}'",
                          file_, s, *options_.unknown);
      if (unknown_bytes > 0 && !options_.fuse_unknown) push(out, unknown_, std::exchange(unknown_bytes, 0));
      unknown_bytes += bytes;
    }
    if (unknown_bytes > 0) push(out, unknown_, unknown_bytes);
    return out;
  }

  void merge(std::vector<Symbol>& symbols) const {
    if (symbols.size() < 2) return;
    std::vector<Candidate> candidates;
    candidates.reserve(symbols.size());
    for (size_t i = 0; i + 1 < symbols.size(); ++i)
      if (const MergeRule* rule = merges_.find(symbols[i].id, symbols[i + 1].id))
        candidates.push_back({rule->rank, static_cast<int32_t>(i), rule->merged});
    std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(candidates));
    const auto offer = [&](int32_t left, int32_t right) {
      if (left < 0 || right < 0) return;
      if (const MergeRule* rule =
              merges_.find(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id))
        queue.push({rule->rank, left, rule->merged});
    };
    while (!queue.empty()) {
      const Candidate top = queue.top();
      queue.pop();
      Symbol& left = symbols[static_cast<size_t>(top.at)];
      if (left.bytes == 0 || left.next < 0) continue;
      Symbol& right = symbols[static_cast<size_t>(left.next)];
      // One of the two may have been merged since.
      const MergeRule* rule = merges_.find(left.id, right.id);
      if (rule == nullptr || rule->merged != top.merged) continue;
      left.id = top.merged;
      left.bytes += right.bytes;
      left.next = right.next;
      right.bytes = 0;
      if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = top.at;
      offer(left.previous, top.at);
      offer(top.at, left.next);
    }
  }

  std::string file_;
  Vocabulary vocabulary_;
  MergeRules merges_;
  BpeOptions options_;
  ByteTokens bytes_;
  int32_t unknown_ = Vocabulary::kNone;
};

// "a b", or ["a", "b"]: the latter where tokens have spaces.
std::pair<std::string_view, std::string_view> read_merge(const JsonAt& list, size_t i) {
  const Json& json = list.list()[i];
  if (const auto* text = std::get_if<std::string>(&json.value)) {
    const size_t space = text->find(' ');
    if (space == std::string::npos || text->find(' ', space + 1) != std::string::npos)
      list.item(i).refuse(
          fmt::format("expected two tokens with a space between them, got '{}'", text->substr(0, 60)));
    return {std::string_view(*text).substr(0, space), std::string_view(*text).substr(space + 1)};
  }
  const JsonAt pair = list.item(i);
  if (pair.list().size() != 2) pair.refuse("expected two tokens");
  return {pair.item(0).text(), pair.item(1).text()};
}

MergeRules read_merges(const JsonAt& list, const Vocabulary& vocabulary, size_t prefix_bytes) {
  const size_t count = list.list().size();
  MergeRules out(count);
  uint32_t rank = 0;
  std::string merged;
  for (size_t i = 0; i < count; ++i) {
    const auto* line = std::get_if<std::string>(&list.list()[i].value);
    if (line != nullptr && line->starts_with("#version")) continue;
    const auto [left, right] = read_merge(list, i);
    if (right.size() < prefix_bytes)
      list.item(i).refuse("the second token is shorter than continuing_subword_prefix");
    merged = left;
    merged += right.substr(prefix_bytes);
    const auto id = [&](std::string_view token) {
      const int32_t found = vocabulary.id_of(token);
      if (found == Vocabulary::kNone)
        list.item(i).refuse(fmt::format("the vocabulary lacks the token '{}'", token.substr(0, 60)));
      return found;
    };
    out.add({MergeRules::pair_of(id(left), id(right)), rank++, id(merged)});
  }
  return out;
}

}  // namespace

std::unique_ptr<Model> read_bpe(JsonObject& model) {
  BpeOptions options;
  if (const JsonAt unknown = model.find("unk_token"); !unknown.is_null()) options.unknown = unknown.text();
  options.prefix = model.text("continuing_subword_prefix", "");
  options.suffix = model.text("end_of_word_suffix", "");
  options.fuse_unknown = model.flag("fuse_unk", false);
  options.byte_fallback = model.flag("byte_fallback", false);
  options.ignore_merges = model.flag("ignore_merges", false);
  if (const JsonAt dropout = model.find("dropout"); !dropout.is_null() && dropout.number() != 0)
    dropout.refuse("merges that are left out at random are not understood; write null");
  Vocabulary vocabulary = read_vocabulary(model.need("vocab"));
  MergeRules merges = read_merges(model.need("merges"), vocabulary, options.prefix.size());
  model.done();
  return std::make_unique<Bpe>(model.at().file(), std::move(vocabulary), std::move(merges),
                               std::move(options));
}

}  // namespace halftone::text
