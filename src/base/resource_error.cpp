#include "base/resource_error.h"

#include <cerrno>
#include <cstring>

#include "halftone/printable.h"

namespace halftone {

Error file_error(int error, std::string_view what) {
  ErrorKind kind = ErrorKind::kInput;
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EIO:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
    case EPIPE:
    case ENOLCK:
      kind = kResources;
      break;
    default:
      break;
  }
  return {kind, fmt::format("{}: {}", printable(what), std::strerror(error))};
}

}  // namespace halftone
