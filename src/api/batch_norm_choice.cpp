#include "api/batch_norm_choice.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "api/bench.h"
#include "base/error.h"
#include "kern/moments.h"

namespace halftone::api {

void check_batch_norms(const std::string& option) {
  if (option != "auto" && option != "restore" && option != "keep" && option != "freeze")
    throw usage_error("--batchnorm {} is not known; it is auto, restore, keep or freeze", option);
}

namespace {

constexpr int64_t kCalibrationSamples = 1024;
constexpr int64_t kCalibrationBatch = 8;  // little memory: all convolutions' outputs, in fp32
constexpr int64_t kChannelsAtOnce = 16;   // of an output, for one thread

// Runs the network as it is, in fp32, over `most` samples of one size class or more, and adds up each
// convolution's output.
void measure_class(const std::vector<pass::FoldedConvolution>& convolutions, const train::Importer& importer,
                   const Data& data, const DataOptions& data_options, int64_t fixed_batch, int threads,
                   int64_t most, std::vector<pass::ChannelMoments>& moments) {
  const int64_t batch = fixed_batch > 0 ? fixed_batch : std::min(kCalibrationBatch, data.set->size());
  // Shuffled, so that the first samples of a sorted file don't decide; a fixed seed, so that it repeats.
  const auto loader = make_loader(data, data_options, batch, true, 0);
  ir::Graph graph = importer(batch, ops::Mode::kEval, data.number(data.set->size_class(0)));
  std::map<std::string, size_t> by_node;
  for (size_t i = 0; i < convolutions.size(); ++i) by_node[convolutions[i].node] = i;
  std::vector<ir::ValueId> outputs(convolutions.size(), ir::kNone);
  for (const ir::Node& node : graph.nodes)
    if (node.op == "Conv" && by_node.count(node.name) > 0) outputs[by_node[node.name]] = node.outputs[0];
  graph.outputs = outputs;
  Bench bench(std::move(graph), DType::kF32, kern::Multiply::kWide, threads, /*refuse_non_finite=*/true);
  exec::Program& program = *bench.program;

  loader->start(0);
  data::Batch samples;
  int64_t seen = 0;
  while (seen < most && loader->next(samples)) {
    train::feed_inputs(program, kern::active(), program.graph().inputs, data.plan.feeding, samples, batch);
    bench.run();
    for (size_t i = 0; i < convolutions.size(); ++i) {
      const Shape& shape = program.graph().value(outputs[i]).type.shape;
      const int64_t channels = shape.back();
      pass::ChannelMoments& m = moments[i];
      m.sum.resize(static_cast<size_t>(channels));
      m.sum_squares.resize(static_cast<size_t>(channels));
      const auto* y = static_cast<const float*>(program.data(outputs[i]));
      const int64_t rows = elements(shape) / channels;
      bench.pool.run((channels + kChannelsAtOnce - 1) / kChannelsAtOnce, [&](int64_t part, int) {
        const int64_t first = part * kChannelsAtOnce;
        kern::add_moments(y + first, rows, std::min(kChannelsAtOnce, channels - first), channels,
                          m.sum.data() + first, m.sum_squares.data() + first);
      });
      m.count += rows;
    }
    seen += samples.count;
  }
}

// Of samples of several sizes, each class has its share.
pass::RestoredBatchNorms measure(const std::vector<pass::FoldedConvolution>& convolutions,
                                 const onnx::Model& model, const TrainFreeze& tensors, const Data& data,
                                 const DataOptions& data_options, int64_t fixed_batch, int threads) {
  Data calm = data;
  calm.transform.augmentation = {};
  const train::Importer importer = make_importer(model, DType::kF32, ops::BatchNormMode::kTrain, nullptr,
                                                 tensors, {}, data.sizes, data.embedding);
  std::vector<pass::ChannelMoments> moments(convolutions.size());
  const std::vector<int64_t> samples = data::samples_of_classes(*data.set);
  for (size_t c = 0; c < samples.size(); ++c) {
    const int64_t share = (kCalibrationSamples * samples[c] + data.set->size() - 1) / data.set->size();
    if (samples[c] == 0 || (samples[c] < fixed_batch && samples.size() > 1)) continue;
    measure_class(convolutions, importer, of_size_class(calm, c), data_options, fixed_batch, threads, share,
                  moments);
  }
  pass::RestoredBatchNorms restored;
  for (size_t i = 0; i < convolutions.size(); ++i) {
    if (moments[i].count == 0)
      throw usage_error("{}: no size of samples fills a batch of {}; take a smaller batch",
                        data.set->info().source, fixed_batch);
    restored.by_weight.emplace(convolutions[i].weight,
                               pass::restore(convolutions[i], model.tensor(convolutions[i].weight),
                                             model.tensor(convolutions[i].bias), moments[i]));
  }
  return restored;
}

// Folding again writes each of these convolutions' biases, so each needs one of its own; `found` then names
// them.
onnx::Model separate_biases(std::vector<pass::FoldedConvolution>& found, const onnx::Model& model,
                            int64_t batch, const TrainFreeze& tensors, const Log& log) {
  std::set<std::string> nodes;
  for (const pass::FoldedConvolution& c : found) nodes.insert(c.node);
  std::vector<std::string> notes;
  onnx::Model separated = onnx::with_own_biases(model, nodes, &notes);
  if (notes.empty()) return separated;
  log_some("shared tensor ", notes, log);
  const std::vector<pass::FoldedConvolution> now = pass::convolutions_without_batch_norm(make_importer(
      separated, DType::kF32, ops::BatchNormMode::kTrain, nullptr, tensors)(batch, ops::Mode::kEval));
  for (pass::FoldedConvolution& c : found) {
    const auto it = std::find_if(now.begin(), now.end(), [&](const auto& n) { return n.node == c.node; });
    HT_ASSERT(it != now.end() && it->weight == c.weight, "{}", c.node);
    c.bias = it->bias;
  }
  return separated;
}

}  // namespace

BatchNormChoice choose_batch_norms(const NetworkOptions& options, const TrainFreeze& tensors,
                                   const onnx::Model& model, const Data& data,
                                   const DataOptions& data_options, const Log& log) {
  const std::string& asked = options.batchnorm;
  check_batch_norms(asked);
  const onnx::Sharing sharing(model);
  BatchNormChoice choice{
      .name = {}, .model = model, .frozen = onnx::frozen_by(model, sharing, tensors), .restored = {}};
  if (asked == "freeze") {
    choice.mode = ops::BatchNormMode::kFreeze;
    choice.name = asked;
    log("batch norms: frozen (--batchnorm freeze): running statistics are used and stay as they are");
    return choice;
  }
  if (!choice.frozen.norms.empty())
    log(fmt::format(
        "batch norms with tensors named by --freeze: {} (the first is '{}'); they use their running "
        "statistics, which stay as they are",
        choice.frozen.norms.size(), model.nodes()[*choice.frozen.norms.begin()].name));
  const ir::Graph graph = make_importer(model, DType::kF32, ops::BatchNormMode::kTrain, nullptr, tensors)(
      options.batch, ops::Mode::kEval);
  std::vector<pass::FoldedConvolution> found = pass::convolutions_without_batch_norm(graph);
  if (asked == "auto")
    std::erase_if(found, [](const pass::FoldedConvolution& c) { return !pass::looks_folded(c); });
  std::vector<std::string> left_out;
  std::erase_if(found, [&](const pass::FoldedConvolution& c) {
    const bool is_frozen =
        choice.frozen.tensors.count(c.weight) != 0 || choice.frozen.tensors.count(c.bias) != 0;
    if (!is_frozen && onnx::can_restore(model, sharing, c.node)) return false;
    left_out.push_back(fmt::format(
        "'{}' keeps its folded batch norm: {}", c.node,
        is_frozen ? "its weight or bias is named by --freeze" : "its tensors have other readers too"));
    return true;
  });
  log_some("batch norms: ", left_out, log);
  if (asked == "restore" && found.empty())
    throw usage_error(
        "--batchnorm restore: {} has no convolution with a bias and without a batch norm behind it{}",
        model.path(), left_out.empty() ? "" : " that can be restored: " + left_out.front());
  if (asked == "keep" || found.empty()) {
    choice.name = "keep";
    log(asked == "keep" ? "batch norms: kept as the file has them"
        : left_out.empty()
            ? "batch norms: kept as the file has them (none looks folded away)"
            : "batch norms: kept as the file has them (none that looks folded away can be put back)");
    return choice;
  }
  choice.name = "restore";
  log(
      fmt::format("batch norms: {} were folded into convolutions ({}, ...); restored from statistics of up "
                  "to {} samples, and folded again on writing "
                  "(--batchnorm keep trains the network as the file has it)",
                  found.size(), found.front().weight, kCalibrationSamples));
  choice.model = separate_biases(found, model, options.batch, tensors, log);
  if (!tensors.freeze.empty())  // in terms of the model that is trained
    choice.frozen = onnx::frozen_by(choice.model, onnx::Sharing(choice.model), tensors);
  const int64_t fixed = check_network(options, model, ops::Mode::kEval, tensors) ? options.batch : 0;
  choice.restored =
      measure(found, choice.model, tensors, data, data_options, fixed, threads_of(options.threads));
  return choice;
}

}  // namespace halftone::api
