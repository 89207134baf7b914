// Samples as tokens: what a task makes of a source's texts.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/spec.h"
#include "data/text_options.h"
#include "data/text_source.h"

namespace halftone::data {

// The class of a token that does not count; those of PyTorch's losses have this number.
inline constexpr int32_t kNoTarget = -100;

// All vectors have one element a token.
struct TokenRow {
  std::vector<int32_t> ids;
  std::vector<int32_t> types;
  std::vector<uint8_t> special;  // of the template
  std::vector<int32_t> labels;   // empty, or a class for each token
};

class TokenSource {
 public:
  virtual ~TokenSource() = default;
  virtual int64_t size() const = 0;
  virtual std::string name(int64_t index) const = 0;
  // Of its longest text, however many are taken (TextReading::most). 0: the sample is bad, or was not counted.
  virtual int64_t length(int64_t index) const = 0;
  // May be called by many threads at once. Error: a bad sample, in words.
  virtual void encode(int64_t index, TokenRow& row) const = 0;
  // Of a sample that is several texts (kEmbeddings) each; of others the one that there is.
  virtual int64_t texts() const { return 1; }
  virtual void encode_all(int64_t index, std::vector<TokenRow>& rows) const {
    rows.resize(1);
    encode(index, rows[0]);
  }
  // What was found while the tokens were counted, for people.
  const std::vector<std::string>& notes() const { return notes_; }
  // The names of tags, kTags: label i is names()[i]. Empty: they are numbers.
  const std::vector<std::string>& names() const { return names_; }
  const std::map<int64_t, std::string>& bad() const { return bad_; }

 protected:
  std::vector<std::string> notes_;
  std::vector<std::string> names_;
  std::map<int64_t, std::string> bad_;
};

struct TokenOptions {
  TextTask task = TextTask::kLabels;
  TextReading reading;
  std::vector<std::string> tag_names;  // by which tags are numbered; empty: in_class_order()
  std::string tag_names_source;
  bool skip_bad = false;
  int threads = 0;
  std::optional<Range> range;  // samples outside are not counted
};

// Counts the tokens of the samples.
std::unique_ptr<TokenSource> make_tokens(std::shared_ptr<const TextSource> source,
                                         const TokenOptions& options);

// body(i) for each i in [0, count), by several threads. The error of the lowest i is thrown.
void for_each_sample(int64_t count, int threads, const std::function<void(int64_t)>& body);

}  // namespace halftone::data
