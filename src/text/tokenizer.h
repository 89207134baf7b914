#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::text {

// Which bytes of the text a token stands for. Empty (0, 0) for tokens that the template adds.
struct Span {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// The tokens of one text, or of a pair. All vectors have one element a token.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> types;     // segment: what networks call token_type_ids
  std::vector<uint8_t> special;   // 1 for tokens that the template adds ([CLS], <s>)
  std::vector<uint8_t> sequence;  // 0 or 1: of which text of a pair; 0 for special tokens
  std::vector<Span> spans;        // in the bytes of that text as it was given, before normalisation
  std::vector<int32_t>
      words;  // number of the pre-token in its text (what the pre-tokenizer splits off), -1 for special tokens
};

struct EncodeOptions {
  bool add_special = true;  // the file's template: [CLS] … [SEP], <s> … </s>
  // At most so many tokens, special ones included; 0: as many as there are. Of a pair the longer text is shortened first, from its end.
  int64_t max_tokens = 0;
};

// Text to token ids, as one file says: tokenizer.json (Hugging Face) or vocab.txt (WordPiece). Immutable; encode() may be
// called by many threads at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Throws input_error, which names the file and the field, for what is not understood.
  static std::unique_ptr<Tokenizer> open(const std::string& path);

  // text is UTF-8; what is broken in it becomes U+FFFD, as Python's errors="replace" decodes it.
  virtual Encoding encode(std::string_view text, const EncodeOptions& options = {}) const = 0;
  virtual Encoding encode_pair(std::string_view first, std::string_view second,
                               const EncodeOptions& options = {}) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;

  virtual int64_t size() const = 0;  // one more than the largest id
  virtual std::optional<int32_t> id_of(std::string_view token) const = 0;
  virtual std::string token_of(int32_t id) const = 0;  // throws input_error outside [0, size)
  virtual bool is_special(int32_t id) const = 0;       // marked so in the file
  virtual std::optional<int32_t> padding_id()
      const = 0;  // of the file's padding, else [PAD] or <pad> where there is one
  virtual std::optional<int32_t> mask_id() const = 0;     // [MASK] or <mask>
  virtual std::optional<int32_t> end_id() const = 0;      // </s>, <|endoftext|>, [SEP]: what ends a document
  virtual std::optional<int64_t> max_tokens() const = 0;  // the file's own truncation
};

}  // namespace halftone::text
