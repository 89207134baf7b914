// --watch: the figures of the validation data that decide what is best, and when a run stops early.
#pragma once

#include <string>
#include <vector>

#include "train/trainer_options.h"

namespace halftone::api {

// "macro-f1,loss": at least one, the first of which says what is best; "f1" is macro-f1. Error (usage) for names that
// there are not, or twice.
std::vector<train::Watch> parse_watch(const std::string& text);

// "loss", "accuracy", "macro-f1".
std::string name_of(const train::Watch& watch);

}  // namespace halftone::api
