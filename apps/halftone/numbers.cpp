#include "numbers.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <system_error>

namespace cli {
namespace {

// The text without a leading plus sign, which from_chars does not read.
std::string_view digits_of(const std::string& text) {
  const std::string_view all = text;
  return all.size() > 1 && all[0] == '+' && all[1] != '-' ? all.substr(1) : all;
}

template <class T>
std::errc read(const std::string& text, T& value) {
  const std::string_view digits = digits_of(text);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc()) return error;
  return end == digits.data() + digits.size() ? std::errc() : std::errc::invalid_argument;
}

// The text becomes the number's plain decimal form: the parser reads 010 as 8.
template <class T>
std::string whole_number(std::string& text) {
  T value = 0;
  const std::errc error = read(text, value);
  if (error == std::errc()) {
    text = std::to_string(value);
    return "";
  }
  if (error == std::errc::result_out_of_range)
    return text + " is not possible: expected a whole number from " +
           std::to_string(std::numeric_limits<T>::min()) + " to " +
           std::to_string(std::numeric_limits<T>::max());
  // As a number without sign it would wrap around.
  if (std::numeric_limits<T>::min() == 0 && text.rfind('-', 0) == 0)
    return text + " is not possible: expected 0 or more";
  return "'" + text + "' is not a whole number in decimal digits";
}

// "auto" becomes 0, which is none of the numbers.
std::string number_or_auto(std::string& text) {
  if (text == "auto") {
    text = "0";
    return "";
  }
  std::string error = whole_number<int64_t>(text);
  if (error.empty() && text == "0") error = "0 is not possible: expected at least 1, or auto";
  return error;
}

std::string finite_number(std::string& text) {
  double value = 0;
  const std::errc error = read(text, value);
  if (error == std::errc::result_out_of_range)
    return text + " is not possible: expected a finite number within the range of fp64";
  if (error != std::errc()) return "'" + text + "' is not a number";
  return std::isfinite(value) ? "" : text + " is not possible: expected a finite number";
}

}  // namespace

void check_numbers(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    if (type == "INT") option->transform(CLI::Validator(whole_number<int64_t>, ""));
    if (type == kNumberOrAuto) option->transform(CLI::Validator(number_or_auto, ""));
    if (type == "UINT") option->transform(CLI::Validator(whole_number<uint64_t>, ""));
    if (type == "FLOAT") option->transform(CLI::Validator(finite_number, ""));
  }
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) check_numbers(*command);
}

}  // namespace cli
