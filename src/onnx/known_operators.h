// Which operators of ONNX Halftone reads: those of ops/list.cpp, and those that only arrange others
// (structure.h).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace halftone::onnx {

enum class OperatorKind : uint8_t {
  kComputed,     // in each step
  kWhenLoading,  // from inputs that are known then
  kArranges,     // gone when a network has been read
};
struct KnownOperator {
  std::string_view name;
  int since;  // first opset, of those that files may have
  int until;  // last
  OperatorKind kind;
};
// By name.
std::vector<KnownOperator> known_operators();

}  // namespace halftone::onnx
