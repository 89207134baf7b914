// Text from the command line, with the tiny transformers of tests/fixtures/text (make_text.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

namespace fs = std::filesystem;

std::string fixture(const std::string& name) {
  return std::string(HALFTONE_TESTS_DIR) + "/fixtures/text/" + name;
}

nlohmann::json last_line(const std::string& out) {
  const std::string lines = out.substr(0, out.find_last_not_of('\n') + 1);
  return nlohmann::json::parse(lines.substr(lines.rfind('\n') + 1));
}

class Text : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = folder_ / name;
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  // A network in a folder of its own, with its tokenizer beside it.
  std::string network(const std::string& name) const {
    const std::string own = folder_ / ("net-" + name);
    fs::create_directories(own);
    fs::copy_file(fixture(name + ".onnx"), own + "/model.onnx", fs::copy_options::overwrite_existing);
    fs::copy_file(fixture("tokenizer.json"), own + "/tokenizer.json", fs::copy_options::overwrite_existing);
    return own + "/model.onnx";
  }
  std::vector<std::string> train(const std::string& net, const std::string& data, const std::string& out,
                                 const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all{"train",   net,         "--data", data,    "--val",      "none",
                                 "--batch", "2",         "--lr",   "0.05",  "--epochs",   "2",
                                 "--quiet", "--threads", "1",      "--out", folder_ / out};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string trained(const std::string& net, const std::string& data, const std::string& out,
                      const std::vector<std::string>& more = {}) const {
    const std::vector<std::string> arguments = train(net, data, out, more);
    const Outcome o = run(arguments);
    EXPECT_EQ(o.code, 0) << text(arguments) << "\n" << o.err;
    return o.code == 0 ? bytes_of(folder_ / (out + "/model.onnx")) : "";
  }
  // Tags as numbers, so that the network gets no names.
  std::string tag_numbers() const {
    std::string lines = bytes_of(fixture("tags.jsonl"));
    for (const auto& [name, number] :
         {std::pair("\"A\"", "0"), std::pair("\"B\"", "1"), std::pair("\"C\"", "2")})
      for (size_t at = 0; (at = lines.find(name, at)) != std::string::npos;) lines.replace(at, 3, number);
    return write("numbers.jsonl", lines);
  }
  std::string class_folders() const {
    for (int i = 0; i < 12; ++i)
      write("texts/" + std::string(i % 3 == 0 ? "bad" : "good") + "/" + std::to_string(i) + ".txt",
            (i % 3 == 0 ? "The film was\ndull" : "A great story") + std::string(static_cast<size_t>(i), '!'));
    return folder_ / "texts";
  }

  Folder folder_;
};

// The arrays are what the package tokenizers, and Python, make of the same files: order, lengths, masks and labels.
TEST_F(Text, GivesTheBytesThatItsArraysGive) {
  const struct {
    const char* net;
    std::string text;
    const char* arrays;
    std::vector<std::string> more;
  } cases[] = {
      {"classes", fixture("reviews.csv"), "reviews", {"--text", "body", "--label", "label"}},
      {"classes", fixture("reviews.jsonl"), "reviews", {}},
      {"classes", fixture("pairs.tsv"), "pairs", {"--text", "first,second"}},
      {"tags", tag_numbers(), "tags", {}},
      {"causal", fixture("prompts.jsonl"), "prompts", {}},
      {"causal", fixture("story.txt"), "story", {"--task", "causal-lm", "--block-tokens", "16"}},
  };
  int number = 0;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const std::string of_arrays =
        trained(network(c.net), fixture(c.arrays), "arrays" + std::to_string(number));
    ASSERT_FALSE(of_arrays.empty());
    EXPECT_TRUE(of_arrays != bytes_of(fixture(std::string(c.net) + ".onnx")));
    EXPECT_TRUE(trained(network(c.net), c.text, "text" + std::to_string(number), c.more) == of_arrays);
    ++number;
  }
}

TEST_F(Text, IsTheSameOnAnyNumberOfThreads) {
  const struct {
    const char* net;
    std::string data;
    std::vector<std::string> more;
  } cases[] = {{"classes", fixture("reviews.csv"), {"--text", "body"}},
               {"score", fixture("reviews.jsonl"), {"--loss", "mse"}},
               {"classes", class_folders(), {}},
               {"masked", fixture("reviews.jsonl"), {"--task", "masked-lm"}}};
  int number = 0;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.data + " " + c.net);
    const std::string out = std::to_string(number++);
    std::vector<std::string> more = c.more;
    more.insert(more.end(), {"--loader-threads", "1"});
    const std::string one = trained(network(c.net), c.data, "one" + out, more);
    more.back() = "3";
    EXPECT_TRUE(trained(network(c.net), c.data, "three" + out, more) == one);
  }
}

TEST_F(Text, AKilledRunGoesOnWithTheSameBytes) {
  for (const auto& [net, task] : {std::pair("classes", "labels"), std::pair("masked", "masked-lm")}) {
    SCOPED_TRACE(task);
    const std::vector<std::string> more{"--task",      task, "--epochs",           "40",
                                        "--log-every", "1",  "--checkpoint-every", "7"};
    const std::string name = net;
    const std::string straight = trained(network(net), fixture("reviews.jsonl"), "straight-" + name, more);
    const std::string events = folder_ / ("killed-" + name + "/events.jsonl");
    const Outcome killed = run(train(network(net), fixture("reviews.jsonl"), "killed-" + name, more), {},
                               [&] { return exists(events) && lines_of(events) >= 40; });
    ASSERT_NE(killed.code, 0) << "it ended before it was killed";
    const Outcome resumed = run({"train", "--resume", folder_ / ("killed-" + name), "--quiet"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_TRUE(bytes_of(folder_ / ("killed-" + name + "/model.onnx")) == straight);
  }
}

TEST_F(Text, ARunKeepsItsTokenizer) {
  const std::string net = network("classes");
  trained(net, fixture("reviews.jsonl"), "run");
  EXPECT_EQ(bytes_of(folder_ / "run/tokenizer.json"), bytes_of(fixture("tokenizer.json")));
  // The run is all that is needed.
  fs::remove_all(fs::path(net).parent_path());
  const Outcome evaluated = run({"eval", folder_ / "run", "--data", fixture("reviews.csv"), "--text", "body",
                                 "--batch", "4", "--json"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_NE(evaluated.err.find("run/tokenizer.json (82 tokens; found beside the network)"), std::string::npos)
      << evaluated.err;
  // Another tokenizer in its place may be anything but the one that the run was trained with.
  const Outcome again = run(train(network("classes"), fixture("reviews.jsonl"), "run", {"--overwrite"}));
  EXPECT_EQ(again.code, 0) << again.err;
}

TEST_F(Text, AnotherTokenizerIsNotGoneOnWith) {
  const std::string net = network("classes");
  trained(net, fixture("reviews.jsonl"), "run", {"--epochs", "1"});
  const std::string path = fs::path(net).parent_path().string() + "/tokenizer.json";
  std::string changed = bytes_of(path);
  const size_t at = changed.find("\"lowercase\": true");
  ASSERT_NE(at, std::string::npos);
  changed.replace(at, 17, "\"lowercase\":false");
  std::ofstream(path, std::ios::binary) << changed;
  const Outcome resumed = run({"train", "--resume", folder_ / "run", "--epochs", "3", "--quiet"});
  EXPECT_NE(resumed.code, 0);
  EXPECT_NE(resumed.err.find("tokenizer was "), std::string::npos) << resumed.err;
}

TEST_F(Text, LanguageModelsHaveAPerplexity) {
  const Outcome o = run({"eval", network("causal"), "--data", fixture("story.txt"), "--task", "causal-lm",
                         "--block-tokens", "16", "--batch", "4", "--precision", "fp32", "--json"});
  ASSERT_EQ(o.code, 0) << o.err;
  const nlohmann::json json = last_line(o.out);
  EXPECT_DOUBLE_EQ(json.at("perplexity").get<double>(), std::exp(json.at("val_loss").get<double>()));
  EXPECT_NE(o.err.find("perplexity"), std::string::npos);
  // Hidden tokens are the same in each evaluation.
  const std::vector<std::string> masked{"eval",        network("masked"),
                                        "--data",      fixture("reviews.jsonl"),
                                        "--task",      "masked-lm",
                                        "--batch",     "4",
                                        "--precision", "fp32",
                                        "--json"};
  const Outcome first = run(masked);
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_EQ(last_line(first.out).at("val_loss"), last_line(run(masked).out).at("val_loss"));
}

TEST_F(Text, TagsHaveNamesThatTheNetworkKeeps) {
  trained(network("tags"), fixture("tags.jsonl"), "run");
  EXPECT_EQ(bytes_of(folder_ / "run/classes.txt"), "A\nB\nC\n");
  const std::string other = write("other.jsonl", "{\"words\": [\"good\"], \"tags\": [\"D\"]}\n");
  const Outcome o = run({"eval", folder_ / "run", "--data", other});
  EXPECT_EQ(o.code, 3);
  EXPECT_NE(o.err.find("unknown class D"), std::string::npos) << o.err;
}

// Each length is a network of its own, which has the new classes too.
TEST_F(Text, ANewHeadGoesWithTextsOfSeveralLengths) {
  std::string rows = "text,label\n";
  for (int i = 0; i < 80; ++i)
    rows += std::string(i % 2 == 0 ? "good" : "good bad good bad good bad good bad good bad good bad") +
            ",class " + std::to_string(i % 5) + "\n";
  const std::string data = write("five.csv", rows);
  const std::vector<std::string> five =
      train(network("classes"), data, "run", {"--text", "text", "--new-head", "--epochs", "1"});
  std::vector<std::string> loud = five;
  loud.erase(std::find(loud.begin(), loud.end(), "--quiet"));
  const Outcome o = run(loud);
  EXPECT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("samples of several sizes"), std::string::npos) << o.err;
  EXPECT_NE(o.err.find("has 5 rows"), std::string::npos) << o.err;
  EXPECT_EQ(bytes_of(folder_ / "run/classes.txt"), "class 0\nclass 1\nclass 2\nclass 3\nclass 4\n");
}

TEST_F(Text, WhatIsNotUnderstoodIsRefusedByName) {
  const std::string net = network("classes");
  const struct {
    std::string net, data;
    std::vector<std::string> more;
    int code;
    std::string says;
  } cases[] = {
      {fixture("classes.onnx"), fixture("reviews.csv"), {"--text", "boody"}, 3, "no column is called boody"},
      {net, fixture("reviews.csv"), {"--text", "body", "--label", "idd"}, 3, "--label-column idd"},
      {net, fixture("reviews.csv"), {"--text", "body,id,label"}, 2, "--text names 3 columns"},
      {net, fixture("reviews.jsonl"), {"--text", "body"}, 3, "it has no such key; it has label, text"},
      {net, fixture("story.txt"), {}, 3, "it has no labels"},
      {net,
       fixture("story.txt"),
       {"--task", "causal-lm"},
       3,
       "a network whose output has logits for each token"},
      {net,
       fixture("reviews.jsonl"),
       {"--task", "masked-lm"},
       3,
       "a network whose output has logits for each token"},
      {net, fixture("reviews.jsonl"), {"--max-tokens", "100"}, 2, "the network has 48 positions"},
      {net,
       fixture("reviews.jsonl"),
       {"--max-tokens", "2"},
       2,
       "the tokenizer puts 2 around a text; expected 3"},
      {net,
       fixture("pairs.tsv"),
       {"--text", "first,second", "--max-tokens", "4"},
       2,
       "the tokenizer puts 3 around two texts; expected 5"},
      {net,
       fixture("reviews.jsonl"),
       {"--input", "attention_mask=mask"},
       2,
       "text gives the fields attention_mask"},
      {net, fixture("reviews.jsonl"), {"--tokenizer", folder_ / "none.json"}, 3, "none.json"},
      {net, fixture("tags.jsonl"), {"--task", "labels"}, 3, "its samples are lists of words"},
      {net,
       fixture("tags.jsonl"),
       {},
       3,
       "--task tags needs a network whose output has logits for each token"},
      {net, write("m.jsonl", "{\"messages\": []}\n"), {}, 3, "chat turns (messages) are not read"},
      {net,
       write("a.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": 3, \"label\": 1}\n"),
       {},
       3,
       "a.jsonl, line 2: expected text at the key text; found 3"},
      {net,
       write("b.jsonl", "{\"text\": \"a\", \"label\": 1}\nnope\n"),
       {},
       3,
       "b.jsonl, line 2: it is no JSON"},
      {net,
       write("c.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\"}\n"),
       {},
       3,
       "c.jsonl, line 2: it has no key label"},
      {net,
       write("d.csv", "t,label\na,1\n\"b,0\n"),
       {"--text", "t"},
       3,
       "d.csv, line 3, column 1 (t): the quote"},
      {net,
       write("e.csv", "t,u,v\na,1,2\n"),
       {"--text", "t"},
       3,
       "which column is the label? u and v could be"},
      {net, write("f.csv", "t,label\na,1\nb\n"), {"--text", "t"}, 3, "f.csv, line 3"},
      {network("tags"),
       write("g.jsonl", "{\"tokens\": [\"a\", \"b\"], \"tags\": [\"A\"]}\n"),
       {},
       3,
       "it has 2 words and 1 tags"},
  };
  int number = 0;
  for (const auto& c : cases) {
    const std::vector<std::string> arguments =
        train(c.net, c.data, "refused" + std::to_string(number++), c.more);
    const Outcome o = run(arguments);
    EXPECT_EQ(o.code, c.code) << text(arguments) << "\n" << o.err;
    EXPECT_NE(o.err.find(c.says), std::string::npos) << text(arguments) << "\n" << o.err;
  }
  // Whose tokenizer is it?
  fs::remove(fs::path(net).parent_path() / "tokenizer.json");
  const Outcome o = run(train(net, fixture("reviews.jsonl"), "without"));
  EXPECT_EQ(o.code, 3);
  EXPECT_NE(o.err.find("text needs the network's tokenizer"), std::string::npos) << o.err;
}

TEST_F(Text, BadSamplesAreLeftOut) {
  std::string lines = bytes_of(fixture("reviews.jsonl"));
  lines += "{\"text\": \"a\"}\nnope\n";
  const std::string data = write("bad.jsonl", lines);
  const std::vector<std::string> arguments = train(network("classes"), data, "skipped", {"--skip-bad"});
  const Outcome o = run(arguments);
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_NE(o.err.find("2 bad samples are left out"), std::string::npos) << o.err;
}

}  // namespace
}  // namespace halftone::e2e
