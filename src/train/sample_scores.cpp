#include "train/sample_scores.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/error.h"
#include "data/array.h"
#include "data/safetensors.h"
#include "train/safetensors.h"

namespace halftone::train {
namespace {

std::vector<double> values_of(const data::Array& array, data::Element type) {
  if (array.type != type || array.shape.size() != 1)
    throw input_error("{} is {} {}, expected {} [samples]", array.name, data::name_of(array.type),
                      halftone::to_string(array.shape), data::name_of(type));
  std::vector<float> values(static_cast<size_t>(array.shape[0]));
  data::read_floats(array, 0, values);
  return {values.begin(), values.end()};
}

}  // namespace

void write_sample_scores(const std::string& path, const Score& score) {
  const auto count = static_cast<int64_t>(score.losses.size());
  // Losses of labels, several a sample, have no sample that is right as a whole.
  HT_ASSERT(count == score.samples && (score.hits.empty() || score.hits.size() == score.losses.size()),
            "{} losses and {} hits of {} samples", count, score.hits.size(), score.samples);
  Safetensors file;
  Tensor loss(DType::kF32, {count});
  std::copy(score.losses.begin(), score.losses.end(), loss.as<float>().begin());
  file.tensors.emplace("loss", std::move(loss));
  if (score.correct && !score.hits.empty()) {
    Tensor correct(DType::kU8, {count});
    std::copy(score.hits.begin(), score.hits.end(), correct.as<uint8_t>().begin());
    file.tensors.emplace("correct", std::move(correct));
  }
  write_safetensors(path, file);
}

SampleScores read_sample_scores(const std::string& path) {
  const std::vector<data::Array> arrays = data::read_safetensors(path);
  const auto find = [&](const char* name) {
    return std::find_if(arrays.begin(), arrays.end(),
                        [&](const data::Array& a) { return a.name == fmt::format("{}, {}", path, name); });
  };
  const auto loss = find("loss");
  if (loss == arrays.end())
    throw input_error("{} has no tensor 'loss': it is not a run's losses by sample", path);
  SampleScores scores;
  scores.loss = values_of(*loss, data::Element::kF32);
  const auto correct = find("correct");
  if (correct == arrays.end()) return scores;
  scores.correct = values_of(*correct, data::Element::kU8);
  if (scores.correct.size() != scores.loss.size())
    throw input_error("{} has {} losses and {} samples that are right or wrong", path, scores.loss.size(),
                      scores.correct.size());
  return scores;
}

}  // namespace halftone::train
