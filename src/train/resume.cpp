#include "train/resume.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/resource_error.h"
#include "data/class_map.h"
#include "halftone/printable.h"

namespace halftone::train {
namespace {

// "the checkpoint of step 100 in runs/train-1"
std::string name_of_checkpoint(const Checkpoint& checkpoint, const Run& run) {
  return fmt::format("the checkpoint of step {} in {}", checkpoint.step, run.options.folder);
}

// Error when this run is not the checkpoint's and that was not accepted. True when its place in an epoch
// means other samples, or none.
bool check_identity(const Identity& was, int64_t step, const Run& run) {
  const Identity& is = run.options.identity;
  if (is.empty()) return false;
  if (was.empty()) {
    run.progress.warning(
        fmt::format("warning: the checkpoint of step {} does not say which model, data and options it "
                    "belongs to (an earlier "
                    "version wrote it): give those that the run began with",
                    step));
    return false;
  }
  if (const std::string more = not_compared(was, is); !more.empty())
    run.progress.warning(
        printable(fmt::format("warning: the checkpoint of step {} is of an earlier version, which did not "
                              "record these options; give what the "
                              "run began with: {}",
                              step, more)));
  const std::vector<Difference> changed = differences(was, is);
  if (changed.empty()) return false;
  const bool options_only = std::all_of(changed.begin(), changed.end(),
                                        [](const Difference& d) { return d.name.starts_with("--"); });
  const std::string text = fmt::format("the options or files differ from those of the run in {}: {}",
                                       run.options.folder, text_of(changed));
  if (!run.options.accept_changes)
    throw Error(options_only ? ErrorKind::kUsage : ErrorKind::kInput,
                printable(text + ". Give what it began with, or --accept-changes to continue anyway"));
  run.progress.warning(printable("warning: " + text + " (--accept-changes)"));
  return std::any_of(changed.begin(), changed.end(), [](const Difference& d) {
    return d.name == "--batch" || d.name == "--accumulate" || d.name == "--seed" || d.name == "training data";
  });
}

// Everything that a checkpoint holds must be in the network and the other way round, or it belongs to another
// run.
void restore_tensors(const Checkpoint& checkpoint, const Run& run) {
  Network& network = run.network;
  std::vector<std::string> stays = network.file_tensor_names();
  std::erase_if(stays, [&](const std::string& name) {
    const std::vector<std::string>& moving = network.moving_tensor_names();
    return std::binary_search(moving.begin(), moving.end(), name);
  });
  std::sort(stays.begin(), stays.end());
  std::vector<std::string> changed;  // tensors that stay, which the checkpoint has with other values
  for (auto& [name, tensor] : network.store().all()) {
    if (!is_in_checkpoints(run, name)) continue;
    const auto it = checkpoint.tensors.find(name);
    if (it == checkpoint.tensors.end() || it->second.dtype() != tensor.dtype() ||
        it->second.shape() != tensor.shape())
      throw input_error(
          "{} does not fit this run: tensor {} should be {} {}{}", name_of_checkpoint(checkpoint, run), name,
          name_of(tensor.dtype()), halftone::to_string(tensor.shape()),
          it == checkpoint.tensors.end() ? ", it has none"
                                         : fmt::format(", it is {} {}", name_of(it->second.dtype()),
                                                       halftone::to_string(it->second.shape())));
    if (std::binary_search(stays.begin(), stays.end(), name) &&
        std::memcmp(tensor.data(), it->second.data(), static_cast<size_t>(tensor.bytes())) != 0)
      changed.push_back(name);
    std::memcpy(tensor.data(), it->second.data(), static_cast<size_t>(tensor.bytes()));
  }
  // The steps would compute with the checkpoint's values, and the written file would have those of the
  // network's file.
  if (!changed.empty())
    throw usage_error(
        "{} does not fit this run: {} of the tensors that stay as the file has them now "
        "have other values in the checkpoint: {}\n  resume with the network file and the --freeze, --train, "
        "--output and "
        "--batchnorm that the run began with. To keep the trained values of these tensors, begin a new run "
        "with the "
        "weights of this one: halftone train {} --weights last --out NEW, with the new options",
        name_of_checkpoint(checkpoint, run), changed.size(), data::some_of(changed, 20), run.options.folder);
  network.restore_derived();
}

}  // namespace

bool is_in_checkpoints(const Run& run, const std::string& name) {
  if (!run.network.is_checkpointed(name)) return false;
  const auto which = run.options.origin.find(kTensorsInCheckpoints);
  if (which == run.options.origin.end() || which->second != "moving") return true;
  const std::vector<std::string>& moving = run.network.moving_tensor_names();
  return !run.network.has_file_tensor(name) || std::binary_search(moving.begin(), moving.end(), name);
}

void resume_from(const Checkpoint& checkpoint, Run& run) {
  RunState& state = run.state;
  const std::string which = name_of_checkpoint(checkpoint, run);
  const auto possible = [&](const auto& f) {
    try {
      return f();
    } catch (const Error& e) {
      rethrow_if_resource(e);
      throw input_error("{} has an impossible state: {}", which, e.what());
    }
  };
  const ReadRunState read = possible([&] { return run_state_from_json(checkpoint.state_json, state); });
  const bool other_batches = check_identity(read.origin.identity, checkpoint.step, run);
  state.loss_scale.restore(read.loss_scale);
  if (other_batches && state.batch > 0) {
    run.progress.warning(fmt::format("warning: epoch {} starts again from its first batch", state.epoch + 1));
    state.start_epoch(state.epoch);
  }
  const std::vector<std::string>& classes = run.options.classes;
  if (read.origin.classes && *read.origin.classes != classes)
    throw input_error("{} was trained with the classes {}; the data has {} now", which,
                      data::some_of(*read.origin.classes), data::some_of(classes));
  possible(
      [&] { check_ranges(state, checkpoint.step, run.length.batches_per_epoch, run.options.accumulate); });
  restore_tensors(checkpoint, run);
  if (const auto tensor = run.network.non_finite_tensor())
    throw input_error("{} has an impossible state: tensor {} holds values that are not finite", which,
                      *tensor);
}

}  // namespace halftone::train
