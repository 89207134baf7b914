#include "data/class_map.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "data/text.h"

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

using ByNumber = std::map<int64_t, std::string>;

// Names of 0, 1, 2, ...; empty when one is missing or there twice, and why.
std::vector<std::string> in_sequence(const ByNumber& by_number, std::string& why) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const auto& [number, name] : by_number) {
    const auto next = static_cast<int64_t>(names.size());
    if (number != next) {
      why = fmt::format("the names' numbers are not 0, 1, 2, ...: {} where {} is expected", number, next);
      return {};
    }
    if (!seen.insert(name).second) {
      why = fmt::format("the name '{}' is there twice", name);
      return {};
    }
    names.push_back(name);
  }
  return names;
}

// {0: 'name', 1: "it's", ...}, or the names alone: ['name', "it's"] or ('name', ...). Empty: it is something
// else.
ByNumber names_from_python(std::string_view text) {
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
  ByNumber by_number;
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
  return at == text.size() ? by_number : ByNumber{};
}

// The same of JSON.
ByNumber names_from_json_object(const Json& json) {
  ByNumber by_number;
  for (const auto& [key, item] : json.items()) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number);
    if (error != std::errc() || end != key.data() + key.size() || !item.is_string()) return {};
    by_number.emplace(number, item.get<std::string>());
  }
  return by_number;
}

// The lines of a text, whose line ends are LF, CR LF or, throughout, CR; empty ones at the end left out.
std::vector<std::string> lines_of(std::string_view text, const std::string& path) {
  const char end_of_line = text.find('\n') == std::string_view::npos ? '\r' : '\n';
  while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find(end_of_line), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find('\r') != std::string_view::npos)
      throw input_error("{}, line {}: a carriage return within the line; expected one kind of line ends",
                        path, lines.size() + 1);
    lines.emplace_back(line);
  }
  return lines;
}

std::string without_blanks(const std::string& name) {
  const size_t begin = name.find_first_not_of(" \t");
  return begin == std::string::npos ? "" : name.substr(begin, name.find_last_not_of(" \t") - begin + 1);
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

bool are_other_numbers(const std::vector<std::string>& names) {
  bool other = false;
  for (size_t i = 0; i < names.size(); ++i) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(names[i].data(), names[i].data() + names[i].size(), number);
    if (error != std::errc() || end != names[i].data() + names[i].size()) return false;
    other = other || names[i] != std::to_string(i);
  }
  return other;
}

ClassMap read_class_file(const std::string& path) {
  constexpr int64_t kMostBytes = int64_t{1} << 24;
  ClassMap map;
  map.source = path;
  map.asked = true;
  const std::string text = text_of(read_file(path, kMostBytes), path);
  if (!names_from_metadata(text).empty())
    throw input_error("{}: it is a list in JSON or Python; expected one class name on each line", path);
  std::map<std::string, size_t> seen;
  for (std::string& line : lines_of(text, path)) {
    const size_t number = map.names.size() + 1;
    const std::string name = without_blanks(line);
    if (name.empty())
      throw input_error("{}, line {}: it is empty; expected a class name on each line", path, number);
    if (const auto [it, first] = seen.emplace(name, number); !first)
      throw input_error("{}, line {}: the class '{}' is there twice, on line {} too", path, number,
                        shown(name), it->second);
    map.names.push_back(std::move(line));
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
  return std::set<std::string>(names.begin(), names.end()).size() == names.size()
             ? names
             : std::vector<std::string>{};
}

std::vector<std::string> names_from_metadata(std::string_view text, std::string* why) {
  const Json json = Json::parse(text, nullptr, false);
  ByNumber by_number;
  if (json.is_object()) {
    by_number = names_from_json_object(json);
  } else if (json.is_array() &&
             std::all_of(json.begin(), json.end(), [](const Json& i) { return i.is_string(); })) {
    for (const Json& item : json) by_number.emplace(by_number.size(), item.get<std::string>());
  } else {
    by_number = names_from_python(text);
  }
  std::string reason = "it is no list of names, such as [\"a\", \"b\"] or {\"0\": \"a\", \"1\": \"b\"}";
  std::vector<std::string> names = in_sequence(by_number, reason);
  if (why != nullptr && names.empty()) *why = reason;
  return names;
}

std::string some_of(const std::vector<std::string>& names, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(most, names.size()); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > most) text += fmt::format(", ... ({} altogether)", names.size());
  return text;
}

}  // namespace halftone::data
