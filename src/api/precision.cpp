#include "api/precision.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::api {

void check_precision_option(const NetworkOptions& o) {
  if (o.check_precision != "on" && o.check_precision != "off")
    throw usage_error("--check-precision {} is not known; it is on or off", o.check_precision);
}

int64_t batch_of_check(const PrecisionSubject& s, int64_t batch, int64_t samples) {
  if (s.fixed_batch) return batch;
  constexpr int64_t kMostNumbers = int64_t{1} << 20;  // 4 MiB in fp32
  const data::LabelReading& labels = s.data.set->info().reading;
  const int64_t numbers =
      labels.kind == data::LabelKind::kPositions ? labels.classes * elements(labels.shape) : 1;
  // Of two samples a batch norm has statistics.
  const int64_t small = std::max<int64_t>(2, kMostNumbers / std::max<int64_t>(1, numbers));
  return std::min({batch, train::kPrecisionCheckBatch, samples, small});
}

namespace {

train::PrecisionCheckOptions options_of(const PrecisionSubject& s, const NetworkOptions& options) {
  train::PrecisionCheckOptions o;
  o.storage = parse_precision(options.precision);
  o.multiply = s.multiply;
  o.loss = s.loss;
  o.feeding = s.data.plan.feeding;
  o.mode = s.mode;
  o.seed = options.seed;
  o.batch = batch_of_check(s, options.batch, s.data.set->size());
  o.threads = threads_of(options.threads);
  return o;
}

train::Importer importer(const PrecisionSubject& s, DType storage) {
  return make_importer(s.model, storage, s.batch_norm, s.restored, s.tensors, s.frozen_norms, s.data.sizes,
                       s.data.embedding);
}

}  // namespace

train::PrecisionCheck check_batch(const PrecisionSubject& s, const NetworkOptions& options,
                                  kern::Multiply multiply, const data::Batch& batch, uint64_t micro_step,
                                  const exec::Store& weights) {
  train::PrecisionCheckOptions o = options_of(s, options);
  o.multiply = multiply;
  o.micro_step = micro_step;
  if (!s.fixed_batch) o.batch = std::min(o.batch, batch.count);
  o.size_class = batch.size_class;
  return train::check_batch(importer(s, DType::kF32), importer(s, o.storage), batch, weights, o);
}

std::optional<train::PrecisionCheck> check_precision(const PrecisionSubject& s, const NetworkOptions& options,
                                                     const DataOptions& data_options) {
  if (!is_16bit(parse_precision(options.precision))) return std::nullopt;
  // Of samples of several sizes those of one, which is the largest unless somebody chose among them.
  const size_t size_class = s.data.set->size_class(0);
  const Data data = of_size_class(s.data, size_class);
  if (s.fixed_batch && data.set->size() < options.batch) return std::nullopt;
  train::PrecisionCheckOptions o = options_of(s, options);
  o.batch = std::min(o.batch, data.set->size());
  o.size_class = data.number(size_class);
  // A loader of its own, so that the run's own order and random bits are as without it.
  const auto loader = make_loader(data, data_options, o.batch, s.mode == ops::Mode::kTrain, options.seed);
  return train::check_precision(importer(s, DType::kF32), importer(s, o.storage), *loader, o);
}

std::optional<train::PrecisionCheck> require_precision(const PrecisionSubject& subject,
                                                       const NetworkOptions& options,
                                                       const DataOptions& data_options, const Log& log) {
  if (!is_16bit(parse_precision(options.precision))) return std::nullopt;
  if (options.check_precision == "off") {
    log("precision: not checked against fp32 (--check-precision off)");
    return std::nullopt;
  }
  const auto checked = check_precision(subject, options, data_options);
  if (!checked) {
    log("warning: precision: not checked against fp32, because the samples do not fill one batch of this "
        "network");
    return std::nullopt;
  }
  if (!checked->fits) throw numerical_error("{}{}", checked->finding, kSkipsCheck);
  log(fmt::format(
      "precision: on {} samples the loss is {:.6g} in {}, {:.6g} in fp32 (rounding explains {:.2g})",
      checked->samples, checked->loss, options.precision, checked->loss_fp32, checked->explained));
  if (!checked->finding.empty()) log("warning: " + options.precision + ": " + checked->finding);
  return checked;
}

}  // namespace halftone::api
