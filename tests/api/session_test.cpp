// Session: the steps of `train`, taken one by one by a host.
#include "halftone/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "api/small_networks.h"
#include "base/error.h"
#include "base/file.h"
#include "data/loader.h"
#include "train/safetensors.h"

namespace halftone::test {
namespace {

using api::test::kClasses;
using api::test::kFeatures;
using api::test::Normal;
using onnx::test::TemporaryFolder;

constexpr int64_t kSamples = 40;
constexpr int64_t kBatch = 8;
const Log kSilent = [](const std::string&) {};

struct Samples {
  std::vector<float> x;
  std::vector<int64_t> y;

  // Rows `rows`, as a batch of the network in memory.
  Arrays batch(const std::vector<int64_t>& rows) const {
    std::vector<float> bx;
    std::vector<int64_t> by;
    for (const int64_t row : rows) {
      bx.insert(bx.end(), x.begin() + row * kFeatures, x.begin() + (row + 1) * kFeatures);
      by.push_back(y[static_cast<size_t>(row)]);
    }
    const auto count = static_cast<int64_t>(rows.size());
    return {{"x", Array::of({count, kFeatures}, bx)}, {"y", Array::of({count}, by)}};
  }
  Arrays first(int64_t count) const {
    std::vector<int64_t> rows;
    for (int64_t i = 0; i < count; ++i) rows.push_back(i);
    return batch(rows);
  }
};

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() {
    Normal normal(11);
    samples_.x = normal.many(kSamples * kFeatures, 1);
    for (int64_t i = 0; i < kSamples; ++i) {
      const float* row = samples_.x.data() + i * kFeatures;
      samples_.y.push_back(i < kClasses ? i : std::max_element(row, row + kClasses) - row);
    }
    train::Safetensors file;
    file.tensors["x"] = Tensor(DType::kF32, {kSamples, kFeatures});
    file.tensors["y"] = Tensor(DType::kI64, {kSamples});
    std::copy(samples_.x.begin(), samples_.x.end(), file.tensors["x"].as<float>().begin());
    std::copy(samples_.y.begin(), samples_.y.end(), file.tensors["y"].as<int64_t>().begin());
    train::write_safetensors(path("data.safetensors"), file);
    api::test::write_mlp(path("mlp.onnx"));
    api::test::write_batch_norm(path("bn.onnx"), 0.9F);
  }

  std::string path(const std::string& name) const { return folder_ / name; }

  TrainOptions options(const std::string& network = "mlp.onnx", const std::string& precision = "fp16") const {
    TrainOptions o;
    o.network.model = path(network);
    o.network.precision = precision;
    o.network.batch = kBatch;
    o.network.threads = 1;
    o.network.seed = 3;
    o.data.data = path("data.safetensors");
    o.data.loader_threads = 1;
    o.epochs = 2;
    o.lr = 0.05;
    o.quiet = true;
    return o;
  }
  // The same for batches that the test gives.
  TrainOptions given(const std::string& network = "mlp.onnx", const std::string& precision = "fp16") const {
    TrainOptions o = options(network, precision);
    o.data.data.clear();
    return o;
  }
  // The rows of each batch of an epoch, in the order in which train takes them.
  std::vector<std::vector<int64_t>> order(const TrainOptions& o, uint64_t epoch) const {
    const std::vector<int64_t> all = data::shuffled(kSamples, o.network.seed, epoch);
    std::vector<std::vector<int64_t>> batches;
    for (int64_t first = 0; first + kBatch <= kSamples; first += kBatch)
      batches.emplace_back(all.begin() + first, all.begin() + first + kBatch);
    return batches;
  }
  // model.onnx of train_model with these options.
  std::string trained_bytes(TrainOptions o, const std::string& name) const {
    o.out = path(name);
    return read_file(train_model(o, kSilent).model_path);
  }

  TemporaryFolder folder_;
  Samples samples_;
};

std::string message_of(const std::function<void()>& f, ErrorKind kind) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST_F(SessionTest, StepsOnTheDataOfTheOptionsGiveTrainsBytes) {
  for (const char* network : {"mlp.onnx", "bn.onnx"}) {
    for (const char* precision : {"fp16", "fp32"}) {
      TrainOptions o = options(network, precision);
      o.data.val = o.data.data;
      o.optimizer = "adamw";
      o.schedule = "cosine";
      o.warmup = 2;
      Session session(o);
      int64_t steps = 0;
      while (const auto report = session.step()) {
        EXPECT_EQ(report->step, ++steps);
        EXPECT_TRUE(std::isfinite(report->loss));
        // Looking on, in the middle of epochs, changes nothing.
        if (steps == 3) {
          session.evaluate();
          session.save(path("middle.onnx"));
        }
      }
      EXPECT_EQ(steps, 2 * kSamples / kBatch);
      session.save(path("session.onnx"));
      const std::string expected = trained_bytes(o, std::string("run-") + network + precision);
      EXPECT_TRUE(read_file(path("session.onnx")) == expected) << network << " " << precision;
      EXPECT_FALSE(read_file(path("middle.onnx")) == expected);
      EXPECT_FALSE(read_file(path(network)) == expected);
    }
  }
}

TEST_F(SessionTest, GivenBatchesInTrainsOrderGiveTrainsBytes) {
  for (const char* network : {"mlp.onnx", "bn.onnx"}) {
    for (const char* precision : {"fp16", "bf16", "fp32"}) {
      TrainOptions o = given(network, precision);
      o.bn_statistics = "running";
      o.rounding = "kahan";
      Session session(o, samples_.first(kBatch));
      for (uint64_t epoch = 0; epoch < 2; ++epoch)
        for (const auto& rows : order(o, epoch)) session.step(samples_.batch(rows));
      session.save(path("session.onnx"));
      TrainOptions same = options(network, precision);
      same.bn_statistics = "running";
      same.rounding = "kahan";
      EXPECT_TRUE(read_file(path("session.onnx")) ==
                  trained_bytes(same, std::string("run-") + network + precision))
          << network << " " << precision;
    }
  }
}

TEST_F(SessionTest, AccumulatesGivenBatches) {
  TrainOptions o = given();
  o.accumulate = 2;
  Session session(o, samples_.first(kBatch));
  const auto batches = order(o, 0);
  for (size_t i = 0; i + 1 < batches.size(); i += 2)
    session.step_over({samples_.batch(batches[i]), samples_.batch(batches[i + 1])});
  EXPECT_EQ(session.steps(), 2);
  session.save(path("session.onnx"));
  TrainOptions same = options();
  same.accumulate = 2;
  same.epochs = 1;
  EXPECT_TRUE(read_file(path("session.onnx")) == trained_bytes(same, "run"));
  EXPECT_NE(
      message_of([&] { session.step(samples_.first(kBatch)); }, ErrorKind::kUsage).find("takes 2 batches"),
      std::string::npos);
}

TEST_F(SessionTest, RunWritesWhatTrainWrites) {
  TrainOptions o = options();
  o.data.val = o.data.data;
  o.out = path("by-session");
  Session session(o);
  session.step();
  const RunResult result = session.run();
  EXPECT_EQ(result.steps, 2 * kSamples / kBatch);
  EXPECT_TRUE(read_file(result.model_path) == trained_bytes(o, "by-train"));
  EXPECT_TRUE(std::filesystem::exists(path("by-session/summary.json")));
  EXPECT_NE(message_of([&] { session.step(); }, ErrorKind::kUsage).find("has ended"), std::string::npos);
}

TEST_F(SessionTest, GoesOnFromItsCheckpoint) {
  for (const bool gives : {false, true}) {
    TrainOptions o = gives ? given("bn.onnx") : options("bn.onnx");
    o.bn_statistics = "running";
    o.momentum = 0.9;
    o.out = path(gives ? "given" : "own");
    const auto take = [&](Session& session, size_t first, size_t end) {
      for (size_t i = first; i < end; ++i) {
        if (gives) {
          session.step(samples_.batch(order(o, 0)[i]));
        } else {
          ASSERT_TRUE(session.step());
        }
      }
    };
    const Arrays example = samples_.first(kBatch);
    const auto make = [&] { return gives ? Session(o, example) : Session(o); };
    {
      Session session = make();
      take(session, 0, 3);
      session.checkpoint();
    }
    o.resume = true;
    std::string resumed;
    {
      Session session = make();
      EXPECT_EQ(session.steps(), 3);
      take(session, 3, 5);
      session.save(path("resumed.onnx"));
      resumed = read_file(path("resumed.onnx"));
    }
    o.resume = false;
    o.out.clear();
    Session whole = make();
    take(whole, 0, 5);
    whole.save(path("whole.onnx"));
    EXPECT_TRUE(resumed == read_file(path("whole.onnx"))) << gives;
  }
}

TEST_F(SessionTest, TellsItsObservers) {
  TrainOptions o = options();
  o.data.val = o.data.data;
  o.out = path("run");
  std::vector<std::string> told;
  Session session(o);
  session.observe(
      {.step = [&](const StepReport& s) { told.push_back("step " + std::to_string(s.step)); },
       .evaluation =
           [&](const EvaluationReport& e) { told.push_back("evaluation " + std::to_string(e.step)); },
       .epoch = [&](const EpochReport& e) { told.push_back("epoch " + std::to_string(e.epoch)); },
       .checkpoint =
           [&](const CheckpointReport& c) {
             EXPECT_TRUE(std::filesystem::exists(c.path));
             told.push_back("checkpoint " + std::to_string(c.step));
           }});
  while (session.step()) {
  }
  EXPECT_EQ(told, (std::vector<std::string>{"step 1", "step 2", "step 3", "step 4", "step 5", "evaluation 5",
                                            "epoch 1", "checkpoint 5", "step 6", "step 7", "step 8", "step 9",
                                            "step 10", "evaluation 10", "epoch 2", "checkpoint 10"}));
}

TEST_F(SessionTest, AnObserverThatThrowsEndsTheRunWithACheckpoint) {
  TrainOptions o = options();
  o.out = path("run");
  Session session(o);
  session.observe({.step = [](const StepReport& s) {
    if (s.step == 2) throw std::runtime_error("enough");
  }});
  session.step();
  EXPECT_THROW(session.step(), std::runtime_error);
  EXPECT_TRUE(std::filesystem::exists(path("run/checkpoint-0000000002.htck")));
  EXPECT_NE(message_of([&] { session.step(); }, ErrorKind::kUsage).find("ended by an error"),
            std::string::npos);
}

TEST_F(SessionTest, PredictsWhatTheNetworkComputes) {
  Session session(given("mlp.onnx", "fp32"), samples_.first(kBatch));
  session.step(samples_.first(kBatch));
  for (const int64_t count : {int64_t{3}, kBatch}) {
    Arrays batch = samples_.first(count);
    batch.erase("y");  // labels are not needed
    const Arrays outputs = session.predict(batch);
    ASSERT_EQ(outputs.size(), 1U);
    const Array& logits = outputs.at("logits");
    EXPECT_EQ(logits.shape, (std::vector<int64_t>{count, kClasses}));
    const std::vector<float> w1 = session.tensor("fc1.weight").floats(),
                             b1 = session.tensor("fc1.bias").floats();
    const std::vector<float> w2 = session.tensor("fc2.weight").floats(),
                             b2 = session.tensor("fc2.bias").floats();
    const std::vector<float> got = logits.floats();
    const size_t hidden = b1.size();
    for (size_t n = 0; n < static_cast<size_t>(count); ++n)
      for (size_t c = 0; c < kClasses; ++c) {
        double y = b2[c];
        for (size_t h = 0; h < hidden; ++h) {
          double z = b1[h];
          for (size_t f = 0; f < kFeatures; ++f)
            z += static_cast<double>(samples_.x[n * kFeatures + f]) * w1[f * hidden + h];
          y += std::max(z, 0.0) * w2[h * kClasses + c];
        }
        EXPECT_NEAR(got[n * kClasses + c], y, 1e-5);
      }
  }
}

// Asking for gradients between two steps changes nothing, the running statistics included.
TEST_F(SessionTest, GradientsBetweenStepsChangeNothing) {
  const auto trained = [&](bool asks) {
    Session session(given("bn.onnx"), samples_.first(kBatch));
    for (int64_t i = 0; i < 3; ++i) {
      session.step(samples_.first(kBatch));
      if (!asks) continue;
      EXPECT_EQ(session.gradients(samples_.first(kBatch)).size(), session.trained_names().size());
    }
    session.save(path("trained.onnx"));
    return read_file(path("trained.onnx"));
  };
  const std::string plain = trained(false);
  EXPECT_EQ(trained(true), plain);
}

TEST_F(SessionTest, GradientsAreTheSlopesOfTheLoss) {
  Session session(given("mlp.onnx", "fp32"), samples_.first(kBatch));
  const Arrays batch = samples_.first(kBatch);
  const Arrays gradients = session.gradients(batch);
  EXPECT_EQ(session.trained_names().size(), 4U);
  for (const std::string& name : session.trained_names()) {
    const std::vector<float> gradient = gradients.at(name).floats();
    const Array before = session.tensor(name);
    EXPECT_EQ(gradients.at(name).shape, before.shape);
    constexpr float kStep = 1e-2F;
    for (const size_t i : {size_t{0}, gradient.size() / 2, gradient.size() - 1}) {
      const auto loss_at = [&](float change) {
        std::vector<float> values = before.floats();
        values[i] += change;
        session.set_tensor(name, Array::of(before.shape, values));
        return session.evaluate(batch).loss;
      };
      const double slope = (loss_at(kStep) - loss_at(-kStep)) / (2 * static_cast<double>(kStep));
      // The loss is good to 1e-6, and its third derivatives are below 1.
      EXPECT_NEAR(gradient[i], slope, 1e-6 / kStep + kStep * kStep) << name << " " << i;
    }
    session.set_tensor(name, before);
  }
  double largest = 0;
  for (const float g : gradients.at("fc2.bias").floats())
    largest = std::max(largest, std::fabs(static_cast<double>(g)));
  EXPECT_GT(largest, 1e-3);
  // Nothing moved.
  session.step(batch);
  session.save(path("a.onnx"));
  Session other(given("mlp.onnx", "fp32"), samples_.first(kBatch));
  other.step(batch);
  other.save(path("b.onnx"));
  EXPECT_TRUE(read_file(path("a.onnx")) == read_file(path("b.onnx")));
}

TEST_F(SessionTest, ReadsAndWritesTensors) {
  Session session(given("bn.onnx"), samples_.first(kBatch));
  const std::vector<std::string> names = session.tensor_names();
  EXPECT_GT(names.size(), session.trained_names().size());  // running statistics too
  for (const std::string& name : names) {
    const Array values = session.tensor(name);
    EXPECT_EQ(values.type, ElementType::kF32);
    session.set_tensor(name, values);
    EXPECT_EQ(session.tensor(name).bytes, values.bytes) << name;
  }
  const Array bias = session.tensor("fc2.bias");
  std::vector<float> values = bias.floats();
  values[1] = 0.1F;  // is no number of fp16
  session.set_tensor("fc2.bias", Array::of(bias.shape, values));
  EXPECT_EQ(session.tensor("fc2.bias").floats()[1], 0.0999755859375F);
  session.step(samples_.first(kBatch));
  session.save(path("moved.onnx"));

  EXPECT_NE(message_of([&] { session.tensor("fc2.bia"); }, ErrorKind::kUsage).find("fc2.bias"),
            std::string::npos);
  EXPECT_NE(message_of([&] { session.set_tensor("fc2.bias", Array::of({5}, std::vector<float>(5))); },
                       ErrorKind::kInput)
                .find("shape 5 do not fit"),
            std::string::npos);
  EXPECT_NE(message_of([&] { session.set_tensor("fc2.bias", Array::of({4}, std::vector<float>(4, 1e6F))); },
                       ErrorKind::kInput)
                .find("beyond the range of fp16"),
            std::string::npos);
  EXPECT_NE(message_of([&] { session.set_tensor("fc2.bias", Array::of({4}, std::vector<float>(4, NAN))); },
                       ErrorKind::kInput)
                .find("not all finite"),
            std::string::npos);
  EXPECT_NE(message_of([&] { session.set_tensor("fc2.bias", Array::of({4}, std::vector<int64_t>(4))); },
                       ErrorKind::kUsage)
                .find("floating-point"),
            std::string::npos);
}

TEST_F(SessionTest, RefusesOtherBatchesThanTheExample) {
  Session session(given(), samples_.first(kBatch));
  const Arrays good = samples_.first(kBatch);
  const auto refused = [&](const std::function<void(Arrays&)>& change) {
    Arrays batch = good;
    change(batch);
    return message_of([&] { session.step(batch); }, ErrorKind::kInput);
  };
  EXPECT_NE(refused([](Arrays& b) { b.erase("y"); }).find("no array 'y'"), std::string::npos);
  EXPECT_NE(refused([](Arrays& b) { b["z"] = b["x"]; }).find("'z' is none of the example's"),
            std::string::npos);
  EXPECT_NE(refused([](Arrays& b) {
              b["x"].shape = {kBatch, 2, kFeatures / 2};
            }).find("expected fp32"),
            std::string::npos);
  EXPECT_NE(refused([&](Arrays& b) { b = samples_.first(kBatch - 1); }).find("7 samples"), std::string::npos);
  EXPECT_NE(refused([](Arrays& b) {
              b["y"] = Array::of({kBatch}, std::vector<int64_t>(kBatch, kClasses));
            }).find("out of range"),
            std::string::npos);
  EXPECT_NE(refused([](Arrays& b) {
              b["y"] = Array::of({kBatch}, std::vector<float>(kBatch, 1));
            }).find("expected int64"),
            std::string::npos);
  // None of these was a step, and the session goes on.
  EXPECT_EQ(session.steps(), 0);
  session.step(good);
  EXPECT_EQ(session.steps(), 1);
}

TEST_F(SessionTest, RefusesOptionsThatSayNothingOfGivenBatches) {
  const auto refused = [&](const std::function<void(TrainOptions&)>& change) {
    TrainOptions o = given();
    change(o);
    return message_of([&] { Session(o, samples_.first(kBatch)); }, ErrorKind::kUsage);
  };
  EXPECT_NE(refused([&](TrainOptions& o) { o.data.data = path("data.safetensors"); }).find("leave data.data"),
            std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.schedule = "cosine"; }).find("number of --steps"),
            std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.schedule = "step:size=1"; }).find("epochs"), std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.data.flip = true; }).find("taken as they are"),
            std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.data.one_hot = {"city"}; }).find("CSV files"), std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.data.csv_decimal = "comma"; }).find("CSV files"),
            std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.data.skip_bad = true; }).find("--skip-bad"), std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.patience = 3; }).find("--patience"), std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.bn_statistics = "measure"; }).find("running statistics"),
            std::string::npos);
  EXPECT_NE(refused([](TrainOptions& o) { o.resume = true; }).find("options.out"), std::string::npos);
  Session session(given(), samples_.first(kBatch));
  EXPECT_NE(message_of([&] { session.step(); }, ErrorKind::kUsage).find("step(batch)"), std::string::npos);
  EXPECT_NE(message_of([&] { session.evaluate(); }, ErrorKind::kUsage).find("data.val"), std::string::npos);
  EXPECT_NE(message_of([&] { session.checkpoint(); }, ErrorKind::kUsage).find("options.out"),
            std::string::npos);
  EXPECT_NE(message_of([&] { session.save(path("mlp.onnx")); }, ErrorKind::kUsage).find("is read from"),
            std::string::npos);
}

TEST_F(SessionTest, StopsAfterTheStepsThatWereAskedFor) {
  TrainOptions o = given();
  o.steps = 2;
  o.schedule = "cosine";
  Session session(o, samples_.first(kBatch));
  const StepReport first = session.step(samples_.first(kBatch));
  const StepReport second = session.step(samples_.first(kBatch));
  EXPECT_LT(second.learning_rate, first.learning_rate);
  for (int i = 0; i < 2; ++i)
    EXPECT_NE(message_of([&] { session.step(samples_.first(kBatch)); }, ErrorKind::kUsage).find("2 steps"),
              std::string::npos);
  // It is not ended by that: its result can be had.
  session.save(path("end.onnx"));
  EXPECT_TRUE(std::filesystem::exists(path("end.onnx")));
}

TEST_F(SessionTest, AFileThatCannotBeWrittenDoesNotEndTheRun) {
  for (const bool gives : {false, true}) {  // with measured statistics of batch norms, and without
    TrainOptions o = gives ? given("bn.onnx") : options("bn.onnx");
    o.bn_statistics = gives ? "running" : "measure";
    const auto make = [&] { return gives ? Session(o, samples_.first(kBatch)) : Session(o); };
    const auto step = [&](Session& session) {
      if (gives) {
        session.step(samples_.first(kBatch));
      } else {
        ASSERT_TRUE(session.step());
      }
    };
    Session whole = make();
    step(whole), step(whole);
    whole.save(path("whole.onnx"));

    Session session = make();
    step(session);
    EXPECT_NE(message_of([&] { session.save(""); }, ErrorKind::kUsage).find("name of the file is empty"),
              std::string::npos);
    EXPECT_NE(
        message_of([&] { session.save(path("data.safetensors/x.onnx")); }, ErrorKind::kInput).find("cannot"),
        std::string::npos);
    std::filesystem::create_directories(path("taken.onnx.tmp/full"));  // fails late, when the file is written
    EXPECT_NE(message_of([&] { session.save(path("taken.onnx")); }, ErrorKind::kInput).find("taken.onnx"),
              std::string::npos);
    step(session);
    session.save(path("after.onnx"));
    EXPECT_TRUE(read_file(path("after.onnx")) == read_file(path("whole.onnx"))) << gives;
  }
}

TEST_F(SessionTest, GoesOnFromACheckpointOfTheCommandLine) {
  TrainOptions o = options();
  o.out = path("run");
  o.steps = 3;
  // As the program records it: what `auto` became.
  o.config = [](const TrainOptions& decided) {
    return "multiply: " + decided.network.multiply + "\nlr: 0.05\n";
  };
  train_model(o, kSilent);
  o.config = {};
  o.resume = true;
  o.steps = 0;
  {
    Session session(o);
    EXPECT_EQ(session.steps(), 3);
    EXPECT_TRUE(session.step());
  }
  o.lr = 0.5;
  EXPECT_NE(message_of([&] { Session other(o); }, ErrorKind::kUsage).find("--lr was 0.05 and is 0.5"),
            std::string::npos);
}

TEST_F(SessionTest, NeedsANetworkAndSamples) {
  TrainOptions o = options();
  o.network.model.clear();
  EXPECT_NE(message_of([&] { Session session(o); }, ErrorKind::kUsage).find("network.model"),
            std::string::npos);
  EXPECT_NE(message_of([&] { Session session(given()); }, ErrorKind::kUsage).find("data.data"),
            std::string::npos);
}

TEST(Arrays, AreChecked) {
  EXPECT_NE(message_of(
                [] {
                  Array::of({2, 2}, std::vector<float>(3));
                },
                ErrorKind::kUsage)
                .find("needs 4 elements, got 3"),
            std::string::npos);
  const Array whole = Array::of({2}, std::vector<int32_t>{1, -2});
  EXPECT_EQ(whole.integers(), (std::vector<int64_t>{1, -2}));
  EXPECT_NE(message_of([&] { whole.floats(); }, ErrorKind::kUsage).find("integers()"), std::string::npos);
  EXPECT_EQ(Array::of({1}, std::vector<double>{0.1}).floats(), std::vector<float>{0.1F});
  EXPECT_EQ(name_of(ElementType::kBf16), "bf16");
  EXPECT_EQ(size_bytes(ElementType::kI64), 8);
}

}  // namespace
}  // namespace halftone::test
