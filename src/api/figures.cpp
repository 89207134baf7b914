#include "api/figures.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "data/spec.h"

namespace halftone::api {
namespace {

// Against what rounding explains of a mean, for the few samples that differ most.
constexpr double kWorst = 4;
constexpr double kShare = 0.1;  // of the mean loss

std::vector<float> losses_of(const std::vector<train::Score>& scores) {
  std::vector<float> losses;
  for (const train::Score& s : scores) losses.insert(losses.end(), s.losses.begin(), s.losses.end());
  return losses;
}

// In fp32, of the first samples, in batches that are small against the run's memory.
std::vector<float> wide_losses(const PrecisionSubject& s, int64_t most, int64_t batch, const NetworkOptions& options,
                               const DataOptions& data_options, double seconds, int64_t& planned_bytes) {
  train::CompileOptions n;
  n.training.storage = DType::kF32;
  n.training.loss = s.loss;
  n.multiply = kern::Multiply::kWide;
  n.batch = batch;
  n.fixed_batch = s.fixed_batch;
  n.threads = threads_of(options.threads);
  train::Network network(make_importer(s.model, DType::kF32, s.batch_norm, nullptr), n);
  network.prepare_evaluation();
  const auto loader = make_loader(s.data, data_options, batch, false, options.seed);
  const auto start = std::chrono::steady_clock::now();
  network.evaluate(*loader, {}, [&](int64_t batches) {
    return batches * batch < most &&
           std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds;
  });
  planned_bytes = network.planned_bytes();
  return losses_of(network.evaluated());
}

}  // namespace

FiguresCheck check_figures(const PrecisionSubject& subject, const std::vector<train::Score>& scores,
                           const NetworkOptions& options, const DataOptions& data_options, double explained,
                           double seconds) {
  FiguresCheck check;
  if (parse_precision(options.precision) != DType::kF16) return check;
  const std::vector<float> narrow = losses_of(scores);
  const auto measured = static_cast<int64_t>(narrow.size());
  const int64_t batch =
      subject.fixed_batch ? options.batch : std::min({options.batch, train::kPrecisionCheckBatch, measured});
  const std::vector<float> wide =
      wide_losses(subject, measured, batch, options, data_options, seconds, check.planned_bytes);
  check.samples = std::min(measured, static_cast<int64_t>(wide.size()));
  const auto samples = static_cast<size_t>(check.samples);

  std::vector<int64_t> order(samples);
  std::iota(order.begin(), order.end(), 0);
  const auto gap = [&](int64_t i) { return std::abs(narrow[static_cast<size_t>(i)] - wide[static_cast<size_t>(i)]); };
  const size_t few = std::min(samples, static_cast<size_t>(batch));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(few), order.end(),
                    [&](int64_t a, int64_t b) { return gap(a) != gap(b) ? gap(a) > gap(b) : a < b; });
  order.resize(few);
  double mean_gap = 0;
  for (const int64_t i : order) mean_gap += gap(i) / static_cast<double>(few);
  const double mean_loss = std::accumulate(wide.begin(), wide.begin() + check.samples, 0.0) / static_cast<double>(samples);
  if (few == 0 || mean_gap <= kWorst * explained + kShare * std::abs(mean_loss)) return check;

  const std::string first = subject.data.set->name(order.front());
  Data worst = subject.data;
  worst.set = data::subset(subject.data.set, order);
  PrecisionSubject of_worst{subject.model, worst, subject.loss, subject.multiply, subject.mode, subject.batch_norm,
                            subject.fixed_batch};
  const auto found = check_precision(of_worst, options, data_options);
  if (!found) return check;
  check.planned_bytes = std::max(check.planned_bytes, found->planned_bytes);
  if (found->overflows)
    check.finding = fmt::format("of {} samples, the {} whose loss differs most from fp32's (first {}): {}", samples, few,
                                first, found->finding);
  return check;
}

}  // namespace halftone::api
