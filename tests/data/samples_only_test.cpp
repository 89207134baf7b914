// Data that is read without labels (OpenOptions::labels).
#include <gtest/gtest.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/files.h"
#include "data/image_list.h"

namespace halftone::data {
namespace {

using Names = std::vector<std::string>;

OpenOptions samples_only(Shape shape = {}) {
  OpenOptions options;
  options.labels = false;
  options.sample_shape = std::move(shape);
  return options;
}

Names names_of(const Dataset& set, const std::string& folder) {
  Names names;
  for (int64_t i = 0; i < set.size(); ++i) names.push_back(set.name(i).substr(folder.size() + 1));
  return names;
}

std::string photo() {
  return read_file(fixture("images/photo.jpg"));
}

TEST(SamplesOnly, AFolderIsAllImagesInItAndBelow) {
  const TemporaryFolder folder;
  for (const char* name : {"b/2.jpg", "a.jpg", "b/deep/1.jpg", "a/9.jpg", "z.jpg"})
    folder.write(name, photo());
  folder.write("b/notes.txt", "no image");
  const auto set = open_dataset(folder.path(), samples_only());
  EXPECT_EQ(names_of(*set, folder.path()), (Names{"a.jpg", "a/9.jpg", "b/2.jpg", "b/deep/1.jpg", "z.jpg"}));
  EXPECT_EQ(set->info().labels, LabelKind::kNone);
  EXPECT_TRUE(set->info().files);
  const auto part = open_dataset(folder.path() + "[1:3]", samples_only());
  EXPECT_EQ(names_of(*part, folder.path()), (Names{"a/9.jpg", "b/2.jpg"}));
  EXPECT_EQ(part->position(1), 2);
}

TEST(SamplesOnly, ImagesAreNamedByAPattern) {
  const TemporaryFolder folder;
  for (const char* name : {"x2.jpg", "x10.jpg", "y.jpg", ".x3.jpg"}) folder.write(name, photo());
  folder.write("y.txt", "no image");
  const auto set = open_dataset(folder.path() + "/x*.jpg", samples_only());
  EXPECT_EQ(names_of(*set, folder.path()), (Names{"x10.jpg", "x2.jpg"}));
  const auto part = open_dataset(folder.path() + "/?*.jpg[1:]", samples_only());
  EXPECT_EQ(names_of(*part, folder.path()), (Names{"x2.jpg", "y.jpg"}));
  EXPECT_NE(
      message_of([&] { open_dataset(folder.path() + "/y.*", samples_only()); }).find("y.txt is no image"),
      std::string::npos);
  EXPECT_NE(message_of([&] {
              open_dataset(folder.path() + "/q*", samples_only());
            }).find("no file has such a name"),
            std::string::npos);
  // A file of that very name is that file.
  folder.write("s*.jpg", photo());
  folder.write("st.jpg", photo());
  EXPECT_EQ(open_dataset(folder.path() + "/s*.jpg", samples_only())->size(), 1);
}

TEST(SamplesOnly, ImagesNamedOneByOneHaveNoLabels) {
  const TemporaryFolder folder;
  const std::string path = folder.write("one.jpg", photo());
  EXPECT_EQ(open_dataset(path, samples_only())->size(), 1);
  for (const std::string& spec : {path, folder.path() + "/*.jpg", std::string("-")})
    EXPECT_NE(message_of([&] { open_dataset(spec, {}); }).find("have no labels"), std::string::npos) << spec;
}

TEST(SamplesOnly, LinesAreReadAsPaths) {
  EXPECT_EQ(images_of_lines("a.jpg\r\n\nb b.PNG", "here"), (Names{"a.jpg", "b b.PNG"}));
  EXPECT_NE(message_of([] { images_of_lines("a.txt\n", "here"); }).find("a.txt is no image"),
            std::string::npos);
  EXPECT_NE(message_of([] { images_of_lines("\n\n", "here"); }).find("names no image"), std::string::npos);
}

TEST(SamplesOnly, ATableMayHaveItsLabelOrNot) {
  const TemporaryFolder folder;
  const auto first = [](const std::string& path, const OpenOptions& options) {
    const auto set = open_dataset(path, options);
    EXPECT_EQ(set->info().labels, LabelKind::kNone);
    Sample sample;
    set->read(0, sample);
    return sample.values;
  };
  const std::vector<float> row{1.5F, 2.5F};
  const OpenOptions two = samples_only({2});
  EXPECT_EQ(first(folder.write("without.csv", "a,b\n1.5,2.5\n3,4\n"), two), row);
  EXPECT_EQ(first(folder.write("plain.csv", "1.5,2.5\n3,4\n"), two), row);
  EXPECT_EQ(first(folder.write("with.csv", "a,class,b\n1.5,cat,2.5\n3,,4\n"), two), row);
  OpenOptions named = two;
  named.label_column = "kind";
  EXPECT_EQ(first(folder.write("named.csv", "kind,a,b\ncat,1.5,2.5\n,3,4\n"), named), row);
  EXPECT_EQ(first(folder.write("absent.csv", "a,b\n1.5,2.5\n3,4\n"), named), row);
  // An id is not taken for a feature, nor a feature for the label.
  const std::string id = folder.write("id.csv", "id,a,b\n7,1.5,2.5\n8,3,4\n");
  EXPECT_NE(message_of([&] { open_dataset(id, two); }).find("--label-column NAME leaves it out"),
            std::string::npos);
}

TEST(SamplesOnly, ArraysNeedNoLabels) {
  const TemporaryFolder folder;
  const std::string x = npy("<f4", "(2, 3)", bytes_of<float>({1, 2, 3, 4, 5, 6}));
  const std::string y = npy("<i8", "(2,)", bytes_of<int64_t>({0, 1}));
  const std::string both = folder.write("both.npz", zip({{"x.npy", x}, {"y.npy", y}, {"t.npy", y}}, false));
  const std::string alone = folder.write("alone.npz", zip({{"x.npy", x}}, false));
  const std::string images = folder.write("k-images-idx3-ubyte", idx(8, {2, 2, 2}, "abcdefgh"));
  for (const std::string& path : {both, alone, images}) {
    const auto set = open_dataset(path, samples_only());
    EXPECT_EQ(set->size(), 2) << path;
    EXPECT_EQ(set->info().labels, LabelKind::kNone) << path;
  }
}

}  // namespace
}  // namespace halftone::data
