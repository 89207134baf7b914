// A network in training, step by step: for programs that have their samples in memory, that look at tensors
// between two steps, or that decide themselves when to evaluate and to save. `halftone train` takes the same
// steps; the same options, samples and seed give the same bits. docs/library.md has an example.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "halftone/halftone.h"

namespace halftone {

// What the elements of an array are. fp16 and bf16 are their bits, bool is a byte that is 0 or 1.
enum class ElementType : uint8_t {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kF16,
  kBf16,
  kF32,
  kF64
};
int64_t size_bytes(ElementType type);   // of one element
std::string name_of(ElementType type);  // "fp32", "int64", ...

// A dense array: its elements in row-major order, in the byte order of the machine.
struct Array {
  ElementType type = ElementType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  // Copies. Error (usage): the number of elements is not what the shape says.
  static Array of(std::vector<int64_t> shape, const std::vector<float>& elements);
  static Array of(std::vector<int64_t> shape, const std::vector<double>& elements);
  static Array of(std::vector<int64_t> shape, const std::vector<int32_t>& elements);
  static Array of(std::vector<int64_t> shape, const std::vector<int64_t>& elements);
  static Array of(std::vector<int64_t> shape, const std::vector<uint8_t>& elements);

  int64_t size() const;  // elements
  // The elements of a floating-point type; fp64 is rounded to the nearest. Error (usage): it holds integers.
  std::vector<float> floats() const;
  // The elements of an integer type or bool. Error (usage): it holds floating-point numbers, or one that is
  // beyond int64.
  std::vector<int64_t> integers() const;
};

// Arrays by name. A batch has one for each input of the network and for the labels, with the samples along
// the first axis of each.
using Arrays = std::map<std::string, Array>;

struct StepReport {
  int64_t step = 0;                // steps taken, this one included
  int64_t epoch = 0;               // epochs done before this step's; 0 where batches are given
  double loss = 0;                 // mean over the step's samples, before its update
  std::optional<double> accuracy;  // share in [0, 1], of losses that have classes
  double learning_rate = 0;
  double loss_scale = 1;     // that the gradients were computed with
  double gradient_norm = 0;  // L2, of all gradients, without the loss scale and before clipping
  bool skipped =
      false;  // a gradient was not finite: no weight was changed, and an automatic loss scale was lowered
  int64_t stalled_updates = 0;  // of weights, that rounded to nothing
  int64_t samples = 0;          // of all steps so far
  double seconds = 0;           // in steps so far
};

struct EvaluationReport {
  int64_t step = 0;  // steps taken before it
  int64_t samples = 0;
  double loss = 0;  // mean over the samples
  std::optional<double> accuracy;
};

struct EpochReport {
  int64_t epoch = 0;                     // counted from 1
  int64_t step = 0;                      // steps taken
  std::optional<double> loss, accuracy;  // means over its samples; none: all its steps were skipped
};

struct CheckpointReport {
  int64_t step = 0;
  std::string path;   // the file
  bool best = false;  // of the best evaluation so far
};

// Called by the thread that steps, when the step, evaluation, epoch or checkpoint is complete. One that
// throws ends the run as any error does. It must not call the session.
struct Observer {
  std::function<void(const StepReport&)> step = {};
  std::function<void(const EvaluationReport&)> evaluation = {};  // of an epoch's end
  std::function<void(const EpochReport&)> epoch = {};
  std::function<void(const CheckpointReport&)> checkpoint = {};
};

// Of the options these have another meaning than for train_model: `out` may be empty, and then nothing is
// written but what save() is told to; `quiet` false gives `log` the messages of the run, true the warnings
// alone; no progress is drawn. With `out` the session has the folder as a run has: events.jsonl, TensorBoard
// events, a checkpoint at each epoch's end and when the options say so. A session is used by one thread at a
// time. An Error about what a function was given (a batch, a name, a place to write to, a step too many)
// leaves it as it was. Any other one of a step, an evaluation or a checkpoint ends it: it takes no more steps
// and writes nothing more.
class Session {
 public:
  // Trains on the samples of options.data.data. With options.resume it goes on from the newest checkpoint in
  // options.out. Errors: those of train_model.
  explicit Session(const TrainOptions& options, const Log& log = {});

  // Trains on batches that are given. `example` is a batch like those that will follow, and is not trained
  // on. What else is learned from the data is learned from it: which array is which input's (by its name,
  // else the only one of its type and shape) and which are the labels, how labels are read, the statistics of
  // batch norms that are restored, and whether 16 bits fit. All arrays are read as those of a .npz file are:
  // bytes for an input of floats are pixels, scaled to 0..1 and normalised. The batch size is the example's.
  // options.data.data and val must be empty; --schedule constant needs nothing else, other schedules but step
  // and plateau the number of `steps`.
  Session(const TrainOptions& options, const Arrays& example, const Log& log = {});

  ~Session();
  Session(Session&& other) noexcept;
  Session& operator=(Session&& other) noexcept;

  void observe(Observer observer);

  // The next step on the data that options name, with what is due after it: a checkpoint; at the end of an
  // epoch an evaluation of the validation data. None: the run has come to its end (epochs, steps, patience,
  // time), and no step was taken.
  std::optional<StepReport> step();
  // A step on a batch with the example's arrays: same names, types, shapes; and one over options.accumulate
  // batches, where that is more than 1. Error (input): other arrays, or labels that the network does not
  // have; then no step was taken. Error (usage): all options.steps steps were taken.
  StepReport step(const Arrays& batch);
  StepReport step_over(const std::vector<Arrays>& batches);
  int64_t steps() const;  // taken so far

  // The validation data, or one batch with labels, any number of samples. Batch norms use measured statistics
  // as --bn-statistics has it where the options name training data, else the running ones. Changes nothing.
  // Error (usage): there is no validation data.
  EvaluationReport evaluate();
  EvaluationReport evaluate(const Arrays& batch);
  // The network's outputs by name (those that losses read, as the network gives them), for a batch that needs
  // no labels, of any number of samples; at least fp32. Batch norms use their running statistics. Only of a
  // session that was made with an example.
  Arrays predict(const Arrays& batch);

  // The tensors of the network: parameters (trained and frozen) and running statistics, by the file's names;
  // where batch norms were restored, with the tensors of these, and the convolutions as they are before them.
  std::vector<std::string> tensor_names() const;
  std::vector<std::string> trained_names() const;  // of these, those that steps move by a gradient
  // In the file's shape, 16 bits widened to fp32. Error (usage): there is no tensor of that name; it names
  // near ones.
  Array tensor(const std::string& name) const;
  // Rounded to the storage type (nearest). The optimizer's momentum stays. Errors (usage): no such tensor,
  // integers. (input): another shape, a value that is not finite or beyond the type's range; then it stays as
  // it was.
  void set_tensor(const std::string& name, const Array& values);
  // The gradient of the mean loss by each trained tensor for a batch, in training's mode and with the loss
  // scale of the next step divided out. Changes nothing. Takes memory of its own for all gradients from the
  // first call on. Only of a session that was made with an example. Error (numerical): one is not finite.
  Arrays gradients(const Arrays& batch);

  // Writes the network as it is now: the file that was read, with the trained tensors replaced. Batch norms
  // get the statistics that evaluate() uses. Error (numerical): a tensor is not finite.
  void save(const std::string& path);
  // Writes a checkpoint into options.out; a session (or `halftone train --resume`, where the folder has a
  // config.yaml) with the same options and `resume` goes on from it with the same bits. Error (usage):
  // options.out is empty.
  void checkpoint();
  // All steps that are left, and then the result in options.out: model.onnx, read back and checked, and
  // summary.json, as train_model writes them. Ends the session. Only with options.data.data and options.out.
  RunResult run();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halftone
