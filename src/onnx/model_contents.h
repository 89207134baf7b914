// What a Model holds. Private to src/onnx.
#pragma once

#include <map>
#include <memory>

#include "onnx/model.h"
#include "onnx/outline.h"
#include "onnx/proto.h"
#include "onnx/tensor_proto.h"

namespace halftone::onnx {

// A Separation in terms of the message; made in the order in which they stand.
struct ProtoSeparation {
  int node =
      -1;  // index in the message, with the Identity nodes that earlier lists made superfluous left out
  int input = -1;
  std::string tensor, name;
};

// What Model::separated or Model::changed did.
struct ProtoChange {
  std::vector<ProtoSeparation> separations;
  std::shared_ptr<const Changes> changes;  // null: separations
};

struct Contents {
  TensorFile file;
  ::onnx::ModelProto proto;  // without the elements of file.detached's tensors
  int opset = 0;
  std::vector<ValueInfo> inputs;
  std::map<std::string, double> fixes;  // Model::with_fixed
  std::vector<FixedInput> fixed;
  std::vector<ValueInfo> outputs;
  std::vector<NodeInfo> nodes;
  std::vector<int>
      file_index;            // of nodes[i]; of a function's or branch's: of the call or the If in the graph
  std::vector<int> inlined;  // of nodes[i]: index in `copies` where it is a function's or a branch's, else -1
  std::vector<::onnx::NodeProto> copies;
  std::vector<TensorInfo> tensors;
  std::vector<TensorPlace> places;  // of tensors[i]
  std::map<std::string, size_t, std::less<>> tensor_index;
  std::vector<ProtoChange> changes;  // in the file's message, in the order in which they were made
  // Of each tensor that it made the names by which its reader knew it, from the reader on: those of Identity
  // nodes, the tensor's of the file last.
  std::map<std::string, std::vector<std::string>, std::less<>> origins;
};

// The node as its graph or function has it.
inline const ::onnx::NodeProto& proto_of(const Contents& c, size_t node) {
  const int copy = c.inlined[node];
  return copy < 0 ? c.proto.graph().node(c.file_index[node]) : c.copies[static_cast<size_t>(copy)];
}

// What the importer needs of a node; `position` in its graph stands for a name where it has none.
NodeInfo node_info(const ::onnx::NodeProto& node, int position, int opset);

// The graph, or that of the branch, that a tensor stands in; likewise to change it.
const ::onnx::GraphProto& graph_of(const ::onnx::ModelProto& proto, const TensorPlace& place);
::onnx::GraphProto& graph_of(::onnx::ModelProto& proto, const TensorPlace& place);

// Error for kinds Halftone has no use for (graphs, sparse tensors, lists of strings).
ir::Attributes attributes_of(const ::onnx::NodeProto& node, const TensorFile& file);

// What the input holds, of this shape; floats in fp32.
Tensor elements_of(const FixedInput& input, const Shape& shape);

// The same message, for a change to it: elements that lie in the file stay there. What is read from it,
// read_graph_of fills in.
std::shared_ptr<Contents> copied_message(const Contents& from);

// Fills everything from opset to tensor_index from file, proto and fixes. Error, naming the file, when the
// graph is damaged.
void read_graph_of(Contents& contents);

// Makes the changes in a message that has, or has not, its tensors' elements. Returns each new tensor with
// that whose elements it has (nullptr: they are in the new one).
std::vector<std::pair<const ::onnx::TensorProto*, const ::onnx::TensorProto*>> separate(
    ::onnx::ModelProto& proto, const std::vector<ProtoSeparation>& separations);

// Makes the changes in a message that has, or has not, its tensors' elements. Returns the tensors whose
// elements are in the message now.
std::vector<const ::onnx::TensorProto*> change(::onnx::ModelProto& proto, const Changes& changes);

// The message with all elements and changes, read again if need be.
::onnx::ModelProto whole_message(const Contents& contents);

}  // namespace halftone::onnx
