#include "api/batches.h"

#include "api/training.h"
#include "base/error.h"
#include "base/resource_error.h"

namespace halftone::api {
namespace {

constexpr int64_t kDefaultBatch = 128;

}  // namespace

std::vector<int64_t> batches_of(int64_t samples) {
  std::vector<int64_t> batches;
  for (int64_t batch = samples; batch >= 1; --batch)
    if (samples % batch == 0 && (batch == samples || batch % 8 == 0 || (batch & (batch - 1)) == 0))
      batches.push_back(batch);
  return batches;
}

void decide_batches(TrainOptions& o, const Log& log) {
  int64_t& batch = o.network.batch;
  if (o.effective_batch > 0) {
    if (o.accumulate > 1)
      throw usage_error("--effective-batch {} and --accumulate {} say the same thing: give one of them",
                        o.effective_batch, o.accumulate);
    if (batch > 0) {
      if (o.effective_batch % batch != 0)
        throw usage_error("--effective-batch {} is no multiple of --batch {}", o.effective_batch, batch);
      o.accumulate = o.effective_batch / batch;
    }
  }
  if (batch != 0) {
    o.effective_batch = 0;
    return;
  }
  // A run that goes on has its batch recorded.
  if (o.resume)
    throw usage_error("--batch auto: give the run's own batch to go on with it (its config.yaml has it)");
  const int64_t samples = o.effective_batch > 0 ? o.effective_batch : kDefaultBatch * o.accumulate;
  o.effective_batch = 0;
  o.accumulate = 1;
  batch = samples;
  const BatchChoice choice = TrainingRun::choose_batch(o);
  if (choice.batch == 0)
    throw resource_error(
        "--batch auto: not even a batch of 1 fits into memory; try --precision fp16, fewer --threads{}",
        o.memory_mib > 0 ? ", or more --memory" : "");
  batch = choice.batch;
  o.accumulate = choice.samples / choice.batch;
  log(fmt::format("--batch auto: {} samples a step as --batch {} --accumulate {}{}", choice.samples, batch,
                  o.accumulate, batch == choice.samples ? "" : ", the largest that fits into memory"));
}

void check_and_decide_batches(TrainOptions& o, const Log& log) {
  TrainOptions checked = o;
  if (checked.network.batch == 0) checked.network.batch = 1;  // auto, which is decided below
  check_training_options(checked, /*given=*/false);
  decide_batches(o, log);
}

}  // namespace halftone::api
