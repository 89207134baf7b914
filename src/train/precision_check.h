// Is the network in 16 bits the network of the file? Before the first step, and before an evaluation: a few
// batches in the run's precision and in fp32, compared. An overflow can hide: an infinite variance makes a
// quotient 0, and everything after it is finite. docs/numerics.md says what is compared with what, and why
// so.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "train/network.h"

namespace halftone::train {

struct PrecisionCheckOptions {
  DType storage = DType::kF16;  // 16 bits
  kern::Multiply multiply = kern::Multiply::kBlock;
  pass::LossOptions loss;
  Feeding feeding;
  ops::Mode mode = ops::Mode::kTrain;  // batch norms and dropout as in training, or as in evaluation
  uint64_t seed = 0;                   // of dropout
  uint64_t micro_step = 0;
  int64_t batch = 1;      // of the loader
  size_t size_class = 0;  // of its batches
  int threads = 1;
};

struct PrecisionCheck {
  int64_t samples = 0;
  double loss = 0;  // in `storage`; may be anything, NaN too
  double loss_fp32 = 0;
  double explained = 0;  // a difference of the losses that rounding explains
  bool fits = true;
  bool overflows = false;  // what does not fit begins with a tensor beyond the range
  // What there is to say: of a network that does not fit, the tensor where it begins and what to try; of one
  // that does, empty, or what may become a trouble (an infinity that does not reach the loss).
  std::string finding;
  int64_t planned_bytes = 0;  // of the larger of the two networks
};

// A loader's batch of this size is small against the memory of a run's batch, and large enough for batch
// norms.
inline constexpr int64_t kPrecisionCheckBatch = 16;

// `wide`, `narrow`: the network in fp32 and in options.storage. Takes full batches from the start of the
// loader's first epoch: at least one, at most 64 samples, and no further one after a quarter of a second. The
// loader delivers fp32.
PrecisionCheck check_precision(const Importer& wide, const Importer& narrow, data::Loader& loader,
                               const PrecisionCheckOptions& options);

// The same for a batch of a run, with the weights that `weights` holds: of its parts of options.batch samples
// the one whose losses differ most. The batch has so many rows at least.
PrecisionCheck check_batch(const Importer& wide, const Importer& narrow, const data::Batch& batch,
                           const exec::Store& weights, const PrecisionCheckOptions& options);

}  // namespace halftone::train
