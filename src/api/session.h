// What the commands share: options understood, model and data opened, network compiled.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/fields.h"
#include "api/labelling.h"
#include "data/loader.h"
#include "halftone/halftone.h"
#include "onnx/import.h"
#include "onnx/model.h"
#include "onnx/sharing.h"
#include "pass/batch_norms.h"
#include "pass/embedding.h"
#include "train/network.h"
#include "train/summary.h"

namespace halftone {
// halftone/session.h
struct Array;
using Arrays = std::map<std::string, Array>;
}  // namespace halftone

namespace halftone::api {

// Parsers of option values; errors list what is understood.
DType parse_precision(const std::string& text);
// auto becomes block or wide, which every CPU has; training may choose half instead (choose_multiply).
kern::Multiply parse_multiply(const std::string& text, DType precision);
std::string name_of(kern::Multiply multiply, DType precision);
kern::Optimizer parse_optimizer(const std::string& text);
kern::Rounding parse_rounding(const std::string& text);

// A data set with how it becomes batches.
struct Data {
  std::shared_ptr<const data::Dataset> set;
  data::TransformOptions transform;
  train::Target target;            // how its labels are read, and the losses
  FieldPlan plan;                  // which field goes where
  std::vector<std::string> names;  // of its classes; empty: they have none
  data::ArrayChoice arrays;        // of named arrays: which become which fields
  // Of samples of several sizes: the run's size classes, and which of them each of the set's is. Null: all
  // samples have one size.
  std::shared_ptr<Sizes> sizes;
  std::vector<size_t> size_classes;
  std::shared_ptr<const Tokenizer> tokenizer;  // of text; null: it is none
  data::TextTask task = data::TextTask::kAuto;
  pass::Embedding embedding;  // of texts that get a vector each

  // Which of the run's classes a class of the set is.
  size_t number(size_t size_class) const { return sizes == nullptr ? 0 : size_classes.at(size_class); }
};
// The samples of one class of the set alone.
Data of_size_class(const Data& data, size_t size_class);
// How the samples' sizes stand in messages: "samples of T = 12 (file, sample)".
std::string name_of_size(const Data& data, size_t size_class);
// splits: which to take when SPEC names none. The network's input decides the samples' shape, `labelling` how
// labels are read; sizes that the network leaves open are bound to the data's.
Data open_data(const std::string& spec, const std::vector<std::string>& splits, const DataOptions& options,
               onnx::Model& model, Labelling& labelling, const Log& log);
// The same for one batch in memory, whose arrays are read as a file's would be.
Data open_batch(const Arrays& batch, const DataOptions& options, onnx::Model& model, Labelling& labelling,
                const Log& log);
// --val, or the validation part that the training data brings along; empty: none.
// Error (usage): numbers that are not possible.
data::PixelChanges pixel_changes(const DataOptions& options);
std::string validation_spec(const DataOptions& options, const Log& log);
// What is trained on: --data, without the share that --val PERCENT holds out.
std::string training_spec(const DataOptions& options);
// How a loader's batches have their samples, and the last batches of an epoch (data::LoaderOptions).
struct Delivery {
  DType storage = DType::kF32;  // fp32 where it is no type of samples
  bool channels_last = false;
  bool keeps_last = false;
  bool balanced = false;
  data::Mixing mixing = {};
};
data::LoaderOptions loader_options(const Data& data, const DataOptions& options, int64_t batch, bool training,
                                   uint64_t seed, const Delivery& delivery = {});
std::unique_ptr<data::Loader> make_loader(const Data& data, const DataOptions& options, int64_t batch,
                                          bool training, uint64_t seed, const Delivery& delivery = {});
// The same for CompileOptions::samples.
train::SamplesInBatches samples_of(const Data& data, DType storage);
// Of an evaluation alone: pictures in the network's type, which holds all that they can be. Other numbers
// stay fp32 until they are fed, so that what 16 bits make of them can be found (train::check_batch).
DType evaluated_storage(const Data& data, DType storage);

// evaluate_model, with these columns in place of those that the network has; empty: as it has them.
RunResult evaluate_as(const EvalOptions& options, const data::ColumnPlan& columns, const Log& log);

int threads_of(int64_t option);

// How an evaluation of `data` is compiled: batches of `batch` samples, or as many as there are where the
// network takes any number.
train::CompileOptions evaluation_options(const Data& data, const pass::LossOptions& loss, DType storage,
                                         kern::Multiply multiply, int64_t batch, bool fixed_batch,
                                         int threads);

// The file, with tensors that cannot serve all their readers separated (onnx/sharing.h). `moving`: for
// training, where running statistics move. Says what it separated, in some lines, or in all, which go to
// `shared`.
onnx::Model open_model(const NetworkOptions& options, bool moving, const Log& log,
                       std::vector<std::string>* shared = nullptr);

// Importer for the model, with the batch norms of `restored` (may be null) put back, for the size classes of
// `sizes`. The model and `restored` must outlive the importer.
train::Importer make_importer(const onnx::Model& model, DType storage, ops::BatchNormMode batch_norm,
                              const pass::RestoredBatchNorms* restored, const TrainFreeze& choice = {},
                              std::set<size_t> frozen_norms = {},
                              std::shared_ptr<const Sizes> sizes = nullptr,
                              const pass::Embedding& embedding = {});

// Refuses a network that cannot be trained, or (Mode::kEval) evaluated, with batches of options.batch: all
// that stands in the way in one message. Returns whether the graph is made for that batch alone, so that
// smaller ones must be filled up. data: whose size classes the network must take; null: it has the sizes of
// the model alone.
bool check_network(const NetworkOptions& options, const onnx::Model& model, ops::Mode mode,
                   const TrainFreeze& tensors = {}, const Data* data = nullptr);

// For `auto`, with the network compiled for training: measures block against half where half is delivered,
// says so, and compiles the network for half when that is faster by a tenth or more; block is the same on
// every CPU, so a smaller gain isn't worth it. Returns what was measured.
std::optional<exec::MultiplyRates> choose_multiply(train::Network& network, const Log& log);

// The first few lines, each behind the title, and how many there are.
void log_some(const std::string& title, const std::vector<std::string>& lines, const Log& log);

// Names what narrowing lost, if anything worth a line.
void report_narrowing(const std::vector<pass::NarrowLoss>& losses, DType precision, const Log& log);

// The part of a summary that every command fills from its options and result; `auto` counts as what every CPU
// has.
train::Summary summary_of(const std::string& command, const NetworkOptions& options, const RunResult& result);

}  // namespace halftone::api
