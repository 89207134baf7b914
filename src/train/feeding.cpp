#include "train/feeding.h"

#include <cstdlib>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "ops/chunks.h"
#include "ops/strided_copy.h"
#include "tensor/permutation.h"

namespace halftone::train {
namespace {

// One array may be an input and labels. What a loss graph takes besides is a target.
const data::BatchField& input_field(const data::Batch& batch, const std::string& name) {
  for (const data::FieldRole role : {data::FieldRole::kInput, data::FieldRole::kTarget})
    for (const data::BatchField& field : batch.fields)
      if (field.name == name && field.role == role) return field;
  HT_ASSERT(false, "a batch without {}", name);
  std::abort();
}

using Axes = std::vector<int64_t>;

Axes or_identity(const Axes& axes, size_t rank) {
  if (!axes.empty()) return axes;
  Axes identity(rank);
  std::iota(identity.begin(), identity.end(), 0);
  return identity;
}

// Copies rows whose axes are ordered as `axes` says to an input that has its own order.
void copy_transposed(par::Pool& pool, const kern::Kernels& kernels, const Axes& axes, const void* from,
                     const ir::Value& input, void* to) {
  const Shape& shape = input.type.shape;
  const Axes order = or_identity(input.storage_axes, shape.size());
  const Axes places = inverse(or_identity(axes, shape.size()));  // of the network's axes in the rows
  HT_ASSERT(places.size() == shape.size(), "{} axes for {}", axes.size(), input.name);
  Axes perm;
  Shape rows(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    perm.push_back(places[static_cast<size_t>(order[i])]);
    rows[static_cast<size_t>(perm.back())] = shape[i];
  }
  const Shape strides = strides_of(rows);
  Shape source_strides;
  for (const int64_t axis : perm) source_strides.push_back(strides[static_cast<size_t>(axis)]);
  ops::StridedCopy(kernels, input.type.dtype, shape, source_strides, strides_of(shape)).run(pool, from, to);
}

}  // namespace

void feed_inputs(exec::Program& p, const kern::Kernels& kernels, const std::vector<ir::ValueId>& inputs,
                 const Feeding& feeding, const data::Batch& batch, int64_t count, int64_t first_row) {
  for (const ir::ValueId input : inputs) {
    if (input == ir::kNone) continue;
    const ir::Value& value = p.graph().value(input);
    const ir::Type& type = value.type;
    const auto fed_by = feeding.find(value.name);
    const data::BatchField& field =
        fed_by == feeding.end() ? batch.fields.at(0) : input_field(batch, fed_by->second);
    const Tensor& samples = field.data;
    const int64_t fed = elements(type.shape);
    const int64_t rows = samples.shape().at(0);
    HT_ASSERT(type.shape.at(0) == count && first_row + count <= rows && fed * rows == samples.size() * count,
              "{} of {} samples of shape {} for {}", count, rows, halftone::to_string(samples.shape()),
              halftone::to_string(type.shape));
    const DType dtype = samples.dtype();
    const auto* from = static_cast<const std::byte*>(samples.data()) + first_row * (samples.bytes() / rows);
    const bool moves = field.axes != value.storage_axes;
    if (p.is_lent(input)) {
      HT_ASSERT(!moves && dtype == type.dtype && first_row == 0, "{} samples for {} in another order",
                name_of(dtype), value.name);
      p.lend(input, from);
      continue;
    }
    auto* to = static_cast<std::byte*>(p.data(input));
    if (to == nullptr) continue;
    const double bytes = static_cast<double>(fed * (size_bytes(dtype) + size_bytes(type.dtype)));
    par::Pool& pool = p.pool_for(ir::Phase::kCompute, bytes / exec::kBytesPerNs);
    if (!is_float(type.dtype)) {
      HT_ASSERT(dtype == type.dtype, "{} for {}", name_of(dtype), value.name);
      if (moves) {
        copy_transposed(pool, kernels, field.axes, from, value, to);
      } else {
        std::memcpy(to, from, static_cast<size_t>(fed * size_bytes(dtype)));
      }
      continue;
    }
    HT_ASSERT(dtype == DType::kF32 || dtype == type.dtype, "{} samples", name_of(dtype));
    if (moves && dtype == type.dtype) {
      copy_transposed(pool, kernels, field.axes, from, value, to);
      continue;
    }
    // Only where somebody looks at samples in another type than the run's.
    Tensor rounded;
    if (moves) rounded = Tensor(type.dtype, {fed});
    auto* const converted = moves ? static_cast<std::byte*>(rounded.data()) : to;
    const ops::Chunks chunks = ops::element_chunks(fed);
    pool.run(chunks.count(), [&](int64_t chunk, int) {
      const int64_t first = chunks.begin(chunk);
      kernels.convert({dtype, from + first * size_bytes(dtype), type.dtype,
                       converted + first * size_bytes(type.dtype), chunks.length(chunk), 1.0});
    });
    if (moves) copy_transposed(pool, kernels, field.axes, converted, value, to);
  }
}

}  // namespace halftone::train
