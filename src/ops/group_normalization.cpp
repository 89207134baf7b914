// Group normalization: each sample's channels, in groups, by their own mean and variance. Channels last.
//
// formula  y = (x - mean) / sqrt(var + epsilon) * scale + bias, computed as fma(x, a, b) with a = scale /
//          sqrt(var + epsilon), b = bias - mean * a; mean and var over a sample's pixels and a group's
//          channels
// gradient GroupNormalizationGrad, with xhat = (x - mean) / sqrt(var + epsilon) and M values a group:
//          dbias = sum dy;  dscale = sum dy * xhat;
//          dx = (scale dy - sum_group(scale dy) / M - xhat sum_group(scale dy xhat) / M) / sqrt(var +
//          epsilon)
// shapes   x[N, ..., C], scale[C], bias[C] (both optional) -> y[N, ..., C], mean[N, G], invstd[N, G]
// dtypes   x y scale bias: fp16 bf16 fp32, fp64 in the oracle; mean and invstd in the register type
// rounds   once, when y (dx, dscale, dbias) is stored. Statistics as a batch norm's: two passes a chunk of
//          16384 elements, a channel's chunks merged in ascending order by Chan's formula, then a group's
//          channels, whose counts are equal. A variance that is not finite gives NaN, not 0
// saves    x, mean and invstd
// scratch  2 values a channel and chunk, 2 (gradient: 3) a channel and sample
// alias    none
// errors   x of rank < 2, without pixels or channels; channels that don't divide into the groups; scale, bias
//          not of shape [C]; stash_type other than float
// source   ONNX GroupNormalization-18 (a scale and bias for each group) and -21 (for each channel),
//          InstanceNormalization-1/6/22 (each channel a group of its own)
// tests    tests/ops/group_normalization_test.cpp
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kern/reduce.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "tensor/permutation.h"

namespace halftone::ops::group_normalization {
namespace {

// x as [samples][pixels][channels]; each sample's pixels are cut into chunks.
struct Planes {
  DType dtype, registers;
  int64_t samples, pixels, channels, groups, width, wide;
  Chunks chunks;  // of one sample
  Planes(const Type& x, const Attributes& a)
      : dtype(x.dtype),
        registers(register_type(x.dtype)),
        samples(x.shape.front()),
        pixels(1),
        channels(x.shape.back()),
        groups(a.int_at("groups")),
        width(size_bytes(dtype)),
        wide(size_bytes(registers)),
        chunks{} {
    for (size_t i = 1; i + 1 < x.shape.size(); ++i) pixels *= x.shape[i];
    chunks = row_chunks(pixels, channels);
  }
  int64_t count() const { return samples * chunks.count(); }
  // Chunk number `chunk` of all samples.
  int64_t sample(int64_t chunk) const { return chunk / chunks.count(); }
  int64_t length(int64_t chunk) const { return chunks.length(chunk % chunks.count()); }
  int64_t offset(int64_t chunk) const {
    return (sample(chunk) * pixels + chunks.begin(chunk % chunks.count())) * channels * width;
  }
};

std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  if (x.shape.size() < 2)
    throw input_error("the input {} needs a dimension of samples and one of channels", to_string(x.shape));
  for (size_t i = 1; i < x.shape.size(); ++i)
    if (x.shape[i] == 0) throw input_error("a normalisation over no elements ({})", to_string(x.shape));
  const int64_t groups = c.attributes().int_at("groups");
  if (groups < 1 || x.shape.back() % groups != 0)
    throw input_error("{} channels do not divide into {} groups", x.shape.back(), groups);
  for (size_t i = 1; i < 3; ++i)
    if (c.has(i) && c.input(i) != Type{x.dtype, {x.shape.back()}})
      throw input_error("the {} has shape {}, expected {} (the channels)", i == 1 ? "scale" : "bias",
                        to_string(c.input(i).shape), x.shape.back());
  const Type statistic{register_type(x.dtype), {x.shape.front(), groups}};
  return {x, statistic, statistic};
}

// Calls f with a float or, in the oracle, a double.
template <class F>
Prepared by_register(DType dtype, F f) {
  return dtype == DType::kF64 ? f(double{}) : f(float{});
}

// `channels` parameters of the storage type as registers; without them all are `otherwise`.
template <class R>
void widened(const kern::Kernels& k, const Planes& p, const void* parameter, R otherwise, R* out) {
  if (parameter != nullptr) {
    k.convert({p.dtype, parameter, p.registers, out, p.channels, 1.0});
  } else {
    k.fill({p.registers, out, p.channels, static_cast<double>(otherwise)});
  }
}

// A sample's mean and sum of squared deviations for each channel: chunk 0 takes in the others.
template <class R>
void merge_chunks(const Planes& p, R* mean, R* deviation) {
  R n = static_cast<R>(p.chunks.length(0));
  for (int64_t chunk = 1; chunk < p.chunks.count(); ++chunk) {
    const R more = static_cast<R>(p.chunks.length(chunk));
    const R all = n + more;
    const R share = more / all;
    const R weight = n * more / all;
    const R* m = mean + chunk * p.channels;
    const R* d = deviation + chunk * p.channels;
    for (int64_t c = 0; c < p.channels; ++c) {
      const R delta = m[c] - mean[c];
      mean[c] = mean[c] + delta * share;
      deviation[c] = deviation[c] + d[c] + delta * delta * weight;
    }
    n = all;
  }
}

Prepared prepare(const PrepareContext& c) {
  return by_register(c.input(0).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Planes p(c.input(0), c.attributes());
    const auto epsilon = static_cast<R>(c.attributes().float_or("epsilon", 1e-5));
    const kern::Kernels& k = c.kernels;
    const bool scaled = c.has(1);
    const bool biased = c.has(2);
    const int64_t partials = p.count() * p.channels;
    const int64_t each = p.samples * p.channels;
    const int64_t scratch = (2 * partials + 2 * each + 2 * p.channels) * p.wide;
    return {scratch, [=, &k](const RunContext& r) {
              R* means = reinterpret_cast<R*>(r.scratch);
              R* deviations = means + partials;
              R* a = deviations + partials;
              R* b = a + each;
              R* scale = b + each;
              R* bias = scale + p.channels;
              widened(k, p, scaled ? r.in[1] : nullptr, R{1}, scale);
              widened(k, p, biased ? r.in[2] : nullptr, R{0}, bias);
              run_chunks(r.pool, p.count(), [&](int64_t chunk, int) {
                const int64_t n = p.length(chunk);
                R* mean = means + chunk * p.channels;
                const void* x = at(r.in[0], p.offset(chunk));
                k.sum_columns({p.dtype, x, n, p.channels, p.channels, mean});
                for (int64_t j = 0; j < p.channels; ++j) mean[j] /= static_cast<R>(n);
                k.squared_deviation({p.dtype, x, mean, n, p.channels, deviations + chunk * p.channels});
              });
              const int64_t members = p.channels / p.groups;
              run_chunks(r.pool, p.samples, [&](int64_t sample, int) {
                R* mean = means + sample * p.chunks.count() * p.channels;
                R* deviation = deviations + sample * p.chunks.count() * p.channels;
                merge_chunks(p, mean, deviation);
                for (int64_t g = 0; g < p.groups; ++g) {
                  const int64_t first = g * members;
                  R m{0};
                  for (int64_t j = first; j < first + members; ++j) m += mean[j];
                  m /= static_cast<R>(members);
                  R sum{0};
                  for (int64_t j = first; j < first + members; ++j) {
                    const R delta = mean[j] - m;
                    sum = sum + deviation[j] + delta * delta * static_cast<R>(p.pixels);
                  }
                  const R variance = sum / static_cast<R>(members * p.pixels);
                  const R invstd = variance < std::numeric_limits<R>::infinity()
                                       ? R{1} / std::sqrt(variance + epsilon)
                                       : std::numeric_limits<R>::quiet_NaN();
                  if (r.out[1] != nullptr) static_cast<R*>(r.out[1])[sample * p.groups + g] = m;
                  if (r.out[2] != nullptr) static_cast<R*>(r.out[2])[sample * p.groups + g] = invstd;
                  for (int64_t j = first; j < first + members; ++j) {
                    const int64_t i = sample * p.channels + j;
                    a[i] = scale[j] * invstd;
                    b[i] = bias[j] - m * a[i];
                  }
                }
              });
              run_chunks(r.pool, p.count(), [&](int64_t chunk, int) {
                const int64_t i = p.sample(chunk) * p.channels;
                k.channel_affine({p.dtype, at(r.in[0], p.offset(chunk)), a + i, b + i,
                                  at(r.out[0], p.offset(chunk)), p.length(chunk), p.channels});
              });
            }};
  });
}

std::vector<ValueId> gradient(GradientContext& c) {
  if (c.dy[0] == kNone) return {};
  std::vector<ValueId> d =
      c.builder.add("GroupNormalizationGrad", {c.dy[0], c.x(0), c.has(1) ? c.x(1) : kNone, c.y(1), c.y(2)},
                    {{"groups", c.node.attributes.int_at("groups")}});
  d.resize(std::min(d.size(), c.node.inputs.size()));
  return d;
}

// GroupNormalizationGrad(dy, x, scale, mean, invstd) -> dx, dscale, dbias
std::vector<Type> infer_grad(const InferContext& c) {
  const Type& x = c.input(1);
  const Type channel{x.dtype, {x.shape.back()}};
  return {x, channel, channel};
}

Prepared prepare_grad(const PrepareContext& c) {
  return by_register(c.input(1).dtype, [&](auto zero) -> Prepared {
    using R = decltype(zero);
    const Planes p(c.input(1), c.attributes());
    const kern::Kernels& k = c.kernels;
    const bool scaled = c.has(2);
    const int64_t partials = p.count() * p.channels;
    const int64_t each = p.samples * p.channels;
    const int64_t scratch = (2 * partials + 4 * each + 3 * p.channels) * p.wide;
    return {scratch, [=, &k](const RunContext& r) {
              R* sum_dy = reinterpret_cast<R*>(r.scratch);
              R* sum_dyx = sum_dy + partials;
              R* a = sum_dyx + partials;
              R* b = a + each;
              R* shift = b + each;
              R* means = shift + each;  // of each channel's group
              R* scale = means + each;
              R* dscale = scale + p.channels;
              R* dbias = dscale + p.channels;
              const R* mean = static_cast<const R*>(r.in[3]);
              const R* invstd = static_cast<const R*>(r.in[4]);
              const int64_t members = p.channels / p.groups;
              widened(k, p, scaled ? r.in[2] : nullptr, R{1}, scale);
              run_chunks(r.pool, p.samples, [&](int64_t sample, int) {
                for (int64_t j = 0; j < p.channels; ++j)
                  means[sample * p.channels + j] = mean[sample * p.groups + j / members];
              });
              run_chunks(r.pool, p.count(), [&](int64_t chunk, int) {
                k.channel_grad_sums({p.dtype, at(r.in[0], p.offset(chunk)), at(r.in[1], p.offset(chunk)),
                                     means + p.sample(chunk) * p.channels, p.length(chunk), p.channels,
                                     sum_dy + chunk * p.channels, sum_dyx + chunk * p.channels});
              });
              run_chunks(r.pool, p.samples, [&](int64_t sample, int) {
                // The first chunk's place collects.
                R* sy = sum_dy + sample * p.chunks.count() * p.channels;
                R* sx = sum_dyx + sample * p.chunks.count() * p.channels;
                for (int64_t chunk = 1; chunk < p.chunks.count(); ++chunk)
                  for (int64_t j = 0; j < p.channels; ++j) {
                    sy[j] += sy[chunk * p.channels + j];
                    sx[j] += sx[chunk * p.channels + j];
                  }
                const R count = static_cast<R>(members * p.pixels);
                for (int64_t g = 0; g < p.groups; ++g) {
                  const R inverse = invstd[sample * p.groups + g];
                  R group_dy{0};
                  R group_dyx{0};
                  for (int64_t j = g * members; j < (g + 1) * members; ++j) {
                    sx[j] *= inverse;
                    group_dy += scale[j] * sy[j];
                    group_dyx += scale[j] * sx[j];
                  }
                  for (int64_t j = g * members; j < (g + 1) * members; ++j) {
                    const int64_t i = sample * p.channels + j;
                    a[i] = scale[j] * inverse;
                    b[i] = -(inverse * (inverse * (group_dyx / count)));
                    shift[i] = -(inverse * (group_dy / count)) - b[i] * means[i];
                  }
                }
              });
              if (r.out[1] != nullptr || r.out[2] != nullptr) {
                for (int64_t j = 0; j < p.channels; ++j) dscale[j] = dbias[j] = R{0};
                for (int64_t sample = 0; sample < p.samples; ++sample) {
                  const int64_t first = sample * p.chunks.count() * p.channels;
                  for (int64_t j = 0; j < p.channels; ++j) {
                    dscale[j] += sum_dyx[first + j];
                    dbias[j] += sum_dy[first + j];
                  }
                }
              }
              if (r.out[1] != nullptr) k.convert({p.registers, dscale, p.dtype, r.out[1], p.channels, 1.0});
              if (r.out[2] != nullptr) k.convert({p.registers, dbias, p.dtype, r.out[2], p.channels, 1.0});
              if (r.out[0] == nullptr) return;
              run_chunks(r.pool, p.count(), [&](int64_t chunk, int) {
                const int64_t i = p.sample(chunk) * p.channels;
                k.channel_affine_pair({p.dtype, at(r.in[0], p.offset(chunk)), at(r.in[1], p.offset(chunk)),
                                       a + i, b + i, shift + i, at(r.out[0], p.offset(chunk)),
                                       p.length(chunk), p.channels});
              });
            }};
  });
}

// ---------------------------------------------------------------- from ONNX
ValueId normalized(ImportContext& c, ValueId scale, ValueId bias, int64_t groups) {
  Builder& b = c.builder;
  const std::vector<int64_t> perm = channels_last(c.shape(0).size());
  const ValueId y = b.add1("GroupNormalization", {b.transpose(c.inputs[0], perm), scale, bias},
                           {{"groups", groups}, {"epsilon", c.attributes.float_or("epsilon", 1e-5)}});
  return b.transpose(y, inverse(perm));
}

void check_rank(const ImportContext& c) {
  if (c.shape(0).size() < 3)
    throw input_error("an input [N, C, ...] was expected, got {}", to_string(c.shape(0)));
}

std::vector<ValueId> import_instance(ImportContext& c) {
  check_attributes(c.attributes, {"epsilon"});
  check_rank(c);
  return {normalized(c, c.inputs[1], c.inputs[2], c.shape(0)[1])};
}

std::vector<ValueId> import_group(ImportContext& c) {
  if (c.opset < 21) {
    check_attributes(c.attributes, {"epsilon", "num_groups"});
  } else {
    check_attributes(c.attributes, {"epsilon", "num_groups", "stash_type"});
    if (const int64_t type = c.attributes.int_or("stash_type", 1); type != 1)
      throw input_error("stash_type is {}, and Halftone computes statistics in float (1) only", type);
  }
  check_rank(c);
  Builder& b = c.builder;
  const int64_t channels = c.shape(0)[1];
  const int64_t groups = c.attributes.int_at("num_groups");
  if (groups < 1 || channels % groups != 0)
    throw input_error("{} channels do not divide into {} groups", channels, groups);
  const auto parameter = [&](size_t i) {
    const char* what = i == 1 ? "scale" : "bias";
    const Shape expected{c.opset < 21 ? groups : channels};
    if (c.shape(i) != expected)
      throw input_error("the {} has shape {}, expected {} (the {} of opset {})", what, to_string(c.shape(i)),
                        to_string(expected), c.opset < 21 ? "groups" : "channels", c.opset);
    if (expected[0] == channels) return c.inputs[i];
    const ValueId column = b.reshape(c.inputs[i], {groups, 1});
    return b.reshape(b.add1("Expand", {column}, {{"shape", Shape{groups, channels / groups}}}), {channels});
  };
  const ValueId scale = parameter(1);
  return {normalized(c, scale, parameter(2), groups)};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("GroupNormalization", infer, prepare, GradientRule{gradient}),
       OpDef("GroupNormalizationGrad", infer_grad, prepare_grad,
             NoGradient{"second derivatives are not computed"})},
      {{.op_type = "InstanceNormalization",
        .since = 1,
        .until = 24,
        .import = import_instance,
        .required_inputs = 3},
       {.op_type = "GroupNormalization",
        .since = 18,
        .until = 24,
        .import = import_group,
        .required_inputs = 3}},
  };
  return family;
}

}  // namespace halftone::ops::group_normalization
