// An ONNX file in memory: what it contains, checked for damage, with everything (unknown fields too) kept for
// writing it back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/attributes.h"
#include "tensor/tensor.h"

namespace halftone::onnx {

// One dimension of an input or output: a number, a named unknown, or neither (value -1, no name).
struct Dimension {
  int64_t value = -1;
  std::string param;
};

struct ValueInfo {
  std::string name;
  std::string type;            // as ONNX writes it: "float", "int64", ...; "?" when the file does not say
  std::optional<DType> dtype;  // empty for a type that Halftone has no tensors of
  bool has_shape = false;
  std::vector<Dimension> dims;
};

// An initializer or a Constant node's value, without its elements.
struct TensorInfo {
  std::string name;
  std::string type;
  std::optional<DType> dtype;
  Shape shape;
};

// A node of an If's branch: it runs where the If's condition (a value's name) is `then`.
struct Guard {
  std::string condition;
  bool then = true;
};

struct NodeInfo {
  std::string name;  // as in the file; "Conv#12" (operator and position) when the file gives none
  std::string op_type;
  std::string domain;
  int opset = 0;  // of the default domain
  std::vector<std::string>
      inputs;  // empty names: absent. What its graphs (If) read from around them stands behind
  std::vector<std::string> outputs;
  size_t declared_inputs = 0;      // of `inputs`: those of the node itself
  std::vector<Guard> guards = {};  // all of them: the branches that it stands in, from the outermost
  // An If whose branches stand before it, as nodes with guards. Inputs: the condition, the results of the
  // branch that it takes where that is true, then those of the other.
  bool choice = false;
};

// An input of the network that is the same number for every sample, and in every element.
struct FixedInput {
  ValueInfo info;
  double value = 0;
};

// A node or a property of the file that stands in the way of training, and why.
struct Problem {
  std::string node;  // empty: the whole file
  std::string op_type;
  int opset = 0;
  std::string reason;
};

// A node's input that is to read a tensor of its own: a new initializer `name` with the elements of `tensor`,
// which the node reads directly or through Identity nodes.
struct Separation {
  size_t node = 0;  // of Model::nodes
  size_t input = 0;
  std::string tensor;
  // A free name; or that of the input as it is, when nothing else reads the Identity node's output that has
  // it: the initializer then takes the node's place.
  std::string name;
};

// What a file says otherwise than before: tensors of other elements and shapes, declared sizes, metadata.
struct Changes {
  std::map<std::string, Tensor> tensors;  // in the file's types, which stay
  struct Size {
    std::string value;  // of the graph's inputs, outputs or values between nodes
    size_t axis = 0;
    int64_t size = 0;
  };
  std::vector<Size> sizes;            // declared ones; a value that the file says nothing of is left alone
  std::vector<std::string> metadata;  // keys of metadata_props that go
  // Nodes between a value and its readers.
  struct Node {
    std::string op_type, name;
    std::vector<std::string> inputs;
    std::string output;
    std::map<std::string, float> floats = {};  // attributes
    bool attributes_of_producer = false;       // all those of the node that gave the value before
  };
  struct Insertion {
    std::string value;        // an output of a node of the main graph; the last of `nodes` gives it from then on
    std::string before;       // the name that this output has now, which `nodes` may read
    std::vector<Node> nodes;  // in an order of execution
  };
  std::vector<Insertion> insertions;
  std::map<std::string, Tensor> added;  // new initializers, for `insertions`
};

struct Contents;  // the protobuf message; model_contents.h, private to src/onnx

// Copies share what was read.
class Model {
 public:
  // Reads the file. Error, naming the file and what is wrong, when it cannot be read, is no ONNX, is damaged
  // (names defined twice, inputs that nothing defines, cycles, tensors whose size contradicts their data) or
  // asks for more memory than its size explains. The elements of its tensors stay in the file, which is kept
  // open and read again for each tensor() and by save(): Error when it was changed in between.
  static Model load(const std::string& path);
  // The same from bytes; `path` is for messages and for external data, which lies beside it.
  static Model parse(std::string_view bytes, const std::string& path);

  const std::string& path() const;
  int opset() const;  // of the default domain
  const std::vector<ValueInfo>& inputs()
      const;  // without those that are initializers, and those that are fixed
  // The same model with these inputs fixed. What depends on them alone is known when loading: the branch that
  // an If takes, above all. The file that is written has them as before. Error: no input has that name; a
  // number that its type cannot hold.
  Model with_fixed(const std::map<std::string, double>& values) const;
  const std::vector<FixedInput>& fixed() const;
  // Gives the inputs' open axes of these names (input_axes.h) these sizes, in this copy of the model. The
  // file that is written from it leaves them open as before.
  void bind(const std::map<std::string, int64_t>& sizes);
  // The same, in place of the sizes that bind() gave.
  void rebind(const std::map<std::string, int64_t>& sizes);
  const std::vector<ValueInfo>& outputs() const;  // or the chosen ones (with_outputs)
  // The file's own functions are inlined: their nodes stand where they are called. So are the branches of an
  // If (inline.h).
  const std::vector<NodeInfo>& nodes()
      const;  // in an order in which each follows those it reads from: the file's order where that is one
  ir::Attributes attributes(size_t node)
      const;  // Error for kinds Halftone has no use for (graphs, sparse tensors, lists of strings)

  // Tensors by name: initializers, and the outputs of Constant nodes; those of branches that may be taken,
  // too.
  const std::vector<TensorInfo>& tensors() const;
  const TensorInfo* find_tensor(std::string_view name) const;  // nullptr: there is none
  bool is_initializer(std::string_view name) const;
  Tensor tensor(std::string_view name) const;  // its elements; Error for types Halftone has no tensors of

  // The same model with one output: one of the file's, or a value between nodes. What only others need is not
  // looked at any more; what is written has them all.
  Model with_output(const std::string& name) const { return with_outputs({name}); }
  // The same with several, in this order.
  Model with_outputs(const std::vector<std::string>& names) const;
  // The same model, of whose inputs each counts the samples by its first axis. Error, naming the input: it is
  // a scalar, or its first axis has a size of its own.
  Model with_batch_in_front() const;

  // The model with these changes and no others. New initializers have the type of their tensor, and lie where
  // it lies until they are saved with elements of their own. Identity nodes that nothing reads any more are
  // left out.
  Model separated(const std::vector<Separation>& separations) const;
  // The model with these changes and no others. The tensors are initializers or Constant nodes' values of the
  // main graph; what is changed is held in memory until the model is saved, and is no external data any more.
  Model changed(Changes changes) const;
  // The tensor of the file that `name`, made by separated(), was read as; any other name: itself.
  const std::string& origin(const std::string& name) const;

  // Names that are defined, but are no tensors() for us.
  std::vector<std::string> sparse_initializers() const;
  // The value of a metadata_props entry; none: there is no such key.
  std::optional<std::string> metadata(std::string_view key) const;

  // What keeps the file as a whole, or a node whatever its operator, from being trained: opset outside 7..24,
  // other domains, loops, sparse initializers.
  std::vector<Problem> problems() const;

  const Contents& contents() const { return *contents_; }

 private:
  explicit Model(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}
  void bind_axes(const std::map<std::string, int64_t>& sizes, bool again);
  std::shared_ptr<const Contents> contents_;
  std::shared_ptr<const std::vector<ValueInfo>>
      bound_;  // the inputs with open axes bound; null: as in the file
  std::shared_ptr<const std::vector<FixedInput>> bound_fixed_;  // likewise
  std::shared_ptr<const std::vector<ValueInfo>> chosen_;        // instead of the file's outputs
};

inline constexpr int kFirstOpset = 7;
inline constexpr int kLastOpset = 24;

}  // namespace halftone::onnx
