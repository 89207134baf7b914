// A plan beyond what the system allows is refused with what would fit.
#include "api/memory.h"

#include <gtest/gtest.h>

#include <regex>

#include "api/small_networks.h"
#include "base/memory_limits.h"
#include "data/cache.h"
#include "halftone/resources.h"

namespace halftone::api::test {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

// A convolution whose output has half a MiB a sample in fp32.
void write_convolution(const std::string& path) {
  Normal normal(1);
  ModelBuilder m;
  m.input("x", {"batch", "2", "64", "64"}).output("logits", {"batch", "4"});
  m.initializer(floats("w", {32, 2, 3, 3}, normal.many(32 * 2 * 9, 0.2)));
  m.initializer(floats("fc", {4, 32}, normal.many(4 * 32, 0.2)))
      .initializer(floats("b", {4}, normal.many(4, 0.1)));
  m.node("Conv", {"x", "w"}, {"h"}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  m.node("Relu", {"h"}, {"r"}).node("GlobalAveragePool", {"r"}, {"p"}).node("Flatten", {"p"}, {"f"});
  m.node("Gemm", {"f", "fc", "b"}, {"logits"}, {{"transB", int64_t{1}}});
  std::ofstream(path, std::ios::binary) << m.bytes();
}

class MemoryCheck : public ::testing::Test {
 protected:
  MemoryCheck() : model_(model()) {
    plan_.importer = [this](DType storage) {
      return make_importer(model_, storage, ops::BatchNormMode::kTrain, nullptr);
    };
    plan_.training = true;
    plan_.root = folder_ / "root";
    plan_.compile.training.loss.loss = pass::Loss::kCrossEntropy;
    plan_.compile.training.storage = DType::kF32;
    plan_.compile.batch = 256;
    plan_.compile.threads = 1;
    std::filesystem::create_directories(plan_.root + "/proc/self");
  }

  onnx::Model model() {
    write_convolution(folder_ / "m.onnx");
    return onnx::Model::load(folder_ / "m.onnx");
  }
  int64_t planned(int64_t batch, DType storage = DType::kF32) {
    train::CompileOptions c = plan_.compile;
    c.only_plan = true;
    c.batch = batch;
    c.training.storage = storage;
    c.multiply = parse_multiply("auto", storage);
    train::Network network(plan_.importer(storage), c);
    network.prepare_training();
    return network.planned_bytes();
  }
  void free_memory(int64_t bytes) {
    std::ofstream(plan_.root + "/proc/meminfo")
        << "MemTotal: 99999999 kB\nMemAvailable: " << bytes / 1024 << " kB\nSwapFree: 0 kB\n";
  }
  // What is said when the program of this batch is about to be given its memory.
  std::string said(int64_t batch) {
    plan_.compile.batch = batch;
    log_.clear();
    const Log log = [this](const std::string& line) { log_ += line; };
    try {
      memory_check(plan_, log)(planned(batch));
      return "";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kResources);
      return e.what();
    }
  }

  TemporaryFolder folder_;
  onnx::Model model_;
  MemoryPlan plan_;
  std::string log_;
};

TEST_F(MemoryCheck, WhatFitsIsSaidNothingOf) {
  free_memory(planned(256) + 200 * kMib);
  EXPECT_EQ(said(256), "");
  EXPECT_EQ(log_, "");
}

TEST_F(MemoryCheck, WhatBarelyFitsIsWarnedOf) {
  free_memory(planned(256) + 10 * kMib);
  EXPECT_EQ(said(256), "");
  EXPECT_TRUE(has(log_, "warning: memory is near its limit") && has(log_, "the machine's free memory"))
      << log_;
}

TEST_F(MemoryCheck, TheBatchAndThePrecisionThatAreAdvisedFit) {
  ASSERT_GT(planned(256), 200 * kMib);
  for (const int64_t mib : {60, 100, 130, 170}) {
    free_memory(mib * kMib);
    const std::string message = said(256);
    std::smatch found;
    const std::regex wanted(
        "it needs (.*) more, and there are (.*) left of (.*); what fits: --batch (\\d+) --accumulate "
        "(\\d+)(, or --precision fp16)?");
    ASSERT_TRUE(std::regex_search(message, found, wanted)) << message;
    const int64_t batch = std::stoll(found[4]);
    EXPECT_EQ(batch * std::stoll(found[5]), 256);
    EXPECT_EQ(said(batch), "");
    EXPECT_NE(said(2 * batch), "") << "a batch twice as large would fit too";
    EXPECT_EQ(found[6].matched, planned(256, DType::kF16) + 16 * kMib <= mib * kMib) << message;
  }
}

TEST_F(MemoryCheck, WhereNothingFitsThatIsSaid) {
  free_memory(kMib);
  EXPECT_TRUE(has(said(256), "no smaller --batch")) << said(256);
  plan_.compile.fixed_batch = true;
  free_memory(130 * kMib);
  EXPECT_FALSE(has(said(256), "--batch ")) << said(256);
}

TEST_F(MemoryCheck, APrimeBatchIsHalved) {
  free_memory(100 * kMib);
  EXPECT_TRUE(std::regex_search(said(251), std::regex("--batch \\d\\d"))) << said(251);
}

// Pictures in a folder, whose network takes 2 x 64 x 64 of them.
class MemoryCheckOfPictures : public MemoryCheck {
 protected:
  static constexpr int64_t kBatch = 8;
  static constexpr int64_t kPictures = 100;

  MemoryCheckOfPictures() {
    std::filesystem::create_directories(folder_ / "c/k");
    for (int64_t i = 0; i < kPictures; ++i)
      std::filesystem::copy(HALFTONE_TESTS_DIR "/fixtures/images/rgb.png",
                            folder_ / ("c/k/" + std::to_string(i) + ".png"));
    options_.loader_threads = 1;
    plan_.data_options = &options_;
  }
  Data opened(int64_t cache_bytes) {
    data::OpenOptions o;
    o.sample_shape = {3, 64, 64};
    o.random_crops = true;  // kept whole
    o.cache_bytes = cache_bytes;
    Data data;
    data.set = data::open_dataset(folder_ / "c", o);
    return data;
  }
  int64_t loader_bytes(const Data& data, bool training) {
    const auto m = data::Loader::memory(*data.set, loader_options(data, options_, kBatch, training, 0));
    return m.batches + m.thread + m.decode;
  }
  // Of all pictures, as a batch gets them.
  static std::string pixels(const Data& data) {
    std::string all;
    data::Sample sample;
    for (int64_t i = 0; i < data.set->size(); ++i) {
      data.set->read(i, sample);
      const data::Sample::Pixels& p = sample.pixels;
      all.append(reinterpret_cast<const char*>(p.data), static_cast<size_t>(p.height * p.row_stride));
    }
    return all;
  }

  DataOptions options_;
};

TEST_F(MemoryCheckOfPictures, TheBatchesOfBothLoadersAreCounted) {
  const Data data = opened(0), validation = opened(0);
  plan_.data = &data;
  ASSERT_GT(loader_bytes(validation, false), kMib);
  const int64_t one = planned(kBatch) + loader_bytes(data, true);
  free_memory(one + 1024);
  EXPECT_EQ(said(kBatch), "");
  plan_.validation = &validation;
  EXPECT_TRUE(has(said(kBatch), "not enough memory for a training step of batch 8"));
  free_memory(one + loader_bytes(validation, false) + 1024);
  EXPECT_EQ(said(kBatch), "");
}

TEST_F(MemoryCheckOfPictures, DecodedOnesAreKeptInWhatIsLeft) {
  const int64_t budget = int64_t{1} << 30;
  const Data data = opened(budget), validation = opened(budget), uncached = opened(0);
  plan_.data = &data;
  plan_.validation = &validation;
  data::ImageCache& cache = *data::image_cache(*data.set);
  data::ImageCache& other = *data::image_cache(*validation.set);
  ASSERT_EQ(data::image_cache(*uncached.set), nullptr);
  const std::string expected = pixels(uncached);
  const auto all = static_cast<int64_t>(expected.size());
  ASSERT_GT(all, 200 * 1024);
  EXPECT_EQ(cache.room(), budget);
  const int64_t need = planned(kBatch) + loader_bytes(data, true) + loader_bytes(validation, false);
  const int64_t roomy = need + need / 20 + 64 * kMib;
  // Much more than they take: nothing is said.
  free_memory(roomy + 100 * kMib);
  EXPECT_EQ(said(kBatch), "");
  EXPECT_EQ(log_, "");
  EXPECT_NEAR(static_cast<double>(cache.room() + other.room()), 100.0 * kMib, 4096);
  free_memory(roomy + all);
  EXPECT_EQ(said(kBatch), "");
  EXPECT_TRUE(has(log_, "decoded images are kept up to ")) << log_;
  EXPECT_NEAR(static_cast<double>(cache.room()), static_cast<double>(all) / 2, 4096);
  EXPECT_EQ(cache.room(), other.room());
  for (int epoch = 0; epoch < 2; ++epoch) EXPECT_TRUE(pixels(data) == expected);
  EXPECT_GT(cache.kept(), all / 3);
  EXPECT_LE(cache.kept(), all / 2 + 4096);
  // No room at all: what is kept stays, and the run goes on.
  free_memory(need + 1024);
  EXPECT_EQ(said(kBatch), "");
  EXPECT_EQ(cache.room(), 0);
  EXPECT_TRUE(pixels(data) == expected);
  EXPECT_TRUE(pixels(validation) == expected);
  EXPECT_EQ(other.kept(), 0);
}

}  // namespace
}  // namespace halftone::api::test
