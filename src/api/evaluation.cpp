#include "api/evaluation.h"

namespace halftone::api {

Evaluation evaluate(const onnx::Model& model, const Data& data, const DataOptions& data_options,
                    const EvaluationOptions& o, const std::function<bool(int64_t batches)>& more) {
  const train::CompileOptions n =
      evaluation_options(data, o.loss, o.storage, o.multiply, o.batch, o.fixed_batch, o.threads);
  train::Network network(make_importer(model, o.storage, ops::BatchNormMode::kFreeze, nullptr, {}, {},
                                       data.sizes, data.embedding),
                         n);
  network.prepare_evaluation();
  const auto loader = make_loader(data, data_options, n.batch, false, o.seed,
                                  {n.samples->storage, network.wants_channels_last()});
  network.evaluate(*loader, {}, more);
  return {network.evaluated(), network.planned_bytes()};
}

}  // namespace halftone::api
