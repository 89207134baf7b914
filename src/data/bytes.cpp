#include "data/bytes.h"

#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/stamp.h"

namespace halftone::data {
namespace {

void check_range(const Bytes& bytes, int64_t offset, int64_t count) {
  HT_ASSERT(offset >= 0 && count >= 0 && offset <= bytes.size() && count <= bytes.size() - offset,
            "bytes {} + {} of {} in {}", offset, count, bytes.size(), bytes.name());
}

class FileBytes final : public Bytes {
 public:
  explicit FileBytes(const std::string& path) : Bytes(path), file_(path) {}
  int64_t size() const override { return file_.size(); }
  void read(int64_t offset, int64_t count, void* out) const override {
    check_range(*this, offset, count);
    file_.read(offset, count, out);
  }

 private:
  InputFile file_;
};

class ReopenedBytes final : public Bytes {
 public:
  explicit ReopenedBytes(const std::string& path) : Bytes(path), stamp_(InputFile(path).stamp()) {}
  int64_t size() const override { return stamp_.bytes; }
  void read(int64_t offset, int64_t count, void* out) const override {
    check_range(*this, offset, count);
    const InputFile file(name());  // which sees what is changed from now on
    check_stamp(name(), file.stamp(), stamp_);
    file.read(offset, count, out);
  }

 private:
  Stamp stamp_;
};

class MemoryBytes final : public Bytes {
 public:
  MemoryBytes(std::string bytes, std::string name) : Bytes(std::move(name)), bytes_(std::move(bytes)) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  void read(int64_t offset, int64_t count, void* out) const override {
    check_range(*this, offset, count);
    if (count > 0) std::memcpy(out, bytes_.data() + offset, static_cast<size_t>(count));
  }
  const uint8_t* memory() const override { return reinterpret_cast<const uint8_t*>(bytes_.data()); }

 private:
  std::string bytes_;
};

class PartBytes final : public Bytes {
 public:
  PartBytes(std::shared_ptr<const Bytes> whole, int64_t offset, int64_t count, std::string name)
      : Bytes(std::move(name)), whole_(std::move(whole)), offset_(offset), count_(count) {
    check_range(*whole_, offset, count);
  }
  int64_t size() const override { return count_; }
  void read(int64_t offset, int64_t count, void* out) const override {
    check_range(*this, offset, count);
    whole_->read(offset_ + offset, count, out);
  }
  const uint8_t* memory() const override {
    const uint8_t* all = whole_->memory();
    return all == nullptr ? nullptr : all + offset_;
  }

 private:
  std::shared_ptr<const Bytes> whole_;
  int64_t offset_;
  int64_t count_;
};

}  // namespace

std::shared_ptr<const Bytes> file_bytes(const std::string& path, FileUse use) {
  if (use == FileUse::kOpenedToRead) return std::make_shared<ReopenedBytes>(path);
  return std::make_shared<FileBytes>(path);
}

std::shared_ptr<const Bytes> memory_bytes(std::string bytes, std::string name) {
  return std::make_shared<MemoryBytes>(std::move(bytes), std::move(name));
}

std::shared_ptr<const Bytes> part_of(std::shared_ptr<const Bytes> whole, int64_t offset, int64_t count,
                                     std::string name) {
  return std::make_shared<PartBytes>(std::move(whole), offset, count, std::move(name));
}

std::string read_part(const Bytes& bytes, int64_t offset, int64_t count) {
  std::string part(static_cast<size_t>(count), '\0');
  bytes.read(offset, count, part.data());
  return part;
}

}  // namespace halftone::data
