// Tables with a column of text, or two.
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "data/delimited.h"
#include "data/number.h"
#include "data/table.h"
#include "data/table_marks.h"
#include "data/text.h"
#include "data/text_file.h"
#include "data/text_source.h"

namespace halftone::data {
namespace {

constexpr size_t kHeadBytes = size_t{1} << 20;
constexpr size_t kHeadRecords = 200;

// The first records under a delimiter.
struct Head {
  std::vector<std::vector<std::string>> records;
  bool fatal = false;
  bool even() const {
    return !fatal && std::all_of(records.begin(), records.end(),
                                 [&](const auto& r) { return r.size() == records.front().size(); });
  }
};

Head head_of(std::string_view text, bool whole, char delimiter) {
  Head head;
  Records records(text, delimiter, false);
  Record record;
  while (head.records.size() < kHeadRecords && records.next(record)) {
    if (!whole && records.position() == text.size() && !head.records.empty()) break;  // cut off
    if (record.fatal) {
      head.fatal = true;
      break;
    }
    head.records.emplace_back();
    for (size_t c = 0; c < record.count; ++c) head.records.back().push_back(record.cells[c].text);
  }
  return head;
}

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The whole number that a text is.
std::optional<int64_t> whole(const std::string& text) {
  int64_t n = 0;
  const char* end = text.data() + text.size();
  const auto [p, error] = std::from_chars(text.data(), end, n);
  if (text.empty() || error != std::errc() || p != end) return std::nullopt;
  return n;
}

class TextTable final : public TextSource {
 public:
  TextTable(const std::string& path, const OpenOptions& options, TextWants wants)
      : path_(path), options_(options), file_(open_text_file(path)) {
    kind_ = "CSV with text";
    recognise();
    find_columns(wants);
    say();
    index();
    if (places_.empty()) throw input_error("{}: it holds no samples", path_);
  }

  int64_t size() const override { return static_cast<int64_t>(places_.size()); }
  std::string name(int64_t index) const override {
    return fmt::format("{}, line {}", path_, places_.at(static_cast<size_t>(index)).line);
  }

  void read(int64_t index, TextSample& sample) const override {
    const std::string text = text_at(file_, places_.at(static_cast<size_t>(index)));
    Records records(text, table_.delimiter, false);
    Record record;
    HT_ASSERT(records.next(record) && static_cast<int64_t>(record.count) == table_.columns, "{}",
              name(index));
    sample.texts.clear();
    for (const int64_t column : texts_)
      sample.texts.push_back(record.cells[static_cast<size_t>(column)].text);
  }

 private:
  void recognise() {
    const int64_t size = file_.bytes->size() - file_.begin;
    const std::string head = read_part(*file_.bytes, file_.begin, std::min<int64_t>(size, kHeadBytes));
    const bool all = static_cast<int64_t>(head.size()) == size;
    const Head first = find_delimiter_of_text(head, all);
    if (first.records.empty())
      throw input_error("{}: it holds no samples{}", path_, head.empty() ? ": the file is empty" : "");
    const std::vector<std::string>& top = first.records.front();
    table_.columns = static_cast<int64_t>(top.size());
    decide_header(top);
    if (table_.header) table_.names = top;
  }

  Head find_delimiter_of_text(const std::string& head, bool all) {
    if (const std::optional<char> asked = asked_delimiter(options_.csv_delimiter)) {
      table_.delimiter = *asked;
      return head_of(head, all, *asked);
    }
    if (lower_case(path_).ends_with(".tsv")) {
      table_.delimiter = '\t';
      return head_of(head, all, '\t');
    }
    // Under which the first record has the columns that are asked for, or all have as many cells.
    std::vector<char> fit;
    for (const bool by_name : {true, false}) {
      for (const Delimiter& d : kDelimiters) {
        const Head found = head_of(head, all, d.mark);
        if (found.records.empty()) continue;
        const std::vector<std::string>& top = found.records.front();
        const bool named = std::all_of(options_.text.columns.begin(), options_.text.columns.end(),
                                       [&](const std::string& c) { return has(top, c); });
        if (by_name ? named && top.size() > 1 : found.even() && top.size() > 1) fit.push_back(d.mark);
      }
      if (fit.size() == 1) break;
      if (fit.size() > 1)
        throw input_error(
            "{}: what is between its cells? Several delimiters fit; say --csv-delimiter comma, semicolon, "
            "tab or pipe",
            path_);
    }
    if (fit.empty()) {
      // One column alone.
      const Head found = head_of(head, all, ',');
      if (!found.records.empty() && !found.even())
        throw input_error(
            "{}: its lines have different numbers of cells under any delimiter; put texts with commas into "
            "quotes, or say "
            "--csv-delimiter",
            path_);
      fit.push_back(',');
    }
    table_.delimiter = fit.front();
    return head_of(head, all, table_.delimiter);
  }

  void decide_header(const std::vector<std::string>& top) {
    const std::string& asked = options_.csv_header;
    if (asked == "yes" || asked == "true" || asked == "no" || asked == "false") {
      table_.header = asked == "yes" || asked == "true";
      return;
    }
    if (asked != "auto" && !asked.empty())
      throw usage_error("--csv-header {} is not known; it is auto, yes or no", shown(asked));
    std::vector<std::string> names = options_.text.columns;
    if (!options_.label_column.empty() && options_.label_column != "none")
      names.push_back(options_.label_column);
    for (const std::string& name : names)
      if (has(top, name)) table_.header = true;
    if (table_.header) return;
    for (const std::string& name : names)
      if (!whole(name))
        throw input_error("{}: no column is called {}; its first line is {}", path_, shown(name),
                          listed(top));
    throw input_error(
        "{}: say --csv-header yes if its first line names the columns, --csv-header no if it is a sample: {}",
        path_, listed(top));
  }

  static std::string listed(const std::vector<std::string>& cells) {
    constexpr size_t kMost = 10;
    std::vector<std::string> texts;
    for (size_t i = 0; i < cells.size() && i < kMost; ++i) texts.push_back(shown(cells[i]));
    return fmt::format("{}{}", fmt::join(texts, ", "), cells.size() > kMost ? ", ..." : "");
  }

  int64_t column_called(const std::string& asked, const std::string& option) const {
    std::vector<int64_t> named;
    for (size_t c = 0; c < table_.names.size(); ++c)
      if (table_.names[c] == asked) named.push_back(static_cast<int64_t>(c));
    if (named.size() == 1) return named[0];
    if (named.size() > 1)
      throw input_error(
          "{}: {} columns are called {}; say which by its number, counted from 0: the first is {} {}", path_,
          named.size(), shown(asked), option, named[0]);
    const std::optional<int64_t> number = whole(asked);
    if (!number)
      throw input_error("{}: {} {}: no column is called that; {}", path_, option, shown(asked),
                        table_.header
                            ? "the first line is " + listed(table_.names)
                            : std::string("its first line is a sample and names none (--csv-header)"));
    const int64_t column = *number < 0 ? *number + table_.columns : *number;
    if (column < 0 || column >= table_.columns)
      throw input_error("{}: {} {}: the table has {} columns, counted from 0: 0 to {} (-1 is the last)",
                        path_, option, asked, table_.columns, table_.columns - 1);
    return column;
  }

  void find_columns(TextWants wants) {
    HT_ASSERT(!options_.text.columns.empty());
    for (const std::string& asked : options_.text.columns) texts_.push_back(column_called(asked, "--text"));
    check_text_columns(options_.text, texts_.size());
    for (size_t i = 0; i < texts_.size(); ++i)
      if (std::count(texts_.begin(), texts_.end(), texts_[i]) > 1)
        throw usage_error("--text names one column twice: {}", options_.text.columns[i]);
    const std::string& asked = options_.label_column;
    if (!wants.labels || asked == "none") return;
    if (!asked.empty()) {
      table_.label = column_called(asked, "--label-column");
      if (std::find(texts_.begin(), texts_.end(), table_.label) != texts_.end())
        throw usage_error("{}: --label-column {} is the column of the text", path_, asked);
      return;
    }
    std::vector<int64_t> others;
    std::vector<int64_t> called;
    for (int64_t c = 0; c < table_.columns; ++c) {
      if (std::find(texts_.begin(), texts_.end(), c) != texts_.end()) continue;
      others.push_back(c);
      if (table_.header && is_label_word(table_.names[static_cast<size_t>(c)])) called.push_back(c);
    }
    const std::vector<int64_t>& fit = called.empty() ? others : called;
    if (fit.size() > 1) {
      std::vector<std::string> names;
      for (const int64_t c : fit)
        names.push_back(table_.header ? shown(table_.names[static_cast<size_t>(c)]) : std::to_string(c));
      throw input_error("{}: which column is the label? {} could be; give --label-column NAME, or none",
                        path_, fmt::join(names, " and "));
    }
    if (!fit.empty()) table_.label = fit[0];
  }

  std::string column_text(int64_t column) const {
    return table_.header ? shown(table_.names[static_cast<size_t>(column)])
                         : fmt::format("column {}", column + 1);
  }

  void say() {
    for (const Delimiter& d : kDelimiters)
      if (d.mark == table_.delimiter) table_.said = d.spoken;
    table_.said +=
        table_.header ? "; the first line is the header" : "; no header, the first line is a sample";
    std::vector<std::string> texts;
    for (const int64_t c : texts_) texts.push_back(column_text(c));
    table_.said += fmt::format("; text: {}", fmt::join(texts, " and "));
    if (table_.label >= 0) {
      table_.said += "; label: " + column_text(table_.label);
      labels_where_ = fmt::format("{}, {}", path_, column_of(table_, table_.label));
    }
    notes_.push_back(table_.said);
  }

  void index() {
    int64_t line = 1;
    bool header = table_.header;
    for_each_window(file_, [&](std::string_view window, int64_t offset, bool last) {
      Records records(window, table_.delimiter, false);
      Record record;
      size_t taken = 0;
      int64_t taken_lines = 0;
      while (true) {
        const size_t before = records.position();
        if (!records.next(record)) {
          if (last) taken = window.size();
          break;
        }
        // What reaches the end of the window may go on behind it.
        if (!last && records.position() == window.size()) break;
        record.line += line - 1;
        record.wrong_line += line - 1;
        for (size_t c = 0; c < record.count; ++c) record.cells[c].line += line - 1;
        if (record.fatal) throw Error(ErrorKind::kInput, what_is_wrong(table_, path_, record));
        if (!header) add(record, offset + static_cast<int64_t>(before), records.position() - before);
        header = false;
        taken = records.position();
        taken_lines = records.line() - 1;
      }
      line += taken_lines;
      return taken;
    });
  }

  void add(const Record& record, int64_t offset, size_t bytes) {
    const auto row = static_cast<int64_t>(places_.size());
    std::string bad = what_is_wrong(table_, path_, record);
    if (is_header_again(table_, record))
      bad = fmt::format("{}, line {}: it has the names of the columns again; remove the line", path_,
                        record.line);
    if (bad.empty() && table_.label >= 0) {
      const Cell& cell = record.cells[static_cast<size_t>(table_.label)];
      if (cell.quoted ? cell.text.empty() : is_missing_name(cell.text))
        bad = fmt::format(
            "{}, {}: the label is missing{}", path_, place_of(table_, cell.line, table_.label),
            cell.text.empty() ? "" : fmt::format(" (\"{}\"; in quotes it is a name)", shown(cell.text)));
    }
    if (!bad.empty()) {
      if (!options_.skip_bad) throw Error(ErrorKind::kInput, bad);
      bad_.emplace(row, bad);
    }
    places_.push_back({offset, record.line, static_cast<int64_t>(bytes)});
    if (table_.label >= 0)
      labels_.push_back(bad.empty() ? record.cells[static_cast<size_t>(table_.label)].text : std::string());
  }

  std::string path_;
  const OpenOptions options_;
  TextFile file_;
  TableFormat table_;
  std::vector<int64_t> texts_;  // columns
  std::vector<TextPlace> places_;
};

}  // namespace

void check_text_columns(const TextOptions& text, size_t count) {
  const bool embeds = text.task == TextTask::kEmbeddings;
  if (count > (embeds ? 3U : 2U))
    throw usage_error(
        "--text names {} columns; expected {}", count,
        embeds ? "one to three" : "one, or the two of a pair (three go with --task embeddings)");
}

bool is_label_word(const std::string& name) {
  constexpr std::array<std::string_view, 13> kWords = {
      "label",   "labels",      "class",     "classes", "target", "targets",     "category",
      "outcome", "class_label", "sentiment", "score",   "rating", "ground_truth"};
  return std::find(kWords.begin(), kWords.end(), lower_case(name)) != kWords.end();
}

std::unique_ptr<TextSource> open_text_table(const std::string& path, const OpenOptions& options,
                                            TextWants wants) {
  return std::make_unique<TextTable>(path, options, wants);
}

}  // namespace halftone::data
