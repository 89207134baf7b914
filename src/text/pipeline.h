// The parts of a tokenizer, one behind the other.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace halftone::text {

enum class TruncationStrategy { kLongestFirst, kOnlyFirst, kOnlySecond };

// All but the model and the vocabulary may be missing.
struct PipelineParts {
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<Model> model;
  std::unique_ptr<PostProcessor> post_processor;
  std::unique_ptr<Decoder> decoder;
  AddedTokens added;
  std::optional<int32_t> padding_id;
  std::optional<int64_t> max_tokens;
  TruncationStrategy truncation = TruncationStrategy::kLongestFirst;
  bool truncates_left = false;
};

std::unique_ptr<Tokenizer> make_pipeline(std::string file, PipelineParts parts);

std::unique_ptr<Tokenizer> read_tokenizer_json(const std::string& file, std::string_view text);
std::unique_ptr<Tokenizer> read_vocab_txt(const std::string& file, std::string_view text);

}  // namespace halftone::text
