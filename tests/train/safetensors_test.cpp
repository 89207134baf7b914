#include "train/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "num/half.h"
#include "train/hex.h"
#include "train/mutation.h"
#include "train/temporary_folder.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;

template <class T>
Tensor tensor_of(DType dtype, Shape shape, const std::vector<T>& values) {
  Tensor tensor(dtype, std::move(shape));
  std::memcpy(tensor.data(), values.data(), values.size() * sizeof(T));
  return tensor;
}

Safetensors example() {
  Safetensors content;
  content.metadata["format"] = "pt";
  content.tensors.emplace("weight", tensor_of<float>(DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6}));
  content.tensors.emplace("a.bias",
                          tensor_of<num::Fp16>(DType::kF16, {2}, {num::to_fp16(1), num::to_fp16(-2)}));
  content.tensors.emplace("steps", tensor_of<int64_t>(DType::kI64, {1}, {7}));
  content.tensors.emplace("empty", Tensor(DType::kF32, {0, 3}));
  content.tensors.emplace("scalar", tensor_of<double>(DType::kF64, {}, {2.5}));
  content.tensors.emplace("ids", tensor_of<uint8_t>(DType::kU8, {3}, {1, 2, 3}));
  return content;
}

// Written by the reference implementation: tests/fixtures/make_safetensors_golden.py.
constexpr const char* kGolden =
    "88010000000000007b225f5f6d657461646174615f5f223a7b22666f726d6174223a227074227d2c227374657073223a7b22"
    "6474797065223a22493634222c227368617065223a5b315d2c22646174615f6f666673657473223a5b302c385d7d2c227363"
    "616c6172223a7b226474797065223a22463634222c227368617065223a5b5d2c22646174615f6f666673657473223a5b382c"
    "31365d7d2c22656d707479223a7b226474797065223a22463332222c227368617065223a5b302c335d2c22646174615f6f66"
    "6673657473223a5b31362c31365d7d2c22776569676874223a7b226474797065223a22463332222c227368617065223a5b32"
    "2c335d2c22646174615f6f666673657473223a5b31362c34305d7d2c22612e62696173223a7b226474797065223a22463136"
    "222c227368617065223a5b325d2c22646174615f6f666673657473223a5b34302c34345d7d2c22696473223a7b2264747970"
    "65223a225538222c227368617065223a5b335d2c22646174615f6f666673657473223a5b34342c34375d7d7d202020202020"
    "070000000000000000000000000004400000803f0000004000004040000080400000a0400000c040003c00c0010203";

void expect_same(const Safetensors& a, const Safetensors& b) {
  EXPECT_EQ(a.metadata, b.metadata);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : a.tensors) {
    const auto other = b.tensors.find(name);
    ASSERT_NE(other, b.tensors.end()) << name;
    EXPECT_EQ(tensor.dtype(), other->second.dtype());
    EXPECT_EQ(tensor.shape(), other->second.shape());
    ASSERT_EQ(tensor.bytes(), other->second.bytes());
    EXPECT_EQ(std::memcmp(tensor.data(), other->second.data(), static_cast<size_t>(tensor.bytes())), 0)
        << name;
  }
}

std::string file_of(const std::string& header, size_t content_bytes) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + header +
         std::string(content_bytes, '\1');
}

std::string error_of(const std::string& bytes) {
  try {
    parse_safetensors(bytes, "model.safetensors");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_NE(std::string(error.what()).find("model.safetensors"), std::string::npos);
    return error.what();
  }
  return "no error";
}

TEST(Safetensors, WritesWhatTheReferenceWrites) {
  const TemporaryFolder folder;
  write_safetensors(folder.file("x.safetensors"), example());
  EXPECT_EQ(read_file(folder.file("x.safetensors")), from_hex(kGolden));
}

TEST(Safetensors, ReadsWhatTheReferenceWrote) {
  expect_same(parse_safetensors(from_hex(kGolden), "golden"), example());
}

TEST(Safetensors, GivesBackEveryTypeAndName) {
  const TemporaryFolder folder;
  Safetensors content;
  content.metadata = {{"", "empty key"}, {"tab\t\"quote\"", "\xc3\xa4\n\x01"}};
  int64_t n = 0;
  for (const DType type :
       {DType::kF64, DType::kF32, DType::kF16, DType::kBf16, DType::kI64, DType::kI32, DType::kU8}) {
    Tensor tensor(type, {++n, 3});
    auto* bytes = static_cast<unsigned char*>(tensor.data());
    for (int64_t i = 0; i < tensor.bytes(); ++i) bytes[i] = static_cast<unsigned char>(37 * i + n);
    content.tensors.emplace("\"name\\ " + std::string(name_of(type)) + "\n\xe2\x82\xac", std::move(tensor));
  }
  write_safetensors(folder.file("x"), content);
  expect_same(read_safetensors(folder.file("x")), content);
  write_safetensors(folder.file("none"), {});
  expect_same(read_safetensors(folder.file("none")), {});
}

TEST(Safetensors, HeaderIsPaddedSoThatDataIsAligned) {
  const TemporaryFolder folder;
  for (size_t length = 1; length < 20; ++length) {
    Safetensors content;
    content.tensors.emplace(std::string(length, 'n'), Tensor(DType::kF64, {1}));
    write_safetensors(folder.file("x"), content);
    EXPECT_EQ((read_file(folder.file("x")).size() - 8) % 8, 0U);
  }
}

TEST(Safetensors, SaysWhatIsWrong) {
  const auto one = [](const std::string& fields) { return file_of("{\"w\":{" + fields + "}}", 8); };
  const struct {
    std::string bytes;
    const char* expected;
  } cases[] = {
      {"", "only 0 bytes"},
      {"1234567", "only 7 bytes"},
      {std::string(8, '\xff'), "its header should have 18446744073709551615 bytes, at most 0"},
      {std::string("\x03\0\0\0\0\0\0\0{}", 10), "its header should have 3 bytes, at most 2"},
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
      {one(R"("dtype":"BOOL","shape":[8],"data_offsets":[0,8])"),
       "tensor 'w' has the type BOOL, which is not supported"},
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
       "tensor 'w' (fp32 3) needs 12 bytes and has 8"},
      {one(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8])"), "impossible shape"},
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
  const std::string whole = from_hex(kGolden);
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(error_of(whole.substr(0, size)), "no error") << size;
}

TEST(Safetensors, DamageIsAnErrorOrReadsWithinTheFile) {
  const std::string whole = from_hex(kGolden);
  Mutator mutator(3);
  int read = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string damaged = mutator.mutated(whole);
    try {
      int64_t bytes = 0;
      for (const auto& [name, tensor] : parse_safetensors(damaged, "x").tensors) bytes += tensor.bytes();
      ASSERT_LE(bytes, static_cast<int64_t>(damaged.size()));
      ++read;
    } catch (const Error&) {
    }
  }
  // Damage inside the numbers goes unnoticed, as the format has no checksum; damage to the header mostly does
  // not.
  EXPECT_GT(read, 200);
  EXPECT_LT(read, 10000);
}

TEST(Safetensors, UnwritableContentIsRefused) {
  const TemporaryFolder folder;
  Safetensors content;
  content.tensors.emplace("__metadata__", Tensor(DType::kU8, {1}));
  EXPECT_THROW(write_safetensors(folder.file("x"), content), Error);
  content.tensors.clear();
  content.tensors.emplace("\xff", Tensor(DType::kU8, {1}));
  EXPECT_THROW(write_safetensors(folder.file("x"), content), Error);
  EXPECT_FALSE(fs::exists(folder.file("x")));
}

TEST(Safetensors, ReadsAndWritesForOtherPrograms) {
  // tests/long/safetensors_check.py puts files of the reference implementation into in/ and examines out/
  // afterwards.
  const char* asked = std::getenv("HALFTONE_SAFETENSORS_FOLDER");
  if (asked == nullptr)
    GTEST_SKIP() << "only for tests/long/safetensors_check.py, which sets HALFTONE_SAFETENSORS_FOLDER";
  int files = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(asked) / "in")) {
    write_safetensors((fs::path(asked) / "out" / entry.path().filename()).string(),
                      read_safetensors(entry.path().string()));
    ++files;
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace halftone::train
