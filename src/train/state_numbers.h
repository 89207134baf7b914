// Numbers of a checkpoint's state, read as what they must be: nlohmann::json would make 3 of 3.7 and anything
// of 1e30.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace halftone::train {

namespace state {

inline const nlohmann::json& field(const nlohmann::json& object, const char* name) {
  if (!object.is_object() || !object.contains(name)) throw input_error("{} is missing", name);
  return object.at(name);
}

[[noreturn]] inline void refuse(const nlohmann::json& value, const char* name, const char* expected) {
  constexpr size_t kShown = 40;
  std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kShown) text = text.substr(0, kShown) + "...";
  throw input_error("{} is {}, not {}", name, text, expected);
}

// At least `least`; `missing` where the object has no such field (none: that is an error).
inline int64_t whole(const nlohmann::json& object, const char* name, int64_t least = 0,
                     std::optional<int64_t> missing = std::nullopt) {
  if (missing && object.is_object() && !object.contains(name)) return *missing;
  const nlohmann::json& value = field(object, name);
  const bool fits = value.is_number_integer() && (!value.is_number_unsigned() ||
                                                  value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  if (!fits || value.get<int64_t>() < least)
    refuse(value, name, least == 0 ? "a whole number of 0 or more" : "a number in its range");
  return value.get<int64_t>();
}

// Finite, and at least `least`.
inline double real(const nlohmann::json& object, const char* name, double least = 0,
                   std::optional<double> missing = std::nullopt) {
  if (missing && object.is_object() && !object.contains(name)) return *missing;
  const nlohmann::json& value = field(object, name);
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < least)
    refuse(value, name, "a number in its range");
  return value.get<double>();
}

// The same, or none for null.
inline std::optional<double> real_or_null(const nlohmann::json& object, const char* name) {
  if (field(object, name).is_null()) return std::nullopt;
  return real(object, name, std::numeric_limits<double>::lowest());
}

inline bool flag(const nlohmann::json& object, const char* name) {
  const nlohmann::json& value = field(object, name);
  if (!value.is_boolean()) refuse(value, name, "true or false");
  return value.get<bool>();
}

inline std::string text(const nlohmann::json& object, const char* name) {
  const nlohmann::json& value = field(object, name);
  if (!value.is_string()) refuse(value, name, "text");
  return value.get<std::string>();
}

// What `read` makes of the JSON in `text`; errors say that it is in `part` of the state.
template <class Read>
auto part(std::string_view json_text, const char* part_name, const Read& read) {
  try {
    return read(nlohmann::json::parse(json_text));
  } catch (const nlohmann::json::exception&) {
    throw input_error("{} cannot be read", part_name);
  } catch (const Error& e) {
    throw input_error("{}: {}", part_name, e.what());
  }
}

}  // namespace state

}  // namespace halftone::train
