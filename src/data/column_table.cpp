#include "data/column_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/stop.h"
#include "data/array.h"
#include "data/column_arrays.h"
#include "data/column_cells.h"
#include "data/number.h"
#include "data/table.h"
#include "data/text.h"
#include "halftone/printable.h"

namespace halftone::data {
namespace {

using As = ColumnGroup::As;

// Of a one-hot column: more are rather identifiers than kinds.
constexpr size_t kMostOneHot = 1000;

class ColumnTable {
 public:
  ColumnTable(const Spec& spec, const OpenOptions& options)
      : path_(spec.path),
        options_(options),
        asked_(options.columns),
        text_(text_of(read_file(spec.path), spec.path)) {
    recognise();
    count_records();
    samples_ = static_cast<int64_t>(places_->lines.size());
    if (samples_ == 0)
      throw input_error(
          "{}: it holds no samples: its only line with cells is taken as the header (--csv-header no)",
          path_);
    range_ = {0, samples_};
    if (spec.range) range_ = resolve_range(*spec.range, samples_, path_);
    prepare_columns();
    find_categories();
    choose();
    read_cells();
    standardize();
    check_used();
  }

  // The fields, without this object.
  std::unique_ptr<Dataset> fields() const {
    const auto read_group = [this](const std::string& name) {
      const auto group = std::find_if(choice_.groups.begin(), choice_.groups.end(),
                                      [&](const ColumnGroup& g) { return g.name == name; });
      HT_ASSERT(group != choice_.groups.end(), "{}", name);
      return column_array(*group, {path_, table_, places_, samples_, seen_, cells_, bad_});
    };
    return make_fields_dataset("CSV", path_, choice_.arrays, read_group, options_);
  }
  std::shared_ptr<const Places> places() const { return places_; }
  const std::map<int64_t, std::string>& bad() const { return bad_; }
  const ColumnPlan& plan() const { return plan_; }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  std::vector<size_t> columns_in(const std::string& list, const std::string& option) const {
    return data::columns_in(list, table_.names, static_cast<size_t>(table_.columns), option, path_);
  }
  std::string at(int64_t line, size_t column) const {
    return fmt::format("{}, {}", path_, place_of(table_, line, static_cast<int64_t>(column)));
  }
  std::string name(size_t column) const { return table_.name_to_give(static_cast<int64_t>(column)); }
  bool in_range(int64_t row) const { return row >= range_.first && row < range_.second; }

  void recognise() {
    OpenOptions of_table = options_;
    const std::string& label = options_.label_column;
    const bool several = label.find(',') != std::string::npos || label.find("..") != std::string::npos ||
                         label.starts_with('#');
    if (several) {
      for (const std::string& word : words_of(label)) of_table.columns.named.push_back(word);
      of_table.label_column = "none";
    }
    if (!asked_.default_label) of_table.label_column = "none";
    for (const std::vector<std::string>* lists :
         {&asked_.exclude, &asked_.standardize, &asked_.one_hot, &asked_.codes})
      for (const std::string& list : *lists)
        for (const std::string& word : words_of(list))
          if (lists != &asked_.standardize || word != "all") of_table.columns.named.push_back(word);
    for (const auto& [input, columns] : asked_.kept.inputs)
      for (const std::string& column : columns) of_table.columns.named.push_back(column);
    if (!options_.labels && label.empty()) of_table.label_column = "none";
    const bool kept_labels = options_.labels && options_.label_column.empty() && !asked_.kept.labels.empty();
    if (kept_labels) of_table.label_column = "none";
    table_ = recognise_table(text_, path_, of_table);
    notes_.push_back(table_.said);
    places_->path = path_;
    places_->table = table_;
    if (several) {
      labels_ = columns_in(options_.label_column, "--label-column " + options_.label_column);
    } else if (kept_labels && asked_.default_label) {
      for (const std::string& kept : asked_.kept.labels)
        labels_.push_back(kept_column(kept, table_.names, static_cast<size_t>(table_.columns),
                                      asked_.kept.source + ", the labels of its training data", path_));
    } else if (table_.label >= 0) {
      labels_ = {static_cast<size_t>(table_.label)};
    }
  }

  // Calls use(record, row) for the records of samples.
  template <class Use>
  void for_each_record(const Use& use) {
    Records records(text_, table_.delimiter);
    Record record;
    bool header = table_.header;
    int64_t row = 0;
    while (records.next(record)) {
      if (record.fatal) throw Error(ErrorKind::kInput, what_is_wrong(table_, path_, record));
      if (!header) {
        if (row % 1024 == 0) check_stop();
        use(record, row++);
      }
      header = false;
    }
    comments_ = records.comments();
    comment_like_ = records.comment_like(static_cast<size_t>(table_.columns));
  }

  void refuse(int64_t row, const std::string& why) {
    if (!options_.skip_bad) throw Error(ErrorKind::kInput, why);
    bad_.emplace(row, why);
  }

  void count_records() {
    for_each_record([&](const Record& record, int64_t row) {
      places_->lines.push_back(record.line);
      std::string wrong = what_is_wrong(table_, path_, record);
      const auto counts = static_cast<size_t>(std::max<int64_t>(table_.row_numbers, 0));
      if (wrong.empty() && table_.row_numbers >= 0 &&
          record.cells[counts].text != std::to_string(table_.first_row_number + row))
        wrong = fmt::format(
            "{}: \"{}\", but the column has no name and counted the lines so far; name it, or remove it",
            at(record.cells[counts].line, counts), shown(record.cells[counts].text));
      if (is_header_again(table_, record))
        wrong = fmt::format("{}, line {}: it has the names of the columns again; remove the line", path_,
                            record.line);
      if (!wrong.empty()) refuse(row, wrong);
    });
    if (comments_ > 0) notes_.push_back(fmt::format("{} lines that begin with # are comments", comments_));
  }

  // What the options, and what is kept of the training data, say of each column.
  void prepare_columns() {
    cells_.resize(static_cast<size_t>(table_.columns));
    seen_.columns.resize(cells_.size());
    seen_.header = table_.names;
    seen_.samples = samples_;
    seen_.labels = labels_;
    for (size_t c = 0; c < cells_.size(); ++c) {
      const auto number = static_cast<int64_t>(c);
      seen_.columns[c].name = name(c);
      seen_.columns[c].usable =
          number != table_.row_numbers && !(table_.trailing_delimiter && number == table_.columns - 1);
    }
    for (const std::string& list : asked_.exclude)
      for (const size_t c : columns_in(list, "--exclude-columns " + list)) {
        seen_.columns[c].excluded = true;
        seen_.columns[c].usable = false;
      }
    for (const std::string& list : asked_.one_hot) ask(list, Preparation::kOneHot);
    for (const std::string& list : asked_.codes) ask(list, Preparation::kCodes);
    for (const std::string& list : asked_.standardize) {
      if (list == "all" && std::count(table_.names.begin(), table_.names.end(), "all") == 0) {
        all_standardized_ = true;
      } else {
        ask(list, Preparation::kStandardized);
      }
    }
    for (const PreparedColumn& kept : asked_.kept.prepared) {
      const std::optional<size_t> c = find_kept_column(kept.name, table_.names, cells_.size());
      if (!c) continue;  // whoever takes it misses it
      Cells& cells = cells_[*c];
      if (cells.prepared && cells.prepared->kind != kept.kind)
        throw usage_error("{} {}: but {} has it for {}, as the network was trained",
                          option_of(cells.prepared->kind), kept.name, asked_.kept.source,
                          option_of(kept.kind));
      cells.prepared = kept;
      cells.prepared->name = name(*c);
      cells.measured = true;
    }
    for (size_t c = 0; c < cells_.size(); ++c) {
      const std::optional<PreparedColumn>& prepared = cells_[c].prepared;
      TableColumn& column = seen_.columns[c];
      column.codes = prepared && prepared->kind == Preparation::kCodes;
      column.one_hot = prepared && prepared->kind == Preparation::kOneHot;
      column.standardized = prepared && prepared->kind == Preparation::kStandardized;
    }
  }

  void ask(const std::string& list, Preparation kind) {
    const std::string option = fmt::format("{} {}", option_of(kind), list);
    for (const size_t c : columns_in(list, option)) {
      if (!seen_.columns[c].usable)
        throw usage_error("{}: column {} is {}", option, name(c),
                          seen_.columns[c].excluded ? "left out by --exclude-columns"
                                                    : "no field: it counts the lines, or is empty");
      if (cells_[c].prepared)
        throw usage_error("{}: {} has column {} too; a column is one of them", option,
                          option_of(cells_[c].prepared->kind), name(c));
      cells_[c].prepared.emplace();
      cells_[c].prepared->name = name(c);
      cells_[c].prepared->kind = kind;
    }
  }

  void must_measure(size_t c) const {
    if (options_.columns.measures) return;
    const Preparation kind = cells_[c].prepared->kind;
    throw input_error(
        "{}: {} {}: {} of the training data are needed, and neither the network nor --columns-file has them; "
        "they are never "
        "measured on the data that a network is evaluated with. train --out writes them into columns.json "
        "and into the network",
        path_, option_of(kind), name(c),
        kind == Preparation::kStandardized ? "mean and deviation" : "the categories");
  }

  // Of the columns that are categories: those of the training data, in the order of classes.
  void find_categories() {
    std::vector<size_t> open;
    for (size_t c = 0; c < cells_.size(); ++c) {
      const std::optional<PreparedColumn>& prepared = cells_[c].prepared;
      if (!prepared || prepared->kind == Preparation::kStandardized || cells_[c].measured) continue;
      must_measure(c);
      open.push_back(c);
    }
    if (!open.empty())
      for_each_record([&](const Record& record, int64_t row) {
        if (!in_range(row) || bad_.contains(row)) return;
        for (const size_t c : open)
          if (why_no_category(record.cells[c]).empty()) cells_[c].categories.insert(record.cells[c].text);
      });
    for (const size_t c : open) order_categories(c);
    for (size_t c = 0; c < cells_.size(); ++c) {
      Cells& cells = cells_[c];
      if (!cells.prepared || cells.prepared->kind == Preparation::kStandardized) continue;
      const std::vector<std::string>& categories = cells.prepared->categories;
      for (size_t i = 0; i < categories.size(); ++i)
        cells.code_of.emplace(categories[i], static_cast<int32_t>(i));
      if (cells.prepared->kind == Preparation::kOneHot)
        seen_.columns[c].width = static_cast<int64_t>(categories.size());
      notes_.push_back(fmt::format("{}: {} categories{}: {}", name(c), categories.size(),
                                   cells.prepared->kind == Preparation::kOneHot ? "" : ", numbered from 0",
                                   some_of(categories)));
    }
  }

  void order_categories(size_t c) {
    Cells& cells = cells_[c];
    const std::string option = fmt::format("{} {}", option_of(cells.prepared->kind), name(c));
    std::vector<std::string> names =
        in_class_order(std::vector<std::string>(cells.categories.begin(), cells.categories.end()));
    cells.categories.clear();
    if (names.empty()) throw input_error("{}: {}: the column has no value", path_, option);
    if (table_.header && options_.csv_header == "auto" &&
        std::count(names.begin(), names.end(), table_.names[c]) > 0)
      throw input_error(
          "{}: {}: \"{}\" stands in the first line, which was taken for the header, and below it, too; say "
          "--csv-header yes "
          "if the line names the columns, --csv-header no if it is a sample",
          path_, option, shown(table_.names[c]));
    if (cells.prepared->kind == Preparation::kOneHot && names.size() > kMostOneHot)
      throw input_error(
          "{}: {}: the column has {} different values, which are rather identifiers than categories; "
          "--exclude-columns {} leaves it "
          "out, --codes {} numbers them for an input of whole numbers",
          path_, option, names.size(), name(c), name(c));
    // 1 and 1.0 are one number and two texts.
    std::map<double, std::string> numbers;
    for (const std::string& text : names) {
      double value = 0;
      if (!read_number(text, table_.decimal, value)) continue;
      const auto [it, added] = numbers.emplace(value, text);
      if (!added)
        throw input_error(
            "{}: {}: the categories \"{}\" and \"{}\" are one number, written in two ways; write it in one",
            path_, option, shown(it->second), shown(text));
    }
    cells.prepared->categories = std::move(names);
  }

  void choose() {
    choice_ = options_.choose_columns(seen_, path_);
    for (const ColumnGroup& group : choice_.groups) {
      for (const size_t c : group.columns) {
        want(group, c);
        if (!group.input.empty()) plan_.inputs[group.input].push_back(name(c));
        if (group.default_labels) plan_.labels.push_back(name(c));
      }
    }
    // Where the first column is text, such a line may be a sample.
    if (comment_like_ > 0 && used_.contains(0) && (cells_[0].texts_wanted || !cells_[0].code_of.empty()))
      throw input_error(
          "{}, line {}: it begins with #: a comment, or text of column {}? Put quotes around the text, or "
          "remove the line",
          path_, comment_like_, name(0));
  }

  void want(const ColumnGroup& group, size_t c) {
    Cells& cells = cells_[c];
    const auto conflict = [&](const std::string& what) {
      throw usage_error("{} of {}: {} takes the column {}", what, path_, group.wanted_by, name(c));
    };
    if (seen_.columns[c].excluded) conflict("--exclude-columns " + name(c));
    if (!seen_.columns[c].usable)
      throw usage_error("{} of {} takes column {}, which counts the lines, or is empty", group.wanted_by,
                        path_, name(c));
    // It is kept as JSON.
    if (!is_utf8(name(c)))
      throw input_error("{}: the name of column {} (\"{}\") is not UTF-8; save the table as UTF-8", path_,
                        c + 1, shown(name(c)));
    if (group.as == As::kFloats && all_standardized_ && !cells.prepared) {
      cells.prepared.emplace();
      cells.prepared->name = name(c);
    }
    const std::optional<PreparedColumn>& prepared = cells.prepared;
    if (prepared) {
      const bool codes = prepared->kind == Preparation::kCodes;
      const bool fits = group.as == As::kFloats     ? !codes
                        : group.as == As::kIntegers ? codes
                        : group.as == As::kLabels   ? codes
                                                    : false;
      if (!fits)
        conflict(fmt::format(
            "{} {}, which is for {}", option_of(prepared->kind), name(c),
            codes ? "inputs of whole numbers and for labels (--one-hot is for floats)" : "inputs of floats"));
    }
    used_.insert(c);
    if (cells.wanted_by.empty()) cells.wanted_by = group.wanted_by;
    if (prepared && prepared->kind != Preparation::kStandardized) return;
    if (group.as == As::kLabels && group.columns.size() == 1) {
      cells.texts_wanted = true;
    } else {
      cells.numbers_wanted = true;
    }
  }

  // An option on a column that nothing takes was meant to do something.
  void check_used() const {
    const auto check = [&](const std::vector<std::string>& lists, Preparation kind) {
      for (const std::string& list : lists) {
        if (kind == Preparation::kStandardized && list == "all" && all_standardized_) continue;
        const std::string option = fmt::format("{} {}", option_of(kind), list);
        for (const size_t c : columns_in(list, option))
          if (!used_.contains(c))
            throw usage_error("{}: neither an input nor a loss takes the column {} of {}", option, name(c),
                              path_);
      }
    };
    check(asked_.standardize, Preparation::kStandardized);
    check(asked_.one_hot, Preparation::kOneHot);
    check(asked_.codes, Preparation::kCodes);
    if (all_standardized_ &&
        std::none_of(plan_.prepared.begin(), plan_.prepared.end(),
                     [](const PreparedColumn& p) { return p.kind == Preparation::kStandardized; }))
      throw usage_error("--standardize all: no input of floats takes a column of numbers of {}", path_);
  }

  void read_cells() {
    for (const size_t c : used_) {
      Cells& cells = cells_[c];
      const auto count = static_cast<size_t>(samples_);
      if (cells.numbers_wanted) cells.numbers.resize(count);
      if (cells.texts_wanted) cells.texts.resize(count);
      if (!cells.code_of.empty()) cells.codes.resize(count, -1);
    }
    for_each_record([&](const Record& record, int64_t row) {
      if (bad_.contains(row)) return;
      for (const size_t c : used_) {
        const std::string why = read_cell(record.cells[c], c, row);
        if (why.empty()) continue;
        refuse(row, fmt::format("{}: {}{}", at(record.cells[c].line, c), why, of_first_line(table_, row)));
        return;
      }
    });
    for (const auto& [c, unknown] : unknown_)
      notes_.push_back(fmt::format(
          "warning: {}: {} samples have a category of {} that the training data has not: all zeros "
          "(--unknown-category zeros)",
          path_, unknown, name(c)));
  }

  // Why a cell cannot be used; empty: it can.
  std::string read_cell(const Cell& cell, size_t c, int64_t row) {
    Cells& cells = cells_[c];
    const auto i = static_cast<size_t>(row);
    if (!cells.codes.empty()) {
      if (std::string why = why_no_category(cell); !why.empty()) return why;
      const auto it = cells.code_of.find(cell.text);
      if (it != cells.code_of.end()) {
        cells.codes[i] = it->second;
        return {};
      }
      // What stands outside the range of a training set was not looked at, and is not read.
      if (!in_range(row)) return {};
      if (cells.prepared->kind == Preparation::kOneHot && asked_.unknown_is_zero) {
        ++unknown_[c];
        return {};
      }
      return fmt::format(
          "\"{}\" is none of the categories that the training data has: {}{}", shown(cell.text),
          some_of(cells.prepared->categories),
          cells.prepared->kind == Preparation::kOneHot ? " (--unknown-category zeros feeds zeros)" : "");
    }
    if (cells.texts_wanted) {
      if (cell.quoted ? cell.text.empty() : is_missing_name(cell.text))
        return fmt::format(
            "the label is missing{}",
            cell.text.empty() ? "" : fmt::format(" (\"{}\"; in quotes it is a name)", shown(cell.text)));
      cells.texts[i] = cell.text;
    }
    if (!cells.numbers_wanted) return {};
    if (read_number(cell.text, table_.decimal, cells.numbers[i])) return {};
    return fmt::format("{}{} ({} takes it)", why_no_number(cell.text, table_.decimal),
                       advice_for_text(table_, static_cast<int64_t>(c), cell.text), cells.wanted_by);
  }

  // Mean and deviation are those of the samples in the range that are not bad, in double, one after the
  // other.
  void standardize() {
    for (const size_t c : used_) {
      Cells& cells = cells_[c];
      if (!cells.prepared) continue;
      PreparedColumn& prepared = *cells.prepared;
      if (prepared.kind == Preparation::kStandardized) {
        if (!cells.measured) measure(c);
        for (double& x : cells.numbers) x = (x - prepared.mean) / prepared.deviation;
        notes_.push_back(fmt::format("{}: standardised with mean {:.6g} and deviation {:.6g}", name(c),
                                     prepared.mean, prepared.deviation));
      }
      plan_.prepared.push_back(prepared);
    }
  }

  void measure(size_t c) {
    must_measure(c);
    Cells& cells = cells_[c];
    double sum = 0;
    int64_t count = 0;
    const auto for_good = [&](const auto& use) {
      for (int64_t row = range_.first; row < range_.second; ++row)
        if (!bad_.contains(row)) use(cells.numbers[static_cast<size_t>(row)]);
    };
    for_good([&](double x) {
      sum += x;
      ++count;
    });
    if (count == 0)
      throw input_error("{}: --standardize {}: no sample is left to measure it on", path_, name(c));
    const double mean = sum / static_cast<double>(count);
    double squares = 0;
    for_good([&](double x) { squares += (x - mean) * (x - mean); });
    const double deviation = std::sqrt(squares / static_cast<double>(count));
    // What is left of equal numbers by rounding is no deviation.
    if (!(deviation > 1e-12 * std::fabs(mean)) || deviation == 0)
      throw input_error(
          "{}: --standardize {}: the column has one value, {:.9g}, in all samples: nothing can be learned "
          "from it; "
          "--exclude-columns {} leaves it out",
          path_, name(c), mean, name(c));
    cells.prepared->mean = mean;
    cells.prepared->deviation = deviation;
  }

  const std::string path_;
  const OpenOptions& options_;
  const ColumnOptions& asked_;
  std::string text_;
  TableFormat table_;
  std::vector<size_t> labels_;
  std::shared_ptr<Places> places_ = std::make_shared<Places>();
  int64_t samples_ = 0;
  int64_t comments_ = 0;
  int64_t comment_like_ = 0;  // a line that begins with # and has as many cells as a sample
  std::pair<int64_t, int64_t> range_;
  bool all_standardized_ = false;
  TableColumns seen_;
  std::vector<Cells> cells_;  // one a column
  ColumnChoice choice_;
  std::set<size_t> used_;
  std::map<size_t, int64_t> unknown_;   // samples with a category that was not known, of each column
  std::map<int64_t, std::string> bad_;  // with skip_bad: what is wrong with a sample
  ColumnPlan plan_;
  std::vector<std::string> notes_;
};

// The fields, under the lines that their samples are from.
class ColumnsDataset final : public Dataset {
 public:
  explicit ColumnsDataset(const ColumnTable& table)
      : fields_(table.fields()), places_(table.places()), bad_(table.bad()) {
    info_ = fields_->info();
    info_.notes.insert(info_.notes.begin(), table.notes().begin(), table.notes().end());
    info_.columns = table.plan();
  }
  int64_t size() const override { return fields_->size(); }
  std::string name(int64_t index) const override { return places_->line(index); }
  void read(int64_t index, Sample& sample) const override {
    if (const auto it = bad_.find(index); it != bad_.end()) throw Error(ErrorKind::kInput, it->second);
    fields_->read(index, sample);
  }

 private:
  std::unique_ptr<Dataset> fields_;
  std::shared_ptr<const Places> places_;
  std::map<int64_t, std::string> bad_;
};

}  // namespace

std::unique_ptr<Dataset> open_columns(const Spec& spec, const OpenOptions& options) {
  const ColumnTable table(spec, options);
  return std::make_unique<ColumnsDataset>(table);
}

}  // namespace halftone::data
