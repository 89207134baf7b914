// Conv and its input gradient. Both are: for each image and group, a row of `out` lanes for each target pixel
// from `in` channels of source pixels.
//
// Stages: arrange the weights of each output lane; images.
#pragma once

#include "kern/ref/matrix_sums.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

struct Sides {
  int64_t in, out;                // channels of a group
  int64_t in_padded, out_padded;  // even for block and half; a multiple of kLanes
  int64_t source_h, source_w, target_h, target_w;
};
Sides sides_of(const Product& p) {
  const ConvGeometry& g = p.conv;
  Sides s{};
  if (p.kind == ProductKind::kConv)
    s = {g.c / g.group, g.o / g.group, 0, 0, g.h, g.w, g.oh, g.ow};
  else
    s = {g.o / g.group, g.c / g.group, 0, 0, g.oh, g.ow, g.h, g.w};
  s.in_padded = p.multiply == Multiply::kWide ? s.in : round_up(s.in, 2);
  s.out_padded = round_up(s.out, kLanes);
  return s;
}

template <class V, class R>
struct ConvScratch {
  using Sum = typename Chunk<V, R>::Sum;
  V* weights;     // [group][tap][in_padded][out_padded]
  float* scales;  // [group][out_padded]
  V* pixels;      // this worker's: [source pixel][in_padded] of one group, and one pixel of zeros
  R* acc;         // [out_padded]
  Sum* sums;      // [kSums][out_padded]
  int64_t bytes;

  ConvScratch(const Product& p, const Sides& s, std::byte* base, int worker, int threads) {
    const ConvGeometry& g = p.conv;
    Carver c{base};
    weights = c.take<V>(g.group * g.kh * g.kw * s.in_padded * s.out_padded);
    scales = c.take<float>(g.group * s.out_padded);
    for (int w = 0; w < threads; ++w) {
      V* const pixels_here = c.take<V>((s.source_h * s.source_w + 1) * s.in_padded);
      R* const acc_here = c.take<R>(s.out_padded);
      Sum* const sums_here = c.take<Sum>(Chunk<V, R>::kSums * s.out_padded);
      if (w != worker) continue;
      pixels = pixels_here;
      acc = acc_here;
      sums = sums_here;
    }
    bytes = c.used;
  }
};

// One output channel's (kConv) or input channel's (kConvGradInput) weights into its lane.
template <class T, class V, class R>
void arrange_weights(const Product& p, const ProductOperands& x, const Sides& s,
                     const ConvScratch<V, R>& scratch, int64_t channel) {
  const ConvGeometry& g = p.conv;
  const int64_t taps = g.kh * g.kw;
  const int64_t group = channel / s.out;
  const int64_t lane = channel % s.out;
  const T* const w = static_cast<const T*>(x.b);
  const auto weight = [&](int64_t tap, int64_t i) {
    return p.kind == ProductKind::kConv ? w[(channel * taps + tap) * s.in + i]
                                        : w[((group * s.in + i) * taps + tap) * s.out + lane];
  };
  typename ScaleOf<V>::type scale;
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t i = 0; i < s.in; ++i) scale.see(weight(tap, i));
  scale.settle();
  // The last channel of a group fills the unused lanes with zeros too.
  const int64_t last = lane == s.out - 1 ? s.out_padded : lane + 1;
  for (int64_t l = lane; l < last; ++l) {
    scratch.scales[group * s.out_padded + l] = scale.scale;
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t i = 0; i < s.in_padded; ++i)
        scratch.weights[((group * taps + tap) * s.in_padded + i) * s.out_padded + l] =
            l == lane && i < s.in ? scale.quantised(weight(tap, i)) : V{0};
  }
}

template <class T, class V, class R>
void conv_image(const Product& p, const ProductOperands& x, const Sides& s, const ConvScratch<V, R>& scratch,
                int64_t n) {
  const ConvGeometry& g = p.conv;
  const int64_t source_pixels = s.source_h * s.source_w;
  const int64_t taps = g.kh * g.kw;
  V* const zeros = scratch.pixels + source_pixels * s.in_padded;
  for (int64_t i = 0; i < s.in_padded; ++i) zeros[i] = 0;
  for (int64_t group = 0; group < g.group; ++group) {
    const T* const source = static_cast<const T*>(x.a) + n * source_pixels * s.in * g.group + group * s.in;
    typename ScaleOf<V>::type scale;
    for (int64_t q = 0; q < source_pixels; ++q)
      for (int64_t i = 0; i < s.in; ++i) scale.see(source[q * s.in * g.group + i]);
    scale.settle();
    for (int64_t q = 0; q < source_pixels; ++q)
      for (int64_t i = 0; i < s.in_padded; ++i)
        scratch.pixels[q * s.in_padded + i] =
            i < s.in ? scale.quantised(source[q * s.in * g.group + i]) : V{0};

    Row<V, R> row{scratch.acc, scratch.sums, scratch.scales + group * s.out_padded,
                  scale.scale, s.out_padded, 0};
    const V* const weights = scratch.weights + group * taps * s.in_padded * s.out_padded;
    const auto tap_of = [&](int64_t sh, int64_t sw, int64_t tap) {
      const bool inside = sh >= 0 && sh < s.source_h && sw >= 0 && sw < s.source_w;
      row.add(inside ? scratch.pixels + (sh * s.source_w + sw) * s.in_padded : zeros, s.in_padded,
              weights + tap * s.in_padded * s.out_padded);
    };
    for (int64_t th = 0; th < s.target_h; ++th)
      for (int64_t tw = 0; tw < s.target_w; ++tw) {
        row.begin();
        if (p.kind == ProductKind::kConv) {
          for (int64_t tap = 0; tap < taps; ++tap)
            tap_of(th * g.sh + tap / g.kw * g.dh - g.top, tw * g.sw + tap % g.kw * g.dw - g.left, tap);
        } else {
          for (int64_t tap = taps - 1; tap >= 0; --tap) {
            const int64_t up = th + g.top - tap / g.kw * g.dh;  // = oh * sh
            const int64_t across = tw + g.left - tap % g.kw * g.dw;
            // Truncation takes -1 / 2 to 0, but then the remainder isn't 0.
            if (up % g.sh == 0 && across % g.sw == 0) tap_of(up / g.sh, across / g.sw, tap);
          }
        }
        row.flush();
        T* const y = static_cast<T*>(x.y) + ((n * s.target_h + th) * s.target_w + tw) * s.out * g.group +
                     group * s.out;
        for (int64_t l = 0; l < s.out; ++l)
          y[l] = finished<T>(row.acc[l], R{1}, p.has_bias, x.bias, group * s.out + l);
      }
  }
}

}  // namespace
}  // namespace halftone::kern::HALFTONE_KERN_NS
