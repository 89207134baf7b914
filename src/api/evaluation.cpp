#include "api/evaluation.h"

#include <algorithm>

namespace halftone::api {

Evaluation evaluate(const onnx::Model& model, const Data& data, const DataOptions& data_options,
                    const EvaluationOptions& o, const std::function<bool(int64_t batches)>& more) {
  train::CompileOptions n;
  n.training.storage = o.storage;
  n.training.loss = o.loss;
  n.feeding = data.plan.feeding;
  n.multiply = o.multiply;
  n.batch = o.fixed_batch ? o.batch : std::min(o.batch, data.set->size());
  n.fixed_batch = o.fixed_batch;
  n.threads = o.threads;
  train::Network network(make_importer(model, o.storage, ops::BatchNormMode::kFreeze, nullptr), n);
  network.prepare_evaluation();
  const auto loader = make_loader(data, data_options, n.batch, false, o.seed);
  network.evaluate(*loader, {}, more);
  return {network.evaluated(), network.planned_bytes()};
}

}  // namespace halftone::api
