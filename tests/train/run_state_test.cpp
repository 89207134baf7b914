// Where a run stands, on its way into a checkpoint and back.
#include "train/run_state.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"

namespace halftone::train {
namespace {

using Json = nlohmann::json;

RunState fresh() {
  return {LossScale::automatic(DType::kF16), EarlyStopping(Direction::kMin, 3), 0.1};
}

RunState example() {
  RunState s = fresh();
  s.step = 12;
  s.good_steps = 11;
  s.micro_steps = 24;
  s.epoch = 1;
  s.batch = 4;
  s.samples = 190;
  s.stalled = 7;
  s.stored_scale = 256;
  s.seconds = 1.5;
  s.data_wait_seconds = 0.25;
  s.loss.add(0.5, 16);
  s.correct = 9;
  s.targets = 16;
  s.has_correct = true;
  s.last_epoch_loss = 0.75;
  s.evaluated_step = 10;
  s.event_bytes = 1234;
  s.loss_scale.update(false);
  s.early.observe(10, 0.9);
  return s;
}

const RunOrigin kOrigin{{{"--batch", "8"}}, {{"model", "/m.onnx"}}, std::vector<std::string>{"cat", "dog"}};

std::string refusal(const std::string& text) {
  RunState s = fresh();
  try {
    run_state_from_json(text, s);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    return e.what();
  }
  return "";
}

TEST(RunState, ComesBackAsItWas) {
  const std::string text = to_json(example(), kOrigin);
  RunState s = fresh();
  const ReadRunState read = run_state_from_json(text, s);
  EXPECT_EQ(read.origin.identity, kOrigin.identity);
  EXPECT_EQ(read.origin.classes, kOrigin.classes);
  s.loss_scale.restore(read.loss_scale);
  EXPECT_EQ(s.loss_scale.scale(), 512);
  EXPECT_EQ(s.accuracy(), 9.0 / 16);
  EXPECT_EQ(to_json(s, kOrigin), text);
  EXPECT_NO_THROW(check_ranges(s, 12, 8, 2));
}

TEST(RunState, EveryFieldMustBeThereAndFit) {
  const Json whole = Json::parse(to_json(example(), kOrigin));
  // Those that an earlier version did not write.
  const std::set<std::string> may_lack{"identity", "origin",        "classes",        "data_wait_seconds",
                                       "targets",  "forward_skips", "evaluated_step", "event_bytes"};
  for (const auto& [name, value] : whole.items()) {
    Json less = whole;
    less.erase(name);
    EXPECT_EQ(refusal(less.dump()).empty(), may_lack.contains(name)) << name;
    if (name == "origin") continue;  // only shown by other programs
    Json other = whole;
    other[name] = Json::array({1});
    EXPECT_NE(refusal(other.dump()), "") << name;
  }
  EXPECT_NE(refusal("{"), "");
  EXPECT_NE(refusal("3"), "");
}

TEST(RunState, NumbersThatDoNotFitEachOtherAreRefused) {
  const auto wrong = [](const char* what, const std::function<void(RunState&)>& change) {
    RunState s = example();
    change(s);
    try {
      check_ranges(s, 12, 8, 2);
      ADD_FAILURE() << what;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find(what), 0U) << e.what();
    }
  };
  wrong("step", [](RunState& s) { s.step = 13; });
  wrong("good_steps", [](RunState& s) { s.good_steps = 13; });
  wrong("micro_steps", [](RunState& s) { s.micro_steps = 11; });
  wrong("micro_steps", [](RunState& s) { s.micro_steps = 191; });
  wrong("epoch", [](RunState& s) { s.epoch = 13; });
  wrong("batch", [](RunState& s) { s.batch = 10; });
  wrong("batch", [](RunState& s) { s.batch = 3; });
  wrong("loss", [](RunState& s) { s.loss.add(1, 1000); });
  wrong("correct", [](RunState& s) { s.correct = 17; });
  wrong("forward_skips", [](RunState& s) { s.forward_skips = 13; });
  wrong("evaluated_step", [](RunState& s) { s.evaluated_step = 13; });
  wrong("early_stopping", [](RunState& s) { s.early.observe(13, 0.1); });
}

TEST(RunState, AnEpochBeginsWithNothingCounted) {
  RunState s = example();
  s.start_epoch(2);
  EXPECT_EQ(s.epoch, 2);
  EXPECT_EQ(s.batch, 0);
  EXPECT_EQ(s.loss.count(), 0);
  EXPECT_FALSE(s.accuracy());
  EXPECT_EQ(s.step, 12);
}

}  // namespace
}  // namespace halftone::train
