// What the process keeps in memory without needing it.
#pragma once

#include <cstdint>

namespace halftone {

// Gives memory back that nobody uses: what the allocator holds free, and pages of files (the program, its
// libraries) that are mapped, unchanged and read-only; those that are needed again come back from the page
// cache when they are touched. For the moment between preparation and long work: most of the code that a run
// touches, it touches before its first step. Returns how many bytes of files' pages were mapped. Never fails:
// where the system offers no way, nothing happens. Other threads may run meanwhile.
int64_t release_unneeded_pages();

}  // namespace halftone
