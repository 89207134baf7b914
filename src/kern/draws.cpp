#include "kern/draws.h"

#include <cmath>

#include "num/half.h"

namespace halftone::kern {
namespace {

constexpr double kWords = 4294967296.0;  // 2^32

// ln x for a positive, finite x. The standard library's functions may differ between CPUs.
double logarithm(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);  // [0.5, 1)
  if (m < 0.70710678118654752) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1);  // |s| < 0.172; ln m = 2 atanh s
  const double s2 = s * s;
  double sum = 0;
  for (int k = 25; k >= 1; k -= 2) sum = sum * s2 + 1.0 / k;
  return 2 * s * sum + exponent * 0.69314718055994531;
}

// e^x for x <= 0.
double exponential(double x) {
  if (!(x > -700)) return std::isnan(x) ? x : 0;
  const double k = std::floor(x * 1.4426950408889634 + 0.5);
  const double r = x - k * 0.69314718055994531;
  double sum = 1;
  for (int i = 18; i >= 1; --i) sum = 1 + sum * r / i;
  return std::ldexp(sum, static_cast<int>(k));
}

// cos(2 pi u) for 0 <= u < 1.
double cosine_of_turn(double u) {
  const double folded = u < 0.5 ? u : 1 - u;                   // cos is even: [0, 0.5]
  const double near = folded <= 0.25 ? folded : 0.5 - folded;  // [0, 0.25]
  const double angle = near * 6.283185307179586;
  const double x2 = angle * angle;
  double sum = 1;
  for (int i = 24; i >= 2; i -= 2) sum = 1 - sum * x2 / (i * (i - 1));
  return folded <= 0.25 ? sum : -sum;
}

double normal(num::RandomKey key, uint64_t element, uint64_t step) {
  const auto words = num::philox(key, element / 2, step);
  const size_t at = (element % 2) * 2;
  const double u = (words[at] + 0.5) / kWords;  // (0, 1)
  return std::sqrt(-2 * logarithm(u)) * cosine_of_turn(words[at + 1] / kWords);
}

template <class T>
void draw_as(const DrawArgs& a) {
  T* y = static_cast<T*>(a.y);
  const T* p = static_cast<const T*>(a.probability);
  for (int64_t i = 0; i < a.n; ++i) {
    const auto element = static_cast<uint64_t>(a.first + i);
    double v = 0;
    if (a.kind == Draw::kNormal) {
      v = a.a + a.b * normal(a.key, element, a.step);
    } else {
      const uint32_t bits = num::random32(a.key, element, a.step);
      if (a.kind == Draw::kUniform) {
        v = a.a + (a.b - a.a) * ((bits >> 8) / 16777216.0);
      } else {
        const double probability = num::widen(p[i]);
        v = std::isnan(probability) ? probability : bits / kWords < probability ? 1 : 0;
      }
    }
    y[i] = num::narrow<T>(v);
  }
}

template <class T>
void choose_as(const ChooseArgs& a) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const T* row = static_cast<const T*>(a.logarithms) + r * a.classes;
    double most = -HUGE_VAL;
    for (int64_t c = 0; c < a.classes; ++c) {
      const double x = num::widen(row[c]);
      if (x > most || std::isnan(x)) most = x;
    }
    double total = 0;
    if (std::isfinite(most))
      for (int64_t c = 0; c < a.classes; ++c) total += exponential(num::widen(row[c]) - most);
    for (int64_t s = 0; s < a.samples; ++s) {
      int64_t& y = a.y[r * a.samples + s];
      y = 0;
      if (!(total > 0)) continue;
      const auto element = static_cast<uint64_t>((a.first_row + r) * a.samples + s);
      const double wanted = total * (num::random32(a.key, element, a.step) / kWords);
      double sum = 0;
      for (int64_t c = 0; c < a.classes; ++c) {
        const double share = exponential(num::widen(row[c]) - most);
        sum += share;
        if (share > 0) y = c;
        if (wanted < sum) break;
      }
    }
  }
}

}  // namespace

void draw(const DrawArgs& a) {
  switch (a.dtype) {
    case DType::kF64:
      return draw_as<double>(a);
    case DType::kF32:
      return draw_as<float>(a);
    case DType::kF16:
      return draw_as<num::Fp16>(a);
    default:
      return draw_as<num::Bf16>(a);
  }
}

void choose_classes(const ChooseArgs& a) {
  switch (a.dtype) {
    case DType::kF64:
      return choose_as<double>(a);
    case DType::kF32:
      return choose_as<float>(a);
    case DType::kF16:
      return choose_as<num::Fp16>(a);
    default:
      return choose_as<num::Bf16>(a);
  }
}

}  // namespace halftone::kern
