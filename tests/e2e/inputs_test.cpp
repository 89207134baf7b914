// Options of a network's input from outside.
#include <gtest/gtest.h>

#include <fstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

TEST(Dim, MayBeRepeatedAndWhatTheNetworkDoesNotHaveIsUsage) {
  const Outcome o = run({"inspect", "--dim", "height=32", "--dim", "width=32", resnet20()});
  EXPECT_EQ(o.code, 2) << o.err;
  EXPECT_NE(o.err.find("--dim height=32: no input has an open size called height"), std::string::npos)
      << o.err;
}

TEST(CsvOptions, ValuesThatAreNotKnownAreUsage) {
  const Folder folder;
  const std::string table = folder / "d.csv";
  std::ofstream(table) << "1,2\n";
  for (const char* option : {"--csv-header", "--csv-delimiter", "--csv-decimal"}) {
    const Outcome o = run({"eval", resnet20(), "--data", table, option, "maybe"});
    EXPECT_EQ(o.code, 2) << o.err;
    EXPECT_NE(o.err.find(std::string(option) + " maybe is not known"), std::string::npos) << o.err;
  }
}

}  // namespace
}  // namespace halftone::e2e
