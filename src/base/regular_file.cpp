#include "base/regular_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/descriptor.h"
#include "base/resource_error.h"

namespace halftone {
namespace {

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

}  // namespace

int open_regular(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must end in the message below, not wait for a writer.
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  // What a socket and some devices answer.
  if (fd.get() < 0 && errno == ENXIO)
    throw input_error("cannot read {}: it is a socket or a device, not a regular file", path);
  if (fd.get() < 0) throw file_error(errno, "cannot open " + path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) throw file_error(errno, "cannot read " + path);
  if (!S_ISREG(info.st_mode))
    throw input_error("cannot read {}: it is {}, not a regular file", path, kind_of(info.st_mode));
  return fd.release();
}

int create_regular(const std::string& path, int flags) {
  Descriptor fd(::open(path.c_str(),
                       O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | flags, 0644));
  if (fd.get() < 0 && errno == ENXIO)
    throw input_error("cannot write {}: it is a FIFO, a socket or a device, not a regular file", path);
  if (fd.get() < 0) throw file_error(errno, "cannot create " + path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) throw file_error(errno, "cannot write " + path);
  if (!S_ISREG(info.st_mode))
    throw input_error("cannot write {}: it is {}, not a regular file", path, kind_of(info.st_mode));
  return fd.release();
}

void check_writable_place(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode))
      throw input_error("cannot write {}: it is {}, not a regular file", path, kind_of(info.st_mode));
  } else if (errno != ENOENT) {
    throw file_error(errno, "cannot write " + path);
  }
}

}  // namespace halftone
