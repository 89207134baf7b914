// How --help shows an option: the same whatever version of CLI11 the program is built with.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace cli {

// "--batch INT=128", "--data SPEC REQUIRED", "--train PATTERN ...".
class HelpFormat : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override;
  // Other names of an option are behind its description.
  std::string make_option_name(const CLI::Option* option, bool is_positional) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

}  // namespace cli
