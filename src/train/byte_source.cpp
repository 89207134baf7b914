#include "train/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace halftone::train {

ByteSource::ByteSource(const std::string& path) : name_(path) {
  // O_NONBLOCK: opening a pipe by mistake must end in the message below, not wait for a writer.
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) throw input_error("cannot open {}: {}", path, std::strerror(errno));
  struct stat info {};
  const bool known = ::fstat(fd_, &info) == 0;
  if (!known || !S_ISREG(info.st_mode)) {
    const std::string reason = known ? "it is not a regular file" : std::strerror(errno);
    ::close(fd_);
    throw input_error("cannot read {}: {}", path, reason);
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
    if (got < 0) throw input_error("cannot read {}: {}", name_, std::strerror(errno));
    if (got == 0) throw input_error("cannot read {}: it ended after {} of {} bytes", name_, position_, size_);
    p += got;
    bytes -= got;
    position_ += got;
  }
}

void ByteSource::skip(int64_t bytes) {
  HT_ASSERT(bytes >= 0 && bytes <= remaining(), "{} of {} bytes", bytes, remaining());
  if (fd_ >= 0 && ::lseek(fd_, bytes, SEEK_CUR) < 0)
    throw input_error("cannot read {}: {}", name_, std::strerror(errno));
  position_ += bytes;
}

}  // namespace halftone::train
