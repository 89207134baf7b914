// Random numbers by (seed, stream, step, element), in plain double arithmetic and own functions: the same on
// every CPU, in every build.
#pragma once

#include <cstdint>

#include "num/dtype.h"
#include "num/random.h"

namespace halftone::kern {

enum class Draw : uint8_t {
  kUniform,      // low + (high - low) * u: u the first 24 of the element's 32 bits, 0 <= u < 1
  kNormal,       // mean + scale * z: z by Box and Muller, from two words of 32 bits
  kBernoulli,    // 1 where the element's 32 bits, u in [0, 1), are below probability[i], else 0; NaN for NaN
  kMultinomial,  // a class by its unnormalised logarithm, see below
};

// Elements first to first + n of a draw, rounded once. y and probability point at the first of them.
struct DrawArgs {
  Draw kind;
  DType dtype;  // of y and of what is read
  void* y;
  int64_t first, n;
  double a = 0, b = 1;  // low and high, or mean and scale
  const void* probability = nullptr;
  num::RandomKey key;
  uint64_t step;
};
void draw(const DrawArgs& a);

// `samples` classes of each of `rows` rows of logarithms [rows, classes], as int64; the row's first is element
// first_row * samples. One of probability 0 is not chosen. A row without a finite sum gives class 0.
struct ChooseArgs {
  DType dtype;
  const void* logarithms;
  int64_t* y;
  int64_t first_row, rows, classes, samples;
  num::RandomKey key;
  uint64_t step;
};
void choose_classes(const ChooseArgs& a);

}  // namespace halftone::kern
