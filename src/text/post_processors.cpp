#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "text/aligned.h"
#include "text/post_processor.h"

namespace halftone::text {
namespace {

class TemplateProcessor : public PostProcessor {
 public:
  explicit TemplateProcessor(Template pieces) : pieces_(std::move(pieces)) {}

  int64_t added(bool pair) const override {
    int64_t count = 0;
    for (const TemplatePiece& p : pair ? pieces_.pair : pieces_.single)
      count += static_cast<int64_t>(p.ids.size());
    return count;
  }
  bool is_template() const override { return true; }

  void apply(std::vector<Part>& parts, bool add_special) const override {
    std::vector<Part> out;
    for (const TemplatePiece& piece : parts.size() > 1 ? pieces_.pair : pieces_.single) {
      if (piece.special) {
        if (add_special) out.push_back(special_part(piece));
        continue;
      }
      Part part = parts[static_cast<size_t>(piece.sequence)];
      std::fill(part.tokens.types.begin(), part.tokens.types.end(), piece.type);
      out.push_back(std::move(part));
    }
    parts = std::move(out);
  }

 private:
  static Part special_part(const TemplatePiece& piece) {
    Part part;
    for (const int32_t id : piece.ids) {
      part.tokens.ids.push_back(id);
      part.tokens.types.push_back(piece.type);
      part.tokens.special.push_back(1);
      part.tokens.sequence.push_back(0);
      part.tokens.spans.push_back({});
      part.tokens.words.push_back(-1);
    }
    part.spaces_before.resize(piece.ids.size());
    part.spaces_behind.resize(piece.ids.size());
    return part;
  }

  Template pieces_;
};

// Spans without the spaces at both ends of a token, as ByteLevel and RobertaProcessing trim them.
class TrimSpans : public PostProcessor {
 public:
  TrimSpans(bool trims, bool add_prefix_space) : trims_(trims), add_prefix_space_(add_prefix_space) {}

  int64_t added(bool /*pair*/) const override { return 0; }
  bool wants_spaces() const override { return trims_; }
  void apply(std::vector<Part>& parts, bool /*add_special*/) const override {
    if (!trims_) return;
    for (Part& part : parts)
      for (size_t i = 0; i < part.tokens.ids.size(); ++i) trim(part, i);
  }

 private:
  void trim(Part& part, size_t i) const {
    Span& span = part.tokens.spans[i];
    uint32_t before = part.spaces_before[i];
    // The space that was put before the text is no part of it.
    if ((i == 0 || span.begin == 0) && add_prefix_space_ && before == 1) before = 0;
    for (; before > 0 && span.begin < span.end; --before) {
      size_t at = span.begin;
      next_character(part.original, at);
      span.begin = std::min(static_cast<uint32_t>(at), span.end);
    }
    for (uint32_t behind = part.spaces_behind[i]; behind > 0 && span.end > span.begin; --behind) {
      do --span.end;
      while (span.end > span.begin && (static_cast<uint8_t>(part.original[span.end]) & 0xC0) == 0x80);
    }
  }

  bool trims_;
  bool add_prefix_space_;
};

class PostProcessorSequence : public PostProcessor {
 public:
  explicit PostProcessorSequence(std::vector<std::unique_ptr<PostProcessor>> steps)
      : steps_(std::move(steps)) {}
  int64_t added(bool pair) const override {
    int64_t count = 0;
    for (const auto& step : steps_) count += step->added(pair);
    return count;
  }
  void apply(std::vector<Part>& parts, bool add_special) const override {
    for (const auto& step : steps_) step->apply(parts, add_special);
  }
  bool wants_spaces() const override {
    return std::any_of(steps_.begin(), steps_.end(), [](const auto& step) { return step->wants_spaces(); });
  }
  bool is_template() const override {
    return std::any_of(steps_.begin(), steps_.end(), [](const auto& step) { return step->is_template(); });
  }

 private:
  std::vector<std::unique_ptr<PostProcessor>> steps_;
};

std::vector<TemplatePiece> read_pieces(const JsonAt& list,
                                       const std::map<std::string, std::vector<int32_t>>& specials,
                                       bool pair) {
  std::vector<TemplatePiece> out;
  bool has_first = false;
  bool has_second = false;
  for (size_t i = 0; i < list.list().size(); ++i) {
    JsonObject one(list.item(i));
    TemplatePiece piece;
    piece.special = one.has("SpecialToken");
    JsonObject at(one.need(piece.special ? "SpecialToken" : "Sequence"));
    one.done();
    piece.type = static_cast<int32_t>(at.need("type_id").integer(0, INT32_MAX));
    const JsonAt id = at.need("id");
    if (piece.special) {
      const auto known = specials.find(id.text());
      if (known == specials.end()) id.refuse(fmt::format("special_tokens lacks '{}'", id.text()));
      piece.ids = known->second;
    } else {
      if (id.text() != "A" && id.text() != "B") id.refuse(fmt::format("expected A or B, got {}", id.kind()));
      piece.sequence = id.text() == "A" ? 0 : 1;
      bool& seen = piece.sequence == 0 ? has_first : has_second;
      if (std::exchange(seen, true)) id.refuse("the text is there twice");
    }
    at.done();
    out.push_back(std::move(piece));
  }
  if (!has_first) list.refuse("the template lacks the text A");
  if (has_second != pair)
    list.refuse(pair ? "the template of a pair lacks the text B" : "the template of one text has a text B");
  return out;
}

std::unique_ptr<PostProcessor> read_template(JsonObject& at) {
  std::map<std::string, std::vector<int32_t>> specials;
  const JsonAt list = at.need("special_tokens");
  JsonObject object(list);
  for (const JsonMember& m : list.object()) {
    JsonObject token(object.need(m.key));
    token.ignore("tokens");
    if (token.need("id").text() != m.key) token.at().refuse(fmt::format("its id is not '{}'", m.key));
    const JsonAt ids = token.need("ids");
    std::vector<int32_t>& to = specials[m.key];
    for (size_t i = 0; i < ids.list().size(); ++i)
      to.push_back(static_cast<int32_t>(ids.item(i).integer(0, INT32_MAX - 1)));
    token.done();
  }
  Template pieces;
  pieces.single = read_pieces(at.need("single"), specials, false);
  pieces.pair = read_pieces(at.need("pair"), specials, true);
  return make_template(std::move(pieces));
}

int32_t read_named_id(const JsonAt& at) {
  if (at.list().size() != 2) at.refuse("expected [token, id]");
  (void)at.item(0).text();
  return static_cast<int32_t>(at.item(1).integer(0, INT32_MAX - 1));
}

TemplatePiece special_piece(std::vector<int32_t> ids, int32_t type) {
  return {true, 0, std::move(ids), type};
}
TemplatePiece sequence_piece(int32_t which, int32_t type) {
  return {false, which, {}, type};
}

std::unique_ptr<PostProcessor> read_roberta(JsonObject& at) {
  const int32_t end = read_named_id(at.need("sep"));
  const int32_t begin = read_named_id(at.need("cls"));
  const bool trims = at.need("trim_offsets").flag();
  const bool prefix = at.need("add_prefix_space").flag();
  std::vector<std::unique_ptr<PostProcessor>> steps;
  steps.push_back(std::make_unique<TrimSpans>(trims, prefix));
  Template pieces;
  pieces.single = {special_piece({begin}, 0), sequence_piece(0, 0), special_piece({end}, 0)};
  pieces.pair = {special_piece({begin}, 0), sequence_piece(0, 0), special_piece({end}, 0),
                 special_piece({end}, 0),   sequence_piece(1, 0), special_piece({end}, 0)};
  steps.push_back(make_template(std::move(pieces)));
  return std::make_unique<PostProcessorSequence>(std::move(steps));
}

std::unique_ptr<PostProcessor> read_post_processors(JsonObject& at) {
  const JsonAt list = at.need("processors");
  std::vector<std::unique_ptr<PostProcessor>> steps;
  bool has_template = false;
  for (size_t i = 0; i < list.list().size(); ++i) {
    steps.push_back(read_post_processor(list.item(i)));
    if (steps.back() == nullptr) list.item(i).refuse("expected a post-processor, got null");
    if (steps.back()->is_template() && std::exchange(has_template, true))
      list.item(i).refuse("a second template behind another is not understood");
  }
  return std::make_unique<PostProcessorSequence>(std::move(steps));
}

}  // namespace

std::unique_ptr<PostProcessor> make_template(Template single_and_pair) {
  return std::make_unique<TemplateProcessor>(std::move(single_and_pair));
}

Template bert_template(int32_t begin, int32_t end) {
  Template out;
  out.single = {special_piece({begin}, 0), sequence_piece(0, 0), special_piece({end}, 0)};
  out.pair = {special_piece({begin}, 0), sequence_piece(0, 0), special_piece({end}, 0), sequence_piece(1, 1),
              special_piece({end}, 1)};
  return out;
}

std::unique_ptr<PostProcessor> read_post_processor(const JsonAt& json) {
  if (json.is_null()) return nullptr;
  JsonObject at(json);
  const JsonAt type_at = at.need("type");
  const std::string& type = type_at.text();
  std::unique_ptr<PostProcessor> out;
  if (type == "TemplateProcessing") out = read_template(at);
  if (type == "BertProcessing") {
    const int32_t end = read_named_id(at.need("sep"));
    out = make_template(bert_template(read_named_id(at.need("cls")), end));
  }
  if (type == "RobertaProcessing") out = read_roberta(at);
  if (type == "ByteLevel") {
    const bool prefix = at.need("add_prefix_space").flag();
    out = std::make_unique<TrimSpans>(at.need("trim_offsets").flag(), prefix);
    at.ignore("use_regex");
  }
  if (type == "Sequence") out = read_post_processors(at);
  if (out == nullptr)
    type_at.refuse(fmt::format("the post-processor '{}' is not understood", type.substr(0, 60)));
  at.done();
  return out;
}

}  // namespace halftone::text
