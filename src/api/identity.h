// What a run is (train/identity.h), from its options, its model and its data.
#pragma once

#include "api/session.h"
#include "train/identity.h"

namespace halftone::api {

// `config`: the resolved options as YAML; empty when the caller has none, then those that change the result
// are taken from `o`. Reads model and data once.
train::Identity identity_of(const TrainOptions& o, const std::string& config, const onnx::Model& model,
                            const Data& data, const Data* validation);

// "1234 bytes, crc32c 1a2b3c4d" of the model's file and its external data.
std::string contents_of(const onnx::Model& model);

// Files and folders of the user's that a run of these options reads: none may lie in a folder that it
// replaces.
std::vector<std::string> files_read(const NetworkOptions& network, const DataOptions& data);

// Error (input) when the model's external data has a name that a run writes a file of: one would replace the
// other.
void check_result_names(const onnx::Model& model);

}  // namespace halftone::api
