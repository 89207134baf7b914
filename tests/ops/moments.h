// What norms are computed from, for the tests of several.
#pragma once

#include <span>

namespace halftone::ops::test {

struct Moments {
  double mean = 0;
  double variance = 0;  // the biased one
};

inline Moments moments_of(std::span<const double> x) {
  Moments m;
  for (const double v : x) m.mean += v / static_cast<double>(x.size());
  for (const double v : x) m.variance += (v - m.mean) * (v - m.mean) / static_cast<double>(x.size());
  return m;
}

}  // namespace halftone::ops::test
