// Integers and booleans inside the running program, for the operators that have both a float and a whole
// meaning, and for those that are made of them.
#pragma once

#include <atomic>

#include "ops/op.h"

namespace halftone::ops {

// Of an ONNX node whose inputs are integers or booleans, by its op_type: Add Sub Mul Div Mod Pow Min Max Sum
// And Or Xor.
std::vector<ValueId> import_whole_binary(ImportContext& c);
// Neg Abs Sign Not.
std::vector<ValueId> import_whole_unary(ImportContext& c);
// Clip of integers, by bounds that are constants or not.
std::vector<ValueId> import_whole_clip(ImportContext& c);
// ReduceSum ReduceMin ReduceMax ReduceProd.
std::vector<ValueId> import_whole_reduce(ImportContext& c);

// op: Add Sub Mul Div Mod Fmod Pow Min Max And Or Xor.
ValueId add_whole_binary(Builder& b, const std::string& op, ValueId x, ValueId y);
// op: Equal, Less or LessOrEqual; any type, y is uint8.
ValueId add_compare(Builder& b, const std::string& op, ValueId x, ValueId y);
// x as another type; boolean: whether it is 0. The same type: no node.
ValueId add_cast(Builder& b, ValueId x, DType to, bool boolean = false);

// Of ONNX's TensorProto.DataType. Error naming a type that Halftone has no tensors of.
DType dtype_of_onnx(int64_t code);

// Element i of whole numbers of this type.
int64_t whole_at(const void* data, DType dtype, int64_t i);
// "[1, 2]" of element i, row-major.
std::string place_of(const Shape& shape, int64_t i);

// The least element that a kernel's calls on several threads had no result for.
class FirstFault {
 public:
  // `found`: within the call, -1 for none; `first`: the call's first element.
  void note(int64_t found, int64_t first) {
    if (found < 0) return;
    int64_t at = first + found;
    for (int64_t known = least_.load(std::memory_order_relaxed);
         (known < 0 || at < known) && !least_.compare_exchange_weak(known, at, std::memory_order_relaxed);) {
    }
  }
  void report(StepState& step) const {
    if (const int64_t least = least_.load(std::memory_order_relaxed); least >= 0) step.fault = least;
  }

 private:
  std::atomic<int64_t> least_ = -1;
};

}  // namespace halftone::ops
