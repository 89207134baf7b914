// How files of text become samples of tokens. src/api makes it of the user's options and the network.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/field.h"

namespace halftone::text {
class Tokenizer;
}

namespace halftone::data {

// What is learned from a text.
enum class TextTask : uint8_t {
  kAuto,
  kLabels,      // a class or numbers for each text, or pair of texts
  kTags,        // a class for each word
  kCausal,      // the next token
  kMasked,      // tokens that are hidden
  kEmbeddings,  // one vector for each text, such that those of a sample's texts are near or apart
};
std::string name_of(TextTask task);  // as --task has it

// What is decided when a text set is opened.
struct TextReading {
  std::shared_ptr<const ::halftone::text::Tokenizer> tokenizer;
  int64_t length = 0;  // tokens a sample, where the network takes no other number; 0: any
  int64_t most = 512;  // longer samples are cut off; `length` where that is not 0
  std::string most_reason;
  int64_t block = 0;       // tokens of a packed block (kCausal)
  int64_t vocabulary = 0;  // ids that the network knows are below; 0: not known
  std::string vocabulary_name;
  int64_t batch = 1;
  bool training = true;  // size classes are filled by several batches each
};

struct TextOptions {
  std::vector<std::string>
      columns;                // of the text, or of several texts of a sample; empty: by the usual names
  std::string unit = "auto";  // of a .txt file, which is a sample: line, document
  TextTask task = TextTask::kAuto;
  bool positions = false;  // the network's output has a vector for each token
  // Called once a text set is opened; it may throw.
  std::function<TextReading(const std::string& path, TextTask task)> read;
  // Which of the arrays below feed the network, as OpenOptions::choose_arrays; empty: all of them.
  ChooseArrays choose;
};

// The names of the arrays that are made of tokens.
inline constexpr const char* kTokenIds = "input_ids";
inline constexpr const char* kTokenMask = "attention_mask";
inline constexpr const char* kTokenTypes = "token_type_ids";
inline constexpr const char* kTokenPositions = "position_ids";
inline constexpr const char* kTokenLabels = "label";

}  // namespace halftone::data
