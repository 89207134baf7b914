#include "text/word_cache.h"

#include <cstddef>

namespace halftone::text {

void WordCache::tokenize(const Model& model, std::string_view word, std::vector<Piece>& out) const {
  if (word.size() > kMostBytes || !model.cacheable()) return model.tokenize(word, out);
  Shard& shard = shards_[(Hash()(word) >> 48) % shards_.size()];
  {
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.words.find(word);
    if (found != shard.words.end()) {
      out.insert(out.end(), found->second.begin(), found->second.end());
      return;
    }
  }
  const auto before = static_cast<std::ptrdiff_t>(out.size());
  model.tokenize(word, out);
  const std::lock_guard lock(shard.mutex);
  if (shard.words.size() == kMostWordsOfShard) shard.words.clear();
  shard.words.emplace(word, std::vector<Piece>(out.begin() + before, out.end()));
}

}  // namespace halftone::text
