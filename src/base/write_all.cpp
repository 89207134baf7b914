#include "base/write_all.h"

#include <unistd.h>

#include <cerrno>

#include "base/resource_error.h"

namespace halftone {

void write_all(int fd, const void* bytes, int64_t size, const std::string& path) {
  const char* p = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::write(fd, p, static_cast<size_t>(size));
    if (written < 0) {
      if (errno == EINTR) continue;
      throw file_error(errno, "cannot write " + path);
    }
    p += written;
    size -= written;
  }
}

}  // namespace halftone
