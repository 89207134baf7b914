// tokenizer.json, as the package tokenizers writes it.
#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "text/pipeline.h"

namespace halftone::text {
namespace {

void read_truncation(const JsonAt& json, PipelineParts& parts) {
  if (json.is_null()) return;
  JsonObject at(json);
  parts.max_tokens = at.need("max_length").integer(1, INT32_MAX);
  parts.truncates_left = at.choice("direction", {"Right", "Left"}, "Right") == 1;
  parts.truncation = static_cast<TruncationStrategy>(
      at.choice("strategy", {"LongestFirst", "OnlyFirst", "OnlySecond"}, "LongestFirst"));
  // Of what is cut off, which is not used here.
  at.ignore("stride");
  at.done();
}

void read_padding(const JsonAt& json, PipelineParts& parts) {
  if (json.is_null()) return;
  JsonObject at(json);
  parts.padding_id = static_cast<int32_t>(at.need("pad_id").integer(0, INT32_MAX - 1));
  // Batches are padded behind, to lengths of the program's own choice, and padding counts in no result.
  for (const std::string_view key :
       {"strategy", "direction", "pad_to_multiple_of", "pad_type_id", "pad_token"})
    at.ignore(key);
  at.done();
}

// A model in files of before 2020 has no type.
std::string type_of_model(JsonObject& at) {
  if (at.has("type")) return at.need("type").text();
  at.ignore("type");
  if (at.has("merges")) return "BPE";
  if (at.has("unk_id")) return "Unigram";
  if (at.has("max_input_chars_per_word")) return "WordPiece";
  at.at().refuse("the key 'type' is missing");
}

// An id of the file that no token has would be written into the texts unseen.
void check_ids(const JsonAt& root, const PipelineParts& parts) {
  const auto knows = [&](int32_t id) {
    return parts.model->vocabulary().has(id) || parts.added.find(id) != nullptr;
  };
  if (parts.padding_id && !knows(*parts.padding_id))
    root.refuse(fmt::format("padding.pad_id is {}, which no token has", *parts.padding_id));
  if (parts.post_processor == nullptr) return;
  std::vector<Part> none(2);
  parts.post_processor->apply(none, true);
  for (const Part& part : none)
    for (const int32_t id : part.tokens.ids)
      if (!knows(id)) root.refuse(fmt::format("post_processor adds the id {}, which no token has", id));
}

}  // namespace

std::unique_ptr<Model> read_model(const JsonAt& json) {
  JsonObject at(json);
  const std::string type = type_of_model(at);
  if (type == "WordPiece") return read_word_piece(at);
  if (type == "WordLevel") return read_word_level(at);
  if (type == "BPE") return read_bpe(at);
  if (type == "Unigram") return read_unigram(at);
  at.need("type").refuse(fmt::format("the model '{}' is not understood", type.substr(0, 60)));
}

std::unique_ptr<Tokenizer> read_tokenizer_json(const std::string& file, std::string_view text) {
  const Json json = parse_json(file, text);
  const JsonAt root(file, json);
  JsonObject at(root);
  if (const JsonAt version = at.need("version"); version.text() != "1.0")
    version.refuse(fmt::format("expected 1.0, got {}", version.kind()));
  PipelineParts parts;
  parts.normalizer = read_normalizer(at.find("normalizer"));
  parts.pre_tokenizer = read_pre_tokenizer(at.find("pre_tokenizer"));
  parts.model = read_model(at.need("model"));
  parts.post_processor = read_post_processor(at.find("post_processor"));
  parts.decoder = read_decoder(at.find("decoder"));
  parts.added.read(at.find("added_tokens"), parts.model->vocabulary(), parts.normalizer.get());
  read_truncation(at.find("truncation"), parts);
  read_padding(at.find("padding"), parts);
  at.done();
  check_ids(root, parts);
  return make_pipeline(file, std::move(parts));
}

}  // namespace halftone::text
