// Tables as spreadsheets, databases and scripts write them: read with the right values, or refused by line
// and column.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "data/dataset.h"
#include "data/files.h"
#include "data/number.h"
#include "data/text.h"
#include "num/random.h"

namespace halftone::data {
namespace {

struct Table : TemporaryFolder {
  explicit Table(const std::string& text, const std::string& name = "d.csv") : spec(write(name, text)) {}
  std::unique_ptr<Dataset> open(const OpenOptions& options = {}) const { return open_dataset(spec, options); }
  std::string refusal(const OpenOptions& options = {}) const {
    return message_of([&] { open(options); });
  }
  std::string spec;
};

// All samples: values, then the label (class or target).
std::vector<std::vector<float>> rows_of(const Dataset& set) {
  std::vector<std::vector<float>> rows;
  Sample sample;
  for (int64_t i = 0; i < set.size(); ++i) {
    set.read(i, sample);
    rows.push_back(sample.values);
    if (set.info().labels == LabelKind::kClass) rows.back().push_back(static_cast<float>(sample.label));
    for (const float t : sample.target) rows.back().push_back(t);
  }
  return rows;
}

using Rows = std::vector<std::vector<float>>;

std::string utf16(const std::string& ascii, bool big_endian) {
  std::string out = big_endian ? "\xFE\xFF" : "\xFF\xFE";
  for (const char c : ascii) {
    if (big_endian) out += '\0';
    out += c;
    if (!big_endian) out += '\0';
  }
  return out;
}

OpenOptions with(std::string OpenOptions::*option, const std::string& value) {
  OpenOptions options;
  options.*option = value;
  return options;
}

TEST(Number, FormsAreToldApart) {
  struct Case {
    const char* text;
    NumberForm form;
  };
  for (const Case& c : {Case{"12", NumberForm::kWhole},
                        Case{"-3e+2", NumberForm::kWhole},
                        Case{"+.5", NumberForm::kPoint},
                        Case{"5.", NumberForm::kPoint},
                        Case{"1,5", NumberForm::kComma},
                        Case{"0,123", NumberForm::kComma},
                        Case{"1,2345", NumberForm::kComma},
                        Case{"1,234", NumberForm::kEither},
                        Case{"1,234e2", NumberForm::kComma},
                        Case{"1,234,567", NumberForm::kThousands},
                        Case{"1.234,5", NumberForm::kThousands},
                        Case{"12,345.6", NumberForm::kThousands},
                        Case{"1.234.567", NumberForm::kThousands},
                        Case{"", NumberForm::kNone},
                        Case{".", NumberForm::kNone},
                        Case{"-", NumberForm::kNone},
                        Case{"+-5", NumberForm::kNone},
                        Case{"1e", NumberForm::kNone},
                        Case{"0x1F", NumberForm::kNone},
                        Case{"inf", NumberForm::kNone},
                        Case{"1 5", NumberForm::kNone},
                        Case{"1,5,2", NumberForm::kNone},
                        Case{"12,34,567", NumberForm::kNone}})
    EXPECT_EQ(form_of(c.text), c.form) << c.text;
}

TEST(Number, TooSmallIsZeroAndTooLargeNone) {
  double value = 1;
  EXPECT_TRUE(read_number("1e-400", '.', value));
  EXPECT_EQ(value, 0);
  EXPECT_FALSE(read_number("1e400", '.', value));
  EXPECT_FALSE(read_number("1e39", '.', value));
  EXPECT_TRUE(read_number(" -1,25e1 ", ',', value));
  EXPECT_EQ(value, -12.5);
}

TEST(Text, MessagesShowNoControlCharacters) {
  EXPECT_EQ(shown("a\x1B[1mb\n\xE9"), "a\\x1B[1mb\\x0A\\xE9");
  EXPECT_EQ(shown("é"), "é");
  EXPECT_EQ(shown(std::string(100, 'x')), std::string(40, 'x') + "...");
}

// Every dialect of one table gives the same samples.
TEST(Table, DialectsGiveTheSameSamples) {
  const Rows expected = {{1.5F, -2, 0}, {0.25F, 3, 1}};
  for (const std::string& text :
       {std::string("1.5,-2,0\n0.25,3,1\n"), std::string("1.5,-2,0\r0.25,3,1\r"),
        std::string("1.5;-2;0\r\n0.25;3;1"), std::string("1,5;-2;0\n0,25;3;1\n"),
        std::string("1,5\t-2\t0\n0,25\t3\t1\n"), std::string("1,5|-2|0\n0,25|3|1\n"),
        std::string("1.5|-2|0\n0.25|3|1\n"), std::string("\"1,5\",\"-2\",0\n\"0,25\",3,1\n"),
        std::string(" 1.5 , -2 ,\t0\n\n   \n0.25,3,1\n\n"),
        std::string("a,b,c\n1.5,-2,0\n# 7,7,7\n0.25,3,1\n"),
        std::string("\"a\nb\",\"say \"\"b\"\"\",\"c,d\"\n1.5,-2,0\n0.25,3,1\n"),
        std::string("\xEF\xBB\xBF\"a\",b,c\n1.5,-2,0\n0.25,3,1"), std::string("1.5,-2,0,\n0.25,3,1,\n"),
        std::string("a;b;c;\n1,5;-2;0;\n0,25;3;1;\n"), std::string(",a,b,c\n0,1.5,-2,0\n1,0.25,3,1\n"),
        std::string("\"\";\"a\";\"b\";\"c\"\n\"1\";1,5;-2;0\n\"2\";0,25;3;1\n"),
        utf16("a,b,c\n1.5,-2,0\n0.25,3,1\n", false), utf16("1,5\t-2\t0\r\n0,25\t3\t1\r\n", true)})
    EXPECT_EQ(rows_of(*Table(text).open()), expected) << text;
  EXPECT_EQ(rows_of(*Table("1.5\t-2\t0\n0.25\t3\t1\n", "d.TSV").open()), expected);
}

TEST(Table, SaysWhatItTookItFor) {
  const auto note = [](const std::string& text) { return Table(text).open()->info().notes.at(0); };
  EXPECT_EQ(note("a;b;kind\n1,5;2;x\n2,5;3;y\n"),
            "semicolon-separated, decimal comma; line 1 is the header: a, b, kind; label: column 3 (kind)");
  EXPECT_EQ(note("1,2,0\n3,4,1\n"),
            "comma-separated; no header, the first line is a sample; label: column 3 (--label-column 2)");
  EXPECT_EQ(note("#c\n\"\",a,y\n0,1,0\n1,4,1\n"),
            "comma-separated; line 2 is the header: , a, y; label: column 3 (y); column 1 has no name and "
            "counts the "
            "lines: left out");
  EXPECT_NE(note("1,0,\n3,1,\n").find("a delimiter ends each line"), std::string::npos);
  EXPECT_NE(note("a,a,y\n1,2,0\n").find("several columns are called a"), std::string::npos);
  EXPECT_EQ(Table("#c\n1,2\n#d\n").open()->info().notes.at(1), "2 lines that begin with # are comments");
}

// A line with a number in it is a sample: what is odd in it is an error, and no header.
TEST(Table, AnOddCellInTheFirstLineIsAnError) {
  struct Case {
    const char* text;
    const char* message;
  };
  for (const Case& c :
       {Case{"0,N/A,0,0\n1,0,0,0\n", "line 1, column 2: the value is missing (\"N/A\")"},
        Case{"0,,0,0\n1,0,0,0\n", "line 1, column 2: the value is missing"},
        Case{",,0\n1,0,0\n", "line 1, column 1: the value is missing"},
        Case{"?,?,setosa\n1,0,virginica\n", "line 1, column 1: the value is missing (\"?\")"},
        Case{"5.1x,3,setosa\n1,0,setosa\n", "line 1, column 1: \"5.1x\" is not a finite number"},
        Case{"a,b,setosa\n1,0,setosa\n", "line 1, column 1: \"a\" is not a finite number"},
        Case{"a,b,1\n1,0,1\n", "line 1, column 1: \"a\" is not a finite number"},
        Case{"0,1,NA\n1,0,1\n1,1,0\n", "line 1, column 3: the label is missing"},
        Case{"a,,c,y\n1,0,2,1\n", "line 1, column 2: the cell is empty"},
        Case{"1,2\n1,2,0\n3,4,1\n", "line 1, column 3: the line has 2 cells, the table 3 columns"},
        Case{"my table\n1,2,0\n3,4,1\n", "line 1, column 2: the line has 1 cells, the table 3 columns"}}) {
    const std::string message = Table(c.text).refusal();
    EXPECT_NE(message.find(std::string("d.csv, ") + c.message), std::string::npos)
        << c.text << ": " << message;
    OpenOptions skip;
    skip.skip_bad = true;
    if (std::string(c.message).find("the cell is empty") != std::string::npos) continue;
    EXPECT_EQ(Table(c.text).open(skip)->info().skipped, 1) << c.text;
  }
  EXPECT_NE(Table("0,N/A,0\n1,2,0\n").refusal().find("--csv-header yes"), std::string::npos);
}

TEST(Table, NamesThatAreNumbersAreAsked) {
  for (const char* text : {"2019,2020,2021,target\n1.5,2,3,0\n4,5,6,1\n",
                           "2019,2020,2021,target\n1.5,2,3,up\n4,5,6,down\n4,5,6,up\n",
                           "0,1,2,3\n1.5,2,3,0\n4,5,6,1\n", "1,2,3,4,label\n1.5,2,3,7,0\n4,5,6,7,1\n",
                           "2019,2020,2021\n1.5,2,0\n4,5,1\n", "0,1,2\n1.5,2.5,0\n4,5,1\n"}) {
    const std::string message = Table(text).refusal();
    EXPECT_NE(message.find("d.csv, line 1: it"), std::string::npos) << text << ": " << message;
    EXPECT_NE(message.find("--csv-header yes"), std::string::npos) << text << ": " << message;
    const auto yes = Table(text).open(with(&OpenOptions::csv_header, "yes"));
    EXPECT_EQ(rows_of(*yes).at(0).at(0), 1.5F) << text;
  }
  const char* years = "2019,2020,2021,up\n1,2,3,up\n4,5,6,down\n";
  EXPECT_EQ(Table(years).open()->size(), 3) << "its label is a class of another line";
  EXPECT_EQ(Table("0,1,1\n1,0,1\n").open()->size(), 2);
  EXPECT_EQ(Table("1,2,3,4\n2,3,4,5\n").open()->size(), 2) << "every line counts up";
  EXPECT_EQ(Table("0,1,2,3\n4,5,6,7.5\n").open(with(&OpenOptions::csv_header, "no"))->size(), 2);
  EXPECT_EQ(Table("a,b\n1,2\n").refusal(with(&OpenOptions::csv_header, "no")).find("/"), 0U);
}

TEST(Table, MixedLabelsAreErrors) {
  const std::string message = Table("1,0\n2,1\n3,x\n4,1\n").refusal();
  EXPECT_NE(message.find("line 3, column 2: \"x\" is not a finite number, but most labels are numbers"),
            std::string::npos)
      << message;
  for (const char* text : {"1,a\n2,\n", "1,a\n2,NA\n", "1,0\n2,?\n"})
    EXPECT_NE(Table(text).refusal().find("line 2, column 2: the label is missing"), std::string::npos)
        << text;
  EXPECT_EQ(Table("1,a\n2,\"NA\"\n").open()->info().class_names, (std::vector<std::string>{"NA", "a"}));
  EXPECT_NE(Table("1,a\n2,b\xE9\n").refusal().find("line 2, column 2: the label \"b\\xE9\" is not UTF-8"),
            std::string::npos);
}

TEST(Table, TheLabelThatTheHeaderNamesIsAsked) {
  const Table table("label,a,b,d\n2,1.5,2,-0.5\n0,2,1,0.25\n");
  const std::string message = table.refusal();
  EXPECT_NE(message.find("column 1 is called label"), std::string::npos) << message;
  EXPECT_NE(message.find("--label-column 0 or --label-column 3"), std::string::npos) << message;
  EXPECT_EQ(rows_of(*table.open(with(&OpenOptions::label_column, "label"))),
            (Rows{{1.5F, 2, -0.5F, 2}, {2, 1, 0.25F, 0}}));
  EXPECT_EQ(rows_of(*table.open(with(&OpenOptions::label_column, "d"))),
            (Rows{{2, 1.5F, 2, -0.5F}, {0, 2, 1, 0.25F}}));
  EXPECT_EQ(Table("class,a,target\n1,2,0\n").open()->info().labels, LabelKind::kClass);
}

TEST(Table, ALabelColumnIsOneColumn) {
  // By number, a first line of numbers is no list of names.
  EXPECT_EQ(rows_of(*Table("7,1,3\n2,0,4\n").open(with(&OpenOptions::label_column, "1"))),
            (Rows{{7, 3, 1}, {2, 4, 0}}));
  EXPECT_NE(
      Table("y,a,y\n1,2,0\n").refusal(with(&OpenOptions::label_column, "y")).find("2 columns are called y"),
      std::string::npos);
  EXPECT_NE(Table("label,0,1\n1,2,0\n").refusal(with(&OpenOptions::label_column, "0")).find("--csv-header"),
            std::string::npos);
  OpenOptions options = with(&OpenOptions::label_column, "0");
  options.csv_header = "yes";
  EXPECT_NE(Table("label,0,1\n1,2,0\n").refusal(options).find("--label-column 0 is the name of one column"),
            std::string::npos);
  EXPECT_EQ(rows_of(*Table("label,0,1\n1,2,0\n").open(with(&OpenOptions::label_column, "label"))),
            (Rows{{2, 0, 1}}));
}

TEST(Table, DecimalMarksAreNotMixed) {
  EXPECT_NE(Table("\"1,234\",2,0\n\"5,678\",3,1\n")
                .refusal()
                .find("line 1, column 1: \"1,234\" has a decimal comma or"),
            std::string::npos);
  EXPECT_EQ(rows_of(*Table("1,234;0\n5,678;1\n").open(with(&OpenOptions::csv_decimal, "comma"))),
            (Rows{{1.234F, 0}, {5.678F, 1}}));
  EXPECT_NE(Table("1.5;2;0\n1,5;3;1\n2.5;3;1\n").refusal().find("line 2, column 1: \"1,5\""),
            std::string::npos);
  EXPECT_NE(Table("1,5;2;0\n1.5;3;1\n2,5;3;1\n").refusal().find("line 2, column 1: \"1.5\""),
            std::string::npos);
  EXPECT_NE(Table("1.5,\"1,234\",0\n")
                .refusal()
                .find("column 2: \"1,234\" is not a finite number: thousands separators"),
            std::string::npos);
  EXPECT_NE(Table("1,5;1.234,5;0\n2,5;1;0\n").refusal().find("line 1, column 2: \"1.234,5\""),
            std::string::npos);
}

TEST(Table, WhatIsNoNumberIsNamed) {
  for (const char* cell :
       {"inf", "-Infinity", "0x1F", "1.5.2", "--3", "+-5", "12%", "$3", "1d5", "1e99", "1_000", "１"}) {
    const std::string message = Table(std::string("1,2,0\n3,") + cell + ",1\n4,5,0\n").refusal();
    EXPECT_NE(message.find("line 2, column 2: \"" + std::string(cell)), std::string::npos) << message;
    EXPECT_NE(message.find("is not a finite number"), std::string::npos) << message;
  }
}

TEST(Table, QuotesAndCommentsHideNoSample) {
  EXPECT_NE(Table("1,2,0\n\"3\"4,5,1\n").refusal().find("line 2, column 1: text follows the closing quote"),
            std::string::npos);
  EXPECT_NE(Table("1,a\n2,\"b\n3,c\n")
                .refusal()
                .find("line 2, column 2: the quote that begins here is never closed"),
            std::string::npos);
  EXPECT_NE(Table("\"1,2,0\n").refusal().find("line 1, column 1: the quote that begins here is never closed"),
            std::string::npos);
  const auto set =
      Table("kind,a,b\n\"two\nlines\",1,2\n\"#x\",3,4\n").open(with(&OpenOptions::label_column, "kind"));
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"#x", "two\nlines"}));
  EXPECT_TRUE(set->name(1).ends_with("line 4")) << set->name(1);
  EXPECT_NE(Table("kind,a,b\nx,1,2\n#y,3,4\n")
                .refusal(with(&OpenOptions::label_column, "kind"))
                .find("line 3: it begins with #"),
            std::string::npos);
}

TEST(Table, RowNumbersCountOrAreRefused) {
  EXPECT_NE(Table(",a,y\n0,1,0\n1,2,1\n5,2,1\n").refusal().find("line 1, column 1: the column has no name"),
            std::string::npos);
  EXPECT_NE(Table(",a,y\n0.5,1,0\n0.7,2,1\n").refusal().find("line 1, column 1: the column has no name"),
            std::string::npos);
  std::string text = ",a,y\n";
  for (int i = 0; i < 2000; ++i) text += std::to_string(i == 1500 ? 7 : i) + ",1,0\n";
  EXPECT_NE(Table(text).refusal().find("line 1502, column 1: \"7\", but the column has no name"),
            std::string::npos);
}

TEST(Table, WhatIsNoTableIsNamed) {
  EXPECT_NE(Table("").refusal().find("the file is empty"), std::string::npos);
  EXPECT_NE(Table("a,b\n").refusal().find("--csv-header no"), std::string::npos);
  EXPECT_NE(Table("1 2 0\n3 4 1\n").refusal().find("found \"1 2 0\""), std::string::npos);
  EXPECT_NE(message_of([] { text_of("PK\x03\x04whatever", "d.csv"); }).find("Excel workbook"),
            std::string::npos);
  EXPECT_NE(Table(std::string("1,\0,0\n", 6)).refusal().find("line 1: a zero byte"), std::string::npos);
  EXPECT_NE(Table(utf16("1,2,0\n", false).substr(2)).refusal().find("UTF-16 without a byte order mark"),
            std::string::npos);
  EXPECT_NE(Table(utf16("1,2,0\n", true) + "x").refusal().find("damaged UTF-16"), std::string::npos);
  EXPECT_NE(Table(std::string("\xFF\xFE\x00\xD8", 4)).refusal().find("surrogate"), std::string::npos);
  EXPECT_NE(Table("1,2\n" + std::string(1 << 20, ','))
                .refusal()
                .find("line 2, column 1048577: the line has more cells"),
            std::string::npos);
  EXPECT_NE(Table("x,1;y\nz,1;w\n").refusal().find("--csv-delimiter comma or semicolon"), std::string::npos);
}

TEST(Table, UnknownValuesOfOptionsAreUsageErrors) {
  const Table table("1,2\n");
  for (std::string OpenOptions::*option :
       {&OpenOptions::csv_header, &OpenOptions::csv_delimiter, &OpenOptions::csv_decimal}) {
    try {
      table.open(with(option, "maybe"));
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage) << error.what();
    }
  }
  EXPECT_EQ(Table("1,5;2;0\n").open(with(&OpenOptions::csv_delimiter, "semicolon"))->size(), 1);
}

// ---- random tables

class Random {
 public:
  explicit Random(uint64_t seed) : key_(num::random_key(seed, 77)) {}
  size_t below(size_t n) { return static_cast<size_t>(num::random_below(key_, draw_++, 0, n)); }
  bool one_in(size_t n) { return below(n) == 0; }
  template <class T, size_t N>
  const T& of(const T (&choices)[N]) {
    return choices[below(N)];
  }

 private:
  num::RandomKey key_;
  uint64_t draw_ = 0;
};

struct RandomTable {
  std::vector<std::vector<std::string>> cells;  // as they are written, but for quotes
  std::vector<std::string> names;               // empty: no header
  Rows rows;                                    // the values that the cells stand for, the label last
  size_t label = 0;
  bool named_labels = false;
  char delimiter = ',';
  char decimal = '.';

  explicit RandomTable(Random& random) {
    delimiter = ",;\t|"[random.below(4)];
    decimal = random.one_in(2) ? ',' : '.';
    const size_t columns = 3 + random.below(5);
    const size_t count = 4 + random.below(20);
    label = random.one_in(2) ? columns - 1 : random.below(columns);
    named_labels = random.one_in(2);
    static const std::string kClasses[] = {"cat", "dog; big", "say \"hi\"", "a,b|c"};
    for (size_t r = 0; r < count; ++r) {
      cells.emplace_back();
      rows.emplace_back();
      for (size_t c = 0; c < columns; ++c) {
        if (c == label) {
          // Every class is there, so that their order is known; the first line's is in another line, too.
          const size_t k = r < 4 ? r : r == 4 ? 0 : random.below(4);
          cells.back().push_back(named_labels ? kClasses[k] : std::to_string(k));
          continue;
        }
        const auto value =
            static_cast<float>(static_cast<double>(random.below(2'000'001)) * 1e-3 - 1000 + 0.00025);
        std::string text = fmt::format("{:.9g}", value);
        rows.back().push_back(value);
        if (decimal == ',') std::replace(text.begin(), text.end(), '.', ',');
        cells.back().push_back(text);
      }
      const size_t k = static_cast<size_t>(
          named_labels ? std::find(std::begin(kClasses), std::end(kClasses), cells.back()[label]) -
                             std::begin(kClasses)
                       : cells.back()[label][0] - '0');
      // The byte order of the names.
      static const float kNamed[] = {1, 2, 3, 0};
      rows.back().push_back(named_labels ? kNamed[k] : static_cast<float>(k));
    }
    if (random.one_in(2))
      for (size_t c = 0; c < columns; ++c)
        names.push_back(random.of({"width", "a, b", "näme", "x\ny"}) + std::to_string(c));
  }

  // The text, and the line of each row.
  std::string render(Random& random, std::vector<int64_t>& lines) const {
    const std::string end = random.of({"\n", "\r\n", "\r"});
    const bool trailing = random.one_in(4);
    std::string text;
    int64_t line = 1;
    const auto field = [&](const std::string& cell) {
      const bool must = cell.find_first_of("\"\n\r\t,;|") != std::string::npos;
      if (!must && !random.one_in(5))
        return (random.one_in(8) ? " " : "") + cell + (random.one_in(8) ? " " : "");
      std::string quoted = "\"";
      for (const char c : cell) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
      return quoted + "\"";
    };
    const auto add = [&](const std::vector<std::string>& row) {
      if (random.one_in(6)) text += (random.one_in(2) ? "# 1,2 \"" : "") + end, ++line;
      lines.push_back(line);
      for (size_t c = 0; c < row.size(); ++c) {
        if (c > 0) text += delimiter;
        text += field(row[c]);
        line += std::count(row[c].begin(), row[c].end(), '\n');
      }
      if (trailing) text += delimiter;
      text += end;
      ++line;
    };
    if (!names.empty()) add(names);
    lines.clear();
    for (const auto& row : cells) add(row);
    if (random.one_in(3)) text.resize(text.size() - end.size());
    if (random.one_in(4)) text.insert(0, "\xEF\xBB\xBF");
    return text;
  }

  OpenOptions options() const {
    OpenOptions o;
    o.label_column = std::to_string(label);
    return o;
  }
};

TEST(Table, RandomTablesInRandomDialectsRoundTrip) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed);
    const RandomTable table(random);
    std::vector<int64_t> lines;
    const std::string text = table.render(random, lines);
    const Table file(text);
    std::unique_ptr<Dataset> set;
    ASSERT_EQ(message_of([&] { set = file.open(table.options()); }), "no error") << "seed " << seed << "\n"
                                                                                 << text;
    ASSERT_EQ(rows_of(*set), table.rows) << "seed " << seed << "\n" << text;
    for (size_t r = 0; r < lines.size(); ++r)
      EXPECT_TRUE(set->name(static_cast<int64_t>(r)).ends_with("line " + std::to_string(lines[r]))) << seed;
  }
}

TEST(Table, RandomCorruptionIsAnErrorAtItsPlace) {
  static const char* const kOdd[] = {"",      "NA",  "x1",  "inf", "0x1F", "1e99",
                                     "1.5.2", "--3", "12%", "nan", "#3"};
  for (uint64_t seed = 1000; seed < 1300; ++seed) {
    Random random(seed);
    RandomTable table(random);
    const size_t r = random.below(table.cells.size());
    size_t c = random.below(table.cells[0].size());
    const bool ragged = random.one_in(4);
    std::string expected;
    if (ragged) {
      c = table.cells[r].size();
      if (random.one_in(2)) {
        table.cells[r].emplace_back("7");
      } else {
        table.cells[r].pop_back();
        --c;
      }
    } else {
      if (c == table.label) c = c == 0 ? 1 : c - 1;
      // A line that begins with # is a comment.
      do table.cells[r][c] = random.of(kOdd);
      while (c == 0 && table.cells[r][c][0] == '#');
    }
    std::vector<int64_t> lines;
    const std::string text = table.render(random, lines);
    const std::string message = Table(text).refusal(table.options());
    const std::string place = fmt::format("d.csv, line {}, column {}", lines[r], c + 1);
    EXPECT_NE(message.find(place), std::string::npos) << "seed " << seed << ": " << message << "\n" << text;
    OpenOptions skip = table.options();
    skip.skip_bad = true;
    std::unique_ptr<Dataset> set;
    ASSERT_EQ(message_of([&] { set = Table(text).open(skip); }), "no error") << "seed " << seed << "\n"
                                                                             << text;
    EXPECT_EQ(set->info().skipped, 1) << "seed " << seed;
    EXPECT_EQ(set->size(), static_cast<int64_t>(table.rows.size()) - 1) << "seed " << seed;
  }
}

}  // namespace
}  // namespace halftone::data
