#include "train/byte_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "base/regular_file.h"
#include "base/resource_error.h"

namespace halftone::train {

ByteSource::ByteSource(const std::string& path) : name_(path) {
  fd_ = open_regular(path);
  struct stat info {};
  if (::fstat(fd_, &info) != 0) {
    const int error = errno;
    ::close(fd_);
    throw file_error(error, "cannot read " + path);
  }
  size_ = info.st_size;
}

ByteSource::ByteSource(std::string_view bytes, std::string name)
    : name_(std::move(name)), memory_(bytes), size_(static_cast<int64_t>(bytes.size())) {}

ByteSource::~ByteSource() {
  if (fd_ >= 0) ::close(fd_);
}

void ByteSource::read(void* to, int64_t bytes) {
  HT_ASSERT(bytes >= 0 && bytes <= remaining(), "{} of {} bytes", bytes, remaining());
  if (bytes == 0) return;
  if (fd_ < 0) {
    std::memcpy(to, memory_.data() + position_, static_cast<size_t>(bytes));
    position_ += bytes;
    return;
  }
  char* p = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::read(fd_, p, static_cast<size_t>(bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error(errno, "cannot read " + name_);
    if (got == 0) throw input_error("cannot read {}: it ended after {} of {} bytes", name_, position_, size_);
    p += got;
    bytes -= got;
    position_ += got;
  }
}

void ByteSource::skip(int64_t bytes) {
  HT_ASSERT(bytes >= 0 && bytes <= remaining(), "{} of {} bytes", bytes, remaining());
  if (fd_ >= 0 && ::lseek(fd_, bytes, SEEK_CUR) < 0) throw file_error(errno, "cannot read " + name_);
  position_ += bytes;
}

}  // namespace halftone::train
