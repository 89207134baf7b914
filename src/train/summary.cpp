#include "train/summary.h"

#include <sys/resource.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace halftone::train {
namespace {

nlohmann::ordered_json or_null(const std::optional<int64_t>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}
nlohmann::ordered_json or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

}  // namespace

std::string to_json(const Summary& s, const std::string& extra_json) {
  nlohmann::ordered_json json{{"command", s.command},
                              {"model", s.model},
                              {"precision", s.precision},
                              {"multiply", s.multiply},
                              {"isa", s.isa},
                              {"threads", s.threads},
                              {"seed", s.seed},
                              {"epochs", or_null(s.epochs)},
                              {"steps", or_null(s.steps)},
                              {"samples", or_null(s.samples)},
                              {"train_loss", or_null(s.train_loss)},
                              {"val_loss", or_null(s.val_loss)},
                              {"val_accuracy", or_null(s.val_accuracy)},
                              {"seconds", or_null(s.seconds)},
                              {"samples_per_second", or_null(s.samples_per_second)},
                              {"peak_rss_bytes", or_null(s.peak_rss_bytes)},
                              {"planned_bytes", or_null(s.planned_bytes)},
                              {"skipped_steps", or_null(s.skipped_steps)},
                              {"stalled_updates", or_null(s.stalled_updates)}};
  const nlohmann::ordered_json extra = nlohmann::ordered_json::parse(extra_json, nullptr, false);
  HT_ASSERT(extra.is_object(), "'{}' is no JSON object", extra_json);
  for (const auto& [key, value] : extra.items()) {
    HT_ASSERT(!json.contains(key), "the key {} is taken", key);
    json[key] = value;
  }
  // A path need not be UTF-8; it is shown with replacement characters rather than not at all.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

SummaryFigures read_summary(const std::string& path) {
  constexpr int64_t kMostBytes = int64_t{1} << 24;
  const nlohmann::json json = nlohmann::json::parse(read_file(path, kMostBytes), nullptr, false);
  if (!json.is_object()) throw input_error("{} is damaged: expected a JSON object", path);
  const auto member = [&](const char* key) -> const nlohmann::json& {
    const auto it = json.find(key);
    if (it == json.end()) throw input_error("{} is damaged: it has no member \"{}\"", path, key);
    return *it;
  };
  const auto number = [&](const char* key) -> std::optional<double> {
    const nlohmann::json& value = member(key);
    if (value.is_null()) return std::nullopt;
    if (!value.is_number())
      throw input_error("{} is damaged: \"{}\" is neither a number nor null", path, key);
    return value.get<double>();
  };
  SummaryFigures figures;
  const nlohmann::json& multiply = member("multiply");
  if (!multiply.is_string()) throw input_error("{} is damaged: \"multiply\" is no text", path);
  figures.multiply = multiply.get<std::string>();
  figures.train_loss = number("train_loss");
  figures.val_loss = number("val_loss");
  figures.val_accuracy = number("val_accuracy");
  figures.seconds = number("seconds");
  figures.data_wait_seconds = number("data_wait_seconds");
  figures.samples = number("samples");
  figures.planned_bytes = number("planned_bytes");
  figures.peak_rss_bytes = number("peak_rss_bytes");
  return figures;
}

std::optional<int64_t> peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    int64_t kib = 0;
    if (words >> name >> kib && name == "VmHWM:") return kib * 1024;
  }
  struct rusage usage {};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace halftone::train
