// Predictions as text: a row of CSV, or a line of JSON, a sample.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "api/output_meaning.h"
#include "tensor/tensor.h"

namespace halftone::api {

struct RowOptions {
  bool json = false;           // else CSV
  int64_t top = 1;             // classes that are named
  bool probabilities = false;  // of all classes
  bool labels = false;         // each sample's own label
  bool quoted_name = true;     // JSON: a sample's name is text, not a number
};

class PredictionRows {
 public:
  // names: of the classes, the labels or the targets; empty: they are numbered. Error (usage): what CSV has no
  // columns for; more `top` than classes.
  PredictionRows(const OutputMeaning& meaning, std::vector<std::string> names, const RowOptions& options,
                 int64_t numbers);

  // Of CSV, with its line break; JSON has none.
  std::string header() const;
  // output: [samples, ...] in fp32 or fp64, as the network gives it; it is changed into probabilities. The rows of its
  // samples are appended to `text`. Error (numerical): a number that is not finite, naming its sample.
  void append(Tensor& output, std::span<const std::string> samples, std::span<const std::string> labels,
              std::string& text) const;

 private:
  // Classes are ranked by what the network gives: probabilities that are rounded may be equal where that is not.
  struct Made {
    const Tensor& scores;
    Tensor probabilities;  // or numbers, as they are
  };
  std::vector<int64_t> ranked(const Made& made, int64_t row) const;
  void append_csv(const Made& made, int64_t row, std::string& text) const;
  void append_json(const Made& made, int64_t row, std::string& text) const;
  void append_positions(const Made& made, int64_t row, std::string& text) const;
  std::vector<double> probabilities_of(const Tensor& output, int64_t row) const;
  std::string name_of(int64_t label) const;
  std::string json_name_of(int64_t label) const;

  OutputMeaning meaning_;
  std::vector<std::string> names_;
  RowOptions options_;
  int64_t numbers_;  // a sample
};

// A cell as RFC 4180 has it.
std::string csv_cell(const std::string& text);
std::string json_text(const std::string& text);

}  // namespace halftone::api
