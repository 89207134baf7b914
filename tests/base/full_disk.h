// A full disk without one: files cannot grow beyond a limit.
#pragma once

#include <sys/resource.h>

#include <csignal>

namespace halftone {

// While it lives, writes beyond `bytes` of a file fail with EFBIG. Undone at the end.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit tight { .rlim_cur = bytes, .rlim_max = before_.rlim_max };
    ::setrlimit(RLIMIT_FSIZE, &tight);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  void (*handler_)(int);
  struct rlimit before_ {};
};

}  // namespace halftone
