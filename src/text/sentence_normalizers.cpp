#include "text/sentence_normalizers.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "text/byte_level.h"
#include "text/graphemes.h"
#include "text/regex.h"

namespace halftone::text {
namespace {

// What becomes of a character: as Rewrite's add() (1), replace() (0), or replace() and skip(n) (-n).
struct Change {
  char32_t c = 0;
  int64_t change = 0;
};

class Precompiled : public Normalizer {
 public:
  explicit Precompiled(Charsmap map) : map_(std::move(map)) {}

  void apply(Aligned& text) const override {
    std::vector<Change> changes;
    changes.reserve(text.text.size());
    bool changed = false;
    const std::string_view all = text.text;
    for (size_t at = 0; at < all.size();) {
      const size_t end = grapheme_end(all, at);
      // The original tries whole clusters only where they are short.
      if (end - at < 6 && put(all.substr(at, end - at), changes)) {
        changed = true;
        at = end;
        continue;
      }
      while (at < end) {
        const size_t begin = at;
        const char32_t c = next_character(all, at);
        if (put(all.substr(begin, at - begin), changes))
          changed = true;
        else
          changes.push_back({c, 0});
      }
    }
    if (!changed) return;
    Rewrite out(text);
    for (const Change& c : changes) {
      if (c.change > 0) {
        out.add(c.c);
      } else {
        out.replace(c.c);
        out.skip(-c.change);
      }
    }
    text = out.take();
  }

 private:
  // What the table says for the part; false where it says nothing. As in the original, the shortest beginning that the table has decides for all of it.
  bool put(std::string_view part, std::vector<Change>& changes) const {
    const Charsmap::Found found = map_.find_shortest(part);
    if (found.bytes == 0) return false;
    int64_t more = -static_cast<int64_t>(character_count(part));
    for (size_t at = 0; at < found.to.size(); ++more) changes.push_back({next_character(found.to, at), 0});
    if (more < 0 && !changes.empty()) changes.back().change += more;
    for (int64_t i = 1; i <= more; ++i) changes[changes.size() - static_cast<size_t>(i)].change = 1;
    return true;
  }

  Charsmap map_;
};

class Replace : public Normalizer {
 public:
  Replace(Matcher matcher, std::string content)
      : matcher_(std::move(matcher)), content_(std::move(content)) {}

  void apply(Aligned& text) const override {
    if (text.text.empty()) return;
    std::vector<Match> matches;
    matcher_(text.text, matches);
    if (std::none_of(matches.begin(), matches.end(), [](const Match& m) { return m.matched; })) return;
    Aligned out;
    for (const Match& m : matches) {
      if (m.matched) {
        // Stands for the last character that it takes the place of.
        out.text += content_;
        out.from.resize(out.text.size(), m.end == 0 ? Span{} : text.from[m.end - 1]);
        continue;
      }
      out.text.append(text.text, m.begin, m.end - m.begin);
      out.from.insert(out.from.end(), text.from.begin() + m.begin, text.from.begin() + m.end);
    }
    text = std::move(out);
  }

 private:
  Matcher matcher_;
  std::string content_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string what) : what_(std::move(what)) {}
  void apply(Aligned& text) const override {
    if (text.text.empty()) return;
    text.text.insert(0, what_);
    text.from.insert(text.from.begin(), what_.size(), Span(text.from[0]));
  }

 private:
  std::string what_;
};

bool nmt_removes(char32_t c) {
  return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

char32_t nmt_maps(char32_t c) {
  const bool is_space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                        (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                        c == 0xFEFF || c == 0xFFFD;
  return is_space ? U' ' : c;
}

class Nmt : public Normalizer {
 public:
  void apply(Aligned& text) const override {
    filter_characters(text, [](char32_t c) { return !nmt_removes(c); });
    map_characters(text, nmt_maps);
  }
};

class ByteLevelNormalizer : public Normalizer {
 public:
  void apply(Aligned& text) const override {
    Aligned out;
    out.text.reserve(text.text.size() * 2);
    out.from.reserve(text.text.size() * 2);
    for (size_t i = 0; i < text.text.size(); ++i) {
      out.text += character_of_byte(text.text[i]);
      out.from.resize(out.text.size(), text.from[i]);
    }
    text = std::move(out);
  }
};

}  // namespace

std::unique_ptr<Normalizer> read_precompiled(JsonObject& at) {
  const JsonAt map_at = at.need("precompiled_charsmap");
  std::string bytes;
  if (!decode_base64(map_at.text(), bytes)) map_at.refuse("it is not base64");
  Charsmap map;
  if (const std::string wrong = map.read(bytes); !wrong.empty()) map_at.refuse(wrong);
  return std::make_unique<Precompiled>(std::move(map));
}

std::unique_ptr<Normalizer> read_replace(JsonObject& at) {
  Matcher matcher = read_pattern(at.need("pattern"));
  return std::make_unique<Replace>(std::move(matcher), at.need("content").text());
}

std::unique_ptr<Normalizer> read_prepend(JsonObject& at) {
  return std::make_unique<Prepend>(at.need("prepend").text());
}

std::unique_ptr<Normalizer> make_nmt() {
  return std::make_unique<Nmt>();
}

std::unique_ptr<Normalizer> make_byte_level_normalizer() {
  return std::make_unique<ByteLevelNormalizer>();
}

}  // namespace halftone::text
