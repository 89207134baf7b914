// Memory that comes from the system in pages.
#pragma once

#include <cstddef>

namespace halftone {

inline constexpr size_t kPageBytes = size_t{4} << 10;
inline constexpr size_t kHugePageBytes = size_t{2} << 20;

// At least `bytes`, rounded up to kPageBytes, zeroed, of which nothing is resident before it is written. From
// the size of a huge page on it begins at a multiple of one and asks for them: fewer address translations,
// and where the system refuses, small pages are only slower. What doesn't fill a huge page is small pages, so
// no more is ever resident than was asked for. nullptr when there is no such memory (errno says why).
std::byte* map_pages(size_t bytes);
// What map_pages(bytes) returned.
void unmap_pages(std::byte* memory, size_t bytes);

}  // namespace halftone
