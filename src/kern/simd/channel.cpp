#include "kern/lane/table.h"
#include "kern/simd/columns.h"
#include "kern/simd/loops.h"

namespace halftone::kern::HALFTONE_KERN_NS {
namespace {

// How long a row of joined rows may be: its repeated arrays live on the stack.
inline constexpr int64_t kExpandedElements = 1024;
inline constexpr int64_t kRowsTogether = 4;
// How far ahead of an element to prefetch, in bytes: behind the rows that are worked on together.
template <class T>
HALFTONE_INLINE int64_t bytes_ahead(int64_t cols) {
  return kPrefetchBytes + (cols > 4 * kLanes ? kRowsTogether * cols * static_cast<int64_t>(sizeof(T)) : 0);
}

// body(i, channel, full, count) for the elements i .. i+count-1 of a rows x cols matrix; `channel` is what
// the kArrays per-channel arrays hold for them. Few channels are kept in registers over all rows. Where rows
// don't fill vectors, several of them are joined to a row that does, with the arrays repeated: x[r][c] is
// contiguous.
template <int kArrays, class Body>
HALFTONE_INLINE void for_channels(int64_t rows, int64_t cols, const float* const (&arrays)[kArrays],
                                  Body&& body) {
  struct Channel {
    F32 of[kArrays];
  };
  const auto hoisted = [&](auto vectors) {
    constexpr int kVectors = vectors.value;
    Channel channel[kVectors];
    for (int v = 0; v < kVectors; ++v)
      for (int k = 0; k < kArrays; ++k) channel[v].of[k] = load16(arrays[k] + v * kLanes);
    for (int64_t i = 0; i < rows * kVectors * kLanes; i += kVectors * kLanes)
      for (int v = 0; v < kVectors; ++v) body(i + v * kLanes, channel[v].of, Constant<true>{}, kLanes);
  };
  if (cols == kLanes) return hoisted(Constant<1>{});
  if (cols == 2 * kLanes) return hoisted(Constant<2>{});
  if (HALFTONE_KERN_VECTOR == 512 && cols == 4 * kLanes) return hoisted(Constant<4>{});

  // A few rows at a time share what is loaded for a channel.
  const auto plain = [&](int64_t start, int64_t count_rows, int64_t width, const float* const(&of)[kArrays]) {
    for (int64_t r = 0; r < count_rows; r += kRowsTogether) {
      const int64_t rows_here = count_rows - r < kRowsTogether ? count_rows - r : kRowsTogether;
      for_vectors(width, [&](int64_t c, auto full, int64_t count) {
        Channel channel;
        for (int k = 0; k < kArrays; ++k) channel.of[k] = load_part(of[k] + c, full, count);
        for (int64_t i = 0; i < rows_here; ++i) body(start + (r + i) * width + c, channel.of, full, count);
      });
    }
  };
  int64_t joined = 1;
  while (joined * cols % kLanes != 0) joined *= 2;
  int64_t done = 0;
  if (joined > 1 && joined * cols <= kExpandedElements && rows >= 2 * joined) {
    float expanded[kArrays][kExpandedElements];
    const float* repeated[kArrays];
    for (int k = 0; k < kArrays; ++k) {
      for (int64_t i = 0; i < joined * cols; ++i) expanded[k][i] = arrays[k][i % cols];
      repeated[k] = expanded[k];
    }
    plain(0, rows / joined, joined * cols, repeated);
    done = rows / joined * joined;
  }
  plain(done * cols, rows - done, cols, arrays);
}

}  // namespace

void squared_deviation(const SquaredDeviationArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    const float* mean = static_cast<const float*>(a.mean);
    float* const out[1] = {static_cast<float*>(a.out)};
    column_sums<1>(a.rows, a.cols, out, [&](int64_t r, int64_t c, auto full, int64_t count, auto& sums) {
      const F32 d = load_part(x + r * a.cols + c, full, count) - load_part(mean + c, full, count);
      sums[0] = fma(d, d, sums[0]);
    });
  });
  if (!done) ref_fma::kernels().squared_deviation(a);
}

namespace {

// A mask kept from being null where it isn't used, so that the loops need not ask.
struct MaskArrays {
  explicit MaskArrays(const ChannelMask& m, const void* instead)
      : scale(static_cast<const float*>(m.scale != nullptr ? m.scale : instead)),
        shift(static_cast<const float*>(m.shift != nullptr ? m.shift : instead)) {}
  const float* scale;
  const float* shift;
};

// f(activation, from_y): the mask's two choices as constants.
template <class F>
HALFTONE_INLINE void choose_mask(const ChannelMask& m, F&& f) {
  choose(m.activation, [&](auto activation) {
    if constexpr (activation.value == Activation::kNone)
      f(activation, Constant<false>{});
    else
      choose(m.y != nullptr, [&](auto from_y) { f(activation, from_y); });
  });
}

// dy, x and what the mask is decided from, for the two kernels of the gradient.
template <class T>
struct MaskedGradient {
  const T* dy;
  const T* x;
  const T* y;
  F32 low, high;
  int64_t ahead;  // bytes to prefetch

  template <class Args>
  MaskedGradient(const Args& a, int64_t ahead_)
      : dy(static_cast<const T*>(a.dy)),
        x(static_cast<const T*>(a.x)),
        y(static_cast<const T*>(a.mask.y)),
        low(a.mask.low),
        high(a.mask.high),
        ahead(ahead_) {}

  // x and g = dy as far as the activation lets it through, of the elements from i on. forward(x): what went
  // into the activation, where it is not read off y.
  struct Pair {
    F32 x, g;
  };
  template <Activation activation, bool kFromY, bool kFull, class Forward>
  HALFTONE_INLINE Pair read(int64_t i, Constant<kFull> full, int64_t count, Forward&& forward) const {
    prefetch(dy + i, ahead);
    prefetch(x + i, ahead);
    if constexpr (kFromY) prefetch(y + i, ahead);
    Pair p{load_part(x + i, full, count), load_part(dy + i, full, count)};
    if constexpr (kFromY)
      p.g = passed_back<activation>(load_part(y + i, full, count), p.g, low, high);
    else if constexpr (activation != Activation::kNone)
      p.g = passed_back<activation>(forward(p.x), p.g, low, high);
    return p;
  }
};

}  // namespace

void channel_affine(const ChannelAffineArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(a.x);
    const T* residual = static_cast<const T*>(a.residual);
    T* y = static_cast<T*>(a.y);
    const int64_t ahead = bytes_ahead<T>(a.cols);
    const float* const arrays[2] = {static_cast<const float*>(a.scale), static_cast<const float*>(a.shift)};
    const F32 low(a.low);
    const F32 high(a.high);
    choose(a.activation, [&](auto activation) {
      choose(residual != nullptr, [&](auto has_residual) {
        for_channels(a.rows, a.cols, arrays,
                     [&](int64_t i, const F32(&channel)[2], auto full, int64_t count) {
                       prefetch(x + i, ahead);
                       prefetch(y + i, ahead);
                       if constexpr (has_residual.value) prefetch(residual + i, ahead);
                       F32 z = fma(load_part(x + i, full, count), channel[0], channel[1]);
                       if constexpr (has_residual.value) z = z + load_part(residual + i, full, count);
                       store_part(y + i, activated<activation.value>(z, low, high), full, count);
                     });
      });
    });
  });
  if (!done) ref_fma::kernels().channel_affine(a);
}

void channel_grad_sums(const ChannelGradSumsArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t ahead = kPrefetchBytes + kRowsAtOnce * a.cols * static_cast<int64_t>(sizeof(T));
    const MaskedGradient<T> gradient(a, ahead);
    T* masked = static_cast<T*>(a.masked);
    const float* mean = static_cast<const float*>(a.mean);
    const MaskArrays mask(a.mask, mean);
    float* const out[2] = {static_cast<float*>(a.sum_dy), static_cast<float*>(a.sum_dyx)};
    choose_mask(a.mask, [&](auto activation, auto from_y) {
      choose(masked != nullptr, [&](auto stores) {
        column_sums<2>(a.rows, a.cols, out, [&](int64_t r, int64_t c, auto full, int64_t count, auto& sums) {
          const int64_t i = r * a.cols + c;
          const auto [xi, g] =
              gradient.template read<activation.value, from_y.value>(i, full, count, [&](F32 v) {
                return fma(v, load_part(mask.scale + c, full, count), load_part(mask.shift + c, full, count));
              });
          if constexpr (stores.value) store_part(masked + i, g, full, count);
          sums[0] = sums[0] + g;
          sums[1] = fma(g, xi - load_part(mean + c, full, count), sums[1]);
        });
      });
    });
  });
  if (!done) ref_fma::kernels().channel_grad_sums(a);
}

void channel_affine_pair(const ChannelAffinePairArgs& a) noexcept {
  const bool done = choose_storage(a.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const MaskedGradient<T> gradient(a, bytes_ahead<T>(a.cols));
    T* dx = static_cast<T*>(a.dx);
    const MaskArrays mask(a.mask, a.a);
    const float* const arrays[5] = {static_cast<const float*>(a.a), static_cast<const float*>(a.b),
                                    static_cast<const float*>(a.shift), mask.scale, mask.shift};
    choose_mask(a.mask, [&](auto activation, auto from_y) {
      constexpr bool kRecomputes = activation.value != Activation::kNone && !from_y.value;
      constexpr int kArrays = kRecomputes ? 5 : 3;
      const float* used[kArrays];
      for (int k = 0; k < kArrays; ++k) used[k] = arrays[k];
      for_channels<kArrays>(
          a.rows, a.cols, used, [&](int64_t i, const F32(&channel)[kArrays], auto full, int64_t count) {
            const auto [xi, g] = gradient.template read<activation.value, from_y.value>(
                i, full, count, [&](F32 v) { return fma(v, channel[kArrays - 2], channel[kArrays - 1]); });
            store_part(dx + i, fma(g, channel[0], fma(xi, channel[1], channel[2])), full, count);
          });
    });
  });
  if (!done) ref_fma::kernels().channel_affine_pair(a);
}

}  // namespace halftone::kern::HALFTONE_KERN_NS
