#include "data/columns.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "data/text.h"

namespace halftone::data {
namespace {

using Json = nlohmann::json;
using Preparation = PreparedColumn::Kind;

const char* word_of(Preparation kind) {
  switch (kind) {
    case Preparation::kStandardized:
      return "standardize";
    case Preparation::kOneHot:
      return "one-hot";
    case Preparation::kCodes:
      return "codes";
  }
  return "?";
}

std::optional<int64_t> whole(std::string_view text) {
  int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

std::string_view without_blanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

class ListReader {
 public:
  ListReader(const std::vector<std::string>& header, size_t columns, const std::string& option,
             const std::string& path)
      : header_(header), columns_(columns), option_(option), path_(path) {}

  std::vector<size_t> read(const std::string& list) const {
    if (is_name(list)) return {one(list)};
    std::vector<size_t> found;
    std::set<size_t> seen;
    for (const std::string& word : split(list)) {
      const size_t dots = word.find("..");
      size_t first = 0;
      size_t last = 0;
      if (!is_name(word) && dots != std::string::npos) {
        first = one(std::string(without_blanks(std::string_view(word).substr(0, dots))));
        last = one(std::string(without_blanks(std::string_view(word).substr(dots + 2))));
        if (first > last)
          throw usage_error("{}: {}: the column {} stands before {}", option_, shown(word), last, first);
      } else {
        first = last = one(word);
      }
      for (size_t c = first; c <= last; ++c) {
        if (!seen.insert(c).second) throw usage_error("{}: column {} is there twice", option_, text_of(c));
        found.push_back(c);
      }
    }
    return found;
  }

  // A name that a plan keeps: no list, and no number but #NUMBER.
  size_t kept(const std::string& name) const {
    if (const std::optional<size_t> c = find_kept_column(name, header_, columns_)) return *c;
    if (std::count(header_.begin(), header_.end(), name) > 1)
      throw usage_error("{}: several columns of {} are called {}, so it is not known which is meant", option_,
                        path_, shown(name));
    missing(name);
  }

  static std::vector<std::string> split(std::string_view list) {
    std::vector<std::string> words;
    while (true) {
      const size_t comma = std::min(list.find(','), list.size());
      words.emplace_back(without_blanks(list.substr(0, comma)));
      if (comma == list.size()) return words;
      list.remove_prefix(comma + 1);
    }
  }

 private:
  bool is_name(const std::string& word) const {
    return std::find(header_.begin(), header_.end(), word) != header_.end();
  }
  std::string text_of(size_t column) const {
    return header_.empty() ? std::to_string(column) : fmt::format("{} ({})", column, shown(header_[column]));
  }

  size_t one(const std::string& word) const {
    std::vector<size_t> named;
    for (size_t c = 0; c < header_.size(); ++c)
      if (header_[c] == word) named.push_back(c);
    const bool marked = word.starts_with('#');
    std::optional<int64_t> number = whole(std::string_view(word).substr(marked ? 1 : 0));
    if (number && *number < 0) *number += static_cast<int64_t>(columns_);
    const bool there = number && *number >= 0 && *number < static_cast<int64_t>(columns_);
    if (named.size() > 1)
      throw usage_error(
          "{}: {} columns of {} are called {}; say which by its number, counted from 0: the first is #{}",
          option_, named.size(), path_, shown(word), named[0]);
    if (!named.empty()) {
      if (there && *number != static_cast<int64_t>(named[0]))
        throw usage_error(
            "{}: {} is the name of one column of {} and, counted from 0, the number of another; say #{} or "
            "#{}",
            option_, shown(word), path_, named[0], *number);
      return named[0];
    }
    if (there) return static_cast<size_t>(*number);
    if (number)
      throw usage_error("{}: {} has {} columns, counted from 0: there is no {}", option_, path_, columns_,
                        shown(word));
    missing(word);
  }

  [[noreturn]] void missing(const std::string& word) const {
    throw usage_error(
        "{}: {} has no column called {}; {}", option_, path_, word.empty() ? "\"\"" : shown(word),
        header_.empty()
            ? "its first line is a sample and names none: give numbers, counted from 0 (--csv-header)"
            : "its columns are " + listed());
  }

  std::string listed() const {
    constexpr size_t kMost = 20;
    std::vector<std::string> names;
    for (size_t c = 0; c < std::min(kMost, header_.size()); ++c) names.push_back(shown(header_[c]));
    return fmt::format("{}{}", fmt::join(names, ", "),
                       header_.size() > kMost ? fmt::format(", ... ({} columns)", header_.size()) : "");
  }

  const std::vector<std::string>& header_;
  const size_t columns_;
  const std::string& option_;
  const std::string& path_;
};

}  // namespace

const PreparedColumn* ColumnPlan::find(const std::string& name) const {
  for (const PreparedColumn& column : prepared)
    if (column.name == name) return &column;
  return nullptr;
}

std::vector<size_t> columns_in(const std::string& list, const std::vector<std::string>& header,
                               size_t columns, const std::string& option, const std::string& path) {
  return ListReader(header, columns, option, path).read(list);
}

std::optional<size_t> find_kept_column(const std::string& name, const std::vector<std::string>& header,
                                       size_t columns) {
  const auto it = std::find(header.begin(), header.end(), name);
  if (it != header.end()) {
    if (std::count(it, header.end(), name) > 1) return std::nullopt;
    return static_cast<size_t>(it - header.begin());
  }
  if (!name.starts_with('#')) return std::nullopt;
  const std::optional<int64_t> number = whole(std::string_view(name).substr(1));
  if (!number || *number < 0 || *number >= static_cast<int64_t>(columns)) return std::nullopt;
  return static_cast<size_t>(*number);
}

size_t kept_column(const std::string& name, const std::vector<std::string>& header, size_t columns,
                   const std::string& option, const std::string& path) {
  return ListReader(header, columns, option, path).kept(name);
}

std::vector<std::string> words_of(const std::string& list) {
  std::vector<std::string> words{list};
  for (const std::string& word : ListReader::split(list)) {
    words.push_back(word);
    if (const size_t dots = word.find(".."); dots != std::string::npos) words.push_back(word.substr(0, dots));
  }
  std::erase_if(words, [](const std::string& w) { return w.empty() || whole(w); });
  return words;
}

std::string to_json(const ColumnPlan& plan) {
  Json columns = Json::array();
  for (const PreparedColumn& column : plan.prepared) {
    Json one{{"name", column.name}, {"as", word_of(column.kind)}};
    if (column.kind == Preparation::kStandardized) {
      one["mean"] = column.mean;
      one["deviation"] = column.deviation;
    } else {
      one["categories"] = column.categories;
    }
    columns.push_back(std::move(one));
  }
  return Json{{"inputs", plan.inputs}, {"labels", plan.labels}, {"columns", std::move(columns)}}.dump();
}

ColumnPlan plan_from_json(std::string_view text, const std::string& source) {
  ColumnPlan plan;
  plan.source = source;
  const auto damaged = [&](const std::string& why) {
    return input_error("{}: what it says of the columns of tables is damaged: {}", source, why);
  };
  try {
    const Json json = Json::parse(text);
    json.at("inputs").get_to(plan.inputs);
    json.at("labels").get_to(plan.labels);
    for (const Json& one : json.at("columns")) {
      PreparedColumn column;
      one.at("name").get_to(column.name);
      const auto as = one.at("as").get<std::string>();
      if (as == word_of(Preparation::kStandardized)) {
        column.kind = Preparation::kStandardized;
        one.at("mean").get_to(column.mean);
        one.at("deviation").get_to(column.deviation);
        if (!std::isfinite(column.mean) || !std::isfinite(column.deviation) || !(column.deviation > 0))
          throw damaged(fmt::format("the mean {} and deviation {} of {}", column.mean, column.deviation,
                                    shown(column.name)));
      } else if (as == word_of(Preparation::kOneHot) || as == word_of(Preparation::kCodes)) {
        column.kind = as == word_of(Preparation::kCodes) ? Preparation::kCodes : Preparation::kOneHot;
        one.at("categories").get_to(column.categories);
        const std::set<std::string> different(column.categories.begin(), column.categories.end());
        if (different.empty() || different.size() != column.categories.size())
          throw damaged(fmt::format("{} has no categories, or one of them twice", shown(column.name)));
      } else {
        throw damaged(fmt::format("{} is read as \"{}\"; this version has standardize, one-hot and codes",
                                  shown(column.name), shown(as)));
      }
      if (plan.find(column.name) != nullptr)
        throw damaged(fmt::format("{} is there twice", shown(column.name)));
      plan.prepared.push_back(std::move(column));
    }
  } catch (const Json::exception& e) {
    throw damaged(e.what());
  }
  return plan;
}

}  // namespace halftone::data
