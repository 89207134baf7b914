// train --find-lr: says, and writes nothing.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

TEST(FindLr, StepsAtRisingRatesAndWritesNothing) {
  const Folder folder;
  write_cifar(folder / "d.bin", 32, 7);
  Setting setting;
  std::filesystem::create_directories(folder / "here");
  setting.folder = folder / "here";
  const std::vector<std::string> find{"train",     resnet20(), "--data", folder / "d.bin", "--batch", "8",
                                      "--find-lr", "--steps",  "40",     "--threads",      "1"};
  std::vector<std::string> json = find;
  json.insert(json.end(), {"--json", "--quiet"});
  const Outcome o = run_with(json, setting);
  ASSERT_EQ(o.code, 0) << o.err;
  const auto found = nlohmann::json::parse(o.out);
  const auto rates = found["rates"].get<std::vector<double>>();
  ASSERT_EQ(found["losses"].size(), rates.size());
  ASSERT_GE(rates.size(), 20U);
  EXPECT_NEAR(rates[0], 1e-7, 1e-10);
  const double factor = std::pow(1e8, 1.0 / 39);
  for (size_t i = 1; i < rates.size(); ++i) EXPECT_NEAR(rates[i] / rates[i - 1], factor, 1e-5 * factor);
  EXPECT_EQ(found["diverged"].get<bool>(), rates.size() < 40);
  EXPECT_TRUE(std::filesystem::is_empty(folder / "here"));
  // The first loss is that of the file's weights: a run from them has it, too.
  const Outcome table = run_with(find, setting);
  ASSERT_EQ(table.code, 0) << table.err;
  EXPECT_NE(table.out.find("learning rate"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("the loss is lowest at"), std::string::npos) << table.out;
  EXPECT_EQ(run_with(json, setting).out, o.out);
  std::vector<std::string> few = find;
  few[8] = "5";
  EXPECT_EQ(run_with(few, setting).code, 2);
}

}  // namespace
}  // namespace halftone::e2e
