#include "halftone/printable.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/resource_error.h"

namespace halftone {
namespace {

TEST(Printable, ShowsWhatATerminalWouldActOn) {
  EXPECT_EQ(printable("a\nb\tc\rd\x1b[2J\x7f"), "a\\nb\\tc\\rd\\x1b[2J\\x7f");
  EXPECT_EQ(printable("a\nb", true), "a\nb");
  EXPECT_EQ(printable(std::string_view("\0x", 2)), "\\x00x");
  EXPECT_EQ(printable("\xc2\x9b"), "\\u009b");  // the C1 control that begins an escape sequence
  EXPECT_EQ(printable("Größe 画像 😀"), "Größe 画像 😀");
}

TEST(Printable, ShowsBytesThatAreNoUtf8) {
  EXPECT_EQ(printable("gr\xfc\xdf"), "gr\\xfc\\xdf");
  EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80");           // longer than it must be
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(printable("\xe7\x94"), "\\xe7\\x94");  // cut off
  for (int first = 0; first < 256; ++first)
    for (int second = 0; second < 256; ++second) {
      const std::string text{static_cast<char>(first), static_cast<char>(second)};
      EXPECT_TRUE(is_utf8(printable(text)));
      EXPECT_EQ(printable(printable(text)), printable(text));
    }
}

TEST(FileErrors, OfTheMachineAreResources) {
  EXPECT_EQ(file_error(ENOSPC, "x").kind(), kResources);
  EXPECT_EQ(file_error(EIO, "x").kind(), kResources);
  EXPECT_EQ(file_error(ENOENT, "x").kind(), ErrorKind::kInput);
  EXPECT_EQ(file_error(EACCES, "x").kind(), ErrorKind::kInput);
}

}  // namespace
}  // namespace halftone
