// What is put around and between the texts: [CLS], [SEP], <s>.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "text/json_tree.h"
#include "text/tokenizer.h"

namespace halftone::text {

// The tokens of a text, or of what a template puts between texts.
struct Part {
  Encoding tokens;
  // White space (and what stands for a space) at the beginning and the end of each token, in characters; empty unless wants_spaces().
  std::vector<uint32_t> spaces_before;
  std::vector<uint32_t> spaces_behind;
  std::string_view original;  // the text that the spans are in
};

// Immutable; may be used by many threads at once.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  // How many tokens it adds.
  virtual int64_t added(bool pair) const = 0;
  // One part, or two of a pair, become what is to be put one behind the other.
  virtual void apply(std::vector<Part>& parts, bool add_special) const = 0;
  virtual bool wants_spaces() const { return false; }
  virtual bool is_template() const { return false; }
};

// `post_processor` of a tokenizer.json; nothing for null.
std::unique_ptr<PostProcessor> read_post_processor(const JsonAt& at);

struct TemplatePiece {
  bool special = false;
  int32_t sequence = 0;      // where it is none
  std::vector<int32_t> ids;  // where it is
  int32_t type = 0;
};
struct Template {
  std::vector<TemplatePiece> single;
  std::vector<TemplatePiece> pair;
};
std::unique_ptr<PostProcessor> make_template(Template single_and_pair);
// [CLS] A [SEP] B [SEP], with B and what follows of type 1.
Template bert_template(int32_t begin, int32_t end);

}  // namespace halftone::text
