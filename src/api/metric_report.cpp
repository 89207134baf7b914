#include "api/metric_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "api/prediction_rows.h"
#include "base/file.h"

namespace halftone::api {
namespace {

using train::ClassMetrics;
using train::MetricResults;
using Measured = MetricResults::Kind;
using OrderedJson = nlohmann::ordered_json;

constexpr size_t kMostShown = 20;
constexpr size_t kWorstShown = 5;
constexpr size_t kLongestName = 24;

OrderedJson or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? OrderedJson(*value) : OrderedJson(nullptr);
}

OrderedJson texts_json(const train::TextResults& t) {
  OrderedJson j = OrderedJson::object();
  const auto add = [&](const char* name, const std::optional<double>& value) {
    if (value) j[name] = or_null(value);
  };
  add("recall_at_1", t.recall_at_1);
  add("recall_at_5", t.recall_at_5);
  add("recall_at_10", t.recall_at_10);
  add("mrr", t.mrr);
  if (t.recall_at_1) j["candidates"] = t.candidates;
  add("triplet_accuracy", t.triplet_accuracy);
  add("pearson", t.pearson);
  add("spearman", t.spearman);
  return j;
}

std::string name_of(const LossMetrics& m, size_t i) {
  return i < m.names.size() ? m.names[i] : std::to_string(i);
}

std::string number(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? fmt::format("{:.4f}", *value) : "-";
}

std::string cell(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? fmt::format("{}", *value) : "";
}

OrderedJson averages_json(const train::Averages& a) {
  return {{"precision", a.precision}, {"recall", a.recall}, {"f1", a.f1}};
}

OrderedJson json_of(const LossMetrics& m, bool full) {
  const MetricResults& r = m.results;
  OrderedJson j{{"output", m.output}, {"loss", m.loss}, {"targets", r.targets}};
  if (r.ignored > 0) j["ignored"] = r.ignored;
  if (r.kind == Measured::kTexts) {
    j.update(texts_json(r.texts));
    return j;
  }
  if (r.kind == Measured::kNumbers) {
    OrderedJson list = OrderedJson::array();
    for (size_t i = 0; i < r.numbers.size(); ++i)
      list.push_back({{"name", name_of(m, i)},
                      {"mae", or_null(r.numbers[i].mae)},
                      {"rmse", or_null(r.numbers[i].rmse)},
                      {"r2", or_null(r.numbers[i].r2)},
                      {"pearson", or_null(r.numbers[i].pearson)},
                      {"spearman", or_null(r.numbers[i].spearman)}});
    if (full || list.size() <= kMostShown) j["numbers"] = list;
    return j;
  }
  if (r.kind == Measured::kClasses) j["accuracy"] = r.accuracy;
  if (r.top5) j["top5"] = *r.top5;
  j["macro"] = averages_json(r.macro);
  j["weighted"] = averages_json(r.weighted);
  if (r.auroc_macro) {
    j["auroc_macro"] = *r.auroc_macro;
    j["auroc_weighted"] = or_null(r.auroc_weighted);
    j["auroc_exact"] = r.auroc_exact;
  }
  if (r.calibration_error) {
    j["calibration_error"] = *r.calibration_error;
    j["calibration_bins"] = MetricResults::kCalibrationBins;
  }
  if (r.mean_iou) j["mean_iou"] = *r.mean_iou;
  if (r.perplexity) j["perplexity"] = or_null(r.perplexity);
  if (!full) return j;
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < r.classes.size(); ++i) {
    const ClassMetrics& c = r.classes[i];
    OrderedJson row{
        {"name", name_of(m, i)}, {"precision", c.precision()}, {"recall", c.recall()},     {"f1", c.f1()},
        {"support", c.support},  {"predicted", c.predicted},   {"auroc", or_null(c.auroc)}};
    if (r.positions) row["iou"] = or_null(c.iou());
    list.push_back(std::move(row));
  }
  j["classes"] = list;
  if (r.confusion.empty()) return j;
  OrderedJson rows = OrderedJson::array();
  const size_t width = r.classes.size();
  for (size_t row = 0; row < width; ++row)
    rows.push_back(
        std::vector<int64_t>(r.confusion.begin() + static_cast<std::ptrdiff_t>(row * width),
                             r.confusion.begin() + static_cast<std::ptrdiff_t>((row + 1) * width)));
  j["confusion"] = rows;
  return j;
}

std::string short_name(const std::string& name) {
  return name.size() <= kLongestName ? name : name.substr(0, kLongestName - 3) + "...";
}

void add_numbers(const LossMetrics& m, std::vector<std::string>& lines) {
  lines.push_back(
      fmt::format("  {:<24} {:>12} {:>12} {:>8} {:>8}", "target", "MAE", "RMSE", "R2", "Spearman"));
  const auto& numbers = m.results.numbers;
  for (size_t i = 0; i < numbers.size() && i < kMostShown; ++i)
    lines.push_back(fmt::format("  {:<24} {:>12.6g} {:>12.6g} {:>8} {:>8}", short_name(name_of(m, i)),
                                numbers[i].mae, numbers[i].rmse, number(numbers[i].r2),
                                number(numbers[i].spearman)));
}

void add_texts(const train::TextResults& t, std::vector<std::string>& lines) {
  std::string text;
  const auto add = [&](const char* what, const std::optional<double>& value) {
    if (value) text += fmt::format("{}{} {}", text.empty() ? "  " : ", ", what, number(value));
  };
  add("recall@1", t.recall_at_1);
  add("recall@5", t.recall_at_5);
  add("recall@10", t.recall_at_10);
  add("mean reciprocal rank", t.mrr);
  if (t.recall_at_1) text += fmt::format(" (the second text among {})", t.candidates);
  add("triplet accuracy", t.triplet_accuracy);
  add("Spearman", t.spearman);
  add("Pearson", t.pearson);
  lines.push_back(text);
}

std::string averages_line(const char* what, const train::Averages& a, const std::optional<double>& auroc,
                          int64_t support) {
  return fmt::format("  {:<24} {:>9.4f} {:>9.4f} {:>9.4f} {:>9} {:>8}", what, a.precision, a.recall, a.f1,
                     support, number(auroc));
}

void add_classes(const LossMetrics& m, std::vector<std::string>& lines) {
  const MetricResults& r = m.results;
  std::vector<size_t> shown(r.classes.size());
  std::iota(shown.begin(), shown.end(), 0);
  const bool all = shown.size() <= kMostShown;
  if (!all) {
    // Those with targets, the smallest F1 first.
    std::erase_if(shown, [&](size_t c) { return r.classes[c].support == 0; });
    std::stable_sort(shown.begin(), shown.end(),
                     [&](size_t a, size_t b) { return r.classes[a].f1() < r.classes[b].f1(); });
    shown.resize(std::min(shown.size(), kWorstShown));
  }
  lines.push_back(fmt::format("  {:<24} {:>9} {:>9} {:>9} {:>9} {:>8}{}",
                              r.kind == Measured::kLabels ? "label"
                              : all                       ? "class"
                                                          : "worst classes",
                              "precision", "recall", "F1", "support", "AUROC",
                              r.positions ? "      IoU" : ""));
  for (const size_t i : shown) {
    const ClassMetrics& c = r.classes[i];
    lines.push_back(fmt::format("  {:<24} {:>9.4f} {:>9.4f} {:>9.4f} {:>9} {:>8}{}",
                                short_name(name_of(m, i)), c.precision(), c.recall(), c.f1(), c.support,
                                number(c.auroc), r.positions ? fmt::format(" {:>8}", number(c.iou())) : ""));
  }
  int64_t support = 0;
  for (const ClassMetrics& c : r.classes) support += c.support;
  lines.push_back(averages_line("macro average", r.macro, r.auroc_macro, support) +
                  (r.mean_iou ? fmt::format(" {:>8}", number(r.mean_iou)) : ""));
  lines.push_back(averages_line("weighted average", r.weighted, r.auroc_weighted, support));
  std::string more;
  const auto add = [&](const char* what, const std::optional<double>& value) {
    if (value) more += fmt::format("{}{} {}", more.empty() ? "" : ", ", what, number(value));
  };
  add("accuracy", r.kind == Measured::kClasses ? std::optional(r.accuracy) : std::nullopt);
  add("top-5 accuracy", r.top5);
  add("calibration error (15 bins)", r.calibration_error);
  add("perplexity", r.perplexity);
  if (!r.auroc_exact) more += "; AUROC from a histogram";
  if (!more.empty()) lines.push_back("  " + more);
}

}  // namespace

int64_t metrics_bytes(const Data& data) {
  const data::DataInfo& info = data.set->info();
  const bool positions = info.labels == data::LabelKind::kPositions;
  if (info.labels == data::LabelKind::kClass || positions)
    return train::EvaluationMetrics::bytes(
        data.set->size(), std::max<int64_t>({1, info.classes, data.target.reading.classes}), true, positions);
  const pass::Loss loss = data.target.loss.loss;
  const bool labels = loss == pass::Loss::kBce || loss == pass::Loss::kBceWithLogits;
  if (info.labels != data::LabelKind::kTarget || !labels) return 0;
  return train::EvaluationMetrics::bytes(data.set->size(), elements(info.reading.shape), false, false);
}

std::vector<LossMetrics> metrics_of(const train::Network& network, const train::Score& score,
                                    const Data& data, const NetworkOptions& options) {
  std::vector<LossMetrics> all;
  const std::vector<pass::LossNode>& losses = network.losses();
  const data::DataInfo& info = data.set->info();
  for (size_t i = 0; i < network.metrics().size(); ++i) {
    // The logarithm of a probability alone: neither smoothed nor weighted; and of tokens, not of pixels.
    const bool plain = losses[i].kind == pass::Loss::kCrossEntropy && options.label_smoothing == 0 &&
                       options.class_weights.empty() && options.sample_weight.empty();
    const bool tokens =
        i == 0 && info.labels == data::LabelKind::kPositions && info.reading.shape.size() == 1;
    const std::optional<double> loss =
        !plain || !tokens ? std::nullopt
                          : std::optional(score.parts.empty() ? score.loss() : score.parts.at(i).loss());
    LossMetrics m{losses[i].name, pass::name_of(losses[i].kind), network.metrics()[i].results(loss), {}};
    if (m.results.kind == Measured::kNone) continue;
    const size_t count =
        m.results.kind == Measured::kNumbers ? m.results.numbers.size() : m.results.classes.size();
    const std::vector<std::string>& names =
        m.results.kind == Measured::kClasses ? data.names : info.columns.labels;
    if (i == 0 && names.size() == count) m.names = names;
    all.push_back(std::move(m));
  }
  return all;
}

std::vector<std::string> table_of(const std::vector<LossMetrics>& metrics, const std::string& all_in) {
  std::vector<std::string> lines;
  for (const LossMetrics& m : metrics) {
    if (metrics.size() > 1) lines.push_back(fmt::format("output '{}', {}:", m.output, m.loss));
    if (m.results.kind == Measured::kTexts) {
      add_texts(m.results.texts, lines);
    } else if (m.results.kind == Measured::kNumbers) {
      add_numbers(m, lines);
    } else {
      add_classes(m, lines);
    }
    const size_t rows =
        m.results.kind == Measured::kNumbers ? m.results.numbers.size() : m.results.classes.size();
    if (rows > kMostShown) lines.push_back(fmt::format("  all {} are in {}", rows, all_in));
  }
  return lines;
}

nlohmann::json short_json(const std::vector<LossMetrics>& metrics) {
  nlohmann::json list = nlohmann::json::array();
  for (const LossMetrics& m : metrics) list.push_back(nlohmann::json(json_of(m, false)));
  return list;
}

void write_metrics(const std::string& folder, const std::vector<LossMetrics>& metrics) {
  OrderedJson list = OrderedJson::array();
  for (const LossMetrics& m : metrics) list.push_back(json_of(m, true));
  const auto replaced = OrderedJson::error_handler_t::replace;
  std::string rows =
      "output,name,precision,recall,f1,support,predicted,auroc,iou,mae,rmse,r2,pearson,spearman\n";
  for (const LossMetrics& m : metrics) {
    for (size_t i = 0; i < m.results.classes.size(); ++i) {
      const ClassMetrics& c = m.results.classes[i];
      rows += fmt::format("{},{},{},{},{},{},{},{},{},,,,,\n", csv_cell(m.output), csv_cell(name_of(m, i)),
                          c.precision(), c.recall(), c.f1(), c.support, c.predicted, cell(c.auroc),
                          m.results.positions ? cell(c.iou()) : "");
    }
    for (size_t i = 0; i < m.results.numbers.size(); ++i) {
      const train::TargetMetrics& t = m.results.numbers[i];
      rows += fmt::format("{},{},,,,,,,,{},{},{},{},{}\n", csv_cell(m.output), csv_cell(name_of(m, i)), t.mae,
                          t.rmse, cell(t.r2), cell(t.pearson), cell(t.spearman));
    }
  }
  write_file_atomically(folder + "/metrics.csv", rows);
  const auto confused = std::find_if(metrics.begin(), metrics.end(),
                                     [](const LossMetrics& m) { return !m.results.confusion.empty(); });
  if (confused != metrics.end()) {
    const size_t width = confused->results.classes.size();
    std::string text = "target\\predicted";
    for (size_t c = 0; c < width; ++c) text += "," + csv_cell(name_of(*confused, c));
    text += "\n";
    for (size_t row = 0; row < width; ++row) {
      text += csv_cell(name_of(*confused, row));
      for (size_t c = 0; c < width; ++c)
        text += "," + std::to_string(confused->results.confusion[row * width + c]);
      text += "\n";
    }
    write_file_atomically(folder + "/confusion.csv", text);
  }
  write_file_atomically(folder + "/" + kMetricsFile, list.dump(1, ' ', false, replaced) + "\n");
}

}  // namespace halftone::api
