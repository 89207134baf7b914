// A training run, put together: model, data, network and trainer. train_model and Session take their steps
// with it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "api/arrays.h"
#include "api/batch_norm_choice.h"
#include "api/beginning.h"
#include "api/lora.h"
#include "api/memory.h"
#include "api/metric_report.h"
#include "api/precision.h"
#include "api/read_back.h"
#include "api/session.h"
#include "api/starting_point.h"
#include "onnx/roles.h"
#include "train/progress.h"
#include "train/run_folder.h"
#include "train/trainer.h"

namespace halftone::api {

// Error (usage) for options that no run can have, before anything is opened. given: batches come from the
// host, not from data.
void check_training_options(const TrainOptions& options, bool given);

// What a plateau watches, and so which direction is better, is --watch's choice.
train::Schedule schedule_of(const TrainOptions& o);
pass::TrainingOptions training_options(const TrainOptions& o, DType storage, const Data& data,
                                       std::set<std::string> frozen);

// How --batch auto deals a step's samples.
struct BatchChoice {
  int64_t samples = 0;  // of a step: those asked for, or as many as the data has
  int64_t batch = 0;    // 0: none fits
};

class TrainingRun {
 public:
  struct Place {
    train::RunFolder* folder = nullptr;   // null: nothing is written while it goes on
    std::function<void()> on_begin = {};  // called when the folder is this run's and its first step is next
    // Of a test of learning rates: that of each step, in the place of the schedule. Nothing is evaluated.
    std::function<double(int64_t step)> rate = {};
  };

  // example: a batch like those that will be given; null: the options name data. What is pointed to must
  // outlive the run.
  TrainingRun(const TrainOptions& options, const Arrays* example, Place place, train::Progress progress,
              Log log);

  // Opens network and data of a run whose step is one batch, and plans it with smaller ones until one fits.
  static BatchChoice choose_batch(const TrainOptions& options);

  train::Trainer& trainer() { return *trainer_; }
  train::Network& network() { return *network_; }
  const TrainOptions& options() const { return o_; }
  const Data& data() const { return data_; }
  int64_t steps_per_epoch() const;  // 0: batches are given
  bool has_validation() const { return val_data_.has_value(); }
  bool fixed_batch() const { return fixed_batch_; }
  // Of a run with an example; else null.
  const BatchReader* batches() const { return reader_ ? &*reader_ : nullptr; }

  // Before begin(): how good the network is on the validation data, if there is some. A run that is continued
  // remembers it.
  void evaluate_first();

  // The network as it is now, as the file that was read, at `path`, which must be no file that it is read
  // from.
  void write(const std::string& path);

  // "10 classes · 2000 train / 500 val · fp16 · 96 MiB": what is trained on what, and the memory that is planned.
  std::string verdict() const;

  // How the network's batches are made.
  Delivery delivery(bool keeps_last = false) const;
  // The end: what the trainer does last, the result in the folder, read back and checked, and its summary.
  // Nothing can be run any more.
  RunResult finish();

 private:
  // Nothing is opened yet.
  TrainingRun(const TrainOptions& options, Place place, train::Progress progress, Log log);
  MemoryPlan memory_plan(const train::CompileOptions& compile);
  void open_network(bool given);
  void open_samples(const Arrays* example);
  // Of the run that is continued.
  data::ClassMap classes_before() const;
  void choose_norms();
  void compile();
  Delivery training_delivery() const;
  bool mixes() const { return o_.mixup > 0 || o_.cutmix > 0; }
  pass::LossOptions mixed_loss() const;
  void weigh_classes();
  void check_new_head() const;
  void make_trainer();
  void check_watch(const train::Watch& watch) const;
  train::CompileOptions compile_options() const;
  train::TrainerOptions trainer_options();
  TrainOptions recorded() const;
  train::NoticedInfinities::Check check_of(const PrecisionSubject& of);
  train::Importer importer_of(DType storage) const;
  PrecisionSubject subject_of(const Data& data, ops::Mode mode) const;
  const onnx::Model& model() const { return batch_norms_->model; }
  const pass::RestoredBatchNorms* restored() const {
    return batch_norms_->restored ? &*batch_norms_->restored : nullptr;
  }
  std::map<std::string, double> report_profile();
  void save_model(const std::string& path);
  onnx::TensorSource trained_tensor();
  void report_lora();
  // The samples that the written file is measured on.
  const Data& measured_data(const train::TrainResult& trained) const {
    return trained.validation ? *val_data_ : data_;
  }
  std::vector<train::Score> measure(const train::TrainResult& trained, double seconds);
  void check_precision_after(const train::TrainResult& trained, const ReadBack& written,
                             const ReadBackOptions& options, RunResult& r);
  // For people: what came out, where it is, what to do next.
  std::string report(const RunResult& r) const;
  // summary.json
  std::string summary(const train::TrainResult& trained, const ReadBack& written, const RunResult& r,
                      const std::map<std::string, double>& profile) const;

  TrainOptions o_;  // with the batch that the data fills
  Place place_;
  // No step of it is done: a new run, or one that was killed before it had saved anything.
  const bool begins_;
  Log log_;
  DType storage_;
  NetworkOptions chosen_;  // with `auto` decided
  kern::Multiply multiply_;
  TrainFreeze tensors_;
  std::vector<std::string> outputs_;
  std::vector<std::string> unused_;  // parameters on which only other outputs depend
  Beginning beginning_;
  std::optional<LoraNetwork> lora_;
  std::optional<onnx::Model> file_;
  std::vector<onnx::TensorRole> roles_;
  std::optional<Labelling> labelling_;
  Data data_;
  std::optional<Data> val_data_;
  std::optional<BatchReader> reader_;
  bool fixed_batch_ = false;
  std::optional<BatchNormChoice> batch_norms_;
  std::optional<PrecisionSubject> subject_, evaluated_;
  std::optional<PrecisionSubject> batches_;       // as training has them, where that is not subject_: mixed
  std::optional<train::PrecisionCheck> checked_;  // before the first step
  std::optional<exec::MultiplyRates> rates_;
  MemoryPlan memory_;
  std::optional<train::Network> network_;
  std::vector<pass::LossNode> losses_;
  std::optional<StartingPoint> before_;  // of the validation data
  std::vector<LossMetrics> metrics_;     // of the last evaluation of the validation data
  bool has_norms_ = false;
  std::unique_ptr<data::Loader> training_loader_, val_loader_;
  train::Progress progress_;
  std::unique_ptr<train::Trainer> trainer_;
};

}  // namespace halftone::api
