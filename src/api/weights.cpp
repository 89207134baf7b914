#include "api/weights.h"

#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "api/beginning.h"
#include "api/columns.h"
#include "api/identity.h"
#include "api/lora.h"
#include "api/outputs.h"
#include "api/session.h"
#include "base/listing.h"
#include "base/resource_error.h"
#include "onnx/save.h"
#include "onnx/sharing.h"
#include "pass/arrange.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"

namespace halftone::api {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// Until the process ends: a network's external data is read whenever it is needed.
class KeptFolder {
 public:
  KeptFolder() {
    std::string name = (fs::temp_directory_path() / "halftone-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw file_error(errno, "cannot create the folder " + name);
    path_ = name;
  }
  ~KeptFolder() {
    try {
      remove_tree(path_);
    } catch (const std::exception&) {
      // It is in the system's folder for temporary files.
    }
  }
  KeptFolder(const KeptFolder&) = delete;
  KeptFolder& operator=(const KeptFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string new_kept_folder() {
  static std::vector<std::unique_ptr<KeptFolder>> folders;
  folders.push_back(std::make_unique<KeptFolder>());
  return folders.back()->path();
}

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// What of a parameter a checkpoint holds; averages begin with the first step that was taken.
const Tensor* tensor_in(const train::Checkpoint& checkpoint, const std::string& name, int64_t steps_taken) {
  const auto average = checkpoint.tensors.find(pass::average_name(name));
  if (average != checkpoint.tensors.end() && steps_taken > 0) return &average->second;
  const auto it = checkpoint.tensors.find(name);
  return it == checkpoint.tensors.end() ? nullptr : &it->second;
}

// Of a run with --lora: the adapters of the checkpoint merged into the network that they were trained beside.
onnx::Model merged_model_of(const train::Checkpoint& checkpoint, const onnx::Model& base,
                            const Beginning& beginning, DType storage, int64_t batch, int64_t steps_taken,
                            const std::string& columns, const std::string& folder) {
  const LoraNetwork lora = with_lora(base, beginning, [](const std::string&) {});
  const onnx::Model model = with_outputs(lora.adapted, beginning.outputs);
  ir::Graph graph = make_importer(model, storage, ops::BatchNormMode::kFreeze, nullptr, lora.tensors)(
      batch, ops::Mode::kTrain);
  pass::arrange(graph, storage);
  const std::set<std::string> wanted(lora.tensors.train.begin(), lora.tensors.train.end());
  std::map<std::string, Tensor> trained;
  for (const ir::Value& value : graph.values) {
    if (!value.persistent() || wanted.count(value.name) == 0) continue;
    const Tensor* stored = tensor_in(checkpoint, value.name, steps_taken);
    if (stored == nullptr || stored->shape() != value.type.shape)
      throw input_error("{}: the checkpoint's tensor {} is {}; the network's has shape {}", folder,
                        value.name, stored == nullptr ? "missing" : to_string(stored->shape()),
                        to_string(value.type.shape));
    trained.emplace(value.name, pass::widen(*stored, value.storage_axes));
  }
  for (const std::string& name : wanted)
    if (trained.count(name) == 0) throw input_error("{}: the checkpoint holds no tensor {}", folder, name);
  const std::string out = new_kept_folder() + "/model.onnx";
  onnx::save(
      lora.base, merged_names(lora),
      [&](const std::string& name) {
        return merged_tensor(lora, name, [&](const std::string& of) { return trained.at(of).clone(); });
      },
      out, columns.empty() ? onnx::Metadata() : column_metadata(base, data::plan_from_json(columns, folder)));
  return onnx::Model::load(out);
}

// The checkpoint's tensors in the network that its run began with.
onnx::Model model_of(const train::Checkpoint& checkpoint, const std::string& folder) {
  Json state;
  std::string path;
  DType storage = DType::kF32;
  std::string model_was;
  std::string batchnorm;
  Beginning beginning;
  std::string columns;  // of a table, where the run was trained on these
  int64_t batch = 1;
  int64_t steps_taken = 0;
  try {
    state = Json::parse(checkpoint.state_json);
    path = state.at("origin").at("model");
    storage = parse_precision(state.at("origin").at("precision"));
    batchnorm = state.at("origin").at("batchnorm");
    if (state.at("origin").contains("beginning"))
      beginning = beginning_from_json(state.at("origin").at("beginning"), folder);
    steps_taken = state.value("good_steps", int64_t{0});
    model_was = state.at("identity").value("model", "");
    columns = state.at("identity").value("columns", "");
    // Some graphs depend on it: a norm over (N, C) takes no single sample, a reshape may have the size in it.
    const std::string text = state.at("identity").value("--batch", "1");
    std::from_chars(text.data(), text.data() + text.size(), batch);
  } catch (const Json::exception&) {
    throw input_error(
        "{}: the checkpoint of step {} does not say which network it belongs to (an earlier version wrote "
        "it); "
        "finish the run by train --resume, and take its model.onnx",
        folder, checkpoint.step);
  }
  if (!is_there(path))
    throw input_error(
        "{}: its checkpoints belong to the network {}, which is not there any more; put it back, or finish "
        "the run by "
        "`halftone train MODEL.onnx --resume {}`",
        folder, path, folder);
  const onnx::Model file = onnx::Model::load(path);
  if (const std::string model_is = contents_of(file); model_is != model_was)
    throw input_error("{}: its checkpoints belong to the network {} as it was ({}); it is {} now", folder,
                      path, model_was, model_is);

  const onnx::Model base =
      begun(onnx::with_own_statistics(file, batchnorm != "freeze"), beginning, [](const std::string&) {});

  if (beginning.lora)
    return merged_model_of(checkpoint, base, beginning, storage, batch, steps_taken, columns, folder);

  // Batch norms that the run restored, as the checkpoint has them.
  const ir::Graph plain =
      make_importer(base, DType::kF32, ops::BatchNormMode::kTrain, nullptr)(batch, ops::Mode::kEval);
  pass::RestoredBatchNorms restored;
  const auto tensor = [&](const std::string& name) -> const Tensor* {
    return tensor_in(checkpoint, name, steps_taken);
  };
  for (const pass::FoldedConvolution& c : pass::convolutions_without_batch_norm(plain)) {
    const Tensor* scale = tensor(c.weight + "#bn_scale");
    const Tensor* shift = tensor(c.weight + "#bn_shift");
    const Tensor* mean = tensor(c.weight + "#bn_mean");
    const Tensor* variance = tensor(c.weight + "#bn_variance");
    if (scale == nullptr || shift == nullptr || mean == nullptr || variance == nullptr) continue;
    restored.by_weight.emplace(
        c.weight, pass::RestoredBatchNorm{c, std::vector<double>(static_cast<size_t>(scale->size()), 1.0),
                                          converted(*scale, DType::kF32), converted(*shift, DType::kF32),
                                          converted(*mean, DType::kF32), converted(*variance, DType::kF32)});
  }
  // One bias of several restored norms: the run has given each its own, under names that only it knows.
  std::set<std::string> biases;
  for (const auto& [weight, norm] : restored.by_weight) biases.insert(norm.convolution.bias);
  const auto in_checkpoint = std::count_if(checkpoint.tensors.begin(), checkpoint.tensors.end(),
                                           [](const auto& t) { return t.first.ends_with("#bn_scale"); });
  if (biases.size() != restored.by_weight.size() ||
      in_checkpoint != static_cast<std::ptrdiff_t>(biases.size()))
    throw input_error(
        "{}: batch norms that share a bias were restored for training, and a checkpoint of such a run is not "
        "a network yet; "
        "finish the run by {}",
        folder, train::resume_command(folder));
  const pass::RestoredBatchNorms* norms = restored.by_weight.empty() ? nullptr : &restored;
  ir::Graph graph = make_importer(base, storage, ops::BatchNormMode::kTrain, norms)(batch, ops::Mode::kTrain);
  pass::arrange(graph, storage);

  std::map<std::string, Tensor> trained;
  for (const ir::Value& value : graph.values) {
    const Tensor* stored = value.persistent() && value.has_initial() ? tensor(value.name) : nullptr;
    if (stored == nullptr) continue;
    if (stored->shape() != value.type.shape)
      throw input_error("{}: the checkpoint's tensor {} has shape {}, the network's {}", folder, value.name,
                        to_string(stored->shape()), to_string(value.type.shape));
    trained.emplace(value.name, pass::widen(*stored, value.storage_axes));
  }
  // What --train made a parameter is a constant here.
  for (const auto& [name, value] : checkpoint.tensors)
    if (base.find_tensor(name) != nullptr && trained.count(name) == 0)
      throw input_error(
          "{}: the checkpoint holds '{}', which is trained only on request (--train); finish the run by {}",
          folder, name, train::resume_command(folder));
  if (trained.empty()) throw input_error("{}: the checkpoint holds no tensor of {}", folder, path);
  std::vector<std::string> names;
  for (const auto& [name, value] : trained) names.push_back(name);
  if (norms != nullptr) names = pass::folded_names(names, *norms);
  const pass::TensorOf trained_tensor = [&](const std::string& name) { return trained.at(name).clone(); };
  const std::string out = new_kept_folder() + "/model.onnx";
  onnx::save(
      base, names,
      [&](const std::string& name) {
        return norms != nullptr ? pass::folded_tensor(name, *norms, trained_tensor) : trained_tensor(name);
      },
      out, columns.empty() ? onnx::Metadata() : column_metadata(base, data::plan_from_json(columns, folder)));
  return onnx::Model::load(out);
}

}  // namespace

onnx::Model load_model(const std::string& path, const std::string& weights) {
  if (!weights.empty() && weights != "final" && weights != "last" && weights != "best")
    throw usage_error("--weights {} is not known; it is final, last or best", weights);
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    if (!weights.empty())
      throw usage_error("--weights {} needs the folder of a run, and {} is a file", weights, path);
    return onnx::Model::load(path);
  }
  const bool ended = train::has_ended(path) && is_there(path + "/model.onnx");
  if (weights == "final" || (weights.empty() && ended)) {
    if (!ended)
      throw input_error(
          "{} holds no model.onnx of a run that has ended; --weights last takes its newest checkpoint, {} "
          "goes on with it",
          path, train::resume_command(path));
    return onnx::Model::load(path + "/model.onnx");
  }
  if (weights == "best") {
    if (!is_there(path + "/best.htck"))
      throw input_error("{} holds no best.htck: the run has no evaluation yet, or no validation data", path);
    return model_of(train::read_checkpoint(path + "/best.htck"), path);
  }
  const train::LatestCheckpoint latest = train::find_latest(path);
  if (!latest.checkpoint) {
    if (is_there(path + "/model.onnx") && !is_there(path + "/config.yaml"))
      throw input_error("{} is a folder, but not that of a run; give the ONNX file in it", path);
    if (!is_there(path + "/config.yaml"))
      throw input_error("{} is a folder, but not that of a run; give an ONNX file, or the folder of a run",
                        path);
    throw input_error("{} holds no model.onnx and no checkpoint that can be used", path);
  }
  return model_of(*latest.checkpoint, path);
}

}  // namespace halftone::api
