// How much work a step is, and whether a second thread is worth its cost. Counted, not measured: the same
// network is run in the same way each time. No result depends on it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "ir/graph.h"
#include "kern/matrix.h"
#include "par/waiting.h"

namespace halftone::exec {

// Element-wise kernels of 16-bit tensors move about ten bytes a nanosecond in a core's own caches, less
// beyond them.
inline constexpr double kBytesPerNs = 8;

// Nanoseconds on one core of a present x86 CPU: the bytes that the node reads and writes, and its product's
// multiply-adds. Right within a factor of three or so, which is enough for the choice below.
double work_ns(const ir::Graph& graph, const ir::Node& node, const std::optional<kern::Product>& product);

// The least work of a step that is shared: handing a loop to a thread that is awake takes under a
// microsecond, but what that thread writes then lies in another core's cache, and comes from there at some
// ten bytes a nanosecond.
inline constexpr double kLeastSharedNs = 20'000;
// The least work of steps that follow each other closely enough for a thread to stay awake in between: waking
// it costs the caller a system call of up to ten microseconds, and it comes up to fifty later, on a busy
// machine later than that: a perceptron whose step takes half a millisecond lost an eighth beside four
// processes (make bench-threads).
inline constexpr double kLeastGroupNs = 8.0 * par::kAwakeNs;

// For consecutive steps with so much work each: which of them are shared with other threads.
std::vector<bool> shared_steps(std::span<const double> work);

}  // namespace halftone::exec
