// How --help shows an option: the same whatever version of CLI11 the program is built with.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace cli {

// "--batch INT=128", "--data SPEC REQUIRED", "--train PATTERN ...".
class HelpFormat : public CLI::Formatter {
 public:
  std::string make_option_opts(const CLI::Option* option) const override;
};

}  // namespace cli
