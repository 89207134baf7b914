// Names under which a run keeps its own numbers beside the network's.
#pragma once

#include <string>
#include <vector>

namespace halftone::train {

// The optimizer's state, statistics and restored batch norms are kept, in memory and in checkpoints, under a
// tensor's name with an end of its own (#momentum, .pending, ...). Error when one of the network's `tensors`
// has such an end.
void check_own_names(const std::vector<std::string>& tensors, const std::string& model);

}  // namespace halftone::train
