#include "data/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace halftone::data {
namespace {

constexpr size_t kMostSafetensorsDimensions = 64;

[[noreturn]] void refuse_safetensors(const std::string& path, const std::string& what) {
  throw input_error("cannot read {} as safetensors: {}", path, what);
}

// Takes the header apart while it is parsed: a document tree would need many times the header's size for a
// hostile file.
class SafetensorsParser : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit SafetensorsParser(const std::string& path) : path_(path) {}

  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;

  bool null() override { return unexpected("null"); }
  bool boolean(bool /*value*/) override { return unexpected("a truth value"); }
  bool number_integer(number_integer_t value) override { return unexpected(fmt::format("{}", value)); }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    return unexpected(fmt::format("{}", value));
  }
  bool binary(binary_t& /*value*/) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kList) return unexpected(fmt::format("{}", value));
    if (value > static_cast<number_unsigned_t>(INT64_MAX)) return unexpected(fmt::format("{}", value));
    if (list_.size() >= kMostSafetensorsDimensions)
      refuse(fmt::format("tensor '{}' has more than {} dimensions", entries.back().name,
                         kMostSafetensorsDimensions));
    list_.push_back(static_cast<int64_t>(value));
    return true;
  }
  bool string(string_t& value) override {
    if (place_ == Place::kTexts) {
      if (!metadata.emplace(key_, std::move(value)).second)
        refuse(fmt::format("the metadata '{}' is there twice", key_));
      return true;
    }
    if (place_ != Place::kEntry || key_ != "dtype") return unexpected("a text");
    once();
    entries.back().dtype = value.substr(0, 40);
    return true;
  }
  bool start_object(size_t /*elements*/) override {
    if (place_ == Place::kBefore) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && key_ == kSafetensorsMetadata) {
      if (std::exchange(has_metadata_, true)) refuse("it has two __metadata__");
      place_ = Place::kTexts;
    } else if (place_ == Place::kTop) {
      if (!names_.insert(key_).second) refuse(fmt::format("tensor '{}' is there twice", key_));
      entries.emplace_back().name = key_;
      seen_.clear();
      place_ = Place::kEntry;
    } else {
      return unexpected("an object");
    }
    return true;
  }
  bool key(string_t& value) override {
    key_ = std::move(value);
    if (place_ == Place::kEntry && key_ != "dtype" && key_ != "shape" && key_ != "data_offsets")
      refuse(fmt::format("tensor '{}' has the unknown field '{}'", entries.back().name, key_.substr(0, 40)));
    return true;
  }
  bool end_object() override {
    if (place_ == Place::kEntry && seen_.size() != 3)
      refuse(fmt::format("tensor '{}' lacks its dtype, shape or data_offsets", entries.back().name));
    place_ = place_ == Place::kTop ? Place::kAfter : Place::kTop;
    return true;
  }
  bool start_array(size_t /*elements*/) override {
    if (place_ != Place::kEntry || key_ == "dtype") return unexpected("a list");
    place_ = Place::kList;
    list_.clear();
    return true;
  }
  bool end_array() override {
    once();
    SafetensorsEntry& entry = entries.back();
    if (key_ == "shape") {
      entry.shape = list_;
    } else {
      if (list_.size() != 2)
        refuse(fmt::format("tensor '{}' has {} data_offsets instead of 2", entry.name, list_.size()));
      entry.begin = list_[0];
      entry.end = list_[1];
    }
    place_ = Place::kEntry;
    return true;
  }
  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*error*/) override {
    refuse(fmt::format("the header is not JSON at its byte {}", position));
  }

 private:
  enum class Place { kBefore, kTop, kTexts, kEntry, kList, kAfter };

  bool unexpected(const std::string& what) {
    const bool in_tensor = place_ == Place::kEntry || place_ == Place::kList;
    refuse(fmt::format("the header has {} where it should not{}{}", what,
                       in_tensor ? ", at tensor " + entries.back().name : "",
                       key_.empty() ? "" : ", field " + key_.substr(0, 40)));
  }
  void once() {
    if (!seen_.insert(key_).second)
      refuse(fmt::format("tensor '{}' has two values for {}", entries.back().name, key_));
  }
  [[noreturn]] void refuse(const std::string& what) const { refuse_safetensors(path_, what); }

  const std::string& path_;
  Place place_ = Place::kBefore;
  bool has_metadata_ = false;
  std::string key_;
  std::vector<int64_t> list_;
  std::set<std::string> names_;
  std::set<std::string> seen_;  // fields of the last entry
};

// All tensors side by side, from the first byte behind the header to the last.
void check_places(std::vector<SafetensorsEntry>& entries, int64_t data_bytes, const std::string& path) {
  std::stable_sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t place = 0;
  for (const SafetensorsEntry& e : entries) {
    if (e.begin > e.end || e.end > data_bytes)
      refuse_safetensors(
          path, fmt::format("tensor '{}' lies at bytes {} to {} of {}", e.name, e.begin, e.end, data_bytes));
    if (e.begin != place)
      refuse_safetensors(
          path, fmt::format("tensor '{}' begins at byte {}, but the one before ends at {}: there is {}",
                            e.name, e.begin, place, e.begin < place ? "an overlap" : "a hole"));
    place = e.end;
  }
  if (place != data_bytes)
    refuse_safetensors(path,
                       fmt::format("the tensors end at byte {} of {} behind the header", place, data_bytes));
}

}  // namespace

SafetensorsHeader parse_safetensors_header(const std::string& text, int64_t data_bytes,
                                           const std::string& path) {
  if (!text.starts_with('{')) refuse_safetensors(path, "its header does not begin with '{'");
  SafetensorsParser parser(path);
  nlohmann::json::sax_parse(text, &parser);
  check_places(parser.entries, data_bytes, path);
  SafetensorsHeader header{std::move(parser.entries), std::move(parser.metadata)};
  std::sort(header.entries.begin(), header.entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) { return a.name < b.name; });
  return header;
}

}  // namespace halftone::data
