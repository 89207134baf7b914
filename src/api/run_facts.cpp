#include "api/run_facts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "api/said_normalization.h"
#include "api/yaml_values.h"
#include "base/error.h"
#include "base/file.h"
#include "base/resource_error.h"
#include "data/dataset.h"
#include "halftone/options.h"
#include "train/identity.h"
#include "train/run_folder.h"

namespace halftone::api {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMostConfigBytes = int64_t{1} << 20;
constexpr int64_t kMostSummaryBytes = int64_t{1} << 24;

// The numbers of "[0.5, 0.25]" or "0.5".
std::vector<float> numbers_of(const std::string& text) {
  std::vector<float> out;
  for (const char* at = text.c_str(); *at != 0;) {
    char* end = nullptr;
    const double value = std::strtod(at, &end);
    if (end != at) out.push_back(static_cast<float>(value));
    at = end != at ? end : at + 1;
  }
  return out;
}

// One number stands for all channels, none for `absent`.
bool same(const std::vector<float>& a, const std::vector<float>& b, float absent) {
  const auto at = [&](const std::vector<float>& v, size_t i) {
    return v.empty() ? absent : v.size() == 1 ? v[0] : i < v.size() ? v[i] : absent;
  };
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i)
    if (at(a, i) != at(b, i)) return false;
  return true;
}

// A text of a flat YAML file as it was given.
std::string unquoted(const std::string& text) {
  const bool quoted = text.size() >= 2 && text.front() == text.back() && (text[0] == '"' || text[0] == '\'');
  return quoted ? text.substr(1, text.size() - 2) : text;
}

// Of several losses none: which output each reads is theirs to say.
std::optional<std::string> loss_of(const std::string& folder) {
  const std::string path = folder + "/summary.json";
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return std::nullopt;
  const nlohmann::json summary = nlohmann::json::parse(read_file(path, kMostSummaryBytes), nullptr, false);
  if (!summary.is_object() || (summary.contains("losses") && summary["losses"].size() > 1))
    return std::nullopt;
  const auto loss = summary.find("loss");
  return loss != summary.end() && loss->is_string() ? std::optional(loss->get<std::string>()) : std::nullopt;
}

std::string folder_of(const std::string& model) {
  std::error_code ignored;
  if (fs::is_directory(model, ignored)) return model;
  const fs::path path(model);
  if (path.filename() != "model.onnx") return "";
  return path.has_parent_path() ? path.parent_path().string() : ".";
}

}  // namespace

RunFacts facts_of_run(const std::string& model) {
  RunFacts facts;
  const std::string folder = folder_of(model);
  const std::string config = folder + "/config.yaml";
  std::error_code ignored;
  if (folder.empty() || !fs::is_regular_file(folder + "/" + std::string(train::kMarkerName), ignored) ||
      !fs::is_regular_file(config, ignored))
    return facts;
  try {
    const train::Identity run = train::options_of(read_file(config, kMostConfigBytes));
    const auto given = [&](const char* name) -> std::optional<std::string> {
      const auto at = run.find(name);
      if (at == run.end() || at->second == train::kNotGiven) return std::nullopt;
      const std::string text = unquoted(at->second);
      return text.empty() ? std::nullopt : std::optional(text);
    };
    if (const auto preset = given("--normalize")) {
      facts.normalization = data::normalization_preset(*preset);
      facts.normalization_options = "--normalize " + *preset;
    }
    for (const auto& [name, values] :
         {std::pair("--mean", &facts.normalization.mean), std::pair("--std", &facts.normalization.std)}) {
      const auto numbers = given(name);
      if (!numbers) continue;
      *values = numbers_of(*numbers);
      facts.normalization_options += fmt::format(" {} {}", name, fmt::join(*values, ","));
    }
    facts.options = run;
    facts.label_column = given("--label-column");
    facts.loss = loss_of(folder);
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return {};  // a configuration of another version, or one that cannot be read, says nothing
  }
  facts.folder = folder;
  if (fs::is_regular_file(folder + "/classes.txt", ignored)) facts.classes_file = folder + "/classes.txt";
  return facts;
}

namespace {

// Whether the kind of data has the option at all.
bool means_something(const std::string& key, const data::FileOptions& of_data) {
  if (key == "x-key" || key == "y-key") return of_data.keys;
  if (key.starts_with("csv-") || key == "exclude-columns" || key == "unknown-category") return of_data.csv;
  if (key == "text" || key == "label-column") return of_data.columns;
  if (key == "text-sample") return of_data.text_sample;
  return true;
}

std::string shown_option(const OptionRow& row, const std::vector<std::string>& values) {
  std::string text;
  if (row.repeats == Repeats::kEach || row.repeats == Repeats::kSeveral) {
    for (const std::string& value : values)
      text += fmt::format("{}--{} {}", text.empty() ? "" : " ", row.key, value);
    return text;
  }
  return fmt::format("--{} {}", row.key, fmt::join(values, ","));
}

}  // namespace

void take_from_run(NetworkOptions& network, DataOptions& options, const RunFacts& run,
                   const std::vector<std::string>& given, unsigned command, const Log& log) {
  if (!run.known()) return;
  TrainOptions now;
  now.network = network;
  now.data = options;
  const TrainOptions defaults;
  const data::FileOptions of_data =
      options.data.empty() ? data::FileOptions() : data::file_options_of(options.data);
  std::error_code ignored;
  // Its columns are known by their names then, and others are left out anyhow.
  const bool named_columns = fs::is_regular_file(run.folder + "/columns.json", ignored);
  std::vector<std::string> taken;
  for (const OptionRow& row : option_table()) {
    const std::string key = row.key;
    const auto of_run = run.options.find("--" + key);
    if ((row.of_run & command) == 0 || of_run == run.options.end()) continue;
    if (std::find(given.begin(), given.end(), key) != given.end() ||
        option_values(row, now) != option_values(row, defaults) || !means_something(key, of_data) ||
        (key == "exclude-columns" && named_columns))
      continue;
    const std::vector<std::string> values =
        yaml_values(of_run->second, fmt::format("{}/config.yaml: {}", run.folder, key));
    if (values.empty() || values == option_values(row, defaults)) continue;
    if (key == "class-weights" && values[0] == "balanced") {
      log(fmt::format(
          "the run in {} weighed its classes by its training data (--class-weights balanced); the loss here "
          "has no weights",
          run.folder));
      continue;
    }
    set_option(row, values, network, options);
    taken.push_back(shown_option(row, values));
  }
  if ((command & kPredict) != 0 && options.classes_file.empty()) options.classes_file = run.classes_file;
  if (!taken.empty()) log(fmt::format("as the run in {}: {}", run.folder, fmt::join(taken, " ")));
}

void resolve_normalization(DataOptions& options, const std::string& model, const onnx::Model& file,
                           const Log& log, bool training) {
  if (options.normalize != "auto") return;
  options.normalize = "none";
  if (!options.mean.empty() || !options.std.empty()) return;
  const auto take = [&](const data::Normalization& n) {
    // As the shortest text says it, which is what a configuration records.
    const auto doubles = [](const std::vector<float>& values) {
      std::vector<double> out;
      for (const float v : values) out.push_back(std::strtod(fmt::format("{}", v).c_str(), nullptr));
      return out;
    };
    options.mean = doubles(n.mean);
    options.std = doubles(n.std);
  };
  if (const RunFacts run = facts_of_run(model); run.known()) {
    take(run.normalization);
    log(fmt::format("as the run in {}: {}", run.folder,
                    run.normalization_options.empty() ? "not normalised" : run.normalization_options));
    return;
  }
  const SaidNormalization said = said_normalization(model, file);
  if (said.bgr && options.channel_order == "rgb") {
    options.channel_order = "bgr";
    log(fmt::format("as Image.BitmapPixelFormat of {} says: --channel-order bgr", file.path()));
  }
  if (!said.normalization) {
    if (!training) return;
    throw usage_error(
        "--normalize auto: nothing says how the samples of {} were normalised: it is in no run's folder, "
        "there is no "
        "preprocessor_config.json and no config.json of timm beside it, and its metadata has no "
        "Image.NominalPixelRange; give what it was trained with: a preset such as --normalize imagenet, "
        "--mean and "
        "--std, or --normalize none for pixels of 0..1",
        model);
  }
  take(*said.normalization);
  log(fmt::format("as {} says: {}", said.source, text_of(*said.normalization)));
}

void take_embeddings(NetworkOptions& network, DataOptions& data, const RunFacts& run,
                     const std::vector<std::string>& given, const Log& log) {
  const auto of_run = [&](const char* option) -> std::string {
    const auto found = run.options.find(option);
    if (found == run.options.end()) return {};
    const std::vector<std::string> values =
        yaml_values(found->second, fmt::format("{}/config.yaml: {}", run.folder, option + 2));
    return values.empty() ? std::string() : values.front();
  };
  if (of_run("--task") != "embeddings" || (data.task != "auto" && data.task != "embeddings")) return;
  std::string taken;
  const auto take = [&](const char* option, std::string& value, const char* open, const std::string& run_has) {
    if (value != open || run_has.empty() || run_has == open) return;
    if (std::find(given.begin(), given.end(), option + 2) != given.end()) return;
    value = run_has;
    taken += fmt::format(" {} {}", option, value);
  };
  take("--task", data.task, "auto", "embeddings");
  take("--pooling", network.pooling, "none", of_run("--pooling"));
  take("--normalize-embeddings", network.normalize_embeddings, "auto", of_run("--normalize-embeddings"));
  // As auto was.
  if (run.loss == "triplet") take("--normalize-embeddings", network.normalize_embeddings, "auto", "off");
  if (network.loss == std::vector<std::string>{"auto"} && run.loss) {
    network.loss = {*run.loss};
    taken += " --loss " + *run.loss;
  }
  if (!taken.empty()) log(fmt::format("as the run in {}:{}", run.folder, taken));
}

void warn_of_other_normalization(const std::string& model, const data::Normalization& used, const Log& log) {
  const RunFacts run = facts_of_run(model);
  if (!run.known()) return;
  if (same(run.normalization.mean, used.mean, 0) && same(run.normalization.std, used.std, 1)) return;
  log(fmt::format(
      "warning: the run in {} normalised its samples with {}, and this command normalises them differently",
      run.folder, run.normalization_options));
}

}  // namespace halftone::api
