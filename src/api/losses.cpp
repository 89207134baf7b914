#include "api/losses.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "api/labelling.h"
#include "base/error.h"
#include "base/file.h"
#include "base/words.h"

namespace halftone::api {
namespace {

constexpr pass::Loss kKinds[] = {
    pass::Loss::kAuto,          pass::Loss::kCrossEntropy,     pass::Loss::kMse,    pass::Loss::kBce,
    pass::Loss::kBceWithLogits, pass::Loss::kInBatchNegatives, pass::Loss::kCosine, pass::Loss::kTriplet};

// Infinities, NaN and what is beyond a double, which is NaN here, too.
bool is_number(std::string_view text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) value = std::numeric_limits<double>::quiet_NaN();
  return error != std::errc::invalid_argument && end == text.data() + text.size();
}

bool read_number(std::string_view text, double& value) {
  return is_number(text, value) && std::isfinite(value);
}

// KIND or KIND:FIELD.
bool read_kind(const std::string& text, LossSpec& spec) {
  for (const pass::Loss kind : kKinds) {
    const std::string name = pass::name_of(kind);
    if (text != name && !(text.starts_with(name + ":") && text.size() > name.size() + 1)) continue;
    spec.kind = kind;
    spec.field = text.size() > name.size() ? text.substr(name.size() + 1) : "";
    return true;
  }
  return false;
}

LossSpec parse(const std::string& text) {
  LossSpec spec;
  std::string rest = text;
  const size_t star = rest.rfind('*');
  if (star != std::string::npos && is_number(std::string_view(rest).substr(star + 1), spec.weight)) {
    // Losses and gradients are weighted in fp32.
    if (!(spec.weight > 0) || !std::isnormal(static_cast<float>(spec.weight)))
      throw usage_error(
          "--loss {}: the weight {} is not possible: expected a number above 0, in the range of fp32", text,
          rest.substr(star + 1));
    rest.resize(star);
  }
  if (read_kind(rest, spec)) return spec;
  for (size_t at = rest.find('='); at != std::string::npos; at = rest.find('=', at + 1))
    if (at > 0 && read_kind(rest.substr(at + 1), spec)) {
      spec.output = rest.substr(0, at);
      return spec;
    }
  throw usage_error(
      "--loss {} is not known; it is auto, cross-entropy, mse, bce, bce-with-logits, in-batch-negatives, "
      "cosine "
      "or triplet, as [OUTPUT=]KIND[:FIELD][*WEIGHT]",
      text);
}

}  // namespace

std::vector<LossSpec> parse_losses(const NetworkOptions& options) {
  std::vector<LossSpec> specs;
  for (const std::string& text : options.loss) specs.push_back(parse(text));
  if (specs.empty()) specs.emplace_back();
  if (!options.loss_graph.empty()) {
    // Where nobody asked for another loss, it is the only one.
    if (options.loss == std::vector<std::string>{"auto"}) specs.clear();
    if (specs.empty() && !options.output.empty())
      throw usage_error(
          "--output {} and --loss-graph: the loss graph takes outputs by the names of its inputs",
          options.output);
    specs.emplace_back().kind = pass::Loss::kGraph;
  }
  for (const LossSpec& spec : specs)
    if (!spec.output.empty() && !options.output.empty())
      throw usage_error(
          "--output {} and --loss {}=...: give one of them; a loss without OUTPUT= reads --output",
          options.output, spec.output);
  return specs;
}

std::optional<pass::Loss> loss_of_texts(const std::vector<LossSpec>& losses, const DataOptions& options) {
  using pass::Loss;
  for (const LossSpec& loss : losses)
    if (options.task != "embeddings" && pass::compares_texts(loss.kind))
      throw usage_error("--loss {} compares the embeddings of texts: give --task embeddings",
                        pass::name_of(loss.kind));
  if (options.task != "embeddings") return std::nullopt;
  const LossSpec& first = losses.front();
  if (losses.size() > 1 || first.kind == Loss::kGraph || !first.field.empty())
    throw usage_error(
        "--task embeddings has one loss: in-batch-negatives, cosine or triplet, without a FIELD");
  const auto columns = 1 + std::count(options.text.begin(), options.text.end(), ',');
  if (columns < 2) return std::nullopt;
  const bool scored = !options.label_column.empty() && options.label_column != "none";
  Loss kind = first.kind;
  if (kind == Loss::kAuto) kind = scored ? Loss::kCosine : Loss::kInBatchNegatives;
  if (!pass::compares_texts(kind))
    throw usage_error(
        "--loss {} does not go with --task embeddings, which has in-batch-negatives, cosine and triplet",
        pass::name_of(kind));
  if (kind == Loss::kCosine ? columns != 2 : kind == Loss::kTriplet && columns != 3)
    throw usage_error("--loss {} compares {} texts, and --text {} names {}", pass::name_of(kind),
                      kind == Loss::kCosine ? "two" : "three", options.text, columns);
  if (kind == Loss::kCosine && !scored)
    throw usage_error("--loss cosine compares cosines with scores: give their column, --label COLUMN");
  if (kind != Loss::kCosine && scored)
    throw usage_error("--loss {} reads no scores; --label {} goes with --loss cosine", pass::name_of(kind),
                      options.label_column);
  return kind;
}

pass::Pooling parse_pooling(const NetworkOptions& options) {
  const auto pooling = pass::find_pooling(options.pooling);
  if (!pooling) throw usage_error("--pooling {} is not known; it is none, mean, cls or max", options.pooling);
  return *pooling;
}

bool has_unit_embeddings(const NetworkOptions& options, pass::Loss loss) {
  const std::string& asked = options.normalize_embeddings;
  if (!is_one_of(asked, {"auto", "on", "off"}))
    throw usage_error("--normalize-embeddings {} is not known; it is auto, on or off", asked);
  return asked == "on" || (asked == "auto" && loss != pass::Loss::kTriplet);
}

std::vector<std::string> outputs_of_loss_graph(const onnx::Model& model, const onnx::Model& loss) {
  std::vector<std::string> names;
  const auto puts_out = [&](const std::string& name) {
    return std::any_of(model.nodes().begin(), model.nodes().end(), [&](const onnx::NodeInfo& n) {
      return std::find(n.outputs.begin(), n.outputs.end(), name) != n.outputs.end();
    });
  };
  std::string inputs;
  for (const onnx::ValueInfo& input : loss.inputs()) {
    inputs += (inputs.empty() ? "" : ", ") + input.name;
    if (puts_out(input.name)) names.push_back(input.name);
  }
  std::string outputs;
  for (const onnx::ValueInfo& output : model.outputs())
    outputs += (outputs.empty() ? "" : ", ") + output.name;
  if (names.empty())
    throw input_error("--loss-graph {}: none of its inputs ({}) is an output of {}, which has {}",
                      loss.path(), inputs, model.path(), outputs);
  return names;
}

UsedOutputs outputs_of(const onnx::Model& model, const NetworkOptions& options) {
  UsedOutputs used;
  for (const LossSpec& spec : parse_losses(options)) {
    if (spec.kind == pass::Loss::kGraph) {
      for (const std::string& name : outputs_of_loss_graph(model, onnx::Model::load(options.loss_graph)))
        if (std::find(used.names.begin(), used.names.end(), name) == used.names.end())
          used.names.push_back(name);
      used.index.push_back(0);
      continue;
    }
    const std::string name = spec.output.empty()
                                 ? output_of(model, options.output, "--output " + options.output)
                                 : output_of(model, spec.output, fmt::format("--loss {}=...", spec.output));
    const auto it = std::find(used.names.begin(), used.names.end(), name);
    used.index.push_back(static_cast<size_t>(it - used.names.begin()));
    if (it == used.names.end()) used.names.push_back(name);
  }
  return used;
}

NetworkOptions unweighted(NetworkOptions options) {
  if (options.class_weights == kBalanced) options.class_weights.clear();
  return options;
}

std::vector<float> parse_class_weights(const std::string& text) {
  std::vector<float> weights;
  if (text.empty()) return weights;
  std::error_code ignored;
  const bool file = std::filesystem::is_regular_file(text, ignored);
  const std::string content = file ? read_file(text, int64_t{1} << 24) : text;
  constexpr const char* kBetween = " ,;\t\r\n";
  for (size_t at = content.find_first_not_of(kBetween); at != std::string::npos;) {
    const size_t end = std::min(content.find_first_of(kBetween, at), content.size());
    const std::string word = content.substr(at, end - at);
    double value = 0;
    if (!read_number(word, value) || value < 0 || !std::isfinite(static_cast<float>(value)))
      throw usage_error(
          "--class-weights {}: '{}' is no weight; expected {} of numbers that are 0 or more, one for each "
          "class",
          text, word, file ? "a file" : "a list, or a file,");
    weights.push_back(static_cast<float>(value));
    at = content.find_first_not_of(kBetween, end);
  }
  if (std::all_of(weights.begin(), weights.end(), [](float w) { return w == 0; }))
    throw usage_error("--class-weights {}: no class has a weight above 0", text);
  return weights;
}

std::string describe(const std::vector<pass::LossNode>& losses) {
  const auto kind = [](const pass::LossNode& l) {
    return fmt::format("{}{}", l.weight == 1 ? "" : fmt::format("{} times ", l.weight),
                       pass::name_of(l.kind));
  };
  if (losses.size() == 1) return fmt::format("{} ({})", kind(losses[0]), losses[0].reason);
  std::string text = "the sum of ";
  for (size_t i = 0; i < losses.size(); ++i)
    text += fmt::format("{}{} of '{}' ({})",
                        i == 0                   ? ""
                        : i + 1 == losses.size() ? " and "
                                                 : ", ",
                        kind(losses[i]), losses[i].name, losses[i].reason);
  return text;
}

std::vector<std::string> losses_text(const std::vector<pass::LossNode>& losses, const train::Score& score) {
  std::vector<std::string> lines;
  for (size_t i = 0; i < score.parts.size(); ++i) {
    const train::PartScore& part = score.parts[i];
    const auto accuracy = part.accuracy();
    lines.push_back(fmt::format(
        "  {} of '{}': {:.6g}{}", pass::name_of(losses[i].kind), losses[i].name, part.loss(),
        accuracy ? fmt::format(", accuracy {:.2f} % of {} targets that count", 100 * *accuracy, part.targets)
                 : ""));
  }
  return lines;
}

void add_losses(nlohmann::json& summary, const std::vector<pass::LossNode>& losses,
                const train::Score& score) {
  if (score.parts.empty()) return;
  nlohmann::json list = nlohmann::json::array();
  for (size_t i = 0; i < score.parts.size(); ++i) {
    const train::PartScore& part = score.parts[i];
    const auto accuracy = part.accuracy();
    list.push_back({{"output", losses[i].name},
                    {"loss", pass::name_of(losses[i].kind)},
                    {"weight", losses[i].weight},
                    {"val_loss", part.loss()},
                    {"val_accuracy", accuracy ? nlohmann::json(*accuracy) : nlohmann::json(nullptr)},
                    {"targets", part.targets}});
  }
  summary["losses"] = std::move(list);
}

}  // namespace halftone::api
