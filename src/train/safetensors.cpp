#include "train/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "data/safetensors_header.h"

namespace halftone::train {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian, and so are the machines we build for");

using data::kSafetensorsMetadata;

struct TypeName {
  DType type;
  std::string_view name;
};
// In the order in which the reference writer lays tensors out.
constexpr std::array<TypeName, 7> kTypes{{{DType::kI64, "I64"},
                                          {DType::kF64, "F64"},
                                          {DType::kF32, "F32"},
                                          {DType::kI32, "I32"},
                                          {DType::kBf16, "BF16"},
                                          {DType::kF16, "F16"},
                                          {DType::kU8, "U8"}}};

size_t layout_rank(DType type) {
  return static_cast<size_t>(
      std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeName& t) { return t.type == type; }) -
      kTypes.begin());
}

}  // namespace

void write_safetensors(const std::string& path, const Safetensors& content) {
  std::vector<const std::pair<const std::string, Tensor>*> order;
  for (const auto& named : content.tensors) {
    HT_ASSERT(!named.second.empty(), "tensor {} has no data", named.first);
    if (named.first == kSafetensorsMetadata)
      throw input_error("cannot write {}: a tensor cannot be called {}", path, kSafetensorsMetadata);
    order.push_back(&named);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return layout_rank(a->second.dtype()) < layout_rank(b->second.dtype());
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!content.metadata.empty()) header[kSafetensorsMetadata] = content.metadata;
  int64_t place = 0;
  for (const auto* named : order) {
    const Tensor& tensor = named->second;
    nlohmann::ordered_json& entry = header[named->first];
    entry["dtype"] = kTypes[layout_rank(tensor.dtype())].name;
    entry["shape"] = tensor.shape();
    entry["data_offsets"] = {place, place + tensor.bytes()};
    place += tensor.bytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& error) {
    throw input_error("cannot write {}: a tensor's name or the metadata is not UTF-8 ({})", path,
                      error.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t header_bytes = text.size();
  if (static_cast<int64_t>(header_bytes) > data::kMostSafetensorsHeaderBytes)
    throw input_error("cannot write {}: the header would have {} bytes, the format allows {}", path,
                      header_bytes, data::kMostSafetensorsHeaderBytes);
  write_file_atomically(path, [&](const Sink& sink) {
    sink(&header_bytes, sizeof header_bytes);
    sink(text.data(), static_cast<int64_t>(text.size()));
    for (const auto* named : order) sink(named->second.data(), named->second.bytes());
  });
}

}  // namespace halftone::train
