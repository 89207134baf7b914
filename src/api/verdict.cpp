// What a run is, in a line for people, and what it came to.
#include <fmt/format.h>

#include "api/training.h"
#include "base/shell_word.h"
#include "train/progress.h"

namespace halftone::api {
namespace {

// "10 classes", "3 labels", "1 target".
std::string what_is_learned(const Data& data) {
  const data::DataInfo& info = data.set->info();
  const auto counted = [](int64_t count, const char* what, const char* end) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : end);
  };
  if (data.task == data::TextTask::kCausal || data.task == data::TextTask::kMasked)
    return data.task == data::TextTask::kCausal ? "next tokens" : "hidden tokens";
  if (data.task == data::TextTask::kEmbeddings) return "embeddings of texts";
  switch (info.labels) {
    case data::LabelKind::kClass:
      return counted(info.classes, "class", "es");
    case data::LabelKind::kPositions:
      return counted(info.classes, "class", "es") + " for each position";
    case data::LabelKind::kTarget: {
      const pass::Loss loss = data.target.loss.loss;
      const bool labels = loss == pass::Loss::kBce || loss == pass::Loss::kBceWithLogits;
      return counted(info.target_size, labels ? "label" : "target", "s");
    }
    case data::LabelKind::kNone:
      break;
  }
  return "a loss of the data's own";
}

// What new samples look like on the command line. How the run read its own is taken from its folder; but embeddings are
// predicted of one text each.
std::string new_samples(const Data& data, const DataOptions& options) {
  if (data.task == data::TextTask::kEmbeddings)
    return "NEW.csv --text " + shell_word(options.text.substr(0, options.text.find(',')));
  if (!options.text.empty()) return "NEW.csv";
  const std::string& kind = data.set->info().kind;
  if (kind.find("images") != std::string::npos) return "'NEW/*.jpg'";
  if (kind == "CSV") return "NEW.csv";
  return "NEW";
}

}  // namespace

std::string TrainingRun::verdict() const {
  const std::string held_out =
      val_data_ ? fmt::format(" / {} val", val_data_->set->size()) : std::string(", no validation");
  return fmt::format("{} · {} train{} · {} · {} MiB", what_is_learned(data_), data_.set->size(), held_out,
                     o_.network.precision, (network_->planned_bytes() + (1 << 20) - 1) >> 20);
}

std::string TrainingRun::report(const RunResult& r) const {
  const std::string& folder = place_.folder->path();
  const auto percent = [](const std::optional<double>& accuracy) {
    return accuracy ? fmt::format(", accuracy {:.2f} %", 100 * *accuracy) : "";
  };
  std::string text = fmt::format("done: {} steps in {}", r.steps, train::duration_text(r.seconds));
  if (r.val_loss) text += fmt::format("; validation loss {:.4f}{}", *r.val_loss, percent(r.val_accuracy));
  if (r.val_loss && before_)
    text += fmt::format(" (before: {:.4f}{})", before_->loss, percent(before_->accuracy));
  const auto add = [&](const std::string& file, const char* what) {
    text += fmt::format("\n  {:<32} {}", folder + "/" + file, what);
  };
  add("model.onnx", "the network");
  if (r.val_loss) add("metrics.json", "what was measured, also as metrics.csv");
  add("summary.json", "the run in one object; events.jsonl has its steps");
  const bool tokens = data_.task == data::TextTask::kCausal || data_.task == data::TextTask::kMasked;
  text += tokens ? fmt::format("\nnext: halftone eval {} --data NEW", shell_word(folder))
                 : fmt::format("\nnext: halftone predict {} --data {} --out new.csv", shell_word(folder),
                               new_samples(data_, o_.data));
  return text;
}

}  // namespace halftone::api
