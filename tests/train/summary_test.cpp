#include "train/summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "train/temporary_folder.h"

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

TEST(Summary, OfARunIsReadByComparisons) {
  const TemporaryFolder folder;
  Summary s;
  s.multiply = "block";
  s.samples = 128;
  s.train_loss = 0.5;
  s.val_loss = std::nan("");
  s.seconds = 2;
  write_file_atomically(folder.file("summary.json"), to_json(s, R"({"data_wait_seconds":0.25})"));
  const SummaryFigures read = read_summary(folder.file("summary.json"));
  EXPECT_EQ(read.multiply, "block");
  EXPECT_EQ(read.samples, 128);
  EXPECT_EQ(read.train_loss, 0.5);
  EXPECT_EQ(read.val_loss, std::nullopt);
  EXPECT_EQ(read.val_accuracy, std::nullopt);
  EXPECT_EQ(read.seconds, 2);
  EXPECT_EQ(read.data_wait_seconds, 0.25);
}

TEST(Summary, ThatIsDamagedIsRefusedByName) {
  const TemporaryFolder folder;
  const std::string path = folder.file("summary.json");
  const auto refusal = [&](const std::string& text) -> std::string {
    write_file_atomically(path, text);
    try {
      read_summary(path);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      return e.what();
    }
    return "";
  };
  const std::string whole = to_json({}, R"({"data_wait_seconds":0})");
  EXPECT_EQ(refusal(whole), "");
  for (const char* other : {"", "[1]", "3", "{", "\"multiply\""})
    EXPECT_EQ(refusal(other), path + " is damaged: expected a JSON object") << other;
  EXPECT_EQ(refusal(to_json({})), path + " is damaged: it has no member \"data_wait_seconds\"");
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string text = whole;
    return text.replace(text.find(from), from.size(), to);
  };
  EXPECT_EQ(refusal(changed("\"multiply\":\"\"", "\"multiply\":3")),
            path + " is damaged: \"multiply\" is no text");
  EXPECT_EQ(refusal(changed("\"seconds\":null", "\"seconds\":\"long\"")),
            path + " is damaged: \"seconds\" is neither a number nor null");
}

}  // namespace
}  // namespace halftone::train
