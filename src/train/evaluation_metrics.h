// What an evaluation measures besides loss and accuracy, batch by batch in memory that does not grow with the data
// (but for the scores that areas under curves need, up to a bound).
//
// What counts: every target that is not ignored (--ignore-index) and whose weight is not 0, each once: weights of
// classes and samples weigh the loss alone. A class is predicted where its score is the first maximum; of two classes
// with one number, and of labels that hold each for itself, where the probability is above one half.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "num/dtype.h"
#include "train/auroc.h"
#include "train/text_metrics.h"

namespace halftone::train {

// Of one class, or one label.
struct ClassMetrics {
  int64_t support = 0;          // targets of this class
  int64_t predicted = 0;        // as this class
  int64_t right = 0;            // of both
  std::optional<double> auroc;  // against the rest; none: it has no target, or all are
  // 0 where nothing was predicted, or there is no target, as scikit-learn has it.
  double precision() const;
  double recall() const;
  double f1() const;
  // Of positions: right / (support + predicted - right); none where the class does not occur.
  std::optional<double> iou() const;
  bool occurs() const { return support + predicted > 0; }
};

// Over the classes that occur, as targets or predictions; `weighted` by their targets.
struct Averages {
  double precision = 0, recall = 0, f1 = 0;
};

struct TargetMetrics {
  double mae = 0, rmse = 0;
  std::optional<double> r2;  // none: the targets are all equal
  // None: outputs or targets are all equal, or there were more than kMostCorrelated numbers.
  std::optional<double> pearson, spearman;
};

struct MetricResults {
  enum class Kind : uint8_t { kNone, kClasses, kLabels, kNumbers, kTexts };
  Kind kind = Kind::kNone;
  bool positions = false;  // a class for each token or pixel
  int64_t targets = 0;     // that count; of labels and numbers samples
  int64_t ignored = 0;
  // kClasses, kLabels:
  std::vector<ClassMetrics> classes;
  Averages macro, weighted;
  std::optional<double> auroc_macro, auroc_weighted;
  bool auroc_exact = true;
  // kClasses:
  double accuracy = 0;
  std::optional<double> top5;  // of 6 or more classes
  std::optional<double> calibration_error;
  std::vector<int64_t> confusion;  // [target][predicted]; empty: more than kMostConfused classes
  std::optional<double> mean_iou;  // of positions, over the classes that occur
  std::optional<double> perplexity;
  // kNumbers: one for each; of more than kMostTargets, and of samples of several sizes, one for all.
  std::vector<TargetMetrics> numbers;
  TextResults texts;  // kTexts

  static constexpr int64_t kMostConfused = 1000;
  static constexpr int64_t kMostTargets = 1000;
  static constexpr int64_t kMostCorrelated = int64_t{1} << 22;
  static constexpr int64_t kCalibrationBins = 15;
};

// A figure of an evaluation by its name, as --watch has it: of classes macro-f1, weighted-f1, auroc (macro), top5,
// mean-iou (of positions); of labels macro-f1, weighted-f1, auroc; of numbers mae, rmse, r2, pearson, spearman (means
// over the targets); of texts recall-at-1, mrr, pearson, spearman, triplet-accuracy.
struct NamedMetric {
  const char* name;
  bool larger_is_better;
  std::optional<double> (*value)(const MetricResults&);
};
// Null: there is none of that name. Loss and accuracy are the score's.
const NamedMetric* find_metric(const std::string& name);

// What is said of each evaluation besides loss and accuracy, by these names: of classes and labels macro-f1; of numbers
// r2 and spearman; of texts all that there are.
struct Figure {
  std::string name;
  double value = 0;
};
std::vector<Figure> figures_of(const MetricResults& results);
// ", macro-f1 0.9123"
std::string text_of(const std::vector<Figure>& figures);

// Of one loss.
class EvaluationMetrics {
 public:
  using Kind = MetricResults::Kind;
  EvaluationMetrics() = default;
  void clear() { *this = EvaluationMetrics(); }

  // Classes: probabilities[row * classes + c] of each target, its class, whether it counts (empty: all do), and the
  // scores that rank the classes (logits). of_two: one number a row, the probability of the second class.
  void add_classes(std::span<const float> scores, std::span<const float> probabilities,
                   std::span<const int32_t> labels, std::span<const float> weights, int64_t classes,
                   bool of_two, bool positions);
  // Labels that hold each for itself: targets are 0 or 1; another one ends the measuring.
  void add_labels(std::span<const float> probabilities, std::span<const float> targets, int64_t labels);
  void add_numbers(std::span<const float> outputs, std::span<const float> targets, int64_t numbers);
  // Of samples that are texts (TextMetrics::add).
  void add_texts(std::span<const float> embeddings, int64_t texts, int64_t width,
                 std::span<const float> scores, bool by_distance);
  // What measuring so many samples takes at most: `columns` classes (of_classes), or labels each for itself.
  static int64_t bytes(int64_t samples, int64_t columns, bool of_classes, bool positions);
  // The mean loss, of which perplexity is made.
  MetricResults results(std::optional<double> loss) const;

 private:
  struct Moments {                            // of targets and errors
    double count = 0, mean = 0, squares = 0;  // of targets: Welford's
    double error = 0, error_squares = 0;
    void add(const Moments& other);
  };
  Kind kind_ = Kind::kNone;
  bool positions_ = false, spoiled_ = false;
  int64_t width_ = 0;  // kNumbers: of the first samples
  int64_t count_ = 0, ignored_ = 0, right_ = 0, top5_ = 0;
  std::vector<ClassMetrics> classes_;
  std::vector<int64_t> confusion_;
  std::optional<Auroc> auroc_;
  struct Bin {
    int64_t count = 0, right = 0;
    double confidence = 0;
  };
  std::vector<Bin> bins_;
  std::vector<Moments> numbers_;
  // Of numbers, for correlations: as they came. Empty: there are too many, or they are none by number.
  std::vector<float> outputs_, targets_;
  bool correlates_ = true;
  TextMetrics texts_;
  std::optional<double> correlation(size_t target, std::optional<double> (*of)(std::span<const float>,
                                                                               std::span<const float>)) const;
};

}  // namespace halftone::train
