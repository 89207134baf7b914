#include "exec/work.h"

#include <cstddef>
#include <cstdint>

#include "ops/product.h"

namespace halftone::exec {
namespace {

// AVX2's products of 16-bit integers reach 50 to 60 multiply-adds a nanosecond in large products; small ones,
// narrow ones and fp32 half of that or less.
constexpr double kMultiplyAddsPerNs = 25;

}  // namespace

double work_ns(const ir::Graph& graph, const ir::Node& node, const std::optional<kern::Product>& product) {
  double bytes = 0;
  for (const auto* values : {&node.inputs, &node.outputs}) {
    for (const ir::ValueId id : *values) {
      if (id == ir::kNone) continue;
      const ir::Type& type = graph.value(id).type;
      bytes += static_cast<double>(elements(type.shape)) * static_cast<double>(size_bytes(type.dtype));
    }
  }
  return bytes / kBytesPerNs + (product ? ops::multiply_adds(*product) / kMultiplyAddsPerNs : 0);
}

std::vector<bool> shared_steps(std::span<const double> work) {
  std::vector<bool> shared(work.size(), false);
  size_t first = 0;    // of the group
  double group = 0;    // work that would be shared
  double between = 0;  // work since the last of it
  const auto finish = [&](size_t end) {
    for (size_t i = first; i < end && group >= kLeastGroupNs; ++i) shared[i] = work[i] >= kLeastSharedNs;
    first = end;
    group = between = 0;
  };
  for (size_t i = 0; i < work.size(); ++i) {
    if (work[i] < kLeastSharedNs) {
      between += work[i];
      continue;
    }
    if (between > par::kAwakeNs / 2.0) finish(i);
    group += work[i];
    between = 0;
  }
  finish(work.size());
  return shared;
}

}  // namespace halftone::exec
