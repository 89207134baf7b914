// The reader of safetensors files, as arrays. tests/data/array_test.cpp has them as data sets.
#include "data/safetensors.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/files.h"
#include "data/safetensors_golden.h"
#include "train/hex.h"
#include "train/mutation.h"

namespace halftone::data {
namespace {

std::string file_of(const std::string& header, size_t content_bytes) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + header +
         std::string(content_bytes, '\1');
}

std::vector<Array> read(const std::string& bytes) {
  static const TemporaryFolder folder;
  return read_safetensors(folder.write("model.safetensors", bytes));
}

std::string error_of(const std::string& bytes) {
  try {
    read(bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_NE(std::string(error.what()).find("model.safetensors"), std::string::npos);
    return error.what();
  }
  return "no error";
}

TEST(Safetensors, ReadsWhatTheReferenceWrote) {
  struct Expected {
    const char* name;
    Element type;
    Shape shape;
    std::vector<float> values;
  };
  const std::vector<Expected> expected = {
      {"a.bias", Element::kF16, {2}, {1, -2}}, {"empty", Element::kF32, {0, 3}, {}},
      {"ids", Element::kU8, {3}, {1, 2, 3}},   {"scalar", Element::kF64, {}, {2.5F}},
      {"steps", Element::kI64, {1}, {7}},      {"weight", Element::kF32, {2, 3}, {1, 2, 3, 4, 5, 6}},
  };
  const std::vector<Array> arrays = read(train::from_hex(test::kGoldenSafetensors));
  ASSERT_EQ(arrays.size(), expected.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    EXPECT_TRUE(arrays[i].name.ends_with(std::string("model.safetensors, ") + expected[i].name))
        << arrays[i].name;
    EXPECT_EQ(arrays[i].type, expected[i].type);
    EXPECT_EQ(arrays[i].shape, expected[i].shape);
    std::vector<float> values(expected[i].values.size());
    read_floats(arrays[i], 0, values);
    EXPECT_EQ(values, expected[i].values);
  }
}

TEST(Safetensors, MetadataIsRead) {
  const SafetensorsHeader header =
      parse_safetensors_header(R"({"__metadata__":{"format":"pt","":"empty"}})", 0, "f");
  EXPECT_TRUE(header.entries.empty());
  EXPECT_EQ(header.metadata, (std::map<std::string, std::string>{{"", "empty"}, {"format", "pt"}}));
}

TEST(Safetensors, ManyDimensionsAreRefused) {
  std::string shape = "1";
  for (int i = 1; i < 65; ++i) shape += ",1";
  EXPECT_NE(error_of(file_of(R"({"w":{"dtype":"U8","data_offsets":[0,1],"shape":[)" + shape + "]}}", 1))
                .find("more than 64"),
            std::string::npos);
}

TEST(Safetensors, SaysWhatIsWrong) {
  const auto one = [](const std::string& fields) { return file_of("{\"w\":{" + fields + "}}", 8); };
  const struct {
    std::string bytes;
    const char* expected;
  } cases[] = {
      {"", "it has 0 bytes"},
      {"1234567", "it has 7 bytes"},
      {std::string(8, '\xff'), "a header of 18446744073709551615 bytes does not fit its 8 bytes"},
      {std::string("\x03\0\0\0\0\0\0\0{}", 10), "a header of 3 bytes does not fit its 10 bytes"},
      {file_of("", 0), "does not begin with '{'"},
      {file_of(" {}", 0), "does not begin with '{'"},
      {file_of("{", 0), "not JSON at its byte"},
      {file_of("{}x", 0), "not JSON at its byte"},
      {file_of("{\"\xff\":{}}", 0), "not JSON at its byte"},
      {file_of("{}", 3), "the tensors end at byte 0 of 3"},
      {file_of("{\"w\":3}", 0), "the header has 3 where it should not"},
      {file_of("{\"w\":[]}", 0), "the header has a list where it should not"},
      {file_of("{\"w\":null}", 0), "the header has null"},
      {file_of("{\"__metadata__\":{\"a\":1}}", 0), "the header has 1"},
      {file_of("{\"__metadata__\":{\"a\":{}}}", 0), "the header has an object"},
      {file_of("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0), "'a' is there twice"},
      {file_of("{\"__metadata__\":{},\"__metadata__\":{}}", 0), "two __metadata__"},
      {one(""), "tensor 'w' lacks its dtype, shape or data_offsets"},
      {one(R"("dtype":"F32","shape":[2])"), "tensor 'w' lacks"},
      {one(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])"), "elements of type F8_E4M3 are not read"},
      {one(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])"), "two values for dtype"},
      {one(R"("dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8])"), "two values for shape"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1)"), "unknown field 'more'"},
      {one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), "the header has -2"},
      {one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), "the header has 2"},
      {one(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), "the header has a list"},
      {one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), "the header has 2"},
      {one(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])"),
       "the header has 9223372036854775808"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4,8])"), "3 data_offsets instead of 2"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), "lies at bytes 8 to 0"},
      {one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), "lies at bytes 0 to 16 of 8"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), "there is a hole"},
      {one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), "the tensors end at byte 4 of 8"},
      {one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
       "the shape 3 takes 12 bytes, but its offsets are 0 to 8"},
      {one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])"), "no valid size"},
      {one(R"("dtype":"U8","shape":[8],"data_offsets":[0,8]},"w":{"dtype":"U8","shape":[0],"data_offsets":[8,8])"),
       "'w' is there twice"},
      {one(R"("dtype":"U8","shape":[8],"data_offsets":[0,8]},"v":{"dtype":"U8","shape":[8],"data_offsets":[0,8])"),
       "there is an overlap"},
  };
  for (const auto& c : cases)
    EXPECT_NE(error_of(c.bytes).find(c.expected), std::string::npos)
        << error_of(c.bytes) << "\nexpected: " << c.expected;
}

TEST(Safetensors, DeepNestingIsRefusedAtOnce) {
  EXPECT_NE(error_of(file_of("{\"w\":" + std::string(1'000'000, '['), 0)).find("the header has a list"),
            std::string::npos);
  EXPECT_NE(
      error_of(file_of("{\"w\":{\"shape\":[" + std::string(1'000'000, '['), 0)).find("the header has a list"),
      std::string::npos);
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string whole = train::from_hex(test::kGoldenSafetensors);
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(error_of(whole.substr(0, size)), "no error") << size;
}

TEST(Safetensors, DamageIsAnErrorOrReadsWithinTheFile) {
  const std::string whole = train::from_hex(test::kGoldenSafetensors);
  train::Mutator mutator(3);
  int whole_files = 0;
  for (int i = 0; i < 4000; ++i) {
    const std::string damaged = mutator.mutated(whole);
    try {
      int64_t bytes = 0;
      for (const Array& array : read(damaged)) bytes += array.bytes->size();
      ASSERT_LE(bytes, static_cast<int64_t>(damaged.size()));
      ++whole_files;
    } catch (const Error&) {
    }
  }
  // Damage inside the numbers goes unnoticed, as the format has no checksum; damage to the header mostly does
  // not.
  EXPECT_GT(whole_files, 40);
  EXPECT_LT(whole_files, 2000);
}

}  // namespace
}  // namespace halftone::data
