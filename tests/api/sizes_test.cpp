// Samples of several sizes: trained, resumed, evaluated, and given by a host.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <initializer_list>

#include "api/small_run.h"
#include "data/loader.h"
#include "data/safetensors.h"
#include "halftone/session.h"

namespace halftone {
namespace {

using namespace test;

std::vector<float> wave(int64_t n, double step) {
  std::vector<float> out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<float>(std::sin(step * static_cast<double>(i + 1)));
  return out;
}

Tensor floats_of(const Shape& shape, double step) {
  Tensor t(DType::kF32, shape);
  const std::vector<float> values = wave(t.size(), step);
  std::copy(values.begin(), values.end(), t.as<float>().begin());
  return t;
}

Tensor numbers_of(const Shape& shape, int64_t most, int64_t seed) {
  Tensor t(DType::kI64, shape);
  for (size_t i = 0; i < static_cast<size_t>(t.size()); ++i)
    t.as<int64_t>()[i] = (static_cast<int64_t>(i * 7 % 11) + seed) % most;
  return t;
}

class SizesTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const ModelBuilder& b) const {
    std::ofstream(folder_ / name, std::ios::binary) << b.bytes();
    return folder_ / name;
  }
  struct Entry {
    const char* name;
    const Tensor& tensor;
  };
  void data(const std::string& name, std::initializer_list<Entry> arrays) const {
    std::filesystem::create_directories(std::filesystem::path(folder_ / name).parent_path());
    train::Safetensors file;
    for (const auto& [key, tensor] : arrays) file.tensors.emplace(key, tensor.clone());
    train::write_safetensors(folder_ / name, file);
  }

  // A class for a sequence: y = v mean(tanh(w x + ...)), with a batch norm over positions where that is asked
  // for.
  std::string sequences(bool norm = false) const {
    ModelBuilder m;
    m.input("x", {"N", "4", "T"}).output("y", {"N", "3"});
    m.initializer(floats("w", {6, 4, 3}, wave(72, 0.7))).initializer(floats("v", {6, 3}, wave(18, 1.3)));
    m.initializer(floats("b", {6}, wave(6, 0.4)));
    m.node("Conv", {"x", "w", "b"}, {"c"},
           {{"kernel_shape", std::vector<int64_t>{3}}, {"pads", std::vector<int64_t>{1, 1}}});
    if (norm) {
      for (const char* name : {"scale", "variance"})
        m.initializer(floats(name, {6}, std::vector<float>(6, 1)));
      for (const char* name : {"shift", "mean"}) m.initializer(floats(name, {6}, std::vector<float>(6, 0)));
      m.node("BatchNormalization", {"c", "scale", "shift", "mean", "variance"}, {"n"});
    }
    m.node("Tanh", {norm ? "n" : "c"}, {"t"});
    m.node("ReduceMean", {"t"}, {"p"}, {{"axes", std::vector<int64_t>{2}}, {"keepdims", 0}});
    m.node("MatMul", {"p", "v"}, {"y"});
    return write(norm ? "norm.onnx" : "sequences.onnx", m);
  }
  // A class for each token, of the sum of its embedding and the mean over all.
  std::string tagger() const {
    ModelBuilder m;
    m.input("ids", {"N", "T"}, TensorProto::INT64).output("y", {"N", "T", "4"});
    m.initializer(floats("table", {9, 5}, wave(45, 0.9))).initializer(floats("v", {5, 4}, wave(20, 1.7)));
    m.node("Gather", {"table", "ids"}, {"e"});
    m.node("ReduceMean", {"e"}, {"mean"}, {{"axes", std::vector<int64_t>{1}}, {"keepdims", 1}});
    m.node("Add", {"e", "mean"}, {"s"}).node("MatMul", {"s", "v"}, {"y"});
    return write("tagger.onnx", m);
  }

  void sequence_file(const std::string& name, int64_t n, int64_t length, double step) const {
    data(name, {{"x", floats_of({n, 4, length}, step)}, {"y", numbers_of({n}, 3, length)}});
  }
  // 9 samples of length 8, 13 of length 5 and 4 of length 6.
  std::string three_lengths() const {
    sequence_file("set/a.safetensors", 9, 8, 0.31);
    sequence_file("set/b.safetensors", 13, 5, 0.37);
    sequence_file("set/c.safetensors", 4, 6, 0.41);
    return folder_ / "set";
  }
  std::string tags() const {
    for (const int64_t length : {7, 3}) {
      Tensor classes = numbers_of({8, length}, 4, 1);
      for (int64_t i = 0; i < 8; ++i) classes.as<int64_t>()[static_cast<size_t>(i * length)] = -100;
      data("tags/" + std::to_string(length) + ".safetensors",
           {{"ids", numbers_of({8, length}, 9, length)}, {"tags", classes}});
    }
    return folder_ / "tags";
  }

  TrainOptions options(const std::string& model, const std::string& samples,
                       const std::string& precision = "fp16") const {
    TrainOptions o;
    o.network.model = model;
    o.network.precision = precision;
    o.network.batch = 4;
    o.network.threads = 1;
    o.network.seed = 3;
    o.data.data = samples;
    o.data.val = "none";
    o.data.loader_threads = 1;
    o.epochs = 2;
    o.lr = 0.05;
    o.quiet = true;
    return o;
  }
  std::string trained(TrainOptions o, const std::string& name) {
    o.out = folder_ / name;
    log_.clear();
    return read_file(train_model(o, [this](const std::string& line) { log_ += line + "\n"; }).model_path);
  }
  double loss(const std::string& model, const std::string& samples) const {
    EvalOptions o;
    o.network.model = model;
    o.network.precision = "fp32";
    o.network.batch = 4;
    o.network.threads = 1;
    o.data.data = samples;
    o.data.loader_threads = 1;
    return evaluate_model(o, kSilent).val_loss.value();
  }
  template <class F>
  static std::string message_of(const F& f) {
    try {
      f();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  bool logged(const std::string& text) const { return log_.find(text) != std::string::npos; }

  TemporaryFolder folder_;
  std::string log_;
};

TEST_F(SizesTest, FilesOfOneSizeGiveTheBytesOfOneFile) {
  const std::string model = sequences(true);
  const Tensor x = floats_of({14, 4, 6}, 0.3);
  const Tensor y = numbers_of({14}, 3, 0);
  const auto rows = [](const Tensor& t, int64_t first, int64_t count) {
    Shape shape = t.shape();
    shape[0] = count;
    Tensor part(t.dtype(), shape);
    const int64_t bytes = t.bytes() / t.shape()[0];
    std::copy_n(static_cast<const std::byte*>(t.data()) + first * bytes, count * bytes,
                static_cast<std::byte*>(part.data()));
    return part;
  };
  data("one.safetensors", {{"x", x}, {"y", y}});
  data("several/1.safetensors", {{"x", rows(x, 0, 5)}, {"y", rows(y, 0, 5)}});
  data("several/2.safetensors", {{"x", rows(x, 5, 9)}, {"y", rows(y, 5, 9)}});
  for (const char* precision : {"fp32", "bf16"})
    EXPECT_EQ(
        trained(options(model, folder_ / "one.safetensors", precision), std::string("one-") + precision),
        trained(options(model, folder_ / "several", precision), std::string("several-") + precision));
}

// More than may be open at once (data/array_files.cpp).
TEST_F(SizesTest, ManyFilesGiveTheBytesOfFewAndMustStay) {
  const std::string model = sequences();
  const auto name_of = [](int64_t i) { return std::to_string(100 + i); };
  constexpr int64_t kFiles = 40;
  // Two lengths: even files have one, odd ones the other.
  const Tensor x[] = {floats_of({kFiles, 4, 6}, 0.3), floats_of({kFiles, 4, 5}, 0.4)};
  const Tensor y = numbers_of({kFiles}, 3, 0);
  for (const int64_t odd : {0, 1})
    data(std::string("few/") + (odd == 1 ? "b" : "a") + ".safetensors", {{"x", x[odd]}, {"y", y}});
  const auto rows = [](const Tensor& t, int64_t first) {
    Shape shape = t.shape();
    shape[0] = 2;
    Tensor part(t.dtype(), shape);
    const int64_t bytes = t.bytes() / t.shape()[0];
    std::copy_n(static_cast<const std::byte*>(t.data()) + first * bytes, 2 * bytes,
                static_cast<std::byte*>(part.data()));
    return part;
  };
  for (int64_t i = 0; i < kFiles; ++i) {
    const int64_t first = i / 2 * 2;
    data("many/" + name_of(i) + ".safetensors", {{"x", rows(x[i % 2], first)}, {"y", rows(y, first)}});
  }
  const std::string few = trained(options(model, folder_ / "few"), "few-run");
  EXPECT_EQ(trained(options(model, folder_ / "many"), "many-run"), few);

  TrainOptions o = options(model, folder_ / "many");
  o.out = folder_ / "replaced";
  const std::string path = folder_ / "many/107.safetensors";
  const std::string saved = read_file(path);
  {
    Session session(o);
    session.step();
    // As many bytes, of other samples.
    data("many/107.safetensors", {{"x", rows(x[1], 0)}, {"y", rows(y, 0)}});
    const std::string message = message_of([&] {
      for (int i = 0; i < 100; ++i) session.step();
    });
    EXPECT_NE(message.find(path + " was changed while the run was going on"), std::string::npos) << message;
  }
  ASSERT_EQ(read_file(path).size(), saved.size());
  ASSERT_NE(read_file(path), saved);
}

TEST_F(SizesTest, ARunIsTheSameOnAnyNumberOfThreadsAndWhenItIsResumed) {
  const std::string model = sequences(true);
  const std::string samples = three_lengths();
  for (const std::string precision : {"fp32", "fp16", "bf16"}) {
    for (const std::string last : {"drop", "keep"}) {
      TrainOptions o = options(model, samples, precision);
      o.last = last;
      o.data.val = samples;
      o.bn_statistics = "measure";
      const std::string name = precision + "-" + last;
      const std::string straight = trained(o, name);
      EXPECT_TRUE(
          logged("samples of several sizes: T = 8 (9 samples), T = 6 (4 samples), T = 5 (13 samples)"))
          << log_;
      TrainOptions threads = o;
      threads.network.threads = threads.data.loader_threads = 2;
      EXPECT_EQ(trained(threads, name + "-threads"), straight);
      o.out = folder_ / (name + "-resumed");
      {
        Session session(o);
        for (int i = 0; i < 4; ++i) session.step();
        session.checkpoint();
      }
      o.resume = true;
      EXPECT_EQ(read_file(Session(o).run().model_path), straight);
    }
  }
}

TEST_F(SizesTest, BatchesThatAHostGivesMayHaveOtherSizes) {
  const std::string samples = three_lengths();
  for (const bool norm : {false, true}) {
    for (const std::string precision : {"fp32", "fp16"}) {
      TrainOptions o = options(sequences(norm), samples, precision);
      o.epochs = 1;
      o.bn_statistics = "running";
      Session own(o);
      int64_t steps = 0;
      while (own.step()) ++steps;
      EXPECT_EQ(steps, 2 + 1 + 3);

      // The same batches, by the loader's rule.
      const std::vector<std::pair<int64_t, Arrays>> files = [&] {
        std::vector<std::pair<int64_t, Arrays>> all;
        for (const char* name : {"a", "c", "b"}) {  // the largest first
          Arrays arrays;
          const data::NamedArrays file = data::safetensors_arrays(samples + "/" + name + ".safetensors");
          for (const std::string& key : file.names) {
            const data::Array stored = file.read(key);
            Array array{
                stored.type == data::Element::kF32 ? ElementType::kF32 : ElementType::kI64, stored.shape, {}};
            array.bytes.resize(static_cast<size_t>(stored.bytes->size()));
            stored.bytes->read(0, stored.bytes->size(), array.bytes.data());
            arrays.emplace(key, std::move(array));
          }
          const int64_t count = arrays.at("y").shape[0];
          all.emplace_back(count, std::move(arrays));
        }
        return all;
      }();
      const auto batch_of = [&](size_t file, const std::vector<int64_t>& rows) {
        Arrays batch;
        for (const auto& [key, array] : files[file].second) {
          Array& part = batch[key];
          part.type = array.type;
          part.shape = array.shape;
          part.shape[0] = static_cast<int64_t>(rows.size());
          const size_t bytes = array.bytes.size() / static_cast<size_t>(array.shape[0]);
          for (const int64_t row : rows) {
            const auto from =
                array.bytes.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(row) * bytes);
            part.bytes.insert(part.bytes.end(), from, from + static_cast<std::ptrdiff_t>(bytes));
          }
        }
        return batch;
      };
      std::vector<Arrays> batches;
      std::vector<std::vector<int64_t>> open(files.size());
      for (int64_t sample : data::shuffled(26, o.network.seed, 0)) {
        size_t file = 0;
        while (sample >= files[file].first) sample -= files[file++].first;
        open[file].push_back(sample);
        if (open[file].size() < 4) continue;
        batches.push_back(batch_of(file, open[file]));
        open[file].clear();
      }
      ASSERT_EQ(batches.size(), 6);
      o.data.data.clear();
      Session given(o, batches[0]);
      for (const Arrays& batch : batches) {
        const auto gradients = given.gradients(batch);
        EXPECT_FALSE(gradients.empty());
        EXPECT_TRUE(std::isfinite(given.step(batch).loss));
      }
      for (const std::string& name : own.tensor_names())
        EXPECT_EQ(own.tensor(name).bytes, given.tensor(name).bytes) << name;
      // And without labels, of any size and number.
      Arrays longer{{"x", Array::of({2, 4, 11}, wave(88, 0.2))}};
      EXPECT_EQ(given.predict(longer).at("y").shape, (std::vector<int64_t>{2, 3}));
      longer["y"] = Array::of({2}, std::vector<int64_t>{0, 2});
      EXPECT_TRUE(std::isfinite(given.evaluate(longer).loss));
      Arrays wrong{{"x", Array::of({4, 5, 8}, wave(160, 0.2))},
                   {"y", Array::of({4}, std::vector<int64_t>{0, 1, 2, 0})}};
      const std::string message = message_of([&] { given.step(wrong); });
      EXPECT_NE(message.find("the array 'x' has fp32 of shape 4x5x8"), std::string::npos) << message;
    }
  }
}

TEST_F(SizesTest, GivenLabelsOfTokensAreAsLongAsTheirSample) {
  const auto batch = [](int64_t length, int64_t labels) {
    Arrays arrays;
    const Tensor ids = numbers_of({4, length}, 9, length), classes = numbers_of({4, labels}, 4, 0);
    arrays["ids"] =
        Array::of({4, length}, std::vector<int64_t>(ids.as<int64_t>().begin(), ids.as<int64_t>().end()));
    arrays["y"] = Array::of({4, labels},
                            std::vector<int64_t>(classes.as<int64_t>().begin(), classes.as<int64_t>().end()));
    return arrays;
  };
  TrainOptions o = options(tagger(), "", "fp32");
  Session session(o, batch(6, 6));
  for (const int64_t length : {6, 2, 9, 1, 2})
    EXPECT_TRUE(std::isfinite(session.step(batch(length, length)).loss)) << length;
  for (const int64_t known : {6, 2}) {
    const std::string message = message_of([&] { session.step(batch(known, known + 1)); });
    EXPECT_NE(message.find("do not fit the network's"), std::string::npos) << message;
  }
}

TEST_F(SizesTest, AnEvaluationIsTheMeanOverAllSamplesOrTokens) {
  const std::string set = three_lengths();
  const std::string model = sequences();
  const double mean = (9 * loss(model, set + "/a.safetensors") + 13 * loss(model, set + "/b.safetensors") +
                       4 * loss(model, set + "/c.safetensors")) /
                      26;
  EXPECT_NEAR(loss(model, set), mean, 1e-6);
  const std::string tokens = tags();
  const double of_tokens =
      (6 * loss(tagger(), tokens + "/7.safetensors") + 2 * loss(tagger(), tokens + "/3.safetensors")) / 8;
  EXPECT_NEAR(loss(tagger(), tokens), of_tokens, 1e-6);
  EXPECT_GT(std::abs(loss(tagger(), tokens + "/7.safetensors") - of_tokens), 1e-4);
}

// Steps over several sizes are those of one batch with all tokens: their mean counts.
TEST_F(SizesTest, AStepOfSeveralSizesTakesTheMeanOverItsTokens) {
  const std::string tokens = tags();
  TrainOptions o = options(tagger(), tokens, "fp32");
  o.network.batch = 8;
  o.accumulate = 2;
  o.steps = 1;
  const std::string both = trained(o, "both");
  o.accumulate = 1;
  const auto tensor = [&](const std::string& name) {
    const auto floats = elements_of(folder_ / name, "model.onnx");
    std::vector<float> v(floats.at("v").size() / sizeof(float));
    std::memcpy(v.data(), floats.at("v").data(), floats.at("v").size());
    return v;
  };
  for (const char* length : {"7", "3"}) {
    o.data.data = tokens + "/" + length + ".safetensors";
    trained(o, length);
  }
  const std::vector<float> before = wave(20, 1.7), seven = tensor("7"), three = tensor("3"),
                           of_both = tensor("both");
  double moved = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    // 6 and 2 tokens of a sample count.
    const double expected = (6 * static_cast<double>(seven[i]) + 2 * static_cast<double>(three[i])) / 8;
    EXPECT_NEAR(of_both[i], expected, 1e-6) << i;
    moved = std::max(moved, std::abs(of_both[i] - static_cast<double>(before[i])));
  }
  EXPECT_GT(moved, 1e-3);
}

TEST_F(SizesTest, SamplesThatFillNoBatchAreSaidOrKept) {
  const std::string model = sequences();
  TrainOptions o = options(model, three_lengths());
  o.network.batch = 6;
  o.epochs = 1;
  trained(o, "drop");
  EXPECT_TRUE(logged("8 of 26 samples, others in each epoch, fill no batch of one size")) << log_;
  EXPECT_TRUE(logged("warning: the 4 samples of T = 6 (" + folder_ / "set/c.safetensors, sample 0" +
                     ") fill no batch of 6 in any epoch and are never trained"))
      << log_;
  const auto steps = [&](const std::string& last) {
    TrainOptions with = o;
    with.last = last;
    Session session(with);
    int64_t count = 0;
    while (session.step()) ++count;
    return count;
  };
  EXPECT_EQ(steps("drop"), 1 + 0 + 2);
  EXPECT_EQ(steps("keep"), 2 + 1 + 3);
  // No class fills a batch: it shrinks to what one fills, or two for a step of two.
  o.network.batch = 20;
  trained(o, "shrunk");
  EXPECT_TRUE(logged(
      "--batch 20: no batches are filled by the data's samples of one size, 13 at most, so batches have 13"))
      << log_;
  o.accumulate = 2;
  trained(o, "shrunk-2");
  EXPECT_TRUE(logged("so batches have 9")) << log_;
}

TEST_F(SizesTest, ThePlanIsTheLargests) {
  const std::string model = sequences();
  const std::string samples = three_lengths();
  const auto planned = [&](const std::string& of, const std::string& name) {
    TrainOptions o = options(model, of, "fp32");
    o.epochs = 1;
    o.out = folder_ / name;
    return train_model(o, kSilent).planned_bytes;
  };
  const int64_t all = planned(samples, "all");
  const int64_t largest = planned(samples + "/a.safetensors", "a");
  const int64_t smallest = planned(samples + "/b.safetensors", "b");
  EXPECT_GT(largest, smallest);
  EXPECT_GE(all, largest);
  EXPECT_LT(all, largest + smallest);
}

TEST_F(SizesTest, SizesThatTheNetworkCannotTakeAreRefusedByTheirSample) {
  ModelBuilder fixed;
  fixed.input("x", {"N", "4", "8"}).output("y", {"N", "3"}).initializer(floats("v", {32, 3}, wave(96, 1.3)));
  fixed.node("Flatten", {"x"}, {"f"}).node("MatMul", {"f", "v"}, {"y"});
  ModelBuilder hidden;  // open, but the weights say 8
  hidden.input("x", {"N", "4", "T"}).output("y", {"N", "3"}).initializer(floats("v", {32, 3}, wave(96, 1.3)));
  hidden.node("Flatten", {"x"}, {"f"}).node("MatMul", {"f", "v"}, {"y"});
  const std::string samples = three_lengths();
  const std::string of_fixed =
      message_of([&] { trained(options(write("fixed.onnx", fixed), samples), "f"); });
  EXPECT_NE(of_fixed.find("the network wants samples of shape 4x8, but these have 4x6"), std::string::npos)
      << of_fixed;
  const std::string of_hidden =
      message_of([&] { trained(options(write("hidden.onnx", hidden), samples), "h"); });
  EXPECT_NE(
      of_hidden.find("c.safetensors, sample 0 (T = 6): the network cannot be used with samples of this size"),
      std::string::npos)
      << of_hidden;
  TrainOptions dim = options(sequences(), samples);
  dim.network.dims = {"T=8"};
  EXPECT_NE(message_of([&] { trained(dim, "d"); }).find("T = 8, from --dim"), std::string::npos);
  // Labels that do not follow.
  data("wrong/7.safetensors", {{"ids", numbers_of({8, 7}, 9, 1)}, {"tags", numbers_of({8, 7}, 4, 0)}});
  data("wrong/3.safetensors", {{"ids", numbers_of({8, 3}, 9, 1)}, {"tags", numbers_of({8, 4}, 4, 0)}});
  const std::string of_labels = message_of([&] { trained(options(tagger(), folder_ / "wrong"), "w"); });
  EXPECT_NE(of_labels.find("3.safetensors, sample 0 (T = 3): labels of shape 4 do not fit"),
            std::string::npos)
      << of_labels;
}

// The loss is decided by the labels of the largest size; the others must be what it takes.
TEST_F(SizesTest, TargetsOfEverySizeAreWhatTheLossTakes) {
  ModelBuilder mask;
  mask.input("x", {"N", "2", "H", "W"}).output("y", {"N", "1", "H", "W"});
  mask.initializer(floats("w", {1, 2, 1, 1}, wave(2, 0.7)));
  mask.node("Conv", {"x", "w"}, {"c"}, {{"kernel_shape", std::vector<int64_t>{1, 1}}});
  mask.node("Sigmoid", {"c"}, {"y"});
  const std::string masks = write("mask.onnx", mask);
  const auto full_of = [](const Shape& shape, const std::vector<float>& row) {
    Tensor t(DType::kF32, shape);
    for (size_t i = 0; i < static_cast<size_t>(t.size()); ++i) t.as<float>()[i] = row[i % row.size()];
    return t;
  };
  const auto says = [&](const std::string& model, const std::string& set, const std::string& what) {
    const std::string message = message_of([&] { trained(options(model, folder_ / set), set + "-run"); });
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  const auto masks_of = [&](const std::string& set, const Shape& large, const Tensor& labels,
                            const Tensor& small_labels) {
    Shape x = large;
    x.insert(x.begin(), {4, 2});
    data(set + "/a.safetensors", {{"x", floats_of(x, 0.3)}, {"y", labels}});
    data(set + "/b.safetensors", {{"x", floats_of({4, 2, 4, 6}, 0.3)}, {"y", small_labels}});
  };
  masks_of("good", {8, 8}, full_of({4, 1, 8, 8}, {0, 1}), full_of({4, 1, 4, 6}, {0, 1, 0.5F}));
  EXPECT_FALSE(trained(options(masks, folder_ / "good"), "good-run").empty());
  masks_of("range", {8, 8}, full_of({4, 1, 8, 8}, {0, 1}), full_of({4, 1, 4, 6}, {0, 5}));
  says(masks, "range", "b.safetensors, y, sample 0: the label 5 is out of range");
  masks_of("turned", {8, 8}, full_of({4, 1, 8, 8}, {0, 1}), full_of({4, 1, 6, 4}, {0, 1}));
  says(masks, "turned", "b.safetensors, sample 0 (H = 4, W = 6): labels of shape 1x6x4 do not fit");
  // As many numbers in both files, in axes of one of them.
  masks_of("both", {6, 4}, full_of({4, 1, 6, 4}, {0, 1}), full_of({4, 1, 6, 4}, {0, 1}));
  says(masks, "both", "b.safetensors, sample 0 (H = 4, W = 6): labels of shape 1x6x4 do not fit");

  ModelBuilder choice;  // one of the positions
  choice.input("x", {"N", "T", "2"}).output("y", {"N", "T"}).initializer(floats("w", {2}, wave(2, 0.7)));
  choice.node("Mul", {"x", "w"}, {"p"});
  choice.node("ReduceMean", {"p"}, {"s"}, {{"axes", std::vector<int64_t>{2}}, {"keepdims", 0}});
  choice.node("Softmax", {"s"}, {"y"}, {{"axis", 1}});
  data("sums/a.safetensors",
       {{"x", floats_of({4, 4, 2}, 0.3)}, {"y", full_of({4, 4}, {0.1F, 0.2F, 0.3F, 0.4F})}});
  data("sums/b.safetensors", {{"x", floats_of({4, 3, 2}, 0.3)}, {"y", full_of({4, 3}, {1, 2, 3})}});
  says(write("choice.onnx", choice), "sums", "b.safetensors, y, sample 0: its 3 labels add up to 6");

  // Of two losses the second reads a field of its own.
  ModelBuilder two;
  two.input("x", {"N", "2", "H", "W"}).output("y", {"N", "1", "H", "W"}).output("z", {"N", "1", "H", "W"});
  two.initializer(floats("w", {1, 2, 1, 1}, wave(2, 0.7)));
  two.node("Conv", {"x", "w"}, {"z"}, {{"kernel_shape", std::vector<int64_t>{1, 1}}});
  two.node("Sigmoid", {"z"}, {"y"});
  const std::string twice = write("two.onnx", two);
  const Tensor large = full_of({4, 1, 8, 8}, {0, 1}), small = full_of({4, 1, 4, 6}, {0, 1});
  for (const bool turned : {false, true}) {
    const Tensor wrong = full_of(turned ? Shape{4, 1, 6, 4} : Shape{4, 1, 4, 6}, {0, turned ? 1.0F : 5.0F});
    const std::string set = turned ? "two-turned" : "two-range";
    data(set + "/a.safetensors", {{"x", floats_of({4, 2, 8, 8}, 0.3)}, {"first", large}, {"second", large}});
    data(set + "/b.safetensors", {{"x", floats_of({4, 2, 4, 6}, 0.3)}, {"first", small}, {"second", wrong}});
    TrainOptions o = options(twice, folder_ / set);
    o.network.loss = {"z=mse:first", "y=bce:second"};
    const std::string message = message_of([&] { trained(o, set + "-run"); });
    EXPECT_NE(message.find(turned ? "labels of shape 1x6x4 do not fit" : "the label 5 is out of range"),
              std::string::npos)
        << message;
  }

  // A batch that a host gives.
  const auto batch = [](int64_t height, int64_t width, std::vector<int64_t> labels) {
    const auto count = static_cast<size_t>(4 * height * width);
    return Arrays{{"x", Array::of({4, 2, height, width}, wave(static_cast<int64_t>(2 * count), 0.3))},
                  {"y", Array::of(std::move(labels), std::vector<float>(count, 0.5F))}};
  };
  Session session(options(masks, "", "fp32"), batch(8, 8, {4, 1, 8, 8}));
  EXPECT_TRUE(std::isfinite(session.step(batch(4, 6, {4, 1, 4, 6})).loss));
  const std::string message = message_of([&] { session.step(batch(4, 6, {4, 1, 6, 4})); });
  EXPECT_NE(message.find("labels of shape 1x6x4 do not fit"), std::string::npos) << message;
}

TEST_F(SizesTest, LabelsOfABatchAreReadAsTheExamplesAre) {
  const std::string model = sequences();
  const auto batch = [](const std::vector<float>& row) {
    std::vector<float> labels;
    for (int i = 0; i < 4; ++i) labels.insert(labels.end(), row.begin(), row.end());
    return Arrays{{"x", Array::of({4, 4, 6}, wave(96, 0.3))}, {"y", Array::of({4, 3}, labels)}};
  };
  const std::vector<float> hot{0, 1, 0}, shares{0.25F, 0.25F, 0.5F}, numbers{0.5F, 1, 0.5F};
  Session classes(options(model, "", "fp32"), batch(hot));
  EXPECT_TRUE(std::isfinite(classes.step(batch(hot)).loss));
  std::string message = message_of([&] { classes.step(batch(shares)); });
  EXPECT_NE(message.find("its labels are not one-hot, as the example's are"), std::string::npos) << message;

  Session distributions(options(model, "", "fp32"), batch(shares));
  EXPECT_TRUE(std::isfinite(distributions.step(batch(hot)).loss));
  message = message_of([&] { distributions.step(batch(numbers)); });
  EXPECT_NE(message.find("sample 0: its 3 labels add up to 2; the example's are probabilities"),
            std::string::npos)
      << message;
}

TEST_F(SizesTest, ValidationDataMayHaveSizesOfItsOwn) {
  const std::string model = sequences();
  TrainOptions o = options(model, three_lengths());
  sequence_file("val/a.safetensors", 5, 12, 0.2);
  sequence_file("val/b.safetensors", 3, 5, 0.6);
  o.data.val = folder_ / "val";
  trained(o, "run");
  EXPECT_TRUE(logged("samples of several sizes: T = 12 (5 samples), T = 5 (3 samples)")) << log_;
  sequence_file("one.safetensors", 6, 3, 0.2);
  o.data.val = folder_ / "one.safetensors";
  trained(o, "run-one");
  EXPECT_TRUE(logged("samples of one size: T = 3 (6 samples)")) << log_;
}

TEST_F(SizesTest, ALossGraphTakesFieldsOfTheSamplesSize) {
  ModelBuilder loss;
  loss.input("y", {"N", "T", "4"}).input("want", {"N", "S", "4"}).output("loss", {"N"});
  loss.node("Sub", {"y", "want"}, {"d"}).node("Mul", {"d", "d"}, {"s"});
  loss.node("ReduceMean", {"s"}, {"loss"}, {{"axes", std::vector<int64_t>{1, 2}}, {"keepdims", 0}});
  for (const int64_t length : {7, 3}) {
    const Tensor want = floats_of({8, length, 4}, 0.3);
    data("graph/" + std::to_string(length) + ".safetensors",
         {{"ids", numbers_of({8, length}, 9, length)}, {"want", want}});
    data("mse/" + std::to_string(length) + ".safetensors",
         {{"ids", numbers_of({8, length}, 9, length)}, {"want", want.reshaped({8, length * 4})}});
  }
  TrainOptions o = options(tagger(), folder_ / "graph", "fp32");
  o.network.loss_graph = write("loss.onnx", loss);
  o.data.val = o.data.data;
  trained(o, "graph-run");
  // The same as numbers to compare with.
  TrainOptions m = options(tagger(), folder_ / "mse", "fp32");
  m.network.loss = {"mse:want"};
  trained(m, "mse-run");
  const auto a = elements_of(folder_ / "graph-run", "model.onnx"),
             b = elements_of(folder_ / "mse-run", "model.onnx");
  for (const char* name : {"v", "table"}) {
    ASSERT_EQ(a.at(name).size(), b.at(name).size());
    for (size_t i = 0; i < a.at(name).size(); i += sizeof(float)) {
      float x = 0, y = 0;
      std::memcpy(&x, a.at(name).data() + i, sizeof(x));
      std::memcpy(&y, b.at(name).data() + i, sizeof(y));
      EXPECT_NEAR(x, y, 1e-5);
    }
  }
}

}  // namespace
}  // namespace halftone
