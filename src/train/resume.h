// A run goes on where a checkpoint of it left off.
#pragma once

#include "train/checkpoint.h"
#include "train/run.h"

namespace halftone::train {

// State and tensors become the checkpoint's. Errors: it is another run's (identity, classes, tensors), which
// options.accept_changes allows as far as options and files go; values that no run can have.
void resume_from(const Checkpoint& checkpoint, Run& run);

}  // namespace halftone::train
