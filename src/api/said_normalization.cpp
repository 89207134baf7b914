#include "api/said_normalization.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace halftone::api {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kLeaveAside = "give --mean and --std, or --normalize none";

// The object in a file beside the network; null: there is no such file.
Json object_beside(const fs::path& path) {
  constexpr int64_t kMostBytes = int64_t{1} << 24;
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return {};
  Json json = Json::parse(read_file(path.string(), kMostBytes), nullptr, false);
  if (!json.is_object())
    throw input_error("{}: expected a JSON object; --normalize none leaves it aside", path.string());
  return json;
}

std::vector<float> floats_of(const Json& list, const std::string& where) {
  std::vector<float> numbers;
  for (const Json& x : list.is_array() ? list : Json::array({list})) {
    if (!x.is_number()) throw input_error("{} is no list of numbers; {}", where, kLeaveAside);
    numbers.push_back(x.get<float>());
  }
  return numbers;
}

SaidNormalization of_hugging_face(const fs::path& folder) {
  const std::string path = (folder / "preprocessor_config.json").string();
  const Json json = object_beside(path);
  if (json.is_null()) return {};
  const auto flag = [&](const char* key) { return !json.contains(key) || json[key] != false; };
  const bool numbers = json.contains("image_mean") && json.contains("image_std");
  if (!numbers && flag("do_normalize")) return {};
  const double factor = json.contains("rescale_factor") && json["rescale_factor"].is_number()
                            ? json["rescale_factor"].get<double>()
                            : 1.0 / 255;
  if (!flag("do_rescale") || std::abs(factor * 255 - 1) > 1e-3)
    throw input_error("{}: it scales pixels in another way than to 0..1; {}", path, kLeaveAside);
  data::Normalization n;
  if (flag("do_normalize")) {
    n.mean = floats_of(json["image_mean"], path + ": image_mean");
    n.std = floats_of(json["image_std"], path + ": image_std");
  }
  return {n, path};
}

SaidNormalization of_timm(const fs::path& folder) {
  const std::string path = (folder / "config.json").string();
  const Json json = object_beside(path);
  const auto config = json.find("pretrained_cfg");
  if (config == json.end() || !config->is_object() || !config->contains("mean") || !config->contains("std"))
    return {};
  return {data::Normalization{floats_of((*config)["mean"], path + ": pretrained_cfg.mean"),
                              floats_of((*config)["std"], path + ": pretrained_cfg.std")},
          path};
}

// ONNX's own names, https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md
SaidNormalization of_metadata(const onnx::Model& file) {
  constexpr const char* kRange = "Image.NominalPixelRange";
  const std::optional<std::string> range = file.metadata(kRange);
  if (!range) return {};
  const std::string source = fmt::format("{} of {}", kRange, file.path());
  if (*range == "Normalized_0_1") return {data::Normalization{}, source};
  if (*range == "Normalized_1_1") return {data::Normalization{{0.5F}, {0.5F}}, source};
  if (*range == "NominalRange_0_255") return {data::Normalization{{}, {1 / 255.0F}}, source};
  throw input_error(
      "{}: its metadata entry {} is {}; understood are Normalized_0_1, Normalized_1_1 and "
      "NominalRange_0_255; {}",
      file.path(), kRange, *range, kLeaveAside);
}

}  // namespace

SaidNormalization said_normalization(const std::string& model, const onnx::Model& file) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(model, ignored) ? fs::path(model) : fs::path(model).parent_path();
  SaidNormalization said = of_hugging_face(folder);
  if (!said.normalization) said = of_timm(folder);
  if (!said.normalization) said = of_metadata(file);
  said.bgr = file.metadata("Image.BitmapPixelFormat") == "Bgr8";
  return said;
}

std::string text_of(const data::Normalization& n) {
  std::string text;
  if (!n.mean.empty()) text += fmt::format("--mean {}", fmt::join(n.mean, ","));
  if (!n.std.empty()) text += fmt::format("{}--std {}", text.empty() ? "" : " ", fmt::join(n.std, ","));
  return text.empty() ? "pixels of 0..1" : text;
}

}  // namespace halftone::api
