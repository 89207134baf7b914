// Resizing of pictures of bytes: a triangle filter as wide as the reduction, so that nothing aliases. The
// same values, bit for bit, as Pillow's Image.resize(…, Image.BILINEAR, box): 22-bit fixed-point weights,
// columns first, rounded to bytes between the passes.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace halftone::data {

// A rectangle of pixels, inside the picture.
struct Box {
  int64_t top = 0;
  int64_t left = 0;
  int64_t height = 0;
  int64_t width = 0;
};

// One thread's working memory, reused.
class Resampler {
 public:
  // `box` of `from` scaled to height x width, as channels x height x width in memory that stays until the
  // next call.
  Sample::Pixels resize(const Sample::Pixels& from, const Box& box, int64_t height, int64_t width);

 private:
  struct Weights {
    std::vector<int64_t> first;  // of the source, one an output position
    std::vector<int64_t> count;
    std::vector<int32_t> values;  // `stride` an output position
    int64_t stride = 0;
  };
  static void fill(Weights& weights, int64_t from, int64_t to);

  Weights across_;
  Weights down_;
  std::vector<uint8_t> columns_;
  std::vector<uint8_t> out_;
};

}  // namespace halftone::data
