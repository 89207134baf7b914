// What products of every build need of sizes and scratch.
#pragma once

#include <cstddef>
#include <cstdint>

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

inline int64_t round_up(int64_t x, int64_t to) {
  return (x + to - 1) / to * to;
}
inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}
inline int64_t most(int64_t a, int64_t b) {
  return a > b ? a : b;
}

// Cuts 64-byte aligned pieces off the scratch; with a null base it measures.
struct Carver {
  std::byte* base;
  int64_t used = 0;
  template <class X>
  X* take(int64_t n) {
    X* p = reinterpret_cast<X*>(base + used);
    used += round_up(n * static_cast<int64_t>(sizeof(X)), 64);
    return p;
  }
};

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS
