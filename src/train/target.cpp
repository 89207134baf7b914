#include "train/target.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::train {
namespace {

using data::LabelForm;
using data::LabelKind;
using pass::Ending;
using pass::Head;
using pass::Loss;

std::string numbers(int64_t count) {
  return fmt::format("{} number{}", count, count == 1 ? "" : "s");
}

// What the data has, for messages.
std::string found(const LabelForm& form) {
  if (form.kind == LabelForm::Kind::kNames)
    return fmt::format("{} has {} classes by name ({})", form.where, form.names.size(),
                       data::some_of(form.names, 5));
  const char* type = form.kind == LabelForm::Kind::kIntegers ? "whole "
                     : form.kind == LabelForm::Kind::kFloats ? "float "
                                                             : "";
  return fmt::format("{} has {} {}number{} a sample, from {:.9g} to {:.9g}", form.where, form.width, type,
                     form.width == 1 ? "" : "s", form.smallest, form.largest);
}

// Of several axes each must be as long as the output's: as many numbers in another order would be compared
// with the wrong outputs. A flat row of numbers is in the output's order, and a flat output in the labels'.
bool same_axes(const Head& head, const Shape& labels) {
  Shape shape;
  for (const int64_t d : labels)
    if (d != 1) shape.push_back(d);
  return shape.size() < 2 || head.sample.size() < 2 || shape == head.sample;
}

class Decision {
 public:
  // Without `advises` a refusal does not look for another loss.
  Decision(Loss asked, const Head& head, const LabelForm& form, bool advises = true)
      : asked_(asked), head_(head), form_(form), advises_(advises) {}

  Target run() {
    check_head();
    reason_ = "given by --loss";
    Loss loss = asked_;
    if (loss == Loss::kAuto) loss = choose();
    target_.loss.loss = loss;
    switch (loss) {
      case Loss::kCrossEntropy:
        cross_entropy();
        break;
      case Loss::kMse:
        mse();
        break;
      case Loss::kBce:
      case Loss::kBceWithLogits:
        binary(loss);
        break;
      case Loss::kInBatchNegatives:
      case Loss::kCosine:
      case Loss::kTriplet:
        throw usage_error("--loss {} compares the embeddings of texts: --task embeddings",
                          pass::name_of(loss));
      case Loss::kAuto:
      case Loss::kGraph:
        HT_ASSERT(false);
    }
    target_.loss.reason = std::move(reason_);
    return std::move(target_);
  }

 private:
  bool single() const { return head_.per_sample == 1; }
  bool unknown() const { return form_.kind == LabelForm::Kind::kNone; }
  bool named() const { return form_.kind == LabelForm::Kind::kNames; }
  // Stored as whole numbers, or as text that says nothing else.
  bool whole_type() const {
    return form_.kind == LabelForm::Kind::kIntegers || (form_.kind == LabelForm::Kind::kText && form_.whole);
  }
  bool zeros_and_ones() const {
    return form_.numbers() && form_.whole && form_.smallest >= 0 && form_.largest <= 1;
  }
  bool probabilities() const { return form_.numbers() && form_.smallest >= 0 && form_.largest <= 1; }
  int64_t named_classes() const { return std::max(static_cast<int64_t>(form_.names.size()), form_.classes); }
  bool softmax() const { return head_.ending == Ending::kSoftmax || head_.ending == Ending::kLogSoftmax; }

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    throw input_error("{}", fmt::format(format, std::forward<Args>(args)...));
  }
  // The sample that has the number which is too small or too large for [0, most].
  std::string culprit(double most) const {
    const bool low = form_.smallest < 0;
    return fmt::format("{}: the label {} is out of range, expected {} to {}",
                       form_.sample_name(low ? form_.smallest_at : form_.largest_at),
                       low ? form_.smallest : std::max(form_.largest, most), 0, most);
  }
  // Whether the loss takes this network's end and these labels; class numbers up to the last class.
  bool fits(Loss loss) const {
    try {
      Decision(loss, head_, form_, false).run();
    } catch (const Error&) {
      return false;
    }
    return loss != Loss::kCrossEntropy || !form_.numbers() || form_.width > 1 ||
           (form_.smallest >= 0 && form_.largest < static_cast<double>(head_.classes));
  }
  // The first of these losses that fits, as an advice.
  std::string fitting(std::initializer_list<Loss> losses) const {
    if (unknown() || !advises_) return "";
    for (const Loss loss : losses)
      if (fits(loss)) return fmt::format("; --loss {} fits", pass::name_of(loss));
    return "; no other loss fits these labels either: " + found(form_);
  }
  const char* column_advice() const {
    return form_.kind == LabelForm::Kind::kText ? "\n  (is another column the label: --label-column)" : "";
  }

  void check_head() const {
    if (softmax() && single())
      refuse("the network's {}: a softmax over one number is always 1, so nothing can be learned from it",
             describe(head_));
    if (head_.mixes_samples)
      refuse(
          "the network's {}: {} runs over several samples, so each sample's result depends on the others in "
          "its batch",
          describe(head_), head_.op);
    // cross-entropy needs to know whose probabilities these are; so does whoever reads them as such.
    if (softmax() && !head_.over_classes && asked_ != Loss::kMse)
      refuse(
          "the network's {}: {} does not run over each sample's numbers, so these are no probabilities of "
          "its "
          "classes; --loss mse compares them with targets",
          describe(head_), head_.op);
  }

  // ---- the loss, when it was not asked for
  Loss because(Loss loss, std::string reason) {
    reason_ = std::move(reason);
    return loss;
  }

  Loss choose() {
    switch (head_.ending) {
      case Ending::kSigmoid:
        return because(Loss::kBce, "the network ends in Sigmoid");
      case Ending::kSoftmax:
      case Ending::kLogSoftmax:
        return because(Loss::kCrossEntropy, fmt::format("the network ends in {}", name(head_.ending)));
      case Ending::kProbabilities:
        return choose_bounded();
      case Ending::kDerived:
        return choose_derived();
      case Ending::kLogits:
        break;
    }
    if (form_.several_labels && form_.width == head_.per_sample)
      return because(Loss::kBceWithLogits, "each sample has several labels, or none");
    if (single()) {
      const bool two =
          unknown() || named() || form_.classes > 0 || (whole_type() && zeros_and_ones() && form_.width == 1);
      if (two)
        return because(Loss::kBceWithLogits, "the network has one output a sample and the data two classes");
      return because(Loss::kMse, "the network has one output a sample and the data numbers");
    }
    if (named() || (head_.classes > 0 && (unknown() || (form_.width == 1 && whole_type()))))
      return because(Loss::kCrossEntropy, "the data has classes");
    if (head_.classes > 0 && form_.width == head_.classes && form_.distributions)
      return because(Loss::kCrossEntropy, form_.one_hot
                                              ? "each sample's labels are zeros and one 1: one-hot classes"
                                              : "each sample's labels are probabilities of the classes");
    return because(
        Loss::kMse,
        zeros_and_ones() && !unknown()
            ? "the data has as many numbers a sample as the network outputs; they are all 0 or 1: --loss "
              "bce-with-logits if each is a class of its own"
            : "the data has numbers as targets");
  }

  // Clip(0, 1), HardSigmoid and the like: probabilities, or targets between 0 and 1.
  Loss choose_bounded() {
    if (single() && (unknown() || named() || (whole_type() && zeros_and_ones())))
      return because(Loss::kBce, "the network's outputs are from 0 to 1 and the data has two classes");
    if (!single() && (named() || (form_.width == 1 && head_.per_sample != 1) ||
                      (form_.width == head_.per_sample && form_.distributions)))
      refuse(
          "the network's {} are from 0 to 1, and are no logits that cross-entropy could be computed from; "
          "expected "
          "them as its output (--output NAME of a tensor before they become probabilities), or --loss mse or "
          "bce with "
          "{} a sample; {}",
          describe(head_), numbers(head_.per_sample), found(form_));
    return because(Loss::kMse, "the data has numbers as targets");
  }

  // What is computed from probabilities: only targets can be compared with it.
  Loss choose_derived() {
    if (named() || form_.width != head_.per_sample || (single() && whole_type() && zeros_and_ones()) ||
        (!single() && form_.distributions))
      refuse_derived();
    return because(Loss::kMse, "the data has numbers as targets");
  }

  [[noreturn]] void refuse_derived() const {
    refuse(
        "the network's {} is computed from what {} gives, and holds no logits that a loss of classes could "
        "be computed "
        "from; expected logits or probabilities as its output (--output NAME of a tensor before), or --loss "
        "mse with {} a "
        "sample; {}",
        describe(head_), head_.op, numbers(head_.per_sample), found(form_));
  }

  static const char* name(Ending ending) {
    return ending == Ending::kSoftmax ? "Softmax" : ending == Ending::kLogSoftmax ? "LogSoftmax" : "Sigmoid";
  }

  // ---- how labels are read for it
  void cross_entropy() {
    if (head_.classes < 2)
      refuse(
          "--loss cross-entropy needs an output of shape [batch, classes], or [batch, classes, ...] or "
          "[batch, ..., classes] and a "
          "whole number for each position; the network's {} has shape {}{}{}",
          describe(head_), halftone::to_string(head_.shape),
          form_.numbers() && form_.shape.size() > 1
              ? fmt::format(", and {} labels of shape {} a sample", form_.where,
                            halftone::to_string(form_.shape))
              : "",
          fitting({Loss::kBceWithLogits, Loss::kBce, Loss::kMse}));
    if (head_.ending == Ending::kDerived) refuse_derived();
    if (head_.ending == Ending::kSigmoid || head_.ending == Ending::kProbabilities)
      refuse(
          "--loss cross-entropy needs logits, or a Softmax over them, but the network's {} {}: each of them "
          "is a "
          "separate probability{}",
          describe(head_), head_.ending == Ending::kSigmoid ? "is that" : "is from 0 to 1",
          fitting({Loss::kBce, Loss::kMse}));
    const int64_t classes = head_.classes;
    if (softmax())
      reason_ += fmt::format("; the network's last {} is part of the loss",
                             head_.ending == Ending::kSoftmax ? "Softmax" : "LogSoftmax");
    target_.loss.labels = pass::Labels::kClasses;
    target_.reading = {LabelKind::kClass, classes};
    if (unknown()) return;
    if (named() || form_.width == 1) {
      if (named_classes() > classes)
        refuse("{}: it has {} classes, but the network has {} ({})", form_.where, named_classes(), classes,
               describe(head_));
      if (named()) {
        reason_ += fmt::format(": {} classes by name", form_.names.size());
        return;
      }
      if (!form_.whole)
        refuse("{}: its label is no class number; expected whole numbers from 0 to {}; {}{}",
               form_.sample_name(form_.fraction_at), classes - 1, found(form_), column_advice());
      if (form_.kind == LabelForm::Kind::kFloats) reason_ += "; float labels are read as class numbers";
      return;  // the reader checks the range, sample by sample
    }
    if (form_.width != classes)
      refuse("expected one class or {} a sample as labels for the network's {}; found: {}", numbers(classes),
             describe(head_), found(form_));
    if (!form_.distributions)
      refuse(
          "{}: its {} labels add up to {}; --loss cross-entropy needs one class a sample, or probabilities "
          "of all {} "
          "classes that add up to 1{}",
          form_.sample_name(form_.no_distribution_at), form_.width, form_.no_distribution_sum, classes,
          softmax() ? ""
                    : " (--loss bce-with-logits is for several classes a sample, --loss mse for targets)");
    if (form_.one_hot) {
      reason_ += asked_ == Loss::kAuto && !softmax() ? "" : "; the labels are one-hot";
      return;
    }
    target_.loss.labels = pass::Labels::kDistributions;
    target_.reading = {LabelKind::kTarget, 0};
    reason_ += asked_ == Loss::kAuto && !softmax() ? "" : "; the labels are probabilities of the classes";
  }

  void mse() {
    target_.loss.labels = pass::Labels::kTargets;
    target_.reading = {LabelKind::kTarget, 0};
    if (unknown()) return;
    if (named())
      refuse("{}: class names are no targets for --loss mse; expected {} a sample for the network's {}{}",
             form_.where, numbers(head_.per_sample), describe(head_),
             fitting({Loss::kCrossEntropy, Loss::kBceWithLogits, Loss::kBce}));
    check_width();
  }

  // As many numbers as the network has outputs.
  void check_width() const {
    if (form_.width == head_.per_sample) return check_shape();
    std::string advice;
    if (form_.width == 1 && form_.kind != LabelForm::Kind::kText && advises_ && fits(Loss::kCrossEntropy))
      advice = "; if these are class numbers, give --loss cross-entropy";
    refuse("expected {} a sample as targets for the network's {}, one for each{}; found: {}{}{}",
           numbers(head_.per_sample), describe(head_), positions(), found(form_), advice, column_advice());
  }

  // What cross-entropy would take of each token or pixel.
  std::string positions() const {
    if (!advises_ || head_.sample.size() < 2 || head_.classes > 0 || form_.kind == LabelForm::Kind::kText)
      return "";
    const Shape first(head_.sample.begin() + 1, head_.sample.end());
    const Shape last(head_.sample.begin(), head_.sample.end() - 1);
    return fmt::format(
        "; or, for cross-entropy, the number of a class for each position, saved as whole numbers of shape "
        "{} a sample (classes at axis 1) "
        "or {} (classes last), where these labels have {}",
        halftone::to_string(first), halftone::to_string(last), halftone::to_string(form_.shape));
  }

  void check_shape() const {
    if (same_axes(head_, form_.shape)) return;
    refuse(
        "{} has labels of shape {} a sample, but the network's {} has samples of shape {}; expected the same "
        "axes in the "
        "same order",
        form_.where, halftone::to_string(form_.shape), describe(head_), halftone::to_string(head_.sample));
  }

  void binary(Loss loss) {
    const std::string option = pass::name_of(loss);
    if (head_.ending == Ending::kDerived) refuse_derived();
    if (loss == Loss::kBceWithLogits) {
      if (head_.ending == Ending::kSigmoid) {
        reason_ += "; what the network's last Sigmoid reads are the logits";
        target_.loss.loss = Loss::kBce;
      } else if (head_.ending != Ending::kLogits) {
        refuse("--loss bce-with-logits needs logits, but the network's {} {}{}", describe(head_),
               head_.ending == Ending::kLogSoftmax ? "has logarithms of probabilities" : "has probabilities",
               fitting({Loss::kBce, Loss::kCrossEntropy, Loss::kMse}));
      }
    } else if (head_.ending == Ending::kLogits || head_.ending == Ending::kLogSoftmax) {
      refuse(
          "--loss bce needs outputs from 0 to 1, which Sigmoid gives; the network's {} comes from {} of node "
          "'{}', which "
          "has no such bounds{}",
          describe(head_), head_.op, head_.node,
          fitting({Loss::kBceWithLogits, Loss::kCrossEntropy, Loss::kMse}));
    }
    if (target_.loss.loss == Loss::kBce && head_.ending == Ending::kSigmoid && loss == Loss::kBce)
      reason_ += "; the network's last Sigmoid is part of the loss";
    target_.loss.labels = pass::Labels::kTargets;
    target_.reading = {LabelKind::kTarget, 0};
    if (unknown()) {
      if (single()) classes_of_two();
      return;
    }
    if (named()) {
      if (!single())
        refuse(
            "the network has {}, each an independent probability or logit ({}); expected {} a sample, from 0 "
            "to 1; {}{}",
            numbers(head_.per_sample), describe(head_), numbers(head_.per_sample), found(form_),
            fitting({Loss::kCrossEntropy}));
      if (named_classes() > 2)
        refuse("the network's {} distinguishes 2 classes; found: {}", describe(head_), found(form_));
      return classes_of_two();
    }
    check_width();
    if (!probabilities())
      refuse(
          "{} (--loss {}: 0 and 1 are classes, numbers between are probabilities); --loss mse is for other "
          "numbers",
          culprit(1), option);
    if (single() && zeros_and_ones()) classes_of_two();
  }

  void classes_of_two() {
    target_.loss.labels = pass::Labels::kClasses;
    target_.reading = {LabelKind::kClass, 2};
  }

  const Loss asked_;
  const Head& head_;
  const LabelForm& form_;
  const bool advises_;
  Target target_;
  std::string reason_;
};

}  // namespace

Target decide_target(Loss asked, const Head& head, const LabelForm& form) {
  return Decision(asked, head, form).run();
}

std::optional<Target> decide_positions(Loss asked, const Head& head, const LabelForm& form) {
  if (asked != Loss::kAuto && asked != Loss::kCrossEntropy) return std::nullopt;
  if (head.classes > 0 || head.shape.size() < 3 || head.shape[0] != head.batch) return std::nullopt;
  // Axes of one element aside.
  const auto without = [&](size_t class_axis) {
    Shape shape;
    for (size_t i = 1; i < head.shape.size(); ++i)
      if (i != class_axis && head.shape[i] != 1) shape.push_back(head.shape[i]);
    return shape;
  };
  Shape labels;
  for (const int64_t d : form.shape)
    if (d != 1) labels.push_back(d);
  const size_t last = head.shape.size() - 1;
  bool fits_first = head.shape[1] > 1 && without(1) == labels;
  bool fits_last = head.shape[last] > 1 && without(last) == labels;
  if (!fits_first && !fits_last) return std::nullopt;
  const auto refuse = [&](const std::string& why) {
    throw input_error("{} has a class for each of {} positions a sample, but the network's {} of shape {} {}",
                      form.where, halftone::to_string(form.shape), describe(head),
                      halftone::to_string(head.shape), why);
  };
  const bool softmax = head.ending == Ending::kSoftmax || head.ending == Ending::kLogSoftmax;
  if (head.ending == Ending::kDerived)
    refuse(
        "holds no logits; expected logits or probabilities of classes as its output (--output NAME of a "
        "tensor before)");
  if (head.ending == Ending::kSigmoid || head.ending == Ending::kProbabilities)
    refuse(
        "holds a separate probability for each number; cross-entropy needs logits, or a Softmax over the "
        "classes");
  if (head.mixes_samples) refuse(fmt::format("mixes samples: {} runs over several of them", head.op));
  if (softmax) {
    fits_first = fits_first && head.over_first;
    fits_last = fits_last && head.over_last;
    if (!fits_first && !fits_last)
      refuse(fmt::format("has its {} over another axis than the classes", head.op));
  }
  const bool both = fits_first && fits_last;
  if (both && head.shape.size() == 3)
    refuse(
        "fits in two ways: the classes may be its axis 1 or its last, which are equally long; a Softmax at "
        "its end would decide");
  Target target;
  pass::LossOptions& loss = target.loss;
  loss.loss = Loss::kCrossEntropy;
  loss.labels = pass::Labels::kClasses;
  loss.axis = fits_first ? pass::ClassAxis::kFirst : pass::ClassAxis::kLast;
  const size_t axis = fits_first ? 1 : last;
  target.reading.kind = LabelKind::kPositions;
  target.reading.classes = head.shape[axis];
  target.reading.shape = form.shape;
  loss.reason = fmt::format(
      "{}the data has a class for each of {} positions; the {} classes are axis {} of the output{}{}",
      asked == Loss::kAuto ? "" : "given by --loss; ", halftone::to_string(form.shape), head.shape[axis],
      axis, both ? ", as images have them (the last axis is as long)" : "",
      softmax ? "; the network's last softmax is part of the loss" : "");
  return target;
}

bool positions_fit(const Head& head, const Target& target, const Shape& labels) {
  if (head.shape.size() < 3 || head.shape[0] != head.batch) return false;
  const size_t axis = target.loss.axis == pass::ClassAxis::kFirst ? 1 : head.shape.size() - 1;
  Shape positions;
  for (size_t i = 1; i < head.shape.size(); ++i)
    if (i != axis && head.shape[i] != 1) positions.push_back(head.shape[i]);
  Shape given;
  for (const int64_t d : labels)
    if (d != 1) given.push_back(d);
  return head.shape[axis] == target.reading.classes && positions == given;
}

bool targets_fit(const Head& head, const Shape& labels) {
  return elements(labels) == head.per_sample && same_axes(head, labels);
}

void check_as_decided(const LabelForm& form, const data::LabelReading& reading, const pass::LossOptions& loss,
                      const std::string& others) {
  if (reading.kind == LabelKind::kClass && form.width > 1 && !form.one_hot)
    throw input_error(
        "{0}: its labels are not one-hot, as {1} are; if {1} were probabilities of the classes, both would "
        "be "
        "taken",
        form.where, others);
  if (loss.labels == pass::Labels::kDistributions && !form.distributions)
    throw input_error("{}: its {} labels add up to {}; {} are probabilities of the classes",
                      form.sample_name(form.no_distribution_at), form.width, form.no_distribution_sum,
                      others);
  const bool binary = loss.loss == Loss::kBce || loss.loss == Loss::kBceWithLogits;
  if (binary && loss.labels == pass::Labels::kTargets && (form.smallest < 0 || form.largest > 1)) {
    const bool low = form.smallest < 0;
    throw input_error("{}: the label {} is out of range; this loss takes 0 to 1",
                      form.sample_name(low ? form.smallest_at : form.largest_at),
                      low ? form.smallest : form.largest);
  }
}

}  // namespace halftone::train
