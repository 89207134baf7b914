#include "train/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "data/safetensors.h"
#include "data/safetensors_golden.h"
#include "num/half.h"
#include "train/hex.h"
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

// What the reader of data sets finds in a file.
Safetensors read_back(const std::string& path) {
  const std::map<std::string, DType> types{{"F64", DType::kF64},   {"F32", DType::kF32}, {"F16", DType::kF16},
                                           {"BF16", DType::kBf16}, {"I64", DType::kI64}, {"I32", DType::kI32},
                                           {"U8", DType::kU8}};
  const data::SafetensorsFile file = data::read_safetensors_file(path);
  Safetensors content;
  content.metadata = file.header.metadata;
  for (const data::SafetensorsEntry& entry : file.header.entries) {
    Tensor tensor(types.at(entry.dtype), entry.shape);
    if (tensor.bytes() != entry.end - entry.begin)
      throw input_error("cannot read {}: {} has another size", path, entry.name);
    file.data->read(entry.begin, tensor.bytes(), tensor.data());
    content.tensors.emplace(entry.name, std::move(tensor));
  }
  return content;
}

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

TEST(Safetensors, WritesWhatTheReferenceWrites) {
  const TemporaryFolder folder;
  write_safetensors(folder.file("x.safetensors"), example());
  EXPECT_EQ(read_file(folder.file("x.safetensors")), from_hex(test::kGoldenSafetensors));
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
  expect_same(read_back(folder.file("x")), content);
  write_safetensors(folder.file("none"), {});
  expect_same(read_back(folder.file("none")), {});
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
                      read_back(entry.path().string()));
    ++files;
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace halftone::train
