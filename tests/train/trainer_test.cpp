// The loop: steps, epochs and evaluations in their order, what observers get, checkpoints, and what ends a
// run early.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "base/error.h"
#include "train/checkpoint.h"
#include "train/small_network.h"
#include "train/temporary_folder.h"

namespace halftone::train {
namespace {

using namespace test;
namespace fs = std::filesystem;

class Watch final : public Observer {
 public:
  void report(const StepReport& s) override {
    steps.push_back(s);
    note("step " + std::to_string(s.step));
    if (s.step == fails_at) throw usage_error("the observer has had enough");
  }
  void report(const EvaluationReport& e) override { note("evaluation " + std::to_string(e.epochs_done)); }
  void report(const EpochReport& e) override { note("epoch " + std::to_string(e.epoch)); }
  void report(const CheckpointReport& c) override {
    note("checkpoint " + std::to_string(c.step) + (c.best ? ", best" : ""));
  }

  std::vector<StepReport> steps;
  std::vector<std::string> order;
  int64_t fails_at = -1;

 private:
  void note(std::string text) { order.push_back(std::move(text)); }
};

// A network, 24 rows in batches of 8 (three steps an epoch), a trainer.
struct Training {
  explicit Training(TrainerOptions options = {}, CompileOptions compile = small_options(), bool given = false)
      : storage(compile.training.storage),
        network(small_network(compile)),
        training(given ? nullptr : loader_of(rows, true, storage)),
        validation(loader_of(rows, false, storage)),
        trainer(*network, {training.get(), rows.get()}, validation.get(), options, progress) {
    trainer.observe(watch);
  }
  std::shared_ptr<Rows> rows = std::make_shared<Rows>(24);
  DType storage;
  std::unique_ptr<Network> network;
  std::unique_ptr<data::Loader> training, validation;
  std::string said;
  Progress progress{{.style = ProgressStyle::kMessages},
                    [] { return 0.0; },
                    [this](std::string_view text) { said += text; }};
  Watch watch;
  Trainer trainer;
};

TrainerOptions options(int64_t epochs = 2) {
  TrainerOptions o;
  o.epochs = epochs;
  o.lr = 0.2;
  o.checkpoint_minutes = 0;
  return o;
}

TrainResult run(Training& s, bool resume) {
  s.trainer.begin(resume);
  while (s.trainer.advance()) {
  }
  return s.trainer.end();
}

template <class F>
Error error_of(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no error";
  return input_error("no error");
}

TEST(Trainer, ReportsInOrder) {
  Training s(options());
  const TrainResult result = run(s, false);
  EXPECT_EQ(s.watch.order,
            (std::vector<std::string>{"step 1", "step 2", "step 3", "evaluation 1", "epoch 1", "step 4",
                                      "step 5", "step 6", "evaluation 2", "epoch 2"}));
  const StepReport& last = s.watch.steps.back();
  EXPECT_TRUE(last.last);
  EXPECT_EQ(last.total_steps, 6);
  EXPECT_EQ(last.epochs, 2);
  EXPECT_EQ(last.epoch, 1);
  EXPECT_EQ(last.samples, 48);
  EXPECT_EQ(last.score.samples, 8);
  EXPECT_FALSE(last.skipped);
  EXPECT_FLOAT_EQ(static_cast<float>(last.lr), 0.2F);
  EXPECT_GT(last.grad_norm, 0);
  EXPECT_EQ(result.steps, 6);
  EXPECT_EQ(result.epochs, 2);
  EXPECT_EQ(result.samples, 48);
  EXPECT_EQ(result.stop_reason, "");
  ASSERT_TRUE(result.validation);
  EXPECT_LT(result.validation->loss(), s.watch.steps.front().score.loss());
  EXPECT_EQ(*result.validation->correct, 24) << "the rows are far apart";
}

TEST(Trainer, StepsEndARunWithinAnEpoch) {
  TrainerOptions o = options();
  o.max_steps = 4;
  Training s(o);
  const TrainResult result = run(s, false);
  EXPECT_EQ(result.steps, 4);
  EXPECT_NEAR(result.epochs, 4.0 / 3, 1e-12);
  EXPECT_EQ(s.watch.order.back(), "evaluation 1");
}

TEST(Trainer, TheSameInPartsGivesTheSameWeights) {
  Training whole(options());
  run(whole, false);
  Training parts(options());
  parts.trainer.begin(false);
  int64_t steps = 0;
  while (parts.trainer.advance()) {
    EXPECT_EQ(parts.trainer.steps(), ++steps);
    parts.trainer.evaluate();  // changes nothing
  }
  EXPECT_EQ(parts.trainer.end().steps, 6);
  EXPECT_EQ(weights_of(*parts.network), weights_of(*whole.network));
}

TEST(Trainer, MicroBatchesAreOneStep) {
  TrainerOptions o = options(1);
  o.accumulate = 3;
  CompileOptions compile = small_options();
  compile.training.accumulate = true;
  Training s(o, compile);
  EXPECT_EQ(run(s, false).steps, 1);
  EXPECT_EQ(s.watch.steps[0].score.samples, 24);
  o.accumulate = 4;
  Training few(o, compile);
  const Error e = error_of([&] { run(few, false); });
  EXPECT_EQ(e.kind(), ErrorKind::kUsage);
  EXPECT_NE(std::string(e.what()).find("--batch 8 with --accumulate 4 needs 32 samples, the data has 24"),
            std::string::npos)
      << e.what();
}

TEST(Trainer, AResumedRunGivesTheSameWeights) {
  const TemporaryFolder folder;
  Training whole(options(3));
  run(whole, false);
  TrainerOptions o = options(3);
  o.folder = folder.file("run");
  o.checkpoint_every = 2;
  fs::create_directory(o.folder);
  {
    Training first(o);
    first.trainer.begin(false);
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(first.trainer.advance());
    EXPECT_EQ(first.watch.order, (std::vector<std::string>{"step 1", "step 2", "checkpoint 2", "step 3",
                                                           "evaluation 1", "epoch 1", "checkpoint 3, best",
                                                           "step 4", "checkpoint 4", "step 5"}));
  }
  EXPECT_EQ(find_latest(o.folder).checkpoint->step, 4);
  Training second(o);
  EXPECT_EQ(run(second, true).steps, 9);
  EXPECT_NE(second.said.find("resuming at step 4 from "), std::string::npos) << second.said;
  EXPECT_EQ(second.watch.order.front(), "step 5");
  EXPECT_EQ(weights_of(*second.network), weights_of(*whole.network));
  EXPECT_EQ(weights_of(*second.network, "b"), weights_of(*whole.network, "b"));
}

TEST(Trainer, ACheckpointOfAnotherRunIsRefused) {
  const TemporaryFolder folder;
  TrainerOptions o = options(1);
  o.folder = folder.file("run");
  fs::create_directory(o.folder);
  o.identity = {{"--lr", "0.2"}};
  {
    Training first(o);
    run(first, false);
  }
  o.identity = {{"--lr", "0.1"}};
  Training other(o);
  const Error e = error_of([&] { run(other, true); });
  EXPECT_EQ(e.kind(), ErrorKind::kUsage);
  EXPECT_NE(std::string(e.what()).find("--lr was 0.2 and is 0.1"), std::string::npos) << e.what();
  o.accept_changes = true;
  Training accepted(o);
  EXPECT_EQ(run(accepted, true).steps, 3);
  EXPECT_NE(accepted.said.find("--lr was 0.2 and is 0.1"), std::string::npos) << accepted.said;
}

TEST(Trainer, GivenBatchesNeedNoLoader) {
  TrainerOptions o = options();
  o.max_steps = 2;
  Training s(o, small_options(), /*given=*/true);
  const auto source = loader_of(s.rows, true);
  source->start(0);
  s.trainer.begin(false);
  for (int i = 0; i < 2; ++i) {
    std::vector<data::Batch> batches(1);
    ASSERT_TRUE(source->next(batches[0]));
    s.trainer.advance(std::move(batches));
  }
  EXPECT_EQ(s.watch.steps.back().epochs, 0);
  EXPECT_TRUE(s.watch.steps.back().last);
  const TrainResult result = s.trainer.end();
  EXPECT_EQ(result.steps, 2);
  ASSERT_TRUE(result.validation);
}

TEST(Trainer, StopsWhereNothingImproves) {
  TrainerOptions o = options(50);
  o.lr = 0;
  o.patience = 2;
  const TemporaryFolder folder;
  o.folder = folder.file("run");
  fs::create_directory(o.folder);
  Training s(o);
  const TrainResult result = run(s, false);
  EXPECT_EQ(result.steps, 9) << "the first evaluation is the best, two more are not better";
  EXPECT_EQ(result.stop_reason, "no improvement in 2 evaluations");
  EXPECT_EQ(result.best_step, 3);
}

TEST(Trainer, AWeightThatIsNotFiniteEndsTheRun) {
  const TemporaryFolder folder;
  TrainerOptions o = options();
  o.folder = folder.file("run");
  fs::create_directory(o.folder);
  Training s(o);
  s.trainer.begin(false);
  ASSERT_TRUE(s.trainer.advance());
  s.network->store().find("w")->as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  const Error e = error_of([&] { s.trainer.advance(); });
  EXPECT_EQ(e.kind(), ErrorKind::kNumerical);
  EXPECT_NE(std::string(e.what()).find("the weight w"), std::string::npos) << e.what();
  EXPECT_NE(std::string(e.what()).find("there is no checkpoint"), std::string::npos) << e.what();
  EXPECT_EQ(error_of([&] { s.trainer.advance(); }).kind(), ErrorKind::kUsage) << "nothing goes on";
}

// fp16, a loss scale that makes every gradient overflow, and that may not fall.
TEST(Trainer, ARunOfSkippedStepsTrainsNothing) {
  const TemporaryFolder folder;
  TrainerOptions o = options(1);
  o.loss_scale = "16777216";
  o.folder = folder.file("run");
  fs::create_directory(o.folder);
  Training s(o, small_options(DType::kF16));
  for (int64_t i = 0; i < 24; ++i)
    for (int64_t c = 0; c < kColumns; ++c) s.rows->row(i)[c] *= 64;
  Tensor zeros(DType::kF32, {kColumns, 2});
  s.network->set_file_tensor("w", zeros);
  const std::vector<float> before = weights_of(*s.network, "b");
  const Error e = error_of([&] { run(s, false); });
  EXPECT_EQ(e.kind(), ErrorKind::kNumerical);
  EXPECT_NE(std::string(e.what()).find("nothing was trained: all 3 steps were skipped"), std::string::npos)
      << e.what();
  EXPECT_TRUE(s.watch.steps.at(0).skipped);
  EXPECT_EQ(weights_of(*s.network, "b"), before);
  EXPECT_FALSE(find_latest(o.folder).checkpoint) << "the folder is free for the next";
  EXPECT_NE(s.said.find("warning: skipped step 1"), std::string::npos) << s.said;
}

TEST(Trainer, AnErrorOfAnObserverLeavesACheckpoint) {
  const TemporaryFolder folder;
  TrainerOptions o = options();
  o.folder = folder.file("run");
  fs::create_directory(o.folder);
  Training s(o);
  s.watch.fails_at = 2;
  EXPECT_EQ(error_of([&] { run(s, false); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(find_latest(o.folder).checkpoint->step, 2);
}

TEST(Trainer, OtherWeightsAreEvaluatedAnew) {
  Training s(options());
  s.trainer.begin(false);
  ASSERT_TRUE(s.trainer.advance());
  const double before = s.trainer.evaluate().loss();
  s.network->set_file_tensor("w", Tensor(DType::kF32, {kColumns, 2}));
  EXPECT_EQ(s.trainer.evaluate().loss(), before) << "not said";
  s.trainer.weights_changed();
  EXPECT_NE(s.trainer.evaluate().loss(), before);
}

TEST(Trainer, WithoutAFolderThereIsNoCheckpoint) {
  Training s(options());
  s.trainer.begin(false);
  const Error e = error_of([&] { s.trainer.save(); });
  EXPECT_EQ(e.kind(), ErrorKind::kUsage);
  EXPECT_NE(std::string(e.what()).find("give --out"), std::string::npos) << e.what();
}

}  // namespace
}  // namespace halftone::train
