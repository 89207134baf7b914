// Batches whose samples are mixed with each other, labels and all: mixup and cutmix, as torchvision's v2.MixUp and v2.CutMix
// define them.
//   mixup   x_i = l x_i + (1 - l) x_(i-1), x_(-1) being the batch's last sample; l of Beta(a, a), one a batch
//   cutmix  a rectangle of x_i is that of x_(i-1): sides sqrt(1 - l) of the picture's, its middle even over the picture,
//           cut off at the edges; l of Beta(a, a), then the share of the picture that stays
//   labels  rows of shares: l of the sample's class, 1 - l of the other's
// With both, each batch has one of them, one time in two.
//
// Random bits: Philox (num/random.h) with the key of (seed, kMixStream), step = epoch, block = 64 * batch + draw.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace halftone::data {

// "MIXING"
constexpr uint64_t kMixStream = 0x4D4958494E47;

struct Mixing {
  double mixup = 0, cutmix = 0;  // a, in (0, 1]; 0: none
  bool any() const { return mixup > 0 || cutmix > 0; }
};

// What a batch is mixed with.
struct Mixed {
  double share = 1;  // of the sample itself
  bool cuts = false;
  int64_t top = 0, bottom = 0, left = 0, right = 0;  // [top, bottom) and [left, right) come from the other
};
// height, width: of the pictures, for cutmix.
Mixed mixed(const Mixing& mixing, uint64_t seed, uint64_t epoch, uint64_t batch, int64_t height,
            int64_t width);

// Rows [0, rows) of samples, [batch, C, H, W] or, channels last, [batch, H, W, C], or of any shape for mixup.
void mix_samples(Tensor& samples, int64_t rows, const Mixed& by, bool channels_last);
// Rows of fp32 shares.
void mix_labels(Tensor& labels, int64_t rows, const Mixed& by);

}  // namespace halftone::data
