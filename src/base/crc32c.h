// CRC-32C (Castagnoli), as TensorBoard's records and our checkpoints use it.
#pragma once

#include <cstdint>

namespace halftone {

// Of `size` bytes; `crc` chains calls, start with 0. Source of the check values in its test: RFC 3720,
// appendix B.4.
uint32_t crc32c(const void* bytes, int64_t size, uint32_t crc = 0);

}  // namespace halftone
