// Compressed data that would take too much memory whole: read in place, from marks on the way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/bytes.h"
#include "data/inflate.h"

namespace halftone::data {

// What compressed data may become in memory; more than that is read in place.
constexpr int64_t most_in_memory(int64_t compressed_bytes) {
  constexpr int64_t kAlways = int64_t{64} << 20;
  constexpr int64_t kTimes = 16;
  return compressed_bytes > kAlways / kTimes ? kTimes * compressed_bytes : kAlways;
}

// The `total` bytes that `compressed` becomes, whose CRC-32 is *crc unless that is null. All are inflated
// once now, to find marks and to check them; the marks take at most as much memory as the compressed data and
// 4 MiB. A read inflates what lies between the mark before it, or an earlier read, and its place. Errors:
// damaged, cut off, more or fewer bytes, another CRC.
std::shared_ptr<const Bytes> indexed_deflate(std::shared_ptr<const Bytes> compressed, Deflated format,
                                             int64_t total, const uint32_t* crc, const std::string& name);

}  // namespace halftone::data
