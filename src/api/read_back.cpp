#include "api/read_back.h"

#include <cmath>

#include "api/input.h"
#include "base/clock.h"
#include "base/error.h"

namespace halftone::api {
namespace {

std::vector<train::Score> evaluate(const onnx::Model& model, DType storage, kern::Multiply multiply,
                                   const Data& data, const DataOptions& data_options,
                                   const ReadBackOptions& o, const std::function<bool(int64_t batches)>& more,
                                   int64_t& planned_bytes) {
  train::CompileOptions n;
  n.training.storage = storage;
  n.training.loss = o.loss;
  n.multiply = multiply;
  n.batch = o.fixed_batch ? o.batch : std::min(o.batch, data.set->size());
  n.fixed_batch = o.fixed_batch;
  n.threads = o.threads;
  train::Network network(make_importer(model, storage, ops::BatchNormMode::kFreeze, nullptr), n);
  network.prepare_evaluation();
  const auto loader = make_loader(data, data_options, n.batch, false, o.seed);
  network.evaluate(*loader, {}, more);
  planned_bytes = std::max(planned_bytes, network.planned_bytes());
  return network.evaluated();
}

train::Score sum(const std::vector<train::Score>& scores, size_t count) {
  train::Score all;
  for (size_t i = 0; i < count; ++i) all.add(scores[i]);
  return all;
}

}  // namespace

onnx::Model open_written(const std::string& path, const std::string& output, const Data& data) {
  NetworkOptions written;
  written.model = path;
  onnx::Model model = open_model(written, false, [](const std::string&) {}).with_output(output);
  bind_to_samples(model, *data.set, {});
  return model;
}

ReadBack read_back(const std::string& path, const std::vector<train::Score>& measured, const Data& data,
                   const DataOptions& data_options, const ReadBackOptions& o, const std::string& folder) {
  HT_ASSERT(!measured.empty());
  const onnx::Model model = open_written(path, o.output, data);
  ReadBack r;
  const double start = now_seconds();
  const std::vector<train::Score> file = evaluate(
      model, o.storage, o.multiply, data, data_options, o,
      [&](int64_t batches) {
        return batches < static_cast<int64_t>(measured.size()) && now_seconds() - start < o.seconds;
      },
      r.planned_bytes);
  const train::Score of_file = sum(file, file.size());
  const train::Score of_run = sum(measured, file.size());
  HT_ASSERT(of_file.samples == of_run.samples, "{} and {} samples", of_file.samples, of_run.samples);
  r.samples = of_file.samples;
  r.all = file.size() == measured.size();
  r.scores = file;
  r.loss = of_file.loss();
  r.accuracy = of_file.accuracy();
  r.measured = of_run.loss();

  // The same numbers and operations give the same loss; what is granted is other orders of fp32 sums.
  double granted = 1e-4 * std::abs(r.measured) + 1e-6;
  const auto differs = [&] { return !(std::abs(r.loss - r.measured) <= granted); };
  if (!o.exact && differs()) {
    // Folding rounds each weight once to fp32, and to the storage type when the file is read. The unit roundoff against the loss
    // covers the first; against the second stands what storing this file's weights and activations costs: its loss in fp32.
    granted = 1e-3 * (std::abs(r.measured) + 0.1);
    if (is_16bit(o.storage)) {
      const double roundoff = o.storage == DType::kF16 ? 0x1p-11 : 0x1p-8;
      const std::vector<train::Score> wide = evaluate(
          model, DType::kF32, kern::Multiply::kWide, data, data_options, o,
          [&](int64_t batches) { return batches < static_cast<int64_t>(file.size()); }, r.planned_bytes);
      double rounding = 0;
      for (size_t i = 0; i < file.size(); ++i) rounding += std::abs(file[i].loss_sum - wide[i].loss_sum);
      granted = std::max(granted, 16 * roundoff * (std::abs(r.measured) + 0.1) +
                                      8 * rounding / static_cast<double>(r.samples));
    }
  }
  if (differs())
    throw InternalError(
        fmt::format("the new model.onnx is not what was measured: read back, its loss on {} samples is {:.6g}, the run "
                    "measured {:.6g} on the same "
                    "samples, and rounding explains a difference of {:.2g}\n  it was not put into {}; the "
                    "checkpoints of the run are kept there\n"
                    "  this is a bug of ours, please report it with the network",
                    r.samples, r.loss, r.measured, granted, folder));
  return r;
}

}  // namespace halftone::api
