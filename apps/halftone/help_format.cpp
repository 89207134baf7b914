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

std::string HelpFormat::make_option_name(const CLI::Option* option, bool is_positional) const {
  if (is_positional || option->get_lnames().empty())
    return CLI::Formatter::make_option_name(option, is_positional);
  std::string name;
  for (const std::string& letter : option->get_snames()) name += "-" + letter + ",";
  return name + "--" + option->get_lnames().front();
}

std::string HelpFormat::make_option_desc(const CLI::Option* option) const {
  std::string text = option->get_description();
  const std::vector<std::string>& names = option->get_lnames();
  for (size_t i = 1; i < names.size(); ++i)
    text += (i == 1 ? " (also --" : ", --") + names[i] + (i + 1 == names.size() ? ")" : "");
  return text;
}

}  // namespace cli
