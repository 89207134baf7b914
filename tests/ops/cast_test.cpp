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

TEST(Cast, RefusesIntegersInTheNetwork) {
  const auto says = [](const std::string& text, const OnnxNode& node) {
    const std::string message = refusal(node, {{2}});
    EXPECT_NE(message.find(text), std::string::npos) << "'" << message << "' does not say '" << text << "'";
  };
  says("a cast from fp32 to int64 has no gradient", cast(kInt64));
  says("a cast from fp32 to bool has no gradient", cast(kBool));
  says("a cast to string is not supported", cast(kString));
  says("a cast to int16 is not supported", cast(kInt16));
  says("ONNX's data type 99", cast(99));
  says("'to' (int) is missing", {"Cast", 13});
  OnnxNode strange = cast(kFloat);
  strange.attributes.set("fast", int64_t{1});
  says("'fast'", strange);
  says("only casts between floats", {"CastLike", 15, {}, {{1, ints({1})}}});
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
  EXPECT_EQ(folded_text("CastLike", 15, {ints({3}), number(0)}), "3 (fp32 1)");
}

TEST(Cast, RefusesConstantsThatDoNotFit) {
  EXPECT_NE(folded(ints({int64_t{1} << 31}), kInt32).find("2147483648 does not fit int32"),
            std::string::npos);
  EXPECT_NE(folded(ints({-1}), kUint8).find("-1 does not fit uint8"), std::string::npos);
  EXPECT_NE(folded(floats({0x1p63}, {1}), kInt64).find("cannot be cast to int64"), std::string::npos);
  EXPECT_NE(folded(floats({std::numeric_limits<double>::quiet_NaN()}, {1}), kInt64).find("cannot be cast"),
            std::string::npos);
  EXPECT_NE(folded_text("CastLike", 15, {ints({3}), number(0)}, {{"mode", int64_t{1}}}).find("'mode'"),
            std::string::npos);
}

}  // namespace
}  // namespace halftone::ops::test
