#include "text/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "text/aligned.h"
#include "text/characters.h"
#include "text/word_cache.h"

namespace halftone::text {
namespace {

// What ByteLevel writes for a space.
constexpr char32_t kSpaceOfBytes = 0x120;

bool counts_as_space(char32_t c) {
  return c == kSpaceOfBytes || is_white_space(c);
}

uint32_t spaces_before(std::string_view token) {
  uint32_t count = 0;
  for (size_t at = 0; at < token.size() && counts_as_space(next_character(token, at));) ++count;
  return count;
}

uint32_t spaces_behind(std::string_view token) {
  uint32_t count = 0;
  while (!token.empty()) {
    size_t at = token.size() - 1;
    while (at > 0 && (static_cast<uint8_t>(token[at]) & 0xC0) == 0x80) --at;
    size_t next = at;
    if (!counts_as_space(next_character(token, next))) break;
    token = token.substr(0, at);
    ++count;
  }
  return count;
}

void append(Encoding& to, const Encoding& from) {
  const auto put = [](auto& a, const auto& b) { a.insert(a.end(), b.begin(), b.end()); };
  put(to.ids, from.ids);
  put(to.types, from.types);
  put(to.special, from.special);
  put(to.sequence, from.sequence);
  put(to.spans, from.spans);
  put(to.words, from.words);
}

// The first (or last) `count` tokens.
void shorten(Part& part, size_t count, bool from_left) {
  const auto cut = [&](auto& v) {
    if (v.size() <= count) return;
    if (from_left)
      v.erase(v.begin(), v.end() - static_cast<std::ptrdiff_t>(count));
    else
      v.resize(count);
  };
  cut(part.tokens.ids);
  cut(part.tokens.types);
  cut(part.tokens.special);
  cut(part.tokens.sequence);
  cut(part.tokens.spans);
  cut(part.tokens.words);
  cut(part.spaces_before);
  cut(part.spaces_behind);
}

class Pipeline : public Tokenizer {
 public:
  Pipeline(std::string file, PipelineParts parts) : file_(std::move(file)), parts_(std::move(parts)) {
    last_id_ = parts_.model->vocabulary().last_id();
    for (const AddedToken& t : parts_.added.tokens()) last_id_ = std::max(last_id_, t.id);
  }

  Encoding encode(std::string_view text, const EncodeOptions& options) const override {
    return encode_texts({text}, options);
  }
  Encoding encode_pair(std::string_view first, std::string_view second,
                       const EncodeOptions& options) const override {
    return encode_texts({first, second}, options);
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    for (const int32_t id : ids) {
      if (const AddedToken* token = parts_.added.find(id)) {
        if (!skip_special || !token->special) tokens.push_back(token->decoded);
      } else if (parts_.model->vocabulary().has(id)) {
        tokens.emplace_back(parts_.model->vocabulary().token_of(id));
      }
    }
    std::string out;
    if (parts_.decoder != nullptr) {
      parts_.decoder->apply(tokens);
      for (const std::string& t : tokens) out += t;
      return out;
    }
    return fmt::format("{}", fmt::join(tokens, " "));
  }

  int64_t size() const override { return int64_t{last_id_} + 1; }
  std::optional<int32_t> id_of(std::string_view token) const override {
    if (const AddedToken* added = parts_.added.find(token)) return added->id;
    const int32_t id = parts_.model->vocabulary().id_of(token);
    if (id == Vocabulary::kNone) return std::nullopt;
    return id;
  }
  std::string token_of(int32_t id) const override {
    if (id < 0 || id > last_id_)
      throw input_error("{} has no token {}: its ids end at {}", file_, id, last_id_);
    if (const AddedToken* added = parts_.added.find(id)) return added->content;
    return std::string(parts_.model->vocabulary().token_of(id));
  }
  bool is_special(int32_t id) const override {
    const AddedToken* added = parts_.added.find(id);
    return added != nullptr && added->special;
  }
  std::optional<int32_t> padding_id() const override {
    return parts_.padding_id ? parts_.padding_id : first_of({"[PAD]", "<pad>", "<|pad|>"});
  }
  std::optional<int32_t> mask_id() const override { return first_of({"[MASK]", "<mask>"}); }
  std::optional<int32_t> end_id() const override {
    return first_of({"</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[SEP]"});
  }
  std::optional<int64_t> max_tokens() const override { return parts_.max_tokens; }

 private:
  std::optional<int32_t> first_of(std::initializer_list<std::string_view> tokens) const {
    for (const std::string_view token : tokens)
      if (const auto id = id_of(token)) return id;
    return std::nullopt;
  }

  struct Text {
    Repaired repaired;
    Part part;
  };

  void tokenize(std::string_view bytes, uint8_t sequence, Text& out) const {
    if (bytes.size() > static_cast<size_t>(INT32_MAX) / 4)
      throw input_error("a text of {} bytes is too long for {}: at most {}", bytes.size(), file_,
                        INT32_MAX / 4);
    out.repaired = repair_utf8(bytes);
    Aligned text;
    text.text = out.repaired.text;
    text.from.reserve(text.text.size());
    for (size_t at = 0; at < text.text.size();) {
      const auto begin = static_cast<uint32_t>(at);
      next_character(text.text, at);
      text.from.resize(at, {begin, static_cast<uint32_t>(at)});
    }
    Words words = parts_.added.split(std::move(text), parts_.normalizer.get());
    if (parts_.pre_tokenizer != nullptr) parts_.pre_tokenizer->apply(words);

    out.part.original = out.repaired.text;
    const bool wants_spaces = parts_.post_processor != nullptr && parts_.post_processor->wants_spaces();
    Encoding& tokens = out.part.tokens;
    std::vector<Piece> pieces;
    for (size_t i = 0; i < words.words.size(); ++i) {
      const Word& w = words.words[i];
      pieces.clear();
      if (w.added >= 0)
        pieces.push_back({w.added, 0, w.end - w.begin});
      else
        cache_.tokenize(*parts_.model, words.text(w), pieces);
      for (const Piece& p : pieces) {
        tokens.ids.push_back(p.id);
        tokens.spans.push_back(span_of(words, w, p));
        tokens.words.push_back(static_cast<int32_t>(i));
        if (!wants_spaces) continue;
        const std::string_view token =
            w.added >= 0 ? words.text(w) : parts_.model->vocabulary().token_of(p.id);
        out.part.spaces_before.push_back(spaces_before(token));
        out.part.spaces_behind.push_back(spaces_behind(token));
      }
    }
    tokens.types.assign(tokens.ids.size(), sequence);
    tokens.special.assign(tokens.ids.size(), 0);
    tokens.sequence.assign(tokens.ids.size(), sequence);
  }

  // Where a token counts bytes that the word does not have, the original leaves its span as it is.
  static Span span_of(const Words& words, const Word& w, const Piece& p) {
    if (p.begin == p.end) return {w.original_begin + p.begin, w.original_begin + p.end};
    if (p.end > w.end - w.begin) return {p.begin, p.end};
    return {words.buffer.from[w.begin + p.begin].begin, words.buffer.from[w.begin + p.end - 1].end};
  }

  Encoding encode_texts(std::initializer_list<std::string_view> given, const EncodeOptions& options) const {
    const bool pair = given.size() > 1;
    std::array<Text, 2> texts;
    std::vector<Part> parts;
    for (size_t i = 0; i < given.size(); ++i) {
      tokenize(given.begin()[i], static_cast<uint8_t>(i), texts[i]);
      parts.push_back(std::move(texts[i].part));
    }
    if (options.max_tokens > 0) truncate(parts, options, pair);
    if (parts_.post_processor != nullptr) parts_.post_processor->apply(parts, options.add_special);
    Encoding out = std::move(parts[0].tokens);
    for (size_t i = 1; i < parts.size(); ++i) append(out, parts[i].tokens);
    for (size_t i = 0; i < out.ids.size(); ++i)
      if (out.special[i] == 0)
        to_given(out.spans[i], texts[out.sequence[i]].repaired, given.begin()[out.sequence[i]].size());
    return out;
  }

  // From the repaired text to the bytes that were given.
  static void to_given(Span& span, const Repaired& repaired, size_t bytes) {
    const size_t size = repaired.text.size();
    span.begin = std::min(span.begin, static_cast<uint32_t>(size));
    span.end = std::min(span.end, static_cast<uint32_t>(size));
    if (repaired.from.empty()) return;
    const bool is_empty = span.begin == span.end;
    span.begin = span.begin == size ? static_cast<uint32_t>(bytes) : repaired.from[span.begin].begin;
    span.end = is_empty ? span.begin : repaired.from[span.end - 1].end;
  }

  void truncate(std::vector<Part>& parts, const EncodeOptions& options, bool pair) const {
    const int64_t added =
        options.add_special && parts_.post_processor != nullptr ? parts_.post_processor->added(pair) : 0;
    const auto most = static_cast<size_t>(std::max<int64_t>(0, options.max_tokens - added));
    const bool left = parts_.truncates_left;
    size_t n1 = parts[0].tokens.ids.size();
    if (!pair) return shorten(parts[0], most, left);
    size_t n2 = parts[1].tokens.ids.size();
    if (n1 + n2 <= most) return;
    const size_t excess = n1 + n2 - most;
    if (parts_.truncation != TruncationStrategy::kLongestFirst) {
      const size_t which = parts_.truncation == TruncationStrategy::kOnlyFirst ? 0 : 1;
      const size_t has = which == 0 ? n1 : n2;
      if (has <= excess)
        throw input_error(
            "a pair of {} and {} tokens cannot be shortened to {}: {} shortens only the {} text", n1, n2,
            options.max_tokens, file_, which == 0 ? "first" : "second");
      return shorten(parts[which], has - excess, left);
    }
    // The longer one gives until both are alike.
    const bool swapped = n1 > n2;
    if (swapped) std::swap(n1, n2);
    n2 = n1 > most ? n1 : std::max(n1, most - n1);
    if (n1 + n2 > most) {
      n1 = most / 2;
      n2 = n1 + most % 2;
    }
    if (swapped) std::swap(n1, n2);
    shorten(parts[0], n1, left);
    shorten(parts[1], n2, left);
  }

  std::string file_;
  PipelineParts parts_;
  int32_t last_id_ = -1;
  WordCache cache_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_pipeline(std::string file, PipelineParts parts) {
  return std::make_unique<Pipeline>(std::move(file), std::move(parts));
}

}  // namespace halftone::text
