#include "data/zip.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "data/inflate.h"

namespace halftone::data {
namespace {

constexpr uint32_t kEnd = 0x06054b50;
constexpr uint32_t kEnd64Locator = 0x07064b50;
constexpr uint32_t kEnd64 = 0x06064b50;
constexpr uint32_t kEntry = 0x02014b50;
constexpr uint32_t kLocal = 0x04034b50;
constexpr int64_t kEndBytes = 22;
constexpr int64_t kEntryBytes = 46;
constexpr int64_t kLocalBytes = 30;

// Little-endian numbers in a string whose length the caller checked.
uint64_t number(const std::string& bytes, size_t at, size_t width) {
  HT_ASSERT(at + width <= bytes.size());
  uint64_t value = 0;
  for (size_t i = width; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[at + i]);
  return value;
}
uint32_t u16(const std::string& bytes, size_t at) {
  return static_cast<uint32_t>(number(bytes, at, 2));
}
uint32_t u32(const std::string& bytes, size_t at) {
  return static_cast<uint32_t>(number(bytes, at, 4));
}

struct Directory {
  uint64_t entries;
  uint64_t bytes;
  uint64_t offset;
};

Error damaged(const Bytes& file, const char* what) {
  return input_error("{}: damaged zip file: {}", file.name(), what);
}

// `count` bytes at `offset`, both as the file claims them.
std::string claimed(const Bytes& file, uint64_t offset, uint64_t count, const char* what) {
  const auto size = static_cast<uint64_t>(file.size());
  if (offset > size || count > size - offset) throw damaged(file, what);
  return read_part(file, static_cast<int64_t>(offset), static_cast<int64_t>(count));
}

Directory find_directory(const Bytes& file) {
  // The end record is last, before a comment of at most 65535 bytes.
  const int64_t tail_bytes = std::min<int64_t>(file.size(), kEndBytes + 65535);
  const std::string tail = read_part(file, file.size() - tail_bytes, tail_bytes);
  for (int64_t at = tail_bytes - kEndBytes; at >= 0; --at) {
    const auto p = static_cast<size_t>(at);
    if (u32(tail, p) != kEnd || at + kEndBytes + u16(tail, p + 20) != tail_bytes) continue;
    Directory directory{u16(tail, p + 10), u32(tail, p + 12), u32(tail, p + 16)};
    const bool is64 =
        directory.entries == 0xFFFF || directory.bytes == 0xFFFFFFFFU || directory.offset == 0xFFFFFFFFU;
    const int64_t end = file.size() - tail_bytes + at;
    if (is64 && end >= 20) {
      const std::string locator = read_part(file, end - 20, 20);
      if (u32(locator, 0) == kEnd64Locator) {
        const std::string end64 =
            claimed(file, number(locator, 8, 8), 56, "its zip64 end record lies outside");
        if (u32(end64, 0) != kEnd64) throw damaged(file, "its zip64 end record is something else");
        directory = {number(end64, 32, 8), number(end64, 40, 8), number(end64, 48, 8)};
      }
    }
    return directory;
  }
  throw damaged(file, "it has no directory (it may be cut off)");
}

// Sizes of 0xFFFFFFFF stand in the zip64 extra field, in this order.
void read_extra64(const Bytes& file, const std::string& extra, uint64_t& bytes, uint64_t& compressed,
                  uint64_t& header) {
  size_t at = 0;
  while (at + 4 <= extra.size()) {
    const uint32_t id = u16(extra, at);
    const size_t length = u16(extra, at + 2);
    at += 4;
    if (length > extra.size() - at) return;
    if (id == 1) {
      size_t p = at;
      for (uint64_t* value : {&bytes, &compressed, &header}) {
        if (*value != 0xFFFFFFFFU) continue;
        if (p + 8 > at + length) throw damaged(file, "its zip64 field is too short");
        *value = number(extra, p, 8);
        p += 8;
      }
      return;
    }
    at += length;
  }
}

// The member's bytes as the file has them.
std::shared_ptr<const Bytes> stored_bytes(const std::shared_ptr<const Bytes>& file, const ZipMember& member) {
  const std::string local =
      claimed(*file, static_cast<uint64_t>(member.header), kLocalBytes, "a local header lies outside");
  if (u32(local, 0) != kLocal) throw damaged(*file, "a local header is something else");
  const int64_t start = member.header + kLocalBytes + u16(local, 26) + u16(local, 28);
  if (start > file->size() || member.compressed_bytes > file->size() - start)
    throw damaged(*file, "a member lies outside");
  return part_of(file, start, member.compressed_bytes, fmt::format("{}, {}", file->name(), member.name));
}

}  // namespace

std::vector<ZipMember> read_zip(const Bytes& file) {
  const Directory directory = find_directory(file);
  const std::string entries = claimed(file, directory.offset, directory.bytes, "its directory lies outside");
  std::vector<ZipMember> members;
  size_t at = 0;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (entries.size() - at < kEntryBytes || u32(entries, at) != kEntry)
      throw damaged(file, "its directory has fewer entries than it says");
    const uint32_t flags = u16(entries, at + 8);
    const uint32_t method = u16(entries, at + 10);
    uint64_t compressed = u32(entries, at + 20);
    uint64_t bytes = u32(entries, at + 24);
    const size_t name_bytes = u16(entries, at + 28);
    const size_t extra_bytes = u16(entries, at + 30);
    const size_t comment_bytes = u16(entries, at + 32);
    uint64_t header = u32(entries, at + 42);
    ZipMember member;
    member.crc = u32(entries, at + 16);
    at += kEntryBytes;
    if (entries.size() - at < name_bytes + extra_bytes + comment_bytes)
      throw damaged(file, "an entry of its directory is cut off");
    member.name = entries.substr(at, name_bytes);
    read_extra64(file, entries.substr(at + name_bytes, extra_bytes), bytes, compressed, header);
    at += name_bytes + extra_bytes + comment_bytes;
    if ((flags & 1U) != 0) throw input_error("{}: {} in it is encrypted", file.name(), member.name);
    if (method != 0 && method != 8)
      throw input_error("{}: {} in it has compression {}; stored (0) and deflated (8) are read", file.name(),
                        member.name, method);
    member.deflated = method == 8;
    const auto size = static_cast<uint64_t>(file.size());
    if (compressed > size || header > size ||
        bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
        (!member.deflated && bytes != compressed))
      throw damaged(file, "the sizes of an entry are impossible");
    member.compressed_bytes = static_cast<int64_t>(compressed);
    member.bytes = static_cast<int64_t>(bytes);
    member.header = static_cast<int64_t>(header);
    members.push_back(std::move(member));
  }
  return members;
}

std::string member_prefix(const std::shared_ptr<const Bytes>& file, const ZipMember& member, int64_t bytes) {
  const std::shared_ptr<const Bytes> stored = stored_bytes(file, member);
  return member.deflated ? inflated_prefix(*stored, Deflated::kRaw, bytes)
                         : read_part(*stored, 0, std::min(bytes, stored->size()));
}

std::shared_ptr<const Bytes> open_member(const std::shared_ptr<const Bytes>& file, const ZipMember& member,
                                         int64_t prefix_bytes,
                                         const std::function<int64_t(const std::string& prefix)>& total) {
  std::shared_ptr<const Bytes> compressed = stored_bytes(file, member);
  const std::string name = compressed->name();
  if (!member.deflated) return compressed;
  const auto check = [&](const std::string& prefix) {
    const int64_t want = total(prefix);
    if (want != member.bytes)
      throw input_error("{}: its header says {} bytes, the zip's directory {}", name, want, member.bytes);
    return want;
  };
  return open_deflated(std::move(compressed), Deflated::kRaw, prefix_bytes, check, &member.crc, name);
}

}  // namespace halftone::data
