#include "train/identity.h"

#include <gtest/gtest.h>

namespace halftone::train {
namespace {

TEST(Identity, OptionsAreTheLinesOfAConfiguration) {
  const Identity id = options_of("batch: 16\nepochs: 3\nlr: 0.01\nmean: [0.5, 0.5]\nname: \"a: b\"\n");
  EXPECT_EQ(id, (Identity{{"--batch", "16"},
                          {"--epochs", "3"},
                          {"--lr", "0.01"},
                          {"--mean", "[0.5, 0.5]"},
                          {"--name", "\"a: b\""}}));
}

TEST(Identity, NumbersCountByTheirValue) {
  EXPECT_TRUE(differences({{"--lr", "0.01"}}, {{"--lr", "1e-2"}}).empty());
  EXPECT_EQ(
      text_of(differences({{"--lr", "0.01"}, {"--loss", "mse"}}, {{"--lr", "0.02"}, {"--loss", "bce"}})),
      "--loss was mse and is bce; --lr was 0.01 and is 0.02");
  EXPECT_EQ(differences({{"--loss", "inf"}}, {{"--loss", "infinity"}}).size(), 0U);
  EXPECT_EQ(differences({{"--x", ""}}, {{"--x", "0"}}).size(), 1U);
}

TEST(Identity, AnOptionThatOneSideDoesNotKnowIsNoDifferenceButSaid) {
  EXPECT_TRUE(differences({{"--old", "1"}}, {{"--new", "1"}}).empty());
  EXPECT_EQ(not_compared({{"--old", "1"}}, {{"--new", "1"}, {"--open", "~"}, {"model", "m"}}), "--new is 1");
  EXPECT_EQ(not_compared({{"--a", "~"}}, {{"--a", "1"}}), "");
}

TEST(Identity, AnOptionThatWasNotGivenIsNoOther) {
  const Identity without = options_of("output: ~\nlr: 1\n");
  const Identity with = options_of("output: h\nlr: 1\n");
  EXPECT_EQ(text_of(differences(without, with)), "--output was not given and is h");
  EXPECT_EQ(text_of(differences(with, without)), "--output was h and is not given");
  EXPECT_TRUE(differences(without, without).empty());
}

}  // namespace
}  // namespace halftone::train
