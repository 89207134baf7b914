// Back to ONNX: the file that was read, with only the trained tensors' elements replaced.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

// Gives a changed tensor's new elements; asked for one tensor at a time, and perhaps several times.
using TensorSource = std::function<Tensor(const std::string& name)>;

// Entries of metadata_props that the written file has besides the model's, in place of one of the same key.
using Metadata = std::map<std::string, std::string>;

// Writes the model with new elements for the tensors in `changed` (names as in Model::tensors, shapes as in
// the file, any float type: converted to the file's, nearest-even). Everything else stays as it was: graph,
// names, order, opset, metadata (but for what `metadata` adds; an entry that is there already changes
// nothing), fields that the schema does not know, and how each tensor is stored; what Model::separated
// changed is in it. External data is copied to the same location beside the new file, patched; first the
// data, then the model, each written completely or not at all. A changed tensor whose bytes belong to another
// one too is written to the end of its data file, and the other keeps them. Errors: a value that is finite in
// `changed` is infinite in the file's type; the file was changed since it was read; external data would
// overwrite the file that was read or the model itself; the disk.
void save(const Model& model, const std::vector<std::string>& changed, const TensorSource& source,
          const std::string& path, const Metadata& metadata = {});
void save(const Model& model, const std::map<std::string, Tensor>& changed, const std::string& path,
          const Metadata& metadata = {});

}  // namespace halftone::onnx
