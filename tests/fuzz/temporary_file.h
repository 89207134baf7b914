// A file, in a folder of its own, that a fuzzer gives its readers: in memory where that is possible.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace halftone::fuzz {

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& name) {
    namespace fs = std::filesystem;
    for (const fs::path& base : {fs::path("/dev/shm"), fs::temp_directory_path()}) {
      std::string pattern = (base / "halftone-fuzz-XXXXXX").string();
      if (::mkdtemp(pattern.data()) == nullptr) continue;
      folder_ = pattern;
      path_ = folder_ + "/" + name;
      return;
    }
    throw std::runtime_error("no temporary folder");
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  const std::string& path() const { return path_; }
  const std::string& folder() const { return folder_; }

  // Its path, with these bytes in it.
  const std::string& with(std::string_view bytes) const { return put(path_, bytes); }
  // The same of another file of the folder.
  void beside(const std::string& name, std::string_view bytes) const { put(folder_ + "/" + name, bytes); }

 private:
  static const std::string& put(const std::string& path, std::string_view bytes) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (::close(fd) != 0 || written != static_cast<ssize_t>(bytes.size()))
      throw std::runtime_error("cannot write " + path);
    return path;
  }

  std::string folder_, path_;
};

}  // namespace halftone::fuzz
