// Changes to the bytes of a picture in training: vertical flip, RandAugment, colour jitter and rotation, in this order,
// before what transform.h does to it. What each does is torchvision's definition (its functions on tensors of bytes,
// nearest pixels, black outside):
//   vertical flip   top and bottom exchanged, one time in two
//   RandAugment N,M N operations of the 14, each with the strength M of 31 steps, the sign drawn where it has one
//   colour jitter   brightness, contrast, saturation in an order that is drawn, factors even in [max(0, 1 - s), 1 + s];
//                   hue even in [-s, s] of the circle. Grey pictures: brightness and contrast
//   rotation        by an angle even in [-d, d] degrees around the middle
//
// Random bits: Philox (num/random.h) with the key of (seed, kPixelStream), step = epoch, block = 64 * sample + draw:
// they depend on nothing else. Sines, cosines and the like are series of our own, so that every machine has the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace halftone::data {

struct Draws;  // transform.h

// "PIXELS"
constexpr uint64_t kPixelStream = 0x504958454C53;

struct PixelChanges {
  bool vertical_flip = false;
  int64_t operations = 0;  // RandAugment's N; 0: none
  int64_t strength = 0;    // its M, 0 to 30
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;
  double rotation = 0;  // degrees

  bool any() const {
    return vertical_flip || operations > 0 || brightness > 0 || contrast > 0 || saturation > 0 || hue > 0 ||
           rotation > 0;
  }
};

// One thread's working memory.
struct PixelScratch {
  std::vector<uint8_t> picture, other;
};

// The picture after the changes, in the scratch's memory. Of 1 or 3 channels.
Sample::Pixels changed_pixels(const Sample::Pixels& pixels, const PixelChanges& changes, const Draws& draws,
                              PixelScratch& scratch);

// Where random erasing (one rectangle of 2 % to 33 % of the area, 3:10 to 10:3, zeros after normalisation) falls; none:
// nowhere. Ten attempts, as torchvision has them.
struct Erased {
  int64_t row = 0, column = 0, height = 0, width = 0;
};
Erased erased(int64_t height, int64_t width, double probability, const Draws& draws);

// Single operations, for tests and for RandAugment: torchvision's names, and Hue. `strength`: its magnitude, signed.
void apply_operation(const std::string& name, double strength, Sample::Pixels& pixels, PixelScratch& scratch);

}  // namespace halftone::data
