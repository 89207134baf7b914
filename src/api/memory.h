// Whether a run fits into the memory that the system allows, asked before it takes any for its steps.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "api/session.h"

namespace halftone::api {

struct MemoryPlan {
  // Importer of the network for this storage; empty where only the run's own can be had.
  std::function<train::Importer(DType storage)> importer = {};
  train::CompileOptions compile = {};
  bool training = false;
  int64_t accumulate = 1;
  const Data* data = nullptr;
  const Data* validation = nullptr;  // its loader is there at the same time
  const DataOptions* data_options = nullptr;
  std::string root = {};   // of the files that say what the limits are, for tests
  int64_t most_bytes = 0;  // that the user lets the process have (--memory); 0: what the system does
};

// For CompileOptions::before_allocation: Error (resources) when what the program takes, together with the
// batches that are prepared ahead and the threads that prepare them, is more than any limit leaves, saying
// what is needed, what is left by which limit, and which --batch, --precision or --threads would fit (each
// was planned, not estimated). A warning where it fits but barely. Caches of decoded images get no more room
// than is left besides; a line says so where that is not all. `plan`, what it points to and `log` must
// outlive the function.
std::function<void(int64_t bytes)> memory_check(const MemoryPlan& plan, const Log& log);

// The first of these batches, the largest first, with which a run of this plan fits, with a reserve; 0: none. Plans
// alone, takes no memory.
int64_t largest_fitting_batch(const MemoryPlan& plan, const std::vector<int64_t>& batches);

}  // namespace halftone::api
