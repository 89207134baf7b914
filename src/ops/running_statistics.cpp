// The running statistics of batch norms (batch_normalization.cpp).
//
// UpdateStatistics(pending mean, pending var, batch mean, batch var): pending = momentum * pending + (1 -
// momentum) * batch, in place, once a micro-batch. CommitStatistics(running mean, running var, pending mean,
// pending var): after the last micro-batch running = pending, or, when the step is skipped, pending =
// running: a skipped step changes nothing.
//
// effects  UpdateStatistics writes the pending statistics, CommitStatistics the running ones and the pending
//          ones
#include <cstring>

#include "base/error.h"
#include "ops/batch_norm.h"
#include "ops/op.h"

namespace halftone::ops::running_statistics {
namespace {

std::vector<Type> infer_statistics(const InferContext& c) {
  for (size_t i = 1; i < 4; ++i)
    if (c.input(i) != c.input(0))
      throw input_error("running statistics of shapes {} and {}", to_string(c.input(0).shape),
                        to_string(c.input(i).shape));
  return {};
}

Prepared prepare_update_statistics(const PrepareContext& c) {
  return batch_norm::by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const auto momentum = static_cast<R>(static_cast<float>(c.attributes().float_or("momentum", 0.9)));
    const int64_t n = elements(c.input(0).shape);
    return {0, [=](const RunContext& r) {
              for (int which = 0; which < 2; ++which) {
                R* pending = static_cast<R*>(r.inout[which]);
                const R* batch = static_cast<const R*>(r.in[2 + which]);
                for (int64_t j = 0; j < n; ++j)
                  pending[j] = momentum * pending[j] + (R{1} - momentum) * batch[j];
              }
            }};
  });
}

Prepared prepare_commit_statistics(const PrepareContext& c) {
  const int64_t bytes = elements(c.input(0).shape) * size_bytes(c.input(0).dtype);
  return {0, [=](const RunContext& r) {
            for (int which = 0; which < 2; ++which) {
              void* running = r.inout[which];
              void* pending = r.inout[2 + which];
              std::memcpy(r.step.finite ? running : pending, r.step.finite ? pending : running,
                          static_cast<size_t>(bytes));
            }
          }};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {
          OpDef("UpdateStatistics", infer_statistics, prepare_update_statistics,
                NoGradient{"statistics are not trained"})
              .with(Effects{.writes = {0, 1}}),
          OpDef("CommitStatistics", infer_statistics, prepare_commit_statistics,
                NoGradient{"statistics are not trained"})
              .with(Effects{.writes = {0, 1, 2, 3}, .verdict = Verdict::kHeeds}),
      },
      {},
  };
  return family;
}

}  // namespace halftone::ops::running_statistics
