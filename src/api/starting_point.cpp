#include "api/starting_point.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"

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
  } catch (const Error&) {
    return std::nullopt;
  }
}

// The share of targets that would be right if each class had the number that it is most often predicted as; none where
// two classes would have one.
std::optional<double> accuracy_in_another_order(const train::MetricResults& r) {
  const size_t classes = r.classes.size();
  if (r.confusion.empty() || r.targets == 0) return std::nullopt;
  std::vector<bool> taken(classes);
  int64_t right = 0;
  for (size_t row = 0; row < classes; ++row) {
    if (r.classes[row].support == 0) continue;
    const auto begin = r.confusion.begin() + static_cast<std::ptrdiff_t>(row * classes);
    const auto most = std::max_element(begin, begin + static_cast<std::ptrdiff_t>(classes));
    const auto column = static_cast<size_t>(most - begin);
    if (taken[column]) return std::nullopt;
    taken[column] = true;
    right += *most;
  }
  return static_cast<double>(right) / static_cast<double>(r.targets);
}

void look_for_a_reason(train::Network& network, const Data& data, const DataOptions& options,
                       const Delivery& delivery, int64_t batch, double accuracy, int64_t classes,
                       const train::MetricResults& measured, const Log& log) {
  std::string found;
  if (const auto ordered = accuracy_in_another_order(measured);
      ordered && *ordered > accuracy && !is_chance(*ordered, classes, measured.targets) && *ordered > 0.5)
    found = fmt::format(
        "the classes have other numbers than in the network: in another order {:.1f} % are right; give "
        "--classes-file with the names in the order of the network's outputs",
        100 * *ordered);
  if (found.empty() && data.set->info().image) {
    const auto now = accuracy_with(network, data, options, delivery, batch);
    const Tried* best = nullptr;
    double most = now.value_or(0);
    const std::vector<Tried> all = normalizations();
    for (const Tried& t : all) {
      const int64_t channels = data.set->info().geometry.at(0);
      const size_t given = std::max(t.normalization.mean.size(), t.normalization.std.size());
      if (given > 1 && static_cast<int64_t>(given) != channels) continue;
      Data other = data;
      other.transform.normalization = t.normalization;
      const auto with = accuracy_with(network, other, options, delivery, batch);
      if (!with || *with <= most) continue;
      most = *with;
      best = &t;
    }
    const int64_t samples = std::min(kTriedSamples, data.set->size());
    if (best != nullptr && !is_chance(most, classes, samples) && most > 2 * now.value_or(0))
      found = fmt::format("{} gives {:.1f} % of {} samples where this normalisation gives {:.1f} %",
                          option_of(*best), 100 * most, samples, 100 * now.value_or(0));
  }
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
  const StartingPoint start{score.loss(), score.accuracy(), score.samples};
  log("before: validation " + describe(start));
  const bool classes = !network.metrics().empty();
  const train::MetricResults measured =
      classes ? network.metrics().front().results(std::nullopt) : train::MetricResults();
  if (start.accuracy && measured.kind == train::MetricResults::Kind::kClasses) {
    const auto count = static_cast<int64_t>(measured.classes.size());
    // So few samples that all of them may be right by chance say nothing.
    if (most_of_chance(count, measured.targets) < 1 && is_chance(measured.accuracy, count, measured.targets))
      look_for_a_reason(network, data, options, delivery, batch, measured.accuracy, count, measured, log);
  }
  return start;
}

void write_starting_point(const std::string& folder, const StartingPoint& start) {
  const nlohmann::json json{{"loss", start.loss},
                            {"accuracy", start.accuracy ? nlohmann::json(*start.accuracy) : nlohmann::json()},
                            {"samples", start.samples}};
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
  return start;
}

std::string describe(const StartingPoint& start) {
  return fmt::format("loss {:.6g}{}", start.loss,
                     start.accuracy ? fmt::format(", accuracy {:.2f} %", 100 * *start.accuracy) : "");
}

}  // namespace halftone::api
