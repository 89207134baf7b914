// Too little memory, too many threads: one line, exit code 5, and advice that helps.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Arguments = std::vector<std::string>;

constexpr int64_t kMib = int64_t{1} << 20;

Outcome run_within(const Arguments& arguments, int64_t mib) {
  Setting setting;
  setting.most_address_bytes = mib * kMib;
  return run_with(arguments, setting);
}

Arguments train(const Folder& folder, const std::string& precision, int64_t batch) {
  return {"train",
          resnet20(),
          "--data",
          folder / "train.bin",
          "--val",
          "none",
          "--batch",
          std::to_string(batch),
          "--precision",
          precision,
          "--check-precision",
          "off",
          "--out",
          folder / "run",
          "--overwrite",
          "--threads",
          "2",
          "--loader-threads",
          "2",
          "--steps",
          "1",
          "--quiet"};
}

int lines(const std::string& text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

TEST(Memory, WhateverTheLimitARunEndsWellOrWithOneLine) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 21);
  int done = 0;
  int refused = 0;
  for (const int64_t mib : {66, 75, 95, 130, 300}) {
    for (const Arguments& arguments :
         {train(folder, "fp32", 32),
          Arguments{"eval", resnet20(), "--data", folder / "train.bin", "--batch", "64"},
          Arguments{"export", resnet20(), "--to", "fp16-onnx", "--out", folder / "out.onnx"}}) {
      const Outcome o = run_within(arguments, mib);
      ASSERT_TRUE(o.code == 0 || o.code == 5) << mib << " MiB: " << text(arguments) << "\n"
                                              << o.code << " " << o.signal << o.err;
      (o.code == 0 ? done : refused) += 1;
      if (o.code == 5 && arguments.front() != "eval") {
        EXPECT_LE(lines(o.err), 2) << o.err;  // with how to go on
      }
    }
  }
  EXPECT_GT(done, 6);
  EXPECT_GE(refused, 2);
}

TEST(Memory, APlanThatDoesNotFitIsRefusedWithABatchThatDoes) {
  Folder folder;
  write_cifar(folder / "train.bin", 256, 22);
  const int64_t mib = 250;
  const Outcome o = run_within(train(folder, "fp32", 256), mib);
  ASSERT_EQ(o.code, 5) << o.err;
  EXPECT_EQ(lines(o.err), 1) << o.err;
  std::smatch found;
  const std::regex message(
      "needs (.*) more, and there are (.*) left of 250 MiB \\(ulimit -v\\); what fits: --batch (\\d+) "
      "--accumulate (\\d+)");
  ASSERT_TRUE(std::regex_search(o.err, found, message)) << o.err;
  const int64_t batch = std::stoll(found[3]);
  EXPECT_EQ(batch * std::stoll(found[4]), 256);
  Arguments advised = train(folder, "fp32", batch);
  advised.insert(advised.end(), {"--accumulate", found[4]});
  const Outcome fits = run_within(advised, mib);
  EXPECT_EQ(fits.code, 0) << fits.err;
}

TEST(Memory, ThreadsThatCannotStartAreCounted) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 23);
  for (const std::string option : {"--threads", "--loader-threads"}) {
    Arguments arguments{"eval", resnet20(), "--data", folder / "train.bin", "--check-precision",
                        "off",  option,     "1000"};
    const Outcome o = run_within(arguments, 1900);
    EXPECT_EQ(o.code, 5) << o.err;
    EXPECT_NE(o.err.find(option), std::string::npos) << o.err;
  }
}

}  // namespace
}  // namespace halftone::e2e
