// How the labels of a data set are read for a network: one decision, from the loss that was asked for, what
// the network ends in and what the labels are in their files. docs/formats.md has it as a table.
#pragma once

#include <optional>
#include <string>

#include "data/dataset.h"
#include "pass/head.h"
#include "pass/training.h"

namespace halftone::train {

struct Target {
  pass::LossOptions loss;      // but for label smoothing
  data::LabelReading reading;  // what the reader delivers
};

// `form` may be of kind kNone: then what the network's output says is taken.
// Error (input): labels, output and loss do not fit; it says what was expected and found, naming a sample
// where one is to blame.
Target decide_target(pass::Loss asked, const pass::Head& head, const data::LabelForm& form);

// The same for whole numbers, several a sample, whose `form` has no more than `where`, width and shape: the
// classes of the positions (tokens, pixels) of an output (N, C, ...) or (N, ..., C). None: they are not.
// Error: they are, and the output has no logits of classes there.
std::optional<Target> decide_positions(pass::Loss asked, const pass::Head& head, const data::LabelForm& form);

// Whether classes of positions of this shape fit an output of another size as `target` was decided.
bool positions_fit(const pass::Head& head, const Target& target, const Shape& labels);
// The same of targets of this shape a sample.
bool targets_fit(const pass::Head& head, const Shape& labels);

// Labels that are read as others were decided to be: samples of another size, or a batch of a host. Error
// (input): the loss does not take their numbers. `others`: whose labels decided, for messages.
void check_as_decided(const data::LabelForm& form, const data::LabelReading& reading,
                      const pass::LossOptions& loss, const std::string& others);

}  // namespace halftone::train
