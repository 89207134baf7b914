// Batches of a data set, prepared ahead by threads of its own.
//
// Order: training takes the samples of an epoch in the order of a Fisher-Yates shuffle of 0, 1, …, size - 1:
// for i = size - 1 down to 1, exchange places i and random_below(key, i, epoch, i + 1) with the key of (seed,
// kOrderStream) (num/random.h). Evaluation takes them as they are. Augmentation draws its bits from (seed,
// epoch, sample) (transform.h). Samples of several sizes (DataInfo::size_classes): a batch has one size.
// Training deals the samples, in the order of the epoch, to the open batch of their class; a batch comes when
// it is full. Evaluation ends a batch where the class changes. So batch b of epoch e is a function of (data,
// options, e, b) and of nothing else: not of the number of threads, nor of what was read before. start(e, b)
// goes on in the middle of an epoch with the same batches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/mixing.h"
#include "data/transform.h"
#include "tensor/tensor.h"

namespace halftone::data {

// "BALANCE": balanced epochs draw place i's class and sample as random_below of elements 2 i and 2 i + 1.
constexpr uint64_t kBalanceStream = 0x42414C414E4345;
// "ORDER"
constexpr uint64_t kOrderStream = 0x4F52444552;

struct LoaderOptions {
  int64_t batch = 128;
  // Shuffle, augment and leave out the last batch if it is not full; otherwise none of the three.
  bool training = true;
  // Training: the last batch (of each size class) is delivered although it is not full (Batch::count), unless
  // there is no full one.
  bool keeps_last = false;
  // What Batch::size_class says of the set's classes, by their numbers; empty: these.
  std::vector<size_t> size_classes = {};
  // Training: an epoch has as many samples as the set, each drawn by itself: first its class, all of them alike, then
  // one of its samples. Of sets with one class a sample and one size.
  bool balanced = false;
  // Training: batches are mixed, and have rows of shares of the classes (fp32, FieldRole::kTarget) instead of their
  // labels. Of sets with one class a sample, without weights and further fields; cutmix of C,H,W or H,W,C.
  Mixing mixing = {};
  uint64_t seed = 0;
  // Threads that prepare batches; 0: as many as the process may use.
  int threads = 0;
  // Batches prepared ahead, at least 1. Memory is that many batches and two more.
  int64_t ahead = 4;
  TransformOptions transform;
  // Of the samples, which are rounded to it (nearest) after everything else: fp32, fp16 or bf16.
  DType storage = DType::kF32;
  // Samples that are C,H,W come as H,W,C (can_be_channels_last; BatchField::axes says so).
  bool channels_last = false;
};

struct BatchField {
  std::string name;
  FieldRole role = FieldRole::kInput;
  Tensor data;  // [batch, …]
  // Axis i of `data` is axis axes[i] of [batch, …] as the field has them; empty: the same order.
  std::vector<int64_t> axes = {};
};

struct Batch {
  // One for each of DataInfo::fields(), in their order. Inputs of floats have the loader's storage type. Rows
  // from `count` on are 0, class labels without weights -1 there.
  std::vector<BatchField> fields;
  const Tensor& field(std::string_view name) const;  // which must be there
  const Tensor* find(std::string_view name) const;   // null: there is none
  std::vector<int64_t> indices;                      // of the `count` samples in the data set
  int64_t count = 0;  // samples; below `batch` only in the last one (of its size class)
  int64_t epoch = 0;
  int64_t number = 0;     // in its epoch
  size_t size_class = 0;  // of all its samples (LoaderOptions::size_classes)
};

class Loader {
 public:
  // Errors: those of Transform; a batch below 1; training with fewer samples than a batch.
  Loader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // What a loader of these options takes.
  struct Memory {
    int64_t batches = 0;  // those prepared ahead and the one in use, and the order of an epoch
    int64_t thread = 0;   // each of its threads: what is made of a sample
    int64_t decode =
        0;  // each thread, while it decodes a picture; all together no more than data/decode_budget.h grants
  };
  static Memory memory(const Dataset& dataset, const LoaderOptions& options);

  const Dataset& dataset() const;
  // Batches an epoch.
  int64_t batches() const;

  // The next batch is `first_batch` (in [0, batches()]) of `epoch`. Drops what was prepared. Call it before
  // the first next().
  void start(int64_t epoch, int64_t first_batch = 0);

  // The next batch of the epoch; false at its end. `batch`'s memory from an earlier call is reused. An error
  // of a sample is thrown when its batch is due, always that of the lowest row; after it, start() goes on.
  bool next(Batch& batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Batches an epoch, of a set whose size classes have so many samples.
int64_t training_batches(const std::vector<int64_t>& samples_of_classes, int64_t batch, bool keeps_last);

// Samples by their class, those without one left out: of sets with one class a sample (usage Error: others, named by
// `option`). Decodes no picture.
std::vector<std::vector<int64_t>> samples_by_class(const Dataset& set, const char* option);

// The order of the samples in an epoch of training.
std::vector<int64_t> shuffled(int64_t size, uint64_t seed, uint64_t epoch);

}  // namespace halftone::data
