// halftone predict: what a network makes of samples that need no labels.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "api/identity.h"
#include "api/input.h"
#include "api/memory.h"
#include "api/npy.h"
#include "api/numbers.h"
#include "api/outputs.h"
#include "api/prediction_rows.h"
#include "api/run_facts.h"
#include "api/session.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/stop.h"
#include "halftone/options.h"
#include "train/diagnosis.h"

namespace halftone {
namespace {

namespace fs = std::filesystem;
using RowSink = std::function<void(const std::string&)>;

enum class Format : uint8_t { kCsv, kJson, kNpy };

Format format_of(const PredictOptions& o) {
  const std::string ending = fs::path(o.out).extension().string();
  if (o.format == "npy" || (o.format == "auto" && ending == ".npy")) {
    if (o.out.empty()) throw usage_error("--format npy goes into a file: give --out FILE.npy");
    if (o.with_labels || o.top > 1 || o.probabilities)
      throw usage_error("--format npy has numbers alone: no --with-labels, --top or --probabilities");
    return Format::kNpy;
  }
  if (o.format == "csv" || o.format == "jsonl") return o.format == "jsonl" ? Format::kJson : Format::kCsv;
  if (o.format != "auto")
    throw usage_error("--format {} is not known; it is auto, csv, jsonl or npy", o.format);
  if (ending == ".jsonl" || ending == ".ndjson") return Format::kJson;
  if (o.out.empty() || ending == ".csv") return Format::kCsv;
  throw usage_error("--out {}: neither .csv, .jsonl nor .npy; give --format csv, jsonl or npy", o.out);
}

// The numbers of all samples, in the order of their places in the data.
class ArrayOfSamples {
 public:
  void add(const std::string& output, const Tensor& y, const std::vector<int64_t>& places) {
    const auto rows = static_cast<int64_t>(places.size());
    const int64_t width = y.size() / rows;
    if (width_ != 0 && width != width_)
      throw input_error("output '{}' has {} numbers for some samples and {} for others, which no array has",
                        output, width_, width);
    width_ = width;
    const Tensor floats = converted(y, DType::kF32);
    for (int64_t row = 0; row < rows; ++row) {
      const auto of_row =
          floats.as<float>().subspan(static_cast<size_t>(row * width), static_cast<size_t>(width));
      if (!std::all_of(of_row.begin(), of_row.end(), [](float x) { return std::isfinite(x); }))
        throw numerical_error("output '{}' of sample {} has a number that is not finite", output,
                              places[static_cast<size_t>(row)]);
      numbers_.insert(numbers_.end(), of_row.begin(), of_row.end());
      places_.push_back(places[static_cast<size_t>(row)]);
    }
  }
  Tensor sorted() const {
    std::vector<size_t> order(places_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return places_[a] < places_[b]; });
    Tensor all(DType::kF32, {static_cast<int64_t>(order.size()), width_});
    for (size_t i = 0; i < order.size(); ++i)
      std::copy_n(numbers_.begin() + static_cast<std::ptrdiff_t>(order[i]) * width_, width_,
                  all.as<float>().begin() + static_cast<std::ptrdiff_t>(i) * width_);
    return all;
  }

 private:
  int64_t width_ = 0;
  std::vector<int64_t> places_;
  std::vector<float> numbers_;
};

void check_out(const PredictOptions& o) {
  if (o.out.empty()) return;
  std::error_code ignored;
  if (!fs::exists(fs::symlink_status(o.out, ignored))) return;
  if (!fs::is_regular_file(o.out, ignored))
    throw usage_error("--out {}: there is something that is no file; give the name of a file", o.out);
  for (const std::string& read : api::files_read(o.network, o.data))
    if (fs::equivalent(o.out, read, ignored))
      throw usage_error("--out {}: it is a file that is read ({}); give another name", o.out, read);
  if (!o.overwrite) throw usage_error("--out {}: the file exists; --overwrite replaces it", o.out);
}

// Where a text gets one vector it is that, whatever the loss was.
void take_as_embeddings(PredictOptions& o) {
  if (o.network.pooling != "none" || o.network.normalize_embeddings == "on") o.data.task = "embeddings";
  if (o.data.task != "embeddings") return;
  if (o.data.text.find(',') != std::string::npos)
    throw usage_error("--text {}: a prediction is the embedding of one text: name one column, as --text {}",
                      o.data.text, o.data.text.substr(0, o.data.text.find(',')));
  if (o.with_labels)
    throw usage_error("--with-labels: embeddings have no labels; the rows have the samples' numbers");
  o.network.loss = {"auto"};  // none is computed
  if (o.as == "auto") o.as = "numbers";
  if (o.as != "numbers") throw usage_error("--as {}: embeddings are numbers", o.as);
}

// Where nothing says how pictures were normalised, somebody should know that they are not.
void say_normalization(const api::Data& data, const api::RunFacts& run, const Log& log) {
  const data::Normalization& n = data.transform.normalization;
  if (!data.set->info().image || run.known() || !n.mean.empty() || !n.std.empty()) return;
  log("pictures are scaled to 0..1 and not normalised further; networks are often trained with a --normalize "
      "of "
      "their own");
}

// targets: the columns that the training data had them in.
std::vector<std::string> names_for(const api::OutputMeaning& meaning, const api::Labelling& labelling,
                                   const std::vector<std::string>& targets, int64_t numbers) {
  using Kind = api::OutputMeaning::Kind;
  if (meaning.kind == Kind::kNumbers) {
    return meaning.vector && static_cast<int64_t>(targets.size()) == numbers ? targets
                                                                             : std::vector<std::string>();
  }
  const data::ClassMap& map = labelling.map();
  if (map.empty() || meaning.positions || !meaning.vector) return {};
  if (static_cast<int64_t>(map.names.size()) != meaning.classes)
    throw input_error("{}: it has {} names, but the output '{}' has {} classes", map.source, map.names.size(),
                      meaning.output, meaning.classes);
  return map.names;
}

// A sample's label, as its rows have it.
std::string label_of(const data::Batch& batch, const api::Data& data, const std::vector<std::string>& names,
                     int64_t row, bool json) {
  for (const data::BatchField& field : batch.fields) {
    const bool target = field.role == data::FieldRole::kTarget;
    if (!target && field.role != data::FieldRole::kLabel) continue;
    if (data.set->info().labels == data::LabelKind::kClass && !target) {
      const int32_t label = field.data.as<int32_t>()[static_cast<size_t>(row)];
      if (label < 0) return json ? "null" : "";
      const auto i = static_cast<size_t>(label);
      if (i >= names.size()) return std::to_string(label);
      return json ? api::json_text(names[i]) : api::csv_cell(names[i]);
    }
    std::string text;
    const int64_t count = field.data.size() / field.data.shape().at(0);
    for (int64_t i = row * count; i < (row + 1) * count; ++i) {
      const auto at = static_cast<size_t>(i);
      text += (text.empty() ? ""
               : json       ? ","
                            : " ") +
              (target ? fmt::format("{}", field.data.as<float>()[at])
                      : std::to_string(field.data.as<int32_t>()[at]));
    }
    return json && count != 1 ? "[" + text + "]" : text;
  }
  throw input_error("{}: --with-labels: it has no labels", data.set->info().source);
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct Done {
  int64_t samples = 0;
  std::vector<double> full_batches;  // seconds, in the network alone
  std::vector<double> other_batches;
};

class Prediction {
 public:
  Prediction(const PredictOptions& o, const api::Data& data, train::Network& network,
             const api::PredictionRows& rows, const api::OutputMeaning& meaning,
             const std::vector<std::string>& names, Format format, const Log& log)
      : o_(o),
        data_(data),
        network_(network),
        rows_(rows),
        meaning_(meaning),
        names_(names),
        format_(format),
        json_(format == Format::kJson),
        log_(log) {}

  Done run(data::Loader& loader, const RowSink& sink) {
    Done done;
    std::string text = format_ == Format::kNpy ? "" : rows_.header();
    loader.start(0);
    data::Batch batch;
    while (loader.next(batch)) {
      check_stop();
      std::optional<exec::NonFinite> noticed;
      const double start = now_seconds();
      std::map<std::string, Tensor> outputs = network_.outputs_filled(batch, &noticed);
      (batch.count == network_.options().batch ? done.full_batches : done.other_batches)
          .push_back(now_seconds() - start);
      std::vector<std::string> samples;
      std::vector<std::string> labels;
      for (int64_t row = 0; row < batch.count; ++row) {
        samples.push_back(name_of(batch.indices.at(static_cast<size_t>(row))));
        if (o_.with_labels) labels.push_back(label_of(batch, data_, names_, row, json_));
      }
      if (noticed) warn_of(*noticed, samples);
      done.samples += batch.count;
      if (format_ == Format::kNpy) {
        std::vector<int64_t> places;
        for (int64_t row = 0; row < batch.count; ++row)
          places.push_back(data_.set->position(batch.indices.at(static_cast<size_t>(row))));
        array_.add(meaning_.output, outputs.at(meaning_.output), places);
        continue;
      }
      rows_.append(outputs.at(meaning_.output), samples, labels, text);
      sink(text);
      text.clear();
    }
    return done;
  }
  // kNpy: of the run.
  Tensor array() const { return array_.sorted(); }

 private:
  std::string name_of(int64_t index) const {
    return data_.set->info().files ? data_.set->name(index) : std::to_string(data_.set->position(index));
  }

  void warn_of(const exec::NonFinite& first, const std::vector<std::string>& samples) {
    if (warned_) return;
    warned_ = true;
    log_(fmt::format(
        "warning: samples {} to {}: {} is not finite in {}, and the predictions may hide it; --precision "
        "fp32 says whether it matters",
        samples.front(), samples.back(), train::describe(first), o_.network.precision));
  }

  const PredictOptions& o_;
  const api::Data& data_;
  train::Network& network_;
  const api::PredictionRows& rows_;
  const api::OutputMeaning& meaning_;
  const std::vector<std::string>& names_;
  Format format_;
  bool json_;
  const Log& log_;
  ArrayOfSamples array_;
  bool warned_ = false;
};

std::string summary_text(const PredictOptions& o, const PredictResult& p, const api::OutputMeaning& meaning,
                         int64_t planned_bytes, int64_t batch, Format format) {
  RunResult r;
  r.seconds = p.seconds;
  r.samples_per_second = p.samples_per_second;
  r.planned_bytes = planned_bytes;
  r.peak_rss_bytes = train::peak_rss_bytes().value_or(0);
  train::Summary s = api::summary_of("predict", o.network, r);
  s.samples = p.samples;
  const nlohmann::json extra{{"out", o.out},
                             {"format", format == Format::kNpy    ? "npy"
                                        : format == Format::kJson ? "jsonl"
                                                                  : "csv"},
                             {"output", meaning.output},
                             {"meaning", describe(meaning)},
                             {"batch", batch},
                             {"batch_seconds", p.batch_seconds},
                             {"bad_samples", p.bad_samples}};
  return train::to_json(s, extra.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

PredictResult predict_samples(const PredictOptions& given, const RowSink& rows, const Log& log) {
  PredictOptions o = given;
  api::check_numbers(o.network);
  api::check_numbers(o.data);
  TrainOptions ranges;
  ranges.network = o.network;
  check_ranges(ranges, kPredict);
  if (o.top < 1) throw usage_error("--top {} is not possible: expected at least 1", o.top);
  const Format format = format_of(o);
  check_out(o);
  const DType storage = api::parse_precision(o.network.precision);
  const kern::Multiply multiply = api::parse_multiply(o.network.multiply, storage);
  const api::RunFacts run = api::facts_of_run(o.network.model);
  api::take_embeddings(o.network, o.data, run, o.given, log);
  // With labels they are read as eval reads them.
  api::take_from_run(o.network, o.data, run, o.given, o.with_labels ? kEval | kPredict : kPredict, log);
  take_as_embeddings(o);
  o.data.cache_mib = 0;  // each sample is read once

  const onnx::Model file = api::open_model(o.network, false, log);
  api::resolve_normalization(o.data, o.network.model, file, log);
  onnx::Model model = api::choose_output(file, o.network, log);
  api::bind_dims(model, o.network.dims);
  api::Labelling labelling(o.network, o.data, model, {}, log);
  if (o.with_labels) {
    labelling.set_evaluation();
  } else {
    labelling.set_prediction();
  }
  // Columns that are known by their names leave the labels aside by themselves.
  if (labelling.columns().inputs.empty() && o.data.label_column.empty() && run.label_column)
    o.data.label_column = *run.label_column;
  const std::vector<std::string> targets = labelling.columns().labels;
  const api::Data data = api::open_data(o.data.data, {"test", "val", "train"}, o.data, model, labelling, log);
  api::warn_of_other_normalization(o.network.model, data.transform.normalization, log);
  say_normalization(data, run, log);
  const bool fixed_batch = api::check_network(o.network, model, ops::Mode::kEval, {}, &data);
  labelling.prepare(model);
  const pass::Head& head = labelling.heads().at(0);
  const api::OutputMeaning meaning =
      api::meaning_of(head, o.as, o.class_axis, run, labelling.map().names, data.set->info());
  if (format == Format::kNpy && (meaning.kind != api::OutputMeaning::Kind::kNumbers || !meaning.vector))
    throw usage_error(
        "--format npy has as many numbers for each sample, as they are (--as numbers); these are {}",
        describe(meaning));
  const std::vector<std::string> names = names_for(meaning, labelling, targets, head.per_sample);
  const api::PredictionRows writer(meaning, names,
                                   {.json = format != Format::kCsv,
                                    .top = o.top,
                                    .probabilities = o.probabilities,
                                    .labels = o.with_labels,
                                    .quoted_name = data.set->info().files},
                                   head.per_sample);

  train::CompileOptions n = api::evaluation_options(data, {}, storage, multiply, o.network.batch, fixed_batch,
                                                    api::threads_of(o.network.threads));
  const auto importer_of = [&](DType of) {
    return api::make_importer(model, of, ops::BatchNormMode::kFreeze, nullptr, {}, {}, data.sizes,
                              data.embedding);
  };
  const api::MemoryPlan memory{.importer = importer_of, .compile = n, .data = &data, .data_options = &o.data};
  n.before_allocation = api::memory_check(memory, log);
  train::Network network(importer_of(storage), n);
  api::report_narrowing(network.prepare_outputs(), storage, log);
  log(fmt::format("output '{}': {}; {} multiplies {}, {} threads, {}", meaning.output, describe(meaning),
                  o.network.precision, api::name_of(multiply, storage), n.threads,
                  kern::name_of(kern::active_isa())));
  const auto loader = api::make_loader(data, o.data, n.batch, false, o.network.seed,
                                       {n.samples->storage, network.wants_channels_last()});
  Prediction prediction(o, data, network, writer, meaning, data.names.empty() ? names : data.names, format,
                        log);
  PredictResult result;
  const double start = now_seconds();
  Done done;
  if (o.out.empty()) {
    done = prediction.run(*loader, rows);
  } else if (format == Format::kNpy) {
    done = prediction.run(*loader, rows);
    api::write_npy(o.out, prediction.array());
  } else {
    write_file_atomically(o.out, [&](const Sink& sink) {
      done = prediction.run(
          *loader, [&](const std::string& text) { sink(text.data(), static_cast<int64_t>(text.size())); });
    });
  }
  result.seconds = now_seconds() - start;
  result.samples = done.samples;
  result.bad_samples = data.set->info().skipped;
  result.samples_per_second = result.seconds > 0 ? static_cast<double>(done.samples) / result.seconds : 0;
  result.batch_seconds = median(done.full_batches.empty() ? done.other_batches : done.full_batches);
  log(fmt::format(
      "{} samples in {:.2f} s: {:.1f} samples/s; a batch of {} takes {:.2f} ms in the network (median){}",
      result.samples, result.seconds, result.samples_per_second, n.batch, 1e3 * result.batch_seconds,
      n.batch > 1 ? "; --batch 1 shows the latency of one" : ""));
  result.summary_json = summary_text(o, result, meaning, network.planned_bytes(), n.batch, format);
  return result;
}

}  // namespace halftone
