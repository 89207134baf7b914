// Several files as one set, and samples of several sizes: read, and made batches of.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <numeric>

#include "base/error.h"
#include "data/bytes.h"
#include "data/files.h"
#include "data/loader.h"
#include "data/sized_arrays.h"

namespace halftone::data {
namespace {

// x: n rows of `length` numbers from `first` on; y: row numbers modulo 3.
std::string file_of(int64_t n, int64_t length, float first) {
  std::vector<float> x(static_cast<size_t>(n * length));
  std::iota(x.begin(), x.end(), first);
  std::vector<int64_t> y(static_cast<size_t>(n));
  for (size_t i = 0; i < y.size(); ++i) y[i] = static_cast<int64_t>(i) % 3;
  return zip(
      {{"x.npy", npy("<f4", "(" + std::to_string(n) + ", " + std::to_string(length) + ")", bytes_of(x))},
       {"y.npy", npy("<i8", "(" + std::to_string(n) + ",)", bytes_of(y))}},
      false);
}

std::string array_of(const std::string& descr, const std::string& shape, size_t bytes) {
  return npy(descr, shape, std::string(bytes, '\1'));
}

std::shared_ptr<const Dataset> open(const std::string& spec, const OpenOptions& options = {}) {
  return open_dataset(spec, options);
}

// 5 and 2 samples of length 6, in two files, and 7 of length 4 between them.
std::string two_lengths(const TemporaryFolder& folder) {
  folder.write("set/a.npz", file_of(5, 6, 0));
  folder.write("set/b.npz", file_of(7, 4, 1000));
  folder.write("set/c.npz", file_of(2, 6, 2000));
  folder.write("set/notes.txt", "not read");
  return folder.path() + "/set";
}

LoaderOptions batches_of(int64_t batch, bool training) {
  LoaderOptions o;
  o.batch = batch;
  o.training = training;
  o.seed = 3;
  o.threads = 2;
  return o;
}

std::vector<Batch> epoch_of(Loader& loader, int64_t epoch, int64_t first = 0) {
  std::vector<Batch> all;
  loader.start(epoch, first);
  Batch batch;
  while (loader.next(batch)) {
    all.push_back(std::move(batch));
    batch = {};
  }
  return all;
}

std::vector<float> floats(const Tensor& t) {
  return {t.as<float>().begin(), t.as<float>().end()};
}

TEST(ArrayFiles, FilesOfOneSizeAreReadAsOneFileIs) {
  const TemporaryFolder folder;
  folder.write("set/1.npz", file_of(5, 4, 0));
  folder.write("set/2.npz", file_of(9, 4, 20));
  std::vector<float> x(14 * 4);
  std::iota(x.begin(), x.end(), 0.0F);
  std::vector<int64_t> y;
  for (const int64_t n : {5, 9})
    for (int64_t i = 0; i < n; ++i) y.push_back(i % 3);
  folder.write("one.npz", zip({{"x.npy", npy("<f4", "(14, 4)", bytes_of(x))},
                               {"y.npy", npy("<i8", "(14,)", bytes_of(y))}},
                              true));
  const auto several = open(folder.path() + "/set");
  EXPECT_TRUE(several->info().size_classes.empty());
  EXPECT_EQ(several->name(5), folder.path() + "/set/2.npz, sample 0");
  for (const bool training : {true, false}) {
    Loader a(several, batches_of(4, training));
    Loader b(open(folder.path() + "/one.npz"), batches_of(4, training));
    const std::vector<Batch> of_files = epoch_of(a, 2);
    const std::vector<Batch> of_one = epoch_of(b, 2);
    ASSERT_EQ(of_files.size(), training ? 3 : 4);
    ASSERT_EQ(of_files.size(), of_one.size());
    for (size_t i = 0; i < of_files.size(); ++i) {
      EXPECT_EQ(of_files[i].indices, of_one[i].indices);
      EXPECT_EQ(floats(of_files[i].fields[0].data), floats(of_one[i].fields[0].data));
      EXPECT_TRUE(std::ranges::equal(of_files[i].fields[1].data.as<int32_t>(),
                                     of_one[i].fields[1].data.as<int32_t>()));
    }
  }
}

// As many descriptors as a process may have, for as long as this lives.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t most) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few{most, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};

// `files` files of 2 samples of length 3 each, or folders of their arrays.
std::string many_files(const TemporaryFolder& folder, const std::string& kind, int files) {
  for (int i = 0; i < files; ++i) {
    std::string name = std::to_string(i);
    name = "many-" + kind + "/" + std::string(4 - name.size(), '0') + name;
    std::vector<float> x(6);
    std::iota(x.begin(), x.end(), static_cast<float>(6 * i));
    const std::vector<int64_t> y{i % 3, (i + 1) % 3};
    const std::string samples = bytes_of(x), labels = bytes_of(y);
    if (kind == "safetensors") {
      folder.write(name + ".safetensors",
                   safetensors(R"({"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                               R"("y":{"dtype":"I64","shape":[2],"data_offsets":[24,40]}})",
                               samples + labels));
    } else if (kind == "npy") {
      folder.write(name + "/x.npy", npy("<f4", "(2, 3)", samples));
      folder.write(name + "/y.npy", npy("<i8", "(2,)", labels));
    } else {
      folder.write(name + ".npz",
                   zip({{"x.npy", npy("<f4", "(2, 3)", samples)}, {"y.npy", npy("<i8", "(2,)", labels)}},
                       kind == "deflated"));
    }
  }
  return folder.path() + "/many-" + kind;
}

TEST(ArrayFiles, ManyFilesTakeFewDescriptors) {
  const TemporaryFolder folder;
  constexpr int kFiles = 120;
  const std::string kinds[] = {"safetensors", "npz", "deflated", "npy"};
  std::vector<std::string> paths;
  for (const std::string& kind : kinds) paths.push_back(many_files(folder, kind, kFiles));
  const FewDescriptors few(80);
  std::vector<std::shared_ptr<const Dataset>> sets;
  for (const std::string& path : paths) {
    sets.push_back(open(path));
    const Dataset& set = *sets.back();
    ASSERT_EQ(set.size(), 2 * kFiles);
    Sample sample;
    for (int64_t i = 0; i < set.size(); ++i) {
      set.read(i, sample);
      const auto first = static_cast<float>(3 * i);
      EXPECT_EQ(sample.values, (std::vector<float>{first, first + 1, first + 2}));
      EXPECT_EQ(sample.label, (i / 2 + i % 2) % 3);
    }
  }
}

TEST(ArrayFiles, OneOfManyFilesThatIsReplacedIsRefusedByName) {
  namespace fs = std::filesystem;
  for (const std::string kind : {"safetensors", "npz", "npy"}) {
    const TemporaryFolder folder;
    const auto set = open(many_files(folder, kind, 40));
    const std::string path =
        folder.path() + "/many-" + kind + "/0007" + (kind == "npy" ? "/x.npy" : "." + kind);
    Sample sample;
    set->read(14, sample);
    const std::vector<float> before = sample.values;
    fs::rename(path, path + "-old");
    std::string message = message_of([&] { set->read(14, sample); });
    EXPECT_NE(message.find(path), std::string::npos) << message;
    fs::copy_file(path + "-old", path);  // as many bytes
    fs::last_write_time(path, fs::last_write_time(path + "-old") + std::chrono::seconds(2));
    message = message_of([&] { set->read(14, sample); });
    EXPECT_NE(message.find(path + " was changed while the run was going on"), std::string::npos) << message;
    set->read(12, sample);  // of another file
    fs::rename(path + "-old", path);
    set->read(14, sample);
    EXPECT_EQ(sample.values, before);
  }
}

TEST(ArrayFiles, OneOfFewFilesThatIsReplacedIsReadAsItWas) {
  const TemporaryFolder folder;
  const auto set = open(many_files(folder, "npz", 32));
  folder.write("new.npz", file_of(2, 3, 500));
  std::filesystem::rename(folder.path() + "/new.npz", folder.path() + "/many-npz/0007.npz");
  Sample sample;
  set->read(14, sample);
  EXPECT_EQ(sample.values.at(0), 42);
}

TEST(ArrayFiles, ASetOfNpySaysWhatElseIsInItsFolder) {
  const TemporaryFolder folder;
  folder.write("set/x.npy", array_of("<f4", "(2, 3)", 24));
  EXPECT_TRUE(open(folder.path() + "/set")->info().notes.empty());
  folder.write("set/more.npz", file_of(5, 6, 0));
  folder.write("set/sub/x.npy", array_of("<f4", "(2, 3)", 24));
  const DataInfo info = open(folder.path() + "/set")->info();
  ASSERT_EQ(info.notes.size(), 1);
  EXPECT_EQ(info.notes[0],
            "warning: " + folder.path() + "/set is read for its .npy files alone, and not for more.npz, sub");
}

TEST(ArrayFiles, SamplesOfEachSizeStandTogetherTheLargestFirst) {
  const TemporaryFolder folder;
  const auto set = open(two_lengths(folder));
  const DataInfo& info = set->info();
  ASSERT_EQ(info.size_classes.size(), 2);
  EXPECT_EQ(info.shape, Shape({6}));
  EXPECT_EQ(info.size_classes[0].shape, Shape({6}));
  EXPECT_EQ(info.size_classes[1].shape, Shape({4}));
  EXPECT_EQ(samples_of_classes(*set), (std::vector<int64_t>{7, 7}));
  EXPECT_EQ(info.of_size_class(1).fields()[0].shape, Shape({4}));
  EXPECT_NE(info.kind.find("1 other"), std::string::npos) << info.kind;
  EXPECT_EQ(info.labels, LabelKind::kClass);
  EXPECT_EQ(info.classes, 3);
  const std::map<int64_t, std::pair<std::string, float>> expected = {
      {0, {"a.npz, sample 0", 0}},    {4, {"a.npz, sample 4", 24}},   {5, {"c.npz, sample 0", 2000}},
      {6, {"c.npz, sample 1", 2006}}, {7, {"b.npz, sample 0", 1000}}, {13, {"b.npz, sample 6", 1024}}};
  for (const auto& [index, what] : expected) {
    Sample sample;
    set->read(index, sample);
    EXPECT_EQ(set->name(index), folder.path() + "/set/" + what.first);
    EXPECT_EQ(sample.values.at(0), what.second);
    EXPECT_EQ(sample.values.size(), index < 7 ? 6 : 4);
    EXPECT_EQ(set->size_class(index), index < 7 ? 0 : 1);
  }
  Sample sample;
  set->read(6, sample);
  EXPECT_EQ(sample.label, 1);
}

TEST(ArrayFiles, TrainingDealsTheShuffledSamplesToBatchesOfOneSize) {
  const TemporaryFolder folder;
  const auto set = open(two_lengths(folder));
  for (const bool keeps : {false, true}) {
    LoaderOptions o = batches_of(3, true);
    o.keeps_last = keeps;
    o.size_classes = {4, 9};
    Loader loader(set, o);
    EXPECT_EQ(loader.batches(), keeps ? 6 : 4);
    // The same by hand.
    std::vector<std::vector<int64_t>> expected;
    std::vector<std::vector<int64_t>> open_batches(2);
    for (const int64_t sample : shuffled(14, o.seed, 5)) {
      std::vector<int64_t>& batch = open_batches[sample < 7 ? 0 : 1];
      batch.push_back(sample);
      if (batch.size() < 3) continue;
      expected.push_back(batch);
      batch.clear();
    }
    if (keeps) expected.insert(expected.end(), open_batches.begin(), open_batches.end());
    const std::vector<Batch> got = epoch_of(loader, 5);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].indices, expected[i]) << i;
      EXPECT_EQ(got[i].count, static_cast<int64_t>(expected[i].size()));
      const bool large = expected[i][0] < 7;
      EXPECT_EQ(got[i].size_class, large ? 4 : 9);
      ASSERT_EQ(got[i].fields[0].data.shape(), (Shape{3, large ? 6 : 4}));
      Sample sample;
      set->read(expected[i][0], sample);
      EXPECT_EQ(got[i].fields[0].data.as<float>()[0], sample.values[0]);
      EXPECT_EQ(got[i].fields[1].data.as<int32_t>()[0], sample.label);
    }
    // From the middle, and by another number of threads.
    o.threads = 1;
    Loader other(set, o);
    const std::vector<Batch> rest = epoch_of(other, 5, 2);
    ASSERT_EQ(rest.size() + 2, got.size());
    for (size_t i = 0; i < rest.size(); ++i) {
      EXPECT_EQ(rest[i].indices, got[i + 2].indices);
      EXPECT_EQ(floats(rest[i].fields[0].data), floats(got[i + 2].fields[0].data));
    }
  }
}

TEST(ArrayFiles, EvaluationEndsABatchWhereTheSizeChanges) {
  const TemporaryFolder folder;
  Loader loader(open(two_lengths(folder)), batches_of(5, false));
  EXPECT_EQ(loader.batches(), 4);
  std::vector<int64_t> order, counts;
  for (const Batch& batch : epoch_of(loader, 0)) {
    order.insert(order.end(), batch.indices.begin(), batch.indices.end());
    counts.push_back(batch.count);
  }
  std::vector<int64_t> all(14);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(order, all);
  EXPECT_EQ(counts, (std::vector<int64_t>{5, 2, 5, 2}));
}

TEST(ArrayFiles, TrainingNeedsAFullBatchOfOneSize) {
  const TemporaryFolder folder;
  const auto set = open(two_lengths(folder));
  for (const bool keeps : {false, true}) {
    LoaderOptions o = batches_of(8, true);
    o.keeps_last = keeps;
    const std::string message = message_of([&] { Loader(set, o); });
    EXPECT_NE(message.find("14 samples of several sizes, and those of none fill a batch of 8"),
              std::string::npos)
        << message;
  }
  EXPECT_EQ(training_batches({7, 7}, 7, true), 2);
  EXPECT_EQ(training_batches({9, 3, 0}, 4, false), 2);
  EXPECT_EQ(training_batches({9, 3, 0}, 4, true), 4);
  EXPECT_EQ(training_batches({3, 3}, 4, true), 0);
}

TEST(ArrayFiles, ARangeTakesItsShareOfEachSize) {
  const TemporaryFolder folder;
  const std::string path = two_lengths(folder);
  const auto first = open(path + "[:50%]");
  const auto second = open(path + "[50%:]");
  EXPECT_EQ(samples_of_classes(*first), (std::vector<int64_t>{4, 3}));
  EXPECT_EQ(samples_of_classes(*second), (std::vector<int64_t>{3, 4}));
  std::vector<std::string> names;
  for (const auto& set : {first, second})
    for (int64_t i = 0; i < set->size(); ++i) names.push_back(set->name(i));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()) - names.begin(), 14);
  // A class without samples is none.
  const auto one = open(path + "[:1]");
  EXPECT_EQ(samples_of_classes(*one), (std::vector<int64_t>{1, 0}));
  Loader loader(one, batches_of(1, true));
  EXPECT_EQ(epoch_of(loader, 0).size(), 1);
}

TEST(ArrayFiles, FoldersOfNpyAndSplitsAreRead) {
  const TemporaryFolder folder;
  for (const char* split : {"train", "val"})
    for (const int64_t length : {3, 5}) {
      const std::string at = std::string("set/") + split + "/" + std::to_string(length) + "/";
      folder.write(at + "x.npy",
                   array_of("<f4", "(2, " + std::to_string(length) + ")", static_cast<size_t>(8 * length)));
      folder.write(at + "y.npy", array_of("|u1", "(2,)", 2));
    }
  const std::string path = folder.path() + "/set";
  EXPECT_EQ(splits_of(path), (std::vector<std::string>{"train", "val"}));
  const auto set = open(path + "[val]");
  EXPECT_EQ(samples_of_classes(*set), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(set->name(0), path + "/val/5, sample 0");
  EXPECT_EQ(open(path)->name(3), path + "/train/3, sample 1");
  // Safetensors.
  folder.write(
      "tensors/a.safetensors",
      safetensors(R"({"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})", std::string(8, '\0')));
  folder.write(
      "tensors/b.safetensors",
      safetensors(R"({"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})", std::string(8, '\0')));
  EXPECT_EQ(samples_of_classes(*open(folder.path() + "/tensors")), (std::vector<int64_t>{1, 2}));
}

TEST(ArrayFiles, ImagesThatAreResizedToOneSizeAreOneClass) {
  const TemporaryFolder folder;
  folder.write("set/a.npz", zip({{"x.npy", npy("|u1", "(2, 1, 6, 6)", noise(72, 1))}}, false));
  folder.write("set/b.npz", zip({{"x.npy", npy("|u1", "(3, 1, 4, 8)", noise(96, 2))}}, false));
  OpenOptions o;
  o.sample_shape = {1, 5, 5};
  const auto fixed = open(folder.path() + "/set", o);
  EXPECT_TRUE(fixed->info().size_classes.empty());
  EXPECT_EQ(fixed->info().shape, Shape({1, 5, 5}));
  Loader loader(fixed, batches_of(5, false));
  EXPECT_EQ(epoch_of(loader, 0).size(), 1);
  o.sample_shape = {1, -1, -1};
  const auto open_size = open(folder.path() + "/set", o);
  ASSERT_EQ(open_size->info().size_classes.size(), 2);
  EXPECT_EQ(open_size->info().size_classes[1].geometry, open_size->info().size_classes[1].shape);
}

// Labels for each position: their shape is the class's.
TEST(ArrayFiles, LabelsOfPositionsHaveTheSizeOfTheirSample) {
  const TemporaryFolder folder;
  for (const int64_t length : {4, 1, 3}) {
    std::vector<int64_t> tags(static_cast<size_t>(2 * length));
    std::iota(tags.begin(), tags.end(), 10 * length);
    const std::string shape = "(2, " + std::to_string(length) + ")";
    folder.write(
        "set/" + std::to_string(length) + ".npz",
        zip({{"ids.npy", npy("<i8", shape, bytes_of(tags))}, {"tags.npy", npy("<i8", shape, bytes_of(tags))}},
            false));
  }
  OpenOptions o;
  int asked = 0;
  o.choose_arrays = [](const std::vector<ArrayHeader>& arrays, const std::string&) {
    EXPECT_EQ(arrays[0].shape, Shape({2, 4}));  // the largest
    ArrayChoice choice;
    choice.y = choice.y_name = "tags";
    choice.more.push_back({"ids", {"ids", FieldRole::kInput, DType::kI64, {4}}});
    choice.more.push_back({"tags", {"tags (loss 2)", FieldRole::kLabel, DType::kI32, {4}}});
    return choice;
  };
  const LabelReading reading{.kind = LabelKind::kPositions, .classes = 50, .shape = {4}, .ignored = 40};
  o.read_positions = [&](const LabelForm& form, const DataInfo&) {
    ++asked;
    EXPECT_EQ(form.shape, Shape({4}));
    return std::optional(reading);
  };
  o.read_field = [&](const std::string&, const LabelForm&, bool) { return std::optional(reading); };
  const auto set = open(folder.path() + "/set", o);
  EXPECT_EQ(asked, 1);
  ASSERT_EQ(set->info().size_classes.size(), 3);
  Loader loader(set, batches_of(2, false));
  const std::vector<Batch> batches = epoch_of(loader, 0);
  ASSERT_EQ(batches.size(), 3);
  const std::vector<int64_t> lengths = {4, 3, 1};
  for (size_t i = 0; i < batches.size(); ++i) {
    const int64_t length = lengths[i];
    for (const char* name : {"ids", "tags", "tags (loss 2)", "tags (weights)"})
      EXPECT_TRUE(std::ranges::any_of(batches[i].fields, [&](const BatchField& f) { return f.name == name; }))
          << name;
    EXPECT_EQ(batches[i].field("ids").shape(), Shape({2, length}));
    for (const char* name : {"tags", "tags (loss 2)"}) {
      const Tensor& tags = batches[i].field(name);
      ASSERT_EQ(tags.shape(), Shape({2, length}));
      EXPECT_EQ(tags.as<int32_t>().back(), 10 * length + 2 * length - 1);
    }
    // What is ignored: 40, the first of length 4.
    EXPECT_EQ(batches[i].field("tags (weights)").as<float>()[0], length == 4 ? 0 : 1);
  }
}

TEST(ArrayFiles, RefusesFilesThatDisagree) {
  const std::string x = array_of("<f4", "(2, 3)", 24);
  const std::string y = array_of("<i8", "(2,)", 16);
  struct Case {
    std::string second, message;
  };
  const Case cases[] = {
      {zip({{"x.npy", x}, {"label.npy", array_of("<i4", "(2,)", 8)}}, false),
       "its array label is of int32 2"},
      {zip({{"x.npy", array_of("<f8", "(2, 3)", 48)}, {"y.npy", y}}, false),
       "b.npz: its array x is of fp64 2x3"},
      {zip({{"x.npy", array_of("<f4", "(2, 3, 1)", 24)}, {"y.npy", y}}, false),
       "its array x is of fp32 2x3x1"},
      {zip({{"x.npy", x}, {"y.npy", array_of("<i8", "(3,)", 24)}}, false),
       "b.npz: y has 3 samples, but x has 2"},
      {zip({{"x.npy", array_of("<f4", "(0, 3)", 0)}, {"y.npy", array_of("<i8", "(0,)", 0)}}, false),
       "it holds no samples"},
      {zip({{"x.npy", array_of("<f4", "(2, 0)", 0)}, {"y.npy", y}}, false), "samples of shape 0 are empty"},
      {zip({{"x.npy", array_of(">f4", "(2, 3)", 24)}, {"y.npy", y}}, false), "another byte order"},
      {zip({{"x.npy", x}}, false), "b.npz: it has no array labels"},
      {"PK broken", "b.npz"},
  };
  for (const Case& c : cases) {
    const TemporaryFolder folder;
    folder.write("set/a.npz", zip({{"x.npy", x}, {"y.npy", y}}, false));
    folder.write("set/b.npz", c.second);
    const std::string message = message_of([&] { open(folder.path() + "/set"); });
    EXPECT_NE(message.find(c.message), std::string::npos) << message;
  }
  const TemporaryFolder folder;
  folder.write("set/a.npz", zip({{"x.npy", x}}, false));
  folder.write("set/b.safetensors", safetensors("{}", ""));
  EXPECT_NE(message_of([&] { open(folder.path() + "/set"); }).find(".npz and .safetensors"),
            std::string::npos);
  folder.write("splits/train/a.npz", zip({{"x.npy", x}}, false));
  folder.write("splits/train/x.npy", x);
  EXPECT_NE(
      message_of([&] { open(folder.path() + "/splits"); }).find("/splits/train: it holds .npz and .npy"),
      std::string::npos);
}

TEST(ArrayFiles, RefusesMoreSizesThanCanBeCompiled) {
  const TemporaryFolder folder;
  for (size_t length = 1; length <= kMostSizeClasses + 1; ++length)
    folder.write("set/" + std::to_string(length) + ".npz",
                 zip({{"x.npy", array_of("|i1", "(1, " + std::to_string(length) + ")", length)}}, false));
  const std::string message = message_of([&] { open(folder.path() + "/set"); });
  EXPECT_NE(message.find("65 different sizes"), std::string::npos) << message;
  EXPECT_NE(message.find("at most 64"), std::string::npos) << message;
}

}  // namespace
}  // namespace halftone::data
