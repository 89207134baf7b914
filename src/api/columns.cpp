#include "api/columns.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "api/input.h"
#include "base/error.h"
#include "base/file.h"
#include "onnx/input_axes.h"

namespace halftone::api {
namespace {

using As = data::ColumnGroup::As;
using data::TableColumn;
using data::TableColumns;

constexpr const char* kColumnsKey = "halftone.columns";

bool is_label_loss(const LossSpec& loss) {
  return loss.kind != pass::Loss::kGraph;
}

// Fields that every table has, as tables without column options do.
constexpr const char* kSamples = "samples";
constexpr const char* kLabel = "label";

class ColumnMatcher {
 public:
  ColumnMatcher(onnx::Model& model, onnx::Model* loss_graph, const NetworkOptions& network,
                const DataOptions& options, const data::ColumnPlan& kept, const TableColumns& table,
                const std::string& path)
      : model_(model),
        loss_graph_(loss_graph),
        network_(network),
        options_(options),
        kept_(kept),
        table_(table),
        path_(path),
        losses_(parse_losses(network)) {}

  data::ColumnChoice run(const Log& log, FieldPlan& plan) {
    check_fixed();
    data::ColumnChoice choice;
    if (plan.samples_only) {
      leave_labels_out();
    } else {
      find_labels();
      find_weights();
    }
    bind_inputs();
    bind_loss_graph();
    report_unused(log);
    std::vector<data::ArrayHeader> headers;
    for (const data::ColumnGroup& group : groups_) headers.push_back(header_of(group));
    choice.arrays =
        choose_bound_fields(model_, loss_graph_, network_, options_, headers, path_, log, bound_, plan);
    choice.groups = std::move(groups_);
    return choice;
  }

 private:
  std::vector<size_t> columns_in(const std::string& list, const std::string& option) const {
    return data::columns_in(list, table_.header, table_.columns.size(), option, path_);
  }
  std::vector<std::string> names_of(const std::vector<size_t>& columns) const {
    std::vector<std::string> names;
    for (const size_t c : columns) names.push_back(table_.columns[c].name);
    return names;
  }
  std::string text_of(const std::vector<size_t>& columns) const {
    constexpr size_t kMost = 6;
    const std::vector<std::string> names = names_of(columns);
    if (names.size() <= kMost) return fmt::format("{}", fmt::join(names, ","));
    return fmt::format("{},{},...,{} ({} columns)", names[0], names[1], names.back(), names.size());
  }
  int64_t width_of(const std::vector<size_t>& columns) const {
    int64_t width = 0;
    for (const size_t c : columns) width += table_.columns[c].width;
    return width;
  }

  static data::ColumnGroup group_of(const std::vector<size_t>& columns, As as, const std::string& wanted_by) {
    data::ColumnGroup group;
    group.columns = columns;
    group.as = as;
    group.wanted_by = wanted_by;
    return group;
  }

  // Adds a group under a name of its own.
  const std::string& add(data::ColumnGroup group, std::string name) {
    const auto taken = [&] {
      return std::any_of(groups_.begin(), groups_.end(),
                         [&](const data::ColumnGroup& g) { return g.name == name; });
    };
    while (taken()) name += "'";
    group.name = std::move(name);
    groups_.push_back(std::move(group));
    return groups_.back().name;
  }

  // A number that is also a column's could mean either.
  void check_fixed() const {
    for (const std::string& text : network_.inputs) {
      if (!is_fixed(model_, text)) continue;
      const std::string number = text.substr(text.rfind('=') + 1);
      const bool named = std::find(table_.header.begin(), table_.header.end(), number) != table_.header.end();
      const bool counted =
          table_.header.empty() && !number.empty() && number.size() < 7 &&
          std::all_of(number.begin(), number.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
          std::stoul(number) < table_.columns.size();
      if (!named && !counted) continue;
      throw usage_error(
          "--input {}: {} is a number, and also a column of {}; write #{} for the column, or {}.0 for the "
          "number",
          text, number, path_,
          named ? std::to_string(std::find(table_.header.begin(), table_.header.end(), number) -
                                 table_.header.begin())
                : number,
          number);
    }
  }

  void leave_labels_out() {
    bound_.labels.assign(losses_.size(), "");
    taken_.insert(table_.labels.begin(), table_.labels.end());
  }

  void find_labels() {
    bound_.labels.assign(losses_.size(), "");
    std::string default_name;
    for (size_t i = 0; i < losses_.size(); ++i) {
      if (!is_label_loss(losses_[i])) continue;
      const std::string& field = losses_[i].field;
      if (!field.empty()) {
        const std::string option = "--loss ...:" + field;
        bound_.labels[i] =
            labels_named(columns_in(field, option), fmt::format("the loss of {}", field), false);
        continue;
      }
      if (default_name.empty()) {
        if (table_.labels.empty())
          throw input_error("{}: which column holds the labels{}? Give --loss KIND:COLUMN, or --label-column",
                            path_, losses_.size() > 1 ? fmt::format(" of loss {}", i + 1) : "");
        default_name = labels_named(table_.labels, "the loss", true);
      }
      bound_.labels[i] = default_name;
    }
    if (!options_.label_column.empty() && options_.label_column != "none" && default_name.empty())
      throw usage_error(
          "--label-column {}: no loss reads it: --loss KIND:COLUMN names the labels of each{}",
          options_.label_column,
          network_.loss_graph.empty() ? "" : ", and a loss graph takes columns by the names of its inputs");
  }

  std::string labels_named(const std::vector<size_t>& columns, const std::string& wanted_by,
                           bool by_default) {
    for (const data::ColumnGroup& group : groups_)
      if (group.as == As::kLabels && group.columns == columns && group.default_labels == by_default)
        return group.name;
    for (const size_t c : columns)
      if (table_.columns[c].codes && columns.size() > 1)
        throw usage_error("{}: column {} is one of several labels, so it cannot be numbered (--codes)", path_,
                          table_.columns[c].name);
    taken_.insert(columns.begin(), columns.end());
    data::ColumnGroup group = group_of(columns, As::kLabels, wanted_by);
    group.default_labels = by_default;
    if (columns.size() > 1) group.shape = {static_cast<int64_t>(columns.size())};
    return add(std::move(group), text_of(columns));
  }

  void find_weights() {
    const std::string& weight = network_.sample_weight;
    if (weight.empty()) return;
    const std::vector<size_t> columns = columns_in(weight, "--sample-weight " + weight);
    if (columns.size() != 1) throw usage_error("--sample-weight {}: expected one column", weight);
    taken_.insert(columns.begin(), columns.end());
    // By the name that the labels' reading has.
    for (const data::ColumnGroup& group : groups_)
      if (group.name == weight) throw usage_error("--sample-weight {}: the column is the label, too", weight);
    add(group_of(columns, As::kWeights, "--sample-weight"), weight);
  }

  As kind_of(const onnx::ValueInfo& input) const {
    if (!input.dtype || is_float(*input.dtype)) return As::kFloats;
    return input.type == "bool" ? As::kTruths : As::kIntegers;
  }

  // The shape of a sample that these numbers make, in their order.
  Shape shape_for(const onnx::ValueInfo& input, const std::vector<size_t>& columns,
                  const std::string& who) const {
    const int64_t width = width_of(columns);
    const auto refuse = [&](const std::string& wants) {
      throw input_error(
          "{}: {} takes {} a sample, but its columns {} make {}; --input {}=COLUMN,... names others, "
          "--exclude-columns leaves "
          "some out",
          path_, who, wants, text_of(columns), numbers(width), input.name);
    };
    if (!input.has_shape) return {width};
    Shape shape;
    int64_t known = 1;
    size_t open = 0;
    for (size_t i = 1; i < input.dims.size(); ++i) {
      shape.push_back(input.dims[i].value);
      if (input.dims[i].value > 0) {
        known *= input.dims[i].value;
      } else {
        ++open;
      }
    }
    if (open > 1) refuse(fmt::format("samples with {} open sizes (--dim)", open));
    if (open == 0 && known != width) refuse(numbers(known));
    if (open == 1 && width % known != 0) refuse(fmt::format("a multiple of {}", numbers(known)));
    for (int64_t& d : shape)
      if (d <= 0) d = width / known;
    return shape;
  }
  static std::string numbers(int64_t count) {
    return fmt::format("{} number{}", count, count == 1 ? "" : "s");
  }

  void bind(const onnx::ValueInfo& input, const std::vector<size_t>& columns, bool of_network) {
    const std::string who =
        fmt::format("{} '{}'", of_network ? "input" : "the loss graph's input", input.name);
    const As as = kind_of(input);
    const Shape shape = shape_for(input, columns, who);
    taken_.insert(columns.begin(), columns.end());
    data::ColumnGroup group = group_of(columns, as, who);
    group.shape = shape;
    if (of_network) group.input = input.name;
    bound_.inputs[input.name] = add(std::move(group), text_of(columns));
  }

  // --input NAME=COLUMNS.
  std::map<std::string, std::string> asked() const {
    std::vector<onnx::ValueInfo> all = model_.inputs();
    if (loss_graph_ != nullptr)
      all.insert(all.end(), loss_graph_->inputs().begin(), loss_graph_->inputs().end());
    std::map<std::string, std::string> inputs;
    for (const std::string& text : network_.inputs) {
      if (is_fixed(model_, text)) continue;
      const auto named = named_value(text, all);
      if (!named || named->second.empty())
        throw usage_error("--input {}: expected NAME=COLUMN,... with an input of the network, or NAME=NUMBER",
                          text);
      if (!inputs.insert(*named).second)
        throw usage_error("--input {}: {} is given twice", text, named->first);
    }
    return inputs;
  }

  void bind_inputs() {
    const std::map<std::string, std::string> lists = asked();
    std::vector<const onnx::ValueInfo*> left;
    std::vector<const onnx::ValueInfo*> by_rest;
    // Columns that an option names are no other input's.
    for (const auto& [name, list] : lists)
      if (list != kSamples || is_column(kSamples))
        for (const size_t c : columns_in(list, fmt::format("--input {}={}", name, list))) taken_.insert(c);
    for (const onnx::ValueInfo& input : loss_inputs())
      if (lists.count(input.name) == 0 && is_column(input.name))
        taken_.insert(columns_in(input.name, "--loss-graph").front());
    for (const onnx::ValueInfo& input : model_.inputs()) {
      const auto list = lists.find(input.name);
      const auto kept = kept_.inputs.find(input.name);
      if (list != lists.end() && (list->second != kSamples || is_column(kSamples))) {
        const std::vector<size_t> columns =
            columns_in(list->second, fmt::format("--input {}={}", input.name, list->second));
        if (kept != kept_.inputs.end() && columns != kept_columns(input.name, kept->second))
          throw usage_error(
              "--input {}={}: {} was trained on {} for it; columns are known by their names, so give them "
              "these, or leave the "
              "option away",
              input.name, fmt::join(names_of(columns), ","), kept_.source, fmt::join(kept->second, ","));
        bind(input, columns, true);
      } else if (kept != kept_.inputs.end()) {
        const std::vector<size_t> columns = kept_columns(input.name, kept->second);
        for (const size_t c : columns)
          if (table_.columns[c].excluded)
            throw usage_error("--exclude-columns {}: {} feeds input '{}' from it", table_.columns[c].name,
                              kept_.source, input.name);
        bind(input, columns, true);
      } else if (list == lists.end() && is_column(input.name)) {
        bind(input, columns_in(input.name, "input " + input.name), true);
      } else {
        (list == lists.end() ? left : by_rest).push_back(&input);
      }
    }
    left.insert(left.end(), by_rest.begin(), by_rest.end());
    bind_rest(left);
  }

  bool is_column(const std::string& name) const {
    return std::count(table_.header.begin(), table_.header.end(), name) == 1;
  }

  std::vector<size_t> kept_columns(const std::string& input, const std::vector<std::string>& names) const {
    std::vector<size_t> columns;
    for (const std::string& name : names)
      columns.push_back(data::kept_column(
          name, table_.header, table_.columns.size(),
          fmt::format("input '{}', which {} feeds from the column {}", input, kept_.source, name), path_));
    return columns;
  }

  std::vector<size_t> left_columns() const {
    std::vector<size_t> columns;
    for (size_t c = 0; c < table_.columns.size(); ++c)
      if (table_.columns[c].usable && taken_.count(c) == 0) columns.push_back(c);
    return columns;
  }

  void bind_rest(const std::vector<const onnx::ValueInfo*>& left) {
    if (left.empty()) return;
    if (!kept_.inputs.empty()) {
      std::vector<std::string> known;
      for (const auto& [name, columns] : kept_.inputs) known.push_back(fmt::format("'{}'", name));
      throw input_error(
          "{}: it feeds columns to {}, and does not say which feed the input '{}': is it of another network? "
          "Give --input "
          "{}=COLUMN,...",
          kept_.source, fmt::join(known, ", "), left.front()->name, left.front()->name);
    }
    std::vector<size_t> columns = left_columns();
    const auto whole = std::find_if(left.begin(), left.end(),
                                    [&](const onnx::ValueInfo* i) { return kind_of(*i) != As::kFloats; });
    if (left.size() == 2 && whole != left.end() && kind_of(**left.begin()) != kind_of(**left.rbegin())) {
      // Floats do not take the numbers of categories.
      std::vector<size_t> codes;
      std::copy_if(columns.begin(), columns.end(), std::back_inserter(codes),
                   [&](size_t c) { return table_.columns[c].codes; });
      std::erase_if(columns, [&](size_t c) { return table_.columns[c].codes; });
      if (!codes.empty() && !columns.empty()) {
        bind(**whole, codes, true);
        bind(*left[whole == left.begin() ? 1 : 0], columns, true);
        return;
      }
      columns = left_columns();
    }
    std::vector<std::string> names;
    for (const onnx::ValueInfo* input : left) names.push_back(fmt::format("'{}'", input->name));
    if (left.size() > 1 || columns.empty())
      throw input_error(
          "{}: which columns feed the input{} {}? {}; give --input {}=COLUMN,..., or --text COLUMN where one "
          "is text for a tokenizer",
          path_, left.size() == 1 ? "" : "s", fmt::join(names, " and "),
          columns.empty() ? std::string("None is left") : "Left are " + text_of(columns), left.front()->name);
    bind(*left.front(), columns, true);
  }

  // Inputs of the loss graph that are columns.
  std::vector<onnx::ValueInfo> loss_inputs() const { return fields_of_loss_graph(model_, loss_graph_); }

  void bind_loss_graph() {
    const std::map<std::string, std::string> lists = asked();
    for (const onnx::ValueInfo& input : loss_inputs()) {
      const auto list = lists.find(input.name);
      const std::string columns = list == lists.end() ? input.name : list->second;
      bind(input,
           columns_in(columns, fmt::format("--loss-graph, input {}{}", input.name,
                                           list == lists.end() ? "" : "=" + columns)),
           false);
    }
  }

  void report_unused(const Log& log) const {
    const std::vector<size_t> columns = left_columns();
    if (!columns.empty() && log) log(fmt::format("columns that nothing takes: {}", text_of(columns)));
  }

  data::ArrayHeader header_of(const data::ColumnGroup& group) const {
    data::ArrayHeader header;
    header.name = header.stored = group.name;
    header.shape = group.shape;
    header.shape.insert(header.shape.begin(), table_.samples);
    header.type = group.as == As::kIntegers ? data::Element::kI64
                  : group.as == As::kTruths ? data::Element::kU8
                                            : data::Element::kF32;
    return header;
  }

  onnx::Model& model_;
  onnx::Model* loss_graph_;
  const NetworkOptions& network_;
  const DataOptions& options_;
  const data::ColumnPlan& kept_;
  const TableColumns& table_;
  const std::string& path_;
  const std::vector<LossSpec> losses_;
  std::set<size_t> taken_;
  std::vector<data::ColumnGroup> groups_;
  BoundFields bound_;
};

}  // namespace

bool has_column_options(const DataOptions& options) {
  return !options.exclude_columns.empty() || !options.standardize.empty() || !options.one_hot.empty() ||
         !options.codes.empty() || options.label_column.find(',') != std::string::npos ||
         options.label_column.find("..") != std::string::npos || options.label_column.starts_with('#');
}

bool needs_columns(const onnx::Model& model, const NetworkOptions& network, const DataOptions& options,
                   const data::ColumnPlan& kept) {
  if (!kept.empty() || model.inputs().size() != 1 || !network.sample_weight.empty() ||
      !network.loss_graph.empty())
    return true;
  if (has_column_options(options)) return true;
  const std::optional<DType> dtype = model.inputs()[0].dtype;
  if (dtype && !is_float(*dtype)) return true;
  for (const std::string& text : network.inputs) {
    if (is_fixed(model, text)) continue;
    const auto named = named_value(text, model.inputs());
    if (!named || named->second != kSamples) return true;
  }
  const std::vector<LossSpec> losses = parse_losses(network);
  return std::any_of(losses.begin(), losses.end(),
                     [](const LossSpec& l) { return !l.field.empty() && l.field != kLabel; });
}

data::ColumnOptions column_options(const NetworkOptions& network, const DataOptions& options) {
  data::ColumnOptions columns;
  columns.exclude = options.exclude_columns;
  columns.standardize = options.standardize;
  columns.one_hot = options.one_hot;
  columns.codes = options.codes;
  if (options.unknown_category != "error" && options.unknown_category != "zeros")
    throw usage_error("--unknown-category {} is not known; it is error or zeros", options.unknown_category);
  columns.unknown_is_zero = options.unknown_category == "zeros";
  const auto name = [&](const std::string& list) {
    const std::vector<std::string> words = data::words_of(list);
    columns.named.insert(columns.named.end(), words.begin(), words.end());
  };
  for (const std::string& text : network.inputs) name(text.substr(text.rfind('=') + 1));
  for (const LossSpec& loss : parse_losses(network))
    if (!loss.field.empty()) name(loss.field);
  if (!network.sample_weight.empty()) name(network.sample_weight);
  return columns;
}

bool reads_default_labels(const NetworkOptions& network) {
  const std::vector<LossSpec> losses = parse_losses(network);
  return std::any_of(losses.begin(), losses.end(),
                     [](const LossSpec& l) { return is_label_loss(l) && l.field.empty(); });
}

data::ColumnChoice choose_columns(onnx::Model& model, onnx::Model* loss_graph, const NetworkOptions& network,
                                  const DataOptions& options, const data::ColumnPlan& kept,
                                  const TableColumns& columns, const std::string& path, const Log& log,
                                  FieldPlan& plan) {
  return ColumnMatcher(model, loss_graph, network, options, kept, columns, path).run(log, plan);
}

void keep_columns(Labelling& labelling, const data::DataInfo& info, const Log& log) {
  if (!info.columns.empty()) {
    data::ColumnPlan plan = info.columns;
    plan.source = info.source;
    labelling.keep_columns(std::move(plan));
  } else if (const data::ColumnPlan& kept = labelling.columns(); !kept.prepared.empty()) {
    log(
        fmt::format("warning: {}: its numbers are taken as they are, but {} was trained on columns that were "
                    "standardised, or were "
                    "categories (the first is {})",
                    info.source, kept.source, kept.prepared.front().name));
  }
}

data::ColumnPlan column_plan_of(const onnx::Model& model) {
  const auto text = model.metadata(kColumnsKey);
  return text ? data::plan_from_json(*text, model.path()) : data::ColumnPlan();
}

std::map<std::string, std::string> column_metadata(const onnx::Model& model, const data::ColumnPlan& plan) {
  if (plan.empty()) return {};
  const std::string text = data::to_json(plan);
  if (model.metadata(kColumnsKey) == text) return {};
  return {{kColumnsKey, text}};
}

std::map<std::string, std::string> data_metadata(const onnx::Model& model, const Data& data) {
  std::map<std::string, std::string> entries = class_metadata(model, data.names);
  entries.merge(column_metadata(model, data.set->info().columns));
  return entries;
}

data::ColumnPlan kept_columns(const DataOptions& options, const onnx::Model& model) {
  constexpr int64_t kMostBytes = int64_t{1} << 28;
  if (options.columns_file.empty()) return column_plan_of(model);
  return data::plan_from_json(read_file(options.columns_file, kMostBytes), options.columns_file);
}

}  // namespace halftone::api
