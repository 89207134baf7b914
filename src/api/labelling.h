// How the labels of data sets are read for the outputs of a network that are used (outputs.h): the same for
// training, validation and evaluation.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/class_names.h"
#include "api/losses.h"
#include "api/outputs.h"
#include "api/sizes.h"
#include "api/text.h"
#include "data/class_map.h"
#include "data/columns.h"
#include "halftone/halftone.h"
#include "onnx/model.h"
#include "pass/embedding.h"
#include "train/target.h"

namespace halftone::api {

// The training data's class names as FOLDER/classes.txt, for runs that must number alike; the file, or empty
// when the classes have no names.
std::string keep_classes(const TrainOptions& options, const std::string& folder);

class Labelling {
 public:
  // options.classes_file, else `run` (of a run that is continued), else the model's map.
  Labelling(const NetworkOptions& network, const DataOptions& options, const onnx::Model& model,
            data::ClassMap run, const Log& log);

  // Before a set is opened: looks at the network's end, unless sizes are open still.
  void prepare(const onnx::Model& model);
  // What a set's reader asks (data::OpenOptions::read_labels); the answer is `target`. `sample`: what sizes
  // that input `input` leaves open are bound to. `all`: the set has no other labels, and further losses read
  // these too. Error: they would read them in another way.
  data::LabelReading read(const onnx::Model& model, const data::LabelForm& form = {},
                          const Shape& sample = {}, size_t input = 0, bool all = false);
  // Whether whole numbers are classes of positions (data::OpenOptions::read_positions).
  std::optional<data::LabelReading> read_positions(const onnx::Model& model, const data::LabelForm& form,
                                                   const Shape& sample = {}, size_t input = 0,
                                                   bool all = false);
  // The same two questions for a further loss (data::OpenOptions::read_field), whose labels are in `field` of
  // a batch.
  std::optional<data::LabelReading> read_further(const onnx::Model& model, size_t loss,
                                                 const std::string& field, const data::LabelForm& form,
                                                 bool numbers_known);
  // Without data: what the network's outputs say.
  void read_outputs(const onnx::Model& model);
  // Of the losses, in one: those behind the first are its `more`.
  train::Target target() const;
  const NetworkOptions& options() const { return options_; }
  const std::vector<LossSpec>& losses() const { return losses_; }
  // Whether any loss reads labels.
  bool wants_labels() const {
    const pass::Loss first = losses_.front().kind;
    return !prediction_ && first != pass::Loss::kGraph && first != pass::Loss::kInBatchNegatives &&
           first != pass::Loss::kTriplet;
  }
  // --task embeddings: the network's end is that of a network which gives these.
  void embed(const pass::Embedding& embedding) { embedding_ = embedding; }
  // --loss-graph: its sizes that are open are bound to its fields. Null: there is none.
  onnx::Model* loss_graph() { return loss_graph_.get(); }
  // How classes with names are numbered; empty: by the set alone.
  const data::ClassMap& map() const { return map_; }
  // The classes of the set that was read last; empty when they have no names.
  const std::vector<std::string>& names() const { return named_; }

  // A network that cannot be imported is somebody else's to refuse: labels are read as they are.
  void leave_refusals() { leaves_refusals_ = true; }
  // What columns of tables become, by --columns-file or the network; `run`: else by the run that is
  // continued.
  const data::ColumnPlan& columns() const { return columns_; }
  void continue_columns(const data::ColumnPlan& run);
  // Of the training data: what is read from now on becomes the same.
  void keep_columns(data::ColumnPlan plan) { columns_ = std::move(plan); }
  // Columns without a plan are known by their place. Error where their names say that it is another one than in the training
  // data, a warning where they have other names.
  void check_features(const data::DataInfo& info, const std::string& input);
  // Of sets of text; null: none was opened.
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  void keep_tokenizer(std::shared_ptr<const Tokenizer> tokenizer) { tokenizer_ = std::move(tokenizer); }
  bool is_evaluation() const { return evaluation_; }
  // Of data with samples of several sizes; null: there was none. From then on further sets may have any sizes
  // that the network takes.
  const std::shared_ptr<Sizes>& sizes() const { return sizes_->classes; }
  void keep_sizes(std::shared_ptr<Sizes> sizes) { sizes_->classes = std::move(sizes); }
  // The next set's sizes are found out anew.
  void forget_sizes();
  // Whether labels of another size class fit what was decided by the first: `sized` is the network with its
  // sizes. Error, beginning with `where`.
  void check_labels(const onnx::Model& sized, const data::DataInfo& info, const FieldPlan& plan,
                    const std::string& where) const;
  // The same of their numbers (data::OpenOptions::check_labels).
  void check_numbers(const std::string& field, const data::LabelForm& form) const;
  // From now on sets are read as a validation set of the one before: same loss, same classes.
  void validate(const std::string& training_source);
  // Finds out how many classes, or numbers, the labels of a set need: the network is taken to give as many.
  void count_classes();
  int64_t counted() const { return wanted_; }
  // For a network that gives another number than the labels of the set need that was read last: what to do about it;
  // empty: it fits.
  std::string new_head_advice() const;
  // Classes without a map are numbered by the data alone: fine for training, a guess for an evaluation.
  void set_evaluation() { evaluation_ = true; }
  // Sets are read without labels.
  void set_prediction() { evaluation_ = prediction_ = true; }
  bool is_prediction() const { return prediction_; }
  // The end of each output that is used; none until open sizes are known.
  const std::vector<pass::Head>& heads() const { return heads_; }

 private:
  void set_loss_of_texts(const DataOptions& options);
  data::LabelReading read_scores(const data::LabelForm& form) const;
  bool find_head(const onnx::Model& model);  // false: it cannot be imported
  bool bind_and_find_head(const onnx::Model& model, const data::LabelForm& form, const Shape& sample,
                          size_t input);
  const pass::Head& head(size_t loss) const { return heads_.at(outputs_.index.at(loss)); }
  // --ignore-index, --class-weights, --sample-weight and --label-smoothing, for what was decided.
  void complete(size_t loss, const data::LabelForm& form);
  // Further losses read the first one's labels, which are the classes of positions or not.
  void decide_others(const data::LabelForm& form, bool positions);
  // How many classes the network tells apart.
  size_t outputs() const;
  void check_map();
  void count(const data::LabelForm& form);
  void report_classes(const data::LabelForm& form);
  void name_numbers(const data::LabelForm& form);

  NetworkOptions options_;
  std::vector<LossSpec> losses_;
  UsedOutputs outputs_;
  std::vector<float> class_weights_;
  std::shared_ptr<onnx::Model> loss_graph_;
  // A loss knows it too, for which the loss graph is appended.
  struct KnownSizes {
    std::shared_ptr<Sizes> classes;
  };
  std::shared_ptr<KnownSizes> sizes_ = std::make_shared<KnownSizes>();
  std::vector<pass::Head> heads_;  // of the outputs that are used; none until open sizes are known
  data::ClassMap map_;
  data::ColumnPlan columns_;
  bool columns_from_file_ = false;  // --columns-file
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<std::string> features_;  // DataInfo::features of the training data
  std::string features_source_;
  bool from_model_ = false;  // map_
  std::string unusable_;     // class names that the model has and that say nothing
  bool evaluation_ = false;
  bool embeds_ = false;  // --task embeddings
  pass::Embedding embedding_;
  bool counts_ = false;
  int64_t wanted_ = 0;  // classes or numbers that the labels need; 0: not known
  bool prediction_ = false;
  bool leaves_refusals_ = false;
  std::vector<std::string> named_;      // the classes of the set that was read last
  std::vector<train::Target> targets_;  // one a loss
  Log log_;
};

}  // namespace halftone::api
