// Files of text as samples of tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>

#include "base/error.h"
#include "data/dataset.h"
#include "data/files.h"
#include "data/loader.h"
#include "data/text_dataset.h"
#include "data/text_file.h"
#include "num/random.h"
#include "text/tokenizer.h"

namespace halftone::data {
namespace {

std::shared_ptr<const text::Tokenizer> tokenizer() {
  static const std::shared_ptr<const text::Tokenizer> one =
      text::Tokenizer::open(fixture("text/tokenizer.json"));
  return one;
}

// As a network with four inputs and any length opens it.
OpenOptions options_of(TextTask task = TextTask::kAuto, int64_t most = 48) {
  OpenOptions options;
  options.threads = 2;
  options.text.task = task;
  options.text.positions = true;
  options.text.read = [most](const std::string&, TextTask) {
    TextReading reading;
    reading.tokenizer = tokenizer();
    reading.most = most;
    reading.block = 8;
    reading.training = false;  // lengths of few samples too
    return reading;
  };
  return options;
}

using Numbers = std::vector<int64_t>;

Numbers field(const Dataset& set, int64_t index, const std::string& name) {
  Sample sample;
  set.read(index, sample);
  for (size_t i = 0; i < set.info().more.size(); ++i)
    if (set.info().more[i].name == name) {
      Numbers numbers(sample.more[i].size() / sizeof(int64_t));
      std::memcpy(numbers.data(), sample.more[i].data(), sample.more[i].size());
      return numbers;
    }
  ADD_FAILURE() << name;
  return {};
}

TEST(TextData, FieldsAreWhatThePackageAndPaddingGive) {
  const TemporaryFolder folder;
  // The ids are those of the package tokenizers: tests/fixtures/text/expected_ids.json.
  const std::string path =
      folder.write("t.csv", "body,label\nThe film was good!,1\n\"Not a great story, dull.\",0\n");
  OpenOptions options = options_of();
  options.text.columns = {"body"};
  const std::unique_ptr<Dataset> set = open_dataset(path, options);
  // The longer one has a class of its own, in front.
  ASSERT_EQ(set->size(), 2);
  ASSERT_EQ(set->info().size_classes.size(), 2U);
  EXPECT_EQ(set->info().size_classes[0].shape, (Shape{16}));
  EXPECT_EQ(field(*set, 0, "input_ids"), (Numbers{2, 61, 5, 72, 71, 79, 69, 78, 3, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(field(*set, 1, "input_ids"), (Numbers{2, 57, 64, 60, 62, 80, 3, 0}));
  EXPECT_EQ(field(*set, 1, "attention_mask"), (Numbers{1, 1, 1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(field(*set, 1, "token_type_ids"), (Numbers{0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(field(*set, 1, "position_ids"), (Numbers{0, 1, 2, 3, 4, 5, 6, 7}));
  Sample sample;
  set->read(1, sample);
  EXPECT_EQ(sample.label, 1);
  EXPECT_EQ(set->name(1), path + ", line 2");
}

// Tokens that were kept when they were counted are those that are made anew for texts beyond the bound, or cut off.
TEST(TextData, KeptTokensAreThoseThatAreMadeAnew) {
  const auto set = open_dataset(fixture("text/reviews.jsonl"), options_of(TextTask::kLabels));
  for (int64_t i = 0; i < set->size(); ++i) {
    Sample first;
    Sample again;
    set->read(i, first);
    set->read(i, again);
    EXPECT_EQ(first.more, again.more);
  }
  // With room for the longest sample alone no other is cut off: all of them are kept but none differs.
  int64_t longest = 0;
  for (int64_t i = 0; i < set->size(); ++i) {
    const Numbers own = field(*set, i, kTokenMask);
    longest = std::max<int64_t>(longest, std::count(own.begin(), own.end(), 1));
  }
  const auto cut = open_dataset(fixture("text/reviews.jsonl"), options_of(TextTask::kLabels, longest - 1));
  int64_t same = 0;
  for (int64_t i = 0; i < set->size(); ++i) {
    Numbers whole = field(*set, i, kTokenIds);
    Numbers shorter = field(*cut, i, kTokenIds);
    const Numbers own = field(*set, i, kTokenMask);
    const auto count = static_cast<size_t>(std::count(own.begin(), own.end(), 1));
    if (set->position(i) != cut->position(i) || static_cast<int64_t>(count) == longest) continue;
    whole.resize(count);
    shorter.resize(count);
    EXPECT_EQ(whole, shorter);
    ++same;
  }
  EXPECT_GT(same, 0);
}

TEST(TextData, APairHasTwoSegments) {
  const TemporaryFolder folder;
  const std::string path =
      folder.write("t.jsonl", "{\"a\": \"the book\", \"b\": \"it is dull\", \"label\": \"x\"}\n");
  OpenOptions options = options_of();
  options.text.columns = {"a", "b"};
  const std::unique_ptr<Dataset> set = open_dataset(path, options);
  EXPECT_EQ(field(*set, 0, "input_ids"), (Numbers{2, 57, 68, 3, 66, 59, 69, 3}));
  EXPECT_EQ(field(*set, 0, "token_type_ids"), (Numbers{0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"x"}));
}

// Each text by itself, a row of each input, padded to the length of the sample's longest.
TEST(TextData, TextsOfAnEmbeddingAreRowsOfOneLength) {
  const TemporaryFolder folder;
  const std::string path = folder.write(
      "t.csv", "a,b,score\nThe film was good!,\"Not a great story, dull.\",0.5\ndull,The film,-1\n");
  OpenOptions options = options_of(TextTask::kEmbeddings);
  options.text.columns = {"a", "b"};
  options.label_column = "score";
  const std::unique_ptr<Dataset> set = open_dataset(path, options);
  ASSERT_EQ(set->size(), 2);
  EXPECT_EQ(set->info().texts, 2);
  ASSERT_EQ(set->info().size_classes.size(), 2U);
  EXPECT_EQ(set->info().size_classes[0].shape, (Shape{16}));
  EXPECT_EQ(set->info().size_classes[0].more[0], (Shape{2, 16}));
  EXPECT_EQ(set->info().size_classes[1].more[0], (Shape{2, 8}));
  EXPECT_EQ(field(*set, 0, "input_ids"), (Numbers{2, 57, 64, 60, 62, 80, 3,  0,  0, 0, 0, 0, 0, 0, 0, 0,
                                                  2, 61, 5,  72, 71, 79, 69, 78, 3, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(field(*set, 0, "attention_mask"), (Numbers{1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                                       1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(field(*set, 0, "token_type_ids"), Numbers(32, 0));
  Sample sample;
  set->read(1, sample);
  EXPECT_EQ(sample.target, (std::vector<float>{-1}));

  // Without labels a text alone; with them two or three.
  options.text.columns = {"a"};
  EXPECT_NE(message_of([&] { open_dataset(path, options); }).find("--text A,B[,C]"), std::string::npos);
  options.labels = false;
  EXPECT_EQ(open_dataset(path, options)->info().texts, 1);
}

TEST(TextData, LongTextsAreCutOffAndCounted) {
  const TemporaryFolder folder;
  const std::string path = folder.write("t.jsonl",
                                        "{\"text\": \"the film was very good\", \"label\": 1}\n"
                                        "{\"text\": \"good\", \"label\": 0}\n");
  const std::unique_ptr<Dataset> set = open_dataset(path, options_of(TextTask::kAuto, 5));
  EXPECT_EQ(field(*set, 0, "input_ids"), (Numbers{2, 57, 64, 60, 3}));
  EXPECT_EQ(field(*set, 1, "input_ids"), (Numbers{2, 62, 3, 0, 0}));
  const auto& notes = set->info().notes;
  EXPECT_TRUE(std::any_of(notes.begin(), notes.end(), [](const std::string& note) {
    return note.find("1 of 2 samples are longer than 5 tokens") != std::string::npos;
  }));
}

// Padding of all samples, whatever lengths are chosen.
int64_t cost(const std::vector<int64_t>& lengths, const std::vector<int64_t>& ends) {
  int64_t all = 0;
  for (const int64_t n : lengths) all += *std::lower_bound(ends.begin(), ends.end(), n);
  return all;
}

TEST(TextData, LengthsHaveTheLeastPadding) {
  const num::RandomKey key = num::random_key(5, 1);
  uint64_t draw = 0;
  for (int round = 0; round < 40; ++round) {
    std::vector<int64_t> lengths(1 + num::random_below(key, draw++, 0, 60));
    const uint64_t longest = 1 + num::random_below(key, draw++, 0, 60);
    for (int64_t& n : lengths) n = 1 + static_cast<int64_t>(num::random_below(key, draw++, 0, longest));
    const auto least = static_cast<int64_t>(num::random_below(key, draw++, 0, 20));
    const std::vector<int64_t> chosen = padded_lengths(lengths, 60, least);
    const auto fits = [&](const std::vector<int64_t>& ends) {
      int64_t low = 0;
      bool all = true;
      for (const int64_t end : ends) {
        const auto n =
            std::count_if(lengths.begin(), lengths.end(), [&](int64_t l) { return l > low && l <= end; });
        all = all && (ends.size() == 1 || n >= std::max<int64_t>(1, least));
        low = end;
      }
      return all;
    };
    EXPECT_TRUE(fits(chosen)) << round;
    // By trying all: every subset of the multiples of 8 below the longest.
    const int64_t top = (*std::max_element(lengths.begin(), lengths.end()) + 7) / 8;
    int64_t best = -1;
    for (int64_t set = 0; set < int64_t{1} << (top - 1); ++set) {
      std::vector<int64_t> ends;
      for (int64_t i = 1; i < top; ++i)
        if ((set >> (i - 1) & 1) != 0) ends.push_back(8 * i);
      ends.push_back(std::min<int64_t>(8 * top, 60));
      if (ends.size() <= kMostLengths && fits(ends) && (best < 0 || cost(lengths, ends) < best))
        best = cost(lengths, ends);
    }
    EXPECT_EQ(cost(lengths, chosen), best) << round;
  }
}

TEST(TextData, BlocksAreOneStreamWithTheEndBetweenTexts) {
  const TemporaryFolder folder;
  folder.write("d/1.txt", "the film was good");
  folder.write("d/2.txt", "a very bad story\nthe end is poor");
  folder.write("d/notes.md", "no text");
  const std::unique_ptr<Dataset> set = open_dataset(folder.path() + "/d", options_of(TextTask::kCausal));
  ASSERT_EQ(set->size(), 2);
  // [CLS] the film was good [SEP] [CLS] a | very bad story the e ##n ##d is | poor [SEP]
  EXPECT_EQ(field(*set, 0, "input_ids"), (Numbers{2, 57, 64, 60, 62, 3, 2, 5}));
  Sample sample;
  set->read(0, sample);
  EXPECT_EQ(sample.labels, (std::vector<int32_t>{57, 64, 60, 62, 3, 2, 5,
                                                 static_cast<int32_t>(field(*set, 1, "input_ids")[0])}));
  EXPECT_EQ(field(*set, 0, "attention_mask"), Numbers(8, 1));
  EXPECT_TRUE(set->info().size_classes.empty());
}

// Long documents are tokenised in pieces, which are the tokens of the whole.
TEST(TextData, PiecesAreTheWhole) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; text.size() < 70'000; ++i)
    text += (i % 9 == 8 ? "good\n" : i % 5 == 4 ? "stories, " : "film ");
  const std::unique_ptr<Dataset> set =
      open_dataset(folder.write("t.txt", text), options_of(TextTask::kCausal));
  std::vector<int32_t> all{2};
  const text::Encoding whole = tokenizer()->encode(text, {.add_special = false});
  all.insert(all.end(), whole.ids.begin(), whole.ids.end());
  all.push_back(3);
  ASSERT_EQ(set->size(), (static_cast<int64_t>(all.size()) - 1) / 8);
  for (int64_t i = 0; i < set->size(); i += 97) {
    const auto at = all.begin() + i * 8;
    EXPECT_EQ(field(*set, i, "input_ids"), Numbers(at, at + 8)) << i;
  }
}

TEST(TextData, HiddenTokensAreDrawnAnewInEachEpochAndFixedInAnEvaluation) {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 400; ++i)
    lines += "the film was very good and the story was not dull at all it is great\n";
  const std::unique_ptr<Dataset> set =
      open_dataset(folder.write("t.txt", lines), options_of(TextTask::kMasked));
  int64_t own = 0;
  std::map<std::string, int64_t> seen;
  Sample sample;
  Sample again;
  bool differs = false;
  for (int64_t i = 0; i < set->size(); ++i) {
    set->read_drawn(i, {7, 1, static_cast<uint64_t>(i)}, sample);
    set->read_drawn(i, {7, 1, static_cast<uint64_t>(i)}, again);
    EXPECT_EQ(sample.labels, again.labels);
    EXPECT_EQ(sample.more, again.more);
    set->read_drawn(i, {7, 2, static_cast<uint64_t>(i)}, again);
    differs = differs || sample.labels != again.labels;
    Numbers ids(sample.labels.size());
    std::memcpy(ids.data(), sample.more[0].data(), sample.more[0].size());
    const text::Encoding plain =
        tokenizer()->encode("the film was very good and the story was not dull at all it is great");
    for (size_t t = 0; t < plain.ids.size(); ++t) {
      own += plain.special[t] == 0 ? 1 : 0;
      if (sample.labels[t] < 0) {
        EXPECT_EQ(ids[t], plain.ids[t]);
        continue;
      }
      EXPECT_EQ(plain.special[t], 0);
      EXPECT_EQ(sample.labels[t], plain.ids[t]);
      ++seen[ids[t] == 4 ? "hidden" : ids[t] == plain.ids[t] ? "same" : "other"];
    }
    set->read(i, sample);
    set->read(i, again);
    EXPECT_EQ(sample.labels, again.labels);
  }
  EXPECT_TRUE(differs);
  const double all = static_cast<double>(seen["hidden"] + seen["same"] + seen["other"]);
  // Four deviations of a binomial share; a sample of n tokens hides one where it would hide none.
  const double share = all / static_cast<double>(own);
  EXPECT_NEAR(share, 0.15 + std::pow(0.85, 20) / 20, 4 * std::sqrt(0.15 * 0.85 / static_cast<double>(own)));
  EXPECT_NEAR(seen["hidden"] / all, 0.8, 4 * std::sqrt(0.16 / all));
  EXPECT_NEAR(seen["other"] / all, 0.1, 4 * std::sqrt(0.09 / all));
}

TEST(TextData, RangesCountTheFilesOrder) {
  const TemporaryFolder folder;
  std::string lines;
  for (int i = 0; i < 10; ++i)
    lines += "{\"text\": \"" + std::string(i % 2 == 0 ? "good" : "the film was very good and great") +
             "\", \"label\": " + std::to_string(i) + "}\n";
  const std::string path = folder.write("t.jsonl", lines);
  const auto labels = [&](const std::string& range) {
    OpenOptions options = options_of();
    options.classes = 10;
    const std::unique_ptr<Dataset> set = open_dataset(path + range, options);
    std::vector<int32_t> all;
    Sample sample;
    for (int64_t i = 0; i < set->size(); ++i) {
      set->read(i, sample);
      all.push_back(sample.label);
    }
    return all;
  };
  // Those of a length stand together, the longest first.
  EXPECT_EQ(labels("[:4]"), (std::vector<int32_t>{1, 3, 0, 2}));
  EXPECT_EQ(labels("[60%:]"), (std::vector<int32_t>{7, 9, 6, 8}));
}

TEST(TextData, WordsWithTagsAreOneALine) {
  const TemporaryFolder folder;
  const std::string path =
      folder.write("t.conll", "-DOCSTART- -X- O\n\nthe DT O\nfilm NN B\nzo NN B\n\n\ngood JJ A\r\n");
  const std::unique_ptr<Dataset> set = open_dataset(path, options_of());
  ASSERT_EQ(set->size(), 2);
  EXPECT_EQ(set->info().class_names, (std::vector<std::string>{"A", "B", "O"}));
  // [CLS] the film z ##o [SEP]
  Sample sample;
  set->read(0, sample);
  EXPECT_EQ(sample.labels, (std::vector<int32_t>{-1, 2, 1, 1, -1, -1, -1, -1}));
  set->read(1, sample);
  EXPECT_EQ(sample.labels[1], 0);
  EXPECT_EQ(set->name(1), path + ", line 8");
  folder.write("t.conll", "the O\nfilm\n");
  EXPECT_NE(message_of([&] {
              open_dataset(path, options_of());
            }).find("line 2: it has 1 columns, the first line 2"),
            std::string::npos);
}

// Windows of a file end anywhere.
TEST(TextData, RecordsAreFoundAcrossWindows) {
  const TemporaryFolder folder;
  std::string table = "text,label\r\n";
  std::vector<std::string> texts;
  while (table.size() < (size_t{9} << 20)) {
    const size_t n = texts.size();
    texts.push_back("line one of " + std::to_string(n) + ",\r\n\"quoted\" " +
                    std::string(n * 37 % 5000, 'x') + "\n#");
    std::string quoted;
    for (const char c : texts.back()) quoted += c == '"' ? "\"\"" : std::string(1, c);
    table += "\"" + quoted + "\"," + std::to_string(n % 3) + "\r\n";
  }
  OpenOptions options = options_of(TextTask::kAuto, 8);
  options.text.columns = {"text"};
  const std::unique_ptr<Dataset> set = open_dataset(folder.write("t.csv", table), options);
  ASSERT_EQ(set->size(), static_cast<int64_t>(texts.size()));
  for (int64_t i = 0; i < set->size(); ++i) {
    const text::Encoding expected = tokenizer()->encode(texts[static_cast<size_t>(i)], {.max_tokens = 8});
    ASSERT_EQ(field(*set, i, "input_ids"), Numbers(expected.ids.begin(), expected.ids.end())) << i;
  }
  EXPECT_EQ(set->name(1), folder.path() + "/t.csv, line 5");
}

TEST(TextData, OtherEncodingsAndLineEnds) {
  const TemporaryFolder folder;
  std::string utf16 = "\xFF\xFE";
  for (const char c : std::string("good\r\nbad\n")) utf16 += std::string(1, c) + '\0';
  for (const std::string& bytes :
       {utf16, std::string("\xEF\xBB\xBFgood\r\n\r\nbad"), std::string("good\nbad\n")}) {
    const std::unique_ptr<Dataset> set =
        open_dataset(folder.write("t.txt", bytes), options_of(TextTask::kMasked));
    ASSERT_EQ(set->size(), 2);
    Sample sample;
    set->read(1, sample);
    // The only token of its own is hidden.
    EXPECT_EQ(sample.labels[1], tokenizer()->encode("bad").ids[1]);
  }
  EXPECT_NE(message_of([&] {
              open_dataset(folder.write("z.txt", std::string("good\nbad\0film", 13)),
                           options_of(TextTask::kMasked));
            }).find("z.txt, line 2: a zero byte"),
            std::string::npos);
}

TEST(TextData, AFileThatChangesIsNamed) {
  const TemporaryFolder folder;
  const std::string path = folder.write("t.jsonl", "{\"text\": \"good\", \"label\": 1}\n");
  const std::unique_ptr<Dataset> set = open_dataset(path, options_of());
  std::ofstream(path, std::ios::app) << "\n";
  Sample sample;
  const std::string message = message_of([&] { set->read(0, sample); });
  EXPECT_NE(message.find("t.jsonl was changed while it was in use"), std::string::npos) << message;
}

TEST(TextData, ATokenThatTheNetworkDoesNotKnowIsRefused) {
  const TemporaryFolder folder;
  OpenOptions options = options_of();
  options.text.read = [](const std::string&, TextTask) {
    TextReading reading;
    reading.tokenizer = tokenizer();
    reading.block = 8;
    reading.vocabulary = 60;
    reading.vocabulary_name = "table";
    return reading;
  };
  // When it is opened: a step that fails would lose what was trained before it.
  const auto refusal = [&](const std::string& name, const std::string& text) {
    return message_of([&] { open_dataset(folder.write(name, text), options); });
  };
  EXPECT_NE(refusal("t.jsonl", "{\"text\": \"very good\", \"label\": 1}\n")
                .find("the network's table table has 60 rows"),
            std::string::npos);
  options.text.task = TextTask::kCausal;
  EXPECT_NE(refusal("t.txt", "very good\n").find("has 60 rows"), std::string::npos);
}

TEST(TextData, BytesThatAreNotUtf8AndEmptyTextsAreCounted) {
  const TemporaryFolder folder;
  const auto notes = [&](const std::string& name, const std::string& text, const OpenOptions& options) {
    std::string all;
    const std::unique_ptr<Dataset> set = open_dataset(folder.write(name, text), options);
    for (const std::string& note : set->info().notes) all += note + "\n";
    return all;
  };
  OpenOptions options = options_of();
  options.text.columns = {"text"};
  const std::string found = notes("t.csv", "text,label\ngood,1\nb\xE9t\xE9,0\n\"\",1\n\xFF,0\n", options);
  EXPECT_NE(found.find("warning: 2 of 4 texts have bytes that are not UTF-8"), std::string::npos) << found;
  EXPECT_NE(found.find("the first: " + folder.path() + "/t.csv, line 3"), std::string::npos) << found;
  EXPECT_NE(found.find("warning: 1 of 4 samples have an empty text"), std::string::npos) << found;
  const std::string none = notes("u.csv", "text,label\ngood,1\nb\xC3\xA9,0\n", options);
  EXPECT_EQ(none.find("warning"), std::string::npos) << none;
  EXPECT_NE(notes("v.txt", "good \xFF good good good good good good good good good good\n",
                  options_of(TextTask::kCausal))
                .find("1 of 1 texts have bytes that are not UTF-8"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::data
