#include "api/run_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"
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

// Of Hugging Face's image processors. Error: it says something that samples of 0..1 cannot have.
std::pair<std::optional<data::Normalization>, std::string> normalization_beside(const std::string& model) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(model, ignored) ? fs::path(model) : fs::path(model).parent_path();
  const std::string path = (folder / "preprocessor_config.json").string();
  if (!fs::is_regular_file(path, ignored)) return {std::nullopt, path};
  const nlohmann::json json = nlohmann::json::parse(read_file(path, kMostConfigBytes), nullptr, false);
  if (!json.is_object())
    throw input_error("{}: expected a JSON object; --normalize none leaves it aside", path);
  const auto flag = [&](const char* key) { return !json.contains(key) || json[key] != false; };
  if (!json.contains("image_mean") || !json.contains("image_std") || !flag("do_normalize"))
    return {std::nullopt, path};
  const double factor = json.contains("rescale_factor") && json["rescale_factor"].is_number()
                            ? json["rescale_factor"].get<double>()
                            : 1.0 / 255;
  if (!flag("do_rescale") || std::abs(factor * 255 - 1) > 1e-3)
    throw input_error(
        "{}: it scales pixels in another way than to 0..1; give --mean and --std, or --normalize none", path);
  data::Normalization n;
  for (const auto& [key, to] : {std::pair("image_mean", &n.mean), std::pair("image_std", &n.std)}) {
    const nlohmann::json& list = json[key];
    for (const nlohmann::json& x : list.is_array() ? list : nlohmann::json::array({list})) {
      if (!x.is_number()) throw input_error("{}: {} is no list of numbers", path, key);
      to->push_back(x.get<float>());
    }
  }
  return {n, path};
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
    if (const auto resize = given("--resize")) facts.resize = std::strtoll(resize->c_str(), nullptr, 10);
    facts.output = given("--output");
    facts.label_column = given("--label-column");
    facts.task = given("--task");
    facts.pooling = given("--pooling");
    facts.normalize_embeddings = given("--normalize-embeddings");
    facts.loss = loss_of(folder);
  } catch (const Error&) {
    return {};  // a configuration of another version, or one that cannot be read, says nothing
  }
  facts.folder = folder;
  if (fs::is_regular_file(folder + "/classes.txt", ignored)) facts.classes_file = folder + "/classes.txt";
  return facts;
}

void resolve_normalization(DataOptions& options, const std::string& model, const Log& log) {
  if (options.normalize != "auto") return;
  options.normalize = "none";
  if (!options.mean.empty() || !options.std.empty()) return;
  const auto take = [&](const data::Normalization& n) {
    options.mean.assign(n.mean.begin(), n.mean.end());
    options.std.assign(n.std.begin(), n.std.end());
  };
  if (const RunFacts run = facts_of_run(model); run.known()) {
    take(run.normalization);
    log(fmt::format("as the run in {}: {}", run.folder,
                    run.normalization_options.empty() ? "not normalised" : run.normalization_options));
    return;
  }
  const auto [beside, path] = normalization_beside(model);
  if (!beside) return;
  take(*beside);
  log(fmt::format("as {} says: --mean {} --std {}", path, fmt::join(beside->mean, ","),
                  fmt::join(beside->std, ",")));
}

void take_embeddings(NetworkOptions& network, DataOptions& data, const RunFacts& run, const Log& log) {
  if (run.task != "embeddings" || (data.task != "auto" && data.task != "embeddings")) return;
  std::string taken;
  const auto take = [&](const char* option, std::string& value, const char* open,
                        const std::optional<std::string>& of_run) {
    if (value != open || !of_run || *of_run == open) return;
    value = *of_run;
    taken += fmt::format(" {} {}", option, value);
  };
  take("--task", data.task, "auto", run.task);
  take("--pooling", network.pooling, "none", run.pooling);
  take("--normalize-embeddings", network.normalize_embeddings, "auto", run.normalize_embeddings);
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
