#include "data/columns.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/files.h"

namespace halftone::data {
namespace {

using Columns = std::vector<size_t>;

const std::vector<std::string> kHeader{"age", "b,c", "x..y", "age2", "2", "twice", "twice"};

Columns in(const std::string& list) {
  return columns_in(list, kHeader, kHeader.size(), "--option", "t.csv");
}
std::string refusal(const std::string& list) {
  return message_of([&] { in(list); });
}

TEST(ColumnLists, AreNamesNumbersRangesAndSeveral) {
  EXPECT_EQ(in("age"), (Columns{0}));
  EXPECT_EQ(in("b,c"), (Columns{1}));   // a name that has a comma
  EXPECT_EQ(in("x..y"), (Columns{2}));  // or dots
  EXPECT_EQ(in("age,age2"), (Columns{0, 3}));
  EXPECT_EQ(in(" age2 , age "), (Columns{3, 0}));
  EXPECT_EQ(in("age..age2"), (Columns{0, 1, 2, 3}));
  EXPECT_EQ(in("#1,x..y"), (Columns{1, 2}));
  EXPECT_EQ(in("0..#1,-1"), (Columns{0, 1, 6}));
  EXPECT_EQ(columns_in("0,2", {}, 3, "--option", "t.csv"), (Columns{0, 2}));
}

TEST(ColumnLists, WhatTheyDoNotNameIsRefused) {
  EXPECT_NE(refusal("nothing").find("--option: t.csv has no column called nothing; its columns are age, b,c"),
            std::string::npos);
  EXPECT_NE(refusal("age,").find("no column called \"\""), std::string::npos);
  EXPECT_NE(refusal("").find("no column called \"\""), std::string::npos);
  EXPECT_NE(refusal("age,age").find("column 0 (age) is there twice"), std::string::npos);
  EXPECT_NE(refusal("age2..age").find("the column 0 stands before 3"), std::string::npos);
  EXPECT_NE(refusal("7").find("has 7 columns, counted from 0: there is no 7"), std::string::npos);
  EXPECT_NE(refusal("#9").find("there is no #9"), std::string::npos);
  EXPECT_NE(refusal("-8").find("there is no -8"), std::string::npos);
  EXPECT_NE(
      refusal("twice").find(
          "2 columns of t.csv are called twice; say which by its number, counted from 0: the first is #5"),
      std::string::npos);
  EXPECT_NE(
      refusal("2").find(
          "2 is the name of one column of t.csv and, counted from 0, the number of another; say #4 or #2"),
      std::string::npos);
}

TEST(ColumnPlans, NamesAreFoundAsTheyWereGiven) {
  const std::vector<std::string> header = {"age", "3", "a,b", "1..2", "#0", "twice", "twice"};
  const auto found = [&](const std::string& name) { return find_kept_column(name, header, header.size()); };
  for (const size_t c : {0, 1, 2, 3, 4}) EXPECT_EQ(found(header[c]), c) << header[c];
  EXPECT_EQ(found("#6"), 6U);
  // What an option would read as a number or a list is a name here.
  for (const char* name : {"2", "-1", "age,3", "0..1", "town", "twice", "#7", "#-1", "#", ""})
    EXPECT_EQ(found(name), std::nullopt) << name;
  const auto refusal = [&](const std::string& name) {
    return message_of([&] { kept_column(name, header, header.size(), "input 'x'", "t.csv"); });
  };
  EXPECT_NE(refusal("2").find("input 'x': t.csv has no column called 2"), std::string::npos);
  EXPECT_NE(refusal("twice").find("several columns of t.csv are called twice"), std::string::npos);
}

TEST(ColumnPlans, ComeBackFromTheirText) {
  ColumnPlan plan;
  plan.inputs["x"] = {"age", "city"};
  plan.labels = {"y"};
  PreparedColumn age;
  age.name = "age";
  age.mean = 1.0 / 3;
  age.deviation = 0x1.23456789abcdep-7;
  PreparedColumn city;
  city.name = "city";
  city.kind = PreparedColumn::Kind::kOneHot;
  city.categories = {"", "a \"b\"", "\xC3\xA9"};
  PreparedColumn code = city;
  code.name = "code";
  code.kind = PreparedColumn::Kind::kCodes;
  plan.prepared = {age, city, code};
  const ColumnPlan again = plan_from_json(to_json(plan), "net.onnx");
  EXPECT_EQ(again.inputs, plan.inputs);
  EXPECT_EQ(again.labels, plan.labels);
  EXPECT_EQ(again.prepared, plan.prepared);
  EXPECT_EQ(again.source, "net.onnx");
  EXPECT_EQ(again.find("city")->categories, city.categories);
  EXPECT_EQ(again.find("town"), nullptr);

  const auto damaged = [](const std::string& text) {
    return message_of([&] { plan_from_json(text, "net.onnx"); });
  };
  EXPECT_NE(damaged("{").find("net.onnx: what it says of the columns of tables is damaged"),
            std::string::npos);
  EXPECT_NE(damaged("[]").find("is damaged"), std::string::npos);
  EXPECT_NE(damaged(R"({"inputs": {}, "labels": [], "columns": [{"name": "a", "as": "log"}]})")
                .find("a is read as \"log\""),
            std::string::npos);
  EXPECT_NE(
      damaged(
          R"({"inputs": {}, "labels": [], "columns": [{"name": "a", "as": "codes", "categories": ["b", "b"]}]})")
          .find("twice"),
      std::string::npos);
  const std::string one = R"({"name": "a", "as": "codes", "categories": ["b"]})";
  EXPECT_NE(damaged(R"({"inputs": {}, "labels": [], "columns": [)" + one + "," + one + "]}")
                .find("a is there twice"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::data
