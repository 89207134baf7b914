#include "onnx/depth.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "onnx/pytorch_names.h"
#include "onnx/sharing.h"

namespace halftone::onnx {
namespace {

bool is_number(const std::string& part) {
  return !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
}

// The name up to its first number and those behind it; empty: it has none.
std::string block_of(const std::string& name) {
  std::string block;
  bool numbered = false;
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    if (numbered && !is_number(part)) return block;
    numbered = numbered || is_number(part);
    block += (begin == 0 ? "" : ".") + part;
    begin = end + 1;
  }
  return "";  // a number at the very end is no module's
}

struct Parameter {
  size_t node, input;  // that read it first
  std::string tensor, block;
  bool is_weight;
};

}  // namespace

Depths depths_of(const Model& model, const std::vector<TensorRole>& roles) {
  const Sharing sharing(model);
  const std::map<std::string, std::string> pytorch = pytorch_names(model);
  std::vector<Parameter> parameters;
  for (const TensorRole& r : roles) {
    if (r.role != Role::kParameter) continue;
    Parameter p{model.nodes().size(), 0, r.name, "", r.shape.size() >= 2};
    for (const Use& use : sharing.uses(r.name))
      if (use.kind != UseKind::kOutput && std::tie(use.node, use.input) < std::tie(p.node, p.input)) {
        p.node = use.node;
        p.input = use.input;
      }
    const auto name = pytorch.find(r.name);
    p.block = block_of(name == pytorch.end() ? r.name : name->second);
    parameters.push_back(std::move(p));
  }
  std::stable_sort(parameters.begin(), parameters.end(), [](const Parameter& a, const Parameter& b) {
    return std::tie(a.node, a.input) < std::tie(b.node, b.input);
  });
  const auto numbered = [](const Parameter& p) { return !p.block.empty(); };
  const auto last = std::find_if(parameters.rbegin(), parameters.rend(), numbered).base();
  Depths depths;
  std::map<std::string, int64_t> blocks;
  int64_t current = -1;
  const auto begin_group = [&] { current = depths.groups++; };
  for (auto p = parameters.begin(); p != parameters.end(); ++p) {
    if (blocks.empty() && last == parameters.begin()) {  // no numbers at all
      if (p->is_weight || current < 0) begin_group();
    } else if (numbered(*p)) {
      const auto known = blocks.find(p->block);
      if (known == blocks.end()) begin_group();
      current = blocks.emplace(p->block, current).first->second;
    } else if (current < 0 || p == last) {
      begin_group();
    }
    depths.of_tensor.emplace(p->tensor, current);
  }
  return depths;
}

}  // namespace halftone::onnx
