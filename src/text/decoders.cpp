#include <fmt/format.h>

#include <array>
#include <utility>

#include "text/decoder.h"

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
      if (cleanup_) clean(token);
    }
  }

 private:
  // English, as the original writes it.
  static void clean(std::string& token) {
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

  std::string prefix_;
  bool cleanup_;
};

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
  if (out == nullptr) type_at.refuse(fmt::format("the decoder '{}' is not understood", type.substr(0, 60)));
  at.done();
  return out;
}

}  // namespace halftone::text
