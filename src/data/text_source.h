// Samples as their files have them, before they are tokens. Files are read once when they are opened, for the
// places of the samples in them, and again, sample by sample, when batches are made: they may be larger than memory.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/bytes.h"
#include "data/dataset.h"

namespace halftone::data {

// What a sample has. Which of these a file gives is decided when it is opened.
struct TextSample {
  std::vector<std::string> texts;  // one, or the two of a pair; of tagged words: these
  std::vector<std::string> tags;   // one a word
  size_t prompt = 0;               // bytes of texts[0] that are given and not learned
};

class TextSource {
 public:
  enum class Form : uint8_t {
    kTexts,   // a text or a pair, with a label where labels() has them
    kWords,   // words with tags
    kPrompts  // a prompt and its completion
  };
  virtual ~TextSource() = default;
  Form form() const { return form_; }
  const std::string& kind() const { return kind_; }
  const std::vector<std::string>& notes() const { return notes_; }
  virtual int64_t size() const = 0;
  // May be called by many threads at once.
  virtual void read(int64_t index, TextSample& sample) const = 0;
  virtual std::string name(int64_t index) const = 0;
  // Whether a document begins with it; others go on with the one before (open_text_documents, pieces).
  virtual bool begins(int64_t /*index*/) const { return true; }

  // Their labels as text, one a sample; empty: they have none. Taken once, by whoever understands them.
  std::vector<std::string> take_labels() { return std::move(labels_); }
  const std::string& labels_where() const { return labels_where_; }  // the file, and the column in it
  bool has_labels() const { return !labels_where_.empty(); }
  // Samples that cannot be used, and why (skip_bad).
  const std::map<int64_t, std::string>& bad() const { return bad_; }

 protected:
  Form form_ = Form::kTexts;
  std::string kind_;
  std::vector<std::string> notes_;
  std::vector<std::string> labels_;
  std::string labels_where_;
  std::map<int64_t, std::string> bad_;
};

struct TextWants {
  bool labels = true;  // what may be the label is looked for
};

std::unique_ptr<TextSource> open_text_table(const std::string& path, const OpenOptions& options,
                                            TextWants wants);
std::unique_ptr<TextSource> open_json_lines(const std::string& path, const OpenOptions& options,
                                            TextWants wants);
std::unique_ptr<TextSource> open_conll(const std::string& path, const OpenOptions& options);
std::unique_ptr<TextSource> open_text_lines(const std::string& path, const OpenOptions& options);
// A file, or a folder of files (.txt), each a sample; with a label where they lie in class folders. pieces: long
// documents are several samples, cut where a line or a word ends.
std::unique_ptr<TextSource> open_text_documents(const std::string& path, const OpenOptions& options,
                                                TextWants wants, bool pieces);
// Whether the folder has .txt files, in it or in folders of it.
bool is_text_folder(const std::string& path);

// Error (usage): the task takes another number of texts a sample.
void check_text_columns(const TextOptions& text, size_t count);

// Whether a word is what labels are called: label, class, target, ...
bool is_label_word(const std::string& name);

}  // namespace halftone::data
