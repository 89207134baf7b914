#include "api/starting_point.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/resource_error.h"

namespace halftone::api {
namespace {

constexpr int64_t kTriedSamples = 512;

// Three standard deviations above what guessing one of the classes gives.
double most_of_chance(int64_t classes, int64_t samples) {
  const double p = 1 / static_cast<double>(classes);
  return p + 3 * std::sqrt(p * (1 - p) / static_cast<double>(samples));
}

bool is_chance(double accuracy, int64_t classes, int64_t samples) {
  return accuracy <= most_of_chance(classes, samples);
}

struct Tried {
  const char* options;
  data::Normalization normalization;
};

std::vector<Tried> normalizations() {
  std::vector<Tried> all;
  for (const char* preset : {"imagenet", "cifar10", "cifar100", "mnist", "fashion-mnist", "none"})
    all.push_back({preset, data::normalization_preset(preset)});
  all.push_back({"--mean .5 --std .5", {{0.5F}, {0.5F}}});        // -1 to 1
  all.push_back({"--std .00392156863", {{}, {0.00392156863F}}});  // 0 to 255
  return all;
}

std::string option_of(const Tried& t) {
  return t.options[0] == '-' ? t.options : std::string("--normalize ") + t.options;
}

// The accuracy of the first samples; none: the loss is not finite, or a preset has other channels.
std::optional<double> accuracy_with(train::Network& network, const Data& data, const DataOptions& options,
                                    const Delivery& delivery, int64_t batch) {
  try {
    const auto loader = make_loader(data, options, batch, false, 0, delivery);
    return network.evaluate(*loader, {}, [&](int64_t batches) { return batches * batch < kTriedSamples; })
        .accuracy();
  } catch (const Error& e) {
    rethrow_if_resource(e);
    return std::nullopt;
  }
}

// What each class of the data is most often predicted as, one number a class; none where two have one, or no sample.
struct OtherOrder {
  double accuracy = 0;            // if the classes had these numbers
  std::vector<size_t> predicted;  // of each class that occurs
  bool complete = true;           // all classes occur
};
std::optional<OtherOrder> another_order(const train::MetricResults& r) {
  const size_t classes = r.classes.size();
  if (r.confusion.empty() || r.targets == 0) return std::nullopt;
  std::vector<bool> taken(classes);
  OtherOrder order;
  int64_t right = 0;
  for (size_t row = 0; row < classes; ++row) {
    order.predicted.push_back(classes);
    if (r.classes[row].support == 0) {
      order.complete = false;
      continue;
    }
    const auto begin = r.confusion.begin() + static_cast<std::ptrdiff_t>(row * classes);
    const auto most = std::max_element(begin, begin + static_cast<std::ptrdiff_t>(classes));
    const auto column = static_cast<size_t>(most - begin);
    if (taken[column]) return std::nullopt;
    taken[column] = true;
    order.predicted.back() = column;
    right += *most;
  }
  order.accuracy = static_cast<double>(right) / static_cast<double>(r.targets);
  return order;
}

// The names of the data's classes in the order in which the network seems to have them; empty: they have none, or are
// too many to be shown.
std::string names_in(const OtherOrder& order, const std::vector<std::string>& names) {
  constexpr size_t kMost = 20;
  if (!order.complete || names.size() != order.predicted.size() || names.size() > kMost) return "";
  std::vector<std::string> ordered(names.size());
  for (size_t i = 0; i < names.size(); ++i) ordered[order.predicted[i]] = names[i];
  return fmt::format(" ({})", fmt::join(ordered, ", "));
}

// Tries what pictures may have been made to before the network took them; empty: nothing fits.
std::string pictures_reason(train::Network& network, const Data& data, const DataOptions& options,
                            const Delivery& delivery, int64_t batch, int64_t classes) {
  const double now = accuracy_with(network, data, options, delivery, batch).value_or(0);
  const int64_t channels = data.set->info().geometry.at(0);
  const std::vector<Tried> all = normalizations();
  const Tried* best = nullptr;
  bool bgr = data.transform.bgr;
  double most = now;
  const auto attempt = [&](const Tried* tried, bool order) {
    Data other = data;
    if (tried != nullptr) other.transform.normalization = tried->normalization;
    other.transform.bgr = order;
    const auto with = accuracy_with(network, other, options, delivery, batch);
    if (!with || *with <= most) return;
    most = *with;
    best = tried;
    bgr = order;
  };
  const auto attempt_all = [&](bool order) {
    for (const Tried& t : all) {
      const size_t given = std::max(t.normalization.mean.size(), t.normalization.std.size());
      if (given <= 1 || static_cast<int64_t>(given) == channels) attempt(&t, order);
    }
  };
  attempt_all(data.transform.bgr);
  // The other order with the best of them, and with the one that was given; where that is better, with all.
  if (channels == 3) {
    const Tried* const before = best;
    attempt(before, !data.transform.bgr);
    if (before != nullptr) attempt(nullptr, !data.transform.bgr);
    if (bgr != data.transform.bgr) attempt_all(bgr);
  }
  const int64_t samples = std::min(kTriedSamples, data.set->size());
  if (most <= 2 * now || is_chance(most, classes, samples)) return "";
  std::vector<std::string> change;
  if (best != nullptr) change.push_back(option_of(*best));
  if (bgr != data.transform.bgr) change.push_back(bgr ? "--channel-order bgr" : "--channel-order rgb");
  return fmt::format("{} gives {:.1f} % of {} samples where this run's options give {:.1f} %",
                     fmt::join(change, " "), 100 * most, samples, 100 * now);
}

void look_for_a_reason(train::Network& network, const Data& data, const DataOptions& options,
                       const Delivery& delivery, int64_t batch, double accuracy, int64_t classes,
                       const train::MetricResults& measured, const Log& log) {
  std::string found;
  if (const auto order = another_order(measured); order && order->accuracy > accuracy &&
                                                  order->accuracy > 0.5 &&
                                                  !is_chance(order->accuracy, classes, measured.targets))
    found = fmt::format(
        "the classes have other numbers than in the network: in another order {:.1f} % are right; give "
        "--classes-file with the names in the order of the network's outputs{}",
        100 * order->accuracy, names_in(*order, data.names));
  if (found.empty() && data.set->info().image)
    found = pictures_reason(network, data, options, delivery, batch, classes);
  const std::string chance =
      fmt::format("before the first step {:.2f} % are right, which is the level of chance for {} classes",
                  100 * accuracy, classes);
  // A new last layer begins so: nothing to warn of.
  log(found.empty()
          ? chance + (data.set->info().image
                          ? " (expected of a new last layer; else the usual reasons are normalisation, "
                            "order of classes, order of channels and range of pixels)"
                          : " (expected of a new last layer; else look at the order of the classes and at "
                            "how the inputs are prepared)")
          : fmt::format("warning: {}: {}", chance, found));
}

}  // namespace

std::optional<StartingPoint> starting_point(train::Network& network, const Data& data,
                                            const DataOptions& options, const Delivery& delivery,
                                            int64_t batch, const Log& log) {
  train::Score score;
  try {
    const auto loader = make_loader(data, options, batch, false, 0, delivery);
    score = network.evaluate(*loader);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kNumerical) throw;
    log(fmt::format("warning: before the first step the validation data cannot be evaluated: {}", e.what()));
    return std::nullopt;
  }
  StartingPoint start{score.loss(), score.accuracy(), score.samples};
  const train::MetricResults measured =
      network.metrics().empty() ? train::MetricResults() : network.metrics().front().results(std::nullopt);
  start.figures = train::figures_of(measured);
  log("before: validation " + describe(start));
  if (start.accuracy && measured.kind == train::MetricResults::Kind::kClasses) {
    const auto count = static_cast<int64_t>(measured.classes.size());
    // So few samples that all of them may be right by chance say nothing.
    if (most_of_chance(count, measured.targets) < 1 && is_chance(measured.accuracy, count, measured.targets))
      look_for_a_reason(network, data, options, delivery, batch, measured.accuracy, count, measured, log);
  }
  return start;
}

void write_starting_point(const std::string& folder, const StartingPoint& start) {
  nlohmann::json figures = nlohmann::json::array();
  for (const train::Figure& f : start.figures) figures.push_back({{"name", f.name}, {"value", f.value}});
  const nlohmann::json json{{"loss", start.loss},
                            {"accuracy", start.accuracy ? nlohmann::json(*start.accuracy) : nlohmann::json()},
                            {"samples", start.samples},
                            {"figures", figures}};
  write_file_atomically(folder + "/" + kBeforeFile, json.dump() + "\n");
}

std::optional<StartingPoint> read_starting_point(const std::string& folder) {
  constexpr int64_t kMostBytes = 1 << 16;
  const std::string path = folder + "/" + kBeforeFile;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  const nlohmann::json json = nlohmann::json::parse(read_file(path, kMostBytes), nullptr, false);
  if (!json.is_object() || !json.contains("loss") || !json["loss"].is_number()) return std::nullopt;
  StartingPoint start;
  start.loss = json["loss"];
  if (json.contains("accuracy") && json["accuracy"].is_number())
    start.accuracy = json["accuracy"].get<double>();
  if (json.contains("samples") && json["samples"].is_number_integer()) start.samples = json["samples"];
  if (json.contains("figures") && json["figures"].is_array())
    for (const nlohmann::json& f : json["figures"])
      if (f.is_object() && f.contains("name") && f["name"].is_string() && f.contains("value") &&
          f["value"].is_number())
        start.figures.push_back({f["name"], f["value"]});
  return start;
}

std::string describe(const StartingPoint& start) {
  return fmt::format("loss {:.6g}{}{}", start.loss,
                     start.accuracy ? fmt::format(", accuracy {:.2f} %", 100 * *start.accuracy) : "",
                     train::text_of(start.figures));
}

}  // namespace halftone::api
