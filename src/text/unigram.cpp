// Unigram: of all ways to split a word into tokens the one with the largest sum of scores.
#include "text/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "text/aligned.h"
#include "text/byte_tokens.h"
#include "text/byte_trie.h"

namespace halftone::text {
namespace {

// How much worse an unknown character is than the worst token.
constexpr double kUnknownPenalty = 10.0;

class Unigram : public Model {
 public:
  explicit Unigram(UnigramParts parts) : parts_(std::move(parts)), bytes_(parts_.vocabulary) {
    double least = std::numeric_limits<double>::infinity();
    parts_.vocabulary.for_each([&](std::string_view token, int32_t id) {
      trie_.add(token, id);
      least = std::min(least, parts_.scores[static_cast<size_t>(id)]);
    });
    unknown_score_ = least - kUnknownPenalty;
  }

  const Vocabulary& vocabulary() const override { return parts_.vocabulary; }

  void tokenize(std::string_view word, std::vector<Piece>& out) const override {
    const std::vector<Best> best = search(word);
    // Backwards. Neighbouring unknown tokens become one.
    std::vector<Piece> pieces;
    for (auto end = static_cast<uint32_t>(word.size()); end > 0;) {
      const Best& b = best[end];
      if (b.id == parts_.unknown && !pieces.empty() && pieces.back().id == parts_.unknown)
        pieces.back().begin = b.begin;
      else
        pieces.push_back({b.id, b.begin, end});
      end = b.begin;
    }
    for (auto p = pieces.rbegin(); p != pieces.rend(); ++p) put(word, *p, out);
  }

 private:
  struct Best {  // of the ways to a place
    double score = 0;
    int32_t id = Vocabulary::kNone;
    uint32_t begin = 0;
  };

  std::vector<Best> search(std::string_view word) const {
    std::vector<Best> best(word.size() + 1);
    const auto offer = [&](size_t begin, size_t end, int32_t id, double score) {
      Best& b = best[end];
      if (b.id == Vocabulary::kNone || score > b.score) b = {score, id, static_cast<uint32_t>(begin)};
    };
    for (size_t begin = 0; begin < word.size();) {
      size_t next = begin;
      next_character(word, next);
      const double before = best[begin].score;
      bool has_character = false;
      uint32_t node = ByteTrie::kRoot;
      for (size_t i = begin; i < word.size(); ++i) {
        node = trie_.next(node, word[i]);
        if (node == ByteTrie::kNowhere) break;
        const int32_t id = trie_.value(node);
        if (id == ByteTrie::kNoValue) continue;
        offer(begin, i + 1, id, parts_.scores[static_cast<size_t>(id)] + before);
        has_character = has_character || i + 1 == next;
      }
      if (!has_character) offer(begin, next, parts_.unknown, unknown_score_ + before);
      begin = next;
    }
    return best;
  }

  void put(std::string_view word, const Piece& piece, std::vector<Piece>& out) const {
    if (piece.id != parts_.unknown) {
      out.push_back(piece);
      return;
    }
    const std::string_view token = word.substr(piece.begin, piece.end - piece.begin);
    if (const int32_t id = parts_.vocabulary.id_of(token); id != Vocabulary::kNone) {
      out.push_back({id, piece.begin, piece.end});
    } else if (parts_.byte_fallback && bytes_.has_all(token)) {
      for (const char c : token) out.push_back({bytes_.id_of(c), piece.begin, piece.end});
    } else {
      out.push_back(piece);
    }
  }

  UnigramParts parts_;
  ByteTokens bytes_;
  ByteTrie trie_;
  double unknown_score_ = 0;
};

}  // namespace

std::unique_ptr<Model> make_unigram(UnigramParts parts) {
  return std::make_unique<Unigram>(std::move(parts));
}

std::unique_ptr<Model> read_unigram(JsonObject& model) {
  UnigramParts parts;
  const JsonAt list = model.need("vocab");
  const size_t count = list.list().size();
  for (size_t i = 0; i < count; ++i) {
    const JsonAt pair = list.item(i);
    if (pair.list().size() != 2) pair.refuse("expected [token, score]");
    const std::string& token = pair.item(0).text();
    if (token.size() > kMostUnigramBytes)
      pair.refuse(fmt::format("the token is longer than {} bytes", kMostUnigramBytes));
    if (parts.vocabulary.id_of(token) != Vocabulary::kNone)
      pair.refuse(fmt::format("the token '{}' is there twice", token));
    parts.vocabulary.add(token, static_cast<int32_t>(i));
    parts.scores.push_back(pair.item(1).number());
  }
  parts.vocabulary.finish();
  const JsonAt unknown = model.need("unk_id");
  if (unknown.is_null())
    unknown.refuse("a Unigram model without a token for what is unknown is not understood");
  parts.unknown = static_cast<int32_t>(unknown.integer(0, static_cast<int64_t>(count) - 1));
  parts.byte_fallback = model.flag("byte_fallback", false);
  model.done();
  return make_unigram(std::move(parts));
}

}  // namespace halftone::text
