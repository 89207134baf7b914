// Which values of a forward pass must be looked at, so that no infinity and no NaN stays unnoticed. Most need
// not: the operators behind them hand what is not finite on, until it reaches the loss or a gradient, which
// are looked at anyway. Some operators hide it: 1 / inf is 0, tanh(inf) is 1.
#pragma once

#include <array>
#include <vector>

#include "ir/graph.h"
#include "kern/kernels.h"

namespace halftone::pass {

// What becomes of a number that is not finite.
enum class Outcome : uint8_t {
  kLost,  // it may vanish, and finite numbers that are wrong take its place: 1 / inf
  // it may vanish where any large number gives the same: tanh(inf) = 1, and so does max(-inf, 0) = 0
  kSettled,
  kSeen,  // the loss or a gradient of a weight is not finite either
};
enum class Special : uint8_t { kNan, kPlus, kMinus };

struct Watch {
  std::vector<ir::ValueId> always;     // where it may be lost: to be looked at in each pass
  std::vector<ir::ValueId> sometimes;  // where nothing wrong follows from it
  // By value, and by Special: with these values looked at as well. Values behind the loss have outcomes too.
  std::vector<std::array<Outcome, 3>> outcomes;
};

// `losses`: the values that are looked at. Gradients are where the node that gives the verdict reads them, if
// the graph has one. `multiply` as the graph is compiled with. What comes from an infinite constant (a mask)
// is no fault and not looked at.
Watch watch(const ir::Graph& graph, const std::vector<ir::ValueId>& losses, kern::Multiply multiply);

}  // namespace halftone::pass
