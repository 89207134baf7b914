// Which options a training run can have, and what they become.
#include <algorithm>

#include "api/beginning.h"
#include "api/columns.h"
#include "api/numbers.h"
#include "api/precision.h"
#include "api/rates.h"
#include "api/training.h"
#include "api/watch.h"
#include "base/error.h"
#include "halftone/options.h"
#include "train/loss_scale.h"
#include "train/schedule.h"

namespace halftone::api {
namespace {

template <class T>
void require(bool condition, const char* option, const T& value, const char* expected) {
  if (!condition) throw usage_error("{} {} is not possible: expected {}", option, value, expected);
}

}  // namespace

train::Schedule schedule_of(const TrainOptions& o) {
  train::Schedule s = train::parse_schedule(o.schedule);
  if (s.kind != train::ScheduleKind::kPlateau) return s;
  const bool larger = parse_watch(o.watch).front().larger_is_better();
  const char* mode = larger ? "max" : "min";
  const size_t given = o.schedule.find("mode=");
  if (given != std::string::npos && o.schedule.compare(given + 5, 3, mode) != 0)
    throw usage_error("--schedule {} goes with --watch {}, not with --watch {}", o.schedule,
                      larger ? "loss" : "accuracy", o.watch);
  s.mode = larger ? train::Direction::kMax : train::Direction::kMin;
  return s;
}

void check_training_options(const TrainOptions& o, bool given) {
  check_numbers(o);
  check_ranges(o, kTrain);
  require(!o.nesterov || (o.momentum > 0 && o.optimizer == "sgd"), "--nesterov", true,
          "--optimizer sgd with a --momentum above 0");
  parse_watch(o.watch);
  require(o.evaluate_first == "on" || o.evaluate_first == "off", "--evaluate-first", o.evaluate_first,
          "on or off");
  // Names are looked up before any data is opened.
  parse_optimizer(o.optimizer);
  parse_rounding(o.rounding);
  parse_losses(o.network);
  if (o.network.class_weights != kBalanced) parse_class_weights(o.network.class_weights);
  check_beginning(o, given);
  check_rates(o);
  pixel_changes(o.data);
  require(o.last == "drop" || o.last == "keep", "--last", o.last, "drop or keep");
  if (o.last == "keep" && o.accumulate > 1)
    throw usage_error(
        "--last keep goes with --accumulate 1: a step of {} batches would weight a smaller one as a full one",
        o.accumulate);
  check_batch_norms(o.network.batchnorm);
  check_precision_option(o.network);
  threads_of(o.network.threads);
  train::LossScale::parse(o.loss_scale, parse_precision(o.network.precision));
  schedule_of(o);
  if (train::parse_statistics(o.bn_statistics) == train::StatisticsChoice::kMeasure &&
      o.network.batchnorm == "freeze")
    throw usage_error(
        "--bn-statistics measure does not work with --batchnorm freeze, which leaves the running statistics "
        "as they are");
  if (o.network.model.empty()) throw usage_error("the options name no network (network.model)");
  if (!given && o.data.data.empty()) throw usage_error("the options name no samples (data.data)");
  if (!given) return;
  if (!o.data.data.empty())
    throw usage_error(
        "a session that is given its batches has no data of its own; leave data.data ({}) empty",
        o.data.data);
  if (!o.data.val.empty() && o.data.val != "none")
    throw usage_error(
        "a session that is given its batches has no validation data of its own: evaluate batches, and leave "
        "data.val ({}) empty",
        o.data.val);
  if (o.data.flip || o.data.crop_padding > 0 || o.data.random_resized_crop || pixel_changes(o.data).any() ||
      o.data.erase > 0)
    throw usage_error(
        "batches that are given are taken as they are: --flip, --crop-padding, --random-resized-crop and the "
        "other "
        "options of augmentation have no effect");
  if (o.mixup > 0 || o.cutmix > 0)
    throw usage_error("batches that are given are taken as they are: --mixup and --cutmix have no effect");
  if (o.balanced || o.network.class_weights == kBalanced || o.eval_every > 0)
    throw usage_error(
        "batches that are given are taken as they are: --balanced, --class-weights balanced and --eval-every "
        "need data "
        "of the run's own");
  if (o.data.skip_bad)
    throw usage_error("batches that are given are trained whole: --skip-bad has no effect");
  if (const DataOptions none;
      has_column_options(o.data) || o.data.label_column != none.label_column ||
      o.data.csv_header != none.csv_header || o.data.csv_delimiter != none.csv_delimiter ||
      o.data.csv_decimal != none.csv_decimal || o.data.unknown_category != none.unknown_category ||
      !o.data.columns_file.empty())
    throw usage_error(
        "batches that are given are arrays: options of CSV files (--label-column, --csv-header, "
        "--standardize, --one-hot, "
        "...) have no effect; give the numbers as the network takes them");
  if (o.last == "keep")
    throw usage_error("--last keep has no meaning for batches that are given: each has the example's size");
  const train::ScheduleKind kind = schedule_of(o).kind;
  if (kind == train::ScheduleKind::kStep || kind == train::ScheduleKind::kPlateau)
    throw usage_error("--schedule {} counts epochs or evaluations, which batches that are given do not have",
                      o.schedule);
  if (kind != train::ScheduleKind::kConstant && o.steps == 0)
    throw usage_error("--schedule {} needs the number of --steps where batches are given", o.schedule);
  if (o.patience > 0 || o.keep_best)
    throw usage_error(
        "--patience and --keep-best count evaluations at the ends of epochs, which batches that are given do "
        "not have");
  if (o.bn_statistics == "measure")
    throw usage_error(
        "--bn-statistics measure needs training data to measure over; batches that are given have the "
        "running statistics");
}

pass::TrainingOptions training_options(const TrainOptions& o, DType storage, const Data& data,
                                       std::set<std::string> frozen) {
  pass::TrainingOptions t;
  t.storage = storage;
  t.loss = data.target.loss;
  t.optimizer.kind = parse_optimizer(o.optimizer);
  t.optimizer.rounding = parse_rounding(o.rounding);
  t.frozen = std::move(frozen);
  // fp32 is the baseline that 16 bits are held against: plain rounding, as everybody trains.
  if (!is_16bit(storage)) t.optimizer.rounding = kern::Rounding::kNearest;
  const bool uses_momentum =
      t.optimizer.kind == kern::Optimizer::kSgd || t.optimizer.kind == kern::Optimizer::kRmsProp;
  t.optimizer.momentum = uses_momentum ? o.momentum : 0;
  t.optimizer.nesterov = o.nesterov;
  t.optimizer.weight_decay = o.weight_decay;
  t.optimizer.decay_all = o.decay_all;
  t.optimizer.beta1 = o.beta1;
  t.optimizer.beta2 = o.beta2;
  t.optimizer.alpha = o.alpha;
  t.optimizer.eps = o.eps;
  t.accumulate = o.accumulate > 1;
  t.average_decay = o.ema;
  return t;
}

}  // namespace halftone::api
