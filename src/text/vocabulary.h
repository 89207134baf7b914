// Tokens and their ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/json_tree.h"

namespace halftone::text {

// Memory follows the number of tokens, however large an id is.
class Vocabulary {
 public:
  static constexpr int32_t kNone = -1;

  // The value is replaced where the token is there already.
  void add(std::string_view token, int32_t id);
  // To be called after the last add: finds tokens by id. Returns an id that two tokens have, or kNone.
  int32_t finish();

  int32_t id_of(std::string_view token) const;  // kNone where there is none
  // Empty where no token has the id.
  std::string_view token_of(int32_t id) const;
  bool has(int32_t id) const { return entry_of(id) != nullptr; }
  int64_t count() const { return static_cast<int64_t>(entries_.size()); }
  // Calls visit(token, id) for each, in the order in which they were added.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (const Entry& e : entries_) visit(token(e), e.id);
  }
  int32_t last_id() const { return by_id_.empty() ? kNone : entries_[by_id_.back()].id; }

 private:
  struct Entry {
    uint64_t begin = 0;
    uint32_t bytes = 0;
    int32_t id = 0;
  };
  const Entry* entry_of(int32_t id) const;
  std::string_view token(const Entry& e) const { return std::string_view(bytes_).substr(e.begin, e.bytes); }
  size_t slot_of(std::string_view token) const;  // of the token, or the free one where it belongs
  void grow();

  std::string bytes_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // one more than the entry's index; 0: free
  std::vector<uint32_t> by_id_;
  bool dense_ = false;  // by_id_[id] is the token that has it
};

// `{"token": id, ...}`. Errors: anything else, an id that is negative or no 32-bit number, an id that two tokens have.
Vocabulary read_vocabulary(const JsonAt& at);

}  // namespace halftone::text
