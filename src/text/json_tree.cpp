#include "text/json_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"

namespace halftone::text {
namespace {

// Sequences of sequences of templates have about ten levels.
constexpr size_t kMostJsonLevels = 64;

class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(const std::string& file) : file_(file) {}

  Json root;

  bool null() override { return put(Json{nullptr}); }
  bool boolean(bool value) override { return put(Json{value}); }
  bool number_integer(number_integer_t value) override { return put(Json{int64_t{value}}); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(INT64_MAX)) return put(Json{static_cast<double>(value)});
    return put(Json{static_cast<int64_t>(value)});
  }
  bool number_float(number_float_t value, const string_t& /*text*/) override { return put(Json{value}); }
  bool string(string_t& value) override { return put(Json{std::move(value)}); }
  bool binary(binary_t& /*value*/) override { return false; }
  bool start_object(size_t /*elements*/) override { return open(Json{Json::Members{}}); }
  bool key(string_t& value) override {
    std::get<Json::Members>(open_.back()->value).push_back({std::move(value), Json{}});
    return true;
  }
  bool end_object() override {
    refuse_keys_twice(std::get<Json::Members>(open_.back()->value));
    open_.pop_back();
    return true;
  }
  bool start_array(size_t /*elements*/) override { return open(Json{Json::Items{}}); }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& error) override {
    throw input_error("cannot read {} as a tokenizer: it is no JSON: byte {}: {}", file_, position,
                      error.what());
  }

 private:
  Json* place(Json value) {
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    if (auto* items = std::get_if<Json::Items>(&open_.back()->value)) {
      items->push_back(std::move(value));
      return &items->back();
    }
    Json& last = std::get<Json::Members>(open_.back()->value).back().value;
    last = std::move(value);
    return &last;
  }
  bool put(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (open_.size() == kMostJsonLevels)
      throw input_error("cannot read {} as a tokenizer: it is nested deeper than {} levels", file_,
                        kMostJsonLevels);
    // A list that is open does not grow, so the pointers to what is open stay.
    open_.push_back(place(std::move(value)));
    return true;
  }
  void refuse_keys_twice(const Json::Members& members) const {
    std::vector<std::string_view> keys;
    keys.reserve(members.size());
    for (const JsonMember& m : members) keys.push_back(m.key);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice != keys.end())
      throw input_error("cannot read {} as a tokenizer: the key '{}' is there twice in one object", file_,
                        *twice);
  }

  const std::string& file_;
  std::vector<Json*> open_;
};

}  // namespace

Json parse_json(const std::string& file, std::string_view text) {
  TreeBuilder builder(file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return std::move(builder.root);
}

void JsonAt::refuse(const std::string& what) const {
  throw input_error("cannot read {} as a tokenizer: {}: {}", *file_, path_.empty() ? "the document" : path_,
                    what);
}

std::string JsonAt::kind() const {
  switch (value_->value.index()) {
    case 0:
      return "null";
    case 1:
      return std::get<bool>(value_->value) ? "true" : "false";
    case 2:
      return fmt::format("{}", std::get<int64_t>(value_->value));
    case 3:
      return fmt::format("{}", std::get<double>(value_->value));
    case 4:
      return fmt::format("the text '{}'", std::get<std::string>(value_->value).substr(0, 60));
    case 5:
      return "a list";
    default:
      return "an object";
  }
}

const std::string& JsonAt::text() const {
  if (!is_text()) refuse(fmt::format("expected a text, got {}", kind()));
  return std::get<std::string>(value_->value);
}
bool JsonAt::flag() const {
  if (!std::holds_alternative<bool>(value_->value))
    refuse(fmt::format("expected true or false, got {}", kind()));
  return std::get<bool>(value_->value);
}
int64_t JsonAt::integer(int64_t least, int64_t most) const {
  const auto* value = std::get_if<int64_t>(&value_->value);
  if (value == nullptr || *value < least || *value > most)
    refuse(fmt::format("expected a whole number from {} to {}, got {}", least, most, kind()));
  return *value;
}
double JsonAt::number() const {
  if (const auto* whole = std::get_if<int64_t>(&value_->value)) return static_cast<double>(*whole);
  if (!std::holds_alternative<double>(value_->value))
    refuse(fmt::format("expected a number, got {}", kind()));
  return std::get<double>(value_->value);
}
const Json::Items& JsonAt::list() const {
  if (!is_list()) refuse(fmt::format("expected a list, got {}", kind()));
  return std::get<Json::Items>(value_->value);
}
const Json::Members& JsonAt::object() const {
  if (!is_object()) refuse(fmt::format("expected an object, got {}", kind()));
  return std::get<Json::Members>(value_->value);
}
JsonAt JsonAt::item(size_t index) const {
  return {*file_, list().at(index), fmt::format("{}[{}]", path_, index)};
}

JsonObject::JsonObject(const JsonAt& at) : at_(at) {
  at.object();
}

const JsonMember* JsonObject::member(std::string_view key) const {
  for (const JsonMember& m : at_.object())
    if (m.key == key) return &m;
  return nullptr;
}

bool JsonObject::has(std::string_view key) const {
  const JsonMember* m = member(key);
  return m != nullptr && !std::holds_alternative<std::nullptr_t>(m->value.value);
}

JsonAt JsonObject::find(std::string_view key) {
  static const Json kNull{nullptr};
  asked_.emplace_back(key);
  const JsonMember* m = member(key);
  std::string path = at_.path().empty() ? std::string(key) : fmt::format("{}.{}", at_.path(), key);
  return {at_.file(), m == nullptr ? kNull : m->value, std::move(path)};
}

JsonAt JsonObject::need(std::string_view key) {
  if (member(key) == nullptr) at_.refuse(fmt::format("the key '{}' is missing", key));
  return find(key);
}

bool JsonObject::flag(std::string_view key, bool otherwise) {
  const JsonAt value = find(key);
  return value.is_null() ? otherwise : value.flag();
}
std::string JsonObject::text(std::string_view key, const std::string& otherwise) {
  const JsonAt value = find(key);
  return value.is_null() ? otherwise : value.text();
}
int64_t JsonObject::integer(std::string_view key, int64_t otherwise, int64_t least, int64_t most) {
  const JsonAt value = find(key);
  return value.is_null() ? otherwise : value.integer(least, most);
}

size_t JsonObject::choice(std::string_view key, const std::vector<std::string_view>& names,
                          std::string_view otherwise) {
  const JsonAt value = find(key);
  const std::string chosen = value.is_null() && !otherwise.empty() ? std::string(otherwise) : value.text();
  const auto found = std::find(names.begin(), names.end(), chosen);
  if (found == names.end())
    value.refuse(
        fmt::format("'{}' is not understood; there are: {}", chosen.substr(0, 60), fmt::join(names, ", ")));
  return static_cast<size_t>(found - names.begin());
}

void JsonObject::ignore(std::string_view key) {
  asked_.emplace_back(key);
}

void JsonObject::done() const {
  for (const JsonMember& m : at_.object()) {
    if (std::holds_alternative<std::nullptr_t>(m.value.value)) continue;
    if (std::find(asked_.begin(), asked_.end(), m.key) == asked_.end())
      at_.refuse(fmt::format("the key '{}' is not understood", m.key.substr(0, 60)));
  }
}

}  // namespace halftone::text
