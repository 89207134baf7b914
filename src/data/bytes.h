// Bytes with random access: a file on disk, a part of one, or memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace halftone::data {

class Bytes {
 public:
  virtual ~Bytes() = default;
  virtual int64_t size() const = 0;
  // Copies [offset, offset + count) to `out`; the range must lie inside. May be called by many threads at
  // once. Errors: the disk fails, or the file was changed since it was opened; `name()` is in the message.
  virtual void read(int64_t offset, int64_t count, void* out) const = 0;
  // The bytes themselves if they are in memory, else null.
  virtual const uint8_t* memory() const { return nullptr; }
  const std::string& name() const { return name_; }

 protected:
  explicit Bytes(std::string name) : name_(std::move(name)) {}

 private:
  std::string name_;
};

enum class FileUse : uint8_t {
  kKeptOpen,     // a file that replaces it does no harm
  kOpenedToRead  // for each read, where there are more files than a process may have open; it must stay
};
std::shared_ptr<const Bytes> file_bytes(const std::string& path, FileUse use = FileUse::kKeptOpen);
std::shared_ptr<const Bytes> memory_bytes(std::string bytes, std::string name);
// [offset, offset + count) of `whole`, which must lie inside.
std::shared_ptr<const Bytes> part_of(std::shared_ptr<const Bytes> whole, int64_t offset, int64_t count,
                                     std::string name);

// [offset, offset + count) as a string; the range must lie inside.
std::string read_part(const Bytes& bytes, int64_t offset, int64_t count);

}  // namespace halftone::data
