// Decoded images kept in memory.
#pragma once

#include <memory>

#include "data/dataset.h"

namespace halftone::data {

// The samples of `base`, which are images; each one's pixels are kept from its first reading on until
// `budget_bytes` are used up. What is read does not depend on it. The rest is decoded anew each time.
std::unique_ptr<Dataset> cached(std::unique_ptr<Dataset> base, int64_t budget_bytes);

}  // namespace halftone::data
