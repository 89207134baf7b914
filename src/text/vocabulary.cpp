#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/error.h"

namespace halftone::text {

size_t Vocabulary::slot_of(std::string_view token) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = std::hash<std::string_view>()(token) & mask;
  while (slots_[slot] != 0 && this->token(entries_[slots_[slot] - 1]) != token) slot = (slot + 1) & mask;
  return slot;
}

void Vocabulary::grow() {
  slots_.assign(slots_.empty() ? 64 : slots_.size() * 2, 0);
  for (size_t i = 0; i < entries_.size(); ++i)
    slots_[slot_of(token(entries_[i]))] = static_cast<uint32_t>(i + 1);
}

void Vocabulary::add(std::string_view token, int32_t id) {
  if (slots_.size() < 2 * (entries_.size() + 1)) grow();
  const size_t slot = slot_of(token);
  if (slots_[slot] != 0) {
    entries_[slots_[slot] - 1].id = id;
    return;
  }
  entries_.push_back({bytes_.size(), static_cast<uint32_t>(token.size()), id});
  bytes_ += token;
  slots_[slot] = static_cast<uint32_t>(entries_.size());
}

int32_t Vocabulary::finish() {
  by_id_.resize(entries_.size());
  for (size_t i = 0; i < by_id_.size(); ++i) by_id_[i] = static_cast<uint32_t>(i);
  std::stable_sort(by_id_.begin(), by_id_.end(),
                   [&](uint32_t a, uint32_t b) { return entries_[a].id < entries_[b].id; });
  int32_t twice = kNone;
  for (size_t i = 1; i < by_id_.size() && twice == kNone; ++i)
    if (entries_[by_id_[i - 1]].id == entries_[by_id_[i]].id) twice = entries_[by_id_[i]].id;
  dense_ = twice == kNone && static_cast<size_t>(last_id()) + 1 == by_id_.size();
  return twice;
}

int32_t Vocabulary::id_of(std::string_view token) const {
  if (entries_.empty()) return kNone;
  const uint32_t found = slots_[slot_of(token)];
  return found == 0 ? kNone : entries_[found - 1].id;
}

const Vocabulary::Entry* Vocabulary::entry_of(int32_t id) const {
  if (dense_) {
    const auto index = static_cast<size_t>(static_cast<uint32_t>(id));
    return index < by_id_.size() ? &entries_[by_id_[index]] : nullptr;
  }
  const auto found = std::lower_bound(by_id_.begin(), by_id_.end(), id, [&](uint32_t entry, int32_t wanted) {
    return entries_[entry].id < wanted;
  });
  return found != by_id_.end() && entries_[*found].id == id ? &entries_[*found] : nullptr;
}

std::string_view Vocabulary::token_of(int32_t id) const {
  const Entry* e = entry_of(id);
  return e == nullptr ? std::string_view() : token(*e);
}

Vocabulary read_vocabulary(const JsonAt& at) {
  Vocabulary out;
  for (const JsonMember& m : at.object()) {
    const auto* id = std::get_if<int64_t>(&m.value.value);
    if (id == nullptr || *id < 0 || *id >= INT32_MAX)
      at.refuse(fmt::format("the id of the token '{}' is not a whole number from 0 to {}",
                            m.key.substr(0, 60), INT32_MAX - 1));
    out.add(m.key, static_cast<int32_t>(*id));
  }
  if (const int32_t twice = out.finish(); twice != Vocabulary::kNone)
    at.refuse(fmt::format("two tokens have the id {}", twice));
  return out;
}

}  // namespace halftone::text
