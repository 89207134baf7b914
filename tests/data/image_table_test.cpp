#include "data/image_table.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "data/files.h"

namespace halftone::data {
namespace {

std::string photo() {
  return read_file(fixture("images/photo.jpg"));
}

struct Pictures {
  TemporaryFolder folder;
  Pictures() {
    for (const char* name : {"p/1.jpg", "p/2.jpg", "p/3.jpg"}) folder.write(name, photo());
  }
  std::string table(const std::string& text, const std::string& name = "labels.csv") const {
    return folder.write(name, text);
  }
};

std::vector<std::vector<float>> targets_of(const Dataset& set) {
  std::vector<std::vector<float>> targets;
  Sample sample;
  for (int64_t i = 0; i < set.size(); ++i) {
    set.read(i, sample);
    EXPECT_EQ(sample.pixels.width, 53);
    targets.push_back(sample.target);
  }
  return targets;
}

std::string refusal(const std::string& path, const OpenOptions& options) {
  return message_of([&] { open_dataset(path, options); });
}

TEST(ImageTable, ColumnsOfZerosAndOnesAreLabels) {
  const Pictures pictures;
  LabelForm seen;
  OpenOptions options;
  options.read_labels = [&](const LabelForm& form, const DataInfo&) {
    seen = form;
    return LabelReading{LabelKind::kTarget};
  };
  const auto set = open_dataset(
      pictures.table("file,cat,dog,red\np/1.jpg,1,0,1\np/3.jpg,0,0,0\np/2.jpg,0,1,0\n"), options);
  EXPECT_EQ(set->info().kind, "table of images");
  EXPECT_EQ(set->info().columns.labels, (std::vector<std::string>{"cat", "dog", "red"}));
  EXPECT_TRUE(seen.several_labels);
  EXPECT_EQ(seen.width, 3);
  EXPECT_EQ(set->name(1), pictures.folder.path() + "/p/3.jpg");
  EXPECT_EQ(targets_of(*set), (std::vector<std::vector<float>>{{1, 0, 1}, {0, 0, 0}, {0, 1, 0}}));
  EXPECT_EQ(set->info().notes,
            (std::vector<std::string>{"the images are named in column 1 (file), their labels are the columns "
                                      "2 (cat), 3 (dog), 4 (red)"}));
  // Validation data in another order.
  OpenOptions validation;
  validation.columns.kept.labels = {"dog", "cat"};
  EXPECT_EQ(targets_of(*open_dataset(pictures.folder.path() + "/labels.csv", validation)),
            (std::vector<std::vector<float>>{{0, 1}, {0, 0}, {1, 0}}));
  options.label_column = "red,cat";
  EXPECT_EQ(targets_of(*open_dataset(pictures.folder.path() + "/labels.csv", options)),
            (std::vector<std::vector<float>>{{1, 1}, {0, 0}, {0, 0}}));
}

TEST(ImageTable, ACellMayHaveSeveralLabels) {
  const Pictures pictures;
  const std::string path =
      pictures.table("labels\tpath\nred cat\tp/1.jpg\n\tp/2.jpg\ndog  red\tp/3.jpg\n", "l.tsv");
  OpenOptions options;
  options.label_separator = "space";
  const auto set = open_dataset(path, options);
  EXPECT_EQ(set->info().columns.labels, (std::vector<std::string>{"cat", "dog", "red"}));
  EXPECT_EQ(targets_of(*set), (std::vector<std::vector<float>>{{1, 0, 1}, {0, 0, 0}, {0, 1, 1}}));
  // The order is that of the training data, and a label that it has not is an error.
  OpenOptions evaluation = options;
  evaluation.columns.measures = false;
  evaluation.columns.kept.labels = {"red", "dog", "cat"};
  evaluation.columns.kept.source = "the run";
  EXPECT_EQ(targets_of(*open_dataset(path, evaluation)),
            (std::vector<std::vector<float>>{{1, 0, 1}, {0, 0, 0}, {1, 1, 0}}));
  evaluation.label_separator.clear();
  EXPECT_NE(refusal(path, evaluation).find("give --label-separator"), std::string::npos);
  evaluation.label_separator = "space";
  evaluation.columns.kept.labels = {"red", "cat"};
  EXPECT_NE(
      refusal(path, evaluation).find("line 4, column 1 (labels): unknown label dog; the run has red, cat"),
      std::string::npos);
  evaluation.skip_bad = true;
  evaluation.threads = 1;
  EXPECT_EQ(open_dataset(path, evaluation)->size(), 2);
  options.label_separator = "|";
  EXPECT_NE(refusal(pictures.table("p/1.jpg,a\np/2.jpg,a\n"), options).find("expected two or more"),
            std::string::npos);
}

TEST(ImageTable, OneColumnIsAClass) {
  const Pictures pictures;
  const OpenOptions options;
  // Without a header, and with one.
  for (const char* text :
       {"p/1.jpg;cat\np/2.jpg;dog\np/3.jpg;cat\n", "name;kind\np/1.jpg;cat\np/2.jpg;dog\np/3.jpg;cat\n"}) {
    const auto set = open_dataset(pictures.table(text), options);
    ASSERT_EQ(set->size(), 3);
    EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"cat", "dog"}));
    EXPECT_EQ(set->class_of(1), 1);
  }
  OpenOptions unlabelled;
  unlabelled.labels = false;
  EXPECT_EQ(open_dataset(pictures.table("p/1.jpg\np/2.jpg\n"), unlabelled)->size(), 2);
}

TEST(ImageTable, WhatDoesNotFitIsNamedWithItsPlace) {
  const Pictures pictures;
  const OpenOptions options;
  const auto says = [&](const std::string& text, const std::string& what) {
    const std::string message = refusal(pictures.table(text), options);
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  says("file,a,b\np/1.jpg,1,0\np/2.jpg,1,2\n", "labels.csv, line 3, column 3 (b): \"2\"; expected 0 or 1");
  says("file,a,b\np/1.jpg,1,0\nnotes.txt,1,1\n",
       "line 3, column 1 (file): \"notes.txt\" is no image by its name");
  says("file,a,b\np/1.jpg,1,0\np/2.jpg,1\n", "line 3: 2 cells, and not 3");
  says("file,a,b\np/9.jpg,1,0\n", "/p/9.jpg");
  OpenOptions separated;
  separated.label_separator = "|";
  EXPECT_NE(refusal(pictures.table("file,a,b\np/1.jpg,1,0\n"), separated).find("has 2 columns of labels"),
            std::string::npos);
  // A table of numbers stays one where the names are left out.
  OpenOptions numbers;
  numbers.columns.exclude = {"file"};
  EXPECT_FALSE(names_images(pictures.table("file,a,b\np/1.jpg,1,0\n"), numbers));
  EXPECT_TRUE(names_images(pictures.folder.path() + "/labels.csv", options));
}

}  // namespace
}  // namespace halftone::data
