#include "train/feeding.h"

#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "ops/chunks.h"

namespace halftone::train {
namespace {

// One array may be an input and labels. What a loss graph takes besides is a target.
const Tensor& input_field(const data::Batch& batch, const std::string& name) {
  for (const data::FieldRole role : {data::FieldRole::kInput, data::FieldRole::kTarget})
    for (const data::BatchField& field : batch.fields)
      if (field.name == name && field.role == role) return field.data;
  HT_ASSERT(false, "a batch without {}", name);
  std::abort();
}

}  // namespace

void feed_inputs(exec::Program& p, const kern::Kernels& kernels, const std::vector<ir::ValueId>& inputs,
                 const Feeding& feeding, const data::Batch& batch, int64_t count, int64_t first_row) {
  for (const ir::ValueId input : inputs) {
    if (input == ir::kNone) continue;
    const ir::Value& value = p.graph().value(input);
    const ir::Type& type = value.type;
    const auto field = feeding.find(value.name);
    const Tensor& samples =
        field == feeding.end() ? batch.fields.at(0).data : input_field(batch, field->second);
    const int64_t fed = elements(type.shape);
    const int64_t rows = samples.shape().at(0);
    HT_ASSERT(type.shape.at(0) == count && first_row + count <= rows && fed * rows == samples.size() * count,
              "{} of {} samples of shape {} for {}", count, rows, halftone::to_string(samples.shape()),
              halftone::to_string(type.shape));
    auto* to = static_cast<std::byte*>(p.data(input));
    if (to == nullptr) continue;
    const DType dtype = samples.dtype();
    const auto* from = static_cast<const std::byte*>(samples.data()) + first_row * (samples.bytes() / rows);
    if (!is_float(type.dtype)) {
      HT_ASSERT(dtype == type.dtype, "{} for {}", name_of(dtype), value.name);
      std::memcpy(to, from, static_cast<size_t>(fed * size_bytes(dtype)));
      continue;
    }
    HT_ASSERT(dtype == DType::kF32 || dtype == type.dtype, "{} samples", name_of(dtype));
    const ops::Chunks chunks = ops::element_chunks(fed);
    const double bytes = static_cast<double>(fed * (size_bytes(dtype) + size_bytes(type.dtype)));
    par::Pool& pool = p.pool_for(ir::Phase::kCompute, bytes / exec::kBytesPerNs);
    pool.run(chunks.count(), [&](int64_t chunk, int) {
      const int64_t first = chunks.begin(chunk);
      kernels.convert({dtype, from + first * size_bytes(dtype), type.dtype,
                       to + first * size_bytes(type.dtype), chunks.length(chunk), 1.0});
    });
  }
}

}  // namespace halftone::train
