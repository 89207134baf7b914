// The memory plan: where every activation lies, decided before the first step.
#pragma once

#include <cstdint>
#include <vector>

#include "ir/graph.h"

namespace halftone::pass {

struct Place {
  // Whose buffer this value lies in: itself, or the value it is a view of or overwrites. Persistent roots
  // (parameters, states, constants) have no place in the arena.
  ir::ValueId root = ir::kNone;
  // Bytes from the arena's start; -1 when the root is persistent or lent, or the value unused.
  int64_t offset = -1;
  int64_t bytes = 0;
};

struct Plan {
  std::vector<Place> places;             // one for each value
  std::vector<int64_t> scratch_offsets;  // one for each node; meaningless for those without scratch
  int64_t arena_bytes = 0;
  int64_t live_bytes = 0;  // the most that lives at once: no arena can be smaller
};

inline constexpr int64_t kPlaceAlignment = 64;  // a cache line and a 512-bit vector

// scratch_bytes: for each node, a buffer that lives while it runs; and before, from the node scratch_first
// on, where its early stage runs (ops::EarlyStage). scratch_first: empty when no node's does. Buffers are
// placed, in the best of a few orders, at the lowest offset that is free for their whole life (node index of
// the first write to the last read; graph inputs live from the start, graph outputs to the end). lent: graph
// inputs that lie in memory of whoever feeds them, and have no place.
Plan plan_memory(const ir::Graph& graph, const std::vector<int64_t>& scratch_bytes,
                 const std::vector<int64_t>& scratch_first = {}, const std::vector<ir::ValueId>& lent = {});

// The independent check: replays the nodes over the arena and remembers who wrote each byte last. Throws
// InternalError when a node reads bytes that somebody else has written since, when an output overlaps an
// input without being its exact heir, or scratch overlaps what its node reads or writes, or what anybody
// writes between scratch_first and its node; when a node changes a value in place (ops::Effects) that lies in
// the arena, or that it reads under another name, or of which a view is read behind it that was made before.
void check_plan(const ir::Graph& graph, const Plan& plan, const std::vector<int64_t>& scratch_bytes,
                const std::vector<int64_t>& scratch_first = {}, const std::vector<ir::ValueId>& lent = {});

}  // namespace halftone::pass
