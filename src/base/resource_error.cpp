#include "base/resource_error.h"

#include <cerrno>
#include <cstring>

#include "halftone/printable.h"

namespace halftone {

ErrorKind kind_of_file_error(int error) {
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
      return kResources;
    default:
      return ErrorKind::kInput;
  }
}

Error file_error(int error, std::string_view what) {
  return {kind_of_file_error(error), fmt::format("{}: {}", printable(what), std::strerror(error))};
}

}  // namespace halftone
