#include "data/counting.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace halftone::data {
namespace {

// Labels of a data set: the first ones, or a further field.
struct Labelled {
  const LabelReading* reading = nullptr;
  LabelKind kind = LabelKind::kNone;
  std::string name;
  size_t more = 0;  // of Sample::more; the first labels: as many as there are
};

bool counts(const DataInfo& info, const Labelled& of, const Sample& sample) {
  const float of_sample = weight_of_sample(info, *of.reading, sample);
  const auto weighs = [&](int32_t label) { return weight_of_label(*of.reading, label, of_sample) > 0; };
  if (of.more < info.more.size()) {
    const std::vector<std::byte>& bytes = sample.more[of.more];
    for (size_t at = 0; at < bytes.size(); at += sizeof(int32_t)) {
      int32_t label = 0;
      std::memcpy(&label, bytes.data() + at, sizeof(label));
      if (weighs(label)) return true;
    }
    return false;
  }
  if (of.kind == LabelKind::kClass) return weighs(sample.label);
  return std::any_of(sample.labels.begin(), sample.labels.end(), weighs);
}

}  // namespace

float weight_of_label(const LabelReading& reading, int32_t label, float of_sample) {
  if (label < 0) return 0;
  return (reading.class_weights.empty() ? 1.0F : reading.class_weights[static_cast<size_t>(label)]) *
         of_sample;
}

float weight_of_sample(const DataInfo& info, const LabelReading& reading, const Sample& sample) {
  if (reading.sample_weight.empty()) return 1;
  for (size_t i = 0; i < info.more.size(); ++i)
    if (info.more[i].name == reading.sample_weight && info.more[i].role == FieldRole::kWeight)
      return *reinterpret_cast<const float*>(sample.more[i].data());
  HT_ASSERT(false, "no weights {}", reading.sample_weight);
  return 0;
}

void check_some_target_counts(const Dataset& set, const std::function<void()>& between) {
  const DataInfo& info = set.info();
  std::vector<Labelled> open;
  const bool classes = info.labels == LabelKind::kClass || info.labels == LabelKind::kPositions;
  if (classes && info.reading.weighted())
    open.push_back({&info.reading, info.labels, info.labels_name.empty() ? "labels" : info.labels_name,
                    info.more.size()});
  for (size_t i = 0; i < info.more.size(); ++i)
    if (info.more[i].role == FieldRole::kLabel && info.more[i].reading.weighted())
      open.push_back({&info.more[i].reading, info.more[i].reading.kind, info.more[i].name, i});
  Sample sample;
  for (int64_t index = 0; index < set.size() && !open.empty(); ++index) {
    if (between) between();
    set.read(index, sample);
    std::erase_if(open, [&](const Labelled& of) { return counts(info, of, sample); });
  }
  if (open.empty()) return;
  const LabelReading& reading = *open.front().reading;
  std::string why;
  const auto add = [&](const std::string& text) { why += (why.empty() ? "" : ", or ") + text; };
  if (reading.ignored) add(fmt::format("is the ignored number {}", *reading.ignored));
  if (!reading.class_weights.empty()) add("is of a class without weight (--class-weights)");
  if (!reading.sample_weight.empty())
    add(fmt::format("is of a sample without weight (--sample-weight {})", reading.sample_weight));
  throw input_error("{}: none of the targets in {} counts: each {}; expected at least one that does",
                    info.source, open.front().name, why);
}

}  // namespace halftone::data
