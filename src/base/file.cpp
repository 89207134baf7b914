#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/descriptor.h"
#include "base/regular_file.h"
#include "base/resource_error.h"
#include "base/stop.h"
#include "base/write_all.h"

namespace halftone {
namespace {

constexpr int64_t kPieceBytes = int64_t{16} << 20;

// Of a folder that cannot be synchronised: whether that is a matter of the file system or of permissions, not
// of a failing disk.
bool is_not_offered(int error) {
  return error == EACCES || error == EPERM || error == EINVAL || error == EBADF || error == ENOTSUP ||
         error == ENOSYS || error == EROFS;
}

}  // namespace

void sync_folder_of(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  const Descriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() >= 0 && ::fsync(fd.get()) == 0) return;
  const int error = errno;
  if (!is_not_offered(error)) throw file_error(error, "cannot synchronise the folder " + folder);
}

InputFile::InputFile(std::string path, int64_t max_bytes) : path_(std::move(path)) {
  Descriptor fd(open_regular(path_));
  stamp_ = stamp_of(fd.get(), path_);
  if (size() > max_bytes)
    throw input_error("cannot read {}: it has {} bytes, at most {} are allowed here", path_, size(),
                      max_bytes);
  fd_ = fd.release();
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), stamp_(other.stamp_) {}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void InputFile::read(int64_t offset, int64_t size, void* to) const {
  const int64_t all = stamp_.bytes;
  HT_ASSERT(offset >= 0 && size >= 0 && offset <= all && size <= all - offset, "{} from {} of {}", size,
            offset, all);
  char* p = static_cast<char*>(to);
  int64_t done = 0;
  while (done < size) {
    check_stop();
    // In pieces, so that a request to stop is seen on a slow disk too.
    const int64_t piece = std::min(size - done, kPieceBytes);
    const ssize_t got = ::pread(fd_, p + done, static_cast<size_t>(piece), offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw file_error(errno, "cannot read " + path_);
    if (got == 0)
      throw input_error("cannot read {}: it ended after {} of {} bytes", path_, offset + done, all);
    done += got;
  }
  if (const Stamp now = stamp_of(fd_, path_); now != stamp_)
    throw input_error(
        "{} was changed while it was in use ({} bytes when it was opened, {} now); start again with a file "
        "that stays as it is",
        path_, all, now.bytes);
}

std::string read_file(const std::string& path, int64_t max_bytes) {
  const InputFile file(path, max_bytes);
  std::string bytes(static_cast<size_t>(file.size()), '\0');
  file.read(0, file.size(), bytes.data());
  return bytes;
}

namespace {

// The file at `temporary`, empty, and ours alone while it is open: two processes that write one file (two
// exports) must not mix theirs.
int create_temporary(const std::string& temporary, const std::string& path) {
  for (;;) {
    Descriptor fd(create_regular(temporary, 0));
    // Some file systems have no locks.
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && !is_not_offered(errno)) {
      if (errno == EWOULDBLOCK) throw usage_error("{} is being written by another process", path);
      throw file_error(errno, "cannot lock " + temporary);
    }
    // The other one may have renamed or removed it before we had the lock.
    struct stat ours {
    }, there{};
    if (::fstat(fd.get(), &ours) != 0) throw file_error(errno, "cannot write " + temporary);
    if (::stat(temporary.c_str(), &there) != 0 || there.st_ino != ours.st_ino || there.st_dev != ours.st_dev)
      continue;
    if (::ftruncate(fd.get(), 0) != 0) throw file_error(errno, "cannot write " + temporary);
    return fd.release();
  }
}

}  // namespace

void write_file_atomically(const std::string& path, const std::function<void(const Sink&)>& write) {
  check_writable_place(path);
  const std::string temporary = path + ".tmp";
  const Descriptor fd(create_temporary(temporary, path));
  try {
    write([&](const void* bytes, int64_t size) { write_all(fd.get(), bytes, size, temporary); });
    if (::fsync(fd.get()) != 0) throw file_error(errno, "cannot write " + temporary);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    throw file_error(error, "cannot replace " + path);
  }
  sync_folder_of(path);
}

void write_file_atomically(const std::string& path, std::string_view bytes) {
  write_file_atomically(path,
                        [&](const Sink& sink) { sink(bytes.data(), static_cast<int64_t>(bytes.size())); });
}

void make_folder(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> made;
  for (fs::path p = path; !p.empty() && fs::symlink_status(p, error).type() == fs::file_type::not_found;
       p = p.parent_path())
    if (!p.filename().empty()) made.push_back(p.string());
  fs::create_directories(path, error);
  // Also where a link to a folder stands, which create_directories takes for something in the way.
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    // What is written into them is lost with them.
    try {
      for (const std::string& folder : made) sync_folder_of(folder);
    } catch (...) {
      for (const std::string& folder : made) ::rmdir(folder.c_str());
      throw;
    }
    return;
  }
  if (error) throw file_error(error.value(), "cannot create the folder " + path);
  throw input_error("cannot create the folder {}: a file is in the way", path);
}

}  // namespace halftone
