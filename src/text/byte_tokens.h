// The tokens <0x00> to <0xFF>, which stand for the bytes of what a vocabulary lacks.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "text/vocabulary.h"

namespace halftone::text {

class ByteTokens {
 public:
  explicit ByteTokens(const Vocabulary& vocabulary);
  int32_t id_of(char byte) const { return ids_[static_cast<uint8_t>(byte)]; }
  bool has_all(std::string_view bytes) const;

 private:
  std::array<int32_t, 256> ids_;
};

}  // namespace halftone::text
