#include "data/spec.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <utility>

#include "base/error.h"
#include "data/text.h"

namespace halftone::data {
namespace {

std::optional<RangeEnd> parse_end(std::string_view text, const std::string& spec) {
  if (text.empty()) return std::nullopt;
  RangeEnd end;
  if (text.back() == '%') {
    double percent = -1;
    const auto [p, error] = std::from_chars(text.data(), text.data() + text.size() - 1, percent);
    if (error != std::errc() || p != text.data() + text.size() - 1 || !(percent >= 0 && percent <= 100))
      throw usage_error("in the data specification {}: {} is not a percentage between 0% and 100%", spec,
                        text);
    end.percent = true;
    end.value = static_cast<int64_t>(percent * 100 + 0.5);
    return end;
  }
  const auto [p, error] = std::from_chars(text.data(), text.data() + text.size(), end.value);
  if (error != std::errc() || p != text.data() + text.size())
    throw usage_error("in the data specification {}: {} is neither a number of samples nor a percentage",
                      spec, text);
  return end;
}

class Subset final : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> base, std::vector<int64_t> indices)
      : base_(std::move(base)), indices_(std::move(indices)) {
    info_ = base_->info();
  }
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  void read(int64_t index, Sample& sample) const override { base_->read(at(index), sample); }
  void read_drawn(int64_t index, const Draws& draws, Sample& sample) const override {
    base_->read_drawn(at(index), draws, sample);
  }
  std::string name(int64_t index) const override { return base_->name(at(index)); }
  int64_t position(int64_t index) const override { return base_->position(at(index)); }
  size_t size_class(int64_t index) const override { return base_->size_class(at(index)); }
  std::optional<int32_t> class_of(int64_t index) const override { return base_->class_of(at(index)); }

 private:
  int64_t at(int64_t index) const {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    return indices_[static_cast<size_t>(index)];
  }
  std::shared_ptr<const Dataset> base_;
  std::vector<int64_t> indices_;
};

}  // namespace

std::string canonical_split(std::string_view name) {
  const std::string lower = lower_case(name);
  if (lower == "train" || lower == "training") return "train";
  if (lower == "val" || lower == "valid" || lower == "validation") return "val";
  if (lower == "test" || lower == "testing" || lower == "t10k") return "test";
  return std::string(name);
}

bool is_split_name(std::string_view name) {
  const std::string canonical = canonical_split(name);
  return canonical == "train" || canonical == "val" || canonical == "test";
}

Spec parse_spec(const std::string& text) {
  Spec spec;
  spec.path = text;
  std::error_code ignored;
  while (!spec.path.empty() && spec.path.back() == ']' && !std::filesystem::exists(spec.path, ignored)) {
    const size_t open = spec.path.rfind('[');
    if (open == std::string::npos) break;
    const std::string inside = spec.path.substr(open + 1, spec.path.size() - open - 2);
    spec.path.resize(open);
    const size_t colon = inside.find(':');
    const size_t equals = inside.find('=');
    if (equals != std::string::npos && inside.back() == '%') {
      const std::string which = canonical_split(inside.substr(0, equals));
      const int64_t hundredths = parse_share(inside.substr(equals + 1));
      if (hundredths == 0 || (which != "val" && which != "train"))
        throw usage_error("in the data specification {}: expected [val=P%] or [train=P%], found [{}]", text,
                          inside);
      if (spec.range || spec.share || !spec.split.empty())
        throw usage_error(
            "the data specification {} has more than a share behind its split; write PATH[train][val=10%]",
            text);
      spec.share = Share{hundredths, which == "val"};
    } else if (colon == std::string::npos) {
      if (inside.empty() || !spec.split.empty())
        throw usage_error(
            "the data specification {} names {} split; write PATH[train], PATH[a:b] or PATH[train][a:b]",
            text, inside.empty() ? "an empty" : "more than one");
      spec.split = canonical_split(inside);
    } else {
      if (spec.share)
        throw usage_error("the data specification {} has a range and a share; take one of them", text);
      if (spec.range || !spec.split.empty())
        throw usage_error("the data specification {} has {}; write PATH[train][a:b]", text,
                          spec.range ? "more than one range" : "its range before its split");
      spec.range = Range{parse_end(std::string_view(inside).substr(0, colon), text),
                         parse_end(std::string_view(inside).substr(colon + 1), text)};
    }
  }
  if (spec.path.empty()) throw usage_error("the data specification {:?} has no path", text);
  return spec;
}

std::string choose_split(const Spec& spec, const std::vector<std::string>& preferred,
                         const std::vector<std::string>& there) {
  const auto has = [&](const std::string& name) {
    return std::find(there.begin(), there.end(), name) != there.end();
  };
  if (!spec.split.empty()) {
    if (has(spec.split)) return spec.split;
    if (there.empty())
      throw input_error("{} has no splits, so there is no [{}] in it", spec.path, spec.split);
    throw input_error("{} has no split {}; it has {}", spec.path, spec.split, fmt::join(there, ", "));
  }
  for (const std::string& name : preferred)
    if (has(canonical_split(name))) return canonical_split(name);
  throw input_error("{} has none of the splits {}, but {}; say which one: {}[{}]", spec.path,
                    fmt::join(preferred, ", "), fmt::join(there, ", "), spec.path, there.front());
}

std::pair<int64_t, int64_t> resolve_range(const Range& range, int64_t size, const std::string& path) {
  const auto position = [&](const RangeEnd& end) -> int64_t {
    // Hundredths of a percent; 128 bits because size is whatever a file says.
    if (end.percent) return static_cast<int64_t>(static_cast<__int128>(size) * end.value / 10000);
    return end.value < 0 ? size + end.value : end.value;
  };
  const int64_t begin = range.begin ? position(*range.begin) : 0;
  const int64_t end = range.end ? position(*range.end) : size;
  if (begin < 0 || end > size || begin >= end)
    throw usage_error("the range {}:{} of {} is empty or outside its {} samples", begin, end, path, size);
  return {begin, end};
}

std::unique_ptr<Dataset> subset(std::shared_ptr<const Dataset> base, std::vector<int64_t> indices) {
  return std::make_unique<Subset>(std::move(base), std::move(indices));
}

}  // namespace halftone::data
