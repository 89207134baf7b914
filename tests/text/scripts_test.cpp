#include "text/scripts.h"

#include <gtest/gtest.h>

namespace halftone::text {
namespace {

// As tokenizers 0.23 splits: its table of scripts is of Unicode 9.
TEST(Scripts, AreThoseOfUnicode9) {
  EXPECT_EQ(script_of(U'ー'), script_of(U'字'));
  EXPECT_EQ(script_of(U'か'), script_of(U'字'));
  EXPECT_NE(script_of(U'a'), script_of(U'б'));
  EXPECT_NE(script_of(U'1'), kAnyScript);
  EXPECT_NE(script_of(0x1F95A), kAnyScript);  // of 9.0
  EXPECT_EQ(script_of(U' '), kAnyScript);
  // These were of another script then.
  EXPECT_EQ(script_of(0x0953), script_of(0x0915));
  EXPECT_EQ(script_of(0x0954), script_of(0x0915));
  EXPECT_EQ(script_of(0x0589), script_of(U'1'));
  EXPECT_EQ(script_of(0x061C), script_of(U'1'));
  EXPECT_EQ(script_of(0x0AF8), kAnyScript);   // not assigned
  EXPECT_EQ(script_of(0x1F9D0), kAnyScript);  // of 10.0
  EXPECT_EQ(script_of(0x1C90), kAnyScript);   // of 11.0
}

}  // namespace
}  // namespace halftone::text
