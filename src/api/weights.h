// A run's folder where a network is expected.
#pragma once

#include <string>

#include "onnx/model.h"

namespace halftone::api {

// `path`: an ONNX file, or a run's folder with one of its networks by `weights`: final (what the run wrote at
// its end), last (the newest intact checkpoint), best (the best evaluated); empty: final when the run has
// ended, else last. What a checkpoint holds is put into the network that the run began with, which must still
// be there, unchanged. Errors: (usage) weights that are not known, or given for a file; (input) a folder
// without them.
onnx::Model load_model(const std::string& path, const std::string& weights);

}  // namespace halftone::api
