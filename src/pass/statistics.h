// The part of a training program that measures what its batch norms normalise: the forward pass, with the
// batches' own statistics, up to the last batch norm that keeps running statistics.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace halftone::pass {

// A batch norm that keeps running statistics.
struct StatisticsOfNorm {
  std::string node;  // ONNX node
  std::string mean,
      variance;  // its running statistics: states of the training graph, [C] in the register type
  ir::ValueId batch_mean =
      ir::kNone;  // of one batch: outputs of the statistics graph, [C] in the register type
  ir::ValueId batch_variance = ir::kNone;  // unbiased
  double epsilon = 0;
  double momentum = 0;
};

struct StatisticsGraph {
  ir::Graph graph;  // no node, no value but those that a batch's statistics depend on; it changes no state
  std::vector<ir::ValueId> inputs;      // as the training graph's; kNone: no norm depends on it
  std::vector<StatisticsOfNorm> norms;  // in the order of execution; empty: the graph is empty too
};

// `training`: a training graph; `inputs`: those of the network. Made from the finished training graph, so
// that what is measured is what training's running statistics average, and what training leaves alone (frozen
// norms, a momentum of 1) is left alone.
StatisticsGraph statistics_graph(const ir::Graph& training, const std::vector<ir::ValueId>& inputs);

}  // namespace halftone::pass
