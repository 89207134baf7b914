#include "data/class_map.h"

#include <gtest/gtest.h>

#include <limits>

#include "data/files.h"
#include "data/labels.h"

namespace halftone::data {
namespace {

using Names = std::vector<std::string>;

TEST(ClassMap, NumbersCountByValueAndTextByBytes) {
  EXPECT_EQ(in_class_order({"b", "a", "C", "10"}), (Names{"10", "C", "a", "b"}));
  EXPECT_EQ(in_class_order({"10", "9", "1", "02", "-3"}), (Names{"-3", "1", "02", "9", "10"}));
  EXPECT_TRUE(counts_as_numbers({"1", "2", "10"}));
  EXPECT_FALSE(counts_as_numbers({"1", "2", "3"}));  // its byte order too
  EXPECT_FALSE(counts_as_numbers({"b", "a"}));
}

TEST(ClassMap, ReadsAFileOfOneNameALine) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_class_file(folder.write("a", "zebra\r\nant \nbee\n\n")).names,
            (Names{"zebra", "ant ", "bee"}));
  EXPECT_EQ(read_class_file(folder.write("b", class_file_text({"x", "y"}))).names, (Names{"x", "y"}));
  const auto refusal = [&](const std::string& text) {
    return message_of([&] { read_class_file(folder.write("c", text)); });
  };
  EXPECT_NE(refusal("a\n\nb\n").find("line 2: it is empty"), std::string::npos);
  EXPECT_NE(refusal("a\nb\na\n").find("line 3: the class 'a' is there twice, on line 1 too"),
            std::string::npos);
  EXPECT_NE(refusal("a\nb\n a \t\n").find("line 3: the class 'a' is there twice"), std::string::npos);
  EXPECT_NE(refusal("a\n \nb\n").find("line 2: it is empty"), std::string::npos);
  EXPECT_NE(refusal("a\nb\rc\nd\n").find("line 2: a carriage return within the line"), std::string::npos);
  EXPECT_NE(refusal("[\"a\", \"b\"]\n").find("a list in JSON"), std::string::npos);
  EXPECT_NE(refusal(std::string("an\0ant\nbee\n", 11)).find("line 1: a zero byte"), std::string::npos);
  EXPECT_NE(refusal("\r\n\n").find("no class name"), std::string::npos);
  // However it was saved.
  const std::string wide = "\xC3\xA9t\xC3\xA9\nant\n";
  const Names wanted{"\xC3\xA9t\xC3\xA9", "ant"};
  for (const std::string& text : {wide, "\xEF\xBB\xBF" + wide, std::string("\xC3\xA9t\xC3\xA9\r\nant"),
                                  std::string("\xC3\xA9t\xC3\xA9\rant\r\r"),
                                  std::string("\xFF\xFE\xE9\0t\0\xE9\0\r\0\n\0a\0n\0t\0\r\0\n\0", 22),
                                  std::string("\xFE\xFF\0\xE9\0t\0\xE9\0\n\0a\0n\0t", 16)})
    EXPECT_EQ(read_class_file(folder.write("d", text)).names, wanted) << text;
  EXPECT_NE(refusal("\n").find("no class name"), std::string::npos);
}

TEST(ClassMap, ReadsWhatExportersWriteIntoMetadata) {
  const Names wanted{"it's", "b\"c", "d"};
  EXPECT_EQ(names_from_metadata(to_json(wanted)), wanted);
  EXPECT_EQ(names_from_metadata(R"({0: "it's", 1: 'b"c', 2: 'd'})"), wanted);
  EXPECT_EQ(names_from_metadata(R"(["it's", 'b"c', 'd'])"), wanted);
  EXPECT_EQ(names_from_metadata(R"( ('it\'s', 'b"c', 'd',) )"), wanted);
  EXPECT_EQ(names_from_metadata(R"({"0": "it's", "2": "d", "1": "b\"c"})"), wanted);
  EXPECT_EQ(names_from_metadata(
                "{10: 'k', 0: 'a', 1: 'b', 2: 'c', 3: 'd', 4: 'e', 5: 'f', 6: 'g', 7: 'h', 8: 'i', 9: 'j'}")
                .size(),
            11U);
  for (const char* text : {"", "names", "{0: 'a', 2: 'b'}", "{0: 'a'", "{0: 'a', 0: 'b'}", "[1, 2]",
                           "{0: 'a'} x", "{0: 'a\\x41'}", "[\"a\", \"a\"]", "{\"a\": \"b\"}", "['a', 'a']",
                           "['a'", "['a')", "['a' 'b']", "[0: 'a']", "[]"})
    EXPECT_TRUE(names_from_metadata(text).empty()) << text;
  std::string why;
  names_from_metadata("{0: 'a', 2: 'c'}", &why);
  EXPECT_EQ(why, "the names' numbers are not 0, 1, 2, ...: 2 where 1 is expected");
  names_from_metadata(R"({"0": "a", "1": "a"})", &why);
  EXPECT_EQ(why, "the name 'a' is there twice");
}

TEST(ClassMap, NumbersThatAreNotTheirOwnPlaces) {
  EXPECT_FALSE(are_other_numbers({"0", "1", "2"}));
  EXPECT_TRUE(are_other_numbers({"1", "2", "0"}));
  EXPECT_TRUE(are_other_numbers({"00", "1"}));
  EXPECT_FALSE(are_other_numbers({"1", "b"}));
}

struct Read {
  Labels labels;
  DataInfo info;
};
Read resolve(RawLabels raw, const OpenOptions& options = {}) {
  Read r;
  r.labels = resolve_labels(
      std::move(raw), options, [](int64_t i) { return "sample " + std::to_string(i); }, r.info);
  return r;
}
RawLabels named(const Names& names, const std::vector<int32_t>& name_of) {
  RawLabels raw;
  raw.kind = LabelForm::Kind::kNames;
  raw.where = "d";
  raw.names = names;
  raw.name_of = name_of;
  return raw;
}

TEST(Labels, NamesThatAreNumbersCountByValueAndItIsSaid) {
  const Read r = resolve(named({"1", "10", "2"}, {1, 0, 2}));
  EXPECT_EQ(r.labels.classes, (std::vector<int32_t>{2, 0, 1}));
  EXPECT_EQ(r.info.class_names, (Names{"1", "2", "10"}));
  ASSERT_EQ(r.info.notes.size(), 1U);
  EXPECT_NE(r.info.notes[0].find("in the order of their values: 1, 2, 10"), std::string::npos);
}

TEST(Labels, AClassMapNumbersThem) {
  OpenOptions options;
  options.class_map = {{"cat", "bee", "ant"}, "the map"};
  const Read r = resolve(named({"ant", "cat"}, {0, 1, 1}), options);
  EXPECT_EQ(r.labels.classes, (std::vector<int32_t>{2, 0, 0}));
  EXPECT_EQ(r.info.classes, 3);
  ASSERT_EQ(r.info.notes.size(), 1U);
  EXPECT_EQ(r.info.notes[0], "no sample of 1 of the 3 classes: bee");
  const std::string message = message_of([&] { resolve(named({"ant", "dog", "eel"}, {0, 1, 2}), options); });
  EXPECT_NE(message.find("unknown classes dog, eel; the map has the classes cat, bee, ant"),
            std::string::npos)
      << message;
}

TEST(Labels, FormSaysWhatTheNumbersAre) {
  RawLabels raw;
  raw.kind = LabelForm::Kind::kFloats;
  raw.width = 2;
  raw.floats = {0.25F, 0.75F, 1, 0};
  const auto name = [](int64_t i) { return std::to_string(i); };
  EXPECT_TRUE(form_of(raw, name).distributions);
  EXPECT_FALSE(form_of(raw, name).one_hot);
  EXPECT_FALSE(form_of(raw, name).whole);
  raw.floats = {0, 1, 1, 0};
  EXPECT_TRUE(form_of(raw, name).one_hot);
  raw.floats = {1, 0, 1, 1};
  EXPECT_FALSE(form_of(raw, name).distributions);
  EXPECT_EQ(form_of(raw, name).no_distribution_at, 1);
  EXPECT_EQ(form_of(raw, name).no_distribution_sum, 2);
  raw.floats = {1, 0, 2, -1};  // adds up to 1, but is none
  EXPECT_FALSE(form_of(raw, name).distributions);
  EXPECT_EQ(form_of(raw, name).smallest_at, 1);
  EXPECT_EQ(form_of(raw, name).largest, 2);
}

TEST(Labels, ThatAreNotFiniteNameTheirSample) {
  RawLabels raw;
  raw.kind = LabelForm::Kind::kFloats;
  raw.where = "d";
  raw.width = 2;
  raw.floats = {0, 1, 2, std::numeric_limits<float>::infinity(), 3, 4};
  EXPECT_NE(message_of([&] { resolve(raw); }).find("sample 1: its label is inf"), std::string::npos);
  OpenOptions options;
  options.skip_bad = true;
  const Read r = resolve(raw, options);
  Sample sample;
  r.labels.get(2, sample);
  EXPECT_EQ(sample.target, (std::vector<float>{3, 4}));
  EXPECT_NE(message_of([&] { r.labels.get(1, sample); }).find("sample 1"), std::string::npos);
}

}  // namespace
}  // namespace halftone::data
