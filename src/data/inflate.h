// Deflate with a bound: compressed data says how much it holds before memory is spent on it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "data/bytes.h"

namespace halftone::data {

enum class Deflated { kGzip, kRaw };

// The whole contents of compressed bytes. `total(prefix)` is called with the first `prefix_bytes` bytes of
// the contents (fewer if there are no more) and returns the number of bytes that they must have, for instance
// from a header with dimensions, or throws. Errors: damaged or cut off; contents shorter or longer than
// `total`; a total above 1032 times the compressed size, which deflate cannot reach. Memory follows what
// really comes out, never what is claimed: at most twice the contents at any time, plus the compressed bytes.
std::string inflate(const Bytes& compressed, Deflated format, int64_t prefix_bytes,
                    const std::function<int64_t(const std::string& prefix)>& total);

// The first `bytes` of the contents; fewer if there are no more. Nothing behind them is looked at.
std::string inflated_prefix(const Bytes& compressed, Deflated format, int64_t bytes);

// The same contents for random access: in memory, or, where they are more than most_in_memory(), in place
// (indexed_deflate.h). `crc`: null, or what their CRC-32 must be.
std::shared_ptr<const Bytes> open_deflated(std::shared_ptr<const Bytes> compressed, Deflated format,
                                           int64_t prefix_bytes,
                                           const std::function<int64_t(const std::string& prefix)>& total,
                                           const uint32_t* crc, const std::string& name);

// The file itself, or, if it begins as gzip does, its contents.
std::shared_ptr<const Bytes> open_maybe_gzip(const std::string& path, int64_t prefix_bytes,
                                             const std::function<int64_t(const std::string& prefix)>& total);

}  // namespace halftone::data
