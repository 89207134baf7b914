// The one table of options: command line, YAML files, paired runs, checkpoints, documentation, manual and
// completion are made from it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "halftone/halftone.h"

namespace halftone {

// Where an option's value is.
template <class S>
using MemberOf = std::variant<std::string S::*, std::vector<std::string> S::*, int64_t S::*, uint64_t S::*,
                              double S::*, bool S::*, std::vector<double> S::*, std::optional<int64_t> S::*>;
using Member = std::variant<MemberOf<NetworkOptions>, MemberOf<DataOptions>, MemberOf<TrainOptions>>;

// Numbers that an option can have. What is NaN is outside.
struct Range {
  double least;
  std::optional<double> most;  // none: as many as the type has
  bool below_most = false;     // `most` itself is outside
  const char* text;            // "a number in [0, 1)", with the unit where it has one
};

// Commands that have an option, as bits.
enum Commands : unsigned {
  kTrain = 1,
  kCompare = 2,
  kEval = 4,
  kInspect = 8,
  kRun = 16,
  kGradients = 32,
  kPredict = 64
};

// How a list is given.
enum class Repeats : uint8_t {
  kNo,       // one value; the last one counts
  kEach,     // one value each time
  kSeveral,  // one or more values each time
  kCommas,   // numbers with commas between them
};

struct OptionRow {
  const char* key;    // "weight-decay"; in a YAML file and, after two dashes, on the command line
  Member member;      // its default is what a new object of the options has
  unsigned commands;  // Commands
  const char* group;  // the heading in --help; kEveryday comes first
  const char* value;  // "FILE"; empty: by the member's type
  const char* help;   // with the unit
  Repeats repeats = Repeats::kNo;
  std::optional<Range> range = std::nullopt;
  std::vector<const char*> choices = {};  // all words that it takes; empty: other values
  std::vector<const char*> aliases = {};  // other names on the command line and in YAML files
  // May differ when a run is continued: it changes neither the steps nor their results, but how long they go
  // on, what is kept and logged, threads, where files lie. What lies there is compared for itself.
  bool free_on_resume = false;
  bool positional = false;         // may stand without its name
  bool inverted = false;           // a flag that sets its member to false
  const char* shown_default = "";  // in --help; empty: the member's
  // Commands that take the run's value, where it is not given, for the network in a run's folder: how its samples are
  // read, and what its loss is.
  unsigned of_run = 0;
  unsigned auto_is_zero = 0;  // commands in which the word "auto" is a value of this number, and is 0
};

inline constexpr const char* kEveryday = "Options";
inline constexpr const char* kRunFolder = "The run's folder";

// In the order in which a run records them.
const std::vector<OptionRow>& option_table();

// The member's values as text, as the command line takes them: none where there is nothing to give, one for a
// flag ("true", "false").
std::vector<std::string> option_values(const OptionRow& row, const TrainOptions& options);

// The other way, for members of NetworkOptions and DataOptions alone. Error (input): it is none of the member's.
void set_option(const OptionRow& row, const std::vector<std::string>& values, NetworkOptions& network,
                DataOptions& data);

// Error (usage) for the first option of this command that is out of its range.
void check_ranges(const TrainOptions& options, unsigned command);

// Those of `texts` that are nearest to `wanted`, at most three, for "did you mean".
std::vector<std::string> nearest_texts(std::string_view wanted, const std::vector<std::string>& texts);

}  // namespace halftone
