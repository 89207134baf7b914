#include "text/byte_trie.h"

#include <utility>

namespace halftone::text {

size_t ByteTrie::slot_of(uint64_t key) const {
  const size_t mask = edges_.size() - 1;
  // Multiplication by 2^64 over the golden ratio spreads neighbours.
  size_t slot = (key * 0x9E3779B97F4A7C15u >> 20) & mask;
  while (edges_[slot].key != 0 && edges_[slot].key != key) slot = (slot + 1) & mask;
  return slot;
}

void ByteTrie::grow() {
  std::vector<Edge> old(edges_.size() * 2);
  std::swap(old, edges_);
  for (const Edge& e : old)
    if (e.key != 0) edges_[slot_of(e.key)] = e;
}

bool ByteTrie::add(std::string_view sequence, int32_t value) {
  uint32_t node = kRoot;
  for (const char byte : sequence) {
    if (edges_.size() < 2 * (values_.size() + 1)) grow();
    Edge& edge = edges_[slot_of(key_of(node, byte))];
    if (edge.key == 0) {
      edge = {key_of(node, byte), static_cast<uint32_t>(values_.size())};
      values_.push_back(kNoValue);
    }
    node = edge.child;
  }
  if (values_[node] != kNoValue) return false;
  values_[node] = value;
  return true;
}

uint32_t ByteTrie::next(uint32_t node, char byte) const {
  const Edge& edge = edges_[slot_of(key_of(node, byte))];
  return edge.key == 0 ? kNowhere : edge.child;
}

uint32_t ByteTrie::walk(std::string_view sequence, uint32_t node) const {
  for (size_t i = 0; i < sequence.size() && node != kNowhere; ++i) node = next(node, sequence[i]);
  return node;
}

}  // namespace halftone::text
