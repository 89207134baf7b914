#include "text/byte_tokens.h"

#include <fmt/format.h>

#include <algorithm>

namespace halftone::text {

ByteTokens::ByteTokens(const Vocabulary& vocabulary) {
  for (size_t i = 0; i < ids_.size(); ++i) ids_[i] = vocabulary.id_of(fmt::format("<0x{:02X}>", i));
}

bool ByteTokens::has_all(std::string_view bytes) const {
  return std::all_of(bytes.begin(), bytes.end(), [&](char c) { return id_of(c) != Vocabulary::kNone; });
}

}  // namespace halftone::text
