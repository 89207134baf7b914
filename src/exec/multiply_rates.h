// Which of two multiply policies is faster here, by trying them on a network's own products.
#pragma once

#include <optional>
#include <vector>

#include "kern/kernels.h"

namespace halftone::exec {

// Multiply-adds a second of one thread, packing included.
struct MultiplyRates {
  double block = 0;
  double half = 0;
};

// Runs the products that make up most of the multiply-adds (fewer samples of them, made-up values) in turn in
// block and in half, on this thread, and weights each by its share of the network. Stops after `seconds`, or
// a few tries of one product where these take longer. None when the kernels don't deliver half, or no product
// is fp16 (or all are wide, as depthwise convolutions are).
std::optional<MultiplyRates> measure_multiply(const std::vector<kern::Product>& products,
                                              const kern::Kernels& kernels, double seconds);

}  // namespace halftone::exec
