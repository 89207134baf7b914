// Values of the flat YAML that a run records (config.yaml), without a YAML parser, which the library does not have.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone::api {

// Of what stands behind "key: ": a plain or quoted text, "[a, b]", or ~ (none). Error (input) for anything else;
// `where` begins it.
std::vector<std::string> yaml_values(std::string_view text, const std::string& where);

}  // namespace halftone::api
