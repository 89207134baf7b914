#include <gtest/gtest.h>

#include <limits>

#include "gradient_check.h"

namespace halftone::ops::test {
namespace {

// ONNX TensorProto.DataType.
constexpr int64_t kFloat = 1;
constexpr int64_t kUint8 = 2;
constexpr int64_t kInt16 = 5;
constexpr int64_t kInt32 = 6;
constexpr int64_t kInt64 = 7;
constexpr int64_t kString = 8;
constexpr int64_t kBool = 9;
constexpr int64_t kFloat16 = 10;
constexpr int64_t kDouble = 11;
constexpr int64_t kBfloat16 = 16;

OnnxNode cast(int64_t to, int opset = 13) {
  return {"Cast", opset, {{"to", to}}};
}
std::string folded(const TensorPtr& x, int64_t to) {
  return folded_text("Cast", 13, {x}, {{"to", to}});
}

TEST(Cast, BetweenFloatsIsTheInput) {
  for (const int64_t to : {kFloat, kFloat16, kDouble, kBfloat16}) {
    EXPECT_TRUE(imported_ops(cast(to), {{2, 3}}).empty());
    Case c;
    c.inputs = {{2, 3}};
    c.build = [to](Builder& b, const std::vector<ValueId>& x) {
      return std::vector<ValueId>{b.add1("Neg", {import(b, cast(to, 9), x)[0]})};
    };
    c.roundings = 0;
    c.nonzero = 1;
    check(c);
  }
  OnnxNode saturating = cast(kFloat16, 19);
  saturating.attributes.set("saturate", int64_t{0});
  EXPECT_TRUE(imported_ops(saturating, {{2, 3}}).empty());
  EXPECT_TRUE(imported_ops({"CastLike", 15}, {{2, 3}, {1}}).empty());
}

TEST(Cast, IntegersAndBooleansOfTheSamples) {
  const Numbers x{3, 0, -2, 200};
  const std::vector<std::pair<int64_t, DType>> types = {{kInt64, DType::kI64}, {kInt32, DType::kI32}};
  for (const auto& [code, dtype] : types) {
    Case from = onnx_case(cast(kFloat), {{4}});
    from.whole = {{0, dtype}};
    for (const DType storage : {DType::kF64, DType::kF32, DType::kF16, DType::kBf16}) {
      EXPECT_EQ(forward(from, storage, {x})[0], x);
      // Cut toward zero.
      EXPECT_EQ(forward(onnx_case(cast(code), {{4}}), storage, {{3.75, -0.5, -2.75, 200}})[0], x);
    }
    Case other = onnx_case(cast(dtype == DType::kI64 ? kInt32 : kInt64), {{4}});
    other.whole = {{0, dtype}};
    EXPECT_EQ(forward(other, DType::kF32, {x})[0], x);
    Case boolean = onnx_case(cast(kBool), {{4}});
    boolean.whole = {{0, dtype}};
    EXPECT_EQ(forward(boolean, DType::kF32, {x})[0], (Numbers{1, 0, 1, 1}));
    Case back = onnx_case(cast(code), {{2}});
    back.whole = {{0, DType::kU8}};
    EXPECT_EQ(forward(back, DType::kF32, {{0, 1}})[0], (Numbers{0, 1}));
  }
  EXPECT_EQ(forward(onnx_case(cast(kBool), {{4}}), DType::kF16, {{0, -0.0, 0.25, -3}})[0],
            (Numbers{0, 0, 1, 1}));
  Case rounds = onnx_case(cast(kFloat), {{2}});
  rounds.whole = {{0, DType::kI64}};
  EXPECT_EQ(forward(rounds, DType::kF16, {{2049, 2051}})[0], (Numbers{2048, 2052}));
}

TEST(Cast, WhatDoesNotFitStopsTheRun) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto of = [](int64_t to, double x) { return fault(onnx_case(cast(to), {{2}}), {{1, x}}); };
  EXPECT_NE(of(kInt64, kInfinity).find("inf, element [1] of 2, cannot be cast to int64"), std::string::npos)
      << of(kInt64, kInfinity);
  EXPECT_NE(of(kInt64, std::numeric_limits<double>::quiet_NaN()).find("cannot be cast"), std::string::npos);
  EXPECT_NE(of(kInt32, 0x1p31).find("cannot be cast to int32"), std::string::npos);
  EXPECT_NE(of(kUint8, -1).find("cannot be cast to uint8"), std::string::npos);
  EXPECT_NE(of(kUint8, 256).find("cannot be cast to uint8"), std::string::npos);
  // Below the range, as ONNX Runtime.
  EXPECT_EQ(of(kInt64, -kInfinity), "");
  EXPECT_EQ(forward(onnx_case(cast(kInt32), {{2}}), DType::kF32, {{-kInfinity, -0x1p40}})[0],
            (Numbers{-0x1p31, -0x1p31}));
  Case narrow = onnx_case(cast(kInt32), {{2}});
  narrow.whole = {{0, DType::kI64}};
  EXPECT_NE(fault(narrow, {{1, 0x1p31}}).find("2147483648, element [1] of 2, cannot be cast to int32"),
            std::string::npos);
}

TEST(Cast, Refuses) {
  const auto says = [](const std::string& text, const OnnxNode& node) {
    const std::string message = refusal(node, {{2}});
    EXPECT_NE(message.find(text), std::string::npos) << "'" << message << "' does not say '" << text << "'";
  };
  says("a cast to string is not supported", cast(kString));
  says("a cast to int16 is not supported", cast(kInt16));
  says("ONNX's data type 99", cast(99));
  says("'to' (int) is missing", {"Cast", 13});
  OnnxNode strange = cast(kFloat);
  strange.attributes.set("fast", int64_t{1});
  says("'fast'", strange);
  says("a cast like a tensor of booleans or uint8", {"CastLike", 15, {}, {{1, ints({1}, DType::kU8)}}});
}

TEST(Cast, FoldsConstantsToAnyType) {
  EXPECT_EQ(folded(ints({1, -2}), kFloat), "1 -2 (fp32 2)");
  EXPECT_EQ(folded(ints({1, -2}), kInt32), "1 -2 (int32 2)");
  EXPECT_EQ(folded(ints({0, -2, 7}), kBool), "0 1 1 (uint8 3)");
  EXPECT_EQ(folded(floats({0, 0.25}, {2}), kBool), "0 1 (uint8 2)");
  EXPECT_EQ(folded(floats({1.75, -1.75, 0x1p40}, {3}), kInt64), "1 -1 1099511627776 (int64 3)");
  EXPECT_EQ(folded(floats({1 + 0x1p-11, 1 + 0x3p-11}, {2}), kFloat16), "1 1.001953125 (fp16 2)");
  EXPECT_EQ(folded(ints({257}), kBfloat16), "256 (bf16 1)");
  EXPECT_EQ(folded(number(0.5), kDouble), "0.5 (fp64 scalar)");
  EXPECT_EQ(folded(floats({-std::numeric_limits<double>::infinity()}, {1}), kInt64),
            "-9223372036854775808 (int64 1)");
  EXPECT_EQ(folded(floats({-std::numeric_limits<double>::infinity(), -3e9}, {2}), kInt32),
            "-2147483648 -2147483648 (int32 2)");
  EXPECT_EQ(folded_text("CastLike", 15, {ints({3}), number(0)}), "3 (fp32 1)");
}

TEST(Cast, RefusesConstantsThatDoNotFit) {
  EXPECT_NE(folded(ints({int64_t{1} << 31}), kInt32).find("2147483648 does not fit int32"),
            std::string::npos);
  EXPECT_NE(folded(ints({-1}), kUint8).find("-1 does not fit uint8"), std::string::npos);
  EXPECT_NE(folded(floats({-1}, {1}), kUint8).find("-1 cannot be cast to uint8"), std::string::npos);
  EXPECT_NE(folded(floats({0x1p63}, {1}), kInt64).find("cannot be cast to int64"), std::string::npos);
  EXPECT_NE(folded(floats({std::numeric_limits<double>::quiet_NaN()}, {1}), kInt64).find("cannot be cast"),
            std::string::npos);
  EXPECT_NE(folded_text("CastLike", 15, {ints({3}), number(0)}, {{"mode", int64_t{1}}}).find("'mode'"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
