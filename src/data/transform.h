// From a sample as the data has it to its row of a batch: size, augmentation, normalisation, rounding.
//
// Images (bytes), in this order:
//   1. random_resized_crop (training): a random rectangle of 8 % to 100 % of the area and a shape of 3:4 to
//      4:3, scaled to the size; otherwise, if the size differs or `resize` is given: the shorter side is
//      scaled to `resize` (0: as far as the size needs), the other in proportion, and the middle is cut out
//      (torchvision's Resize and CenterCrop)
//   1b. vertical flip, RandAugment, colour jitter, rotation (training; pixels.h)
//   2. crop_padding p (training): p black pixels around, a random rectangle of the size
//   3. flip (training): left and right exchanged, one time in two
//   4. x / 255, then (x - mean) / std for each channel, each step rounded to fp32 as torchvision does; bgr: the
//      channels are written in the other order
//   5. erase (training): zeros in a rectangle, with a probability (pixels.h)
// Values: steps 2 (padded by 0) and 3 if the sample has three dimensions (C,H,W), then (x - mean) / std;
// nothing is divided by 255.
// What comes out is rounded once to the row's type (nearest) and written straight to its place: in the order
// of info.shape, which is C,H,W or (info.channels_last) H,W,C, or channels last where the row asks for it.
//
// Random bits: Philox (num/random.h) with the key of (seed, kAugmentStream), step = epoch, block = 64 *
// sample + draw, where draw 0 is the flip, 1 and 2 the crop's row and column, 3 to 62 the resized crop (six
// draws an attempt, ten attempts). They depend on nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "data/dataset.h"
#include "data/pixels.h"
#include "data/resample.h"
#include "num/dtype.h"
#include "num/half.h"

namespace halftone::data {

// "AUGMENT"
constexpr uint64_t kAugmentStream = 0x4155474D454E54;

// Per channel, or one number for all; empty: mean 0, std 1.
struct Normalization {
  std::vector<float> mean;
  std::vector<float> std;
};

// imagenet, cifar10, cifar100, mnist, fashion-mnist, none. Error(kUsage) lists them.
Normalization normalization_preset(const std::string& name);

struct Augmentation {
  int64_t crop_padding = 0;
  bool flip = false;
  bool random_resized_crop = false;
  PixelChanges pixels = {};
  double erase = 0;  // probability
};

struct TransformOptions {
  Normalization normalization;
  Augmentation augmentation;  // applied in training only
  int64_t resize = 0;
  bool bgr =
      false;  // the three channels of pictures, to which the normalisation belongs, are written last first
};

// The size that a picture of height x width is scaled to, before the middle of geometry's size (C,H,W) is cut
// out of it.
struct ScaledSize {
  int64_t height = 0;
  int64_t width = 0;
};
ScaledSize scaled_size(const Shape& geometry, int64_t resize, int64_t height, int64_t width);

// How a batch holds its samples.
struct RowForm {
  DType storage = DType::kF32;  // fp32, fp16 or bf16
  // C,H,W is written as H,W,C (can_be_channels_last).
  bool channels_last = false;
};
// Whether samples are C,H,W, so that a batch can hold them as H,W,C as well.
bool can_be_channels_last(const DataInfo& info);

class Transform {
 public:
  // Errors (kUsage): numbers of means or deviations other than none, one or one a channel; a deviation that
  // is not positive; bgr, or augmentation, of samples that are not images; a resize that is smaller than the size.
  Transform(const DataInfo& info, const TransformOptions& options, const RowForm& form = {});

  // One thread's working memory.
  struct Scratch {
    Resampler resampler;
    PixelScratch pixels;
  };

  // Writes a row: elements(info.shape) numbers of the form's type. `draws` null: evaluation, without
  // augmentation.
  void apply(const Sample& sample, const Draws* draws, Scratch& scratch, void* row) const;

 private:
  // How far the next channel, row and column of a sample are.
  struct Steps {
    int64_t channel, row, column;
  };
  Steps steps(bool channels_last) const;
  // A number of each channel for each byte, in the row's type.
  template <class T>
  using Table = std::vector<T>;
  template <class T>
  void fill(Table<T>& table) const;
  template <class T>
  void apply_image(const Sample::Pixels& pixels, const Draws* draws, Scratch& scratch, const Table<T>& table,
                   T* row) const;
  template <class T>
  void apply_values(const Sample& sample, const Draws* draws, T* row) const;
  Sample::Pixels sized(const Sample::Pixels& pixels, const Draws* draws, Scratch& scratch) const;

  Shape shape_;
  Shape geometry_;  // C,H,W; empty if it has no such thing
  TransformOptions options_;
  bool image_;
  bool last_;                // samples are H,W,C
  bool writes_last_;         // so are rows
  std::vector<float> mean_;  // one a channel (one if there are none)
  std::vector<float> std_;
  std::variant<Table<float>, Table<num::Fp16>, Table<num::Bf16>>
      table_;  // of the row's type; empty: no bytes
};

}  // namespace halftone::data
