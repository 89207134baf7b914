// Makes every checksum and size of a damaged checkpoint right again, as far as its sections can be followed:
// so that tests and the fuzzer reach what lies behind the checksums.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "base/crc32c.h"
#include "base/file.h"

namespace halftone::train {

inline void repair_checksums(std::string& bytes) {
  constexpr size_t kHeader = 36;
  constexpr size_t kEnd = 12;
  if (bytes.size() < kHeader + kEnd) return;
  const auto crc_of = [&](size_t at, size_t size, uint32_t crc = 0) {
    return crc32c(bytes.data() + at, static_cast<int64_t>(size), crc);
  };
  const auto put = [&](size_t at, auto value) { std::memcpy(&bytes[at], &value, sizeof value); };
  std::memcpy(&bytes[0], "HTCKPT\r\n\1\0\0\0", 12);
  put(24, static_cast<uint64_t>(bytes.size()));
  put(32, crc_of(0, 32));
  uint32_t structure = crc_of(0, kHeader);
  size_t at = kHeader;
  const size_t end = bytes.size() - kEnd;
  while (at + 16 <= end) {
    uint32_t description = 0;
    uint64_t content = 0;
    std::memcpy(&description, &bytes[at + 4], sizeof description);
    std::memcpy(&content, &bytes[at + 8], sizeof content);
    const size_t room = end - at;
    if (description > room || 16 + description + 4 > room) break;
    const size_t head = 16 + description;
    put(at + head, crc_of(at, head));
    structure = crc_of(at, head + 4, structure);
    at += head + 4;
    if (content > end - at || content + 4 > end - at) break;
    put(at + content, crc_of(at, content));
    structure = crc_of(at + content, 4, structure);
    at += content + 4;
  }
  std::memcpy(&bytes[end], "HTCKEND\n", 8);
  put(end + 8, structure);
}

}  // namespace halftone::train
