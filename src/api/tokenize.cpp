#include "halftone/tokenize.h"

#include <fmt/format.h>

#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/tokenizer.h"

namespace halftone {
namespace {

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void write_json(const text::Tokenizer& tokenizer, const text::Encoding& e, std::string& out) {
  const auto to = std::back_inserter(out);
  fmt::format_to(
      to, "{{\"ids\":[{}],\"types\":[{}],\"special\":[{}],\"sequence\":[{}],\"words\":[{}],\"spans\":[",
      fmt::join(e.ids, ","), fmt::join(e.types, ","), fmt::join(e.special, ","), fmt::join(e.sequence, ","),
      fmt::join(e.words, ","));
  for (size_t i = 0; i < e.spans.size(); ++i)
    fmt::format_to(to, "{}[{},{}]", i == 0 ? "" : ",", e.spans[i].begin, e.spans[i].end);
  out += "],\"tokens\":[";
  for (size_t i = 0; i < e.ids.size(); ++i) {
    if (i > 0) out += ',';
    out += quoted(tokenizer.token_of(e.ids[i]));
  }
  out += "],\"decoded\":";
  out += quoted(tokenizer.decode(e.ids, true));
  out += "}\n";
}

}  // namespace

void tokenize(const TokenizeOptions& options, std::istream& in,
              const std::function<void(std::string_view)>& write) {
  const std::unique_ptr<text::Tokenizer> tokenizer = text::Tokenizer::open(options.tokenizer);
  text::EncodeOptions encode;
  encode.add_special = options.special;
  encode.max_tokens = options.max_tokens;
  std::string line;
  std::string out;
  for (int64_t number = 1; std::getline(in, line, options.delimiter); ++number) {
    const size_t tab = options.pairs ? line.find('\t') : 0;
    if (tab == std::string::npos) throw input_error("text {} is no pair: it has no tab", number);
    const std::string_view all = line;
    const text::Encoding e = options.pairs
                                 ? tokenizer->encode_pair(all.substr(0, tab), all.substr(tab + 1), encode)
                                 : tokenizer->encode(all, encode);
    out.clear();
    if (options.json)
      write_json(*tokenizer, e, out);
    else
      fmt::format_to(std::back_inserter(out), "{}\n", fmt::join(e.ids, " "));
    write(out);
  }
}

}  // namespace halftone
