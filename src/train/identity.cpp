#include "train/identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace halftone::train {
namespace {

std::string shown(const std::string& value) {
  return value == kNotGiven ? "not given" : value;
}

bool same(const std::string& a, const std::string& b) {
  if (a == b) return true;
  char* end_a = nullptr;
  char* end_b = nullptr;
  const double x = std::strtod(a.c_str(), &end_a);
  const double y = std::strtod(b.c_str(), &end_b);
  return !a.empty() && !b.empty() && *end_a == 0 && *end_b == 0 && x == y;
}

}  // namespace

std::vector<Difference> differences(const Identity& was, const Identity& is) {
  std::vector<Difference> out;
  for (const auto& [name, value] : was) {
    const auto it = is.find(name);
    if (it != is.end() && !same(value, it->second)) out.push_back({name, value, it->second});
  }
  return out;
}

std::string not_compared(const Identity& was, const Identity& is) {
  std::string text;
  for (const auto& [name, value] : is)
    if (name.starts_with("--") && value != kNotGiven && was.find(name) == was.end())
      text += fmt::format("{}{} is {}", text.empty() ? "" : "; ", name, value);
  return text;
}

std::string text_of(const std::vector<Difference>& differences) {
  std::string text;
  for (const Difference& d : differences)
    text += fmt::format("{}{} was {} and is {}", text.empty() ? "" : "; ", d.name, shown(d.was), shown(d.is));
  return text;
}

Identity options_of(std::string_view yaml) {
  Identity options;
  while (!yaml.empty()) {
    const size_t end = std::min(yaml.find('\n'), yaml.size());
    const std::string_view line = yaml.substr(0, end);
    yaml.remove_prefix(std::min(end + 1, yaml.size()));
    const size_t colon = line.find(": ");
    if (colon == std::string_view::npos) continue;
    options["--" + std::string(line.substr(0, colon))] = std::string(line.substr(colon + 2));
  }
  return options;
}

}  // namespace halftone::train
