// Whole files: read with a bound, written completely or not at all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/stamp.h"

namespace halftone {

// The file's bytes. Errors: missing, not a regular file, unreadable, larger than max_bytes.
std::string read_file(const std::string& path, int64_t max_bytes = int64_t{1} << 40);

// An open file that is read in pieces, long after it was opened too. It must stay as it is: every read fails
// when its size or time of modification changed since. (A file that replaces it under its name does no harm.)
class InputFile {
 public:
  // Errors: missing, not a regular file, larger than max_bytes.
  explicit InputFile(std::string path, int64_t max_bytes = int64_t{1} << 40);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return stamp_.bytes; }
  const Stamp& stamp() const { return stamp_; }  // when it was opened
  // [offset, offset + size), which must lie inside. Errors: unreadable, changed. May be called by several
  // threads.
  void read(int64_t offset, int64_t size, void* to) const;

 private:
  std::string path_;
  int fd_ = -1;
  Stamp stamp_;
};

// Replaces `path` by `bytes`, or leaves it as it was: temporary file beside it, fsync, rename, fsync of the
// folder.
void write_file_atomically(const std::string& path, std::string_view bytes);

// The same with a writer that is handed a sink; for contents too large to hold. The sink throws Error when
// the disk is full.
using Sink = std::function<void(const void* bytes, int64_t size)>;
void write_file_atomically(const std::string& path, const std::function<void(const Sink&)>& write);

// Makes a rename, link or removal of `path` itself durable: fsync of its folder, where the file system offers
// that. Errors: the disk fails.
void sync_folder_of(const std::string& path);

// Creates the folder and its parents, durably. Errors: a file is in the way, no permission.
void make_folder(const std::string& path);

}  // namespace halftone
