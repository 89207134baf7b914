#include "api/read_back.h"

#include <algorithm>
#include <cmath>

#include "api/input.h"
#include "base/clock.h"
#include "base/error.h"

namespace halftone::api {
namespace {

train::Score sum(const std::vector<train::Score>& scores, size_t count) {
  train::Score all;
  for (size_t i = 0; i < count; ++i) all.add(scores[i]);
  return all;
}

}  // namespace

onnx::Model open_written(const std::string& path, const std::vector<std::string>& outputs, const Data& data) {
  NetworkOptions written;
  written.model = path;
  written.inputs = data.plan.inputs;
  onnx::Model model = with_outputs(open_model(written, false, [](const std::string&) {}), outputs);
  if (!model.fixed().empty()) bind_dims(model, data.plan.dims);
  bind_to_fields(model, *data.set, data.plan, {});
  return model;
}

ReadBack read_back(const std::string& path, const std::vector<train::Score>& measured, const Data& data,
                   const DataOptions& data_options, const ReadBackOptions& o, const std::string& folder) {
  HT_ASSERT(!measured.empty());
  const onnx::Model model = open_written(path, o.outputs, data);
  ReadBack r;
  const double start = now_seconds();
  const Evaluation again = evaluate(model, data, data_options, o, [&](int64_t batches) {
    return batches < static_cast<int64_t>(measured.size()) && now_seconds() - start < o.seconds;
  });
  const std::vector<train::Score>& file = again.scores;
  r.planned_bytes = again.planned_bytes;
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
    // Folding rounds each weight once to fp32, and to the storage type when the file is read. The unit
    // roundoff against the loss covers the first; against the second stands what storing this file's weights
    // and activations costs: its loss in fp32.
    granted = 1e-3 * (std::abs(r.measured) + 0.1);
    if (is_16bit(o.storage)) {
      const double roundoff = o.storage == DType::kF16 ? 0x1p-11 : 0x1p-8;
      EvaluationOptions in_fp32 = o;
      in_fp32.storage = DType::kF32;
      in_fp32.multiply = kern::Multiply::kWide;
      const Evaluation other = evaluate(model, data, data_options, in_fp32, [&](int64_t batches) {
        return batches < static_cast<int64_t>(file.size());
      });
      const std::vector<train::Score>& wide = other.scores;
      r.planned_bytes = std::max(r.planned_bytes, other.planned_bytes);
      double rounding = 0;
      for (size_t i = 0; i < file.size(); ++i) rounding += std::abs(file[i].loss_sum - wide[i].loss_sum);
      granted = std::max(granted, 16 * roundoff * (std::abs(r.measured) + 0.1) +
                                      8 * rounding / static_cast<double>(r.samples));
    }
  }
  if (differs())
    throw InternalError(fmt::format(
        "the new model.onnx is not what was measured: read back, its loss on {} samples is {:.6g}, the run "
        "measured {:.6g} on the same "
        "samples, and rounding explains a difference of {:.2g}\n  it was not put into {}; the "
        "checkpoints of the run are kept there\n"
        "  this is a bug of ours, please report it with the network",
        r.samples, r.loss, r.measured, granted, folder));
  return r;
}

}  // namespace halftone::api
