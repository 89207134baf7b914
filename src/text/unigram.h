// A Unigram model's parts, which tokenizer.json and SentencePiece models have.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/model.h"

namespace halftone::text {

// Of a token: what a search may cost at each byte of a text.
constexpr size_t kMostUnigramBytes = 1024;

struct UnigramParts {
  Vocabulary vocabulary;  // ids from 0 on, without gaps
  std::vector<double> scores;
  int32_t unknown = 0;
  bool byte_fallback = false;
};
std::unique_ptr<Model> make_unigram(UnigramParts parts);

}  // namespace halftone::text
