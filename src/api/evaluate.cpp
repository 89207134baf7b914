#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "api/batch_axis.h"
#include "api/figures.h"
#include "api/input.h"
#include "api/memory.h"
#include "api/metric_report.h"
#include "api/numbers.h"
#include "api/precision.h"
#include "api/run_facts.h"
#include "api/session.h"
#include "api/weights.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "halftone/options.h"
#include "train/noticed.h"

namespace halftone {

RunResult evaluate_model(const EvalOptions& o, const Log& log) {
  return api::evaluate_as(o, {}, log);
}

RunResult api::evaluate_as(const EvalOptions& given, const data::ColumnPlan& columns, const Log& log) {
  EvalOptions o = given;
  const RunFacts run = facts_of_run(o.network.model);
  take_embeddings(o.network, o.data, run, o.given, log);
  take_from_run(o.network, o.data, run, o.given, kEval, log);
  api::check_numbers(o.network);
  api::check_numbers(o.data);
  TrainOptions ranges;
  ranges.network = o.network;
  check_ranges(ranges, kEval);
  api::check_precision_option(o.network);
  const DType storage = api::parse_precision(o.network.precision);
  const kern::Multiply multiply = api::parse_multiply(o.network.multiply, storage);
  const onnx::Model file = api::open_model(o.network, false, log);
  resolve_normalization(o.data, o.network.model, file, log);
  onnx::Model model = api::choose_output(file, o.network, log);
  api::bind_dims(model, o.network.dims);
  api::Labelling labelling(o.network, o.data, model, {}, log);
  labelling.set_evaluation();
  if (!columns.empty()) labelling.keep_columns(columns);
  const api::Data data = api::open_data(o.data.data, {"test", "val", "train"}, o.data, model, labelling, log);
  api::warn_of_other_normalization(o.network.model, data.transform.normalization, log);
  const bool fixed_batch = api::check_network(o.network, model, ops::Mode::kEval, {}, &data);
  api::warn_of_mixed_samples(model, data, o.data, fixed_batch ? o.network.batch : 0, log);
  const api::PrecisionSubject subject{
      model, data, data.target.loss, multiply, ops::Mode::kEval, ops::BatchNormMode::kFreeze, fixed_batch};
  const auto checked = api::require_precision(subject, o.network, o.data, log);
  train::CompileOptions n =
      api::evaluation_options(data, data.target.loss, storage, multiply, o.network.batch, fixed_batch,
                              api::threads_of(o.network.threads));
  n.metrics_bytes = metrics_bytes(data);
  const auto importer_of = [&](DType of) {
    return api::make_importer(model, of, ops::BatchNormMode::kFreeze, nullptr, {}, {}, data.sizes,
                              data.embedding);
  };
  const api::MemoryPlan memory{.importer = importer_of, .compile = n, .data = &data, .data_options = &o.data};
  n.before_allocation = api::memory_check(memory, log);
  train::Network network(importer_of(storage), n);
  api::report_narrowing(network.prepare_evaluation(), storage, log);
  log(fmt::format("loss {}; {} multiplies {}, {} threads, {}", api::describe(network.losses()),
                  o.network.precision, api::name_of(multiply, storage), n.threads,
                  kern::name_of(kern::active_isa())));
  const auto loader = api::make_loader(data, o.data, n.batch, false, o.network.seed,
                                       {n.samples->storage, network.wants_channels_last()});
  const double start = now_seconds();
  train::NoticedInfinities::Check check;
  if (o.network.check_precision == "on")
    check = [&](const data::Batch& batch, uint64_t micro_step) {
      return api::check_batch(subject, o.network, multiply, batch, micro_step, network.store());
    };
  train::NoticedInfinities infinities(check, log);
  const auto noticed = [&](const exec::NonFinite& first, const data::Batch& batch, int64_t number,
                           int64_t before) {
    const std::string where = fmt::format("samples {} to {}", before, before + batch.count - 1);
    if (const auto wrong = infinities.consider(first, batch, 0, number, where))
      throw numerical_error("{}: {}{}", where, *wrong, api::kSkipsCheck);
  };
  network.measure_more();
  const train::Score score = network.evaluate(*loader, {}, {}, noticed);
  RunResult r;
  r.seconds = now_seconds() - start;
  r.val_loss = score.loss();
  for (const std::string& line : api::losses_text(network.losses(), score)) log(line);
  r.val_accuracy = score.accuracy();
  const std::vector<api::LossMetrics> metrics = api::metrics_of(network, score, data, o.network);
  r.samples_per_second = r.seconds > 0 ? static_cast<double>(score.samples) / r.seconds : 0;
  r.planned_bytes = std::max(network.planned_bytes(), checked ? checked->planned_bytes : 0);
  if (checked) {
    network.release_activations();
    const api::FiguresCheck figures = api::check_figures(subject, network.evaluated(), o.network, o.data,
                                                         checked->explained, std::max(1.0, 0.05 * r.seconds));
    if (!figures.finding.empty()) throw numerical_error("{}{}", figures.finding, api::kSkipsCheck);
    r.planned_bytes = std::max(r.planned_bytes, figures.planned_bytes);
  }
  r.peak_rss_bytes = train::peak_rss_bytes().value_or(0);
  train::Summary s = api::summary_of("eval", o.network, r);
  s.samples = score.samples;
  nlohmann::json extra{{"loss", pass::name_of(network.loss())}, {"bad_samples", data.set->info().skipped}};
  api::add_losses(extra, network.losses(), score);
  if (const auto perplexity = api::perplexity_of(data.task, score.loss())) {
    log(fmt::format("perplexity {:.6g}", *perplexity));
    if (std::isfinite(*perplexity)) extra["perplexity"] = *perplexity;
  }
  extra["metrics"] = api::short_json(metrics);
  const std::string all_in = o.metrics_out.empty() ? "metrics.json of --metrics-out DIR" : o.metrics_out;
  for (const std::string& line : api::table_of(metrics, all_in)) r.metrics += line + "\n";
  if (!o.metrics_out.empty()) {
    make_folder(o.metrics_out);
    api::write_metrics(o.metrics_out, metrics);
  }
  r.summary_json = train::to_json(s, extra.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  return r;
}

}  // namespace halftone
