// Functions that must have the same bits on every machine, where the C library's differ in the last one.
#pragma once

#include <cmath>

namespace halftone::data {

// e^x for |x| < 2, to 1e-15: by its series.
inline double exponential_series(double x) {
  double sum = 1;
  for (int i = 24; i >= 1; --i) sum = 1 + x / i * sum;
  return sum;
}

// For |x| <= pi, to 1e-14.
inline double sin_series(double x) {
  double sum = 1;
  for (int i = 34; i >= 2; i -= 2) sum = 1 - x * x / (i * (i + 1.0)) * sum;
  return x * sum;
}
inline double cos_series(double x) {
  double sum = 1;
  for (int i = 34; i >= 2; i -= 2) sum = 1 - x * x / (i * (i - 1.0)) * sum;
  return sum;
}

// e^x for x of any size, to 1e-15 of it.
inline double power_of_e(double x) {
  constexpr double kLn2 = 0.693147180559945309;
  if (x < -700) return 0;
  if (x > 700) return HUGE_VAL;
  const double k = std::nearbyint(x / kLn2);
  return std::ldexp(exponential_series(x - k * kLn2), static_cast<int>(k));
}

// The natural logarithm of x > 0, to 1e-15: of x = m 2^k, m around 1, 2 artanh((m - 1) / (m + 1)) + k ln 2.
inline double log_series(double x) {
  constexpr double kLn2 = 0.693147180559945309;
  int k = 0;
  double m = std::frexp(x, &k);
  if (m < 0.70710678118654752) {
    m *= 2;
    --k;
  }
  const double t = (m - 1) / (m + 1);
  double sum = 0;
  for (int i = 25; i >= 1; i -= 2) sum = 1.0 / i + t * t * sum;
  return 2 * t * sum + k * kLn2;
}

}  // namespace halftone::data
