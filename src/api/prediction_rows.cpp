#include "api/prediction_rows.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/error.h"
#include "kern/dispatch.h"
#include "kern/pointwise.h"

namespace halftone::api {
namespace {

using Kind = OutputMeaning::Kind;
using Making = OutputMeaning::Making;

double value_at(const Tensor& t, int64_t i) {
  const auto at = static_cast<size_t>(i);
  return t.dtype() == DType::kF64 ? t.as<double>()[at] : static_cast<double>(t.as<float>()[at]);
}

// The shortest text that is read back as the same number of the output's type.
std::string number(double value, DType type) {
  return type == DType::kF64 ? fmt::format("{}", value) : fmt::format("{}", static_cast<float>(value));
}

// [samples, classes, ...] as [samples, ..., classes].
Tensor classes_last(const Tensor& output) {
  std::vector<int64_t> axes(output.shape().size());
  std::iota(axes.begin(), axes.end(), 0);
  std::rotate(axes.begin() + 1, axes.begin() + 2, axes.end());
  return transposed(output, axes);
}

Tensor probabilities_from(const Tensor& t, const OutputMeaning& meaning) {
  const kern::Kernels& kernels = kern::kernels_for(t.dtype());
  Tensor y(t.dtype(), t.shape());
  switch (meaning.making) {
    case Making::kNone:
      return t.clone();
    case Making::kSoftmax:
      kernels.softmax({t.dtype(), t.data(), y.data(), t.size() / meaning.classes, meaning.classes, false});
      break;
    case Making::kExp:
    case Making::kSigmoid: {
      kern::UnaryArgs args{};
      args.op = meaning.making == Making::kExp ? kern::Unary::kExp : kern::Unary::kSigmoid;
      args.dtype = t.dtype();
      args.x = t.data();
      args.y = y.data();
      args.n = t.size();
      kernels.unary(args);
    }
  }
  return y;
}

}  // namespace

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos && !text.empty()) return text;
  std::string cell = "\"";
  for (const char c : text) cell += c == '"' ? std::string("\"\"") : std::string(1, c);
  return cell + "\"";
}

std::string json_text(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

PredictionRows::PredictionRows(const OutputMeaning& meaning, std::vector<std::string> names,
                               const RowOptions& options, int64_t numbers)
    : meaning_(meaning), names_(std::move(names)), options_(options), numbers_(numbers) {
  const bool one_class = meaning.kind == Kind::kClasses || meaning.kind == Kind::kTwoClasses;
  if (options.top > 1 && !one_class)
    throw usage_error("--top {} goes with classes, one of them a sample; these are {}", options.top,
                      describe(meaning));
  if (one_class && options.top > meaning.classes)
    throw usage_error("--top {} is more than the network's {} classes", options.top, meaning.classes);
  if (meaning.positions && options.top > 1)
    throw usage_error(
        "--top {}: where each position has a class, only the first is given, or --probabilities",
        options.top);
  if (!options.json && !meaning.vector)
    throw usage_error(
        "output '{}' has numbers for each position of a sample, which CSV has no columns for; give --format "
        "jsonl, or "
        "--out FILE.jsonl",
        meaning.output);
}

std::string PredictionRows::name_of(int64_t label) const {
  return names_.empty() ? std::to_string(label) : names_.at(static_cast<size_t>(label));
}

std::string PredictionRows::json_name_of(int64_t label) const {
  return names_.empty() ? std::to_string(label) : json_text(name_of(label));
}

std::string PredictionRows::header() const {
  if (options_.json) return "";
  std::string text = "sample";
  if (options_.labels) text += ",label";
  const auto add = [&](const std::string& name) { text += "," + csv_cell(name); };
  switch (meaning_.kind) {
    case Kind::kClasses:
    case Kind::kTwoClasses:
      for (int64_t i = 1; i <= options_.top; ++i) {
        add(i == 1 ? "class" : fmt::format("class_{}", i));
        add(i == 1 ? "probability" : fmt::format("probability_{}", i));
      }
      for (int64_t c = 0; options_.probabilities && c < meaning_.classes; ++c) add("p_" + name_of(c));
      break;
    case Kind::kLabels:
      for (int64_t c = 0; c < meaning_.classes; ++c) add("p_" + name_of(c));
      break;
    case Kind::kNumbers:
      for (int64_t i = 0; i < numbers_; ++i)
        add(!names_.empty() ? name_of(i) : numbers_ == 1 ? "value" : fmt::format("value_{}", i));
  }
  return text + "\n";
}

std::vector<double> PredictionRows::probabilities_of(const Tensor& output, int64_t row) const {
  const int64_t count = output.size() / output.shape().at(0);
  std::vector<double> p;
  for (int64_t i = 0; i < count; ++i) p.push_back(value_at(output, row * count + i));
  if (meaning_.kind != Kind::kTwoClasses) return p;
  // In the output's type, as its texts are read back.
  const double other =
      output.dtype() == DType::kF64 ? 1 - p[0] : static_cast<double>(1 - static_cast<float>(p[0]));
  return {other, p[0]};
}

// The classes, the best first, of equal ones the lower number.
std::vector<int64_t> PredictionRows::ranked(const Made& made, int64_t row) const {
  if (meaning_.kind == Kind::kTwoClasses) {
    const double border = meaning_.making == Making::kNone ? 0.5 : 0.0;
    std::vector<int64_t> order{0, 1};
    if (value_at(made.scores, row) > border) std::swap(order[0], order[1]);
    order.resize(static_cast<size_t>(options_.top));
    return order;
  }
  const int64_t classes = meaning_.classes;
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), 0);
  const auto better = [&](int64_t a, int64_t b) {
    const double score_a = value_at(made.scores, row * classes + a);
    const double score_b = value_at(made.scores, row * classes + b);
    return score_a != score_b ? score_a > score_b : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(options_.top), order.end(),
                    better);
  order.resize(static_cast<size_t>(options_.top));
  return order;
}

void PredictionRows::append(Tensor& output, std::span<const std::string> samples,
                            std::span<const std::string> labels, std::string& text) const {
  const auto rows = static_cast<int64_t>(samples.size());
  HT_ASSERT(rows > 0 && output.size() % rows == 0, "{} of {} samples", to_string(output.shape()), rows);
  const int64_t per_sample = output.size() / rows;
  for (int64_t i = 0; i < output.size(); ++i)
    if (!std::isfinite(value_at(output, i)))
      throw numerical_error("output '{}' of sample {} has a number that is not finite ({})", meaning_.output,
                            samples[static_cast<size_t>(i / per_sample)], value_at(output, i));
  // Axes of one element may stand before the batch's.
  if (meaning_.vector) output = output.reshaped({rows, per_sample});
  if (meaning_.positions && meaning_.classes_first) output = classes_last(output);
  const Made made{output, probabilities_from(output, meaning_)};
  for (int64_t row = 0; row < rows; ++row) {
    const auto i = static_cast<size_t>(row);
    if (options_.json) {
      text += "{\"sample\":" + (options_.quoted_name ? json_text(samples[i]) : samples[i]);
      if (options_.labels) text += ",\"label\":" + labels[i];
      append_json(made, row, text);
      text += "}\n";
    } else {
      text += csv_cell(samples[i]);
      if (options_.labels) text += "," + labels[i];
      append_csv(made, row, text);
      text += "\n";
    }
  }
}

void PredictionRows::append_csv(const Made& made, int64_t row, std::string& text) const {
  const Tensor& output = made.probabilities;
  const DType type = output.dtype();
  const std::vector<double> p = probabilities_of(output, row);
  bool all = true;
  if (meaning_.kind == Kind::kClasses || meaning_.kind == Kind::kTwoClasses) {
    for (const int64_t c : ranked(made, row))
      text += "," + csv_cell(name_of(c)) + "," + number(p[static_cast<size_t>(c)], type);
    all = options_.probabilities;
  }
  for (size_t i = 0; all && i < p.size(); ++i) text += "," + number(p[i], type);
}

void PredictionRows::append_json(const Made& made, int64_t row, std::string& text) const {
  const Tensor& output = made.probabilities;
  if (!meaning_.vector) return append_positions(made, row, text);
  const DType type = output.dtype();
  const std::vector<double> p = probabilities_of(output, row);
  const auto list = [&](const char* key, bool named) {
    text += fmt::format(",\"{}\":{}", key, named ? "{" : "[");
    for (size_t i = 0; i < p.size(); ++i) {
      if (i > 0) text += ",";
      if (named) text += json_text(names_[i]) + ":";
      text += number(p[i], type);
    }
    text += named ? "}" : "]";
  };
  switch (meaning_.kind) {
    case Kind::kClasses:
    case Kind::kTwoClasses: {
      const std::vector<int64_t> order = ranked(made, row);
      const auto pair = [&](int64_t c) {
        return fmt::format("\"class\":{},\"probability\":{}", json_name_of(c),
                           number(p[static_cast<size_t>(c)], type));
      };
      text += "," + pair(order[0]);
      if (options_.top > 1) {
        text += ",\"top\":[";
        for (size_t i = 0; i < order.size(); ++i) text += (i == 0 ? "{" : ",{") + pair(order[i]) + "}";
        text += "]";
      }
      if (options_.probabilities) list("probabilities", !names_.empty());
      return;
    }
    case Kind::kLabels: {
      constexpr double kHolds = 0.5;
      text += ",\"labels\":[";
      bool first = true;
      for (size_t i = 0; i < p.size(); ++i) {
        if (p[i] <= kHolds) continue;
        text += (first ? "" : ",") + json_name_of(static_cast<int64_t>(i));
        first = false;
      }
      text += "]";
      return list("probabilities", !names_.empty());
    }
    case Kind::kNumbers:
      return list(names_.empty() ? "values" : "targets", !names_.empty());
  }
}

void PredictionRows::append_positions(const Made& made, int64_t row, std::string& text) const {
  const Tensor& output = made.probabilities;
  const DType type = output.dtype();
  Shape shape(output.shape().begin() + 1, output.shape().end());
  const int64_t per_sample = elements(shape);
  const int64_t first = row * per_sample;
  // The numbers `at` gives for each element of this shape, as lists in lists.
  const auto nested = [&](const char* key, const Shape& of, const auto& at) {
    text += fmt::format(",\"{}\":", key);
    const int64_t count = elements(of);
    for (int64_t i = 0; i < count; ++i) {
      int64_t inner = 1;
      std::string opens;
      for (size_t axis = of.size(); axis-- > 0;) {
        inner *= of[axis];
        if (i % inner == 0) opens += "[";
      }
      if (i > 0) text += ",";
      text += opens + at(i);
      inner = 1;
      for (size_t axis = of.size(); axis-- > 0;) {
        inner *= of[axis];
        if ((i + 1) % inner == 0) text += "]";
      }
    }
  };
  const auto value = [&](int64_t i) { return number(value_at(output, first + i), type); };
  if (meaning_.kind != Kind::kClasses)
    return nested(meaning_.kind == Kind::kLabels ? "probabilities" : "values", shape, value);
  const int64_t classes = meaning_.classes;
  std::vector<int64_t> best;
  for (int64_t at = 0; at < per_sample; at += classes) {
    int64_t most = 0;
    for (int64_t c = 1; c < classes; ++c)
      if (value_at(made.scores, first + at + c) > value_at(made.scores, first + at + most)) most = c;
    best.push_back(most);
  }
  shape.pop_back();
  nested("classes", shape, [&](int64_t i) { return std::to_string(best[static_cast<size_t>(i)]); });
  nested("probability", shape, [&](int64_t i) { return value(i * classes + best[static_cast<size_t>(i)]); });
  if (options_.probabilities) {
    shape.push_back(classes);
    nested("probabilities", shape, value);
  }
}

}  // namespace halftone::api
