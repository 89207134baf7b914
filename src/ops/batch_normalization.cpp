// Batch normalization in training and in inference, channels last.
//
// formula  y = (x - mean) / sqrt(var + epsilon) * scale + bias, computed as fma(x, a, b) with a = scale /
//          sqrt(var + epsilon), b = bias - mean * a
//          fused (pass/fuse.h): y = activation(fma(x, a, b) + residual), either of them optional; activation: Relu,
//          or Clip with the attributes low and high
// shapes   x[..., C], scale[C], bias[C], mean[C], var[C], residual[..., C] -> y[..., C]
// dtypes   x y dx dy scale bias: fp16 bf16 fp32, double in the reference; statistics in the register type
//          (fp32): per-channel scalars that decide the evaluated accuracy (docs/numerics.md)
// rounds   once, when y (dx, dscale, dbias) is stored, behind residual and activation. Statistics: two passes a
//          chunk of 16384 elements (sum, then squared deviations from the chunk's mean), chunks merged in
//          ascending order by Chan's formula
// saves    x, the batch's mean and 1 / sqrt(var + epsilon); y where both a residual and Relu follow (else the
//          gradient finds out from x what the activation let through)
// scratch  2 or 3 values a channel and chunk
// alias    dx may share memory with x or dy
// effects  UpdateStatistics writes the pending statistics, CommitStatistics the running ones and the pending ones
// errors   x of rank < 2; scale, bias, mean, var not of shape [C]; a residual of another shape than x, or with
//          Clip; fewer than two values a channel in training
// nodes    a mean or variance that other nodes compute makes the formula Sub, Sqrt, Div, Mul, Add instead; with training_mode 1,
//          LayerNormalization, Mul, Add
// source   ONNX BatchNormalization-7/9/14/15; running statistics as PyTorch: the unbiased variance is what is
//          averaged (ONNX 14 writes the biased one; with B*H*W values a channel they differ by 1 / (B*H*W))
// tests    tests/ops/batch_normalization_test.cpp
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "kern/reduce.h"
#include "num/half.h"
#include "ops/chunks.h"
#include "ops/families.h"
#include "ops/fold.h"
#include "ops/follow.h"
#include "tensor/permutation.h"

namespace halftone::ops {
namespace batch_normalization {
namespace {

constexpr const char* kOperands[] = {"x", "scale", "bias", "mean", "var"};

void check_channels(const InferContext& c, size_t first, size_t last) {
  const Shape& x = c.input(0).shape;
  if (x.size() < 2)
    throw input_error("the input {} of a batch norm needs at least two dimensions", to_string(x));
  for (size_t i = first; i <= last; ++i)
    if (c.input(i).shape != Shape{x.back()})
      throw input_error("{} has shape {}, expected {} (the channels of {})", kOperands[i],
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
  // The first stage of a batch norm: chunk by chunk.
  Ahead ahead(size_t input) const { return {input, rows, chunks.size, {}, {}}; }
  void tell_chunk(const RunContext& r, int64_t chunk, int worker) const {
    tell(r, chunks.begin(chunk), chunks.length(chunk), cols, worker);
  }
};

// Calls f with a float or, in the oracle, a double.
template <class F>
Prepared by_register(DType dtype, F f) {
  return dtype == DType::kF64 ? f(double{}) : f(float{});
}

// ---------------------------------------------------------------- what is fused behind
struct Fused {
  kern::Activation activation = kern::Activation::kNone;
  float low = 0;
  float high = 0;
};
Fused fused_of(const Attributes& attributes) {
  Fused f;
  const std::string name = attributes.string_or("activation", "");
  if (name.empty()) return f;
  HT_ASSERT(name == "Relu" || name == "Clip", "{} is not an activation that a batch norm takes along", name);
  f.activation = name == "Relu" ? kern::Activation::kRelu : kern::Activation::kClip;
  f.low = static_cast<float>(attributes.float_or("low", 0));
  f.high = static_cast<float>(attributes.float_or("high", 0));
  return f;
}
Behind behind(size_t residual) {
  return {.residual = residual, .activations = {"Relu", "Clip"}, .after_residual = {"Relu"}};
}
void check_residual(const InferContext& c, size_t i) {
  if (!c.has(i)) return;
  if (c.input(i) != c.input(0))
    throw input_error("the residual {} has another shape than the input {}", to_string(c.input(i).shape),
                      to_string(c.input(0).shape));
  if (fused_of(c.attributes()).activation == kern::Activation::kClip)
    throw input_error("a residual and Clip behind one batch norm are not supported together");
}
// The attributes that the gradient shares.
Attributes gradient_attributes(const Attributes& forward) {
  Attributes a{{"epsilon", forward.float_or("epsilon", 1e-5)}};
  if (forward.has("activation")) {
    a.set("activation", forward.string_or("activation", ""));
    a.set("low", forward.float_or("low", 0));
    a.set("high", forward.float_or("high", 0));
  }
  return a;
}
// Gradient of x, scale, bias and (last) the residual: the operator `op` on what statistics it needs.
std::vector<ValueId> gradient_of(GradientContext& c, std::string_view op, ValueId first, ValueId second,
                                 size_t residual) {
  const Attributes attributes = gradient_attributes(c.node.attributes);
  const bool masks = fused_of(attributes).activation != kern::Activation::kNone;
  const bool has_residual = c.has(residual);
  // Without an activation the residual's gradient is dy itself.
  const ValueId y = masks && has_residual ? c.y(0) : kNone;
  const auto d = c.builder.add(op, {c.x(0), c.x(1), first, second, c.dy[0], c.x(2), y}, attributes);
  std::vector<ValueId> out(c.node.inputs.size(), kNone);
  for (size_t i = 0; i < 3; ++i) out[i] = d[i];
  if (has_residual) out[residual] = masks ? d[3] : c.dy[0];
  return out;
}

// ---------------------------------------------------------------- training
constexpr size_t kTrainResidual = 3;
constexpr size_t kEvalResidual = 5;

std::vector<Type> infer_train(const InferContext& c) {
  check_channels(c, 1, 2);
  check_residual(c, kTrainResidual);
  const Type& x = c.input(0);
  if (elements(x.shape) / std::max<int64_t>(1, x.shape.back()) < 2)
    throw input_error(
        "a batch norm in training needs at least two values a channel, got {}; use a larger batch or "
        "--batchnorm freeze",
        to_string(x.shape));
  const Type channel{register_type(x.dtype), {x.shape.back()}};
  return {x, channel, channel, channel};
}

// Chan's formula: mean m and sum of squared deviations s of n values take in those of `more`, by share = more / (n +
// more) and weight = n * more / (n + more).
template <class R>
void merge(const R* __restrict mean, const R* __restrict deviation, R share, R weight, int64_t cols,
           R* __restrict m, R* __restrict s) {
  for (int64_t j = 0; j < cols; ++j) {
    const R delta = mean[j] - m[j];
    m[j] = m[j] + delta * share;
    s[j] = s[j] + deviation[j] + delta * delta * weight;
  }
}
template <class R>
void add_to(const R* __restrict x, int64_t cols, R* __restrict sum) {
  for (int64_t j = 0; j < cols; ++j) sum[j] += x[j];
}

// y = activation(fma(x, a, b) + residual) over all chunks.
void run_affine(const Plane& p, const kern::Kernels& k, const Fused& fused, const RunContext& r,
                const void* a, const void* b, const void* residual) {
  run_chunks(r.pool, p.chunks.count(), [&](int64_t chunk, int worker) {
    k.channel_affine({p.dtype, p.at(r.in[0], chunk), a, b, p.at(r.out[0], chunk), p.chunks.length(chunk),
                      p.cols, residual == nullptr ? nullptr : p.at(residual, chunk), fused.activation,
                      fused.low, fused.high});
    p.tell_chunk(r, chunk, worker);
  });
}

Prepared prepare_train(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Plane p(c.input(0));
    const auto epsilon = static_cast<R>(static_cast<float>(c.attributes().float_or("epsilon", 1e-5)));
    const DType parameter = c.input(1).dtype;
    const kern::Kernels& k = c.kernels;
    const Fused fused = fused_of(c.attributes());
    const bool residual = c.has(kTrainResidual);
    const int64_t partials = p.chunks.count() * p.cols;
    Prepared prepared;
    prepared.scratch_bytes = static_cast<int64_t>(sizeof(R)) * (2 * partials + 2 * p.cols);
    prepared.followed = true;
    prepared.ahead = p.ahead(0);
    prepared.ahead->run = [=, &k](const RunContext& r, int64_t chunk, int) {
      const int64_t n = p.chunks.length(chunk);
      R* sum = reinterpret_cast<R*>(r.scratch) + chunk * p.cols;
      k.sum_columns({p.dtype, p.at(r.in[0], chunk), n, p.cols, p.cols, sum, false});
      for (int64_t j = 0; j < p.cols; ++j) sum[j] /= static_cast<R>(n);
      k.squared_deviation({p.dtype, p.at(r.in[0], chunk), sum, n, p.cols, sum + partials, false});
    };
    prepared.run = [=, &k, statistics = prepared.ahead->run](const RunContext& r) {
      R* sums = reinterpret_cast<R*>(r.scratch);
      R* deviations = sums + partials;
      R* a = deviations + partials;
      R* b = a + p.cols;
      if (!r.begun)
        run_chunks(r.pool, p.chunks.count(),
                   [&](int64_t chunk, int worker) { statistics(r, chunk, worker); });
      R* mean = static_cast<R*>(r.out[1]);
      R* invstd = static_cast<R*>(r.out[2]);
      R* variance = static_cast<R*>(r.out[3]);
      // Chunk by chunk, all channels: memory is read as it lies. The first chunk's place collects.
      R n = static_cast<R>(p.chunks.length(0));
      for (int64_t chunk = 1; chunk < p.chunks.count(); ++chunk) {
        const R more = static_cast<R>(p.chunks.length(chunk));
        const R all = n + more;
        merge(sums + chunk * p.cols, deviations + chunk * p.cols, more / all, n * more / all, p.cols, sums,
              deviations);
        n = all;
      }
      for (int64_t j = 0; j < p.cols; ++j) {
        const R spread = R{1} / std::sqrt(deviations[j] / n + epsilon);
        // Nobody reads them where nothing before is trained, nor its own scale and bias.
        if (mean != nullptr) mean[j] = sums[j];
        if (invstd != nullptr) invstd[j] = spread;
        if (variance != nullptr) variance[j] = deviations[j] / (n - R{1});
        a[j] = load<R>(parameter, r.in[1], j) * spread;
        b[j] = load<R>(parameter, r.in[2], j) - sums[j] * a[j];
      }
      run_affine(p, k, fused, r, a, b, residual ? r.in[kTrainResidual] : nullptr);
    };
    return prepared;
  });
}

std::vector<ValueId> gradient_train(GradientContext& c) {
  if (c.dy[0] == kNone) return {};
  return gradient_of(c, "BatchNormTrainGrad", c.y(1), c.y(2), kTrainResidual);
}

// BatchNormTrainGrad(x, scale, mean, invstd, dy, bias, y) -> dx, dscale, dbias, dresidual; with batch statistics,
// g = dy as far as the activation lets it through, xhat = (x - mean) * invstd, R values a channel:
//   dbias = sum g;  dscale = sum g * xhat;  dx = scale * invstd * (g - dbias / R - xhat * dscale / R);  dresidual = g
// BatchNormFrozenGrad(x, scale, mean, var, dy, bias, y): constant statistics: dx = scale * invstd * g.
// y, and with it dresidual, is absent unless a residual and an activation are fused; then what the activation lets
// through is read off y.
constexpr size_t kMaskSource = 6;

std::vector<Type> infer_grad(const InferContext& c) {
  check_channels(c, 1, 1);
  std::vector<Type> types{c.input(0), c.input(1), c.input(1)};
  if (c.has(kMaskSource)) types.push_back(c.input(0));
  return types;
}

template <class R>
struct GradScratch {
  R *sum_dy, *sum_dyx;  // [chunk][channel]
  R *a, *b, *shift, *dscale, *dbias, *forward_scale, *forward_shift;
  GradScratch(std::byte* scratch, int64_t partials, int64_t cols)
      : sum_dy(reinterpret_cast<R*>(scratch)),
        sum_dyx(sum_dy + partials),
        a(sum_dyx + partials),
        b(a + cols),
        shift(b + cols),
        dscale(shift + cols),
        dbias(dscale + cols),
        forward_scale(dbias + cols),
        forward_shift(forward_scale + cols) {}
};

template <bool kBatchStatistics>
Prepared prepare_grad(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Plane p(c.input(0));
    const auto epsilon = static_cast<R>(static_cast<float>(c.attributes().float_or("epsilon", 1e-5)));
    const DType parameter = c.input(1).dtype;
    const kern::Kernels& k = c.kernels;
    const Fused fused = fused_of(c.attributes());
    const int64_t partials = p.chunks.count() * p.cols;
    Prepared prepared;
    prepared.scratch_bytes = static_cast<int64_t>(sizeof(R)) * (2 * partials + 7 * p.cols);
    prepared.followed = true;
    const DType registers = register_type(p.dtype);
    const bool has_y = c.has(kMaskSource);
    const auto places = [partials, cols = p.cols](const RunContext& r) {
      return GradScratch<R>(r.scratch, partials, cols);
    };
    const auto mask = [=](const RunContext& r, int64_t chunk) {
      const GradScratch<R> s = places(r);
      return kern::ChannelMask{fused.activation, fused.low,
                               fused.high,       s.forward_scale,
                               s.forward_shift,  has_y ? p.at(r.in[kMaskSource], chunk) : nullptr};
    };
    // in[3]: 1 / sqrt(var + epsilon), or the running variance
    Ahead first = p.ahead(4);
    first.prepare = [=](const RunContext& r) {  // the forward's scale and shift, as it computed them
      const GradScratch<R> s = places(r);
      const R* mean = static_cast<const R*>(r.in[2]);
      const R* spread = static_cast<const R*>(r.in[3]);
      for (int64_t j = 0; j < p.cols; ++j) {
        const R scale = load<R>(parameter, r.in[1], j);
        s.forward_scale[j] = kBatchStatistics ? scale * spread[j] : scale / std::sqrt(spread[j] + epsilon);
        s.forward_shift[j] = load<R>(parameter, r.in[5], j) - mean[j] * s.forward_scale[j];
      }
    };
    first.run = [=, &k](const RunContext& r, int64_t chunk, int) {
      const GradScratch<R> s = places(r);
      void* const masked = has_y ? r.out[3] : nullptr;
      k.channel_grad_sums({p.dtype, p.at(r.in[4], chunk), p.at(r.in[0], chunk), r.in[2],
                           p.chunks.length(chunk), p.cols, s.sum_dy + chunk * p.cols,
                           s.sum_dyx + chunk * p.cols, false, mask(r, chunk),
                           masked != nullptr ? p.at(masked, chunk) : nullptr});
    };
    prepared.run = [=, &k](const RunContext& r) {
      const GradScratch<R> s = places(r);
      const R* mean = static_cast<const R*>(r.in[2]);
      const R* spread = static_cast<const R*>(r.in[3]);
      void* const masked = has_y ? r.out[3] : nullptr;
      if (!r.begun) {
        first.prepare(r);
        run_chunks(r.pool, p.chunks.count(), [&](int64_t chunk, int worker) { first.run(r, chunk, worker); });
      }
      const R count = static_cast<R>(p.rows);
      for (int64_t chunk = 1; chunk < p.chunks.count(); ++chunk) {
        add_to(s.sum_dy + chunk * p.cols, p.cols, s.sum_dy);
        add_to(s.sum_dyx + chunk * p.cols, p.cols, s.sum_dyx);
      }
      for (int64_t j = 0; j < p.cols; ++j) {
        const R sy = s.sum_dy[j];
        const R sx = s.sum_dyx[j];
        const R invstd = kBatchStatistics ? spread[j] : R{1} / std::sqrt(spread[j] + epsilon);
        s.dbias[j] = sy;
        s.dscale[j] = sx * invstd;
        s.a[j] = load<R>(parameter, r.in[1], j) * invstd;
        s.b[j] = kBatchStatistics ? -(s.a[j] * (invstd * (s.dscale[j] / count))) : R{0};
        s.shift[j] = kBatchStatistics ? -(s.a[j] * (sy / count)) - s.b[j] * mean[j] : R{0};
      }
      if (r.out[1] != nullptr) k.convert({registers, s.dscale, parameter, r.out[1], p.cols, 1.0});
      if (r.out[2] != nullptr) k.convert({registers, s.dbias, parameter, r.out[2], p.cols, 1.0});
      if (r.out[0] == nullptr) return;
      // The residual's gradient is g already.
      const void* g = masked != nullptr ? masked : r.in[4];
      run_chunks(r.pool, p.chunks.count(), [&](int64_t chunk, int worker) {
        if (kBatchStatistics || (fused.activation != kern::Activation::kNone && masked == nullptr)) {
          k.channel_affine_pair({p.dtype, p.at(g, chunk), p.at(r.in[0], chunk), s.a, s.b, s.shift,
                                 p.at(r.out[0], chunk), p.chunks.length(chunk), p.cols,
                                 masked != nullptr ? kern::ChannelMask{} : mask(r, chunk)});
        } else {
          k.channel_affine(
              {p.dtype, p.at(g, chunk), s.a, s.shift, p.at(r.out[0], chunk), p.chunks.length(chunk), p.cols});
        }
        p.tell_chunk(r, chunk, worker);
      });
    };
    // With a residual it writes an output, not only scratch.
    if (!has_y) prepared.ahead = first;
    return prepared;
  });
}

// ---------------------------------------------------------------- inference
std::vector<Type> infer_eval(const InferContext& c) {
  check_channels(c, 1, 4);
  check_residual(c, kEvalResidual);
  for (size_t i = 3; i < 5; ++i) HT_ASSERT(c.input(i).dtype == register_type(c.input(0).dtype), "statistic {}", i);
  return {c.input(0)};
}

Prepared prepare_eval(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Plane p(c.input(0));
    const auto epsilon = static_cast<R>(static_cast<float>(c.attributes().float_or("epsilon", 1e-5)));
    const DType parameter = c.input(1).dtype;
    const kern::Kernels& k = c.kernels;
    const Fused fused = fused_of(c.attributes());
    const bool residual = c.has(kEvalResidual);
    Prepared prepared;
    prepared.scratch_bytes = 2 * p.cols * static_cast<int64_t>(sizeof(R));
    prepared.followed = true;
    prepared.run = [=, &k](const RunContext& r) {
      R* a = reinterpret_cast<R*>(r.scratch);
      R* b = a + p.cols;
      const R* mean = static_cast<const R*>(r.in[3]);
      const R* variance = static_cast<const R*>(r.in[4]);
      for (int64_t j = 0; j < p.cols; ++j) {
        a[j] = load<R>(parameter, r.in[1], j) / std::sqrt(variance[j] + epsilon);
        b[j] = load<R>(parameter, r.in[2], j) - mean[j] * a[j];
      }
      run_affine(p, k, fused, r, a, b, residual ? r.in[kEvalResidual] : nullptr);
    };
    return prepared;
  });
}

std::vector<ValueId> gradient_eval(GradientContext& c) {
  HT_ASSERT(!c.needs[3] && !c.needs[4], "statistics that are computed belong to import_computed");
  return gradient_of(c, "BatchNormFrozenGrad", c.x(3), c.x(4), kEvalResidual);
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

// ---------------------------------------------------------------- ONNX
ValueId pending_copy(ir::Graph& graph, ValueId state) {
  ir::Value copy = graph.value(state);
  copy.name = pending_name(copy.name);
  copy.lifetime = ir::Lifetime::kDerived;
  copy.source = state;
  return graph.add_value(std::move(copy));
}

// By the mean and the variance of what is normalised, whatever the command: a row for each channel.
ValueId import_own(ImportContext& c, double epsilon) {
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  std::vector<int64_t> perm(x.size());
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[0], perm[1]);
  const ValueId swapped = b.transpose(c.inputs[0], perm);
  const Shape shape = b.shape(swapped);
  const auto column = [&](size_t i) { return b.reshape(c.inputs[i], {x[1], 1}); };
  const ValueId normal = b.add1("LayerNormalization", {b.reshape(swapped, {x[1], elements(x) / std::max<int64_t>(1, x[1])})},
                                {{"axis", int64_t{1}}, {"epsilon", epsilon}});
  const ValueId y = b.add1("Add", {b.add1("Mul", {normal, column(1)}), column(2)});
  return b.transpose(b.reshape(y, shape), perm);
}

// With a mean or a variance that other nodes compute (weights that are standardised, as BiT and NF-Nets have them): the
// formula in nodes, whose gradients reach the statistics too. Nothing is averaged, so training means the same.
ValueId import_computed(ImportContext& c, double epsilon) {
  Builder& b = c.builder;
  const Shape x = c.shape(0);
  for (size_t i = 1; i < 5; ++i)
    if (c.shape(i) != Shape{x[1]})
      throw input_error("{} has shape {}, expected {} (the channels of {})", kOperands[i], to_string(c.shape(i)), x[1], to_string(x));
  const auto column = [&](size_t i) {
    Shape shape(x.size(), 1);
    shape[1] = x[1];
    return b.reshape(c.inputs[i], shape);
  };
  if (c.attributes.int_or("training_mode", 0) != 0) return import_own(c, epsilon);
  const ValueId variance = b.add1("Scale", {column(4)}, {{"alpha", 1.0}, {"beta", epsilon}});
  const ValueId centred = b.add1("Sub", {c.inputs[0], column(3)});
  const ValueId normal = b.add1("Div", {centred, b.add1("Sqrt", {variance})});
  return b.add1("Add", {b.add1("Mul", {normal, column(1)}), column(2)});
}

// Those that are made of frozen tensors are constants. Only tensors of the file are kept in the register type.
bool has_computed_statistics(const ImportContext& c) {
  const bool own = c.attributes.int_or("training_mode", 0) != 0;
  const auto computed = [&](size_t i) {
    const ir::Value& value = c.builder.graph().value(c.inputs[i]);
    if (value.kind == ir::ValueKind::kState) return false;
    return value.kind != ir::ValueKind::kConstant || own || value.type.dtype != register_type(c.builder.storage());
  };
  return computed(3) || computed(4);
}

std::vector<ValueId> import(ImportContext& c) {
  // Where there are running statistics, training_mode only says what the file was exported for: --batchnorm and the command decide.
  if (c.opset < 9) {
    check_attributes(c.attributes, {"epsilon", "momentum", "spatial"});
    if (c.attributes.int_or("spatial", 1) != 1)
      throw input_error("spatial is 0: statistics of each place, which no later opset has");
  } else {
    check_attributes(c.attributes, {"epsilon", "momentum", "training_mode"});
  }
  for (size_t i = 0; i < 5; ++i)
    if (!c.has(i)) throw input_error("input {} is missing", i);
  const size_t rank = c.shape(0).size();
  if (rank < 2) throw input_error("the input {} needs at least two dimensions", to_string(c.shape(0)));
  const double momentum = c.attributes.float_or("momentum", 0.9);
  const bool moves = c.mode == Mode::kTrain && c.batch_norm == BatchNormMode::kTrain;
  if (moves && !(momentum >= 0 && momentum <= 1))  // an average with negative weights: variances below 0
    throw input_error("momentum is {}, expected 0 to 1; --batchnorm freeze trains with the statistics of the file", momentum);
  Builder& b = c.builder;
  if (has_computed_statistics(c)) {
    std::vector<ValueId> out(c.output_count, kNone);
    out[0] = import_computed(c, c.attributes.float_or("epsilon", 1e-5));
    return out;
  }
  const ValueId x = b.transpose(c.inputs[0], channels_last(rank));
  const ValueId y = add_batch_norm(b, {x, c.inputs[1], c.inputs[2], c.inputs[3], c.inputs[4]},
                                   c.attributes.float_or("epsilon", 1e-5),
                                   momentum, c.mode, c.batch_norm);
  std::vector<ValueId> out(c.output_count, kNone);
  out[0] = b.transpose(y, inverse(channels_last(rank)));
  return out;
}

}  // namespace
}  // namespace batch_normalization

std::string pending_name(const std::string& statistic) {
  return statistic + ".pending";
}

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
  const ValueId mean = batch_normalization::pending_copy(b.graph(), inputs[3]);
  const ValueId var = batch_normalization::pending_copy(b.graph(), inputs[4]);
  b.add("UpdateStatistics", {mean, var, out[1], out[3]}, {{"momentum", momentum}});
  b.set_phase(ir::Phase::kUpdate);
  b.add("CommitStatistics", {inputs[3], inputs[4], mean, var});
  b.set_phase(ir::Phase::kCompute);
  return y != kNone ? y : out[0];
}

const OpFamily& batch_normalization::family() {
  static const OpFamily family{
      {
          OpDef("BatchNormTrain", infer_train, prepare_train, GradientRule{gradient_train}).with(behind(kTrainResidual)),
          OpDef("BatchNormTrainGrad", infer_grad, prepare_grad<true>,
                NoGradient{"second derivatives are not needed in training"}, Alias::kMayShare),
          OpDef("BatchNormalization", infer_eval, prepare_eval, GradientRule{gradient_eval}).with(behind(kEvalResidual)),
          OpDef("BatchNormFrozenGrad", infer_grad, prepare_grad<false>,
                NoGradient{"second derivatives are not needed in training"}, Alias::kMayShare),
          OpDef("UpdateStatistics", infer_statistics, prepare_update_statistics, NoGradient{"statistics are not trained"})
              .with(Effects{.writes = {0, 1}}),
          OpDef("CommitStatistics", infer_statistics, prepare_commit_statistics, NoGradient{"statistics are not trained"})
              .with(Effects{.writes = {0, 1, 2, 3}, .verdict = Verdict::kHeeds}),
      },
      {{"BatchNormalization", 7, 24, import, nullptr, 0b00110, 5}},
  };
  return family;
}

}  // namespace halftone::ops
