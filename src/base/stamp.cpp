#include "base/stamp.h"

#include <sys/stat.h>

#include <cerrno>

#include "base/error.h"
#include "base/resource_error.h"

namespace halftone {
namespace {

Stamp stamp_in(const struct stat& info) {
  return {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
}

}  // namespace

Stamp stamp_of(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? stamp_in(info) : Stamp{};
}

Stamp stamp_of(int descriptor, const std::string& path) {
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) throw file_error(errno, "cannot read " + path);
  return stamp_in(info);
}

void check_stamp(const std::string& path, const Stamp& now, const Stamp& before) {
  if (now == before) return;
  if (now.bytes < 0) throw input_error("{} is gone; it was there when the run began", path);
  throw input_error(
      "{} was changed while the run was going on ({} bytes when it began, {} now); put the old file back",
      path, before.bytes, now.bytes);
}

}  // namespace halftone
