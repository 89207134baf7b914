// Expected ids and spans are those of the package tokenizers 0.23.3.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "text/tokenizer_files.h"

namespace halftone::text {
namespace {

using test::json_with;
using test::kBert;
using test::open_text;
using test::word_piece;
using Ids = std::vector<int32_t>;

std::string spans_of(const Encoding& e) {
  std::string out;
  for (const Span& s : e.spans) out += fmt::format("{}-{} ", s.begin, s.end);
  return out;
}

TEST(WordPiece, TakesTheLongestPieces) {
  const auto t = open_text(json_with(word_piece(), kBert));
  const Encoding e = t->encode("Unaffable hello!");
  EXPECT_EQ(e.ids, (Ids{1, 3, 4, 5, 6, 7, 2}));
  EXPECT_EQ(spans_of(e), "0-0 0-2 2-5 5-9 10-15 15-16 0-0 ");
  EXPECT_EQ(e.special, (std::vector<uint8_t>{1, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(e.words, (Ids{-1, 0, 0, 0, 1, 2, -1}));
  EXPECT_EQ(t->decode(e.ids, true), "unaffable hello!");
}

TEST(WordPiece, SpansAreBytesOfTheGivenText) {
  const auto t = open_text(json_with(word_piece(), kBert));
  // An accent, an ideograph, a control character, a byte that is no UTF-8.
  EXPECT_EQ(spans_of(t->encode("\xC3\x89 h\xC3\xA9llo\xE4\xB8\xAD\x01!\xFF!")),
            "0-0 0-2 3-9 9-12 13-14 15-16 0-0 ");
}

TEST(WordPiece, PairsAreShortenedFromTheLongerText) {
  const auto t = open_text(json_with(word_piece(), kBert));
  EncodeOptions options;
  options.max_tokens = 7;
  const Encoding e = t->encode_pair("hello!", "! ! ! ! !", options);
  EXPECT_EQ(e.ids, (Ids{1, 6, 7, 2, 7, 7, 2}));
  EXPECT_EQ(e.types, (Ids{0, 0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(e.sequence, (std::vector<uint8_t>{0, 0, 0, 0, 1, 1, 0}));
}

TEST(WordPiece, UnknownWordsAndLongOnesAreOneToken) {
  const auto t = open_text(json_with(word_piece(), kBert));
  EXPECT_EQ(t->encode("xyz [SEP] " + std::string(1 << 20, 'e')).ids, (Ids{1, 0, 2, 0, 2}));
}

TEST(VocabTxt, HasBertsTokenizer) {
  const auto t = open_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##able\n");
  EXPECT_EQ(t->encode("UNABLE [MASK]").ids, (Ids{2, 5, 6, 4, 3}));
  EXPECT_EQ(t->padding_id(), 0);
  EXPECT_EQ(t->mask_id(), 4);
  EXPECT_EQ(t->size(), 7);
  EXPECT_TRUE(t->is_special(4));
}

TEST(Bpe, MergesInTheOrderOfTheFile) {
  const auto t = open_text(json_with(
      R"({"type":"BPE","unk_token":"?","vocab":{"?":0,"a":1,"b":2,"c":3,"bc":4,"ab":5,"abc":6},"merges":["b c",["a","bc"],"a b"]})"));
  EXPECT_EQ(t->encode("abcab").ids, (Ids{6, 5}));
  EXPECT_EQ(t->encode("axxb").ids, (Ids{1, 0, 0, 2}));
}

TEST(Bpe, AMegabyteWithoutSpacesIsNoTrouble) {
  const auto t =
      open_text(json_with(R"({"type":"BPE","vocab":{"a":0,"aa":1,"aaaa":2},"merges":["a a","aa aa"]})"));
  EXPECT_EQ(t->encode(std::string(1 << 20, 'a')).ids.size(), size_t{1} << 18);
}

TEST(Bpe, BytesStandForWhatTheVocabularyLacks) {
  const auto t = open_text(
      json_with(R"({"type":"BPE","byte_fallback":true,"vocab":{"a":0,"<0xC3>":1,"<0xA9>":2},"merges":[]})",
                R"("decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"}]},)"));
  const Encoding e = t->encode("a\xC3\xA9");
  EXPECT_EQ(e.ids, (Ids{0, 1, 2}));
  EXPECT_EQ(t->decode(e.ids, false), "a\xC3\xA9");
}

TEST(ByteLevel, SpacesBelongToTheWordBehindThem) {
  const auto t = open_text(json_with(
      R"({"type":"BPE","vocab":{"a":0,"Ġ":1,"Ġa":2,"'":3,"s":4},"merges":["Ġ a"]})",
      R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},"post_processor":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},"decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},)"));
  const Encoding e = t->encode("a's  a");
  EXPECT_EQ(e.ids, (Ids{0, 3, 4, 1, 2}));
  EXPECT_EQ(e.words, (Ids{0, 1, 1, 2, 3}));
  EXPECT_EQ(spans_of(e), "0-1 1-2 2-3 4-4 5-6 ");
  EXPECT_EQ(t->decode(e.ids, true), "a's  a");
}

TEST(Unigram, TakesTheBestSum) {
  const auto t = open_text(json_with(
      R"({"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",0],["b",0],["c",0],["d",0],["cd",1],["ab",2],["abc",5],["abcd",10]]})"));
  const Encoding e = t->encode("abcdacdxx");
  EXPECT_EQ(e.ids, (Ids{8, 1, 5, 0}));
  EXPECT_EQ(spans_of(e), "0-4 4-5 5-7 7-9 ");
}

TEST(Tokenizer, ZeroBytesAndEmptyTextsAreTexts) {
  const auto t = open_text(json_with(word_piece(), kBert));
  EXPECT_EQ(t->encode("").ids, (Ids{1, 2}));
  EXPECT_EQ(t->encode(std::string("\0hello\0", 7)).ids, (Ids{1, 6, 2}));
}

}  // namespace
}  // namespace halftone::text
