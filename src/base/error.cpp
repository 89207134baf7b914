#include "base/error.h"

namespace halftone {

void assertion_failed(const char* condition, const char* file, int line, const std::string& what) {
  throw InternalError(fmt::format(
      "internal error: {} does not hold at {}:{}{}{}. This is a bug of Halftone; please report it.",
      condition, file, line, what.empty() ? "" : ": ", what));
}

}  // namespace halftone
