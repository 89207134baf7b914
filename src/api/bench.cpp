#include "api/bench.h"

#include <cstring>

#include "base/error.h"
#include "pass/narrow.h"

namespace halftone::api {

void store_initial(const ir::Graph& graph, exec::Store& store, bool refuse_non_finite) {
  for (const ir::Value& value : graph.values) {
    if (!value.persistent() || !value.has_initial()) continue;
    Tensor tensor = pass::narrow(value, nullptr);
    if (refuse_non_finite) pass::refuse_non_finite(value, tensor, /*infinities=*/true);
    store.put(value.name, std::move(tensor));
  }
}

Bench::Bench(ir::Graph graph, DType storage, kern::Multiply multiply, int threads, bool refuse_non_finite)
    : pool(threads) {
  store_initial(graph, store, refuse_non_finite);
  program = std::make_unique<exec::Program>(std::move(graph), kern::kernels_for(storage), multiply, pool,
                                            store, arena);
  program->attach();
}

void Bench::feed(ir::ValueId id, const Tensor& tensor, const std::string& what) {
  const ir::Type& type = program->graph().value(id).type;
  if (tensor.shape() != type.shape)
    throw input_error("{} has shape {}, the network wants {}", what, to_string(tensor.shape()),
                      to_string(type.shape));
  const Tensor stored = converted(tensor, type.dtype);
  void* to = program->data(id);
  if (to != nullptr) std::memcpy(to, stored.data(), static_cast<size_t>(stored.bytes()));
}

Tensor Bench::read(ir::ValueId id) const {
  const ir::Type& type = program->graph().value(id).type;
  Tensor out(type.dtype, type.shape);
  if (out.size() > 0) std::memcpy(out.data(), program->data(id), static_cast<size_t>(out.bytes()));
  return is_16bit(type.dtype) ? converted(out, DType::kF32) : std::move(out);
}

}  // namespace halftone::api
