// Words with tags, a word a line, as CoNLL's tasks have them: the first column is the word, the last its tag; an empty
// line ends a sample.
#include <algorithm>
#include <optional>

#include "base/error.h"
#include "data/text.h"
#include "data/text_file.h"
#include "data/text_source.h"

namespace halftone::data {
namespace {

struct Columns {
  std::string_view word, tag;
  size_t count = 0;
};

// Columns stand between tabs, or, in a line without any, between blanks.
Columns columns_of(std::string_view line) {
  const char mark = line.find('\t') == std::string_view::npos ? ' ' : '\t';
  Columns columns;
  for (size_t at = 0; at <= line.size();) {
    const size_t end = std::min(line.find(mark, at), line.size());
    const std::string_view cell = line.substr(at, end - at);
    at = end + 1;
    if (cell.empty() && mark == ' ') continue;
    if (columns.count++ == 0) columns.word = cell;
    columns.tag = cell;
  }
  return columns;
}

bool ends_sample(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos || line.starts_with("-DOCSTART-");
}

class Conll final : public TextSource {
 public:
  Conll(const std::string& path, const OpenOptions& options) : path_(path), file_(open_text_file(path)) {
    kind_ = "words with tags, one a line";
    form_ = Form::kWords;
    labels_where_ = path + ", the last column";
    std::optional<TextPlace> open;
    std::string bad;
    const auto close = [&] {
      if (!open) return;
      if (!bad.empty()) bad_.emplace(static_cast<int64_t>(places_.size()), std::move(bad));
      bad.clear();
      places_.push_back(*open);
      open.reset();
    };
    for_each_line(file_, [&](std::string_view line, const TextPlace& place) {
      if (ends_sample(line)) return close();
      const Columns columns = columns_of(line);
      if (columns_ == 0) columns_ = columns.count;
      std::string wrong;
      if (columns_ < 2) {
        throw input_error(
            "{}, line {}: expected a word and its tag with a tab or a blank between them; found \"{}\"", path,
            place.line, shown(line));
      } else if (columns.count != columns_ || columns.word.empty() || columns.tag.empty()) {
        wrong = fmt::format("{}, line {}: it has {} columns, the first line {}; found \"{}\"", path,
                            place.line, columns.count, columns_, shown(line));
      }
      if (!wrong.empty() && !options.skip_bad) throw Error(ErrorKind::kInput, wrong);
      if (bad.empty()) bad = std::move(wrong);
      if (!open) open = place;
      open->bytes = place.offset + place.bytes - open->offset;
    });
    close();
    if (places_.empty()) throw input_error("{}: it holds no samples", path);
    notes_.push_back(fmt::format("{} columns: the first is the word, the last its tag", columns_));
  }

  int64_t size() const override { return static_cast<int64_t>(places_.size()); }
  std::string name(int64_t index) const override {
    return fmt::format("{}, line {}", path_, places_.at(static_cast<size_t>(index)).line);
  }
  void read(int64_t index, TextSample& sample) const override {
    const std::string text = text_at(file_, places_.at(static_cast<size_t>(index)));
    sample.texts.clear();
    sample.tags.clear();
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      std::string_view line = std::string_view(text).substr(at, end - at);
      if (line.ends_with('\r')) line.remove_suffix(1);
      const Columns columns = columns_of(line);
      sample.texts.emplace_back(columns.word);
      sample.tags.emplace_back(columns.tag);
      at = end + 1;
    }
  }

 private:
  std::string path_;
  TextFile file_;
  size_t columns_ = 0;
  std::vector<TextPlace> places_;  // of samples, without the empty line behind them
};

}  // namespace

std::unique_ptr<TextSource> open_conll(const std::string& path, const OpenOptions& options) {
  return std::make_unique<Conll>(path, options);
}

}  // namespace halftone::data
