#include "base/stop.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <type_traits>

#include "halftone/error.h"
#include "halftone/process.h"

namespace halftone {
namespace {

class Stop : public testing::Test {
 protected:
  ~Stop() override { request_stop(0); }
};

TEST_F(Stop, IsThrownWhereItMayBe) {
  check_stop();
  request_stop(SIGTERM);
  EXPECT_EQ(stop_requested(), SIGTERM);
  check_stop_inside();  // a step runs to its end
  {
    const Interruptible anywhere;
    EXPECT_THROW(check_stop_inside(), Interrupted);
  }
  check_stop_inside();
  try {
    check_stop();
    FAIL() << "it went on";
  } catch (const Interrupted& e) {
    EXPECT_EQ(e.signal(), SIGTERM);
    EXPECT_NE(std::string(e.what()).find("SIGTERM"), std::string::npos);
  }
  request_stop(0);
  check_stop();
}

TEST_F(Stop, AnErrorIsNoStop) {
  // Whoever skips damaged samples must not skip a request.
  EXPECT_FALSE((std::is_base_of_v<Error, Interrupted>));
}

}  // namespace
}  // namespace halftone
