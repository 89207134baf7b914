#include "data/csv.h"

#include <gtest/gtest.h>

#include "data/files.h"

namespace halftone::data {
namespace {

struct File : TemporaryFolder {
  explicit File(const std::string& text) : spec(write("d.csv", text)) {}
  std::unique_ptr<Dataset> open(const OpenOptions& options = {}) const { return open_dataset(spec, options); }
  std::string refusal(const OpenOptions& options = {}) const {
    return message_of([&] { open(options); });
  }
  std::string spec;
};

Sample sample_of(const Dataset& set, int64_t index) {
  Sample sample;
  set.read(index, sample);
  return sample;
}

TEST(Csv, LastColumnIsTheLabel) {
  const auto set = File("1,2.5,0\n-3e1,4,1\n5,6,1\n").open();
  ASSERT_EQ(set->size(), 3);
  EXPECT_EQ(set->info().shape, (Shape{2}));
  EXPECT_EQ(set->info().labels, LabelKind::kClass);
  EXPECT_EQ(set->info().classes, 2);
  EXPECT_EQ(sample_of(*set, 1).values, (std::vector<float>{-30, 4}));
  EXPECT_EQ(sample_of(*set, 1).label, 1);
}

TEST(Csv, RecognisesHeaderSeparatorCommentsAndQuotes) {
  for (const char* text : {"a;b;c\n1;2;0\n3;4;1\n", "a\tb\tc\r\n1\t2\t0\r\n3\t4\t1\r\n",
                           "\"a, b\",b,c\n\"1\", 2,0\n\n# comment\n3,+4,\"1\"",
                           "\xEF\xBB\xBF# made by hand\na,b,c\n1,2,0\n3,4,1\n"}) {
    const auto set = File(text).open();
    ASSERT_EQ(set->size(), 2) << text;
    EXPECT_EQ(sample_of(*set, 0).values, (std::vector<float>{1, 2})) << text;
    EXPECT_EQ(sample_of(*set, 1).values, (std::vector<float>{3, 4})) << text;
    EXPECT_EQ(sample_of(*set, 1).label, 1) << text;
  }
}

TEST(Csv, AHeaderTwiceIsFoundWhereItStandsAgain) {
  for (const char* text : {"a,b,y\n1,2,0\n3,4,1\na,b,y\n", "a,b,y\na,b,y\n1,2,0\n3,4,1\n"}) {
    const std::string why = message_of([&] { File(text).open(); });
    EXPECT_NE(why.find(text[6] == 'a' ? "line 2: " : "line 4: "), std::string::npos) << why;
    EXPECT_NE(why.find("names of the columns again"), std::string::npos) << why;
  }
}

TEST(Csv, RefusesAMarkForTheDelimiterByName) {
  for (const char* text : {"sep=;\n1;2;0\n3;4;1\n", "\xEF\xBB\xBF\"SEP=;\"\r\n1;2;0\r\n3;4;1\r\n"}) {
    const std::string why = message_of([&] { File(text).open(); });
    EXPECT_NE(why.find("names the delimiter for Excel"), std::string::npos) << why;
    EXPECT_NE(why.find("--csv-delimiter semicolon"), std::string::npos) << why;
  }
}

TEST(Csv, LabelColumnByNameNumberOrNone) {
  const File file("y,a,b\n1,2,3\n0,5,6\n");
  for (const char* column : {"y", "0", "-3"}) {
    OpenOptions options;
    options.label_column = column;
    const auto set = file.open(options);
    EXPECT_EQ(sample_of(*set, 0).values, (std::vector<float>{2, 3})) << column;
    EXPECT_EQ(sample_of(*set, 0).label, 1) << column;
  }
  OpenOptions options;
  options.label_column = "none";
  EXPECT_EQ(file.open(options)->info().shape, (Shape{3}));
  options.label_column = "z";
  EXPECT_NE(file.refusal(options).find("--label-column z: no column is called that"), std::string::npos);
  EXPECT_NE(file.refusal(options).find("the first line is y, a, b"), std::string::npos);
  options.label_column = "3";
  EXPECT_NE(file.refusal(options).find("--label-column 3: the table has 3 columns, counted from 0: 0 to 2"),
            std::string::npos);
}

TEST(Csv, FractionsAndLargeNumbersAreTargets) {
  for (const char* text : {"1,0.5\n2,1\n", "1,250000\n2,310000\n", "1,-1\n2,1\n"}) {
    const auto set = File(text).open();
    EXPECT_EQ(set->info().labels, LabelKind::kTarget) << text;
    EXPECT_EQ(set->info().target_size, 1);
    EXPECT_EQ(sample_of(*set, 0).target.size(), 1U);
  }
}

TEST(Csv, TextLabelsAreClassesInByteOrder) {
  const auto set = File("l,w,species\n1,2,virginica\n3,4,setosa\n5,6, virginica\n").open();
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"setosa", "virginica"}));
  EXPECT_EQ(sample_of(*set, 0).label, 1);
  EXPECT_EQ(sample_of(*set, 1).label, 0);
  EXPECT_EQ(sample_of(*set, 2).label, 1);
}

TEST(Csv, IsBroughtToTheNetworksShape) {
  OpenOptions options;
  options.sample_shape = {1, 2, 2};
  EXPECT_EQ(File("1,2,3,4,0\n").open(options)->info().shape, (Shape{1, 2, 2}));
  EXPECT_NE(File("1,2,3,0\n").refusal(options).find("wants samples of shape 1x2x2, but these have 3"),
            std::string::npos);
}

TEST(Csv, NamesLineAndColumnOfWhatIsBroken) {
  struct Case {
    const char* text;
    const char* message;
  };
  for (const Case& c :
       {Case{"1,2,0\n1,x,0\n", "d.csv, line 2, column 2: \"x\" is not a finite number"},
        Case{"1,2,0\n\n1,nan,0\n", "d.csv, line 3, column 2: the value is missing (\"nan\")"},
        Case{"1,2,0\n1,1e99,0\n",
             "line 2, column 2: \"1e99\" is not a finite number in fp32: it is too large"},
        Case{"1,2,0\n1,2\n", "line 2, column 3: the line has 2 cells, the table 3 columns"},
        Case{"1,2,0\n1,2,3,4\n", "line 2, column 4: the line has 4 cells, the table 3 columns"},
        Case{"1,2,0\n,2,1\n", "line 2, column 1: the value is missing"}, Case{"a,b\n", "holds no samples"},
        Case{"", "holds no samples"}, Case{"5\n6\n", "expected numbers separated by"},
        Case{"1,2,0\n\"1,2,0\n", "line 2, column 1: the quote that begins here is never closed"}}) {
    const std::string message = File(c.text).refusal();
    EXPECT_NE(message.find(c.message), std::string::npos) << c.text << ": " << message;
  }
  OpenOptions options;
  options.classes = 2;
  EXPECT_NE(File("1,0\n2,2\n2,1\n").refusal(options).find("line 2, column 2: the label 2 is out of range"),
            std::string::npos);
  options.read_labels = [](const LabelForm&, const DataInfo&) { return LabelReading{LabelKind::kClass, 2}; };
  EXPECT_NE(File("1,0\n2,0.5\n").refusal(options).find("line 2, column 2: the label 0.5 is no class number"),
            std::string::npos);
}

TEST(Csv, SkipsBadLinesAndCountsThem) {
  OpenOptions options;
  options.skip_bad = true;
  options.classes = 2;
  const auto set = File("1,2,0\n1,x,0\n3,4,5\n3,4\n5,6,1\n").open(options);
  EXPECT_EQ(set->size(), 2);
  EXPECT_EQ(set->info().skipped, 3);
  EXPECT_EQ(sample_of(*set, 1).values, (std::vector<float>{5, 6}));
  EXPECT_EQ(sample_of(*set, 1).label, 1);
  EXPECT_NE(set->info().skipped_why.at(0).find("line 2, column 2"), std::string::npos);
}

}  // namespace
}  // namespace halftone::data
