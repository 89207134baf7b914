#include "data/class_map.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"

namespace halftone::data {
namespace {

using Json = nlohmann::json;

bool value_of(const std::string& name, double& value) {
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), value);
  return error == std::errc() && end == name.data() + name.size() && std::isfinite(value);
}

bool all_numbers(const std::vector<std::string>& names) {
  double ignored = 0;
  return !names.empty() &&
         std::all_of(names.begin(), names.end(), [&](const std::string& n) { return value_of(n, ignored); });
}

// Names of 0, 1, 2, ...; empty when one is missing.
std::vector<std::string> in_sequence(const std::map<int64_t, std::string>& by_number) {
  std::vector<std::string> names;
  for (const auto& [number, name] : by_number) {
    if (number != static_cast<int64_t>(names.size())) return {};
    names.push_back(name);
  }
  return names;
}

// {0: 'name', 1: "it's", ...}, or the names alone: ['name', "it's"] or ('name', ...).
std::vector<std::string> names_from_python(std::string_view text) {
  size_t at = 0;
  const auto skip = [&] {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t')) ++at;
  };
  const auto take = [&](char c) {
    skip();
    if (at >= text.size() || text[at] != c) return false;
    ++at;
    return true;
  };
  const bool keys = take('{');
  const char close = keys ? '}' : take('[') ? ']' : take('(') ? ')' : '\0';
  if (close == '\0') return {};
  std::map<int64_t, std::string> by_number;
  for (skip(); at < text.size() && text[at] != close; skip()) {
    auto number = static_cast<int64_t>(by_number.size());
    if (keys) {
      const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), number);
      if (error != std::errc()) return {};
      at = static_cast<size_t>(end - text.data());
      if (!take(':')) return {};
      skip();
    }
    if (at >= text.size() || (text[at] != '\'' && text[at] != '"')) return {};
    const char quote = text[at++];
    std::string name;
    for (; at < text.size() && text[at] != quote; ++at) {
      if (text[at] != '\\') {
        name += text[at];
        continue;
      }
      // Escaped quotes and backslashes; any other escape is not guessed at.
      if (++at >= text.size() || (text[at] != '\\' && text[at] != '\'' && text[at] != '"')) return {};
      name += text[at];
    }
    if (at++ >= text.size() || !by_number.emplace(number, name).second) return {};
    if (!take(',')) break;
  }
  if (!take(close)) return {};
  skip();
  return at == text.size() ? in_sequence(by_number) : std::vector<std::string>{};
}

bool usable(const std::vector<std::string>& names) {
  return std::set<std::string>(names.begin(), names.end()).size() == names.size();
}

}  // namespace

std::vector<std::string> in_class_order(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  if (!all_numbers(names)) return names;
  std::stable_sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    double left = 0;
    double right = 0;
    return value_of(a, left) && value_of(b, right) && left < right;
  });
  return names;
}

bool counts_as_numbers(const std::vector<std::string>& in_order) {
  return all_numbers(in_order) && !std::is_sorted(in_order.begin(), in_order.end());
}

ClassMap read_class_file(const std::string& path) {
  constexpr int64_t kMostBytes = int64_t{1} << 24;
  ClassMap map;
  map.source = path;
  const std::string text = read_file(path, kMostBytes);
  std::string_view rest = text;
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  while (rest.ends_with('\n') || rest.ends_with('\r')) rest.remove_suffix(1);
  std::set<std::string> seen;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t number = map.names.size() + 1;
    if (line.empty()) throw input_error("{}, line {}: it is empty; expected a class name on each line", path, number);
    if (!seen.emplace(line).second) throw input_error("{}, line {}: the class '{}' is there twice", path, number, line);
    map.names.emplace_back(line);
  }
  if (map.names.empty()) throw input_error("{}: it holds no class name; expected one on each line", path);
  return map;
}

std::string class_file_text(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + "\n";
  return text;
}

std::string to_json(const std::vector<std::string>& names) {
  // Folder names need not be valid UTF-8, JSON text must be.
  return Json(names).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> names_from_json(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return {};
  std::vector<std::string> names;
  for (const Json& item : json) {
    if (!item.is_string()) return {};
    names.push_back(item.get<std::string>());
  }
  return usable(names) ? names : std::vector<std::string>{};
}

std::vector<std::string> names_from_metadata(std::string_view text) {
  if (std::vector<std::string> names = names_from_json(text); !names.empty()) return names;
  const Json json = Json::parse(text, nullptr, false);
  std::vector<std::string> names;
  if (json.is_object()) {
    std::map<int64_t, std::string> by_number;
    for (const auto& [key, item] : json.items()) {
      int64_t number = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
      if (error != std::errc() || end != key.data() + key.size() || !item.is_string()) return {};
      by_number.emplace(number, item.get<std::string>());
    }
    names = in_sequence(by_number);
  } else {
    names = names_from_python(text);
  }
  return usable(names) ? names : std::vector<std::string>{};
}

std::string some_of(const std::vector<std::string>& names, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(most, names.size()); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > most) text += fmt::format(", ... ({} altogether)", names.size());
  return text;
}

}  // namespace halftone::data
