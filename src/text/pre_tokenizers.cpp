#include <fmt/format.h>

#include <utility>
#include <vector>

#include "text/byte_level.h"
#include "text/characters.h"
#include "text/pre_tokenizer.h"
#include "text/regex.h"
#include "text/scripts.h"

namespace halftone::text {
namespace {

// Splits at what a matcher finds.
class SplitAt : public PreTokenizer {
 public:
  SplitAt(Matcher matcher, Behavior behavior) : matcher_(std::move(matcher)), behavior_(behavior) {}
  void apply(Words& words) const override { split_words(words, matcher_, behavior_); }

 private:
  Matcher matcher_;
  Behavior behavior_;
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  void apply(Words& words) const override {
    for (const auto& step : steps_) step->apply(words);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

// Words without the white space between them, punctuation characters apart.
class BertPreTokenizer : public PreTokenizer {
 public:
  void apply(Words& words) const override {
    static const Matcher kSpace = match_characters(is_white_space);
    static const Matcher kPunctuation = match_characters(is_punctuation);
    split_words(words, kSpace, Behavior::kRemoved);
    split_words(words, kPunctuation, Behavior::kIsolated);
  }
};

// Writes a new buffer, word by word.
class WordsWriter {
 public:
  void keep(const Words& old, const Word& w) {
    put(old.text(w), &old.buffer.from[w.begin], w.original_begin, w.added);
  }
  void put(std::string_view text, const Span* from, uint32_t original_begin, int32_t added) {
    open(original_begin, added);
    out_.buffer.text += text;
    out_.buffer.from.insert(out_.buffer.from.end(), from, from + text.size());
    close();
  }
  // A word is written between open() and close() by add().
  void open(uint32_t original_begin, int32_t added) {
    word_ = {static_cast<uint32_t>(out_.buffer.text.size()), 0, original_begin, added};
  }
  void add(std::string_view text, Span from) {
    out_.buffer.text += text;
    out_.buffer.from.resize(out_.buffer.text.size(), from);
  }
  void close() {
    word_.end = static_cast<uint32_t>(out_.buffer.text.size());
    if (word_.end > word_.begin) out_.words.push_back(word_);
  }
  Words take() { return std::move(out_); }

 private:
  Words out_;
  Word word_;
};

class ByteLevelPreTokenizer : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, bool splits)
      : add_prefix_space_(add_prefix_space), splits_(splits) {}

  void apply(Words& words) const override {
    WordsWriter out;
    std::vector<Match> matches;
    std::string text;
    for (const Word& w : words.words) {
      if (w.added >= 0) {
        out.keep(words, w);
        continue;
      }
      text = words.text(w);
      // What is put before the text stands for its first character.
      const uint32_t prefix = add_prefix_space_ && text[0] != ' ' ? 1 : 0;
      if (prefix > 0) text.insert(0, " ");
      const auto from = [&](uint32_t at) {
        return words.buffer.from[w.begin + (at < prefix ? 0 : at - prefix)];
      };
      matches.clear();
      if (splits_)
        find_gpt2_words(text, matches);
      else
        matches.push_back({0, static_cast<uint32_t>(text.size()), true});
      for (const Match& m : matches) {
        out.open(splits_ ? from(m.begin).begin : w.original_begin, -1);
        for (uint32_t at = m.begin; at < m.end; ++at) out.add(character_of_byte(text[at]), from(at));
        out.close();
      }
    }
    words = out.take();
  }

 private:
  bool add_prefix_space_;
  bool splits_;
};

enum class PrependScheme { kAlways, kFirst, kNever };

// Writes spaces as a character that is none, and splits before each.
class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool splits)
      : replacement_(std::move(replacement)), scheme_(scheme), splits_(splits) {
    size_t at = 0;
    const char32_t wanted = next_character(replacement_, at);
    is_replacement_ = match_characters([wanted](char32_t c) { return c == wanted; });
  }

  void apply(Words& words) const override {
    WordsWriter out;
    for (const Word& w : words.words) {
      if (w.added >= 0) {
        out.keep(words, w);
        continue;
      }
      const std::string_view text = words.text(w);
      const Span* from = &words.buffer.from[w.begin];
      out.open(w.original_begin, -1);
      if (prepends(w, text)) out.add(replacement_, from[0]);
      for (size_t i = 0; i < text.size(); ++i)
        out.add(text[i] == ' ' ? std::string_view(replacement_) : text.substr(i, 1), from[i]);
      out.close();
    }
    words = out.take();
    if (splits_) split_words(words, is_replacement_, Behavior::kMergedWithNext);
  }

 private:
  bool prepends(const Word& w, std::string_view text) const {
    if (text[0] == ' ' || text.starts_with(replacement_)) return false;
    return scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && w.original_begin == 0);
  }

  std::string replacement_;
  PrependScheme scheme_;
  bool splits_;
  Matcher is_replacement_;
};

// Splits where the script changes.
class UnicodeScripts : public PreTokenizer {
 public:
  void apply(Words& words) const override { split_words(words, find_runs, Behavior::kRemoved); }

 private:
  static void find_runs(std::string_view text, std::vector<Match>& out) {
    uint32_t open = 0;
    // As the original: what comes before the first character that has a script is no part of any word.
    bool has_open = false;
    int32_t last = kNoScript;
    for (size_t at = 0; at < text.size();) {
      const auto begin = static_cast<uint32_t>(at);
      const int32_t script = script_of(next_character(text, at));
      if (script == kAnyScript) continue;
      if (script != last) {
        if (has_open || begin > 0) out.push_back({open, begin, !has_open});
        open = begin;
        has_open = true;
      }
      last = script;
    }
    out.push_back({open, static_cast<uint32_t>(text.size()), !has_open});
  }
  static constexpr int32_t kNoScript = -2;
};

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(int64_t characters) : characters_(characters) {}
  void apply(Words& words) const override {
    const Matcher chunks = [this](std::string_view text, std::vector<Match>& out) {
      for (size_t at = 0; at < text.size();) {
        const auto begin = static_cast<uint32_t>(at);
        for (int64_t i = 0; i < characters_ && at < text.size(); ++i) next_character(text, at);
        out.push_back({begin, static_cast<uint32_t>(at), false});
      }
    };
    split_words(words, chunks, Behavior::kRemoved);
  }

 private:
  int64_t characters_;
};

// Runs of word characters, and runs of what is neither that nor white space.
void find_words(std::string_view text, std::vector<Match>& out) {
  enum class Class { kSpace, kWord, kOther };
  const auto class_of = [](char32_t c) {
    return is_word(c) ? Class::kWord : is_white_space(c) ? Class::kSpace : Class::kOther;
  };
  uint32_t open = 0;
  Class last = Class::kSpace;
  for (size_t at = 0; at < text.size();) {
    const auto begin = static_cast<uint32_t>(at);
    const Class own = class_of(next_character(text, at));
    if (begin > 0 && own != last) {
      out.push_back({open, begin, last == Class::kSpace});
      open = begin;
    }
    last = own;
  }
  out.push_back({open, static_cast<uint32_t>(text.size()), last == Class::kSpace});
}

Behavior read_behavior(JsonObject& at, std::string_view otherwise) {
  return static_cast<Behavior>(at.choice(
      "behavior", {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"}, otherwise));
}

std::string read_character(const JsonAt& at) {
  if (character_count(at.text()) != 1) at.refuse(fmt::format("expected one character, got {}", at.kind()));
  return at.text();
}

std::unique_ptr<PreTokenizer> read_split(JsonObject& at) {
  Matcher matcher = read_pattern(at.need("pattern"));
  const Behavior behavior = read_behavior(at, "");
  if (!at.need("invert").flag()) return std::make_unique<SplitAt>(std::move(matcher), behavior);
  const Matcher inverted = [matcher = std::move(matcher)](std::string_view text, std::vector<Match>& out) {
    matcher(text, out);
    for (Match& m : out) m.matched = !m.matched;
  };
  return std::make_unique<SplitAt>(inverted, behavior);
}

std::unique_ptr<PreTokenizer> read_metaspace(JsonObject& at) {
  const std::string replacement = read_character(at.need("replacement"));
  // Files of before 2023 have add_prefix_space alone.
  const bool adds = at.flag("add_prefix_space", true);
  const auto scheme = static_cast<PrependScheme>(
      at.choice("prepend_scheme", {"always", "first", "never"}, adds ? "always" : "never"));
  if (!adds && scheme != PrependScheme::kNever)
    at.at().refuse("add_prefix_space says false, prepend_scheme says otherwise");
  at.ignore("str_rep");
  return std::make_unique<Metaspace>(replacement, scheme, at.flag("split", true));
}

std::unique_ptr<PreTokenizer> read_byte_level(JsonObject& at) {
  // Of the spans, which the post-processor trims.
  at.ignore("trim_offsets");
  const bool adds = at.need("add_prefix_space").flag();
  return std::make_unique<ByteLevelPreTokenizer>(adds, at.flag("use_regex", true));
}

std::unique_ptr<PreTokenizer> read_delimiter(JsonObject& at) {
  const std::string delimiter = read_character(at.need("delimiter"));
  size_t begin = 0;
  const char32_t wanted = next_character(delimiter, begin);
  return std::make_unique<SplitAt>(match_characters([wanted](char32_t c) { return c == wanted; }),
                                   Behavior::kRemoved);
}

std::unique_ptr<PreTokenizer> read_pre_tokenizers(JsonObject& at) {
  const JsonAt list = at.need("pretokenizers");
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (size_t i = 0; i < list.list().size(); ++i) {
    steps.push_back(read_pre_tokenizer(list.item(i)));
    if (steps.back() == nullptr) list.item(i).refuse("expected a pre-tokenizer, got null");
  }
  return std::make_unique<PreTokenizerSequence>(std::move(steps));
}

}  // namespace

std::unique_ptr<PreTokenizer> make_bert_pre_tokenizer() {
  return std::make_unique<BertPreTokenizer>();
}

std::unique_ptr<PreTokenizer> read_pre_tokenizer(const JsonAt& json) {
  if (json.is_null()) return nullptr;
  JsonObject at(json);
  const JsonAt type_at = at.need("type");
  const std::string& type = type_at.text();
  std::unique_ptr<PreTokenizer> out;
  if (type == "BertPreTokenizer") out = make_bert_pre_tokenizer();
  if (type == "WhitespaceSplit")
    out = std::make_unique<SplitAt>(match_characters(is_white_space), Behavior::kRemoved);
  if (type == "Whitespace") out = std::make_unique<SplitAt>(find_words, Behavior::kRemoved);
  if (type == "Split") out = read_split(at);
  if (type == "Punctuation")
    out = std::make_unique<SplitAt>(match_characters(is_punctuation), read_behavior(at, "Isolated"));
  if (type == "Digits")
    out = std::make_unique<SplitAt>(match_characters(is_numeric), at.need("individual_digits").flag()
                                                                      ? Behavior::kIsolated
                                                                      : Behavior::kContiguous);
  if (type == "CharDelimiterSplit") out = read_delimiter(at);
  if (type == "ByteLevel") out = read_byte_level(at);
  if (type == "Metaspace") out = read_metaspace(at);
  if (type == "UnicodeScripts") out = std::make_unique<UnicodeScripts>();
  if (type == "FixedLength") out = std::make_unique<FixedLength>(at.integer("length", 5, 1, INT32_MAX));
  if (type == "Sequence") out = read_pre_tokenizers(at);
  if (out == nullptr)
    type_at.refuse(fmt::format("the pre-tokenizer '{}' is not understood", type.substr(0, 60)));
  at.done();
  return out;
}

}  // namespace halftone::text
