// Decoded images kept in memory.
#pragma once

#include <memory>

#include "data/dataset.h"

namespace halftone::data {

// The samples of `base`, which are images; each one's pixels are kept from its first reading on until
// `budget_bytes` are used up; at_size: at the size that Transform scales it to (with this `resize`), where that is smaller. What
// a batch gets does not depend on it. The rest is decoded anew each time.
std::unique_ptr<Dataset> cached(std::unique_ptr<Dataset> base, int64_t budget_bytes, bool at_size, int64_t resize);

}  // namespace halftone::data
