// The gradient of a batch norm (batch_normalization.cpp).
//
// BatchNormTrainGrad(x, scale, mean, invstd, dy, bias, y) -> dx, dscale, dbias, dresidual; with batch
// statistics, g = dy as far as the activation lets it through, xhat = (x - mean) * invstd, R values a
// channel:
//   dbias = sum g; dscale = sum g * xhat; dx = scale * invstd * (g - dbias / R - xhat * dscale / R);
//   dresidual = g
// BatchNormFrozenGrad(x, scale, mean, var, dy, bias, y): constant statistics: dx = scale * invstd * g.
// y, and with it dresidual, is absent unless a residual and an activation are fused; then what the activation
// lets through is read off y.
#include <algorithm>
#include <cmath>

#include "ops/batch_norm.h"
#include "ops/op.h"

namespace halftone::ops::batch_normalization_grad {
namespace {

using namespace batch_norm;

template <class R>
void add_to(const R* __restrict x, int64_t cols, R* __restrict sum) {
  for (int64_t j = 0; j < cols; ++j) sum[j] += x[j];
}

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
    prepared.reports_rows = true;
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
    EarlyStage first = p.early_stage(4);
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
                           s.sum_dyx + chunk * p.cols, mask(r, chunk),
                           masked != nullptr ? p.at(masked, chunk) : nullptr});
    };
    prepared.run = [=, &k](const RunContext& r) {
      const GradScratch<R> s = places(r);
      const R* mean = static_cast<const R*>(r.in[2]);
      const R* spread = static_cast<const R*>(r.in[3]);
      void* const masked = has_y ? r.out[3] : nullptr;
      if (!r.early_stage_done) {
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
        p.report_chunk(r, chunk, worker);
      });
    };
    // With a residual it writes an output, not only scratch.
    if (!has_y) prepared.early_stage = first;
    return prepared;
  });
}

constexpr NoGradient kNoSecond{"second derivatives are not needed in training"};

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {
          OpDef("BatchNormTrainGrad", infer_grad, prepare_grad<true>, kNoSecond, Alias::kMayShare),
          OpDef("BatchNormFrozenGrad", infer_grad, prepare_grad<false>, kNoSecond, Alias::kMayShare),
      },
      {},
  };
  return family;
}

}  // namespace halftone::ops::batch_normalization_grad
