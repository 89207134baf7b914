#include "kern/dispatch.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "kern/kernels.h"

namespace halftone::kern {
namespace {

TEST(Dispatch, ReferenceIsAlwaysThereAndFirst) {
  ASSERT_FALSE(available().empty());
  EXPECT_EQ(available().front(), Isa::kReference);
}

TEST(Dispatch, EveryTableIsComplete) {
  for (const Isa isa : available()) {
    const Kernels& k = table(isa);
    EXPECT_NE(k.unary, nullptr) << name_of(isa);
    EXPECT_NE(k.optimizer, nullptr) << name_of(isa);
    if (isa != Isa::kReference) {
      EXPECT_NE(k.channel_affine, table(Isa::kReference).channel_affine);
    }
  }
}

// Where half is there, it is by an instruction set of its own, so that one may do without it.
TEST(Dispatch, HalfIsDeliveredByTheReferenceAndByFp16Arithmetic) {
  for (const Isa isa : available())
    EXPECT_EQ(table(isa).matrix.half, isa == Isa::kReference || isa == Isa::kAvx512Fp16 || isa == Isa::kAmx)
        << name_of(isa);
}

// Each in a process of its own, since the choice is frozen.
TEST(DispatchDeathTest, EnvironmentForcesAndIsChecked) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        setenv("HALFTONE_ISA", "reference", 1);
        const bool forced = active_isa() == Isa::kReference && &active() == &table(Isa::kReference);
        std::exit(forced ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
  const auto message_for = [](const char* value) {
    setenv("HALFTONE_ISA", value, 1);
    try {
      active();
    } catch (const Error& error) {
      fprintf(stderr, "%s", error.what());
      std::exit(error.kind() == ErrorKind::kUsage ? 2 : 1);
    }
    std::exit(0);
  };
  EXPECT_EXIT(message_for("sse9"), testing::ExitedWithCode(2), "unknown instruction set");
}

}  // namespace
}  // namespace halftone::kern
