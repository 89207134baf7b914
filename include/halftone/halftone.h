// Halftone: continues the training of an fp32 ONNX network in 16 bits. The public interface: options in,
// results out, std types only. Every function throws halftone::Error for mistakes of the caller or of a file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "halftone/error.h"

namespace halftone {

// How samples are read and prepared.
struct DataOptions {
  std::string data;                // SPEC of the training samples (or of those to evaluate)
  std::string val;                 // SPEC of the validation samples; empty: none
  std::string normalize = "none";  // preset: imagenet, cifar10, cifar100, mnist, fashion-mnist, none
  std::vector<double> mean;  // numbers instead of a preset, after scaling to 0..1; one, or one a channel
  std::vector<double> std;
  // rgb, bgr: of the network's three channels. mean and std are of red, green and blue, whichever it is.
  std::string channel_order = "rgb";
  int64_t resize = 0;        // pixels of the shorter side before the middle is cut out; 0: as the size needs
  int64_t crop_padding = 0;  // random crop after padding with so many pixels; 0: none
  bool flip = false;         // random horizontal flip
  bool random_resized_crop = false;
  bool vertical_flip = false;
  double rotate = 0;                 // degrees; 0: none
  std::vector<double> color_jitter;  // brightness, contrast, saturation, hue; missing ones are 0
  std::string randaugment;           // "N,M": operations and strength; empty: none
  double erase = 0;                  // probability that a rectangle is erased
  std::string layout = "auto";  // of the images that the network takes: auto, channels-first, channels-last
  std::string exif_orientation = "on";  // pictures are turned as EXIF says: on, off
  bool skip_bad = false;                // leave broken samples out, counted, instead of stopping
  std::string label_column;  // CSV: a name or a number, counted from 0; several with commas; empty: the last
  // CSV: columns that are left out, that are standardised ("all": every number that feeds floats), that are
  // categories: as ones and zeros, or as whole numbers. Each text is a name, #NUMBER, FIRST..LAST, or several
  // of these with commas between them.
  std::vector<std::string> exclude_columns, standardize, one_hot, codes;
  std::string unknown_category =
      "error";  // a category that the training data has not: error, or zeros (one-hot)
  // columns.json of a run: means, deviations and categories; empty: those of the network or the run
  std::string columns_file;
  std::string
      label_separator;  // what is between the labels in a cell of several: space, a character; empty: one label
  std::string csv_header = "auto";     // whether the first line names the columns: auto, yes, no
  std::string csv_delimiter = "auto";  // auto, comma, semicolon, tab, pipe
  std::string csv_decimal = "auto";    // decimal mark: auto, point, comma
  std::string x_key;                   // npz, safetensors
  std::string y_key;
  // Text: the columns (.csv, .tsv) or keys (.jsonl) of a text, or of the two of a pair with a comma between them. A table
  // is read as text where they are given.
  std::string text;
  std::string tokenizer;             // file or folder; empty: found beside the network
  std::string task = "auto";         // labels, tags, causal-lm, masked-lm
  std::string text_sample = "auto";  // of a .txt file, what a sample is: line, document
  int64_t max_tokens = 0;            // longer texts are cut off; 0: as the tokenizer or the network says
  int64_t block_tokens = 0;          // causal-lm: of a packed block; 0: the network's length, or 256
  std::string classes_file;          // class names in the order of the network's outputs, one a line
  std::string old_classes_file;      // of the network as its file is, for TrainOptions::keep_classes
  int64_t loader_threads = 0;        // 0: as many as the process may use
  int64_t cache_mib = 1024;          // decoded images are kept up to this
};

// How the network computes.
struct NetworkOptions {
  std::string model;    // ONNX file, or a run's folder
  std::string weights;  // of a run's folder: final, last, best; empty: final, or last before the run's end
  std::vector<std::string> dims;   // NAME=SIZE: sizes of its inputs that the file leaves open
  std::string precision = "fp16";  // fp16, bf16, fp32 (fp64: slow, for proofs)
  std::string multiply =
      "auto";  // auto, block, wide, half (fp16 on a CPU with AVX512-FP16; not the same bits elsewhere)
  std::string batchnorm = "auto";  // auto, restore, keep, freeze
  int64_t batch = 128;
  int64_t threads = 0;  // 0: as many as the process may use
  // [OUTPUT=]KIND[:FIELD][*WEIGHT] each, KIND being auto, cross-entropy, mse, bce or bce-with-logits; the sum
  // is trained.
  std::vector<std::string> loss{"auto"};
  // ONNX file of a further loss (of the only one where `loss` is just auto): takes outputs of the network and
  // fields of the data by their names, and gives one number, or one a sample.
  std::string loss_graph;
  std::string output;  // what losses without OUTPUT read; empty: the first output of floats
  double label_smoothing = 0;
  // --task embeddings: how the vectors of a text's tokens become one, and whether that gets length 1.
  std::string pooling = "none";               // none, mean, cls, max
  std::string normalize_embeddings = "auto";  // auto, on, off
  double similarity_scale = 20;               // in-batch-negatives: what cosines are multiplied by
  double margin = 5;                          // triplet
  std::optional<int64_t>
      ignore_index;  // class number of targets that don't count; none: -100 where each position has one
  std::string class_weights;  // numbers with commas between them, a file of them, or (training) balanced
  std::string sample_weight;  // the field of the samples' weights
  std::vector<std::string> inputs;  // NAME=FIELD: which field of the data an input takes
  uint64_t seed = 0;
  // on, off. 16 bits: before the first step, and before an evaluation, the loss of a few batches is compared
  // with fp32's; a difference that rounding does not explain is a numerical error.
  std::string check_precision = "on";
};

struct TrainOptions {
  NetworkOptions network;
  DataOptions data;
  std::string out;              // folder of the results; empty: runs/train-1, -2, ..., the first that is free
  bool overwrite = false;       // `out` may hold an earlier run, which is replaced; nothing else is
  bool resume = false;          // go on from the newest intact checkpoint in `out`
  bool accept_changes = false;  // resume with another model, other data or options than the run began with
  // The text of `out`/config.yaml, written when the run begins; none: nothing is written. It is handed what
  // `auto` became (network.multiply, data.normalize with mean and std), to be recorded, so that the run can be resumed
  // and repeated whatever a measurement or another file would say then.
  std::function<std::string(const TrainOptions& decided)> config;
  int64_t epochs = 1;
  int64_t steps = 0;  // ends after so many optimizer steps; 0: after the epochs
  int64_t accumulate = 1;
  // Samples of a step: network.batch times accumulate, which follows from it; 0: not given. train_model alone has
  // network.batch = 0 (auto): the largest part of it that fits into memory.
  int64_t effective_batch = 0;
  int64_t memory_mib = 0;         // that a run may take; 0: what the system allows
  double mixup = 0, cutmix = 0;   // of their Beta(a, a); 0: none
  bool balanced = false;          // an epoch draws all classes alike
  std::string last = "drop";      // an epoch's last samples that fill no batch: drop, keep (a smaller batch)
  std::string optimizer = "sgd";  // sgd, adam, adamw, rmsprop, lion
  std::string rounding = "stochastic";  // nearest, stochastic, kahan
  double lr = 0.01;
  double momentum = 0.9;  // sgd, rmsprop
  bool nesterov = false;
  double weight_decay = 0;
  bool decay_all = true;  // false: none for biases and norms
  // PATTERN=NUMBER each: what the learning rate of these tensors is multiplied by, and their weight decay.
  std::vector<std::string> lr_scale, weight_decay_for;
  double layer_decay =
      1;  // learning rates fall by this factor from each group of layers to the one before it
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, alpha = 0.99;
  // Of exponential averages of the weights, which are evaluated and written in their place; 0: the weights themselves.
  double ema = 0;
  std::string schedule = "constant";
  int64_t warmup = 0;  // steps
  double clip = 0;     // L2 norm of all gradients; 0: none
  std::string loss_scale = "auto";
  std::vector<std::string> freeze;  // patterns of tensors that stay as they are
  // PATTERN=STEPS or PATTERN=EPOCHSe each: these tensors stay as they are so long, and are trained then.
  std::vector<std::string> unfreeze;
  std::vector<std::string> train;  // patterns of tensors that are trained whatever the file says
  // A new last layer: of so many rows (classes), or (new_head alone) as many as the data needs.
  bool new_head = false;
  int64_t classes = 0;             // 0: not given
  bool keep_classes = false;       // rows of classes that the file names too are kept; the others are drawn
  std::vector<std::string> reset;  // patterns of tensors that are drawn anew before the first step
  // Low-rank adapters are trained in the network's place: r=N,alpha=F[,dropout=P][,targets=PATTERN]...; empty: none.
  std::string lora;
  int64_t checkpoint_every = 0;    // steps; the end of an epoch besides
  double checkpoint_minutes = 10;  // so long after the last one; 0: not by time
  int64_t keep = 2;
  int64_t log_every = 10;
  int64_t eval_every = 0;  // steps between evaluations, besides those at the ends of epochs; 0: none
  int64_t patience = 0;    // evaluations; 0: never stop early
  double min_delta = 0;
  // Of batch norms, for evaluation and the written file: auto (measured where the running ones are measurably
  // off), running, measure.
  std::string bn_statistics = "auto";
  std::string evaluate_first = "on";  // on, off: the validation data before the first step (train_model)
  // loss, accuracy, macro-f1, ...: what "best" means; several with commas between them: the first says it, and a run
  // stops early (patience) when none of them improves.
  std::string watch = "loss";
  bool keep_best = false;
  double time_limit = 0;  // seconds
  bool profile = false;   // report where the time went, by operator
  bool dry_run = false;   // everything but training: opens, checks, plans, times a few steps; writes nothing
  bool verbose = true;    // false: of what was decided before the first step only the verdict and warnings
  bool quiet = false;
};

// What summary.json holds, and the text of it.
struct RunResult {
  std::optional<double> train_loss, val_loss, val_accuracy;
  double seconds = 0;
  double data_wait_seconds = 0;  // train: of these, waiting for data
  double samples_per_second = 0;
  int64_t steps = 0;
  int64_t skipped_steps = 0;
  int64_t stalled_updates = 0;
  int64_t planned_bytes = 0;
  int64_t peak_rss_bytes = 0;
  std::string metrics;       // precision, recall, ... as a table for people, with line breaks
  std::string report;        // for people: what came out, where it is, and what to do next, with line breaks
  std::string model_path;    // what was written; empty when nothing was
  std::string summary_json;  // one line
};

// A line for people (progress, choices made, warnings). Never results.
using Log = std::function<void(const std::string&)>;

RunResult train_model(const TrainOptions& options, const Log& log);

// What steps at rising learning rates do to the loss (a range test), from the weights of the file. Nothing is written.
struct LearningRates {
  std::optional<double> suggested;  // none: the loss fell at no rate
  std::vector<double> rates;        // of each step
  std::vector<double> losses;       // running means behind each step
  bool diverged = false;            // it ended early, because the loss rose beyond use
  std::string text;                 // a table for people, with line breaks
  std::string json;                 // one line
};
// options.steps: 0 is 100. Rates rise from 1e-7 to 10, the same factor each step.
LearningRates find_learning_rate(const TrainOptions& options, const Log& log);

struct EvalOptions {
  NetworkOptions network;
  DataOptions data;
  bool quiet = false;
  std::string metrics_out = "";  // folder of metrics.json, metrics.csv, confusion.csv; empty: none is written
  // Of a network in a run's folder, options that have their defaults become the run's (OptionRow::of_run), but for
  // those whose keys are named here.
  std::vector<std::string> given = {};
};
RunResult evaluate_model(const EvalOptions& options, const Log& log);

struct PredictOptions {
  NetworkOptions network;
  DataOptions
      data;         // labels are not needed; normalize may be "auto": that of the run in which the network is
  std::string out;  // file of the rows; empty: they go to `rows` of predict_samples
  bool overwrite = false;
  std::string format = "auto";      // csv, jsonl, npy; auto: as `out` ends, else csv
  std::string as = "auto";          // what the output's numbers are: auto, classes, labels, numbers
  std::string class_axis = "auto";  // where each position has a class: auto, first (behind the batch), last
  int64_t top = 1;                  // classes that are named for each sample
  bool probabilities = false;       // of all classes
  bool with_labels = false;         // the data has labels; each row gets its own
  bool quiet = false;
  std::vector<std::string> given = {};  // as in EvalOptions
};
struct PredictResult {
  int64_t samples = 0, bad_samples = 0;
  double seconds = 0;
  double samples_per_second = 0;
  double batch_seconds = 0;  // median of full batches, in the network alone
  std::string summary_json;  // one line
};
// A row for each sample, in the data's order; the same bytes on any number of threads. `out` appears when it is
// complete.
PredictResult predict_samples(const PredictOptions& options,
                              const std::function<void(const std::string&)>& rows, const Log& log);

struct CompareOptions {
  TrainOptions train;  // `out` is the folder of all runs; empty: runs/compare-1, -2, ...
  std::vector<std::string> variants{"fp32", "bf16",
                                    "fp16"};  // PRECISION[:ROUNDING][:MULTIPLY], e.g. fp16:nearest, fp16:wide
  int64_t seeds = 1;
};
struct CompareRow {
  std::string variant;
  std::vector<double> accuracy_before, accuracy, loss, seconds;  // one a seed
  std::vector<double> data_wait_seconds;                         // of `seconds`, waiting for data
  std::vector<double> samples_per_second;                        // in steps, waiting for data left out
  std::vector<double> planned_bytes, peak_bytes;
};
struct CompareResult {
  std::vector<CompareRow> rows;
  std::string table;         // for people
  std::string summary_json;  // one line
};
// Each variant and seed is a process of its own, `program` (the halftone executable), so that peak memory is
// its own.
CompareResult compare_runs(const CompareOptions& options, const std::string& program, const Log& log);

struct InspectOptions {
  NetworkOptions network;
  DataOptions data;                        // data.data may be empty: weights only
  std::vector<std::string> freeze, train;  // as in TrainOptions
  std::vector<std::string> given = {};     // as in EvalOptions
  bool verbose = true;                     // all tables; false: the verdict, and what needs attention
};
struct InspectResult {
  std::string text;
  std::string json;
  std::string refusal;  // why the network cannot be trained; empty: it can
};
InspectResult inspect_model(const InspectOptions& options, const Log& log);

// source: a run's folder or an ONNX file. format: fp32-onnx, fp16-onnx, safetensors. Returns what should be
// known of the result (values out of range, ...).
std::vector<std::string> export_model(const std::string& source, const std::string& format,
                                      const std::string& out, const std::string& weights = "");

struct Info {
  std::string text;
  std::string json;
};
Info info();

// Proofs against other programs. `inputs` are .npy files in the order of the network's inputs, or NAME=FILE.
// run: writes each output as DIR/<index>.npy. Error (nothing written) when an output is not finite in 16 bits
// where it is in fp32; `log` receives a warning for each that is finite in neither.
void run_model(
    const NetworkOptions& options, const std::vector<std::string>& inputs, const std::string& folder,
    const Log& log = [](const std::string&) {});
struct GradientsOptions {
  NetworkOptions network;
  // .npy files of one batch. Samples: one for each input, in the network's order, or NAME=FILE. Class numbers
  // or targets: one for each loss.
  std::vector<std::string> input, labels;
  std::string mode = "train";  // batch norms: train or eval
  std::string loss_scale =
      "auto";  // while gradients are computed, as in a run's first step; divided out again
  std::string output_dir;
};
// gradients: writes loss.npy and the gradient of each parameter as DIR/<name>.npy (/, %, control characters,
// a leading . and the l of "loss" as %XX), in fp32 (fp64: in fp64). Error (nothing written) when a label is
// no class of the network, or a gradient is not finite.
void write_gradients(const GradientsOptions& options);

std::string version();  // e.g. 0.2.0
std::string build();    // the commit and the compiler that this build was made of and with

}  // namespace halftone
