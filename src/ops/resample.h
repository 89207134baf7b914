// Weighted sums along axes, by tables that are made when a network is read: what Resize, Pad's reflections,
// average pooling and unfolding have in common.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// One axis: element j of the result is the sum over taps k, offsets[j] <= k < offsets[j + 1], of weights[k] *
// x[indices[k]]; 0 without taps.
struct AxisTable {
  int64_t axis = 0;
  std::vector<int64_t> offsets = {0};
  std::vector<int64_t> indices;
  std::vector<double> weights;

  int64_t size() const { return static_cast<int64_t>(offsets.size()) - 1; }
  void tap(int64_t index, double weight) {
    indices.push_back(index);
    weights.push_back(weight);
  }
  void end() { offsets.push_back(static_cast<int64_t>(indices.size())); }  // of an element's taps
  bool keeps(int64_t n) const;  // whether the result is x itself, an axis of n elements
};

// Error when the table of an axis would have more taps than Halftone makes tables of: a small file must not
// make us build a large one. Called before it is made; `taps` may be an estimate from above.
void check_table(int64_t axis, double taps);

// A node `Resample` of x along these axes, those left out that change nothing (x itself when none does).
// kChannelsFirst: where the axes are all spatial ones of x[N, C, ...] it works channels last, between
// transpositions.
enum class Layout : uint8_t { kChannelsFirst, kAsItIs };
ValueId add_resample(Builder& builder, ValueId x, std::vector<AxisTable> tables,
                     Layout layout = Layout::kChannelsFirst);

}  // namespace halftone::ops
