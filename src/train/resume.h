// A run goes on where a checkpoint of it left off.
#pragma once

#include <string>

#include "train/checkpoint.h"
#include "train/run.h"

namespace halftone::train {

// State and tensors become the checkpoint's. Errors: it is another run's (identity, classes, tensors), which
// options.accept_changes allows as far as options and files go; values that no run can have.
void resume_from(const Checkpoint& checkpoint, Run& run);

// Of TrainerOptions::origin: "moving" where the tensors of the network's file that steps leave alone are in no
// checkpoint, for the file has them.
inline constexpr const char* kTensorsInCheckpoints = "tensors";
// Whether the run's checkpoints have this tensor of its network.
bool is_in_checkpoints(const Run& run, const std::string& name);

}  // namespace halftone::train
