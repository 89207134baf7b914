// The file of a network's tokenizer: found, read, copied.
#include "text/tokenizer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "api/text.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/file.h"
#include "base/listing.h"

namespace halftone::api {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMostBytes = int64_t{1} << 30;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

// The tokenizer in a folder; empty: there is none.
std::string found_in(const std::string& folder) {
  for (const char* name : {"tokenizer.json", "vocab.txt"})
    if (is_file(fs::path(folder) / name)) return (fs::path(folder) / name).string();
  std::vector<std::string> models;
  for (const std::string& name : names_in_if_there(folder))
    if (name.ends_with(".model") && is_file(fs::path(folder) / name))
      models.push_back((fs::path(folder) / name).string());
  if (models.size() > 1)
    throw input_error("{}: which of these is the tokenizer? {}; give --tokenizer FILE", folder,
                      fmt::join(models, ", "));
  return models.empty() ? "" : models[0];
}

std::vector<std::string> folders_of(const NetworkOptions& network, const onnx::Model& model) {
  std::vector<std::string> folders;
  std::error_code ignored;
  if (fs::is_directory(network.model, ignored)) folders.push_back(network.model);
  for (const std::string& path : {network.model, model.path()}) {
    if (fs::is_directory(path, ignored)) continue;
    const fs::path folder = fs::absolute(path, ignored).parent_path();
    const fs::path given = fs::path(path).parent_path();
    folders.push_back(given.empty() ? "." : given.string());
    // As exporters lay it out: the tokenizer above the networks.
    if (folder.filename() == "onnx") folders.push_back(folder.parent_path().string());
  }
  return folders;
}

std::string find_tokenizer(const NetworkOptions& network, const DataOptions& options,
                           const onnx::Model& model) {
  std::error_code ignored;
  if (!options.tokenizer.empty()) {
    if (!fs::is_directory(options.tokenizer, ignored)) return options.tokenizer;
    const std::string found = found_in(options.tokenizer);
    if (found.empty())
      throw input_error("--tokenizer {}: the folder has no tokenizer.json, vocab.txt or .model file",
                        options.tokenizer);
    return found;
  }
  const std::vector<std::string> folders = folders_of(network, model);
  for (const std::string& folder : folders)
    if (const std::string found = found_in(folder); !found.empty()) return found;
  throw input_error(
      "text needs the network's tokenizer, and there is no tokenizer.json, vocab.txt or .model file in {}; "
      "give "
      "--tokenizer FILE",
      folders.front());
}

}  // namespace

std::shared_ptr<const Tokenizer> open_tokenizer(const NetworkOptions& network, const DataOptions& options,
                                                const onnx::Model& model, const Log& log) {
  auto found = std::make_shared<Tokenizer>();
  found->path = find_tokenizer(network, options, model);
  found->bytes = read_file(found->path, kMostBytes);
  found->contents = fmt::format("{} bytes, crc32c {:08x}", found->bytes.size(),
                                crc32c(found->bytes.data(), static_cast<int64_t>(found->bytes.size()), 0));
  const std::string ending = fs::path(found->path).extension().string();
  found->name = ending == ".json" ? "tokenizer.json" : ending == ".txt" ? "vocab.txt" : "tokenizer.model";
  found->tokenizer = ::halftone::text::Tokenizer::open(found->path);
  log(fmt::format("tokenizer: {} ({} tokens{})", found->path, found->tokenizer->size(),
                  options.tokenizer.empty() ? "; found beside the network" : ""));
  return found;
}

void write_tokenizer(const std::string& folder, const Tokenizer& tokenizer) {
  write_file_atomically(folder + "/" + tokenizer.name, tokenizer.bytes);
}

}  // namespace halftone::api
