// Sentence embeddings from the command line, with the tiny transformers of tests/fixtures/text (make_text.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

namespace fs = std::filesystem;

class Embeddings : public testing::Test {
 protected:
  void SetUp() override {
    const std::string own = folder_ / "net";
    fs::create_directories(own);
    const std::string fixtures = std::string(HALFTONE_TESTS_DIR) + "/fixtures/text/";
    // Three numbers for each token.
    fs::copy_file(fixtures + "tags.onnx", own + "/model.onnx");
    fs::copy_file(fixtures + "tokenizer.json", own + "/tokenizer.json");
    net_ = own + "/model.onnx";
    const char* const words[] = {"film", "story", "great", "dull", "good", "bad", "book", "end"};
    std::ostringstream text;
    text << "a,b,c,score\n";
    for (int i = 0; i < 48; ++i) {
      const std::string one = words[i % 8];
      const std::string two = words[i / 8 % 8];
      text << "the " << one << ' ' << two << ",a " << two << ' ' << one << " indeed,the "
           << words[(i + 3) % 8] << " was " << words[(i + 5) % 7] << ','
           << (i % 8 == i / 8 ? 1.0 : (i % 5) / 5.0 - 0.5) << '\n';
    }
    data_ = folder_ / "data.csv";
    std::ofstream(data_) << text.str();
  }
  std::vector<std::string> train(const std::string& out, const std::vector<std::string>& more) const {
    std::vector<std::string> all{"train",     net_,         "--data",    data_,        "--val",   "25%",
                                 "--task",    "embeddings", "--pooling", "mean",       "--batch", "6",
                                 "--lr",      "0.1",        "--epochs",  "3",          "--quiet", "--json",
                                 "--threads", "1",          "--out",     folder_ / out};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  nlohmann::json summary(const std::string& out, const std::vector<std::string>& more) const {
    const std::vector<std::string> arguments = train(out, more);
    const Outcome o = run(arguments);
    EXPECT_EQ(o.code, 0) << text(arguments) << "\n" << o.err;
    return nlohmann::json::parse(bytes_of(folder_ / (out + "/summary.json")), nullptr, false);
  }
  std::string refused(const std::vector<std::string>& more) const {
    const Outcome o = run(train("refused", more));
    EXPECT_NE(o.code, 0);
    return o.err;
  }

  Folder folder_;
  std::string net_, data_;
};

// What is said first and last is true: the next command is one that works.
TEST_F(Embeddings, AreSaidToBeThatAndThenPredicted) {
  std::vector<std::string> arguments = train("a run", {"--text", "a,b"});
  std::erase(arguments, "--quiet");
  const Outcome o = run(arguments);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("embeddings of texts · 36 train / 12 val"), std::string::npos) << o.err;
  const std::string next =
      "next: halftone predict '" + (folder_ / "a run") + "' --data NEW.csv --text a --out new.csv";
  EXPECT_NE(o.err.find(next), std::string::npos) << o.err;
  const std::vector<std::string> predict{"predict", folder_ / "a run", "--data",         data_,
                                         "--quiet", "--out",           folder_ / "e.csv"};
  const Outcome both = run(predict);
  EXPECT_EQ(both.code, 2);
  EXPECT_NE(both.err.find("name one column, as --text a"), std::string::npos) << both.err;
  std::vector<std::string> one = predict;
  one.insert(one.end(), {"--text", "a"});
  const Outcome done = run(one);
  EXPECT_EQ(done.code, 0) << done.err;
}

TEST_F(Embeddings, LearnPairsScoresAndTriplets) {
  const struct {
    const char* loss;
    std::vector<std::string> more;
    const char* figure;
  } cases[] = {{"in-batch-negatives", {"--text", "a,b"}, "recall-at-1"},
               {"in-batch-negatives", {"--text", "a,b,c"}, "triplet-accuracy"},
               {"cosine", {"--text", "a,b", "--label", "score"}, "spearman"},
               {"triplet", {"--text", "a,b,c", "--loss", "triplet", "--margin", "1"}, "triplet-accuracy"}};
  int number = 0;
  for (const auto& c : cases)
    for (const char* precision : {"fp32", "fp16"}) {
      SCOPED_TRACE(std::string(c.loss) + " " + precision);
      std::vector<std::string> more = c.more;
      more.insert(more.end(),
                  {"--precision", precision, "--optimizer", "adam", "--lr", "0.003", "--epochs", "8"});
      const nlohmann::json s = summary("learn" + std::to_string(number++), more);
      ASSERT_TRUE(s.is_object());
      EXPECT_EQ(s["loss"], c.loss);
      EXPECT_LT(s["val_loss"], s["before"]["loss"]);
      EXPECT_TRUE(s["before"].contains(c.figure)) << s["before"];
      std::string name = c.figure;
      std::replace(name.begin(), name.end(), '-', '_');
      EXPECT_TRUE(s["metrics"][0].contains(name)) << s["metrics"];
    }
}

TEST_F(Embeddings, ThreadsAndAKillDoNotChangeTheBytes) {
  const std::vector<std::string> more{"--text",      "a,b", "--precision",        "fp16", "--epochs", "12",
                                      "--log-every", "1",   "--checkpoint-every", "5"};
  summary("straight", more);
  std::vector<std::string> two = more;
  two.insert(two.end(), {"--threads", "2", "--loader-threads", "3"});
  summary("threads", two);
  const std::string straight = bytes_of(folder_ / "straight/model.onnx");
  EXPECT_TRUE(bytes_of(folder_ / "threads/model.onnx") == straight);
  const std::string events = folder_ / "killed/events.jsonl";
  const Outcome killed =
      run(train("killed", more), {}, [&] { return exists(events) && lines_of(events) >= 12; });
  ASSERT_NE(killed.code, 0) << "it ended before it was killed";
  const Outcome resumed = run({"train", "--resume", folder_ / "killed", "--quiet"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_TRUE(bytes_of(folder_ / "killed/model.onnx") == straight);
  EXPECT_FALSE(straight.empty());
}

// By the run's folder pooling and length are known; a row of each form has the same numbers.
TEST_F(Embeddings, PredictGivesVectorsOfLengthOne) {
  summary("run", {"--text", "a,b"});
  const std::vector<std::string> predict{"predict", folder_ / "run", "--data", data_, "--text",
                                         "b",       "--quiet"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = predict;
    all.insert(all.end(), more.begin(), more.end());
    const Outcome o = run(all);
    EXPECT_EQ(o.code, 0) << o.err;
    return o.out;
  };
  std::istringstream lines(with({"--format", "jsonl", "--precision", "fp32"}));
  std::vector<std::vector<float>> rows(48);
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const nlohmann::json row = nlohmann::json::parse(line);
    rows.at(row["sample"].get<size_t>()) = row["values"].get<std::vector<float>>();
  }
  ASSERT_EQ(count, 48);
  float square = 0;
  for (const float x : rows[7]) square += x * x;
  EXPECT_NEAR(square, 1, 1e-6);
  with({"--out", folder_ / "y.npy", "--precision", "fp32"});
  const std::string npy = bytes_of(folder_ / "y.npy");
  ASSERT_EQ(npy.size() % 64, (48U * 3 * 4) % 64);
  EXPECT_NE(npy.find("(48, 3, )"), std::string::npos);
  std::vector<float> all(48 * 3);
  std::memcpy(all.data(), npy.data() + npy.size() - all.size() * 4, all.size() * 4);
  for (size_t i = 0; i < 48; ++i)
    for (size_t k = 0; k < 3; ++k) ASSERT_EQ(all[3 * i + k], rows[i].at(k)) << i;
}

TEST_F(Embeddings, RefuseWhatDoesNotFit) {
  const struct {
    std::vector<std::string> more;
    const char* words;
  } cases[] = {
      {{"--text", "a"}, "two or three"},
      {{"--text", "a,b", "--pooling", "none"}, "--pooling mean, cls or max"},
      {{"--text", "a,b", "--loss", "cosine"}, "--label COLUMN"},
      {{"--text", "a,b", "--label", "score", "--loss", "in-batch-negatives"}, "reads no scores"},
      {{"--text", "a,b", "--loss", "triplet"}, "compares three texts"},
      {{"--text", "a,b,c", "--loss", "cosine", "--label", "score"}, "compares two texts"},
      {{"--text", "a,b", "--loss", "mse"}, "in-batch-negatives, cosine and triplet"},
      {{"--text", "a,b", "--batch", "1"}, "other samples in the batch"},
      {{"--text", "a,b", "--label", "c"}, "a number"},
      {{"--text", "a,b", "--task", "labels", "--label", "score", "--loss", "cosine"}, "--task embeddings"},
      {{"--text", "a,b", "--watch", "spearman"}, "no such figure"},
      {{"--text", "a,b", "--margin", "2"}, "--margin goes with --loss triplet"},
      {{"--text", "a", "--task", "labels", "--label", "score", "--loss", "mse"},
       "--pooling goes with --task embeddings"},
  };
  for (const auto& c : cases) EXPECT_NE(refused(c.more).find(c.words), std::string::npos) << refused(c.more);
}

}  // namespace
}  // namespace halftone::e2e
