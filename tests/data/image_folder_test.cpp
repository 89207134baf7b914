#include "data/image_folder.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "data/files.h"
#include "data/folder.h"
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
  EXPECT_EQ(set->info().notes,
            (std::vector<std::string>{"images in folders below a class folder belong to its class: dog/deep",
                                      "left out, because they are no samples: 1 .txt"}));
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
      OpenOptions options;
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
  OpenOptions options;
  options.skip_bad = true;
  const auto set = open_dataset(folder.path(), options);
  EXPECT_EQ(set->info().classes, 3);
  EXPECT_EQ(labels_of(*set), (std::vector<int32_t>{0, 2}));
}

TEST(ImageFolder, RefusesMoreClassesThanTheNetworkHas) {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", photo());
  folder.write("b/1.jpg", photo());
  OpenOptions options;
  options.classes = 1;
  EXPECT_NE(
      message_of([&] { open_dataset(folder.path(), options); }).find("2 classes, but the network has 1"),
      std::string::npos);
  options.classes = 5;
  EXPECT_EQ(open_dataset(folder.path(), options)->info().classes, 5);
}

TEST(ImageFolder, RefusesAFolderWithoutData) {
  const TemporaryFolder folder;
  folder.write("a/notes.md", "");
  EXPECT_NE(message_of([&] { open_dataset(folder.path(), {}); }).find("no data of a known kind"),
            std::string::npos);
  EXPECT_NE(message_of([&] { open_dataset(folder.path() + "/nothing", {}); }).find("no such file or folder"),
            std::string::npos);
}

std::string joined(const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += note + "\n";
  return text;
}

std::vector<std::string> names_of(const Dataset& set) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < set.size(); ++i) names.push_back(set.name(i));
  std::sort(names.begin(), names.end());
  return names;
}

TEST(ImageFolder, WhatIsNoSampleIsLeftOutAndCounted) {
  const TemporaryFolder folder;
  for (const char* name : {"a/1.jpg", "b/1.jpg", "b/2.JPEG"}) folder.write(name, photo());
  const auto expected = names_of(*open_dataset(folder.path(), {}));
  for (const char* name : {"a/.ipynb_checkpoints/1-checkpoint.jpg", "a/._1.jpg", "b/.DS_Store", "b/Thumbs.db",
                           "a/desktop.ini", "a/notes.txt", "a/labels.json", "a/README", "a/__MACOSX/1.jpg",
                           "__MACOSX/a/1.jpg", ".git/1.jpg", "classes.txt"})
    folder.write(name, std::string(name).ends_with("jpg") ? photo() : "no image");
  const auto set = open_dataset(folder.path(), {});
  EXPECT_EQ(names_of(*set), expected);
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(joined(set->info().notes),
            "left out, because they are no samples: 1 .json, 2 .txt, 1 Thumbs.db, 2 __MACOSX, 1 desktop.ini, "
            "4 hidden, 1 "
            "without an "
            "ending\n");
}

TEST(ImageFolder, WarnsOfWhatMayHaveBeenMeantAsSamples) {
  const TemporaryFolder folder;
  for (const char* name : {"Cat/1.jpg", "cat/1.jpg", "cat/2.heic", "cat/3.AVIF", "preview.png"})
    folder.write(name, photo());
  const std::string notes = joined(open_dataset(folder.path(), {})->info().notes);
  EXPECT_NE(notes.find("1 images beside the class folders belong to no class and are left out (preview.png)"),
            std::string::npos)
      << notes;
  EXPECT_NE(notes.find("Cat and cat are two classes, whose names differ in case only"), std::string::npos)
      << notes;
  EXPECT_NE(notes.find("2 image files of other kinds are left out"), std::string::npos) << notes;
}

TEST(ImageFolder, AnEmptyClassIsToldWithWhatItHolds) {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", photo());
  folder.write("b/1.heic", photo());
  folder.write("b/.hidden.jpg", photo());
  const std::string message = message_of([&] { open_dataset(folder.path(), {}); });
  EXPECT_NE(message.find("/b: the class folder holds no image (JPEG, PNG, WebP, GIF, BMP or TIFF) (it holds "
                         "1 .heic, 1 hidden)"),
            std::string::npos)
      << message;
}

TEST(ImageFolder, AFolderAboveTheClassesIsNoClass) {
  const TemporaryFolder folder;
  folder.write("all/a/1.jpg", photo());
  folder.write("all/b/1.jpg", photo());
  const std::string message = message_of([&] { open_dataset(folder.path(), {}); });
  EXPECT_NE(message.find("the data is " + folder.path() + "/all"), std::string::npos) << message;
  folder.write("c/1.jpg", photo());
  EXPECT_EQ(open_dataset(folder.path(), {})->info().classes, 2);
}

TEST(ImageFolder, FoldersBesideTrainingAndValidationAreSaidAndNotRead) {
  const TemporaryFolder folder;
  for (const char* name :
       {"train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "extra/a/1.jpg", "notes/x.txt"})
    folder.write(name, photo());
  const auto set = open_dataset(folder.path(), {});
  EXPECT_EQ(set->size(), 2);
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(joined(set->info().notes), "beside the folders for training and validation in " + folder.path() +
                                           ", not read: extra, notes\n");
  EXPECT_EQ(open_dataset(folder.path() + "[val]", {})->size(), 2);
  EXPECT_EQ(splits_of(folder.path()), (std::vector<std::string>{"train", "val"}));
  EXPECT_EQ(open_dataset(folder.path() + "/train", {})->size(), 2);
  folder.write("validation/a/1.jpg", photo());
  EXPECT_NE(message_of([&] { open_dataset(folder.path(), {}); }).find("several folders for the split val"),
            std::string::npos);
}

// A folder for training alone may be a class: trains, cars.
TEST(ImageFolder, WithoutValidationFoldersAreClasses) {
  const TemporaryFolder folder;
  for (const char* name : {"train/1.jpg", "car/1.jpg"}) folder.write(name, photo());
  EXPECT_EQ(open_dataset(folder.path(), {})->info().class_names, (std::vector<std::string>{"car", "train"}));
}

TEST(ImageFolder, LinksAreFollowedAndEachFolderIsReadOnce) {
  const TemporaryFolder elsewhere;
  const TemporaryFolder folder;
  for (int i = 0; i < 4; ++i) {
    folder.write("a/" + std::to_string(i) + ".jpg", photo());
    folder.write("b/" + std::to_string(i) + ".jpg", photo());
  }
  elsewhere.write("1.jpg", photo());
  elsewhere.write("deep/2.jpg", photo());
  const std::filesystem::path root = folder.path();
  const auto link = [&](const std::string& to, const std::string& at) {
    std::filesystem::create_directory_symlink(to, root / at);
  };
  link(".", "loop");            // the set itself
  link("..", "a/up");           // the same
  link(".", "b/loop");          // the class itself
  link("../b", "a/b");          // another class
  link("../..", "a/above");     // all that is beside the set
  link("/", "b/top");           // everything
  link(elsewhere.path(), "c");  // a class that lies elsewhere
  link(elsewhere.path(), "b/elsewhere");
  link(elsewhere.path() + "/deep", "b/deeper");
  link("deeper2", "b/deeper1");  // two links to each other
  link("deeper1", "b/deeper2");
  const auto set = open_dataset(folder.path(), {});
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(set->size(), 10) << joined(names_of(*set));
  EXPECT_NE(joined(set->info().notes).find("links to folders that are read elsewhere"), std::string::npos);
  // A link that doubles a class is no class.
  link("a", "d");
  EXPECT_NE(message_of([&] { open_dataset(folder.path(), {}); }).find("/d: the class folder holds no image"),
            std::string::npos);
}

TEST(ImageFolder, ClassFoldersMayAllBeLinks) {
  const TemporaryFolder elsewhere;
  const TemporaryFolder folder;
  elsewhere.write("a/1.jpg", photo());
  elsewhere.write("b/1.jpg", photo());
  for (const char* name : {"a", "b"})
    std::filesystem::create_directory_symlink(elsewhere.path() + "/" + name, folder.path() + "/" + name);
  EXPECT_EQ(open_dataset(folder.path(), {})->size(), 2);
}

std::string refusal_of(const std::string& path) {
  return message_of([&] { open_dataset(path, OpenOptions()); });
}

// `make` puts something into the set at this path.
void check_special(const std::string& name, const std::string& kind, void (*make)(const std::string&)) {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", photo());
  folder.write("b/1.jpg", photo());
  make(folder.path() + "/" + name);
  EXPECT_NE(refusal_of(folder.path()).find(name + ": it is " + kind), std::string::npos)
      << refusal_of(folder.path());
  OpenOptions options;
  options.skip_bad = true;
  EXPECT_EQ(open_dataset(folder.path(), options)->size(), 2) << name;
}

void make_fifo(const std::string& path) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
}
void make_device(const std::string& path) {
  std::filesystem::create_symlink("/dev/zero", path);
}
void make_socket(const std::string& path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
}

TEST(ImageFolder, SpecialFilesAreRefusedAndNeverWaitedFor) {
  for (const char* name : {"a/2.jpg", "b/stream", "queue"}) check_special(name, "a FIFO", make_fifo);
  check_special("a/tty.png", "a device", make_device);
  check_special("a/s.jpg", "a socket", make_socket);
}

TEST(ImageFolder, BrokenLinksAndEmptyFilesAreNamed) {
  const TemporaryFolder folder;
  folder.write("a/1.jpg", photo());
  folder.write("a/2.jpg", "");
  const auto refusal = [&] { return refusal_of(folder.path()); };
  EXPECT_NE(refusal().find("a/2.jpg: the image file is empty"), std::string::npos) << refusal();
  std::filesystem::remove(folder.path() + "/a/2.jpg");
  std::filesystem::create_symlink("nothing", folder.path() + "/a/3.jpg");
  EXPECT_NE(refusal().find("a/3.jpg: No such file"), std::string::npos) << refusal();
  folder.write("a/2.jpg", "");
  OpenOptions options;
  options.skip_bad = true;
  const auto set = open_dataset(folder.path(), options);
  EXPECT_EQ(set->size(), 1);
  EXPECT_EQ(set->info().skipped, 2);
}

// Whether from the cache, past its budget or without one: the same pixels.
TEST(ImageFolder, TheCacheChangesNothing) {
  const TemporaryFolder folder;
  for (const char* name : {"photo.jpg", "rgb.png", "interlaced.png", "cmyk.jpg"})
    folder.write(std::string("a/") + name, read_file(fixture(std::string("images/") + name)));
  const auto pixels = [&](int64_t cache, bool again) {
    OpenOptions options;
    options.cache_bytes = cache;
    options.random_crops = true;  // or pictures are kept at the size used
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
