#include "help_format.h"

namespace cli {

std::string HelpFormat::make_option_opts(const CLI::Option* option) const {
  if (!option->get_option_text().empty()) return " " + option->get_option_text();
  std::string text;
  if (option->get_type_size() != 0) {
    if (!option->get_type_name().empty()) text += " " + option->get_type_name();
    if (!option->get_default_str().empty()) text += "=" + option->get_default_str();
    if (option->get_expected_max() == CLI::detail::expected_max_vector_size) text += " ...";
    if (option->get_required()) text += " REQUIRED";
  }
  const auto others = [&text](const char* title, const std::set<CLI::Option*>& options) {
    if (options.empty()) return;
    text += title;
    for (const CLI::Option* other : options) text += " " + other->get_name();
  };
  others(" Needs:", option->get_needs());
  others(" Excludes:", option->get_excludes());
  return text;
}

}  // namespace cli
