// Proofs against other programs: a network's outputs, and its loss and gradients, from .npy to .npy.
#include <algorithm>
#include <cmath>

#include "api/bench.h"
#include "api/input.h"
#include "api/npy.h"
#include "api/session.h"
#include "api/weights.h"
#include "base/error.h"
#include "base/file.h"
#include "data/labels.h"
#include "kern/finite.h"
#include "ops/effects.h"
#include "pass/arrange.h"
#include "pass/block_attention.h"
#include "train/diagnosis.h"
#include "train/loss_scale.h"

namespace halftone {
namespace {

bool is_finite(const Tensor& t) {
  return !is_float(t.dtype()) || !kern::any_non_finite(t.dtype(), t.data(), t.size());
}

// Of an output, the values that are not finite; `besides`: but are in that tensor.
int64_t count_non_finite(const Tensor& t, const Tensor* besides = nullptr) {
  if (!is_float(t.dtype())) return 0;
  const Tensor values = converted(t, DType::kF64);
  const Tensor others = besides != nullptr ? converted(*besides, DType::kF64) : Tensor();
  int64_t count = 0;
  for (size_t i = 0; i < static_cast<size_t>(values.size()); ++i)
    count += !std::isfinite(values.as<double>()[i]) &&
                     (besides == nullptr || std::isfinite(others.as<double>()[i]))
                 ? 1
                 : 0;
  return count;
}

const Log kSilent = [](const std::string&) {};

int64_t batch_of(const Tensor& first) {
  return first.shape().empty() ? 1 : first.shape().front();
}

// The labels of one batch as a data set's are read, for loss `loss`.
struct BatchLabels {
  data::Labels labels;
  std::vector<int32_t> positions;  // instead, where each position has a class
  data::LabelReading reading;
};

BatchLabels labels_of(const onnx::Model& model, const Tensor& given, const std::string& path, int64_t batch,
                      size_t loss, api::Labelling& labelling) {
  if (given.shape().empty() || given.shape()[0] != batch)
    throw input_error("{} has shape {}, the samples are {}", path, to_string(given.shape()), batch);
  data::RawLabels raw;
  raw.where = path;
  raw.has_class_option = false;
  raw.width = given.size() / batch;
  raw.shape.assign(given.shape().begin() + 1, given.shape().end());
  if (raw.width < 1) throw input_error("{}: labels of shape {} are empty", path, to_string(given.shape()));
  const auto name = [&](int64_t i) { return fmt::format("{}, sample {}", path, i); };
  BatchLabels out;
  if (is_float(given.dtype())) {
    raw.kind = data::LabelForm::Kind::kFloats;
    const Tensor floats = converted(given, DType::kF32);
    raw.floats.assign(floats.as<float>().begin(), floats.as<float>().end());
  } else {
    raw.kind = data::LabelForm::Kind::kIntegers;
    raw.integers = to_int64s(given);
    data::LabelForm form;
    form.kind = raw.kind;
    form.where = path;
    form.sample_name = name;
    form.width = raw.width;
    form.shape = raw.shape;
    std::optional<data::LabelReading> positions;
    if (raw.width > 1)
      positions = loss == 0 ? labelling.read_positions(model, form)
                            : labelling.read_further(model, loss, "", form, false);
    if (positions) {
      out.reading = *positions;
      for (size_t i = 0; i < raw.integers.size(); ++i)
        out.positions.push_back(data::position_label(raw.integers[i], out.reading,
                                                     [&] { return fmt::format("{}, element {}", path, i); }));
      return out;
    }
  }
  data::OpenOptions options;
  options.read_labels = [&](const data::LabelForm& form, const data::DataInfo&) {
    return loss == 0 ? labelling.read(model, form)
                     : labelling.read_further(model, loss, "", form, true).value();
  };
  data::DataInfo info;
  out.labels = data::resolve_labels(std::move(raw), options, name, info);
  out.reading = info.reading;
  return out;
}

// As Network::feed does, but targets in the file's precision.
Tensor label_tensor(const BatchLabels& given, const Tensor& file, const ir::Type& type) {
  const data::Labels& labels = given.labels;
  if (labels.kind == data::LabelKind::kTarget && is_float(file.dtype())) return file.reshaped(type.shape);
  Tensor out(type.dtype == DType::kI32 ? DType::kI32 : DType::kF64, type.shape);
  const bool classes = labels.kind == data::LabelKind::kClass;
  const std::vector<int32_t>& numbers = given.positions.empty() ? labels.classes : given.positions;
  HT_ASSERT(out.size() == static_cast<int64_t>(type.dtype == DType::kI32 || classes ? numbers.size()
                                                                                    : labels.targets.size()));
  for (size_t i = 0; i < static_cast<size_t>(out.size()); ++i) {
    if (type.dtype == DType::kI32) {
      out.as<int32_t>()[i] = given.reading.weighted() ? std::max(numbers[i], 0) : numbers[i];
    } else {
      out.as<double>()[i] = classes ? labels.classes[i] : static_cast<double>(labels.targets[i]);
    }
  }
  return out;
}

// What each of these labels counts.
Tensor weight_tensor(const BatchLabels& given) {
  const std::vector<int32_t>& numbers = given.positions.empty() ? given.labels.classes : given.positions;
  Tensor out(DType::kF64, {static_cast<int64_t>(numbers.size())});
  for (size_t i = 0; i < numbers.size(); ++i) {
    const std::vector<float>& weights = given.reading.class_weights;
    out.as<double>()[i] = numbers[i] < 0    ? 0.0
                          : weights.empty() ? 1.0
                                            : static_cast<double>(weights[static_cast<size_t>(numbers[i])]);
  }
  return out;
}

// The files of the network's inputs, in its order: FILE, or NAME=FILE where NAME is an input.
std::vector<std::string> input_files(const onnx::Model& model, const std::vector<std::string>& given) {
  std::vector<std::string> files(model.inputs().size());
  std::vector<std::string> in_order;
  size_t got = 0;
  for (const std::string& text : given) {
    if (api::is_fixed(model, text)) continue;
    ++got;
    const auto named = api::named_value(text, model.inputs());
    if (!named) {
      in_order.push_back(text);
      continue;
    }
    if (named->second.empty()) throw usage_error("--input {}: expected NAME=FILE", text);
    const auto input = std::find_if(model.inputs().begin(), model.inputs().end(),
                                    [&](const onnx::ValueInfo& i) { return i.name == named->first; });
    std::string& file = files[static_cast<size_t>(input - model.inputs().begin())];
    if (!file.empty()) throw usage_error("--input {}: {} is given twice", text, named->first);
    file = named->second;
  }
  size_t next = 0;
  for (std::string& file : files)
    if (file.empty() && next < in_order.size()) file = in_order[next++];
  const auto missing = std::count(files.begin(), files.end(), "");
  if (missing > 0 || next < in_order.size()) {
    std::string names;
    for (const onnx::ValueInfo& input : model.inputs()) names += (names.empty() ? "" : ", ") + input.name;
    throw usage_error("{}: expected {} with --input, one for each of {}; got {}", model.path(),
                      files.size() == 1 ? "1 file" : fmt::format("{} files", files.size()), names, got);
  }
  return files;
}

}  // namespace

void run_model(const NetworkOptions& o, const std::vector<std::string>& given, const std::string& folder,
               const Log& log) {
  const DType storage = api::parse_precision(o.precision);
  const kern::Multiply multiply = api::parse_multiply(o.multiply, storage);
  NetworkOptions network = o;
  network.inputs = given;
  onnx::Model model = api::open_model(network, false, kSilent);
  api::bind_dims(model, o.dims);
  const std::vector<std::string> inputs = input_files(model, given);
  std::vector<Tensor> samples;
  for (const std::string& path : inputs) samples.push_back(api::read_npy(path));
  for (size_t i = 0; i < samples.size(); ++i) api::bind_to_data(model, i, samples[i].shape(), inputs[i], {});
  std::vector<std::string> names;
  for (const onnx::ValueInfo& output : model.outputs()) names.push_back(output.name);
  struct Run {
    std::unique_ptr<api::Bench> bench;
    std::vector<ir::ValueId> inputs, outputs;
    std::vector<Tensor> results;
  };
  const auto feed = [&](Run& run) {
    for (size_t i = 0; i < run.inputs.size(); ++i) run.bench->feed(run.inputs[i], samples[i], inputs[i]);
  };
  const auto run_in = [&](DType type, kern::Multiply products) {
    const train::Importer importer = api::make_importer(model, type, ops::BatchNormMode::kFreeze, nullptr);
    ir::Graph graph = importer(samples.empty() ? 1 : batch_of(samples.front()), ops::Mode::kEval);
    Run run;
    run.inputs = graph.inputs;
    pass::arrange(graph, type);
    pass::block_attention(graph, type);
    ops::remove_dead_nodes(graph);
    run.outputs = graph.outputs;
    run.bench = std::make_unique<api::Bench>(std::move(graph), type, products, api::threads_of(o.threads));
    feed(run);
    run.bench->run();
    for (const ir::ValueId id : run.outputs) run.results.push_back(run.bench->read(id));
    return run;
  };
  Run run = run_in(storage, multiply);

  // What fp32 has finite is an error; what it has not (a logarithm of 0, a mask) may be meant.
  const auto bad = std::find_if_not(run.results.begin(), run.results.end(), is_finite);
  if (bad != run.results.end()) {
    std::vector<Tensor> wide;
    if (is_16bit(storage)) wide = run_in(DType::kF32, api::parse_multiply("auto", DType::kF32)).results;
    feed(run);
    const auto first = run.bench->program->find_non_finite(run.bench->state);
    const std::string where = first ? "; the first non-finite tensor is " + train::describe(*first) : "";
    for (size_t i = 0; i < run.results.size(); ++i) {
      const Tensor& result = run.results[i];
      if (!wide.empty())
        if (const int64_t lost = count_non_finite(result, &wide[i]); lost > 0)
          throw numerical_error(
              "output '{}' in {}: {} of {} values are not finite, but are in fp32{}\n  nothing was written; "
              "{}",
              names.at(i), name_of(storage), lost, result.size(), where,
              train::remedy(
                  first ? train::stage_of(*first, run.bench->program->graph(), {}) : train::Stage::kForward,
                  {.storage = storage, .prepares = false}));
      if (const int64_t count = count_non_finite(result); count > 0)
        log(fmt::format("warning: output '{}': {} of {} values are not finite{}{}", names.at(i), count,
                        result.size(), wide.empty() ? "" : ", nor are they in fp32", where));
    }
  }
  make_folder(folder);
  for (size_t i = 0; i < run.results.size(); ++i)
    api::write_npy(fmt::format("{}/{}.npy", folder, i), run.results[i]);
}

void write_gradients(const GradientsOptions& options) {
  const NetworkOptions& o = options.network;
  if (options.mode != "train" && options.mode != "eval")
    throw usage_error("gradients: --mode {} is not known; it is train or eval", options.mode);
  if (!o.sample_weight.empty() || !o.inputs.empty())
    throw usage_error(
        "gradients: fields of a data set (--sample-weight, --input NAME=FIELD) have no meaning for one batch "
        "of files");
  const DType storage = api::parse_precision(o.precision);
  const double loss_scale = train::LossScale::parse(options.loss_scale, storage).scale();
  NetworkOptions network = o;
  network.inputs = options.input;
  onnx::Model model = api::choose_output(api::open_model(network, true, kSilent), o, kSilent);
  network.inputs.clear();
  api::bind_dims(model, o.dims);
  const std::vector<std::string> files_of_inputs = input_files(model, options.input);
  std::vector<Tensor> samples;
  for (size_t i = 0; i < files_of_inputs.size(); ++i) {
    samples.push_back(api::read_npy(files_of_inputs[i]));
    api::bind_to_data(model, i, samples[i].shape(), files_of_inputs[i], {});
  }
  pass::TrainingOptions t;
  t.storage = storage;
  network.batch = batch_of(samples.front());
  api::Labelling labelling(network, {}, model, {}, [](const std::string&) {});
  std::map<std::string, std::string> files_of_fields;  // of a loss graph's inputs
  std::vector<std::string> label_files;
  for (const std::string& text : options.labels) {
    const onnx::Model* graph = labelling.loss_graph();
    const auto named = graph == nullptr ? std::nullopt : api::named_value(text, graph->inputs());
    if (!named) {
      label_files.push_back(text);
      continue;
    }
    if (named->second.empty()) throw usage_error("gradients: --labels {}: expected NAME=FILE", text);
    if (!files_of_fields.insert(*named).second)
      throw usage_error("gradients: --labels {}: {} is given twice", text, named->first);
  }
  const size_t losses_asked = labelling.losses().size() - (labelling.loss_graph() == nullptr ? 0 : 1);
  if (label_files.size() != losses_asked)
    throw usage_error(
        "gradients: {} losses need as many files with --labels, got {}{}", losses_asked, label_files.size(),
        labelling.loss_graph() == nullptr ? "" : " (those of a loss graph's inputs are NAME=FILE)");
  std::map<std::string, Tensor> fields;
  for (const auto& [name, path] : files_of_fields) {
    const Tensor& field = fields.emplace(name, api::read_npy(path)).first->second;
    for (size_t i = 0; i < labelling.loss_graph()->inputs().size(); ++i)
      if (labelling.loss_graph()->inputs()[i].name == name)
        api::bind_to_data(*labelling.loss_graph(), i, field.shape(), path, {});
  }
  std::vector<Tensor> targets;
  std::vector<BatchLabels> labels;
  for (size_t i = 0; i < losses_asked; ++i) {
    targets.push_back(api::read_npy(label_files[i]));
    labels.push_back(labels_of(model, targets[i], label_files[i], network.batch, i, labelling));
  }
  t.loss = labelling.target().loss;
  const bool training = options.mode == "train";
  const auto norms = training ? ops::BatchNormMode::kTrain : ops::BatchNormMode::kFreeze;
  const pass::NetworkGraph n =
      pass::gradient_graph(api::make_importer(model, storage, norms, nullptr)(
                               network.batch, training ? ops::Mode::kTrain : ops::Mode::kEval),
                           t);
  for (const auto& [name, path] : files_of_fields) {
    const auto feeds = [&, &field = name](ir::ValueId id) { return n.graph.value(id).name == field; };
    if (std::none_of(n.inputs.begin() + static_cast<std::ptrdiff_t>(samples.size()), n.inputs.end(), feeds))
      throw usage_error("gradients: --labels {}={}: the network gives {} to the loss graph, no file does",
                        name, path, name);
  }
  std::map<std::string, std::vector<int64_t>> axes;
  for (const ir::Value& value : n.graph.values)
    if (value.kind == ir::ValueKind::kParameter) axes[value.name] = value.storage_axes;
  std::vector<std::string> files;  // of n.trained
  for (const std::string& name : n.trained)
    files.push_back(fmt::format("{}/{}.npy", options.output_dir, api::gradient_file(name)));
  api::Bench bench(n.graph, storage, api::parse_multiply(o.multiply, storage), api::threads_of(o.threads));
  const auto feed = [&] {
    for (size_t i = 0; i < samples.size(); ++i) bench.feed(n.inputs[i], samples[i], files_of_inputs[i]);
    for (size_t i = samples.size(); i < n.inputs.size(); ++i) {
      const std::string& name = n.graph.value(n.inputs[i]).name;
      const auto field = fields.find(name);
      if (field == fields.end())
        throw usage_error("gradients: the loss graph's input {} needs --labels {}=FILE", name, name);
      bench.feed(n.inputs[i], field->second, files_of_fields.at(name));
    }
    for (size_t i = 0; i < n.losses.size(); ++i) {
      const pass::LossNode& l = n.losses[i];
      if (l.label == ir::kNone) continue;
      bench.feed(l.label, label_tensor(labels[i], targets[i], n.graph.value(l.label).type), label_files[i]);
      if (l.weights != ir::kNone) bench.feed(l.weights, weight_tensor(labels[i]), label_files[i]);
    }
  };
  feed();
  bench.state.loss_scale = static_cast<float>(loss_scale);
  bench.run();

  std::vector<ir::ValueId> loss_values;
  std::vector<Tensor> losses;
  for (const pass::LossNode& l : n.losses) {
    loss_values.push_back(l.loss);
    losses.push_back(converted(bench.read(l.loss), DType::kF64));
  }
  // Before the loss scale is blamed: what is not finite in the forward pass makes the gradients so.
  const auto check_forward = [&] {
    feed();
    const auto first = bench.program->find_non_finite(bench.state);
    if (!first) return;
    const train::Stage stage = train::stage_of(*first, bench.program->graph(), loss_values);
    if (stage == train::Stage::kBackward) return;
    throw numerical_error("gradients in {}: the first non-finite tensor is {}\n  {}", name_of(storage),
                          train::describe(*first),
                          train::remedy(stage, {.storage = storage, .prepares = false}));
  };
  if (!std::all_of(losses.begin(), losses.end(), is_finite)) check_forward();

  const auto gradient = [&](size_t i) {
    Tensor tensor = bench.read(n.gradients[i]);
    bool finite = true;
    // A power of two: divided out exactly.
    if (tensor.dtype() == DType::kF64)
      for (double& x : tensor.as<double>()) finite = std::isfinite(x /= loss_scale) && finite;
    else
      for (float& x : tensor.as<float>())
        finite = std::isfinite(x /= static_cast<float>(loss_scale)) && finite;
    if (!finite) {
      check_forward();
      throw numerical_error(
          "the gradient of {} is not finite in {} with loss scale {}; {}", n.trained[i], name_of(storage),
          loss_scale,
          loss_scale > 1 ? "a run would skip such a step and halve the scale: try a smaller --loss-scale"
                         : "it overflows by itself: try bf16 or fp32");
    }
    return tensor;
  };
  std::vector<Tensor> gradients;  // nothing is written unless all are finite
  for (size_t i = 0; i < n.trained.size(); ++i) gradients.push_back(gradient(i));
  make_folder(options.output_dir);
  Tensor mean(DType::kF64, {});
  for (size_t i = 0; i < n.losses.size(); ++i) {
    const pass::LossNode& l = n.losses[i];
    double sum = 0;
    for (const double x : losses[i].as<double>()) sum += x;
    // Values of which the loss is the mean, or sums over chunks of elements.
    const bool values = l.kind == pass::Loss::kCrossEntropy || l.kind == pass::Loss::kGraph;
    auto count =
        static_cast<double>(values ? losses[i].size() : elements(n.graph.value(l.output).type.shape));
    if (l.weights != ir::kNone) {
      const Tensor weights = weight_tensor(labels[i]);
      count = 0;
      for (const double w : weights.as<double>()) count += w;
    }
    mean.as<double>()[0] += l.weight * (count > 0 ? sum / count : 0.0);
  }
  api::write_npy(options.output_dir + "/loss.npy", mean);
  for (size_t i = 0; i < n.trained.size(); ++i)
    api::write_npy(files[i], pass::widen(gradients[i], axes[n.trained[i]]));
}

}  // namespace halftone
