// The operators of ONNX that this build reads.
#pragma once

#include <string>

namespace halftone {

// Of each its name and opsets, and whether it is computed, computed when loading only, or gone when a network
// has been read; then those that are refused with a reason of their own. json: {"operators": [{name, since,
// until, kind}], "refused": [{name, reason}]}.
struct Operators {
  std::string text;
  std::string json;
};
Operators operators();

}  // namespace halftone
