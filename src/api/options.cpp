#include "halftone/options.h"

#include <fmt/ranges.h>

#include <charconv>

#include "base/error.h"
#include "base/near_names.h"

namespace halftone {
namespace {

using N = NetworkOptions;
using D = DataOptions;
using T = TrainOptions;

// Deduces which of the three holds the member.
template <class M>
Member of(M N::*member) {
  return MemberOf<N>(member);
}
template <class M>
Member of(M D::*member) {
  return MemberOf<D>(member);
}
template <class M>
Member of(M T::*member) {
  return MemberOf<T>(member);
}

constexpr unsigned kRuns = kTrain | kCompare;
constexpr unsigned kMeasured = kRuns | kEval;
constexpr unsigned kWithData = kMeasured | kInspect;
constexpr unsigned kWithSamples = kWithData | kPredict;  // labels or not
constexpr unsigned kAll = kWithSamples | kRun | kGradients;

// Commands that take these of a run (OptionRow::of_run): how samples are read, and labels and the loss.
constexpr unsigned kMeasuredLikeRun = kEval | kInspect;
constexpr unsigned kReadLikeRun = kMeasuredLikeRun | kPredict;

constexpr const char* kNetwork = "Network";
constexpr const char* kLoss = "Loss";
constexpr const char* kSixteen = "16 bits";
constexpr const char* kNorms = "Batch norms";
constexpr const char* kSamples = "Samples";
constexpr const char* kFiles = "Files of samples";
constexpr const char* kText = "Text";
constexpr const char* kOptimizer = "Optimizer";
constexpr const char* kSteps = "Steps";
constexpr const char* kEvaluation = "Evaluation and stopping";

std::optional<Range> at_least(double least, const char* text) {
  return Range{.least = least, .most = std::nullopt, .text = text};
}
std::optional<Range> below_one() {
  return Range{.least = 0, .most = 1, .below_most = true, .text = "a number in [0, 1)"};
}

std::vector<OptionRow> make_table() {
  return {
      {.key = "model",
       .member = of(&N::model),
       .commands = kAll,
       .group = kEveryday,
       .value = "FILE",
       .help = "the network: an ONNX file, or a run's folder",
       .free_on_resume = true,
       .positional = true},
      {.key = "weights",
       .member = of(&N::weights),
       .commands = kAll,
       .group = kNetwork,
       .value = "",
       .help = "of a run's folder: final, last (newest checkpoint) or best; default: final, or last before "
               "the run's end",
       .choices = {"final", "last", "best"}},
      {.key = "dim",
       .member = of(&N::dims),
       .commands = kAll,
       .group = kNetwork,
       .value = "NAME=SIZE",
       .help = "NAME=SIZE: a size of the network's inputs that the file leaves open (INPUT:AXIS=SIZE where "
               "it has no name); default: the data's own; may be repeated",
       .repeats = Repeats::kEach,
       .of_run = kReadLikeRun},
      {.key = "threads",
       .member = of(&N::threads),
       .commands = kAll,
       .group = kEveryday,
       .value = "",
       .help = "threads that compute; 0: as many as the process may use; results don't depend on it",
       .free_on_resume = true},
      {.key = "precision",
       .member = of(&N::precision),
       .commands = kTrain | kEval | kPredict | kRun | kGradients,
       .group = kEveryday,
       .value = "",
       .help = "storage of weights, activations, gradients and optimizer state: fp16, bf16 or fp32",
       .choices = {"fp16", "bf16", "fp32"},
       .aliases = {"dtype"}},
      {.key = "multiply",
       .member = of(&N::multiply),
       .commands = kMeasured | kPredict | kRun | kGradients,
       .group = kSixteen,
       .value = "",
       .help =
           "how products are formed: block (16-bit integers with shared scales), wide (fp32), half "
           "(fp16 arithmetic; only where the CPU has it, and not the same bits as elsewhere), or auto: "
           "block for 16 bits; train takes half for fp16 where it measures it a tenth faster, records that "
           "and keeps it on --resume",
       .choices = {"auto", "block", "wide", "half"}},
      {.key = "check-precision",
       .member = of(&N::check_precision),
       .commands = kMeasured,
       .group = kSixteen,
       .value = "",
       .help = "on: compare the loss of a few batches in 16 bits with fp32's first, and stop where rounding "
               "does not explain "
               "the difference; off: do not",
       .choices = {"on", "off"}},
      {.key = "batchnorm",
       .member = of(&N::batchnorm),
       .commands = kRuns,
       .group = kNorms,
       .value = "",
       .help = "batch norms: restore (put folded ones back for training), keep (as the file has them), "
               "freeze (running statistics, not updated), or auto: "
               "restore where names show that they were folded",
       .choices = {"auto", "restore", "keep", "freeze"},
       .aliases = {"batch-norm"}},
      {.key = "seed",
       .member = of(&N::seed),
       .commands = kRuns,
       .group = kEveryday,
       .value = "",
       .help = "of order, augmentation, dropout and dithering"},
      {.key = "batch",
       .member = of(&N::batch),
       .commands = kWithSamples,
       .group = kEveryday,
       .value = "",
       .help = "samples a batch; train takes auto: the largest that fits into memory (--memory), with "
               "--accumulate for the rest "
               "of --effective-batch, or of 128",
       .range = at_least(1, "at least 1"),
       .aliases = {"batch-size"},
       .auto_is_zero = kTrain},
      {.key = "loss",
       .member = of(&N::loss),
       .commands = kWithData | kGradients,
       .group = kLoss,
       .value = "LOSS",
       .help =
           "[OUTPUT=]KIND[:FIELD][*WEIGHT]. KIND: auto (from output and labels), cross-entropy, mse, bce or "
           "bce-with-logits; with --task embeddings in-batch-negatives, cosine or triplet; OUTPUT: of the "
           "network, FIELD: of the data (its labels), WEIGHT: in the sum of several. "
           "May be repeated: the sum is trained; default: auto",
       .repeats = Repeats::kEach,
       .shown_default = "auto",
       .of_run = kMeasuredLikeRun},
      {.key = "loss-graph",
       .member = of(&N::loss_graph),
       .commands = kWithData | kGradients,
       .group = kLoss,
       .value = "FILE",
       .help = "ONNX file that is a loss: takes outputs of the network and fields of the data by their "
               "names, and gives one number "
               "or one a sample; trained too, or alone where --loss is not given",
       .free_on_resume = true,
       .of_run = kMeasuredLikeRun},
      {.key = "output",
       .member = of(&N::output),
       .commands = kWithSamples | kGradients,
       .group = kLoss,
       .value = "NAME",
       .help = "the network's output that the loss reads (or a tensor inside it); the parameters that it "
               "does not "
               "depend on stay as they are; default: the first output of floats",
       .of_run = kReadLikeRun},
      {.key = "label-smoothing",
       .member = of(&N::label_smoothing),
       .commands = kWithData | kGradients,
       .group = kLoss,
       .value = "",
       .help = "share of a label spread over all classes (cross-entropy)",
       .range = below_one(),
       .of_run = kMeasuredLikeRun},
      {.key = "ignore-index",
       .member = of(&N::ignore_index),
       .commands = kWithData | kGradients,
       .group = kLoss,
       .value = "",
       .help = "class number of targets that do not count (cross-entropy); default: -100 where each token or "
               "pixel has a "
               "class, else none",
       .of_run = kMeasuredLikeRun},
      {.key = "class-weights",
       .member = of(&N::class_weights),
       .commands = kWithData | kGradients,
       .group = kLoss,
       .value = "FILE|A,B,C",
       .help = "what targets of each class count (cross-entropy): numbers with commas between them, a file "
               "of numbers, or "
               "(train, compare) balanced: samples / (classes * samples of the class)",
       .of_run = kMeasuredLikeRun},
      {.key = "input",
       .member = of(&N::inputs),
       .commands = kWithSamples,
       .group = kNetwork,
       .value = "NAME=FIELD|NUMBER",
       .help = "NAME=FIELD: the field of the data (.npz, .safetensors, folder of .npy), or the columns of a "
               "CSV (A,B or FIRST..LAST), "
               "that an input of the network takes; "
               "default: the field of its name, or the only one of its type and shape. NAME=NUMBER: one "
               "number for all samples, in "
               "every element; may be repeated",
       .repeats = Repeats::kEach,
       .of_run = kReadLikeRun},
      {.key = "sample-weight",
       .member = of(&N::sample_weight),
       .commands = kWithData,
       .group = kLoss,
       .value = "FIELD",
       .help = "field of the data: how much each sample counts (cross-entropy)",
       .of_run = kMeasuredLikeRun},
      {.key = "data",
       .member = of(&D::data),
       .commands = kWithSamples,
       .group = kEveryday,
       .value = "SPEC",
       .help = "the samples: class folders of images, IDX, CIFAR binaries, .npy/.npz, .safetensors (or a "
               "folder of these), CSV, or text (.jsonl, .txt, folders of .txt by class, CSV with --text); "
               "PATH[SPLIT][RANGE] picks a part, e.g. PATH[train][:50%]; predict also takes an image, a "
               "pattern ('photos/*.jpg'), and - for paths on standard input, one a line",
       .free_on_resume = true},
      {.key = "val",
       .member = of(&D::val),
       .commands = kRuns,
       .group = kEveryday,
       .value = "SPEC|PERCENT",
       .help = "validation samples; 10%: so many of --data, spread evenly over each class, which are not "
               "trained on; "
               "default: the val or test part of --data, if it has one; none: without",
       .aliases = {"validation"},
       .free_on_resume = true},
      {.key = "normalize",
       .member = of(&D::normalize),
       .commands = kWithSamples,
       .group = kSamples,
       .value = "",
       .help = "preset of mean and deviation: imagenet, cifar10, cifar100, mnist, fashion-mnist or none; "
               "auto (the default of predict, eval and inspect): that of the run in whose folder the network "
               "is, or "
               "what preprocessor_config.json, timm's config.json or the file's metadata says, else none, "
               "which train "
               "refuses",
       .choices = {"imagenet", "cifar10", "cifar100", "mnist", "fashion-mnist", "none", "auto"},
       .aliases = {"normalise"}},
      {.key = "mean",
       .member = of(&D::mean),
       .commands = kWithSamples,
       .group = kSamples,
       .value = "",
       .help = "numbers instead of a preset: of each channel, after scaling to 0..1",
       .repeats = Repeats::kCommas},
      {.key = "std",
       .member = of(&D::std),
       .commands = kWithSamples,
       .group = kSamples,
       .value = "",
       .help = "standard deviation of each channel",
       .repeats = Repeats::kCommas},
      {.key = "channel-order",
       .member = of(&D::channel_order),
       .commands = kWithSamples,
       .group = kSamples,
       .value = "",
       .help = "of the network's three channels: rgb or bgr (as OpenCV and Caffe have them); --mean and "
               "--std are of "
               "red, green and blue all the same",
       .choices = {"rgb", "bgr"},
       .of_run = kReadLikeRun},
      {.key = "resize",
       .member = of(&D::resize),
       .commands = kWithSamples,
       .group = kSamples,
       .value = "",
       .help = "pixels of the shorter side before the middle is cut out; 0: as far as the size needs",
       .of_run = kReadLikeRun},
      {.key = "crop-padding",
       .member = of(&D::crop_padding),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: pixels of padding before a random crop; 0: none"},
      {.key = "flip",
       .member = of(&D::flip),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: random horizontal flip"},
      {.key = "random-resized-crop",
       .member = of(&D::random_resized_crop),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: random part of the image, scaled to the size"},
      {.key = "vertical-flip",
       .member = of(&D::vertical_flip),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: random vertical flip"},
      {.key = "rotate",
       .member = of(&D::rotate),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: rotation by up to so many degrees to either side; 0: none",
       .range = Range{.least = 0, .most = 180, .text = "0 to 180 degrees"}},
      {.key = "color-jitter",
       .member = of(&D::color_jitter),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: random brightness, contrast, saturation and hue, by up to these shares "
               "(0.4,0.4,0.4,0.1); missing "
               "ones are 0",
       .repeats = Repeats::kCommas,
       .aliases = {"colour-jitter"}},
      {.key = "randaugment",
       .member = of(&D::randaugment),
       .commands = kRuns,
       .group = kSamples,
       .value = "N,M",
       .help = "training: RandAugment, N operations (up to 6) of strength M (0 to 30), such as 2,9"},
      {.key = "erase",
       .member = of(&D::erase),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: probability that a random rectangle is erased",
       .range = Range{.least = 0, .most = 1, .text = "a number in [0, 1]"}},
      {.key = "layout",
       .member = of(&D::layout),
       .commands = kWithSamples,
       .group = kSamples,
       .value = "",
       .help = "where the channels of the network's images are: channels-first, channels-last, or auto: as "
               "its first nodes and sizes show",
       .choices = {"auto", "channels-first", "channels-last"},
       .of_run = kReadLikeRun},
      {.key = "exif-orientation",
       .member = of(&D::exif_orientation),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "on: pictures are turned upright as their EXIF says; off: they are read as they are stored",
       .choices = {"on", "off"},
       .of_run = kReadLikeRun},
      {.key = "skip-bad",
       .member = of(&D::skip_bad),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "leave broken samples out, counted, instead of stopping"},
      {.key = "label-column",
       .member = of(&D::label_column),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "CSV: the label's column, a name or a number, counted from 0; several with commas between "
               "them; default: the last. .jsonl: its key. Text: none leaves labels out",
       .aliases = {"label"},
       .of_run = kMeasuredLikeRun},
      {.key = "label-separator",
       .member = of(&D::label_separator),
       .commands = kWithData,
       .group = kFiles,
       .value = "",
       .help = "CSV of images: what is between the labels in a cell that has several (space, or a character "
               "such as |); "
               "default: a cell is one class",
       .of_run = kMeasuredLikeRun},
      {.key = "text",
       .member = of(&D::text),
       .commands = kWithSamples,
       .group = kText,
       .value = "COLUMN[,COLUMN2]",
       .help = "column of a CSV, or key of a .jsonl, that is the text, or the two of a pair (of embeddings "
               "two or "
               "three); reads a CSV as text; default of a .jsonl: text",
       .aliases = {"text-column"},
       .of_run = kReadLikeRun},
      {.key = "tokenizer",
       .member = of(&D::tokenizer),
       .commands = kWithSamples,
       .group = kText,
       .value = "FILE",
       .help = "tokenizer.json or vocab.txt, or a folder with one; default: the one "
               "beside the network",
       .free_on_resume = true},
      {.key = "pooling",
       .member = of(&N::pooling),
       .commands = kWithSamples,
       .group = kText,
       .value = "",
       .help =
           "embeddings: how the vectors of a text's tokens become one, where the network's output is [batch, "
           "tokens, width]: mean (of the tokens that the attention mask has), cls (the first token's), max; "
           "none: the "
           "network gives one vector a text",
       .choices = {"none", "mean", "cls", "max"}},
      {.key = "normalize-embeddings",
       .member = of(&N::normalize_embeddings),
       .commands = kWithSamples,
       .group = kText,
       .value = "",
       .help = "embeddings: on: each gets length 1; off: as it is; auto: off for --loss triplet, else on",
       .choices = {"auto", "on", "off"},
       .aliases = {"normalise-embeddings"}},
      {.key = "similarity-scale",
       .member = of(&N::similarity_scale),
       .commands = kMeasured,
       .group = kText,
       .value = "",
       .help = "in-batch-negatives: what cosines are multiplied by (1 / temperature)",
       .range = Range{.least = 1e-3, .most = 1e4, .text = "a number from 0.001 to 10000"}},
      {.key = "margin",
       .member = of(&N::margin),
       .commands = kMeasured,
       .group = kText,
       .value = "",
       .help = "triplet: by how much the second text is to be nearer than the third",
       .range = Range{.least = 0, .most = 1e6, .text = "a number from 0 to a million"}},
      {.key = "task",
       .member = of(&D::task),
       .commands = kWithData,
       .group = kText,
       .value = "",
       .help =
           "what is learned from text: labels (a class or number for each text or pair), tags (a class "
           "for each word), "
           "causal-lm (the next token), masked-lm (hidden tokens), embeddings (a vector for each text: near "
           "for texts of a sample), or auto: as the data shows",
       .choices = {"auto", "labels", "tags", "causal-lm", "masked-lm", "embeddings"},
       .of_run = kMeasuredLikeRun},
      {.key = "text-sample",
       .member = of(&D::text_sample),
       .commands = kWithSamples,
       .group = kText,
       .value = "",
       .help = "what a sample is in a .txt: line, document (the whole file), or auto: a document for "
               "causal-lm, else a line",
       .choices = {"auto", "line", "document"},
       .of_run = kReadLikeRun},
      {.key = "max-tokens",
       .member = of(&D::max_tokens),
       .commands = kWithSamples,
       .group = kText,
       .value = "",
       .help = "tokens of a text, special ones included, behind which it is cut off; 0: as the tokenizer, or "
               "the network's "
               "length or positions say",
       .range = at_least(0, "0 or more"),
       .aliases = {"max-length"},
       .of_run = kReadLikeRun},
      {.key = "block-tokens",
       .member = of(&D::block_tokens),
       .commands = kWithData,
       .group = kText,
       .value = "",
       .help = "causal-lm: tokens of a block, into which texts are packed one behind the other; 0: the "
               "network's length, or 256",
       .range = at_least(0, "0 or more"),
       .aliases = {"block-size"},
       .of_run = kMeasuredLikeRun},
      {.key = "csv-header",
       .member = of(&D::csv_header),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "CSV: whether the first line names the columns: yes, no, or auto: yes if none of its cells is "
               "a number",
       .choices = {"auto", "yes", "no"},
       .of_run = kReadLikeRun},
      {.key = "csv-delimiter",
       .member = of(&D::csv_delimiter),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "CSV: what is between cells: comma, semicolon, tab, pipe, or auto: recognised",
       .choices = {"auto", "comma", "semicolon", "tab", "pipe"},
       .of_run = kReadLikeRun},
      {.key = "csv-decimal",
       .member = of(&D::csv_decimal),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "CSV: the decimal mark: point, comma, or auto: recognised",
       .choices = {"auto", "point", "comma"},
       .of_run = kReadLikeRun},
      {.key = "exclude-columns",
       .member = of(&D::exclude_columns),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "COLUMNS",
       .help = "CSV: columns that are left out (ids, dates): names, #NUMBER (counted from 0), FIRST..LAST, "
               "with commas between them",
       .repeats = Repeats::kEach,
       .aliases = {"exclude"},
       .of_run = kReadLikeRun},
      {.key = "standardize",
       .member = of(&D::standardize),
       .commands = kWithData,
       .group = kFiles,
       .value = "COLUMNS",
       .help = "CSV: columns from which the training data's mean is taken, divided by its deviation; all: "
               "every number that feeds floats",
       .repeats = Repeats::kEach,
       .aliases = {"standardise"}},
      {.key = "one-hot",
       .member = of(&D::one_hot),
       .commands = kWithData,
       .group = kFiles,
       .value = "COLUMNS",
       .help = "CSV: columns of categories: a number for each, 1 for the cell's and 0 for the others",
       .repeats = Repeats::kEach},
      {.key = "codes",
       .member = of(&D::codes),
       .commands = kWithData,
       .group = kFiles,
       .value = "COLUMNS",
       .help = "CSV: columns of categories as whole numbers from 0, for inputs of integers and for labels",
       .repeats = Repeats::kEach},
      {.key = "unknown-category",
       .member = of(&D::unknown_category),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "CSV: a category that the training data does not have: error, or zeros (one-hot)",
       .choices = {"error", "zeros"},
       .of_run = kReadLikeRun},
      {.key = "columns-file",
       .member = of(&D::columns_file),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "FILE",
       .help = "columns.json of a run: means, deviations and categories; default: those of the network or "
               "the run, else measured on "
               "the training data",
       .free_on_resume = true},
      {.key = "x-key",
       .member = of(&D::x_key),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "npz, safetensors: name of the samples",
       .of_run = kReadLikeRun},
      {.key = "y-key",
       .member = of(&D::y_key),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "npz, safetensors: name of the labels",
       .of_run = kMeasuredLikeRun},
      {.key = "classes-file",
       .member = of(&D::classes_file),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "FILE",
       .help = "file with the class names in the order of the network's outputs, one a line; default: those "
               "of the network or the run, "
               "else in the order of the names",
       .free_on_resume = true},
      {.key = "loader-threads",
       .member = of(&D::loader_threads),
       .commands = kWithSamples,
       .group = kFiles,
       .value = "",
       .help = "threads that read and decode; 0: as many as the process may use",
       .aliases = {"workers", "num-workers"},
       .free_on_resume = true},
      {.key = "cache",
       .member = of(&D::cache_mib),
       .commands = kWithData,
       .group = kFiles,
       .value = "",
       .help = "MiB of decoded images kept in memory",
       .free_on_resume = true},
      {.key = "epochs",
       .member = of(&T::epochs),
       .commands = kRuns,
       .group = kEveryday,
       .value = "",
       .help = "passes over the training samples",
       .range = at_least(1, "at least 1"),
       .free_on_resume = true},
      {.key = "steps",
       .member = of(&T::steps),
       .commands = kRuns,
       .group = kEveryday,
       .value = "",
       .help = "end after so many optimizer steps; 0: after the epochs",
       .range = at_least(0, "0 or more"),
       .aliases = {"max-steps"},
       .free_on_resume = true},
      {.key = "accumulate",
       .member = of(&T::accumulate),
       .commands = kRuns,
       .group = kSteps,
       .value = "",
       .help = "batches whose gradients are added up before a step",
       .range = at_least(1, "at least 1"),
       .aliases = {"gradient-accumulation-steps"}},
      {.key = "effective-batch",
       .member = of(&T::effective_batch),
       .commands = kRuns,
       .group = kSteps,
       .value = "",
       .help = "samples of a step, instead of --accumulate: so many times --batch as it takes; 0: not given",
       .range = at_least(0, "0 (not given) or more")},
      {.key = "memory",
       .member = of(&T::memory_mib),
       .commands = kTrain,
       .group = kSteps,
       .value = "",
       .help = "MiB that the run may take, by its plan; 0: what the system allows",
       .range = at_least(0, "0 (what the system allows) or more"),
       .free_on_resume = true},
      {.key = "mixup",
       .member = of(&T::mixup),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: samples of a batch are mixed in pairs, with their labels, by a share of Beta(A, "
               "A), such as 0.2; 0: "
               "not",
       .range = Range{.least = 0, .most = 1, .text = "a number in [0, 1]"}},
      {.key = "cutmix",
       .member = of(&T::cutmix),
       .commands = kRuns,
       .group = kSamples,
       .value = "",
       .help = "training: a rectangle of each picture is another's, by a share of Beta(A, A), such as 1; "
               "with --mixup, each "
               "batch has one of them; 0: not",
       .range = Range{.least = 0, .most = 1, .text = "a number in [0, 1]"}},
      {.key = "balanced",
       .member = of(&T::balanced),
       .commands = kRuns,
       .group = kSteps,
       .value = "",
       .help =
           "each sample of an epoch is drawn by itself, first its class, all alike, then one of its samples"},
      {.key = "last",
       .member = of(&T::last),
       .commands = kRuns,
       .group = kSteps,
       .value = "",
       .help =
           "samples that are left at the end of an epoch and fill no batch: drop, or keep (a smaller batch)",
       .choices = {"drop", "keep"}},
      {.key = "optimizer",
       .member = of(&T::optimizer),
       .commands = kRuns,
       .group = kEveryday,
       .value = "",
       .help = "sgd, adam, adamw, rmsprop or lion (whose authors take --beta2 0.99 and a third to a tenth of "
               "adamw's --lr)",
       .choices = {"sgd", "adam", "adamw", "rmsprop", "lion"}},
      {.key = "rounding",
       .member = of(&T::rounding),
       .commands = kRuns,
       .group = kSixteen,
       .value = "",
       .help = "of weights and optimizer state in 16 bits: nearest, stochastic or kahan",
       .choices = {"nearest", "stochastic", "kahan"}},
      {.key = "lr",
       .member = of(&T::lr),
       .commands = kRuns,
       .group = kEveryday,
       .value = "",
       .help = "learning rate",
       .range = at_least(0, "0 or more"),
       .aliases = {"learning-rate"}},
      {.key = "momentum",
       .member = of(&T::momentum),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "sgd, rmsprop",
       .range = below_one()},
      {.key = "nesterov",
       .member = of(&T::nesterov),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "sgd: Nesterov momentum"},
      {.key = "weight-decay",
       .member = of(&T::weight_decay),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "L2 decay; decoupled with adamw and lion",
       .range = at_least(0, "0 or more"),
       .aliases = {"wd"}},
      {.key = "lr-scale",
       .member = of(&T::lr_scale),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "PATTERN=NUMBER",
       .help = "factor of the learning rate of the tensors that the pattern (* and ?) names; of several "
               "patterns the one "
               "with more letters counts; may be repeated",
       .repeats = Repeats::kEach},
      {.key = "weight-decay-for",
       .member = of(&T::weight_decay_for),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "PATTERN=NUMBER",
       .help =
           "weight decay of the tensors that the pattern names, instead of --weight-decay; may be repeated",
       .repeats = Repeats::kEach},
      {.key = "layer-decay",
       .member = of(&T::layer_decay),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "the learning rate of each group of layers is so many times that of the next one towards the "
               "output; 1: "
               "all are alike (docs/new-heads.md says what a group is)",
       .range = Range{.least = 0, .most = 1, .text = "a number in [0, 1]"}},
      // A flag that is off by default, as all are: that is what an absent one means in a configuration.
      {.key = "no-decay-norm-bias",
       .member = of(&T::decay_all),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "no decay of biases and norm parameters",
       .inverted = true},
      {.key = "beta1",
       .member = of(&T::beta1),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "adam, adamw, lion",
       .range = below_one()},
      {.key = "beta2",
       .member = of(&T::beta2),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "adam, adamw, lion",
       .range = below_one()},
      {.key = "eps",
       .member = of(&T::eps),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "adam, adamw, rmsprop; added in fp32",
       .range = at_least(0, "0 or more"),
       .aliases = {"epsilon"}},
      {.key = "alpha",
       .member = of(&T::alpha),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "rmsprop",
       .range = below_one()},
      {.key = "ema",
       .member = of(&T::ema),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "decay of exponential averages of the weights, such as 0.999, which are evaluated and written "
               "in their "
               "place; 0: the weights themselves",
       .range = below_one()},
      {.key = "schedule",
       .member = of(&T::schedule),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "constant, step:size=30,gamma=0.1, cosine, linear, onecycle:max=0.1 or "
               "plateau:factor=0.1,patience=10",
       .aliases = {"lr-schedule", "scheduler"}},
      {.key = "warmup",
       .member = of(&T::warmup),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "steps over which the rate rises linearly",
       .range = at_least(0, "0 or more steps"),
       .aliases = {"warmup-steps"}},
      {.key = "clip",
       .member = of(&T::clip),
       .commands = kRuns,
       .group = kOptimizer,
       .value = "",
       .help = "bound on the L2 norm of all gradients; 0: none",
       .range = at_least(0, "0 (none) or more"),
       .aliases = {"clip-norm", "max-grad-norm"}},
      {.key = "loss-scale",
       .member = of(&T::loss_scale),
       .commands = kRuns,
       .group = kSixteen,
       .value = "",
       .help = "auto, or a power of two"},
      {.key = "freeze",
       .member = of(&T::freeze),
       .commands = kRuns | kInspect,
       .group = kNetwork,
       .value = "",
       .help = "pattern (* and ?) of tensors that stay bit for bit as the file has them; a batch norm with "
               "one of them uses its "
               "running statistics, which stay too; may be repeated",
       .repeats = Repeats::kSeveral},
      {.key = "train",
       .member = of(&T::train),
       .commands = kRuns | kInspect,
       .group = kNetwork,
       .value = "",
       .help =
           "pattern of tensors that are trained though the file doesn't make them parameters, or though "
           "--freeze names them: where both match, the pattern with more letters counts; may be repeated; "
           "inspect lists what is trained and what isn't, and why",
       .repeats = Repeats::kSeveral},
      {.key = "unfreeze",
       .member = of(&T::unfreeze),
       .commands = kRuns,
       .group = kNetwork,
       .value = "PATTERN=WHEN",
       .help = "tensors of the pattern stay as they are until so many steps were taken (500), or epochs "
               "(2e), and are "
               "trained then; of several patterns the one with more letters counts; may be repeated",
       .repeats = Repeats::kEach},
      {.key = "new-head",
       .member = of(&T::new_head),
       .commands = kRuns,
       .group = kNetwork,
       .value = "",
       .help = "give the network's last layer as many rows as the data has classes (or numbers a sample), "
               "drawn anew "
               "from the seed as PyTorch draws them"},
      {.key = "classes",
       .member = of(&T::classes),
       .commands = kRuns,
       .group = kNetwork,
       .value = "",
       .help = "the same with so many rows; 0: as the file has it",
       .range = at_least(0, "0 or more")},
      {.key = "keep-classes",
       .member = of(&T::keep_classes),
       .commands = kRuns,
       .group = kNetwork,
       .value = "",
       .help = "with a new head: keep the rows of classes whose names the network has already"},
      {.key = "old-classes-file",
       .member = of(&D::old_classes_file),
       .commands = kRuns,
       .group = kNetwork,
       .value = "FILE",
       .help = "with --keep-classes: the names of the classes that the network has, in the order of its "
               "outputs, one a "
               "line; default: those in the file's metadata",
       .free_on_resume = true},
      {.key = "reset",
       .member = of(&T::reset),
       .commands = kRuns,
       .group = kNetwork,
       .value = "",
       .help = "pattern (* and ?) of tensors that are drawn anew before the first step, as PyTorch's layers "
               "begin; may "
               "be repeated",
       .repeats = Repeats::kSeveral},
      {.key = "lora",
       .member = of(&T::lora),
       .commands = kRuns,
       .group = kNetwork,
       .value = "r=N,alpha=F",
       .help = "train low-rank adapters of rank N, scaled by F / N, beside the network's weights, which stay as they "
               "are; also dropout=P, and targets=PATTERN of modules or weights, which may be repeated. Without "
               "targets: every MatMul, Gemm and 1x1 Conv but the last layer. With --new-head the last layer is "
               "trained in full"},
      {.key = "bn-statistics",
       .member = of(&T::bn_statistics),
       .commands = kRuns,
       .group = kNorms,
       .value = "",
       .help = "statistics of batch norms, for evaluation and the written file: running (averages kept in "
               "training), measure (measured over training batches for the weights as they are), or auto: "
               "measured "
               "where the running ones are measurably off",
       .choices = {"auto", "running", "measure"}},
      {.key = "checkpoint-every",
       .member = of(&T::checkpoint_every),
       .commands = kRuns,
       .group = kRunFolder,
       .value = "",
       .help = "also write a checkpoint every so many steps, besides those at the end of each epoch; 0: not "
               "by steps",
       .range = at_least(0, "0 or more steps"),
       .aliases = {"save-every"},
       .free_on_resume = true},
      {.key = "checkpoint-minutes",
       .member = of(&T::checkpoint_minutes),
       .commands = kRuns,
       .group = kRunFolder,
       .value = "",
       .help = "also write a checkpoint so many minutes after the last one; 0: not by time",
       .range = at_least(0, "0 (not by time) or more"),
       .free_on_resume = true},
      {.key = "keep",
       .member = of(&T::keep),
       .commands = kRuns,
       .group = kRunFolder,
       .value = "",
       .help = "checkpoints kept, in addition to the best",
       .range = at_least(1, "at least 1"),
       .free_on_resume = true},
      {.key = "log-every",
       .member = of(&T::log_every),
       .commands = kRuns,
       .group = kRunFolder,
       .value = "",
       .help = "steps between records in events.jsonl",
       .range = at_least(1, "at least 1"),
       .free_on_resume = true},
      {.key = "eval-every",
       .member = of(&T::eval_every),
       .commands = kRuns,
       .group = kEvaluation,
       .value = "",
       .help = "also evaluate, and write a checkpoint, every so many steps, besides the end of each epoch; "
               "0: not by steps",
       .range = at_least(0, "0 or more steps")},
      {.key = "patience",
       .member = of(&T::patience),
       .commands = kRuns,
       .group = kEvaluation,
       .value = "",
       .help = "evaluations without improvement before stopping early (and the best is kept); 0: never",
       .range = at_least(0, "0 (never) or more"),
       .aliases = {"early-stopping"},
       .free_on_resume = true},
      {.key = "min-delta",
       .member = of(&T::min_delta),
       .commands = kRuns,
       .group = kEvaluation,
       .value = "",
       .help = "what counts as an improvement",
       .range = at_least(0, "0 or more"),
       .free_on_resume = true},
      {.key = "evaluate-first",
       .member = of(&T::evaluate_first),
       .commands = kTrain,
       .group = kEvaluation,
       .value = "",
       .help = "on: evaluate the validation data before the first step too, and say what may be wrong where "
               "the start "
               "is at the level of chance; off: do not",
       .choices = {"on", "off"},
       .free_on_resume = true},
      {.key = "watch",
       .member = of(&T::watch),
       .commands = kRuns,
       .group = kEvaluation,
       .value = "FIGURE[,FIGURE]",
       .help = "what is best in the validation data: the lowest loss, the highest accuracy, macro-f1 (f1), "
               "weighted-f1, "
               "auroc, top5 or mean-iou of classes, the lowest mae or rmse or the highest r2, pearson or spearman of targets, the "
               "highest recall-at-1, mrr, spearman, pearson or triplet-accuracy of embeddings; several with commas "
               "between them (f1,loss): the first says what is best, and --patience stops when none of them "
               "improves",
       .choices = {"loss", "accuracy", "macro-f1", "weighted-f1", "auroc", "top5", "mean-iou", "mae", "rmse",
                   "r2", "pearson", "spearman", "recall-at-1", "mrr", "triplet-accuracy"}},
      {.key = "keep-best",
       .member = of(&T::keep_best),
       .commands = kRuns,
       .group = kEvaluation,
       .value = "",
       .help = "end with the best evaluated weights instead of the last",
       .free_on_resume = true},
      {.key = "time-limit",
       .member = of(&T::time_limit),
       .commands = kRuns,
       .group = kEvaluation,
       .value = "",
       .help = "seconds after which the run ends with a checkpoint; 0: none",
       .range = at_least(0, "0 (none) or more seconds"),
       .free_on_resume = true},
  };
}

// Calls f with the member that the row names.
template <class F>
auto with_member(const OptionRow& row, const TrainOptions& o, const F& f) {
  if (const auto* network = std::get_if<MemberOf<N>>(&row.member))
    return std::visit([&](auto member) { return f(o.network.*member); }, *network);
  if (const auto* data = std::get_if<MemberOf<D>>(&row.member))
    return std::visit([&](auto member) { return f(o.data.*member); }, *data);
  return std::visit([&](auto member) { return f(o.*member); }, std::get<MemberOf<T>>(row.member));
}

struct AsText {
  bool inverted;
  using Texts = std::vector<std::string>;
  Texts operator()(const std::string& v) const { return v.empty() ? Texts() : Texts{v}; }
  Texts operator()(const std::vector<std::string>& v) const { return v; }
  Texts operator()(int64_t v) const { return {std::to_string(v)}; }
  Texts operator()(uint64_t v) const { return {std::to_string(v)}; }
  Texts operator()(double v) const { return {fmt::format("{}", v)}; }
  Texts operator()(bool v) const { return {v != inverted ? "true" : "false"}; }
  Texts operator()(const std::vector<double>& v) const {
    return v.empty() ? Texts() : Texts{fmt::format("{}", fmt::join(v, ","))};
  }
  Texts operator()(const std::optional<int64_t>& v) const { return v ? Texts{std::to_string(*v)} : Texts(); }
};

// Sets a member to what its text says; false: the text is none of its values.
struct FromText {
  const std::vector<std::string>& values;
  bool one() const { return values.size() == 1; }
  bool operator()(std::string& v) const {
    if (one()) v = values[0];
    return one();
  }
  bool operator()(std::vector<std::string>& v) const {
    v = values;
    return true;
  }
  bool operator()(bool& v) const {
    v = one() && values[0] == "true";
    return one() && (v || values[0] == "false");
  }
  bool operator()(std::vector<double>& v) const {
    v.assign(values.size(), 0);
    for (size_t i = 0; i < values.size(); ++i)
      if (!number(values[i], v[i])) return false;
    return true;
  }
  bool operator()(std::optional<int64_t>& v) const { return one() && number(values[0], v.emplace()); }
  template <class V>
  bool operator()(V& v) const {
    return one() && number(values[0], v);
  }

 private:
  template <class V>
  static bool number(const std::string& text, V& v) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
    return error == std::errc() && end == text.data() + text.size();
  }
};

struct AsNumber {
  std::optional<double> operator()(int64_t v) const { return static_cast<double>(v); }
  std::optional<double> operator()(double v) const { return v; }
  template <class V>
  std::optional<double> operator()(const V&) const {
    return std::nullopt;
  }
};

}  // namespace

const std::vector<OptionRow>& option_table() {
  static const std::vector<OptionRow> table = make_table();
  return table;
}

std::vector<std::string> option_values(const OptionRow& row, const TrainOptions& options) {
  return with_member(row, options, AsText{row.inverted});
}

void set_option(const OptionRow& row, const std::vector<std::string>& values, NetworkOptions& network,
                DataOptions& data) {
  bool known = false;
  if (const auto* member = std::get_if<MemberOf<N>>(&row.member)) {
    known = std::visit([&](auto m) { return FromText{values}(network.*m); }, *member);
  } else if (const auto* of_data = std::get_if<MemberOf<D>>(&row.member)) {
    known = std::visit([&](auto m) { return FromText{values}(data.*m); }, *of_data);
  }
  if (!known) throw input_error("--{}: it has no value {}", row.key, fmt::join(values, ","));
}

void check_ranges(const TrainOptions& options, unsigned command) {
  for (const OptionRow& row : option_table()) {
    if (!row.range || (row.commands & command) == 0) continue;
    const std::optional<double> value = with_member(row, options, AsNumber());
    HT_ASSERT(value.has_value(), "{} has a range and is no number", row.key);
    const Range& range = *row.range;
    const bool below = !range.most || (range.below_most ? *value < *range.most : *value <= *range.most);
    if (*value >= range.least && below) continue;
    throw usage_error("--{} {} is not possible: expected {}", row.key, option_values(row, options).front(),
                      range.text);
  }
}

std::vector<std::string> nearest_texts(std::string_view wanted, const std::vector<std::string>& texts) {
  return near_names(wanted, texts, 3);
}

}  // namespace halftone
