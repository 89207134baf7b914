#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "text/pipeline.h"
#include "text/tokenizer.h"

namespace halftone::text {
namespace {

// The largest vocabularies that networks have make files of 40 MB.
constexpr int64_t kMostBytes = int64_t{1} << 29;

bool looks_like_json(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{';
}

}  // namespace

std::unique_ptr<Tokenizer> Tokenizer::open(const std::string& path) {
  const std::string text = read_file(path, kMostBytes);
  if (looks_like_json(text)) return read_tokenizer_json(path, text);
  // A SentencePiece model begins with its first piece: field 1 of a message, and the piece's length.
  if (text.size() > 2 && text[0] == '\n' && text.find("\n\x05<unk>") < 64)
    throw input_error(
        "cannot read {} as a tokenizer: it is a SentencePiece model, which is not understood; give the "
        "tokenizer.json that is "
        "made of it",
        path);
  return read_vocab_txt(path, text);
}

}  // namespace halftone::text
