// The folder of a run: whose results lie there, and when they may go.
#pragma once

#include <string>

namespace halftone::train {

// Before a new run opens its data, which can take long: refuses a folder whose run has not ended, and writes config.yaml
// where there is none, so that a run that is killed meanwhile can be resumed.
void announce_new_run(const std::string& folder, const std::string& config);

// Makes `folder` ready for a new run. What a run left there that has ended (it has a summary.json) is removed, but for
// model.onnx, which may be the network that is to be trained; true when there was one. Error (usage): the run there has
// not ended and has checkpoints, which are worth resuming. Files of others are left alone.
bool clear_for_new_run(const std::string& folder);

// Removes what a run left in `folder`, ended or not, but for model.onnx. A missing folder is fine.
void remove_run(const std::string& folder);

// A run begins, or goes on: config.yaml says how (nothing is written when `config` is empty), and summary.json, which
// says that it has ended, is gone.
void mark_running(const std::string& folder, const std::string& config);

}  // namespace halftone::train
