// The element types a tensor can have.
#pragma once

#include <cstdint>
#include <string_view>

namespace halftone {

enum class DType : uint8_t { kF64, kF32, kF16, kBf16, kI64, kI32, kU8 };

constexpr int64_t size_bytes(DType t) {
  switch (t) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBf16:
      return 2;
    case DType::kU8:
      return 1;
  }
  return 0;
}

constexpr bool is_float(DType t) {
  return t == DType::kF64 || t == DType::kF32 || t == DType::kF16 || t == DType::kBf16;
}
constexpr bool is_16bit(DType t) {
  return t == DType::kF16 || t == DType::kBf16;
}

// What a kernel's registers, and so its per-channel statistics, have for a tensor of type t: double in the
// oracle, else fp32.
constexpr DType register_type(DType t) {
  return t == DType::kF64 ? DType::kF64 : DType::kF32;
}

constexpr std::string_view name_of(DType t) {
  switch (t) {
    case DType::kF64:
      return "fp64";
    case DType::kF32:
      return "fp32";
    case DType::kF16:
      return "fp16";
    case DType::kBf16:
      return "bf16";
    case DType::kI64:
      return "int64";
    case DType::kI32:
      return "int32";
    case DType::kU8:
      return "uint8";
  }
  return "?";
}

}  // namespace halftone
