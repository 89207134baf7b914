// Batch normalization in training and in inference, channels last.
//
// formula  y = (x - mean) / sqrt(var + epsilon) * scale + bias, computed as fma(x, a, b) with a = scale /
//          sqrt(var + epsilon), b = bias - mean * a
// shapes   x[..., C], scale[C], bias[C], mean[C], var[C] -> y[..., C]
// dtypes   x y dx dy scale bias: fp16 bf16 fp32, double in the reference; statistics in the register type
//          (fp32): per-channel scalars that decide the evaluated accuracy (docs/numerics.md)
// rounds   once, when y (dx, dscale, dbias) is stored. Statistics: two passes a chunk of 16384 elements (sum,
//          then squared deviations from the chunk's mean), chunks merged in ascending order by Chan's formula
// saves    x, the batch's mean and 1 / sqrt(var + epsilon)
// scratch  2 or 3 values a channel and chunk
// alias    none
// errors   x of rank < 2; scale, bias, mean, var not of shape [C]; fewer than two values a channel in
//          training
// source   ONNX BatchNormalization-9/14/15; running statistics as PyTorch: the unbiased variance is what is
//          averaged (ONNX 14 writes the biased one; with B*H*W values a channel they differ by 1 / (B*H*W))
// tests    tests/ops/batch_normalization_test.cpp
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "num/half.h"
#include "ops/chunks.h"
#include "ops/families.h"

namespace halftone::ops {
namespace {

void check_channels(const InferContext& c, size_t first, size_t last) {
  const Shape& x = c.input(0).shape;
  if (x.size() < 2)
    throw input_error("the input {} of a batch norm needs at least two dimensions", to_string(x));
  static constexpr const char* kNames[] = {"x", "scale", "bias", "mean", "var"};
  for (size_t i = first; i <= last; ++i)
    if (c.input(i).shape != Shape{x.back()})
      throw input_error("{} has shape {}, expected {} (the channels of {})", kNames[i],
                        to_string(c.input(i).shape), x.back(), to_string(x));
}

// Reads a per-channel parameter in storage type into registers of type R.
template <class R>
R load(DType dtype, const void* p, int64_t i) {
  switch (dtype) {
    case DType::kF64:
      return static_cast<R>(static_cast<const double*>(p)[i]);
    case DType::kF32:
      return static_cast<R>(static_cast<const float*>(p)[i]);
    case DType::kF16:
      return num::widen(static_cast<const num::Fp16*>(p)[i]);
    default:
      return num::widen(static_cast<const num::Bf16*>(p)[i]);
  }
}

// Geometry shared by all of this file: x as [rows][cols].
struct Plane {
  DType dtype;
  int64_t rows, cols;
  Chunks chunks;
  int64_t width;  // bytes of an element of x
  explicit Plane(const Type& x)
      : dtype(x.dtype),
        rows(elements(x.shape) / std::max<int64_t>(1, x.shape.back())),
        cols(x.shape.back()),
        chunks(row_chunks(rows, cols)),
        width(size_bytes(x.dtype)) {}
  const void* at(const void* p, int64_t chunk) const {
    return static_cast<const std::byte*>(p) + chunks.begin(chunk) * cols * width;
  }
  void* at(void* p, int64_t chunk) const {
    return static_cast<std::byte*>(p) + chunks.begin(chunk) * cols * width;
  }
};

// Calls f with a float or, in the oracle, a double.
template <class F>
Prepared by_register(DType dtype, F f) {
  return dtype == DType::kF64 ? f(double{}) : f(float{});
}

// ---------------------------------------------------------------- training
std::vector<Type> infer_train(const InferContext& c) {
  check_channels(c, 1, 2);
  const Type& x = c.input(0);
  if (elements(x.shape) / std::max<int64_t>(1, x.shape.back()) < 2)
    throw input_error(
        "a batch norm in training needs at least two values a channel, got {}; use a larger batch or "
        "--batchnorm freeze",
        to_string(x.shape));
  const Type channel{register_type(x.dtype), {x.shape.back()}};
  return {x, channel, channel, channel};
}

Prepared prepare_train(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Plane p(c.input(0));
    const auto epsilon = static_cast<R>(static_cast<float>(c.attributes().float_or("epsilon", 1e-5)));
    const DType parameter = c.input(1).dtype;
    const kern::Kernels& k = c.kernels;
    const int64_t partials = p.chunks.count() * p.cols;
    const int64_t bytes = static_cast<int64_t>(sizeof(R)) * (2 * partials + 2 * p.cols);
    return {bytes, [=, &k](const RunContext& r) {
              R* sums = reinterpret_cast<R*>(r.scratch);
              R* deviations = sums + partials;
              R* a = deviations + partials;
              R* b = a + p.cols;
              r.pool.run(p.chunks.count(), [&](int64_t chunk, int) {
                const int64_t n = p.chunks.length(chunk);
                R* sum = sums + chunk * p.cols;
                k.sum_columns({p.dtype, p.at(r.in[0], chunk), n, p.cols, p.cols, sum, false});
                for (int64_t j = 0; j < p.cols; ++j) sum[j] /= static_cast<R>(n);
                k.squared_deviation(
                    {p.dtype, p.at(r.in[0], chunk), sum, n, p.cols, deviations + chunk * p.cols, false});
              });
              R* mean = static_cast<R*>(r.out[1]);
              R* invstd = static_cast<R*>(r.out[2]);
              R* variance = static_cast<R*>(r.out[3]);
              for (int64_t j = 0; j < p.cols; ++j) {
                R m = sums[j];
                R s = deviations[j];
                R n = static_cast<R>(p.chunks.length(0));
                for (int64_t chunk = 1; chunk < p.chunks.count(); ++chunk) {
                  const R more = static_cast<R>(p.chunks.length(chunk));
                  const R delta = sums[chunk * p.cols + j] - m;
                  const R all = n + more;
                  m = m + delta * (more / all);
                  s = s + deviations[chunk * p.cols + j] + delta * delta * (n * more / all);
                  n = all;
                }
                mean[j] = m;
                invstd[j] = R{1} / std::sqrt(s / n + epsilon);
                if (variance != nullptr) variance[j] = s / (n - R{1});
                a[j] = load<R>(parameter, r.in[1], j) * invstd[j];
                b[j] = load<R>(parameter, r.in[2], j) - m * a[j];
              }
              r.pool.run(p.chunks.count(), [&](int64_t chunk, int) {
                k.channel_affine({p.dtype, p.at(r.in[0], chunk), a, b, p.at(r.out[0], chunk),
                                  p.chunks.length(chunk), p.cols});
              });
            }};
  });
}

std::vector<ValueId> gradient_train(GradientContext& c) {
  if (c.dy[0] == kNone) return {kNone, kNone, kNone};
  const Attributes wanted{{"epsilon", c.node.attributes.float_or("epsilon", 1e-5)}};
  const auto d = c.builder.add("BatchNormTrainGrad", {c.x(0), c.x(1), c.y(1), c.y(2), c.dy[0]}, wanted);
  return {d[0], d[1], d[2]};
}

// BatchNormTrainGrad(x, scale, mean, invstd, dy) -> dx, dscale, dbias; with batch statistics, xhat = (x -
// mean) * invstd, R values a channel:
//   dbias = sum dy;  dscale = sum dy * xhat;  dx = scale * invstd * (dy - dbias / R - xhat * dscale / R)
// BatchNormFrozenGrad(x, scale, mean, var, dy): constant statistics: dx = scale * invstd * dy.
std::vector<Type> infer_grad(const InferContext& c) {
  check_channels(c, 1, 1);
  return {c.input(0), c.input(1), c.input(1)};
}

template <bool kBatchStatistics>
Prepared prepare_grad(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Plane p(c.input(0));
    const auto epsilon = static_cast<R>(static_cast<float>(c.attributes().float_or("epsilon", 1e-5)));
    const DType parameter = c.input(1).dtype;
    const kern::Kernels& k = c.kernels;
    const int64_t partials = p.chunks.count() * p.cols;
    const int64_t bytes = static_cast<int64_t>(sizeof(R)) * (2 * partials + 5 * p.cols);
    const DType registers = register_type(p.dtype);
    return {bytes, [=, &k](const RunContext& r) {
              R* sum_dy = reinterpret_cast<R*>(r.scratch);
              R* sum_dyx = sum_dy + partials;
              R* a = sum_dyx + partials;
              R* b = a + p.cols;
              R* shift = b + p.cols;
              R* dscale = shift + p.cols;
              R* dbias = dscale + p.cols;
              const R* mean = static_cast<const R*>(r.in[2]);
              const R* spread =
                  static_cast<const R*>(r.in[3]);  // 1 / sqrt(var + epsilon), or the running variance
              r.pool.run(p.chunks.count(), [&](int64_t chunk, int) {
                k.channel_grad_sums({p.dtype, p.at(r.in[4], chunk), p.at(r.in[0], chunk), mean,
                                     p.chunks.length(chunk), p.cols, sum_dy + chunk * p.cols,
                                     sum_dyx + chunk * p.cols, false});
              });
              const R count = static_cast<R>(p.rows);
              for (int64_t j = 0; j < p.cols; ++j) {
                R sy = 0;
                R sx = 0;
                for (int64_t chunk = 0; chunk < p.chunks.count(); ++chunk) {
                  sy += sum_dy[chunk * p.cols + j];
                  sx += sum_dyx[chunk * p.cols + j];
                }
                const R invstd = kBatchStatistics ? spread[j] : R{1} / std::sqrt(spread[j] + epsilon);
                dbias[j] = sy;
                dscale[j] = sx * invstd;
                a[j] = load<R>(parameter, r.in[1], j) * invstd;
                b[j] = kBatchStatistics ? -(a[j] * (invstd * (dscale[j] / count))) : R{0};
                shift[j] = kBatchStatistics ? -(a[j] * (sy / count)) - b[j] * mean[j] : R{0};
              }
              if (r.out[1] != nullptr) k.convert({registers, dscale, parameter, r.out[1], p.cols, 1.0F});
              if (r.out[2] != nullptr) k.convert({registers, dbias, parameter, r.out[2], p.cols, 1.0F});
              if (r.out[0] == nullptr) return;
              r.pool.run(p.chunks.count(), [&](int64_t chunk, int) {
                if (kBatchStatistics) {
                  k.channel_affine_pair({p.dtype, p.at(r.in[4], chunk), p.at(r.in[0], chunk), a, b, shift,
                                         p.at(r.out[0], chunk), p.chunks.length(chunk), p.cols});
                } else {
                  k.channel_affine({p.dtype, p.at(r.in[4], chunk), a, shift, p.at(r.out[0], chunk),
                                    p.chunks.length(chunk), p.cols});
                }
              });
            }};
  });
}

// ---------------------------------------------------------------- inference
std::vector<Type> infer_eval(const InferContext& c) {
  check_channels(c, 1, 4);
  return {c.input(0)};
}

Prepared prepare_eval(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Plane p(c.input(0));
    const auto epsilon = static_cast<R>(static_cast<float>(c.attributes().float_or("epsilon", 1e-5)));
    const DType parameter = c.input(1).dtype;
    const kern::Kernels& k = c.kernels;
    return {2 * p.cols * static_cast<int64_t>(sizeof(R)), [=, &k](const RunContext& r) {
              R* a = reinterpret_cast<R*>(r.scratch);
              R* b = a + p.cols;
              const R* mean = static_cast<const R*>(r.in[3]);
              const R* variance = static_cast<const R*>(r.in[4]);
              for (int64_t j = 0; j < p.cols; ++j) {
                a[j] = load<R>(parameter, r.in[1], j) / std::sqrt(variance[j] + epsilon);
                b[j] = load<R>(parameter, r.in[2], j) - mean[j] * a[j];
              }
              r.pool.run(p.chunks.count(), [&](int64_t chunk, int) {
                k.channel_affine({p.dtype, p.at(r.in[0], chunk), a, b, p.at(r.out[0], chunk),
                                  p.chunks.length(chunk), p.cols});
              });
            }};
  });
}

std::vector<ValueId> gradient_eval(GradientContext& c) {
  const Attributes wanted{{"epsilon", c.node.attributes.float_or("epsilon", 1e-5)}};
  const auto d = c.builder.add("BatchNormFrozenGrad", {c.x(0), c.x(1), c.x(3), c.x(4), c.dy[0]}, wanted);
  return {d[0], d[1], d[2], kNone, kNone};
}

// ---------------------------------------------------------------- running statistics
// UpdateStatistics(pending mean, pending var, batch mean, batch var): pending = momentum * pending + (1 -
// momentum) * batch, in place, once a micro-batch. CommitStatistics(running mean, running var, pending mean,
// pending var): after the last micro-batch running = pending, or, when the step is skipped, pending =
// running: a skipped step changes nothing.
std::vector<Type> infer_statistics(const InferContext& c) {
  for (size_t i = 1; i < 4; ++i)
    if (c.input(i) != c.input(0))
      throw input_error("running statistics of shapes {} and {}", to_string(c.input(0).shape),
                        to_string(c.input(i).shape));
  return {};
}

Prepared prepare_update_statistics(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const auto momentum = static_cast<R>(static_cast<float>(c.attributes().float_or("momentum", 0.9)));
    const int64_t n = elements(c.input(0).shape);
    return {0, [=](const RunContext& r) {
              for (int which = 0; which < 2; ++which) {
                R* pending = static_cast<R*>(const_cast<void*>(r.in[which]));
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
              void* running = const_cast<void*>(r.in[which]);
              void* pending = const_cast<void*>(r.in[2 + which]);
              std::memcpy(r.step.finite ? running : pending, r.step.finite ? pending : running,
                          static_cast<size_t>(bytes));
            }
          }};
}

// ---------------------------------------------------------------- ONNX
std::vector<int64_t> channels_last(size_t rank) {
  std::vector<int64_t> perm{0};
  for (size_t i = 2; i < rank; ++i) perm.push_back(static_cast<int64_t>(i));
  perm.push_back(1);
  return perm;
}
std::vector<int64_t> channels_first(size_t rank) {
  std::vector<int64_t> perm{0, static_cast<int64_t>(rank) - 1};
  for (size_t i = 1; i + 1 < rank; ++i) perm.push_back(static_cast<int64_t>(i));
  return perm;
}

ValueId pending_copy(ir::Graph& graph, ValueId state) {
  ir::Value copy = graph.value(state);
  copy.name += ".pending";
  return graph.add_value(std::move(copy));
}

std::vector<ValueId> import(ImportContext& c) {
  for (size_t i = 0; i < 5; ++i)
    if (!c.has(i)) throw input_error("input {} is missing", i);
  const size_t rank = c.shape(0).size();
  if (rank < 2) throw input_error("the input {} needs at least two dimensions", to_string(c.shape(0)));
  Builder& b = c.builder;
  const ValueId x = b.transpose(c.inputs[0], channels_last(rank));
  const ValueId y = add_batch_norm(b, {x, c.inputs[1], c.inputs[2], c.inputs[3], c.inputs[4]},
                                   c.attributes.float_or("epsilon", 1e-5),
                                   c.attributes.float_or("momentum", 0.9), c.mode, c.batch_norm);
  std::vector<ValueId> out(c.output_count, kNone);
  out[0] = b.transpose(y, channels_first(rank));
  return out;
}

}  // namespace

ValueId add_batch_norm(Builder& b, const std::vector<ValueId>& inputs, double epsilon, double momentum,
                       Mode mode, BatchNormMode batch_norm, ValueId y) {
  const Attributes attributes{{"epsilon", epsilon}};
  if (mode == Mode::kEval || batch_norm == BatchNormMode::kFreeze) {
    const ValueId made = b.add1("BatchNormalization", inputs, attributes);
    if (y != kNone) b.graph().nodes.back().outputs[0] = y;
    return y != kNone ? y : made;
  }
  const auto out = b.add("BatchNormTrain", {inputs[0], inputs[1], inputs[2]}, attributes);
  if (y != kNone) b.graph().nodes.back().outputs[0] = y;
  const ValueId mean = pending_copy(b.graph(), inputs[3]);
  const ValueId var = pending_copy(b.graph(), inputs[4]);
  b.add("UpdateStatistics", {mean, var, out[1], out[3]}, {{"momentum", momentum}, {"effect", int64_t{1}}});
  b.set_phase(ir::Phase::kUpdate);
  b.add("CommitStatistics", {inputs[3], inputs[4], mean, var});
  b.set_phase(ir::Phase::kCompute);
  return y != kNone ? y : out[0];
}

const OpFamily& batch_normalization_family() {
  static const OpFamily family{
      {
          OpDef("BatchNormTrain", infer_train, prepare_train, GradientRule{gradient_train}),
          OpDef("BatchNormTrainGrad", infer_grad, prepare_grad<true>,
                NoGradient{"second derivatives are not needed in training"}),
          OpDef("BatchNormalization", infer_eval, prepare_eval, GradientRule{gradient_eval}),
          OpDef("BatchNormFrozenGrad", infer_grad, prepare_grad<false>,
                NoGradient{"second derivatives are not needed in training"}),
          OpDef("UpdateStatistics", infer_statistics, prepare_update_statistics,
                NoGradient{"statistics are not trained"}),
          OpDef("CommitStatistics", infer_statistics, prepare_commit_statistics,
                NoGradient{"statistics are not trained"}),
      },
      {{"BatchNormalization", 9, 23, import, nullptr, 0b00110, 5}},
  };
  return family;
}

}  // namespace halftone::ops
