#include "api/run_normalization.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "train/identity.h"
#include "train/run_folder.h"

namespace halftone::api {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMostConfigBytes = int64_t{1} << 20;

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

std::string folder_of(const std::string& model) {
  std::error_code ignored;
  if (fs::is_directory(model, ignored)) return model;
  const fs::path path(model);
  if (path.filename() != "model.onnx") return "";
  return path.has_parent_path() ? path.parent_path().string() : ".";
}

}  // namespace

void warn_of_other_normalization(const std::string& model, const data::Normalization& used, const Log& log) {
  const std::string folder = folder_of(model);
  const std::string config = folder + "/config.yaml";
  std::error_code ignored;
  if (folder.empty() || !fs::is_regular_file(folder + "/" + std::string(train::kMarkerName), ignored) ||
      !fs::is_regular_file(config, ignored))
    return;
  data::Normalization was;
  std::string options;
  try {
    const train::Identity run = train::options_of(read_file(config, kMostConfigBytes));
    if (const auto preset = run.find("--normalize"); preset != run.end()) {
      was = data::normalization_preset(preset->second);
      options = "--normalize " + preset->second;
    }
    for (const auto& [name, values] : {std::pair("--mean", &was.mean), std::pair("--std", &was.std)}) {
      const auto given = run.find(name);
      if (given == run.end() || given->second == train::kNotGiven) continue;
      *values = numbers_of(given->second);
      options += fmt::format(" {} {}", name, fmt::join(*values, " "));
    }
  } catch (const Error&) {
    return;  // a configuration of another version, or one that cannot be read, says nothing
  }
  if (same(was.mean, used.mean, 0) && same(was.std, used.std, 1)) return;
  log(fmt::format(
      "warning: the run in {} normalised its samples with {}, and this command normalises them differently",
      folder, options));
}

}  // namespace halftone::api
