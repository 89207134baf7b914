// vocab.txt of BERT: a token a line, the line's number is its id. What else makes BERT's tokenizer is not in it.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/pipeline.h"

namespace halftone::text {
namespace {

[[noreturn]] void refuse_vocab(const std::string& file, const std::string& what) {
  throw input_error("cannot read {} as a vocabulary, with a token a line: {}", file, what);
}

Vocabulary read_lines(const std::string& file, std::string_view text) {
  Vocabulary out;
  int32_t line = 0;
  for (size_t at = 0; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view token = text.substr(at, end - at);
    if (token.ends_with('\r')) token.remove_suffix(1);
    if (!is_utf8(token)) refuse_vocab(file, fmt::format("line {} is not UTF-8", line + 1));
    if (const int32_t before = out.id_of(token); before != Vocabulary::kNone)
      refuse_vocab(file, fmt::format("the lines {} and {} have the same token '{}'", before + 1, line + 1,
                                     token.substr(0, 60)));
    out.add(token, line);
    at = end + 1;
  }
  out.finish();
  return out;
}

// A vocabulary without capitals has tokens for lowercased text alone.
bool has_capitals(const Vocabulary& vocabulary) {
  for (int32_t id = 0; id <= vocabulary.last_id(); ++id) {
    const std::string_view token = vocabulary.token_of(id);
    if (token.starts_with('[') && token.ends_with(']')) continue;
    if (std::any_of(token.begin(), token.end(), [](char c) { return c >= 'A' && c <= 'Z'; })) return true;
  }
  return false;
}

}  // namespace

std::unique_ptr<Tokenizer> read_vocab_txt(const std::string& file, std::string_view text) {
  Vocabulary vocabulary = read_lines(file, text);
  for (const std::string_view token : {"[UNK]", "[CLS]", "[SEP]"})
    if (vocabulary.id_of(token) == Vocabulary::kNone)
      refuse_vocab(
          file,
          fmt::format("it lacks the token {}, as only a vocabulary of BERT's kind is understood", token));
  PipelineParts parts;
  BertNormalizerOptions options;
  options.lowercase = options.strip_accents = !has_capitals(vocabulary);
  parts.normalizer = make_bert_normalizer(options);
  parts.pre_tokenizer = make_bert_pre_tokenizer();
  parts.post_processor = make_template(bert_template(vocabulary.id_of("[CLS]"), vocabulary.id_of("[SEP]")));
  parts.decoder = make_word_piece_decoder("##", true);
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
    if (const int32_t id = vocabulary.id_of(token); id != Vocabulary::kNone)
      parts.added.add_special(token, id);
  parts.model = make_word_piece(std::move(vocabulary), {});
  return make_pipeline(file, std::move(parts));
}

}  // namespace halftone::text
