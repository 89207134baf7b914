// Text to token ids, as a network's tokenizer file says.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <string>
#include <string_view>

namespace halftone {

struct TokenizeOptions {
  std::string tokenizer;   // tokenizer.json or vocab.txt
  bool special = true;     // put the file's template around each text: [CLS] … [SEP]
  bool pairs = false;      // each line has two texts, with a tab between them
  int64_t max_tokens = 0;  // at most so many of each text; 0: as many as there are
  bool json =
      false;  // all that is known of the tokens, a JSON object a line; else the ids with spaces between them
  char delimiter = '\n';  // what ends a text
};

// Reads texts until `in` ends, and calls write with the result of each, which ends with a newline. Errors: the file is not understood; a pair
// without a tab.
void tokenize(const TokenizeOptions& options, std::istream& in,
              const std::function<void(std::string_view)>& write);

}  // namespace halftone
