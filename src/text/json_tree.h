// A JSON document as a tree that keeps what a file said: the order of keys, keys that are there twice, which kind of number.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace halftone::text {

struct JsonMember;

struct Json {
  using Items = std::vector<Json>;
  using Members = std::vector<JsonMember>;
  // A number is int64_t where it is whole and fits, else double.
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, Items, Members> value;
};

struct JsonMember {
  std::string key;
  Json value;
};

// Errors (input_error, which begins with `file`): not JSON, not UTF-8, nested deeper than files of this kind are, a key that is there twice.
Json parse_json(const std::string& file, std::string_view text);

// A value with the place in the document where it stands, for errors: `model.vocab`, `added_tokens[3].id`. The tree must outlive it.
class JsonAt {
 public:
  JsonAt(const std::string& file, const Json& value) : file_(&file), value_(&value) {}

  const Json& json() const { return *value_; }
  const std::string& file() const { return *file_; }
  const std::string& path() const { return path_; }

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_->value); }
  bool is_text() const { return std::holds_alternative<std::string>(value_->value); }
  bool is_list() const { return std::holds_alternative<Json::Items>(value_->value); }
  bool is_object() const { return std::holds_alternative<Json::Members>(value_->value); }

  // Each throws input_error, which names the place, unless the value is of that kind.
  const std::string& text() const;
  bool flag() const;
  int64_t integer(int64_t least, int64_t most) const;
  double number() const;
  const Json::Items& list() const;
  const Json::Members& object() const;
  JsonAt item(size_t index) const;  // of a list

  // Refuses the value: "FILE: PATH: WHAT".
  [[noreturn]] void refuse(const std::string& what) const;
  // What the value is, for errors: "a text", "an object".
  std::string kind() const;

 private:
  friend class JsonObject;
  JsonAt(const std::string& file, const Json& value, std::string path)
      : file_(&file), value_(&value), path_(std::move(path)) {}

  const std::string* file_;
  const Json* value_;
  std::string path_;
};

// An object whose keys are asked for one by one. done() refuses the keys that nobody asked for.
class JsonObject {
 public:
  explicit JsonObject(const JsonAt& at);

  const JsonAt& at() const { return at_; }
  bool has(std::string_view key) const;  // with a value that is not null
  JsonAt need(std::string_view key);     // error where it is missing (null counts as a value)
  // Without the key, or with null: the value given.
  bool flag(std::string_view key, bool otherwise);
  std::string text(std::string_view key, const std::string& otherwise);
  int64_t integer(std::string_view key, int64_t otherwise, int64_t least, int64_t most);
  // What the key has must be one of these values' names; index into names.
  size_t choice(std::string_view key, const std::vector<std::string_view>& names, std::string_view otherwise);
  // Known and of no consequence.
  void ignore(std::string_view key);
  // Asks for it, and gives null where it is missing.
  JsonAt find(std::string_view key);
  void done() const;

 private:
  const JsonMember* member(std::string_view key) const;

  JsonAt at_;
  std::vector<std::string> asked_;
};

}  // namespace halftone::text
