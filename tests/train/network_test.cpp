// A network that is compiled for training and evaluation: scores against double, what it refuses, what it
// names.
#include "train/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "train/small_network.h"

namespace halftone::train {
namespace {

using namespace test;

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

// The rows of a batch, which may be shuffled.
double mean_loss(const Rows& rows, const data::Batch& batch, const Network& network) {
  double sum = 0;
  for (int64_t i = 0; i < batch.count; ++i) {
    const int64_t index = batch.indices[static_cast<size_t>(i)];
    sum +=
        loss_of(rows.row(index), static_cast<int>(index % 2), weights_of(network), weights_of(network, "b"));
  }
  return sum / static_cast<double>(batch.count);
}

TEST(Network, TakesTheFilesTensors) {
  for (const DType storage : {DType::kF32, DType::kF16, DType::kBf16}) {
    CompileOptions options = small_options(storage);
    Network network([storage](int64_t batch, ops::Mode) { return small_graph(batch, storage); }, options);
    const std::vector<pass::NarrowLoss> losses = network.prepare_training();
    EXPECT_EQ(losses.size(), storage == DType::kF32 ? 0U : 2U);
    EXPECT_EQ(network.file_tensor_names(), (std::vector<std::string>{"b", "w"}));
    EXPECT_EQ(network.moving_tensor_names(), (std::vector<std::string>{"b", "w"}));
    const double unit = storage == DType::kF32 ? 0 : storage == DType::kF16 ? 0x1p-11 : 0x1p-8;
    for (size_t i = 0; i < initial_weights().size(); ++i)
      EXPECT_NEAR(weights_of(network)[i], initial_weights()[i], unit * std::abs(initial_weights()[i]));
  }
}

// Picture i has class i % 2, whose pixels are brighter.
class Pictures final : public data::Dataset {
 public:
  Pictures() {
    std::mt19937 random(7);
    for (int64_t i = 0; i < size() * kPixels; ++i)
      pixels_.push_back(static_cast<uint8_t>(random() % 200 + (i / kPixels % 2 == 0 ? 0 : 50)));
    info_.image = true;
    info_.shape = info_.geometry = {3, 4, 5};
    info_.labels = data::LabelKind::kClass;
    info_.classes = 2;
  }
  int64_t size() const override { return 44; }
  void read(int64_t index, data::Sample& sample) const override {
    sample.pixels = {pixels_.data() + index * kPixels, 3, 4, 5, 20, 5, 1};
    sample.label = static_cast<int32_t>(index % 2);
  }
  std::string name(int64_t index) const override { return "picture " + std::to_string(index); }

 private:
  static constexpr int64_t kPixels = 60;
  std::vector<uint8_t> pixels_;
};

// A classifier that reads them channels last, as convolutions do.
ir::Graph picture_graph(int64_t batch, DType storage) {
  ir::Graph graph;
  ops::Builder b(graph, storage);
  ir::Value x;
  x.name = "x";
  x.kind = ir::ValueKind::kInput;
  x.type = {storage, {batch, 3, 4, 5}};
  graph.inputs = {graph.add_value(x)};
  ir::Value w;
  w.name = "w";
  w.kind = ir::ValueKind::kParameter;
  w.type = {storage, {60, 2}};
  Tensor t(DType::kF32, {60, 2});
  for (size_t i = 0; i < 120; ++i) t.as<float>()[i] = std::sin(static_cast<float>(i)) / 8;
  w.data = std::make_shared<const Tensor>(std::move(t));
  const ir::ValueId weights = graph.add_value(std::move(w));
  const ir::ValueId rows = b.reshape(b.transpose(graph.inputs[0], {0, 2, 3, 1}), {batch, 60});
  graph.outputs = {b.add1("MatMul", {rows, weights})};
  return graph;
}

// The samples go one way or the other; the numbers are the same, and what is not copied takes no memory.
TEST(Network, ReadsPicturesWhereTheBatchHasThem) {
  const auto pictures = std::make_shared<Pictures>();
  for (const DType storage : {DType::kF32, DType::kF16, DType::kBf16}) {
    struct Outcome {
      std::vector<float> weights;
      std::vector<double> losses;
      int64_t planned_bytes = 0;
    };
    enum class Way { kCopied, kRoundedAndCopied, kLent };
    const auto train = [&](Way way) {
      CompileOptions options = small_options(storage, 8);
      if (way == Way::kLent)
        options.samples = SamplesInBatches{"image", storage, data::can_be_channels_last(pictures->info())};
      Network network([storage](int64_t batch, ops::Mode) { return picture_graph(batch, storage); }, options);
      network.prepare_training();
      EXPECT_EQ(network.wants_channels_last(), way == Way::kLent);
      data::LoaderOptions o;
      o.batch = 8;
      o.seed = 5;
      o.threads = 1;
      o.transform.augmentation = {.crop_padding = 1, .flip = true};
      o.storage = way == Way::kRoundedAndCopied ? DType::kF32 : storage;
      o.channels_last = network.wants_channels_last();
      data::Loader loader(pictures, o);
      o.training = false;
      data::Loader evaluated(pictures, o);
      Outcome outcome;
      loader.start(0);
      data::Batch batch;
      network.state().lr = 0.1F;
      network.state().good_steps = 1;
      while (loader.next(batch)) {
        outcome.losses.push_back(network.compute(batch).loss());
        network.update();
      }
      const Score score = network.evaluate(evaluated);
      EXPECT_EQ(score.samples, 44);
      outcome.losses.insert(outcome.losses.end(), score.losses.begin(), score.losses.end());
      for (const auto& [name, output] : network.outputs(batch))
        outcome.losses.insert(outcome.losses.end(), output.as<float>().begin(), output.as<float>().end());
      outcome.weights = weights_of(network);
      outcome.planned_bytes = network.planned_bytes();
      return outcome;
    };
    const Outcome copied = train(Way::kCopied);
    const Outcome rounded = train(Way::kRoundedAndCopied);
    const Outcome lent = train(Way::kLent);
    EXPECT_EQ(lent.weights, copied.weights) << name_of(storage);
    EXPECT_EQ(lent.losses, copied.losses) << name_of(storage);
    EXPECT_EQ(rounded.weights, copied.weights) << name_of(storage);
    EXPECT_EQ(rounded.losses, copied.losses) << name_of(storage);
    EXPECT_LT(lent.planned_bytes, copied.planned_bytes);
    EXPECT_NE(copied.weights[0], 0);
    EXPECT_NE(copied.losses[0], copied.losses[1]);
  }
}

TEST(Network, ScoresABatch) {
  const auto rows = std::make_shared<Rows>(16);
  const auto loader = loader_of(rows, true);
  const auto network = small_network();
  loader->start(0);
  data::Batch batch;
  ASSERT_TRUE(loader->next(batch));
  const Score score = network->compute(batch);
  EXPECT_EQ(score.samples, 8);
  EXPECT_EQ(score.targets, 8);
  EXPECT_NEAR(score.loss(), mean_loss(*rows, batch, *network), 64 * 0x1p-24);
  ASSERT_TRUE(score.correct);
  EXPECT_GE(*score.correct, 0);
  EXPECT_LE(*score.correct, 8);
}

// 21 rows in batches of 8: the last one has 5.
TEST(Network, EvaluatesEverySampleOnce) {
  const auto rows = std::make_shared<Rows>(21);
  const auto loader = loader_of(rows, false);
  const auto network = small_network();
  const Score score = network->evaluate(*loader);
  EXPECT_EQ(score.samples, 21);
  ASSERT_EQ(score.losses.size(), 21U);
  double sum = 0;
  int64_t right = 0;
  for (int64_t i = 0; i < 21; ++i) {
    const double loss =
        loss_of(rows->row(i), static_cast<int>(i % 2), weights_of(*network), weights_of(*network, "b"));
    EXPECT_NEAR(score.losses[static_cast<size_t>(i)], loss, 64 * 0x1p-24) << i;
    EXPECT_EQ(score.hits[static_cast<size_t>(i)], loss < std::log(2.0) ? 1 : 0) << i;
    right += loss < std::log(2.0) ? 1 : 0;
    sum += loss;
  }
  EXPECT_NEAR(score.loss(), sum / 21, 64 * 0x1p-24);
  EXPECT_EQ(score.correct, right);
  EXPECT_EQ(network->evaluated().size(), 3U);
  EXPECT_EQ(network->evaluated().back().samples, 5);
}

TEST(Network, AnUpdateLowersTheLossOfItsBatch) {
  const auto loader = loader_of(std::make_shared<Rows>(16), true);
  const auto network = small_network();
  loader->start(0);
  data::Batch batch;
  ASSERT_TRUE(loader->next(batch));
  network->state().lr = 0.5F;
  network->state().good_steps = 1;
  const double before = network->compute(batch).loss();
  network->update();
  EXPECT_TRUE(network->state().finite);
  EXPECT_LT(network->compute(batch).loss(), before - 0.05);
}

TEST(Network, GradientsChangeNothing) {
  const auto rows = std::make_shared<Rows>(8);
  const auto loader = loader_of(rows, true);
  const auto network = small_network();
  loader->start(0);
  data::Batch batch;
  ASSERT_TRUE(loader->next(batch));
  const std::vector<float> before = weights_of(*network);
  const Network::Gradients g = network->gradients(batch, 1, 1);
  EXPECT_EQ(weights_of(*network), before);
  // By central differences of the loss in double.
  const std::vector<float> bias = weights_of(*network, "b");
  for (size_t i = 0; i < before.size(); ++i) {
    const auto shifted = [&](float by) {
      std::vector<float> w = before;
      w[i] += by;
      double sum = 0;
      for (int64_t r = 0; r < 8; ++r) sum += loss_of(rows->row(r), static_cast<int>(r % 2), w, bias) / 8;
      return sum;
    };
    const float step = 0x1p-7F;
    EXPECT_NEAR(g.by_name.at("w").as<float>()[i], (shifted(step) - shifted(-step)) / (2 * step), 1e-4) << i;
  }
}

TEST(Network, ReplacesATensorOfTheFile) {
  const auto network = small_network(small_options(DType::kF16));
  Tensor values(DType::kF32, {kColumns, 2});
  values.as<float>()[3] = 1 + 0x1p-12F;  // rounds to 1
  network->set_file_tensor("w", values);
  EXPECT_EQ(weights_of(*network)[3], 1);
  EXPECT_EQ(weights_of(*network)[0], 0);
  EXPECT_EQ(error_of([&] {
              network->set_file_tensor("w", Tensor(DType::kF32, {2, kColumns}));
            }).kind(),
            ErrorKind::kInput);
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), 1e6F}) {
    values.as<float>()[5] = wrong;
    EXPECT_EQ(error_of([&] { network->set_file_tensor("w", values); }).kind(), ErrorKind::kInput) << wrong;
  }
  EXPECT_EQ(weights_of(*network)[5], 0);
}

TEST(Network, NamesTheSampleThatIsNotFinite) {
  const auto rows = std::make_shared<Rows>(16);
  rows->row(11)[2] = std::numeric_limits<float>::infinity();
  const auto loader = loader_of(rows, false);
  const auto network = small_network();
  loader->start(0);
  data::Batch batch;
  ASSERT_TRUE(loader->next(batch));
  EXPECT_FALSE(network->find_non_finite(batch));
  ASSERT_TRUE(loader->next(batch));
  const std::optional<Fault> fault = network->find_non_finite(batch);
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->stage, Stage::kSample);
  EXPECT_EQ(fault->row, 3);
  EXPECT_NE(describe(*fault, batch, *rows).find("row 11"), std::string::npos)
      << describe(*fault, batch, *rows);
  const Error e = error_of([&] { network->evaluate(*loader); });
  EXPECT_EQ(e.kind(), ErrorKind::kNumerical);
}

TEST(Network, NamesTheTensorThatIsNotFinite) {
  const auto network = small_network();
  EXPECT_FALSE(network->non_finite_tensor());
  network->store().find("b")->as<float>()[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(network->non_finite_tensor(), "b");
}

TEST(Score, AddsBatches) {
  Score a;
  a.loss_sum = 3;
  a.samples = 2;
  Score b;
  b.loss_sum = 5;
  b.samples = 2;
  b.correct = 1;
  b.targets = 2;
  a.add(b);
  EXPECT_EQ(a.loss(), 2);
  EXPECT_EQ(a.correct, 1);
  EXPECT_EQ(a.accuracy(), 0.5);
  EXPECT_FALSE(Score().accuracy());
}

}  // namespace
}  // namespace halftone::train
