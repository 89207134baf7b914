#include "data/fingerprint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "data/files.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

std::string print_of(const std::string& spec) {
  OpenOptions options;
  options.cache_bytes = 0;
  return fingerprint(*open_dataset(spec, options));
}

std::string floats(float first, int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(first + static_cast<float>(i));
  return bytes_of(values);
}

TEST(Fingerprint, OfArraysIsTheirSamplesAndLabels) {
  const TemporaryFolder folder;
  const std::string labels = bytes_of(std::vector<int64_t>{0, 1, 0, 1});
  const auto put = [&](const std::string& name, const std::string& x, const std::string& y) {
    folder.write(name + "/x.npy", npy("<f4", "(4, 3)", x));
    folder.write(name + "/y.npy", npy("<i8", "(4,)", y));
    return folder.path() + "/" + name;
  };
  const std::string base = print_of(put("base", floats(0, 12), labels));
  EXPECT_EQ(base.find("4 samples"), 0U) << base;
  EXPECT_EQ(print_of(put("moved", floats(0, 12), labels)), base);
  EXPECT_NE(print_of(put("other", floats(1, 12), labels)), base);
  EXPECT_NE(print_of(put("relabelled", floats(0, 12), bytes_of(std::vector<int64_t>{1, 0, 1, 0}))), base);
  std::string reversed;
  for (int row = 3; row >= 0; --row) reversed += floats(static_cast<float>(3 * row), 3);
  EXPECT_NE(print_of(put("reversed", reversed, labels)), base);
  EXPECT_NE(print_of(put("base", floats(0, 12), labels) + "[:3]"), base);
}

TEST(Fingerprint, OfImagesIsTheirNamesAndContents) {
  const TemporaryFolder folder;
  const auto copy = [&](const std::string& to, const std::string& name) {
    fs::create_directories(folder.path() + "/" + to);
    fs::copy_file(fixture("images/" + name), folder.path() + "/" + to + "/image.png",
                  fs::copy_options::overwrite_existing);
  };
  std::vector<std::string> images;
  for (const auto& entry : fs::directory_iterator(fixture("images")))
    if (entry.path().extension() == ".png") images.push_back(entry.path().filename().string());
  std::sort(images.begin(), images.end());
  ASSERT_GE(images.size(), 2U);
  copy("a/cat", images[0]), copy("a/dog", images[1]);
  copy("b/cat", images[0]), copy("b/dog", images[1]);
  copy("c/cat", images[1]), copy("c/dog", images[0]);
  copy("d/cat", images[0]), copy("d/rat", images[1]);
  const std::string base = print_of(folder.path() + "/a");
  EXPECT_EQ(base.find("2 files"), 0U) << base;
  EXPECT_EQ(print_of(folder.path() + "/b"), base);
  EXPECT_NE(print_of(folder.path() + "/c"), base);
  EXPECT_NE(print_of(folder.path() + "/d"), base);
}

TEST(Watched, AnImageThatIsChangedWhileItIsInUseIsNamed) {
  const TemporaryFolder folder;
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(fixture("images"))) {
    if (entry.path().extension() != ".png") continue;
    for (const std::string name : {"cat", "dog"}) {
      fs::create_directories(folder.path() + "/" + name);
      paths.push_back(folder.path() + "/" + name + "/image.png");
      fs::copy_file(entry.path(), paths.back());
    }
    break;
  }
  ASSERT_EQ(paths.size(), 2U);
  OpenOptions options;
  options.cache_bytes = 0;
  const auto set = open_dataset(folder.path(), options);
  Sample sample;
  set->read(0, sample);
  const auto time = fs::last_write_time(paths[1]);
  fs::last_write_time(paths[1], time + std::chrono::seconds(1));
  set->read(0, sample);
  EXPECT_NE(message_of([&] { set->read(1, sample); }).find(paths[1] + " was changed"), std::string::npos);
  fs::last_write_time(paths[1], time);
  set->read(1, sample);
  fs::remove(paths[0]);
  EXPECT_NE(message_of([&] { set->read(0, sample); }).find(paths[0] + " is gone"), std::string::npos);
}

}  // namespace
}  // namespace halftone::data
