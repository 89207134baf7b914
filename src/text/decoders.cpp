#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "text/aligned.h"
#include "text/byte_level.h"
#include "text/decoder.h"
#include "text/regex.h"

namespace halftone::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  size_t at = 0;
  for (size_t found = 0; (found = text.find(from, at)) != std::string::npos; at = found + from.size()) {
    out.append(text, at, found - at);
    out += to;
  }
  if (at == 0) return;
  out.append(text, at);
  text = std::move(out);
}

// English, as the original writes it.
void clean_english(std::string& token) {
  using Pair = std::pair<std::string_view, std::string_view>;
  static constexpr std::array<Pair, 11> kPairs{{{" .", "."},
                                                {" ?", "?"},
                                                {" !", "!"},
                                                {" ,", ","},
                                                {" ' ", "'"},
                                                {" n't", "n't"},
                                                {" 'm", "'m"},
                                                {" do not", " don't"},
                                                {" 's", "'s"},
                                                {" 've", "'ve"},
                                                {" 're", "'re"}}};
  for (const auto& [from, to] : kPairs) replace_all(token, from, to);
}

class WordPieceDecoder : public Decoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i > 0) {
        if (token.compare(0, prefix_.size(), prefix_) == 0)
          token.erase(0, prefix_.size());
        else
          token.insert(0, " ");
      }
      if (cleanup_) clean_english(token);
    }
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

// A decoder that changes the list of tokens by a function.
template <class Function>
class DecoderStep : public Decoder {
 public:
  explicit DecoderStep(Function function) : function_(std::move(function)) {}
  void apply(std::vector<std::string>& tokens) const override { function_(tokens); }

 private:
  Function function_;
};
template <class Function>
std::unique_ptr<Decoder> make_decoder(Function function) {
  return std::make_unique<DecoderStep<Function>>(std::move(function));
}

void decode_byte_level(std::vector<std::string>& tokens) {
  std::string bytes;
  std::string own;
  for (const std::string& token : tokens) {
    own.clear();
    bool all = true;
    for (size_t at = 0; at < token.size() && all;) {
      const int byte = byte_of_character(next_character(token, at));
      all = byte >= 0;
      if (all) own.push_back(static_cast<char>(byte));
    }
    bytes += all ? own : token;
  }
  tokens = {repair_utf8(bytes).text};
}

// The byte of a token like <0x0A>, or -1.
int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return -1;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    int digit = 0;
    if (c >= '0' && c <= '9')
      digit = c - '0';
    else if (c >= 'A' && c <= 'F')
      digit = c - 'A' + 10;
    else if (c >= 'a' && c <= 'f')
      digit = c - 'a' + 10;
    else
      return -1;
    byte = byte * 16 + digit;
  }
  return byte;
}

// Runs of bytes become text; a run that is no UTF-8 becomes as many U+FFFD.
void decode_byte_fallback(std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string bytes;
  const auto flush = [&] {
    if (is_utf8(bytes)) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const int byte = byte_of_token(token); byte >= 0) {
      bytes.push_back(static_cast<char>(byte));
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

void fuse(std::vector<std::string>& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens = {std::move(all)};
}

std::string one_character(const JsonAt& at) {
  if (character_count(at.text()) != 1) at.refuse(fmt::format("expected one character, got {}", at.kind()));
  return at.text();
}

// At most so many of the character at the beginning and the end of each token.
std::unique_ptr<Decoder> read_strip_decoder(JsonObject& at) {
  const std::string content = one_character(at.need("content"));
  const int64_t start = at.need("start").integer(0, INT32_MAX);
  const int64_t stop = at.need("stop").integer(0, INT32_MAX);
  return make_decoder([content, start, stop](std::vector<std::string>& tokens) {
    for (std::string& token : tokens) {
      for (int64_t i = 0; i < start && token.starts_with(content); ++i) token.erase(0, content.size());
      for (int64_t i = 0; i < stop && token.ends_with(content); ++i)
        token.resize(token.size() - content.size());
    }
  });
}

std::unique_ptr<Decoder> read_metaspace_decoder(JsonObject& at) {
  const std::string content = one_character(at.need("replacement"));
  const bool adds = at.flag("add_prefix_space", true);
  const bool drops =
      at.choice("prepend_scheme", {"always", "first", "never"}, adds ? "always" : "never") != 2;
  at.ignore("split");
  at.ignore("str_rep");
  return make_decoder([content, drops](std::vector<std::string>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], content, i == 0 && drops ? "" : " ");
  });
}

std::unique_ptr<Decoder> read_replace_decoder(JsonObject& at) {
  Matcher matcher = read_pattern(at.need("pattern"));
  return make_decoder(
      [matcher = std::move(matcher), content = at.need("content").text()](std::vector<std::string>& tokens) {
        std::vector<Match> matches;
        for (std::string& token : tokens) {
          if (token.empty()) continue;
          matches.clear();
          matcher(token, matches);
          std::string out;
          for (const Match& m : matches) out += m.matched ? content : token.substr(m.begin, m.end - m.begin);
          token = std::move(out);
        }
      });
}

std::unique_ptr<Decoder> read_bpe_decoder(JsonObject& at) {
  const std::string suffix = at.need("suffix").text();
  if (suffix.empty()) at.at().refuse("an empty suffix is not understood");
  return make_decoder([suffix](std::vector<std::string>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
  });
}

std::unique_ptr<Decoder> read_ctc_decoder(JsonObject& at) {
  const std::string pad = at.need("pad_token").text();
  const std::string delimiter = at.need("word_delimiter_token").text();
  if (pad.empty() || delimiter.empty()) at.at().refuse("an empty token is not understood");
  const bool cleanup = at.need("cleanup").flag();
  return make_decoder([pad, delimiter, cleanup](std::vector<std::string>& tokens) {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      replace_all(token, pad, "");
      if (!cleanup) continue;
      clean_english(token);
      replace_all(token, delimiter, " ");
    }
  });
}

std::unique_ptr<Decoder> read_decoders(JsonObject& at) {
  const JsonAt list = at.need("decoders");
  std::vector<std::shared_ptr<Decoder>> steps;
  for (size_t i = 0; i < list.list().size(); ++i) {
    steps.push_back(read_decoder(list.item(i)));
    if (steps.back() == nullptr) list.item(i).refuse("expected a decoder, got null");
  }
  return make_decoder([steps = std::move(steps)](std::vector<std::string>& tokens) {
    for (const auto& step : steps) step->apply(tokens);
  });
}

}  // namespace

std::unique_ptr<Decoder> make_word_piece_decoder(std::string prefix, bool cleanup) {
  return std::make_unique<WordPieceDecoder>(std::move(prefix), cleanup);
}

std::unique_ptr<Decoder> read_decoder(const JsonAt& json) {
  if (json.is_null()) return nullptr;
  JsonObject at(json);
  const JsonAt type_at = at.need("type");
  const std::string& type = type_at.text();
  std::unique_ptr<Decoder> out;
  if (type == "WordPiece") {
    const std::string& prefix = at.need("prefix").text();
    out = make_word_piece_decoder(prefix, at.need("cleanup").flag());
  }
  if (type == "ByteLevel") {
    out = make_decoder(decode_byte_level);
    for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) at.ignore(key);
  }
  if (type == "ByteFallback") out = make_decoder(decode_byte_fallback);
  if (type == "Fuse") out = make_decoder(fuse);
  if (type == "Strip") out = read_strip_decoder(at);
  if (type == "Metaspace") out = read_metaspace_decoder(at);
  if (type == "Replace") out = read_replace_decoder(at);
  if (type == "BPEDecoder") out = read_bpe_decoder(at);
  if (type == "CTC") out = read_ctc_decoder(at);
  if (type == "Sequence") out = read_decoders(at);
  if (out == nullptr) type_at.refuse(fmt::format("the decoder '{}' is not understood", type.substr(0, 60)));
  at.done();
  return out;
}

}  // namespace halftone::text
