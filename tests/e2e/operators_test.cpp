// docs/operators.md names every operator that the program lists, with its opsets, and no other.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Json = nlohmann::json;

std::string page() {
  return bytes_of(std::string(HALFTONE_TESTS_DIR) + "/../docs/operators.md");
}

TEST(Operators, ThePageHasEachWithItsOpsets) {
  const Json list = Json::parse(run({"info", "--operators", "--json"}).out);
  const std::string text = page();
  std::set<std::string> names;
  for (const Json& op : list.at("operators")) {
    names.insert(op.at("name"));
    EXPECT_LE(op.at("since"), op.at("until"));
    std::ostringstream row;
    row << "\n| " << op.at("name").get<std::string>() << " | " << op.at("since") << " to " << op.at("until")
        << " |";
    EXPECT_NE(text.find(row.str()), std::string::npos)
        << "docs/operators.md is out of date for " << op.at("name") << "; run make conformance";
  }
  EXPECT_GT(names.size(), 150U);
  EXPECT_EQ(names.size(), list.at("operators").size()) << "a name is listed twice";
  // And no row of another.
  std::istringstream lines(text);
  size_t rows = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("| ", 0) != 0 || line.rfind("| operator", 0) == 0) continue;
    ++rows;
    EXPECT_TRUE(names.count(line.substr(2, line.find(' ', 2) - 2))) << line;
  }
  EXPECT_EQ(rows, names.size());
  for (const Json& op : list.at("refused")) {
    EXPECT_FALSE(names.count(op.at("name"))) << op;
    EXPECT_NE(text.find(op.at("name").get<std::string>()), std::string::npos) << op;
    EXPECT_NE(text.find(op.at("reason").get<std::string>()), std::string::npos) << op;
  }
}

TEST(Operators, TheListIsReadableToo) {
  const Outcome out = run({"info", "--operators"});
  EXPECT_EQ(out.code, 0);
  EXPECT_NE(out.out.find("Conv                        opsets  7 to 24\n"), std::string::npos)
      << out.out.substr(0, 400);
  EXPECT_NE(out.out.find("Loop                        opsets  7 to 24, arranges others\n"),
            std::string::npos);
  EXPECT_NE(out.out.find("\ncom.microsoft.SkipSimplifiedLayerNormalization opsets "), std::string::npos)
      << "names longer than the column";
  EXPECT_NE(out.out.find("\nNonMaxSuppression: "), std::string::npos);
}

}  // namespace
}  // namespace halftone::e2e
