// A checkpoint whose checksums are right and whose state is absurd is refused, and names what is.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "api/small_networks.h"
#include "base/file.h"
#include "train/checkpoint.h"

namespace halftone::api::test {
namespace {

using Json = nlohmann::json;

class CheckpointState : public ::testing::Test {
 protected:
  CheckpointState() {
    write_csv(folder_ / "train.csv", 64, 3);
    write_mlp(folder_ / "m.onnx");
    options_ = train_options(folder_, "fp16");
    options_.steps = 3;
    options_.epochs = 100;
    options_.network.check_precision = "off";
    const Ended first = train(options_);
    EXPECT_TRUE(first.done) << first.message;
    const train::LatestCheckpoint latest = train::find_latest(options_.out);
    EXPECT_TRUE(latest.checkpoint.has_value());
    state_ = Json::parse(latest.checkpoint->state_json);
    whole_ = latest.path;
    options_.resume = true;
    options_.steps = 4;
  }

  // What resuming says with this state and, where it is given, another name's tensor.
  Ended resume_with(const Json& state, const std::function<void(train::Checkpoint&)>& change = {}) {
    train::Checkpoint checkpoint = train::read_checkpoint(whole_);
    const std::string before = read_file(whole_);
    checkpoint.state_json = state.dump();
    if (change) change(checkpoint);
    train::write_checkpoint(options_.out, checkpoint);
    const Ended ended = train(options_);
    if (!ended.done) write_file_atomically(whole_, before);
    return ended;
  }

  void refuses(const Json& state, const std::string& name) {
    const Ended ended = resume_with(state);
    ASSERT_FALSE(ended.done) << name << ": " << state.dump();
    EXPECT_EQ(ended.kind, ErrorKind::kInput) << ended.message;
    EXPECT_TRUE(has(ended.message, "impossible state") && has(ended.message, name)) << ended.message;
    EXPECT_LT(ended.message.size(), 400U) << ended.message;
  }

  TemporaryFolder folder_;
  TrainOptions options_;
  Json state_;
  std::string whole_;
};

TEST_F(CheckpointState, NumbersOutOfTheirRangeAreRefusedByName) {
  const Json absurd[] = {-2, 0.5, 1e30, uint64_t{1} << 63, "3", nullptr, Json::array()};
  for (const char* name : {"step", "good_steps", "micro_steps", "epoch", "batch", "samples", "stalled",
                           "correct", "targets", "evaluated_step", "event_bytes", "forward_skips"}) {
    ASSERT_TRUE(state_.contains(name)) << name;
    for (const Json& value : absurd) {
      Json state = state_;
      state[name] = value;
      refuses(state, name);
    }
  }
  for (const char* name : {"step", "good_steps", "micro_steps", "epoch", "batch", "correct", "evaluated_step",
                           "forward_skips"}) {
    Json state = state_;
    state[name] = int64_t{1} << 40;
    refuses(state, name);
  }
}

TEST_F(CheckpointState, OtherKindsAndPartsToo) {
  const std::pair<const char*, Json> values[] = {
      {"stored_scale", -1},
      {"stored_scale", 1e300},
      {"stored_scale", "x"},
      {"seconds", -1},
      {"seconds", true},
      {"data_wait_seconds", -5},
      {"data_wait_seconds", ""},
      {"has_correct", 1},
      {"stop", "no"},
      {"last_epoch_loss", "x"},
      {"loss", 3},
      {"loss", "{}"},
      {"loss", R"({"sum":"1","count":-1})"},
      {"loss", R"({"sum":"1","count":1000000})"},
      {"loss", R"({"sum":"1","count":0.5})"},
      {"plateau", R"({"lr":-1,"best":null,"bad_epochs":0,"cooldown_left":0})"},
      {"plateau", R"({"lr":1,"best":null,"bad_epochs":1e30,"cooldown_left":0})"},
      {"plateau", R"({"lr":1,"best":null,"bad_epochs":0,"cooldown_left":-7})"},
      {"early stopping", R"({"best":null,"best_step":-2,"bad_evaluations":0})"},
      {"early_stopping", R"({"best":null,"best_step":99,"bad_evaluations":0})"},
      {"early stopping", R"({"best":[],"best_step":-1,"bad_evaluations":0})"},
      {"early stopping", R"({"best":null,"best_step":-1,"bad_evaluations":-1})"},
      {"loss scale", R"({"scale":1024,"good_steps":-1,"skipped_steps":0,"hopeless_steps":0})"},
      {"loss_scale", R"({"scale":1024,"good_steps":0,"skipped_steps":99,"hopeless_steps":0})"},
      {"loss scale", R"({"scale":"","good_steps":0,"skipped_steps":0,"hopeless_steps":0})"},
      {"classes", 5}};
  for (const auto& [said, value] : values) {
    std::string name = said;
    std::replace(name.begin(), name.end(), ' ', '_');
    Json state = state_;
    ASSERT_TRUE(state.contains(name)) << name;
    state[name] = value;
    refuses(state, said);
  }
  for (const auto& [name, value] : state_.items()) {
    // Those that earlier versions did not write.
    if (name == "identity" || name == "origin" || name == "classes" || name == "forward_skips" ||
        name == "event_bytes" || name == "evaluated_step" || name == "data_wait_seconds" || name == "targets")
      continue;
    Json state = state_;
    state.erase(name);
    refuses(state, name);
  }
  refuses(Json::array(), "missing");
  Json state = state_;
  state["loss_scale"] = R"({"scale":1e30,"good_steps":0,"skipped_steps":0,"hopeless_steps":0})";
  EXPECT_TRUE(has(resume_with(state).message, "loss scale is damaged"));
}

TEST_F(CheckpointState, TensorsThatAreNotFiniteOrOfAnotherShapeAreRefusedByName) {
  std::string name;
  const Ended nan = resume_with(state_, [&](train::Checkpoint& c) {
    name = c.tensors.begin()->first;
    Tensor& t = c.tensors.begin()->second;
    std::memset(t.data(), 0xFF, static_cast<size_t>(t.bytes()));
  });
  ASSERT_FALSE(nan.done);
  EXPECT_TRUE(has(nan.message, name) && has(nan.message, "not finite")) << nan.message;
  const Ended shape = resume_with(state_, [&](train::Checkpoint& c) {
    c.tensors.begin()->second = Tensor(DType::kF32, {1, 2, 3});
  });
  ASSERT_FALSE(shape.done);
  EXPECT_TRUE(has(shape.message, name) && has(shape.message, "does not fit this run")) << shape.message;
}

TEST_F(CheckpointState, ItselfIsFine) {
  const Ended ended = resume_with(state_);
  EXPECT_TRUE(ended.done) << ended.message;
}

}  // namespace
}  // namespace halftone::api::test
