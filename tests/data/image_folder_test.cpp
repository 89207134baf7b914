#include "data/image_folder.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "data/files.h"
#include "data/loader.h"

namespace halftone::data {
namespace {

const std::string& photo() {
  static const std::string bytes = read_file(fixture("images/photo.jpg"));
  return bytes;
}
const std::string& grey() {
  static const std::string bytes = read_file(fixture("images/grey.png"));
  return bytes;
}

std::vector<int32_t> labels_of(const Dataset& set) {
  std::vector<int32_t> labels;
  Sample sample;
  for (int64_t i = 0; i < set.size(); ++i) {
    set.read(i, sample);
    labels.push_back(sample.label);
  }
  return labels;
}

TEST(ImageFolder, ClassesAreSortedAndMixedInProportion) {
  const TemporaryFolder folder;
  for (const char* name :
       {"dog/1.jpg", "dog/2.jpg", "dog/3.JPG", "dog/deep/4.jpeg", "cat/x.png", "cat/y.jpg", "Zebra/1.jpg"})
    folder.write(name, std::string(name).ends_with("png") ? grey() : photo());
  folder.write("cat/notes.txt", "no image");
  const auto set = open_dataset(folder.path(), {});
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"Zebra", "cat", "dog"}));
  EXPECT_EQ(set->info().classes, 3);
  EXPECT_EQ(set->info().shape, (Shape{3, 37, 53}));
  ASSERT_EQ(set->size(), 7);
  // Positions: dog 1/8, cat 2/8, dog 3/8, Zebra 4/8, dog 5/8, cat 6/8, dog 7/8.
  EXPECT_EQ(labels_of(*set), (std::vector<int32_t>{2, 1, 2, 0, 2, 1, 2}));
  EXPECT_TRUE(set->name(0).ends_with("dog/1.jpg"));
  EXPECT_TRUE(set->name(1).ends_with("cat/x.png"));
  EXPECT_TRUE(set->name(6).ends_with("dog/deep/4.jpeg"));
  ASSERT_EQ(set->info().notes.size(), 1U);
  EXPECT_NE(set->info().notes[0].find("1 files"), std::string::npos);
}

TEST(ImageFolder, HalvesHoldEveryClass) {
  const TemporaryFolder folder;
  for (const char* c : {"a", "b"})
    for (const char* i : {"1", "2", "3", "4"}) folder.write(std::string(c) + "/" + i + ".jpg", photo());
  const auto first = open_dataset(folder.path() + "[:50%]", {});
  const auto second = open_dataset(folder.path() + "[50%:]", {});
  EXPECT_EQ(labels_of(*first), (std::vector<int32_t>{0, 1, 0, 1}));
  EXPECT_EQ(labels_of(*second), (std::vector<int32_t>{0, 1, 0, 1}));
  EXPECT_TRUE(first->name(3).ends_with("b/2.jpg"));
  EXPECT_TRUE(second->name(0).ends_with("a/3.jpg"));
  EXPECT_TRUE(second->info().source.ends_with("[4:8]"));
}

TEST(ImageFolder, HasSplits) {
  const TemporaryFolder folder;
  folder.write("train/a/1.jpg", photo());
  folder.write("train/a/2.jpg", photo());
  folder.write("Validation/a/1.jpg", photo());
  EXPECT_EQ(open_dataset(folder.path(), {})->size(), 2);
  EXPECT_EQ(open_dataset(folder.path() + "[valid]", {})->size(), 1);
  EXPECT_EQ(open_dataset(folder.path() + "[train][1:2]", {})->size(), 1);
  EXPECT_EQ(open_dataset(folder.path() + "/train", {})->size(), 2);
  EXPECT_EQ(splits_of(folder.path()).size(), 2U);
  EXPECT_NE(message_of([&] { open_dataset(folder.path() + "[test]", {}); }).find("has no split test; it has"),
            std::string::npos);
  EXPECT_NE(message_of([&] { open_dataset(folder.path() + "/train[val]", {}); }).find("has no splits"),
            std::string::npos);
}

TEST(ImageFolder, WithoutClassFoldersHasNoLabels) {
  const TemporaryFolder folder;
  folder.write("1.jpg", photo());
  folder.write("2.png", grey());
  const auto set = open_dataset(folder.path(), {});
  EXPECT_EQ(set->size(), 2);
  EXPECT_EQ(set->info().labels, LabelKind::kNone);
}

TEST(ImageFolder, NamesTheBrokenImage) {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", photo());
  folder.write("b/broken.jpg", photo().substr(0, photo().size() / 2));
  const auto set = open_dataset(folder.path(), {});
  const std::string message = message_of([&] { labels_of(*set); });
  EXPECT_NE(message.find("b/broken.jpg: damaged JPEG image"), std::string::npos) << message;
  LoaderOptions options;
  options.batch = 2;
  options.threads = 2;
  Loader loader(open_dataset(folder.path(), {}), options);
  loader.start(0);
  Batch batch;
  EXPECT_EQ(message_of([&] { loader.next(batch); }), message);
}

TEST(ImageFolder, SkipsBrokenImagesOnAnyNumberOfThreads) {
  const TemporaryFolder folder;
  for (int i = 0; i < 200; ++i)
    folder.write("a/" + std::to_string(1000 + i) + ".jpg", i % 17 == 3 ? photo().substr(0, 700) : photo());
  std::vector<std::string> names;
  for (const int threads : {1, 2, 4}) {
    for (const int64_t cache : {int64_t{0}, int64_t{1} << 30}) {
      DataOptions options;
      options.skip_bad = true;
      options.threads = threads;
      options.cache_bytes = cache;
      const auto set = open_dataset(folder.path(), options);
      EXPECT_EQ(set->info().skipped, 12);
      EXPECT_EQ(set->info().skipped_why.size(), 10U);
      std::vector<std::string> now;
      for (int64_t i = 0; i < set->size(); ++i) now.push_back(set->name(i));
      if (names.empty()) names = now;
      EXPECT_EQ(now, names);
      EXPECT_EQ(labels_of(*set).size(), 188U);
    }
  }
}

TEST(ImageFolder, NamesAnEmptyClassOrKeepsItsNumber) {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", photo());
  folder.write("b/notes.txt", "");
  folder.write("c/1.jpg", photo());
  EXPECT_NE(message_of([&] { open_dataset(folder.path(), {}); }).find("/b: the class folder holds no image"),
            std::string::npos);
  DataOptions options;
  options.skip_bad = true;
  const auto set = open_dataset(folder.path(), options);
  EXPECT_EQ(set->info().classes, 3);
  EXPECT_EQ(labels_of(*set), (std::vector<int32_t>{0, 2}));
}

TEST(ImageFolder, RefusesMoreClassesThanTheNetworkHas) {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", photo());
  folder.write("b/1.jpg", photo());
  DataOptions options;
  options.classes = 1;
  EXPECT_NE(message_of([&] {
              open_dataset(folder.path(), options);
            }).find("2 class folders, but the network has 1"),
            std::string::npos);
  options.classes = 5;
  EXPECT_EQ(open_dataset(folder.path(), options)->info().classes, 5);
}

TEST(ImageFolder, RefusesAFolderWithoutData) {
  const TemporaryFolder folder;
  folder.write("a/notes.txt", "");
  EXPECT_NE(message_of([&] { open_dataset(folder.path(), {}); }).find("no data of a known kind"),
            std::string::npos);
  EXPECT_NE(message_of([&] { open_dataset(folder.path() + "/nothing", {}); }).find("no such file or folder"),
            std::string::npos);
}

// Whether from the cache, past its budget or without one: the same pixels.
TEST(ImageFolder, TheCacheChangesNothing) {
  const TemporaryFolder folder;
  for (const char* name : {"photo.jpg", "rgb.png", "interlaced.png", "cmyk.jpg"})
    folder.write(std::string("a/") + name, read_file(fixture(std::string("images/") + name)));
  const auto pixels = [&](int64_t cache, bool again) {
    DataOptions options;
    options.cache_bytes = cache;
    const auto set = open_dataset(folder.path(), options);
    std::vector<std::vector<uint8_t>> all;
    Sample sample;
    for (int round = 0; round < (again ? 2 : 1); ++round) {
      all.clear();
      for (int64_t i = 0; i < set->size(); ++i) {
        set->read(i, sample);
        const Sample::Pixels& p = sample.pixels;
        EXPECT_EQ(p.column_stride, 3);
        all.emplace_back(p.data, p.data + p.height * p.row_stride);
      }
    }
    return all;
  };
  const auto expected = pixels(0, false);
  EXPECT_EQ(pixels(int64_t{1} << 30, true), expected);
  EXPECT_EQ(pixels(6000, true), expected);
}

}  // namespace
}  // namespace halftone::data
