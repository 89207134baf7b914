#include "api/text.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "api/input.h"
#include "base/error.h"
#include "base/words.h"
#include "data/text.h"
#include "text/tokenizer.h"

namespace halftone::api {
namespace {

using data::TextTask;

constexpr int64_t kDefaultLength = 512;
constexpr int64_t kDefaultBlock = 256;

// What exporters call the inputs of networks that read tokens.
struct Names {
  const char* array;
  std::vector<std::string> names;
};
const std::array<Names, 4>& usual_names() {
  static const std::array<Names, 4> names = {{
      {data::kTokenIds, {"input_ids", "input_word_ids", "input_tokens", "token_ids", "tokens", "ids"}},
      {data::kTokenMask, {"attention_mask", "input_mask", "mask"}},
      {data::kTokenTypes, {"token_type_ids", "segment_ids", "input_type_ids", "type_ids", "token_types"}},
      {data::kTokenPositions, {"position_ids", "input_positions", "positions"}},
  }};
  return names;
}

// Without what TensorFlow puts behind a name.
std::string plain(const std::string& name) {
  const size_t colon = name.rfind(':');
  return data::lower_case(colon == std::string::npos ? name : name.substr(0, colon));
}

std::string array_for(const std::string& input) {
  for (const Names& n : usual_names())
    if (std::find(n.names.begin(), n.names.end(), plain(input)) != n.names.end()) return n.array;
  return "";
}

bool is_integer(const onnx::ValueInfo& input) {
  return input.dtype && !is_float(*input.dtype) && input.type != "bool";
}

std::string listed_inputs(const std::vector<onnx::ValueInfo>& inputs) {
  std::vector<std::string> texts;
  for (const onnx::ValueInfo& input : inputs)
    texts.push_back(fmt::format("'{}' ({})", input.name, input.type));
  return fmt::format("{}", fmt::join(texts, ", "));
}

// The array of each input, in the network's order.
std::vector<std::string> arrays_of_inputs(const onnx::Model& model, const NetworkOptions& network,
                                          const std::string& path) {
  const std::vector<onnx::ValueInfo>& inputs = model.inputs();
  std::vector<std::string> arrays(inputs.size());
  std::set<std::string> known;
  for (const Names& n : usual_names()) known.insert(n.array);
  for (const std::string& text : network.inputs) {
    if (is_fixed(model, text)) continue;
    const auto named = named_value(text, inputs);
    if (!named || known.count(named->second) == 0)
      throw usage_error(
          "--input {}: expected NAME=FIELD, or NAME=NUMBER; the network has the inputs {}, and text gives "
          "the fields {}",
          text, listed_inputs(inputs), fmt::join(known, ", "));
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].name == named->first) {
        if (!arrays[i].empty()) throw usage_error("--input {}: {} is given twice", text, named->first);
        arrays[i] = named->second;
      }
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    if (arrays[i].empty()) arrays[i] = array_for(inputs[i].name);
  // The only input of integers takes the ids, whatever it is called.
  if (std::find(arrays.begin(), arrays.end(), data::kTokenIds) == arrays.end()) {
    std::vector<size_t> open;
    for (size_t i = 0; i < inputs.size(); ++i)
      if (arrays[i].empty() && is_integer(inputs[i])) open.push_back(i);
    if (open.size() == 1) arrays[open[0]] = data::kTokenIds;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (arrays[i].empty())
      throw input_error(
          "{}: what does the network's input '{}' ({}) take of a text? Its name says none of {}; give "
          "--input {}=FIELD, or "
          "--input {}=NUMBER for one number everywhere\n  the network has {}{}",
          path, inputs[i].name, inputs[i].type, fmt::join(known, ", "), inputs[i].name, inputs[i].name,
          listed_inputs(inputs),
          inputs[i].name.find("past_key") != std::string::npos ||
                  inputs[i].name.find("past.") != std::string::npos
              ? "\n  (inputs of a cache are for generating; export the network without one: use_cache=False)"
              : "");
    const bool floats_for_mask =
        arrays[i] == data::kTokenMask && inputs[i].dtype && is_float(*inputs[i].dtype);
    if (!is_integer(inputs[i]) && !floats_for_mask &&
        !(arrays[i] == data::kTokenMask && inputs[i].type == "bool"))
      throw input_error("{}: input '{}' takes {}, and {} are whole numbers", path, inputs[i].name,
                        inputs[i].type, arrays[i]);
  }
  if (std::find(arrays.begin(), arrays.end(), data::kTokenIds) == arrays.end())
    throw input_error("{}: no input of the network takes token ids; it has {}; give --input NAME={}", path,
                      listed_inputs(inputs), data::kTokenIds);
  return arrays;
}

// The input that takes ids; none where nothing says which it is.
const onnx::ValueInfo* ids_input(const onnx::Model& model, const NetworkOptions& network,
                                 const std::string& path) {
  const std::vector<std::string> arrays = arrays_of_inputs(model, network, path);
  const auto found = std::find(arrays.begin(), arrays.end(), data::kTokenIds);
  return &model.inputs()[static_cast<size_t>(found - arrays.begin())];
}

// A table of vectors that a Gather reads.
struct Table {
  std::string name;
  int64_t rows = 0;
};

// The one that the ids are looked up in; rows 0: it is not visible.
Table vocabulary_of(const onnx::Model& model, const std::string& ids) {
  for (const onnx::NodeInfo& node : model.nodes()) {
    if (node.op_type != "Gather" || node.inputs.size() < 2 || node.inputs[1] != ids) continue;
    const onnx::TensorInfo* table = model.find_tensor(node.inputs[0]);
    if (table != nullptr && table->shape.size() == 2) return {table->name, table->shape[0]};
  }
  return {};
}

// The largest number of positions that tables of vectors for positions have; rows 0: none is visible.
Table positions_of(const onnx::Model& model) {
  Table least;
  for (const onnx::TensorInfo& tensor : model.tensors()) {
    if (tensor.shape.size() != 2 || tensor.shape[0] < 8) continue;
    const std::string name = data::lower_case(tensor.name);
    const bool called = name.find("position_emb") != std::string::npos ||
                        name.find("embed_positions") != std::string::npos ||
                        name.find("pos_emb") != std::string::npos || name.find("wpe") != std::string::npos;
    if (called && (least.rows == 0 || tensor.shape[0] < least.rows)) least = {tensor.name, tensor.shape[0]};
  }
  return least;
}

}  // namespace

data::TextOptions text_options(const DataOptions& options, const onnx::Model& model) {
  data::TextOptions text;
  const std::string& columns = options.text;
  for (size_t at = 0; !columns.empty() && at <= columns.size();) {
    const size_t comma = std::min(columns.find(',', at), columns.size());
    std::string name = columns.substr(at, comma - at);
    if (name.empty())
      throw usage_error("--text {}: expected a column, or several with commas between them", columns);
    text.columns.push_back(std::move(name));
    at = comma + 1;
  }
  text.unit = options.text_sample;
  if (!is_one_of(text.unit, {"auto", "line", "document"}))
    throw usage_error("--text-sample {} is not known; it is auto, line or document", text.unit);
  static const std::map<std::string, TextTask> tasks = {
      {"auto", TextTask::kAuto},        {"labels", TextTask::kLabels},
      {"tags", TextTask::kTags},        {"causal-lm", TextTask::kCausal},
      {"masked-lm", TextTask::kMasked}, {"embeddings", TextTask::kEmbeddings}};
  const auto task = tasks.find(options.task);
  if (task == tasks.end())
    throw usage_error("--task {} is not known; it is auto, labels, tags, causal-lm, masked-lm or embeddings",
                      options.task);
  text.task = task->second;
  text.positions = !model.outputs().empty() && model.outputs()[0].dims.size() == 3;
  return text;
}

data::TextReading text_reading(const Tokenizer& tokenizer, const NetworkOptions& network,
                               const DataOptions& options, const onnx::Model& model, TextTask task,
                               bool training, const Log& log) {
  data::TextReading reading;
  reading.tokenizer = tokenizer.tokenizer;
  reading.batch = network.batch;
  reading.training = training;
  const onnx::ValueInfo& ids = *ids_input(model, network, tokenizer.path);
  if (ids.dims.size() != 2)
    throw input_error("{}: its input '{}' has {} axes; token ids have two: batch and tokens", model.path(),
                      ids.name, ids.dims.size());
  const Table vocabulary = vocabulary_of(model, ids.name);
  reading.vocabulary = vocabulary.rows;
  reading.vocabulary_name = vocabulary.name;
  if (vocabulary.rows > 0 && tokenizer.tokenizer->size() > vocabulary.rows)
    log(fmt::format(
        "warning: {} has {} tokens, and the network's table {} has {} rows: is it this network's tokenizer?",
        tokenizer.path, tokenizer.tokenizer->size(), vocabulary.name, vocabulary.rows));
  if (task == TextTask::kMasked && !tokenizer.tokenizer->mask_id())
    throw input_error(
        "{}: --task masked-lm hides tokens behind a mask token, and the tokenizer has none ([MASK], <mask>)",
        tokenizer.path);

  const int64_t fixed = ids.dims[1].value;
  const Table positions = positions_of(model);
  if (fixed > 0) {
    reading.length = reading.most = fixed;
    reading.most_reason = "the network takes no other number";
  } else if (const auto own = tokenizer.tokenizer->max_tokens(); own && *own > 0) {
    reading.most = *own;
    reading.most_reason = "the tokenizer's truncation; --max-tokens";
  } else if (positions.rows > 0) {
    // Some count their positions from 2 (514 rows for 512 tokens).
    reading.most = positions.rows / 8 * 8;
    reading.most_reason = fmt::format("the network has {} positions; --max-tokens", positions.rows);
  } else {
    reading.most = kDefaultLength;
    reading.most_reason = "--max-tokens";
  }
  if (fixed <= 0 && positions.rows > 0 && reading.most > positions.rows) {
    reading.most = positions.rows / 8 * 8;
    reading.most_reason = fmt::format("the network has {} positions; --max-tokens", positions.rows);
  }
  const int64_t asked = options.max_tokens;
  if (asked > 0) {
    if (fixed > 0 && asked > fixed)
      throw usage_error("--max-tokens {}: the network takes {} tokens, no more", asked, fixed);
    if (positions.rows > 0 && asked > positions.rows)
      throw usage_error("--max-tokens {}: the network has {} positions ({})", asked, positions.rows,
                        positions.name);
    reading.most = asked;
    reading.most_reason = "--max-tokens";
  }
  reading.block = options.block_tokens > 0 ? options.block_tokens
                  : fixed > 0              ? fixed
                                           : std::min(reading.most, kDefaultBlock);
  if (fixed > 0 && reading.block != fixed)
    throw usage_error("--block-tokens {}: the network takes {} tokens, no other number", reading.block,
                      fixed);
  if (positions.rows > 0 && reading.block > positions.rows)
    throw usage_error("--block-tokens {}: the network has {} positions ({})", reading.block, positions.rows,
                      positions.name);
  return reading;
}

std::optional<double> perplexity_of(TextTask task, double loss) {
  if (task != TextTask::kCausal && task != TextTask::kMasked) return std::nullopt;
  return std::exp(loss);
}

data::ArrayChoice choose_tokens(onnx::Model& model, onnx::Model* loss_graph, const NetworkOptions& network,
                                const DataOptions& options, const std::vector<data::ArrayHeader>& arrays,
                                const std::string& path, const Log& log, FieldPlan& plan) {
  const std::vector<LossSpec> losses = parse_losses(network);
  if (losses.size() > 1 || !losses[0].field.empty())
    throw usage_error("{}: text has labels for one loss; several need named arrays (.npz, .safetensors)",
                      path);
  const std::vector<std::string> names = arrays_of_inputs(model, network, path);
  BoundFields bound;
  for (size_t i = 0; i < names.size(); ++i) bound.inputs[model.inputs()[i].name] = names[i];
  for (const onnx::ValueInfo& input : fields_of_loss_graph(model, loss_graph))
    if (const std::string array = array_for(input.name); !array.empty()) bound.inputs[input.name] = array;
  bound.labels = {data::kTokenLabels};
  data::ArrayChoice choice =
      choose_bound_fields(model, loss_graph, network, options, arrays, path, log, bound, plan);
  choice.y.clear();
  choice.y_name.clear();
  if (!choice.x.empty()) {
    // A mask of floats: no samples that are scaled and normalised.
    const data::ArrayHeader& mask = *std::find_if(
        arrays.begin(), arrays.end(), [&](const data::ArrayHeader& a) { return a.stored == choice.x; });
    choice.more.push_back(
        {choice.x,
         {choice.x_name, data::FieldRole::kInput, DType::kF32, {mask.shape.begin() + 1, mask.shape.end()}}});
    choice.x.clear();
    choice.x_name.clear();
    plan.samples = FieldPlan::kNoInput;
  }
  return choice;
}

}  // namespace halftone::api
