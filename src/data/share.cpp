#include "data/share.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/stop.h"

namespace halftone::data {
namespace {

constexpr int64_t kWhole = 10000;

int64_t held_before(int64_t samples, int64_t hundredths) {
  return static_cast<int64_t>((static_cast<__int128>(samples) * hundredths + kWhole / 2) / kWhole);
}

// -1: it has none, or is a bad sample.
int32_t class_of_sample(const Dataset& set, int64_t index, Sample& sample) {
  if (set.info().labels != LabelKind::kClass) return -1;
  if (const auto known = set.class_of(index)) return *known;
  try {
    set.read(index, sample);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kInput) throw;
    return -1;  // skip_bad leaves it out, or its turn comes
  }
  return sample.label;
}

}  // namespace

std::vector<int64_t> share_of(const Dataset& set, const Share& share) {
  std::map<std::pair<size_t, int32_t>, int64_t> seen;  // of a size and class
  std::vector<int64_t> picked;
  Sample sample;
  for (int64_t i = 0; i < set.size(); ++i) {
    if (i % 256 == 0) check_stop();
    int64_t& r = seen[{set.size_class(i), class_of_sample(set, i, sample)}];
    const bool held = held_before(r + 1, share.hundredths) > held_before(r, share.hundredths);
    ++r;
    if (held == share.held_out) picked.push_back(i);
  }
  if (picked.empty() || static_cast<int64_t>(picked.size()) == set.size())
    throw usage_error("{}: {:g}% of its {} samples (at least half a sample of a class counts) {}",
                      set.info().source, static_cast<double>(share.hundredths) / 100, set.size(),
                      picked.empty() == share.held_out ? "are none" : "leave none to train on");
  return picked;
}

int64_t parse_share(const std::string& text) {
  if (text.size() < 2 || text.back() != '%') return 0;
  double percent = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size() - 1, percent);
  if (error != std::errc() || end != text.data() + text.size() - 1) return 0;
  const double hundredths = percent * 100;
  if (!(hundredths > 0 && hundredths < kWhole) || std::abs(hundredths - std::nearbyint(hundredths)) > 1e-6)
    throw usage_error(
        "a share of {} is not possible: expected more than 0% and less than 100%, in steps of 0.01%", text);
  return static_cast<int64_t>(std::nearbyint(hundredths));
}

std::string text_of(const Share& share) {
  return fmt::format("[{}={:g}%]", share.held_out ? "val" : "train",
                     static_cast<double>(share.hundredths) / 100);
}

}  // namespace halftone::data
