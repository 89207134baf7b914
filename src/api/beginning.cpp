#include "api/beginning.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "api/class_names.h"
#include "api/input.h"
#include "api/labelling.h"
#include "api/lora.h"
#include "api/losses.h"
#include "api/outputs.h"
#include "api/session.h"
#include "base/error.h"
#include "onnx/reset.h"

namespace halftone::api {
namespace {

using Json = nlohmann::json;

bool wants_head(const TrainOptions& o) {
  return o.new_head || o.classes > 0;
}

// The training data's names of its classes, and how many numbers its labels need.
struct DataClasses {
  int64_t count = 0;
  std::vector<std::string> names;
};

onnx::Model without_class_names(const onnx::Model& model) {
  onnx::Changes changes;
  changes.metadata.assign(std::begin(onnx::kClassKeys), std::end(onnx::kClassKeys));
  return model.changed(std::move(changes));
}

DataClasses classes_of_data(const TrainOptions& o, const onnx::Model& model) {
  const Log silent = [](const std::string&) {};
  // The old classes' names say nothing of these.
  onnx::Model open = choose_output(without_class_names(model), o.network, silent);
  bind_dims(open, o.network.dims);
  Labelling labelling(unweighted(o.network), o.data, open, {}, silent);
  labelling.count_classes();
  const Data data = open_data(training_spec(o.data), {"train"}, o.data, open, labelling, silent);
  return {labelling.counted(), data.names};
}

// (row of the file, new row) of the classes that both name.
std::vector<std::pair<int64_t, int64_t>> kept_rows(const TrainOptions& o, const onnx::Model& model,
                                                   const onnx::LastLayer& layer,
                                                   const std::vector<std::string>& names) {
  const data::ClassMap old =
      o.data.old_classes_file.empty() ? class_map_of(model) : data::read_class_file(o.data.old_classes_file);
  if (old.empty())
    throw input_error(
        "{}: --keep-classes: the file does not name its classes; give --old-classes-file FILE with one name "
        "a line, in "
        "the order of its outputs",
        model.path());
  if (static_cast<int64_t>(old.names.size()) != layer.rows)
    throw input_error("{}: --keep-classes: {} has {} class names, but {} gives {} numbers", model.path(),
                      old.source, old.names.size(), layer.node, layer.rows);
  if (names.empty())
    throw input_error(
        "{}: --keep-classes: the classes of {} have numbers and no names; give --classes-file FILE with one "
        "name a "
        "line, in the order of the numbers",
        model.path(), o.data.data.empty() ? "the batches" : o.data.data);
  std::vector<std::pair<int64_t, int64_t>> kept;
  for (size_t to = 0; to < names.size(); ++to) {
    const auto from = std::find(old.names.begin(), old.names.end(), names[to]);
    if (from != old.names.end()) kept.emplace_back(from - old.names.begin(), static_cast<int64_t>(to));
  }
  if (kept.empty())
    throw input_error("{}: --keep-classes: none of the classes {} is among those of {}: {}", model.path(),
                      data::some_of(names), old.source, data::some_of(old.names));
  return kept;
}

}  // namespace

std::string to_json(const Beginning& b) {
  Json json{{"seed", b.seed}, {"reset", b.reset}};
  if (b.head) json["head"] = {{"output", b.head->output}, {"rows", b.head->rows}, {"kept", b.head->kept}};
  if (b.lora)
    json["lora"] = {{"r", b.lora->rank},
                    {"alpha", b.lora->alpha},
                    {"dropout", b.lora->dropout},
                    {"targets", b.lora->targets},
                    {"outputs", b.outputs}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Beginning beginning_from_json(const std::string& text, const std::string& where) {
  Beginning b;
  try {
    const Json json = Json::parse(text);
    b.seed = json.at("seed");
    b.reset = json.at("reset").get<std::vector<std::string>>();
    if (json.contains("head")) {
      const Json& head = json.at("head");
      b.head = onnx::NewHead{head.at("output"), head.at("rows"),
                             head.at("kept").get<std::vector<std::pair<int64_t, int64_t>>>(), b.seed};
    }
    if (json.contains("lora")) {
      const Json& lora = json.at("lora");
      b.lora = onnx::LoraOptions{lora.at("r"), lora.at("alpha"), lora.at("dropout"),
                                 lora.at("targets").get<std::vector<std::string>>()};
      b.outputs = lora.at("outputs").get<std::vector<std::string>>();
    }
  } catch (const Json::exception&) {
    throw input_error("{}: the checkpoint does not say how its network began: found {}", where, text);
  }
  constexpr int64_t kMostRows = int64_t{1} << 24;
  if (b.head && (b.head->rows < 1 || b.head->rows > kMostRows))
    throw input_error("{}: the checkpoint's network has a last layer of {} rows", where, b.head->rows);
  if (b.lora && (b.lora->rank < 1 || b.lora->rank > kMostRank))
    throw input_error("{}: the checkpoint's network has adapters of rank {}", where, b.lora->rank);
  return b;
}

void check_beginning(const TrainOptions& o, bool given) {
  check_lora(o);
  if (o.classes < 0) throw usage_error("--classes {} is not possible: expected at least 1", o.classes);
  if (!wants_head(o)) {
    if (o.keep_classes)
      throw usage_error(
          "--keep-classes keeps rows of a new last layer: give --new-head, or --classes N, with it");
    if (!o.data.old_classes_file.empty()) throw usage_error("--old-classes-file goes with --keep-classes");
    return;
  }
  if (!o.data.old_classes_file.empty() && !o.keep_classes)
    throw usage_error("--old-classes-file goes with --keep-classes");
  if (parse_losses(o.network).size() != 1 || !o.network.loss_graph.empty())
    throw usage_error("--new-head and --classes go with one --loss and no --loss-graph");
  if (given && o.classes == 0 && o.data.classes_file.empty())
    throw usage_error(
        "--new-head takes the number of classes from the data, which batches that are given do not show: "
        "give "
        "--classes N");
}

Beginning beginning_of(const TrainOptions& o, const onnx::Model& model, bool given,
                       const data::ClassMap& run) {
  Beginning b;
  b.reset = o.reset;
  b.seed = o.network.seed;
  if (!o.lora.empty()) {
    b.lora = parse_lora(o.lora);
    b.outputs = outputs_of(model, o.network).names;
  }
  if (!wants_head(o)) return b;
  onnx::NewHead& head = b.head.emplace();
  const std::vector<std::string> outputs = outputs_of(model, o.network).names;
  head.output = outputs.at(0);
  head.seed = b.seed;
  // Before the data is opened, which may take long.
  const onnx::LastLayer layer = onnx::last_layer(model, head.output);
  DataClasses classes;
  if (!o.data.classes_file.empty()) {
    classes.names = data::read_class_file(o.data.classes_file).names;
    classes.count = static_cast<int64_t>(classes.names.size());
  } else if (!run.empty()) {
    classes = {static_cast<int64_t>(run.names.size()), run.names};
  } else if (!given && (o.classes == 0 || o.keep_classes)) {
    classes = classes_of_data(o, model);
  }
  head.rows = o.classes > 0 ? o.classes : classes.count;
  if (head.rows < classes.count)
    throw usage_error("--classes {}: the data has {} classes{}", head.rows, classes.count,
                      classes.names.empty() ? "" : fmt::format(" ({})", data::some_of(classes.names)));
  if (o.keep_classes) head.kept = kept_rows(o, model, layer, classes.names);
  return b;
}

onnx::Model begun(const onnx::Model& model, const Beginning& b, const Log& log) {
  if (!b.head && b.reset.empty()) return model;
  std::optional<onnx::Model> made;
  if (b.head) {
    const onnx::LastLayer layer = onnx::last_layer(model, b.head->output);
    made = onnx::with_new_head(model, *b.head);
    const auto kept = static_cast<int64_t>(b.head->kept.size());
    log(fmt::format("new head: {} has {} rows (it had {}): {} kept, {} drawn from the seed", layer.node,
                    b.head->rows, layer.rows, kept, b.head->rows - kept));
  }
  if (!b.reset.empty()) {
    std::vector<std::string> drawn;
    made = onnx::with_reset(made ? *made : model, b.reset, b.seed, &drawn);
    log(fmt::format("--reset: {} tensors begin anew: {}", drawn.size(), data::some_of(drawn, 5)));
  }
  return *made;
}

}  // namespace halftone::api
