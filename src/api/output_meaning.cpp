#include "api/output_meaning.h"

#include "base/error.h"
#include "base/words.h"

namespace halftone::api {
namespace {

using Kind = OutputMeaning::Kind;
using Making = OutputMeaning::Making;
using pass::Ending;

constexpr const char* kChoices =
    "--as classes (logits, of which a softmax makes probabilities), --as labels (each for itself, by a "
    "sigmoid) or "
    "--as numbers (as they are: targets, an embedding)";

class Decision {
 public:
  Decision(const pass::Head& head, const std::string& class_axis, const RunFacts& run,
           const std::vector<std::string>& names, const data::DataInfo& info)
      : head_(head), class_axis_(class_axis), run_(run), names_(names), info_(info) {
    meaning_.output = head.output;
    meaning_.vector = head.sample.size() < 2;
  }

  OutputMeaning run(const std::string& asked) {
    if (head_.mixes_samples)
      throw input_error(
          "the network's {}: {} runs over several samples, so each sample's result depends on the "
          "others in its batch",
          describe(head_), head_.op);
    if (asked == "classes") {
      because("--as classes");
      classes();
    } else if (asked == "labels") {
      because("--as labels");
      labels();
    } else if (asked == "numbers") {
      because("--as numbers");
    } else if (asked == "auto") {
      choose();
    } else {
      throw usage_error("--as {} is not known; it is auto, classes, labels or numbers", asked);
    }
    return std::move(meaning_);
  }

 private:
  bool single() const { return head_.per_sample == 1; }
  bool softmax() const { return head_.ending == Ending::kSoftmax || head_.ending == Ending::kLogSoftmax; }
  bool probabilities() const {
    return head_.ending == Ending::kSigmoid || head_.ending == Ending::kProbabilities;
  }
  void because(std::string reason) { meaning_.reason = std::move(reason); }

  void choose() {
    if (run_.loss) {
      because(fmt::format("the run in {} was trained with {}", run_.folder, *run_.loss));
      if (*run_.loss == "cross-entropy") return classes();
      if (*run_.loss == "bce" || *run_.loss == "bce-with-logits") return single() ? classes() : labels();
      if (is_one_of(*run_.loss, {"mse", "in-batch-negatives", "cosine", "triplet"})) return;
    }
    if (softmax()) {
      because(fmt::format("the network ends in {}", head_.op));
      return classes();
    }
    if (head_.ending == Ending::kSigmoid) {
      because(fmt::format("the network ends in {}", head_.op));
      return single() ? classes() : labels();
    }
    if (head_.ending == Ending::kProbabilities || head_.ending == Ending::kDerived)
      return because("they are no logits, so they are given as they are");
    if (head_.classes > 1 && names_.size() == static_cast<size_t>(head_.classes)) {
      because("there are names for all classes");
      return classes();
    }
    if (single()) return because("one number a sample, given as it is");
    throw input_error("the network's {}: nothing says what its numbers are; give {}", describe(head_),
                      kChoices);
  }

  void classes() {
    if (single()) {
      if (head_.ending == Ending::kDerived || softmax()) refuse("classes", "is no logit and no probability");
      meaning_.kind = Kind::kTwoClasses;
      meaning_.classes = 2;
      meaning_.making = probabilities() ? Making::kNone : Making::kSigmoid;
      return;
    }
    if (head_.ending == Ending::kDerived || probabilities())
      refuse("classes", "has probabilities that stand each for itself, or is computed from some");
    meaning_.kind = Kind::kClasses;
    meaning_.making = head_.ending == Ending::kSoftmax      ? Making::kNone
                      : head_.ending == Ending::kLogSoftmax ? Making::kExp
                                                            : Making::kSoftmax;
    if (meaning_.vector) {
      if (softmax() && !head_.over_classes)
        refuse("classes", fmt::format("has a {} that does not run over each sample's numbers", head_.op));
      meaning_.classes = head_.classes;
      return;
    }
    meaning_.positions = true;
    meaning_.classes_first = classes_first();
    if (softmax() && !(meaning_.classes_first ? head_.over_first : head_.over_last))
      refuse("classes", fmt::format("has a {} that does not run over the {} axis", head_.op,
                                    meaning_.classes_first ? "first" : "last"));
    meaning_.classes = meaning_.classes_first ? head_.shape.at(1) : head_.shape.back();
    if (meaning_.classes < 2)
      refuse("classes", "has one number for each position, which is no choice between classes");
  }

  // Which axis of [batch, ...] has the classes.
  bool classes_first() const {
    if (class_axis_ == "first") return true;
    if (class_axis_ == "last") return false;
    if (class_axis_ != "auto")
      throw usage_error("--class-axis {} is not known; it is auto, first or last", class_axis_);
    if (softmax() && head_.over_first != head_.over_last) return head_.over_first;
    // The other axes are those of the sample's positions: pixels, tokens.
    const Shape rest_first(head_.shape.begin() + 2, head_.shape.end());
    const Shape rest_last(head_.shape.begin() + 1, head_.shape.end() - 1);
    const Shape positions =
        info_.geometry.size() == 3 ? Shape{info_.geometry[1], info_.geometry[2]} : info_.shape;
    const auto fits = [&](const Shape& rest) {
      if (rest.size() != positions.size()) return false;
      for (size_t i = 0; i < rest.size(); ++i)
        if (rest[i] <= 0 || positions[i] % rest[i] != 0) return false;
      return true;
    };
    const bool first = fits(rest_first);
    const bool last = fits(rest_last);
    if (first && last && rest_first == positions && rest_last != positions) return true;
    if (first && last && rest_last == positions && rest_first != positions) return false;
    if (first != last) return first;
    throw input_error(
        "the network's output '{}' of shape {}: which axis has the classes? Give --class-axis first (the one "
        "behind "
        "the batch) or --class-axis last",
        head_.output, to_string(head_.shape));
  }

  void labels() {
    if (head_.ending == Ending::kDerived || softmax())
      refuse("labels", "is computed from probabilities, or has some that add up to 1");
    meaning_.kind = Kind::kLabels;
    meaning_.classes = meaning_.vector ? head_.per_sample : 0;
    meaning_.making = probabilities() ? Making::kNone : Making::kSigmoid;
  }

  [[noreturn]] void refuse(const char* as, const std::string& why) const {
    throw input_error("the network's {} cannot be read as {} ({}): it {}; give {}", describe(head_), as,
                      meaning_.reason, why, kChoices);
  }

  const pass::Head& head_;
  const std::string& class_axis_;
  const RunFacts& run_;
  const std::vector<std::string>& names_;
  const data::DataInfo& info_;
  OutputMeaning meaning_;
};

}  // namespace

OutputMeaning meaning_of(const pass::Head& head, const std::string& asked, const std::string& class_axis,
                         const RunFacts& run, const std::vector<std::string>& names,
                         const data::DataInfo& info) {
  return Decision(head, class_axis, run, names, info).run(asked);
}

std::string describe(const OutputMeaning& m) {
  std::string text;
  switch (m.kind) {
    case Kind::kClasses:
      text = fmt::format("one of {} classes{}", m.classes, m.positions ? " for each position" : "");
      break;
    case Kind::kTwoClasses:
      text = "one of 2 classes";
      break;
    case Kind::kLabels:
      text =
          m.vector ? fmt::format("{} labels, each for itself", m.classes) : "probabilities, each for itself";
      break;
    case Kind::kNumbers:
      text = "numbers as they are";
  }
  return fmt::format("{} ({})", text, m.reason);
}

}  // namespace halftone::api
