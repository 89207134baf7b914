// The directory of a zip file, and its members, as far as .npz needs them: stored or deflated, zip64, no
// encryption, one disk. Source: PKWARE's APPNOTE.TXT 6.3.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/bytes.h"

namespace halftone::data {

struct ZipMember {
  std::string name;
  bool deflated = false;
  uint32_t crc = 0;
  int64_t compressed_bytes = 0;
  int64_t bytes = 0;
  int64_t header = 0;  // where its local header stands
};

// Errors name the file: not a zip, cut off, entries that lie outside it, encryption, other compressions.
std::vector<ZipMember> read_zip(const Bytes& file);

// The first `bytes` of a member's contents; fewer if there are no more.
std::string member_prefix(const std::shared_ptr<const Bytes>& file, const ZipMember& member, int64_t bytes);

// A member's contents: a part of the file if it is stored, memory if it is deflated. `total` is inflate()'s;
// its result must be the size that the directory gives, too. A deflated member's checksum is checked.
std::shared_ptr<const Bytes> open_member(const std::shared_ptr<const Bytes>& file, const ZipMember& member,
                                         int64_t prefix_bytes,
                                         const std::function<int64_t(const std::string& prefix)>& total);

}  // namespace halftone::data
