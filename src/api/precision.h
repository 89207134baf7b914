// --check-precision: 16 bits are checked before they are used.
#pragma once

#include <optional>
#include <set>

#include "api/session.h"
#include "train/precision_check.h"

namespace halftone::api {

// Error (usage) when --check-precision is neither on nor off.
void check_precision_option(const NetworkOptions& options);

// What is compared: the network with its batch norms, as training or evaluation has them.
struct PrecisionSubject {
  const onnx::Model& model;
  const Data& data;
  pass::LossOptions loss;
  kern::Multiply multiply;
  ops::Mode mode;
  ops::BatchNormMode batch_norm;
  bool fixed_batch = false;  // the graph works with options.batch samples alone
  const pass::RestoredBatchNorms* restored = nullptr;
  TrainFreeze tensors = {};
  std::set<size_t> frozen_norms = {};
};

// Samples of a batch in fp32 that is small against the memory of a run's batch in 16 bits: fewer where each
// has many positions with many classes, as with a vocabulary.
int64_t batch_of_check(const PrecisionSubject& subject, int64_t batch, int64_t samples);

// A batch in which an infinity was noticed, with the weights that a network has by now.
train::PrecisionCheck check_batch(const PrecisionSubject& subject, const NetworkOptions& options,
                                  kern::Multiply multiply, const data::Batch& batch, uint64_t micro_step,
                                  const exec::Store& weights);

// Ends what such an error says.
inline constexpr const char* kSkipsCheck = "\n  (--check-precision off skips this check)";

// None for storage of more than 16 bits, and where there is no full batch of a network that works with full
// ones alone.
std::optional<train::PrecisionCheck> check_precision(const PrecisionSubject& subject,
                                                     const NetworkOptions& options,
                                                     const DataOptions& data_options);

// The same, said: a line with both losses, a warning with what may become a trouble, or Error (numerical)
// with the first tensor that does not fit. None when it is off.
std::optional<train::PrecisionCheck> require_precision(const PrecisionSubject& subject,
                                                       const NetworkOptions& options,
                                                       const DataOptions& data_options, const Log& log);

}  // namespace halftone::api
