// DepthToSpace and SpaceToDepth: blocks of channels become blocks of pixels, and the reverse. Each is the
// other's gradient, by that of the Reshape and Transpose nodes that they become.
//
// formula  DepthToSpace: y[n, c, h*b + i, w*b + j] = x[n, (i*b + j)*C' + c, h, w] (mode DCR) or x[n, (c*b +
//          i)*b + j, h, w] (CRD); SpaceToDepth: the reverse of DCR
// shapes   x[N, C, H, W] -> y[N, C / b^2, H * b, W * b]; the reverse
// dtypes   any
// rounds   never
// saves    none
// scratch  none
// alias    none
// errors   a rank other than 4; a block that does not divide what it should; an unknown mode
// source   ONNX DepthToSpace-1/11/13, SpaceToDepth-1/13
// tests    tests/ops/einsum_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::ops::depth_to_space {
namespace {

int64_t block_of(const ImportContext& c, const Shape& x) {
  if (x.size() != 4) throw input_error("an input [N, C, H, W] was expected, got {}", to_string(x));
  const int64_t block = c.attributes.int_at("blocksize");
  if (block < 1 || block > (int64_t{1} << 20)) throw input_error("blocksize is {}", block);
  return block;
}

std::vector<ValueId> import_depth_to_space(ImportContext& c) {
  if (c.opset < 11) {
    check_attributes(c.attributes, {"blocksize"});
  } else {
    check_attributes(c.attributes, {"blocksize", "mode"});
  }
  const Shape x = c.shape(0);
  const int64_t b = block_of(c, x);
  const std::string mode = c.attributes.string_or("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") throw input_error("mode is '{}', expected DCR or CRD", mode);
  if (x[1] % (b * b) != 0) throw input_error("{} channels cannot be cut into blocks of {}x{}", x[1], b, b);
  const int64_t channels = x[1] / (b * b);
  Builder& builder = c.builder;
  // Channels last, as convolutions before and behind it are.
  const ValueId last = builder.transpose(c.inputs[0], {0, 2, 3, 1});
  const bool dcr = mode == "DCR";
  const ValueId split = builder.reshape(
      last, dcr ? Shape{x[0], x[2], x[3], b, b, channels} : Shape{x[0], x[2], x[3], channels, b, b});
  const ValueId moved = builder.transpose(
      split, dcr ? std::vector<int64_t>{0, 1, 3, 2, 4, 5} : std::vector<int64_t>{0, 1, 4, 2, 5, 3});
  return {builder.transpose(builder.reshape(moved, {x[0], x[2] * b, x[3] * b, channels}), {0, 3, 1, 2})};
}

std::vector<ValueId> import_space_to_depth(ImportContext& c) {
  check_attributes(c.attributes, {"blocksize"});
  const Shape x = c.shape(0);
  const int64_t b = block_of(c, x);
  if (x[2] % b != 0 || x[3] % b != 0)
    throw input_error("{} cannot be cut into blocks of {}x{}", to_string(x), b, b);
  Builder& builder = c.builder;
  const ValueId last = builder.transpose(c.inputs[0], {0, 2, 3, 1});
  const ValueId split = builder.reshape(last, {x[0], x[2] / b, b, x[3] / b, b, x[1]});
  const ValueId moved = builder.transpose(split, {0, 1, 3, 2, 4, 5});
  return {builder.transpose(builder.reshape(moved, {x[0], x[2] / b, x[3] / b, b * b * x[1]}), {0, 3, 1, 2})};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "DepthToSpace", .since = 1, .until = 24, .import = import_depth_to_space},
       {.op_type = "SpaceToDepth", .since = 1, .until = 24, .import = import_space_to_depth}},
  };
  return family;
}

}  // namespace halftone::ops::depth_to_space
