// A share of a data set that is held out for validation, and the rest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace halftone::data {

struct Share {
  int64_t hundredths = 0;  // of a percent, above 0 and below 10000
  bool held_out = true;    // the share itself; false: all other samples
};

// Of sample r = 0, 1, ... of the n samples of a class, in the set's order, those are held out for which
// floor((r + 1) p + 1/2) > floor(r p + 1/2), p being the share: n p of them, rounded, evenly spread. Samples that
// have no class (numbers, positions) count as one class, and those of several sizes by size too. It depends on the
// samples' order and classes alone, on no seed. usage Error: the share, or the rest, would be empty.
std::vector<int64_t> share_of(const Dataset& set, const Share& share);

// "10%": a number of hundredths; 0: `text` is no percentage. usage Error: it is not between 0% and 100%.
int64_t parse_share(const std::string& text);
// "[val=10%]", as a SPEC has it.
std::string text_of(const Share& share);

}  // namespace halftone::data
