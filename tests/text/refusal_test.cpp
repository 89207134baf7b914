// What is not understood is refused by name, with its place in the file.
#include <gtest/gtest.h>

#include <string>

#include "text/tokenizer_files.h"

namespace halftone::text {
namespace {

using test::json_with;
using test::refusal;
using test::word_piece;

void expect_refused(const std::string& contents, const std::string& part) {
  const std::string message = refusal(contents);
  EXPECT_NE(message.find(part), std::string::npos) << message << "\n  lacks: " << part;
}

TEST(Refusal, NamesUnknownTypes) {
  expect_refused(json_with(R"({"type":"Morse","vocab":{}})"), "model.type: the model 'Morse'");
  expect_refused(
      json_with(word_piece(), R"("normalizer":{"type":"Sequence","normalizers":[{"type":"Rot13"}]},)"),
      "normalizer.normalizers[0].type: the normalizer 'Rot13'");
  expect_refused(json_with(word_piece(), R"("pre_tokenizer":{"type":"X"},)"),
                 "pre_tokenizer.type: the pre-tokenizer 'X'");
  expect_refused(json_with(word_piece(), R"("post_processor":{"type":"X"},)"),
                 "post_processor.type: the post-processor 'X'");
  expect_refused(json_with(word_piece(), R"("decoder":{"type":"X"},)"), "decoder.type: the decoder 'X'");
}

TEST(Refusal, NamesUnknownKeysAndValues) {
  expect_refused(json_with(word_piece(R"("frobnicate":1,)")), "model: the key 'frobnicate'");
  expect_refused(json_with(word_piece(), R"("frobnicate":1,)"), "the document: the key 'frobnicate'");
  expect_refused(json_with(R"({"type":"BPE","dropout":0.1,"vocab":{},"merges":[]})"),
                 "model.dropout: merges that are left out");
  expect_refused(
      json_with(
          word_piece(),
          R"("pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated","invert":false},)"),
      "pre_tokenizer.pattern.Regex: the regular expression");
  expect_refused(
      json_with(
          word_piece(),
          R"("pre_tokenizer":{"type":"Split","pattern":{"String":"a"},"behavior":"Eaten","invert":false},)"),
      "pre_tokenizer.behavior: 'Eaten'");
  expect_refused(json_with(word_piece(), R"("truncation":{"max_length":"8"},)"),
                 "truncation.max_length: expected a whole number");
}

TEST(Refusal, NamesDamage) {
  expect_refused("{", "it is no JSON");
  expect_refused(std::string(100000, '['), "it lacks the token");
  expect_refused(R"({"a":)" + std::string(100000, '['), "nested deeper");
  expect_refused(R"({"version":"1.0","version":"1.0"})", "the key 'version' is there twice");
  expect_refused(R"({"version":"2.0","model":{}})", "version: expected 1.0");
  expect_refused(json_with(R"({"type":"BPE","vocab":{"a":0,"b":0},"merges":[]})"),
                 "model.vocab: two tokens have the id 0");
  expect_refused(json_with(R"({"type":"BPE","vocab":{"a":4294967296},"merges":[]})"),
                 "model.vocab: the id of the token 'a'");
  expect_refused(json_with(R"({"type":"BPE","vocab":{"a":0},"merges":["a b"]})"),
                 "model.merges[0]: the vocabulary lacks");
  expect_refused(json_with(R"({"type":"Unigram","unk_id":null,"vocab":[["a",0]]})"), "model.unk_id");
  expect_refused(json_with(R"({"type":"Unigram","unk_id":1,"vocab":[["a",0]]})"), "model.unk_id");
  expect_refused(json_with(R"({"type":"WordLevel","unk_token":"?","vocab":{"a":0}})"),
                 "model.unk_token: the vocabulary lacks");
  expect_refused(
      json_with(word_piece(), R"("normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA/w=="},)"),
      "normalizer.precompiled_charsmap");
}

TEST(Refusal, NamesIdsThatNoTokenHas) {
  expect_refused(
      json_with(word_piece(),
                R"("post_processor":{"type":"BertProcessing","sep":["[SEP]",99],"cls":["[CLS]",1]},)"),
      "post_processor adds the id 99");
  expect_refused(
      json_with(
          word_piece(),
          R"("added_tokens":[{"id":50,"content":"new","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],)"),
      "added_tokens[0].id: expected 10");
}

TEST(Refusal, NamesLinesOfAVocabulary) {
  expect_refused("a\nb\na\n", "the lines 1 and 3 have the same token 'a'");
  expect_refused("a\nb\n", "it lacks the token [UNK]");
  expect_refused("\xFF\n", "line 1 is not UTF-8");
}

TEST(Vocabulary, LargeIdsNeedNoMemory) {
  const auto t = test::open_text(json_with(R"({"type":"BPE","vocab":{"a":2147483646},"merges":[]})"));
  EXPECT_EQ(t->encode("a").ids, (std::vector<int32_t>{2147483646}));
  EXPECT_EQ(t->token_of(7), "");
}

}  // namespace
}  // namespace halftone::text
