// Will the network survive 16 bits? Its tensors in fp16 and bf16, its trainable parts, and the memory a step
// needs.
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "api/input.h"
#include "api/numbers.h"
#include "api/precision.h"
#include "api/roles_report.h"
#include "api/run_facts.h"
#include "api/session.h"
#include "api/weights.h"
#include "base/error.h"
#include "halftone/options.h"
#include "halftone/printable.h"
#include "onnx/pytorch_names.h"

namespace halftone {
namespace {

using Json = nlohmann::json;

// What planning a training step of this precision books, without running anything.
int64_t planned(const onnx::Model& model, const NetworkOptions& o, const TrainFreeze& tensors, DType storage,
                const pass::LossOptions& loss, const pass::Embedding& embedding) {
  train::CompileOptions c;
  c.training.storage = storage;
  c.training.optimizer.momentum = 0.9;
  c.training.loss = loss;
  c.batch = o.batch;
  c.threads = api::threads_of(o.threads);
  c.multiply = api::parse_multiply("auto", storage);
  c.only_plan = true;
  // Of several inputs, it is the data that says which takes the samples.
  if (model.inputs().size() == 1) c.samples = {.field = "", .storage = storage, .can_be_channels_last = true};
  train::Network network(api::make_importer(model, storage, ops::BatchNormMode::kTrain, nullptr, tensors, {},
                                            nullptr, embedding),
                         c);
  network.prepare_training();
  return network.planned_bytes();
}

}  // namespace

InspectResult inspect_model(const InspectOptions& given, const Log& log) {
  InspectOptions o = given;
  api::take_from_run(o.network, o.data, api::facts_of_run(o.network.model), o.given, kInspect, log);
  api::check_numbers(o.network);
  api::check_numbers(o.data);
  TrainOptions ranges;
  ranges.network = o.network;
  check_ranges(ranges, kInspect);
  if (o.data.task == "embeddings" && o.data.data.empty())
    throw usage_error("--task embeddings: the texts of a sample say how the network is used; give --data");
  std::vector<std::string> separated;
  const onnx::Model file = api::open_model(o.network, true, log, &separated);
  api::resolve_normalization(o.data, o.network.model, file, log);
  onnx::Model model = api::choose_output(file, o.network, log);
  api::bind_dims(model, o.network.dims);
  // Before the network is looked at, as sizes that it leaves open are the data's.
  std::optional<api::Data> data;
  api::Labelling labelling(o.network, o.data, model, {}, log);
  labelling.leave_refusals();
  if (!o.data.data.empty()) {
    data = api::open_data(o.data.data, {"train", "val", "test"}, o.data, model, labelling, log);
    api::warn_of_other_normalization(o.network.model, data->transform.normalization, log);
  }
  const TrainFreeze choice{o.train, o.freeze};
  const std::vector<onnx::TensorRole> roles = onnx::roles_of(model, choice);
  InspectResult r;
  Json j{{"model", o.network.model}, {"opset", model.opset()}, {"nodes", model.nodes().size()}};
  j["tensor_counts"] = api::counts_json(roles);
  j["roles"] = api::roles_json(roles);
  std::string role_text =
      api::counts_of(roles) + "\n" + api::not_trained_table(roles, model.sparse_initializers());
  std::vector<std::string> shared = api::shared_tensors(model, roles);
  shared.insert(shared.end(), separated.begin(), separated.end());
  for (const std::string& line : shared) role_text += "shared: " + line + "\n";
  j["shared_tensors"] = shared;
  bool fixed_batch = false;
  try {
    fixed_batch = api::check_network(o.network, model, ops::Mode::kTrain, choice);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kInput) throw;
    // What is known of a network that cannot be trained is said all the same.
    r.refusal = e.what();
    j["refusal"] = r.refusal;
    r.text = fmt::format("{}: cannot be trained; what keeps it from that comes last\n", o.network.model);
    if (o.verbose)
      r.text += fmt::format("{}: opset {}, {} nodes\n{}", o.network.model, model.opset(),
                            model.nodes().size(), role_text);
    r.json = j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return r;
  }
  const ir::Graph graph = api::make_importer(model, DType::kF32, ops::BatchNormMode::kTrain, nullptr, choice)(
      o.network.batch, ops::Mode::kEval);
  r.text = fmt::format("{}: opset {}, {} nodes, all supported\n", o.network.model, model.opset(),
                       model.nodes().size());
  const auto folded = pass::convolutions_without_batch_norm(graph);
  const auto sure = std::count_if(folded.begin(), folded.end(), pass::looks_folded);
  r.text += fmt::format(
      "batch norms: {} convolutions have a bias and no batch norm, {} of them look folded (restored by "
      "default)\n\n",
      folded.size(), sure);
  r.text += role_text + "\n";
  j["folded_batch_norms"] = sure;

  r.text += fmt::format("{:<44} {:>16} {:>11} | {:>9} {:>9} {:>9} | {:>9} {:>9}\n", "trainable tensor",
                        "shape", "largest", "fp16: zero", "subnormal", "overflow", "bf16: zero", "overflow");
  const std::map<std::string, std::string> pytorch = onnx::pytorch_names(model);
  Json tensors = Json::array();
  bool fp16_ok = true;
  int64_t parameters = 0;
  std::string attention;  // of the text what needs some
  for (const ir::Value& value : graph.values) {
    if (value.kind != ir::ValueKind::kParameter) continue;
    pass::NarrowLoss loss[2];
    for (int k = 0; k < 2; ++k) {
      ir::Value as = value;
      as.type.dtype = k == 0 ? DType::kF16 : DType::kBf16;
      pass::narrow(as, &loss[k]);
    }
    fp16_ok = fp16_ok && loss[0].overflowed == 0;
    parameters += elements(value.type.shape);
    const auto known = pytorch.find(value.name);
    r.text +=
        fmt::format("{:<44} {:>16} {:>11.4g} | {:>9} {:>9} {:>9} | {:>9} {:>9}{}\n", printable(value.name),
                    to_string(value.type.shape), loss[0].largest, loss[0].flushed, loss[0].subnormal,
                    loss[0].overflowed, loss[1].flushed, loss[1].overflowed,
                    known == pytorch.end() ? "" : fmt::format("  also called {}", printable(known->second)));
    tensors.push_back({{"name", value.name},
                       {"pytorch_name", known == pytorch.end() ? value.name : known->second},
                       {"shape", value.type.shape},
                       {"largest", loss[0].largest},
                       {"fp16_flushed", loss[0].flushed},
                       {"fp16_subnormal", loss[0].subnormal},
                       {"fp16_overflowed", loss[0].overflowed},
                       {"bf16_flushed", loss[1].flushed},
                       {"bf16_overflowed", loss[1].overflowed}});
  }
  j["tensors"] = tensors;
  std::map<std::string, std::string> unfit;  // precision: why the network does not fit it
  int64_t looked_at = 0;                     // samples
  if (!data) labelling.read_outputs(model);  // what the network's outputs say
  if (data) {
    EvalOptions e;
    e.network = o.network;
    e.data = o.data;
    e.given = o.given;
    e.network.multiply = "auto";
    e.network.check_precision = "off";  // in training mode, below
    Json accuracy = Json::object();
    Json checks = Json::object();
    const auto add_finding = [&](const std::string& precision, const std::string& finding) {
      unfit.emplace(precision, finding);
      attention += fmt::format("{}: {}\n", precision, finding);
      r.text += fmt::format("{}: {}\n", precision, finding);
    };
    for (const std::string precision : {"fp32", "bf16", "fp16"}) {
      if (precision == "fp16" && !fp16_ok) continue;
      e.network.precision = precision;
      const DType storage = api::parse_precision(precision);
      const auto checked =
          api::check_precision({model, *data, data->target.loss, api::parse_multiply("auto", storage),
                                ops::Mode::kTrain, ops::BatchNormMode::kTrain, fixed_batch},
                               e.network, e.data);
      if (checked) {
        looked_at = checked->samples;
        checks[precision] = {
            {"samples", checked->samples}, {"fits", checked->fits}, {"finding", checked->finding}};
        if (!checked->fits) add_finding(precision, checked->finding);
        if (checked->fits && !checked->finding.empty()) {
          attention += fmt::format("warning: {}: {}\n", precision, checked->finding);
          r.text += fmt::format("warning: {}: {}\n", precision, checked->finding);
        }
      }
      try {
        const RunResult result = api::evaluate_as(e, data->set->info().columns, [](const std::string&) {});
        accuracy[precision] =
            result.val_accuracy ? Json(*result.val_accuracy) : Json(result.val_loss.value_or(0));
        r.text += fmt::format(
            "{} on {}: loss {:.4f}{}\n", precision, o.data.data, result.val_loss.value_or(0),
            result.val_accuracy ? fmt::format(", accuracy {:.2f} %", 100 * *result.val_accuracy) : "");
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kNumerical) throw;
        accuracy[precision] = nullptr;
        add_finding(precision, error.what());
      }
    }
    j["precision_check"] = checks;
    j["evaluation"] = accuracy;
  }
  Json memory = Json::object();
  r.text += fmt::format("\nmemory of a training step, batch {}, sgd with momentum:", o.network.batch);
  for (const DType storage : {DType::kF32, DType::kBf16, DType::kF16}) {
    if (storage == DType::kF16 && !fp16_ok) continue;
    const int64_t bytes = planned(model, o.network, choice, storage, labelling.target().loss,
                                  data ? data->embedding : pass::Embedding());
    memory[std::string(halftone::name_of(storage))] = bytes;
    r.text +=
        fmt::format("  {} {:.1f} MiB", halftone::name_of(storage), static_cast<double>(bytes) / (1 << 20));
  }
  const std::string activations = looked_at > 0 ? fmt::format("the activations of {} samples too", looked_at)
                                                : "activations were not looked at (give --data)";
  r.text += "\n";
  for (const std::string precision : {"fp16", "bf16"}) {
    if (precision == "fp16" && !fp16_ok) {
      r.text += "fp16: weights overflow; use --precision bf16\n";
    } else if (unfit.count(precision) > 0) {
      r.text += fmt::format("{}: not for this network, see above\n", precision);
    } else {
      r.text += fmt::format("{}: every weight fits; {}\n", precision, activations);
    }
  }
  const std::string best = fp16_ok && unfit.count("fp16") == 0 ? "fp16"
                           : unfit.count("bf16") == 0          ? "bf16"
                                                               : "fp32";
  const std::string samples = data
                                  ? fmt::format(" · {} samples{}", data->set->size(),
                                                data->set->info().labels == data::LabelKind::kClass
                                                    ? fmt::format(" of {} classes", data->set->info().classes)
                                                    : "")
                                  : "";
  const std::string verdict = fmt::format(
      "{}: can be trained in {} · {} parameters{} · {:.0f} MiB for batch {}\n", o.network.model, best,
      parameters, samples, std::ceil(static_cast<double>(memory[best]) / (1 << 20)), o.network.batch);
  r.text = o.verbose ? verdict + r.text : verdict + attention + "(--verbose shows all tensors and nodes)\n";
  j["planned_bytes"] = memory;
  j["fp16_fits"] = fp16_ok && unfit.count("fp16") == 0;
  r.json = j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);  // names may be any bytes
  return r;
}

}  // namespace halftone
