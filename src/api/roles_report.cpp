#include "api/roles_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "onnx/external_files.h"
#include "onnx/sharing.h"

namespace halftone::api {
namespace {

using onnx::Role;
using onnx::TensorRole;

int64_t count(const std::vector<TensorRole>& roles, Role role) {
  return std::count_if(roles.begin(), roles.end(), [&](const auto& r) { return r.role == role; });
}

// The first few names, and how many more.
std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::string out;
  for (size_t i = 0; i < names.size() && i < kShown; ++i) out += (i > 0 ? ", " : "") + names[i];
  return names.size() > kShown ? out + fmt::format(" and {} more", names.size() - kShown) : out;
}

}  // namespace

std::string counts_of(const std::vector<TensorRole>& roles) {
  int64_t numbers = 0;
  for (const TensorRole& r : roles)
    if (r.role == Role::kParameter) numbers += elements(r.shape);
  return fmt::format("tensors: {} trained ({} numbers), {} running statistics, {} frozen, {} constant",
                     count(roles, Role::kParameter), numbers, count(roles, Role::kState),
                     count(roles, Role::kFrozen), count(roles, Role::kConstant));
}

nlohmann::json counts_json(const std::vector<TensorRole>& roles) {
  nlohmann::json out;
  for (const Role role : {Role::kParameter, Role::kState, Role::kFrozen, Role::kConstant})
    out[onnx::name_of(role)] = count(roles, role);
  return out;
}

void report_roles(const std::vector<TensorRole>& roles, const Log& log) {
  log(counts_of(roles));
  // By role and reason, in the order of the first of each.
  std::vector<std::pair<Role, std::string>> order;
  std::map<std::pair<Role, std::string>, std::vector<std::string>> groups;
  for (const TensorRole& r : roles) {
    if (!r.doubtful) continue;
    auto& names = groups[{r.role, r.reason}];
    if (names.empty()) order.emplace_back(r.role, r.reason);
    names.push_back(r.name);
  }
  for (const auto& key : order) {
    const std::vector<std::string>& names = groups[key];
    if (key.first == Role::kFrozen)
      log(fmt::format("warning: {} not trained ({}): {}", names.size() == 1 ? "a tensor is" : "tensors are",
                      key.second, some_of(names)));
    else if (key.first == Role::kParameter)
      log(fmt::format("  trained ({}; --freeze overrules): {}", key.second, some_of(names)));
    else
      log(fmt::format("  not trained ({}; --train overrules): {}", key.second, some_of(names)));
  }
}

std::string not_trained_table(const std::vector<TensorRole>& roles, const std::vector<std::string>& sparse) {
  std::string out;
  for (const Role role : {Role::kFrozen, Role::kState, Role::kConstant})
    for (const TensorRole& r : roles)
      if (r.role == role)
        out +=
            fmt::format("  {:<44} {:>14} {:<9} {}{}{}\n", r.name, to_string(r.shape), onnx::name_of(r.role),
                        r.reason, r.where.empty() ? "" : ", in " + r.where, r.doubtful ? " (doubtful)" : "");
  for (const std::string& name : sparse)
    out += fmt::format("  {:<44} {:>14} {:<9} Halftone trains dense tensors only\n", name, "", "sparse");
  return out.empty() ? "every float tensor is trained\n" : "not trained:\n" + out;
}

nlohmann::json roles_json(const std::vector<TensorRole>& roles) {
  nlohmann::json out = nlohmann::json::array();
  for (const TensorRole& r : roles)
    out.push_back({{"name", r.name},
                   {"shape", r.shape},
                   {"role", onnx::name_of(r.role)},
                   {"reason", r.reason},
                   {"node", r.where},
                   {"doubtful", r.doubtful}});
  return out;
}

std::vector<std::string> shared_tensors(const onnx::Model& model, const std::vector<TensorRole>& roles) {
  const onnx::Sharing sharing(model);
  std::vector<std::string> lines;
  for (const TensorRole& r : roles)
    if (r.role != Role::kConstant && sharing.uses(r.name).size() > 1)
      lines.push_back(fmt::format("'{}' ({}) is read by {}", r.name, onnx::name_of(r.role),
                                  sharing.readers(r.name, model)));
  for (std::string& line : onnx::shared_places(model)) lines.push_back(std::move(line));
  return lines;
}

}  // namespace halftone::api
