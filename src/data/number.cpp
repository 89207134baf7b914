#include "data/number.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/words.h"
#include "data/text.h"

namespace halftone::data {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

size_t digits(std::string_view text) {
  return static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
}

// Whether `text` is groups of digits as in 1,234,567; how many separators it has.
bool grouped(std::string_view text, char separator, int64_t& separators) {
  separators = 0;
  const size_t first = digits(text);
  if (first == 0 || first > 3 || text[0] == '0') return false;
  text.remove_prefix(first);
  while (!text.empty()) {
    if (text[0] != separator || digits(text.substr(1)) != 3) return false;
    text.remove_prefix(4);
    ++separators;
  }
  return separators > 0;
}

// Digits with thousands separators, and then a fraction after the other mark.
bool thousands(std::string_view body, char separator, char mark) {
  int64_t separators = 0;
  const size_t at = body.find(mark);
  if (at == std::string_view::npos) return grouped(body, separator, separators) && separators > 1;
  const std::string_view fraction = body.substr(at + 1);
  return digits(fraction) == fraction.size() && grouped(body.substr(0, at), separator, separators);
}

}  // namespace

NumberForm form_of(std::string_view text) {
  text = trimmed(text);
  if (!text.empty() && (text[0] == '+' || text[0] == '-')) text.remove_prefix(1);
  const std::string_view body = text;
  const size_t whole = digits(text);
  text.remove_prefix(whole);
  size_t fraction = 0;
  char mark = 0;
  if (!text.empty() && (text[0] == '.' || text[0] == ',')) {
    mark = text[0];
    fraction = digits(text.substr(1));
    text.remove_prefix(1 + fraction);
  }
  if (whole + fraction == 0) return NumberForm::kNone;
  bool exponent = false;
  if (!text.empty() && (text[0] == 'e' || text[0] == 'E')) {
    text.remove_prefix(1);
    if (!text.empty() && (text[0] == '+' || text[0] == '-')) text.remove_prefix(1);
    const size_t n = digits(text);
    if (n == 0) return NumberForm::kNone;
    exponent = true;
    text.remove_prefix(n);
  }
  if (!text.empty())
    return thousands(body, ',', '.') || thousands(body, '.', ',') ? NumberForm::kThousands
                                                                  : NumberForm::kNone;
  if (mark == 0) return NumberForm::kWhole;
  if (mark == '.') return NumberForm::kPoint;
  int64_t ignored = 0;
  return !exponent && grouped(body, ',', ignored) ? NumberForm::kEither : NumberForm::kComma;
}

bool read_number(std::string_view text, char decimal, double& value) {
  const NumberForm form = form_of(text);
  const bool comma = form == NumberForm::kComma || form == NumberForm::kEither;
  if (form == NumberForm::kNone || form == NumberForm::kThousands) return false;
  if ((comma && decimal != ',') || (form == NumberForm::kPoint && decimal != '.')) return false;
  text = trimmed(text);
  if (text[0] == '+') text.remove_prefix(1);
  std::string changed;
  if (comma) {
    changed = text;
    std::replace(changed.begin(), changed.end(), ',', '.');
    text = changed;
  }
  const auto [p, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // Too large, or so small that it is 0; only the C function says which.
  if (error == std::errc::result_out_of_range) value = std::strtod(std::string(text).c_str(), nullptr);
  return (error == std::errc() || error == std::errc::result_out_of_range) &&
         p == text.data() + text.size() && std::isfinite(value) && std::isfinite(static_cast<float>(value));
}

bool is_missing_number(std::string_view text) {
  constexpr std::array<std::string_view, 11> kWords = {"",     "na",  "n/a", "#n/a", "nan",    "null",
                                                       "none", "nil", "?",   "-",    "missing"};
  return is_one_of(lower_case(trimmed(text)), kWords) || trimmed(text) == ".";
}

bool is_missing_name(std::string_view text) {
  constexpr std::array<std::string_view, 7> kWords = {"", "na", "n/a", "#n/a", "nan", "null", "?"};
  return is_one_of(lower_case(trimmed(text)), kWords);
}

std::string why_no_number(std::string_view text, char decimal) {
  const NumberForm form = form_of(text);
  const std::string what = shown(trimmed(text));
  if (is_missing_number(text))
    return what.empty() ? "the value is missing" : fmt::format("the value is missing (\"{}\")", what);
  if (form == NumberForm::kThousands || (form == NumberForm::kEither && decimal == '.'))
    return fmt::format("\"{}\" is not a finite number: thousands separators are not read", what);
  if (form == NumberForm::kComma)
    return fmt::format(
        "\"{}\" is not a finite number: a decimal comma, where the table has decimal points "
        "(--csv-decimal comma)",
        what);
  if (form == NumberForm::kPoint && decimal == ',')
    return fmt::format(
        "\"{}\" is not a finite number: a decimal point, where the table has decimal commas "
        "(--csv-decimal point)",
        what);
  if (form != NumberForm::kNone)
    return fmt::format("\"{}\" is not a finite number in fp32: it is too large", what);
  std::string_view body = trimmed(text);
  if (!body.empty() && (body[0] == '+' || body[0] == '-')) body.remove_prefix(1);
  if (body.size() > 2 && body[0] == '0' && (body[1] == 'x' || body[1] == 'X'))
    return fmt::format("\"{}\" is not a finite number: hexadecimal ones are not read", what);
  return fmt::format("\"{}\" is not a finite number", what);
}

}  // namespace halftone::data
