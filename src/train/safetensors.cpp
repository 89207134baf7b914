#include "train/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "train/byte_source.h"

namespace halftone::train {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian, and so are the machines we build for");

constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr std::string_view kMetadata = "__metadata__";

struct TypeName {
  DType type;
  std::string_view name;
};
// In the order in which the reference writer lays tensors out.
constexpr std::array<TypeName, 7> kTypes{{{DType::kI64, "I64"},
                                          {DType::kF64, "F64"},
                                          {DType::kF32, "F32"},
                                          {DType::kI32, "I32"},
                                          {DType::kBf16, "BF16"},
                                          {DType::kF16, "F16"},
                                          {DType::kU8, "U8"}}};

struct Entry {
  std::string name;
  DType type = DType::kU8;
  Shape shape;
  int64_t begin = 0;  // bytes behind the header
  int64_t end = 0;
};

// Takes the header apart while it is parsed: a document tree would need many times the header's size for a
// hostile file.
class HeaderParser : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderParser(const std::string& path) : path_(path) {}

  std::vector<Entry> entries;
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
    const auto* type =
        std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.name == value; });
    if (type == kTypes.end())
      refuse(fmt::format(
          "tensor '{}' has the type {}, which is not supported (F64, F32, F16, BF16, I64, I32 and U8 are)",
          entries.back().name, value.substr(0, 40)));
    once();
    entries.back().type = type->type;
    return true;
  }
  bool start_object(size_t /*elements*/) override {
    if (place_ == Place::kBefore) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && key_ == kMetadata) {
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
    Entry& entry = entries.back();
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
  [[noreturn]] void refuse(const std::string& what) const {
    throw input_error("cannot read {} as safetensors: {}", path_, what);
  }

  const std::string& path_;
  Place place_ = Place::kBefore;
  bool has_metadata_ = false;
  std::string key_;
  std::vector<int64_t> list_;
  std::set<std::string> names_;
  std::set<std::string> seen_;  // fields of the last entry
};

[[noreturn]] void refuse(const ByteSource& source, const std::string& what) {
  throw input_error("cannot read {} as safetensors: {}", source.name(), what);
}

// Each shape equal to its bytes, and all tensors side by side from the first byte behind the header to the
// last.
void check(std::vector<Entry>& entries, const ByteSource& source) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t place = 0;
  for (const Entry& e : entries) {
    if (e.begin > e.end || e.end > source.remaining())
      refuse(source, fmt::format("tensor '{}' lies at bytes {} to {} of {}", e.name, e.begin, e.end,
                                 source.remaining()));
    if (e.begin != place)
      refuse(source, fmt::format("tensor '{}' begins at byte {}, but the one before ends at {}: there is {}",
                                 e.name, e.begin, place, e.begin < place ? "an overlap" : "a hole"));
    int64_t needed = size_bytes(e.type);
    for (const int64_t dimension : e.shape) {
      if (__builtin_mul_overflow(needed, dimension, &needed))
        refuse(source, fmt::format("tensor '{}' has the impossible shape {}", e.name, halftone::to_string(e.shape)));
    }
    if (needed != e.end - e.begin)
      refuse(source, fmt::format("tensor '{}' ({} {}) needs {} bytes and has {}", e.name, name_of(e.type),
                                 halftone::to_string(e.shape), needed, e.end - e.begin));
    place = e.end;
  }
  if (place != source.remaining())
    refuse(source,
           fmt::format("the tensors end at byte {} of {} behind the header", place, source.remaining()));
}

Safetensors read(ByteSource& source) {
  uint64_t header_bytes = 0;
  if (source.size() < static_cast<int64_t>(sizeof header_bytes))
    refuse(source, fmt::format("it has only {} bytes", source.size()));
  source.read(&header_bytes, sizeof header_bytes);
  if (header_bytes > static_cast<uint64_t>(std::min(source.remaining(), kMaxHeaderBytes)))
    refuse(source, fmt::format("its header should have {} bytes, at most {} are possible", header_bytes,
                               std::min(source.remaining(), kMaxHeaderBytes)));
  std::string header(static_cast<size_t>(header_bytes), '\0');
  source.read(header.data(), static_cast<int64_t>(header_bytes));
  if (!header.starts_with('{')) refuse(source, "its header does not begin with '{'");
  HeaderParser parser(source.name());
  nlohmann::json::sax_parse(header, &parser);
  header = std::string();
  check(parser.entries, source);

  Safetensors content;
  content.metadata = std::move(parser.metadata);
  for (Entry& e : parser.entries) {
    Tensor tensor(e.type, std::move(e.shape));
    source.read(tensor.data(), tensor.bytes());
    content.tensors.emplace(std::move(e.name), std::move(tensor));
  }
  return content;
}

size_t layout_rank(DType type) {
  return static_cast<size_t>(
      std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.type == type; }) -
      kTypes.begin());
}

}  // namespace

Safetensors read_safetensors(const std::string& path) {
  ByteSource source(path);
  return read(source);
}

Safetensors parse_safetensors(std::string_view bytes, const std::string& path) {
  ByteSource source(bytes, path);
  return read(source);
}

void write_safetensors(const std::string& path, const Safetensors& content) {
  std::vector<const std::pair<const std::string, Tensor>*> order;
  for (const auto& named : content.tensors) {
    HT_ASSERT(!named.second.empty(), "tensor {} has no data", named.first);
    if (named.first == kMetadata)
      throw input_error("cannot write {}: a tensor cannot be called {}", path, kMetadata);
    order.push_back(&named);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return layout_rank(a->second.dtype()) < layout_rank(b->second.dtype());
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!content.metadata.empty()) header[std::string(kMetadata)] = content.metadata;
  int64_t place = 0;
  for (const auto* named : order) {
    const Tensor& tensor = named->second;
    nlohmann::ordered_json& entry = header[named->first];
    entry["dtype"] = kTypes[layout_rank(tensor.dtype())].name;
    entry["shape"] = tensor.shape();
    entry["data_offsets"] = {place, place + tensor.bytes()};
    place += tensor.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& error) {
    throw input_error("cannot write {}: a tensor's name or the metadata is not UTF-8 ({})", path,
                      error.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t header_bytes = text.size();
  if (static_cast<int64_t>(header_bytes) > kMaxHeaderBytes)
    throw input_error("cannot write {}: the header would have {} bytes, the format allows {}", path,
                      header_bytes, kMaxHeaderBytes);
  write_file_atomically(path, [&](const Sink& sink) {
    sink(&header_bytes, sizeof header_bytes);
    sink(text.data(), static_cast<int64_t>(text.size()));
    for (const auto* named : order) sink(named->second.data(), named->second.bytes());
  });
}

}  // namespace halftone::train
