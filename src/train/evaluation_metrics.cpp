#include "train/evaluation_metrics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace halftone::train {
namespace {

constexpr int64_t kMostWithAuroc = 1000;  // classes

double share(int64_t part, int64_t all) {
  return all > 0 ? static_cast<double>(part) / static_cast<double>(all) : 0;
}

void average(MetricResults& r) {
  double occurring = 0;
  double support = 0;
  double with_area = 0;
  double area_support = 0;
  double area_macro = 0;
  double area_weighted = 0;
  for (const ClassMetrics& c : r.classes) {
    if (!c.occurs() && r.kind == MetricResults::Kind::kClasses) continue;
    const auto weight = static_cast<double>(c.support);
    occurring += 1;
    support += weight;
    const auto add = [&](double value, double Averages::*member) {
      r.macro.*member += value;
      r.weighted.*member += weight * value;
    };
    add(c.precision(), &Averages::precision);
    add(c.recall(), &Averages::recall);
    add(c.f1(), &Averages::f1);
    if (!c.auroc) continue;
    with_area += 1;
    area_support += weight;
    area_macro += *c.auroc;
    area_weighted += weight * *c.auroc;
  }
  for (double Averages::*member : {&Averages::precision, &Averages::recall, &Averages::f1}) {
    if (occurring > 0) r.macro.*member /= occurring;
    if (support > 0) r.weighted.*member /= support;
  }
  if (with_area > 0) r.auroc_macro = area_macro / with_area;
  if (area_support > 0) r.auroc_weighted = area_weighted / area_support;
}

template <class Value>
std::optional<double> mean_of_targets(const MetricResults& r, const Value& value) {
  double sum = 0;
  for (const TargetMetrics& t : r.numbers) {
    const std::optional<double> one = value(t);
    if (!one) return std::nullopt;
    sum += *one;
  }
  return r.numbers.empty() ? std::nullopt : std::optional(sum / static_cast<double>(r.numbers.size()));
}

bool has_averages(const MetricResults& r) {
  return r.kind == MetricResults::Kind::kClasses || r.kind == MetricResults::Kind::kLabels;
}

bool of_texts(const MetricResults& r) {
  return r.kind == MetricResults::Kind::kTexts;
}

constexpr NamedMetric kMetrics[] = {
    {"macro-f1", true,
     [](const MetricResults& r) { return has_averages(r) ? std::optional(r.macro.f1) : std::nullopt; }},
    {"weighted-f1", true,
     [](const MetricResults& r) { return has_averages(r) ? std::optional(r.weighted.f1) : std::nullopt; }},
    {"auroc", true, [](const MetricResults& r) { return r.auroc_macro; }},
    {"top5", true, [](const MetricResults& r) { return r.top5; }},
    {"mean-iou", true, [](const MetricResults& r) { return r.mean_iou; }},
    {"mae", false,
     [](const MetricResults& r) {
       return mean_of_targets(r, [](const TargetMetrics& t) { return std::optional(t.mae); });
     }},
    {"rmse", false,
     [](const MetricResults& r) {
       return mean_of_targets(r, [](const TargetMetrics& t) { return std::optional(t.rmse); });
     }},
    {"r2", true,
     [](const MetricResults& r) { return mean_of_targets(r, [](const TargetMetrics& t) { return t.r2; }); }},
    {"pearson", true,
     [](const MetricResults& r) {
       return of_texts(r) ? r.texts.pearson
                          : mean_of_targets(r, [](const TargetMetrics& t) { return t.pearson; });
     }},
    {"spearman", true,
     [](const MetricResults& r) {
       return of_texts(r) ? r.texts.spearman
                          : mean_of_targets(r, [](const TargetMetrics& t) { return t.spearman; });
     }},
    {"recall-at-1", true, [](const MetricResults& r) { return r.texts.recall_at_1; }},
    {"mrr", true, [](const MetricResults& r) { return r.texts.mrr; }},
    {"triplet-accuracy", true, [](const MetricResults& r) { return r.texts.triplet_accuracy; }},
};

}  // namespace

const NamedMetric* find_metric(const std::string& name) {
  const auto* found = std::find_if(std::begin(kMetrics), std::end(kMetrics),
                                   [&](const NamedMetric& m) { return name == m.name; });
  return found == std::end(kMetrics) ? nullptr : found;
}

std::vector<Figure> figures_of(const MetricResults& r) {
  std::vector<const char*> names;
  if (has_averages(r)) names = {"macro-f1"};
  if (r.kind == MetricResults::Kind::kNumbers) names = {"r2", "spearman"};
  if (of_texts(r)) names = {"recall-at-1", "mrr", "triplet-accuracy", "spearman", "pearson"};
  std::vector<Figure> figures;
  for (const char* name : names)
    if (const auto value = find_metric(name)->value(r); value && std::isfinite(*value))
      figures.push_back({name, *value});
  return figures;
}

std::string text_of(const std::vector<Figure>& figures) {
  std::string text;
  for (const Figure& f : figures) text += fmt::format(", {} {:.4f}", f.name, f.value);
  return text;
}

double ClassMetrics::precision() const {
  return share(right, predicted);
}
double ClassMetrics::recall() const {
  return share(right, support);
}
double ClassMetrics::f1() const {
  return share(2 * right, support + predicted);
}
std::optional<double> ClassMetrics::iou() const {
  if (!occurs()) return std::nullopt;
  return share(right, support + predicted - right);
}

void EvaluationMetrics::add_classes(std::span<const float> scores, std::span<const float> probabilities,
                                    std::span<const int32_t> labels, std::span<const float> weights,
                                    int64_t classes, bool of_two, bool positions) {
  const size_t width = of_two ? 1 : static_cast<size_t>(classes);
  HT_ASSERT(scores.size() == labels.size() * width && probabilities.size() == scores.size());
  if (kind_ == Kind::kNone) {
    kind_ = Kind::kClasses;
    positions_ = positions;
    classes_.resize(static_cast<size_t>(classes));
    bins_.resize(MetricResults::kCalibrationBins);
    if (classes <= MetricResults::kMostConfused) confusion_.assign(static_cast<size_t>(classes * classes), 0);
    // Of two classes the second one's area is also the first one's. Of pixels there are too many.
    if (classes <= kMostWithAuroc && !positions) auroc_.emplace(classes == 2 ? 1 : classes);
  }
  HT_ASSERT(kind_ == Kind::kClasses && classes_.size() == static_cast<size_t>(classes));
  std::vector<uint8_t> positive(classes_.size());
  for (size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] < 0 || (!weights.empty() && weights[row] == 0)) {
      ++ignored_;
      continue;
    }
    const auto label = static_cast<size_t>(labels[row]);
    const std::span<const float> s = scores.subspan(row * width, width);
    const std::span<const float> p = probabilities.subspan(row * width, width);
    size_t best = 0;
    double confidence = 0;
    size_t ahead = 0;  // of the label's class
    if (of_two) {
      best = p[0] > 0.5F ? 1 : 0;
      confidence = best == 1 ? static_cast<double>(p[0]) : 1 - static_cast<double>(p[0]);
      ahead = best == label ? 0 : 1;
    } else {
      for (size_t c = 0; c < width; ++c) {
        if (s[c] > s[best]) best = c;
        if (s[c] > s[label] || (s[c] == s[label] && c < label)) ++ahead;
      }
      confidence = static_cast<double>(p[best]);
    }
    ++count_;
    ++classes_[label].support;
    ++classes_[best].predicted;
    if (best == label) {
      ++classes_[label].right;
      ++right_;
    }
    if (ahead < 5) ++top5_;
    if (!confusion_.empty()) ++confusion_[label * classes_.size() + best];
    const auto bins = static_cast<double>(bins_.size());
    // (0, 1/15], (1/15, 2/15], ...
    const double at = std::clamp(std::ceil(confidence * bins) - 1, 0.0, bins - 1);
    Bin& bin = bins_[static_cast<size_t>(at)];
    ++bin.count;
    bin.right += best == label ? 1 : 0;
    bin.confidence += confidence;
    if (!auroc_) continue;
    if (classes_.size() == 2) {
      positive[0] = label == 1 ? 1 : 0;
      auroc_->add(p.last(1), std::span(positive).first(1));
    } else {
      positive[label] = 1;
      auroc_->add(p, positive);
      positive[label] = 0;
    }
  }
}

void EvaluationMetrics::add_labels(std::span<const float> probabilities, std::span<const float> targets,
                                   int64_t labels) {
  const auto width = static_cast<size_t>(labels);
  HT_ASSERT(probabilities.size() == targets.size() && targets.size() % width == 0);
  if (kind_ == Kind::kNone) {
    kind_ = Kind::kLabels;
    classes_.resize(width);
    if (labels <= kMostWithAuroc) auroc_.emplace(labels);
  }
  HT_ASSERT(kind_ == Kind::kLabels);
  spoiled_ = spoiled_ || classes_.size() != width;  // samples of several sizes: the labels are none by number
  std::vector<uint8_t> positive(width);
  for (size_t row = 0; row < targets.size() / width && !spoiled_; ++row) {
    for (size_t c = 0; c < width; ++c) {
      const float target = targets[row * width + c];
      spoiled_ = spoiled_ || (target != 0 && target != 1);
      positive[c] = target == 1 ? 1 : 0;
      const bool holds = probabilities[row * width + c] > 0.5F;
      classes_[c].support += positive[c];
      classes_[c].predicted += holds ? 1 : 0;
      classes_[c].right += holds && positive[c] != 0 ? 1 : 0;
    }
    ++count_;
    if (auroc_) auroc_->add(probabilities.subspan(row * width, width), positive);
  }
}

void EvaluationMetrics::add_numbers(std::span<const float> outputs, std::span<const float> targets,
                                    int64_t numbers) {
  HT_ASSERT(outputs.size() == targets.size() && targets.size() % static_cast<size_t>(numbers) == 0);
  if (kind_ == Kind::kNone) {
    kind_ = Kind::kNumbers;
    width_ = numbers;
    numbers_.resize(numbers > MetricResults::kMostTargets ? 1 : static_cast<size_t>(numbers));
  }
  // Samples of several sizes: all targets are one from now on.
  if (numbers != width_ && numbers_.size() > 1) {
    for (size_t i = 1; i < numbers_.size(); ++i) numbers_[0].add(numbers_[i]);
    numbers_.resize(1);
  }
  correlates_ = correlates_ && numbers == width_ && numbers <= MetricResults::kMostTargets &&
                static_cast<int64_t>(targets_.size() + targets.size()) <= MetricResults::kMostCorrelated;
  if (correlates_) {
    outputs_.insert(outputs_.end(), outputs.begin(), outputs.end());
    targets_.insert(targets_.end(), targets.begin(), targets.end());
  }
  count_ += static_cast<int64_t>(targets.size()) / numbers;
  for (size_t i = 0; i < targets.size(); ++i) {
    Moments& m = numbers_[i % static_cast<size_t>(numbers) % numbers_.size()];
    const auto target = static_cast<double>(targets[i]);
    const double error = static_cast<double>(outputs[i]) - target;
    m.count += 1;
    const double before = target - m.mean;
    m.mean += before / m.count;
    m.squares += before * (target - m.mean);
    m.error += std::fabs(error);
    m.error_squares += error * error;
  }
}

void EvaluationMetrics::add_texts(std::span<const float> embeddings, int64_t texts, int64_t width,
                                  std::span<const float> scores, bool by_distance) {
  HT_ASSERT(kind_ == Kind::kNone || kind_ == Kind::kTexts);
  kind_ = Kind::kTexts;
  count_ += static_cast<int64_t>(embeddings.size()) / texts / width;
  texts_.add(embeddings, texts, width, scores, by_distance);
}

// Of one of several targets.
std::optional<double> EvaluationMetrics::correlation(
    size_t target, std::optional<double> (*of)(std::span<const float>, std::span<const float>)) const {
  if (!correlates_) return std::nullopt;
  const auto every = [&](const std::vector<float>& values) {
    std::vector<float> own;
    for (size_t i = target; i < values.size(); i += numbers_.size()) own.push_back(values[i]);
    return own;
  };
  return of(every(outputs_), every(targets_));
}

void EvaluationMetrics::Moments::add(const Moments& other) {
  if (other.count == 0) return;
  const double all = count + other.count;
  const double apart = other.mean - mean;
  squares += other.squares + apart * apart * count * other.count / all;
  mean += apart * other.count / all;
  count = all;
  error += other.error;
  error_squares += other.error_squares;
}

int64_t EvaluationMetrics::bytes(int64_t samples, int64_t columns, bool of_classes, bool positions) {
  int64_t bytes = columns * static_cast<int64_t>(sizeof(ClassMetrics));
  // The results have a copy.
  if (of_classes && columns <= MetricResults::kMostConfused)
    bytes += 2 * columns * columns * static_cast<int64_t>(sizeof(int64_t));
  if (columns <= kMostWithAuroc && !positions)
    bytes += Auroc::bytes(samples, of_classes && columns == 2 ? 1 : columns);
  return bytes;
}

MetricResults EvaluationMetrics::results(std::optional<double> loss) const {
  MetricResults r;
  if (spoiled_ || count_ == 0) return r;
  r.kind = kind_;
  r.positions = positions_;
  r.targets = count_;
  r.ignored = ignored_;
  if (kind_ == Kind::kNumbers) {
    for (size_t i = 0; i < numbers_.size(); ++i) {
      const Moments& m = numbers_[i];
      TargetMetrics t;
      t.mae = m.error / m.count;
      t.rmse = std::sqrt(m.error_squares / m.count);
      if (m.squares > 0) t.r2 = 1 - m.error_squares / m.squares;
      t.pearson = correlation(i, train::pearson);
      t.spearman = correlation(i, train::spearman);
      r.numbers.push_back(t);
    }
    return r;
  }
  if (kind_ == Kind::kTexts) {
    r.texts = texts_.results();
    return r;
  }
  r.classes = classes_;
  if (auroc_) {
    r.auroc_exact = auroc_->exact();
    for (size_t c = 0; c < r.classes.size(); ++c)
      r.classes[c].auroc =
          auroc_->of(kind_ == Kind::kClasses && classes_.size() == 2 ? 0 : static_cast<int64_t>(c));
  }
  average(r);
  if (kind_ == Kind::kLabels) return r;
  r.accuracy = share(right_, count_);
  if (classes_.size() > 5) r.top5 = share(top5_, count_);
  r.confusion = confusion_;
  double error = 0;
  for (const Bin& bin : bins_) error += std::fabs(static_cast<double>(bin.right) - bin.confidence);
  r.calibration_error = error / static_cast<double>(count_);
  if (!positions_) return r;
  double sum = 0;
  double occurring = 0;
  for (const ClassMetrics& c : classes_)
    if (const auto iou = c.iou()) {
      sum += *iou;
      occurring += 1;
    }
  if (occurring > 0) r.mean_iou = sum / occurring;
  if (loss) r.perplexity = std::exp(*loss);
  return r;
}

}  // namespace halftone::train
