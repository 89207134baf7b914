// Small tokenizer files, and what opening them says.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "data/files.h"
#include "text/tokenizer.h"

namespace halftone::text::test {

inline std::unique_ptr<Tokenizer> open_text(const std::string& contents) {
  const data::TemporaryFolder folder;
  return Tokenizer::open(folder.write("tokenizer", contents));
}

// The message of the Error, or "no error".
inline std::string refusal(const std::string& contents) {
  return data::message_of([&] { open_text(contents); });
}

// tokenizer.json with this model, and these members besides: `"normalizer":…,`.
inline std::string json_with(const std::string& model, const std::string& members = "") {
  return R"({"version":"1.0",)" + members + R"("model":)" + model + "}";
}

inline std::string word_piece(const std::string& more = "") {
  return R"({"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,)" +
         more +
         R"("vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"un":3,"##aff":4,"##able":5,"hello":6,"!":7,"中":8,"e":9}})";
}

inline const char* kBert =
    R"("normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},)"
    R"("added_tokens":[{"id":1,"content":"[CLS]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},{"id":2,"content":"[SEP]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],)"
    R"("post_processor":{"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]},"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},)";

}  // namespace halftone::text::test
