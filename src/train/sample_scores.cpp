#include "train/sample_scores.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/error.h"
#include "train/safetensors.h"

namespace halftone::train {
namespace {

template <class T>
std::vector<double> values_of(const Safetensors& file, const std::string& name, DType dtype,
                              const std::string& path) {
  const Tensor& t = file.tensors.at(name);
  if (t.dtype() != dtype || t.shape().size() != 1)
    throw input_error("{}: tensor {} is {} {}, expected {} [samples]", path, name, name_of(t.dtype()),
                      halftone::to_string(t.shape()), name_of(dtype));
  const std::span<const T> values = t.as<T>();
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
  const Safetensors file = read_safetensors(path);
  if (file.tensors.count("loss") == 0)
    throw input_error("{} has no tensor 'loss': it is not a run's losses by sample", path);
  SampleScores scores;
  scores.loss = values_of<float>(file, "loss", DType::kF32, path);
  if (file.tensors.count("correct") == 0) return scores;
  scores.correct = values_of<uint8_t>(file, "correct", DType::kU8, path);
  if (scores.correct.size() != scores.loss.size())
    throw input_error("{} has {} losses and {} samples that are right or wrong", path, scores.loss.size(),
                      scores.correct.size());
  return scores;
}

}  // namespace halftone::train
