#include "api/precision.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::api {

void check_precision_option(const NetworkOptions& o) {
  if (o.check_precision != "on" && o.check_precision != "off")
    throw usage_error("--check-precision {} is not known; it is on or off", o.check_precision);
}

std::optional<train::PrecisionCheck> check_precision(const PrecisionSubject& s, const NetworkOptions& options,
                                                     const DataOptions& data_options) {
  const DType storage = parse_precision(options.precision);
  if (!is_16bit(storage)) return std::nullopt;
  train::PrecisionCheckOptions o;
  o.storage = storage;
  o.multiply = s.multiply;
  o.loss = s.loss;
  o.mode = s.mode;
  o.seed = options.seed;
  if (s.fixed_batch && s.data.set->size() < options.batch) return std::nullopt;
  o.batch = s.fixed_batch ? options.batch
                          : std::min({options.batch, train::kPrecisionCheckBatch, s.data.set->size()});
  o.threads = threads_of(options.threads);
  // A loader of its own, so that the run's own order and random bits are as without it.
  const auto loader = make_loader(s.data, data_options, o.batch, s.mode == ops::Mode::kTrain, options.seed);
  return train::check_precision(
      make_importer(s.model, DType::kF32, s.batch_norm, s.restored, s.tensors, s.frozen_norms),
      make_importer(s.model, storage, s.batch_norm, s.restored, s.tensors, s.frozen_norms), *loader, o);
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
  if (!checked->fits)
    throw numerical_error("{}\n  (--check-precision off skips this check)", checked->finding);
  log(fmt::format(
      "precision: on {} samples the loss is {:.6g} in {}, {:.6g} in fp32 (rounding explains {:.2g})",
      checked->samples, checked->loss, options.precision, checked->loss_fp32, checked->explained));
  if (!checked->finding.empty()) log("warning: " + options.precision + ": " + checked->finding);
  return checked;
}

}  // namespace halftone::api
