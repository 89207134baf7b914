#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace halftone {
namespace {

uint32_t of(const std::string& text) {
  return crc32c(text.data(), static_cast<int64_t>(text.size()));
}

// RFC 3720, appendix B.4, and the check value of the catalogues.
TEST(Crc32c, ValuesOfTheStandard) {
  EXPECT_EQ(of(""), 0U);
  EXPECT_EQ(of("123456789"), 0xE3069283U);
  EXPECT_EQ(of(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(of(std::string(32, '\xFF')), 0x62A8AB43U);
  std::string up;
  for (int i = 0; i < 32; ++i) up += static_cast<char>(i);
  EXPECT_EQ(of(up), 0x46DD794EU);
  EXPECT_EQ(of(std::string(up.rbegin(), up.rend())), 0x113FDB5CU);
}

// Whatever the lengths of the parts and wherever they begin.
TEST(Crc32c, PartsChain) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>(i * i + 7 * i);
  const uint32_t whole = of(text);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const uint32_t first = crc32c(text.data(), static_cast<int64_t>(cut));
    EXPECT_EQ(crc32c(text.data() + cut, static_cast<int64_t>(text.size() - cut), first), whole) << cut;
  }
}

}  // namespace
}  // namespace halftone
