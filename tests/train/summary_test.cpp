#include "train/summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"

namespace halftone::train {
namespace {

TEST(Summary, HasTheKeysInTheirOrder) {
  Summary s;
  s.command = "train";
  s.model = "resnet20.onnx";
  s.precision = "fp16";
  s.steps = 390;
  s.val_accuracy = 0.8571;
  s.train_loss = std::nan("");
  const nlohmann::ordered_json json = nlohmann::ordered_json::parse(to_json(s));
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"command", "model", "precision", "multiply", "isa", "threads",
                                            "seed", "epochs", "steps", "samples", "train_loss", "val_loss",
                                            "val_accuracy", "seconds", "samples_per_second", "peak_rss_bytes",
                                            "planned_bytes", "skipped_steps", "stalled_updates"}));
  EXPECT_EQ(json["steps"], 390);
  EXPECT_EQ(json["val_accuracy"], 0.8571);
  EXPECT_TRUE(json["train_loss"].is_null()) << "NaN is not JSON";
  EXPECT_TRUE(json["stalled_updates"].is_null());
  EXPECT_EQ(to_json(s).find('\n'), std::string::npos);
}

TEST(Summary, TakesFurtherMembersBehindItsOwn) {
  const std::string text = to_json({}, R"({"verdict":"equal","runs":[1,2]})");
  EXPECT_TRUE(text.ends_with(R"("verdict":"equal","runs":[1,2]})")) << text;
  EXPECT_THROW(to_json({}, R"({"steps":1})"), InternalError);
  EXPECT_THROW(to_json({}, "[1]"), InternalError);
  EXPECT_THROW(to_json({}, "{"), InternalError);
}

TEST(Summary, APathThatIsNotUtf8DoesNotEndTheRun) {
  Summary s;
  s.model = "caf\xe9.onnx";
  EXPECT_NE(to_json(s).find("caf"), std::string::npos);
}

TEST(PeakMemory, GrowsByWhatIsTouched) {
  const int64_t before = peak_rss_bytes().value();
  EXPECT_GT(before, 1 << 20);
  constexpr size_t kBytes = 64 << 20;
  const std::vector<char> touched(kBytes, 'x');
  const char* volatile escaped = touched.data();  // or clang leaves the vector out
  EXPECT_EQ(escaped[kBytes / 2], 'x');
  EXPECT_GE(peak_rss_bytes().value(), before);
  EXPECT_GE(peak_rss_bytes().value(), static_cast<int64_t>(kBytes));
}

}  // namespace
}  // namespace halftone::train
