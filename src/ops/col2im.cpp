// Col2Im: blocks of an image added up where they overlap, by a Resample along each axis.
//
// formula  y[n, c, p] = sum over the blocks l and their elements k that lie at p of x[n, (c, k), l]
// gradient Resample's: each block reads its elements
// shapes   x[N, C * product of block_shape, L] -> y[N, C, *image_shape]
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored
// saves    none
// scratch  Resample's
// alias    none
// errors   image_shape, block_shape that are not constants; sizes that don't fit
// source   ONNX Col2Im-18
// tests    tests/ops/einsum_test.cpp
#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/resample.h"

namespace halftone::ops::col2im {
namespace {

using Ints = std::vector<int64_t>;

Ints list(const ImportContext& c, const char* name, size_t count, int64_t otherwise, int64_t low) {
  Ints values = c.attributes.ints_or(name, Ints(count, otherwise));
  if (values.size() != count) throw input_error("{} has {} numbers, expected {}", name, values.size(), count);
  for (const int64_t v : values)
    if (v < low || v > (int64_t{1} << 24)) throw input_error("{} has the value {}", name, v);
  return values;
}

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"dilations", "pads", "strides"});
  const Ints image = c.int_constant(1);
  const Ints block = c.int_constant(2);
  const size_t axes = image.size();
  const Shape x = c.shape(0);
  if (x.size() != 3 || axes < 1 || axes > 3 || block.size() != axes)
    throw input_error("x {} with an image of {} and blocks of {} axes: [N, C, L] and 1 to 3 were expected",
                      to_string(x), axes, block.size());
  const Ints strides = list(c, "strides", axes, 1, 1);
  const Ints dilations = list(c, "dilations", axes, 1, 1);
  const Ints pads = list(c, "pads", 2 * axes, 0, 0);
  constexpr int64_t kLongest = int64_t{1} << 20;
  Shape places(axes);  // of blocks
  int64_t taps = 1;
  int64_t all_places = 1;
  for (size_t i = 0; i < axes; ++i) {
    if (image[i] < 1 || block[i] < 1 || image[i] > kLongest || block[i] > kLongest)
      throw input_error("an image of {} with blocks of {}", to_string(image), to_string(block));
    const int64_t room = image[i] + pads[i] + pads[i + axes] - dilations[i] * (block[i] - 1) - 1;
    if (room < 0) throw input_error("a block of {} does not fit axis {} of {}", block[i], i, image[i]);
    places[i] = room / strides[i] + 1;
    if (places[i] > kLongest / block[i])
      throw input_error("axis {} has {} blocks of {}", i, places[i], block[i]);
    if (__builtin_mul_overflow(taps, block[i], &taps) ||
        __builtin_mul_overflow(all_places, places[i], &all_places))
      throw input_error("blocks of {} are too many", to_string(block));
  }
  if (x[1] % taps != 0 || x[2] != all_places)
    throw input_error("x is {}: {} channels for blocks of {} elements, {} blocks where {} fit", to_string(x),
                      x[1], taps, x[2], all_places);
  const int64_t channels = x[1] / taps;
  // [N, C, k.., l..] -> [N, (l0, k0), (l1, k1), .., C]
  Builder& b = c.builder;
  Shape split{x[0], channels};
  split.insert(split.end(), block.begin(), block.end());
  split.insert(split.end(), places.begin(), places.end());
  Ints perm{0};
  Shape joined{x[0]};
  std::vector<AxisTable> tables;
  for (size_t i = 0; i < axes; ++i) {
    perm.push_back(static_cast<int64_t>(2 + axes + i));
    perm.push_back(static_cast<int64_t>(2 + i));
    joined.push_back(places[i] * block[i]);
    std::vector<Ints> meet(static_cast<size_t>(image[i]));
    for (int64_t l = 0; l < places[i]; ++l)
      for (int64_t k = 0; k < block[i]; ++k)
        if (const int64_t p = l * strides[i] + k * dilations[i] - pads[i]; p >= 0 && p < image[i])
          meet[static_cast<size_t>(p)].push_back(l * block[i] + k);
    AxisTable t;
    t.axis = static_cast<int64_t>(i) + 1;
    for (const Ints& here : meet) {
      for (const int64_t index : here) t.tap(index, 1);
      t.end();
    }
    tables.push_back(std::move(t));
  }
  perm.push_back(1);
  joined.push_back(channels);
  const ValueId blocks = b.reshape(b.transpose(b.reshape(c.inputs[0], split), perm), joined);
  Ints first{0, static_cast<int64_t>(axes) + 1};
  for (size_t i = 0; i < axes; ++i) first.push_back(static_cast<int64_t>(i) + 1);
  return {b.transpose(add_resample(b, blocks, std::move(tables), Layout::kAsItIs), first)};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {}, {{.op_type = "Col2Im", .since = 18, .until = 24, .import = import, .required_inputs = 3}}};
  return family;
}

}  // namespace halftone::ops::col2im
