#include <cstdio>

#include "commands.h"
#include "halftone/printable.h"

namespace cli {
namespace {

// Comma-separated numbers, ".485,.456,.406".
CLI::Option* add_numbers(CLI::App& app, const std::string& name, std::vector<double>& to,
                         const std::string& text) {
  return app.add_option(name, to, text)->delimiter(',');
}

}  // namespace

void add_model_options(CLI::App& app, halftone::NetworkOptions& o) {
  app.add_option("MODEL,--model", o.model, "the network: an ONNX file, or a run's folder")->type_name("FILE");
  app.add_option("--weights", o.weights,
                 "of a run's folder: final, last (newest checkpoint) or best; default: final, or last before the run's end");
  app.add_option("--dim", o.dims,
                 "NAME=SIZE: a size of the network's inputs that the file leaves open (INPUT:AXIS=SIZE where "
                 "it has no name); default: the data's own; may be repeated")
      ->type_name("NAME=SIZE")
      ->expected(1)  // each time, so that MODEL may follow
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--threads", o.threads,
                 "threads that compute; 0: as many as the process may use; results don't depend on it")
      ->capture_default_str();
}

void add_precision_option(CLI::App& app, halftone::NetworkOptions& o) {
  app.add_option("--precision", o.precision,
                 "storage of weights, activations, gradients and optimizer state: fp16, bf16 or fp32")
      ->capture_default_str();
}

void add_multiply_option(CLI::App& app, halftone::NetworkOptions& o) {
  app.add_option(
         "--multiply", o.multiply,
         "how products are formed: block (16-bit integers with shared scales), wide (fp32), half "
         "(fp16 arithmetic; only where the CPU has it, and not the same bits as elsewhere), or auto: "
         "block for 16 bits; train takes half for fp16 where it measures it a tenth faster, records that "
         "and keeps it on --resume")
      ->capture_default_str();
}

void add_batch_option(CLI::App& app, halftone::NetworkOptions& o) {
  app.add_option("--batch", o.batch, "samples a batch")->capture_default_str();
}

void add_loss_options(CLI::App& app, halftone::NetworkOptions& o) {
  app.add_option("--loss", o.loss,
                 "[OUTPUT=]KIND[:FIELD][*WEIGHT]. KIND: auto (from output and labels), cross-entropy, mse, bce or "
                 "bce-with-logits; OUTPUT: of the network, FIELD: of the data (its labels), WEIGHT: in the sum of several. "
                 "May be repeated: the sum is trained; default: auto")
      ->type_name("LOSS")
      ->default_str("auto")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--loss-graph", o.loss_graph,
                 "ONNX file that is a loss: takes outputs of the network and fields of the data by their names, and gives one number "
                 "or one a sample; trained too, or alone where --loss is not given")
      ->type_name("FILE");
  app.add_option("--output", o.output,
                 "the network's output that the loss reads (or a tensor inside it); the parameters that it does not "
                 "depend on stay as they are; default: the first output of floats")
      ->type_name("NAME");
  app.add_option("--label-smoothing", o.label_smoothing,
                 "share of a label spread over all classes (cross-entropy)")
      ->capture_default_str();
  app.add_option("--ignore-index", o.ignore_index,
                 "class number of targets that do not count (cross-entropy); default: -100 where each token or pixel has a "
                 "class, else none");
  app.add_option("--class-weights", o.class_weights,
                 "what targets of each class count (cross-entropy): numbers with commas between them, or a file of numbers")
      ->type_name("FILE|A,B,C");
}

void add_field_options(CLI::App& app, halftone::NetworkOptions& o) {
  app.add_option("--input", o.inputs,
                 "NAME=FIELD: the field of the data (.npz, .safetensors, folder of .npy), or the columns of a CSV (A,B or FIRST..LAST), "
                 "that an input of the network takes; "
                 "default: the field of its name, or the only one of its type and shape. NAME=NUMBER: one number for all samples, in "
                 "every element; may be repeated")
      ->type_name("NAME=FIELD|NUMBER")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--sample-weight", o.sample_weight, "field of the data: how much each sample counts (cross-entropy)")
      ->type_name("FIELD");
}

void add_run_options(CLI::App& app, halftone::NetworkOptions& o) {
  app.add_option("--batchnorm", o.batchnorm,
                 "batch norms: restore (put folded ones back for training), keep (as the file has them), "
                 "freeze (running statistics, not updated), or auto: "
                 "restore where names show that they were folded")
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of order, augmentation, dropout and dithering")
      ->capture_default_str();
}

void add_check_option(CLI::App& app, halftone::NetworkOptions& o) {
  app.add_option("--check-precision", o.check_precision,
                 "on: compare the loss of a few batches in 16 bits with fp32's first, and stop where rounding does not explain "
                 "the difference; off: do not")
      ->capture_default_str();
}

void add_config_option(CLI::App& app, std::string& path) {
  app.add_option("--config", path, "YAML file with options; the command line wins")->type_name("FILE");
}

void add_data_options(CLI::App& app, halftone::DataOptions& o, bool validation) {
  app.add_option("--data", o.data,
                 "the samples: class folders of JPEG/PNG, IDX, CIFAR binaries, .npy/.npz, .safetensors or "
                 "CSV; PATH[SPLIT][RANGE] picks a part, e.g. "
                 "PATH[train][:50%]")
      ->type_name("SPEC");
  if (validation)
    app.add_option(
           "--val", o.val,
           "validation samples; default: the val or test part of --data, if it has one; none: without")
        ->type_name("SPEC");
  app.add_option("--normalize", o.normalize,
                 "preset of mean and deviation: imagenet, cifar10, cifar100, mnist, fashion-mnist or none")
      ->capture_default_str();
  add_numbers(app, "--mean", o.mean, "numbers instead of a preset: of each channel, after scaling to 0..1");
  add_numbers(app, "--std", o.std, "standard deviation of each channel");
  app.add_option("--resize", o.resize,
                 "pixels of the shorter side before the middle is cut out; 0: as far as the size needs")
      ->capture_default_str();
  if (validation) {
    app.add_option("--crop-padding", o.crop_padding,
                   "training: pixels of padding before a random crop; 0: none")
        ->capture_default_str();
    app.add_flag("--flip", o.flip, "training: random horizontal flip");
    app.add_flag("--random-resized-crop", o.random_resized_crop,
                 "training: random part of the image, scaled to the size");
  }
  app.add_option("--layout", o.layout,
                 "where the channels of the network's images are: channels-first, channels-last, or auto: as "
                 "its first nodes and sizes show")
      ->capture_default_str();
  app.add_flag("--skip-bad", o.skip_bad, "leave broken samples out, counted, instead of stopping");
  app.add_option("--label-column", o.label_column,
                 "CSV: the label's column, a name or a number, counted from 0; several with commas between them; default: the last");
  app.add_option(
         "--csv-header", o.csv_header,
         "CSV: whether the first line names the columns: yes, no, or auto: yes if none of its cells is a number")
      ->capture_default_str();
  app.add_option("--csv-delimiter", o.csv_delimiter,
                 "CSV: what is between cells: comma, semicolon, tab, pipe, or auto: recognised")
      ->capture_default_str();
  app.add_option("--csv-decimal", o.csv_decimal, "CSV: the decimal mark: point, comma, or auto: recognised")
      ->capture_default_str();
  const auto add_columns = [&](const char* name, std::vector<std::string>& to, const char* text) {
    app.add_option(name, to, text)->type_name("COLUMNS")->expected(1)->allow_extra_args(false)->multi_option_policy(
        CLI::MultiOptionPolicy::TakeAll);
  };
  add_columns("--exclude-columns", o.exclude_columns,
              "CSV: columns that are left out (ids, dates): names, #NUMBER (counted from 0), FIRST..LAST, with commas between them");
  add_columns("--standardize", o.standardize,
              "CSV: columns from which the training data's mean is taken, divided by its deviation; all: every number that feeds floats");
  add_columns("--one-hot", o.one_hot, "CSV: columns of categories: a number for each, 1 for the cell's and 0 for the others");
  add_columns("--codes", o.codes, "CSV: columns of categories as whole numbers from 0, for inputs of integers and for labels");
  app.add_option("--unknown-category", o.unknown_category,
                 "CSV: a category that the training data has not: error, or zeros (one-hot)")
      ->capture_default_str();
  app.add_option("--columns-file", o.columns_file,
                 "columns.json of a run: means, deviations and categories; default: those of the network or the run, else measured on "
                 "the training data")
      ->type_name("FILE");
  app.add_option("--x-key", o.x_key, "npz, safetensors: name of the samples");
  app.add_option("--y-key", o.y_key, "npz, safetensors: name of the labels");
  app.add_option("--classes-file", o.classes_file,
                 "file with the class names in the order of the network's outputs, one a line; default: those of the network or the run, "
                 "else in the order of the names")
      ->type_name("FILE");
  app.add_option("--loader-threads", o.loader_threads,
                 "threads that read and decode; 0: as many as the process may use")
      ->capture_default_str();
  app.add_option("--cache", o.cache_mib, "MiB of decoded images kept in memory")->capture_default_str();
}

void add_role_options(CLI::App& app, std::vector<std::string>& train, std::vector<std::string>& freeze) {
  app.add_option("--freeze", freeze,
                 "pattern (* and ?) of tensors that stay bit for bit as the file has them; a batch norm with "
                 "one of them uses its "
                 "running statistics, which stay too; may be repeated");
  app.add_option("--train", train,
                 "pattern of tensors that are trained though the file doesn't make them parameters, or though "
                 "--freeze names them: where both match, the pattern with more letters counts; may be repeated; "
                 "inspect lists what is trained and what isn't, and why");
}

void add_train_options(CLI::App& app, halftone::TrainOptions& o) {
  app.add_option("--epochs", o.epochs, "passes over the training samples")->capture_default_str();
  app.add_option("--steps", o.steps, "end after so many optimizer steps; 0: after the epochs")
      ->capture_default_str();
  app.add_option("--accumulate", o.accumulate, "batches whose gradients are added up before a step")
      ->capture_default_str();
  app.add_option("--last", o.last,
                 "samples that are left at the end of an epoch and fill no batch: drop, or keep (a smaller batch)")
      ->capture_default_str();
  app.add_option("--optimizer", o.optimizer, "sgd, adam, adamw or rmsprop")->capture_default_str();
  app.add_option("--rounding", o.rounding,
                 "of weights and optimizer state in 16 bits: nearest, stochastic or kahan")
      ->capture_default_str();
  app.add_option("--lr", o.lr, "learning rate")->capture_default_str();
  app.add_option("--momentum", o.momentum, "sgd, rmsprop")->capture_default_str();
  app.add_flag("--nesterov", o.nesterov, "sgd: Nesterov momentum");
  app.add_option("--weight-decay", o.weight_decay, "L2 decay; decoupled with adamw")->capture_default_str();
  // A flag that is off by default, as all are: that is what an absent one means in a configuration.
  app.add_flag_function(
      "--no-decay-norm-bias", [&o](int64_t given) { o.decay_all = given <= 0; },
      "no decay of biases and norm parameters");
  app.add_option("--beta1", o.beta1, "adam, adamw")->capture_default_str();
  app.add_option("--beta2", o.beta2, "adam, adamw")->capture_default_str();
  app.add_option("--eps", o.eps, "adam, adamw, rmsprop; added in fp32")->capture_default_str();
  app.add_option("--alpha", o.alpha, "rmsprop")->capture_default_str();
  app.add_option("--schedule", o.schedule,
                 "constant, step:size=30,gamma=0.1, cosine, linear, onecycle:max=0.1 or "
                 "plateau:factor=0.1,patience=10")
      ->capture_default_str();
  app.add_option("--warmup", o.warmup, "steps over which the rate rises linearly")->capture_default_str();
  app.add_option("--clip", o.clip, "bound on the L2 norm of all gradients; 0: none")->capture_default_str();
  app.add_option("--loss-scale", o.loss_scale, "auto, or a power of two")->capture_default_str();
  add_role_options(app, o.train, o.freeze);
  app.add_option("--bn-statistics", o.bn_statistics,
                 "statistics of batch norms, for evaluation and the written file: running (averages kept in "
                 "training), measure (measured over training batches for the weights as they are), or auto: measured "
                 "where the running ones are measurably off")
      ->capture_default_str();
  app.add_option("--checkpoint-every", o.checkpoint_every,
                 "also write a checkpoint every so many steps, besides those at the end of each epoch; 0: not by steps")
      ->capture_default_str();
  app.add_option("--checkpoint-minutes", o.checkpoint_minutes,
                 "also write a checkpoint so many minutes after the last one; 0: not by time")
      ->capture_default_str();
  app.add_option("--keep", o.keep, "checkpoints kept, in addition to the best")->capture_default_str();
  app.add_option("--log-every", o.log_every, "steps between records in events.jsonl")->capture_default_str();
  app.add_option("--patience", o.patience,
                 "evaluations without improvement before stopping early (and the best is kept); 0: never")
      ->capture_default_str();
  app.add_option("--min-delta", o.min_delta, "what counts as an improvement")->capture_default_str();
  app.add_option("--watch", o.watch, "what is best: the lowest validation loss, or the highest accuracy")
      ->capture_default_str();
  app.add_flag("--keep-best", o.keep_best, "end with the best evaluated weights instead of the last");
  app.add_option("--time-limit", o.time_limit, "seconds after which the run ends with a checkpoint; 0: none")
      ->capture_default_str();
}

halftone::Log make_log(const bool& quiet) {
  return [&quiet](const std::string& line) {
    if (!quiet || line.rfind("warning:", 0) == 0)
      std::fprintf(stderr, "%s\n", halftone::printable(line).c_str());
  };
}

}  // namespace cli
