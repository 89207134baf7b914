#include "api/identity.h"

#include <algorithm>
#include <vector>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/file.h"
#include "data/fingerprint.h"
#include "data/image_table.h"
#include "data/spec.h"
#include "halftone/options.h"
#include "onnx/external_files.h"
#include "train/run_folder.h"

namespace halftone::api {
namespace {

struct Contents {
  int64_t bytes = 0;
  uint32_t crc = 0;
};

void add(const std::string& path, Contents& contents) {
  const InputFile file(path);
  std::vector<char> block(1 << 20);
  for (int64_t at = 0; at < file.size();) {
    const int64_t bytes = std::min<int64_t>(static_cast<int64_t>(block.size()), file.size() - at);
    file.read(at, bytes, block.data());
    contents.crc = crc32c(block.data(), bytes, contents.crc);
    at += bytes;
  }
  contents.bytes += file.size();
}

std::string given(const std::string& value) {
  return value.empty() ? std::string(train::kNotGiven) : value;
}

template <typename T>
std::string given(const std::vector<T>& values) {
  return given(fmt::format("{}", fmt::join(values, ",")));
}

}  // namespace

std::string contents_of(const onnx::Model& model) {
  Contents contents;
  add(model.path(), contents);
  for (const onnx::ExternalFile& file : onnx::external_files(model)) add(file.path, contents);
  return fmt::format("{} bytes, crc32c {:08x}", contents.bytes, contents.crc);
}

namespace {

// With the sizes of samples, and how many have each, where there are several.
std::string identity_of_data(const Data& data) {
  std::string text = data::fingerprint(*data.set);
  // So that no run goes on from an earlier version, which turned none.
  if (data.set->info().turned > 0) text += fmt::format("; {} turned by EXIF", data.set->info().turned);
  if (data.sizes == nullptr) return text;
  const std::vector<int64_t> samples = data::samples_of_classes(*data.set);
  for (size_t c = 0; c < samples.size(); ++c)
    text += fmt::format("{}{} samples of {}", c == 0 ? "; " : ", ", samples[c],
                        data.sizes->describe(data.number(c)));
  return text;
}

// Of images that a table names, its labels are no part of the files.
std::string identity_of_table(const Data& data, const std::string& spec) {
  if (data.set->info().kind != data::kTableOfImages) return "";
  Contents contents;
  add(data::parse_spec(spec).path, contents);
  return fmt::format("; named by a table of {} bytes, crc32c {:08x}", contents.bytes, contents.crc);
}

}  // namespace

train::Identity identity_of(const TrainOptions& o, const std::string& config, const onnx::Model& model,
                            const Data& data, const Data* validation) {
  train::Identity id = train::options_of(config);
  for (const OptionRow& row : option_table()) {
    const std::string name = std::string("--") + row.key;
    if (row.free_on_resume) {
      id.erase(name);
    } else if (config.empty() && (row.commands & kTrain) != 0) {
      id[name] = given(option_values(row, o));
    }
  }
  // What a file holds, not its place.
  id["--class-weights"] = given(parse_class_weights(o.network.class_weights));
  const std::string& graph = o.network.loss_graph;
  id["--loss-graph"] = given(graph.empty() ? graph : contents_of(onnx::Model::load(graph)));
  id["model"] = contents_of(model);
  const bool shared = o.data.val.empty() || data::parse_share(o.data.val) > 0;
  id["training data"] = identity_of_data(data) + identity_of_table(data, o.data.data);
  id["validation data"] =
      validation == nullptr
          ? "none"
          : identity_of_data(*validation) + identity_of_table(*validation, shared ? o.data.data : o.data.val);
  return id;
}

std::vector<std::string> files_read(const NetworkOptions& network, const DataOptions& data) {
  std::vector<std::string> paths{network.model};
  if (!data.data.empty()) paths.push_back(data::parse_spec(data.data).path);
  if (!data.val.empty() && data.val != "none" && data::parse_share(data.val) == 0)
    paths.push_back(data::parse_spec(data.val).path);
  if (!data.classes_file.empty()) paths.push_back(data.classes_file);
  if (!data.old_classes_file.empty()) paths.push_back(data.old_classes_file);
  if (!data.columns_file.empty()) paths.push_back(data.columns_file);
  if (!data.tokenizer.empty()) paths.push_back(data.tokenizer);
  if (!network.loss_graph.empty()) paths.push_back(network.loss_graph);
  return paths;
}

void check_result_names(const onnx::Model& model) {
  for (const onnx::ExternalFile& file : onnx::external_files(model)) {
    const std::string& name = file.location;
    const std::string folder = name.substr(0, name.find('/'));
    if (train::is_name_of_a_run(name) || train::is_name_of_a_run(folder))
      throw input_error(
          "{}: its external data is in '{}', and a run writes a file of that name into its folder, where the "
          "result "
          "and its data go too. Save the network with another name for its external data",
          model.path(), name);
  }
}

}  // namespace halftone::api
