#include "onnx/roles.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/near_names.h"
#include "base/words.h"
#include "onnx/model_contents.h"
#include "onnx/operator_of.h"
#include "onnx/tensor_names.h"
#include "onnx/tensor_verdict.h"
#include "onnx/with_bodies.h"
#include "ops/op.h"

namespace halftone::onnx {
namespace {

// Operators that multiply by a weight, so that an Add behind them is a bias.
bool is_product(const std::string& op) {
  return is_one_of(op, {"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"});
}

std::string described(const NodeInfo& node) {
  return fmt::format("{} '{}'", node.op_type, node.name);
}

class Roles {
 public:
  Roles(const Model& model, const TrainFreeze& choice)
      : model_(model),
        choice_(choice),
        names_(model),
        judge_(model),
        nodes_(with_bodies(model, static_, carried_)) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const NodeInfo& node = nodes_[i];
      for (const std::string& name : node.outputs)
        if (!name.empty()) producer_.emplace(name, i);
      for (size_t k = 0; k < node.inputs.size(); ++k)
        if (!node.inputs[k].empty()) uses_[node.inputs[k]].emplace_back(i, k);
    }
    for (const TensorInfo& t : model.tensors()) static_.insert(t.name);
    for (const FixedInput& input : model.fixed()) static_.insert(input.info.name);
  }

  std::vector<TensorRole> find() {
    find_static();
    find_reaching();
    do {
      for (const NodeInfo& node : nodes_) visit(node);
    } while (carry_on(dependent_, false));
    std::vector<TensorRole> out;
    for (const TensorInfo& t : model_.tensors())
      if (t.dtype && is_float(*t.dtype)) out.push_back(role_of(t));
    overrule(out);
    return out;
  }

  // The frozen tensors that have to be constants: some operator on their way has no gradient.
  bool is_blocked(const std::string& tensor) const { return !blockers_of(tensor).blocked.empty(); }

 private:
  bool is_static(const std::string& name) const { return static_.count(name) != 0; }

  // What is known when loading: tensors, and what is computed from them or from shapes alone.
  void find_static() {
    for (const NodeInfo& node : nodes_) {
      const bool random = is_one_of(node.op_type, {"RandomNormal", "RandomUniform", "RandomNormalLike",
                                                   "RandomUniformLike", "Bernoulli", "Multinomial"});
      const bool shape = is_one_of(node.op_type, {"Shape", "Size", "Constant"});
      const bool known = std::all_of(node.inputs.begin(), node.inputs.end(),
                                     [&](const auto& name) { return name.empty() || is_static(name); });
      if (shape || (known && !random && !node.inputs.empty()))
        for (const std::string& name : node.outputs) static_.insert(name);
    }
  }

  // The values whose gradient an output has.
  void find_reaching() {
    for (const ValueInfo& output : model_.outputs()) reaching_.insert(output.name);
    do {
      for (size_t i = nodes_.size(); i-- > 0;) {
        const NodeInfo& node = nodes_[i];
        if (!reaches(node)) continue;
        for (size_t k = 0; k < node.inputs.size(); ++k)
          if (flow_of(node, k) != Flow::kNone) reaching_.insert(node.inputs[k]);
      }
    } while (carry_on(reaching_, true));
  }
  // What holds of a value in one round holds of what it is in the next one, or the one before. Whether there
  // is more to find now.
  bool carry_on(std::set<std::string>& values, bool back) const {
    bool more = false;
    for (const auto& [from, to] : carried_)
      if (values.count(back ? to : from) != 0 && values.insert(back ? from : to).second) more = true;
    return more;
  }
  bool reaches(const NodeInfo& node) const {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [&](const auto& name) { return !name.empty() && reaching_.count(name) != 0; });
  }

  // ---- one node after the other
  void visit(const NodeInfo& node) {
    if (node.op_type == "BatchNormalization" && node.domain.empty())
      for (size_t i = 3; i < node.inputs.size() && i < 5; ++i) keep_state(node, node.inputs[i]);
    const bool live = std::any_of(node.inputs.begin(), node.inputs.end(),
                                  [&](const auto& name) { return !name.empty() && !is_static(name); });
    const bool dependent = std::any_of(node.inputs.begin(), node.inputs.end(),
                                       [&](const auto& name) { return dependent_.count(name) != 0; });
    bool trains = false;
    if (live && reaches(node))
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (node.inputs[i].empty() || !is_static(node.inputs[i])) continue;
        Arrival a;
        a.node = &node;
        a.input = i;
        a.flow = flow_of(node, i);
        a.after_parameter = dependent;
        a.single_output =
            node.op_type == "Add" && node.inputs.size() == 2 && is_single_output_product(node.inputs[1 - i]);
        a.after_product =
            node.op_type == "Add" && node.inputs.size() == 2 && is_product_output(node.inputs[1 - i]);
        a.after_scale =
            node.op_type == "Add" && node.inputs.size() == 2 && is_scaled_output(node.inputs[1 - i]);
        trains = arrive(node.inputs[i], a) || trains;
      }
    if (dependent || trains)
      for (const std::string& name : node.outputs) dependent_.insert(name);
  }

  bool is_product_output(const std::string& name) const {
    const auto it = producer_.find(name);
    if (it == producer_.end()) return false;
    const NodeInfo& node = nodes_[it->second];
    return is_product(node.op_type) && node.inputs.size() >= 2 && is_static(node.inputs[1]);
  }
  // What a Mul gives that scales by the exponential of something known, as a learned temperature does.
  bool is_scaled_output(const std::string& name) const {
    const auto it = producer_.find(name);
    if (it == producer_.end() || nodes_[it->second].op_type != "Mul") return false;
    const std::vector<std::string>& operands = nodes_[it->second].inputs;
    return std::any_of(operands.begin(), operands.end(), [&](const std::string& operand) {
      const auto scale = producer_.find(operand);
      return scale != producer_.end() && nodes_[scale->second].op_type == "Exp" && is_static(operand);
    });
  }
  // A product with one output feature, whose bias therefore has one element. Through views.
  bool is_single_output_product(std::string name) const {
    for (int hops = 0; hops < 8; ++hops) {
      const auto it = producer_.find(name);
      if (it == producer_.end()) return false;
      const NodeInfo& node = nodes_[it->second];
      if (is_product(node.op_type)) return node.inputs.size() >= 2 && has_one_output(node);
      if (flow_of(node, 0) != Flow::kView || node.inputs.empty()) return false;
      name = node.inputs[0];
    }
    return false;
  }
  bool has_one_output(const NodeInfo& node) const {
    const TensorInfo* weight = model_.find_tensor(node.inputs[1]);
    if (weight == nullptr) {  // behind a Transpose, Reshape, ...: any axis of one will do
      std::string name = node.inputs[1];
      for (auto it = producer_.find(name); weight == nullptr && it != producer_.end();
           it = producer_.find(name)) {
        const NodeInfo& view = nodes_[it->second];
        if (flow_of(view, 0) != Flow::kView || view.inputs.empty()) return false;
        weight = model_.find_tensor(name = view.inputs[0]);
      }
      return weight != nullptr && std::count(weight->shape.begin(), weight->shape.end(), 1) > 0;
    }
    const Shape& s = weight->shape;
    if (node.op_type == "Conv") return !s.empty() && s[0] == 1;
    if (node.op_type == "ConvTranspose") return s.size() > 1 && s[1] == 1;
    if (node.op_type == "MatMul") return s.size() == 1 || (!s.empty() && s.back() == 1);
    return std::count(s.begin(), s.end(), 1) > 0;
  }

  // Judges all tensors that the value is computed from; whether one of them is trained.
  bool arrive(const std::string& value, const Arrival& first) {
    bool trains = false;
    std::set<std::string> seen;
    std::vector<std::pair<std::string, Arrival>> open{{value, first}};
    while (!open.empty()) {
      const auto [name, a] = open.back();
      open.pop_back();
      if (a.flow == Flow::kNone) continue;
      // Not by name alone: what is both a weight and something else is judged as both.
      if (!seen.insert(
                   fmt::format("{}{}{}{}{}", static_cast<int>(a.flow), a.views_only, a.data, a.waves, name))
               .second)
        continue;
      if (const TensorInfo* info = model_.find_tensor(name); info != nullptr) {
        if (info->dtype && is_float(*info->dtype)) trains = judge(*info, a) || trains;
        continue;
      }
      for (const auto& [from, to] : carried_)
        if (to == name && is_static(from)) open.emplace_back(from, a);
      const auto it = producer_.find(name);
      if (it == producer_.end()) continue;
      const NodeInfo& node = nodes_[it->second];
      for (size_t i = 0; i < node.inputs.size(); ++i) open.emplace_back(node.inputs[i], behind(a, node, i));
    }
    return trains;
  }

  // The arrival of what goes into input `i` of a node that computes with constants alone.
  Arrival behind(const Arrival& a, const NodeInfo& node, size_t i) const {
    Arrival b = a;
    const Flow flow = flow_of(node, i);
    if (flow == Flow::kNone || flow == Flow::kState) {
      b.flow = Flow::kNone;
      return b;
    }
    if (flow == Flow::kView) {
      b.repeated = a.repeated || is_one_of(node.op_type, {"Expand", "Tile"});
      return b;
    }
    b.node = &node;
    b.input = i;
    const bool is_input = i == 0 && is_product(node.op_type);
    if (flow == Flow::kWeight && !is_input) {
      b.flow = Flow::kWeight;
      b.views_only = true;
      b.repeated = false;
      return b;
    }
    b.views_only = false;
    b.data = a.data || is_input;
    b.waves = a.waves || is_one_of(node.op_type, {"Sin", "Cos"});
    return b;
  }

  // ---- one tensor where it arrives
  bool judge(const TensorInfo& info, const Arrival& a) {
    const Verdict v = judge_.verdict(info, a);
    const auto it = verdicts_.find(info.name);
    // Trained wherever it is used means trained; of two reasons against it, the doubtful one is said.
    const bool better = it == verdicts_.end() || (v.train && !it->second.first.train) ||
                        (v.train == it->second.first.train && v.doubtful && !it->second.first.doubtful);
    if (better) verdicts_.insert_or_assign(info.name, std::make_pair(v, described(*a.node)));
    return v.train;
  }

  // ---- states
  void keep_state(const NodeInfo& user, std::string name) {
    for (auto it = producer_.find(name); model_.find_tensor(name) == nullptr && it != producer_.end();
         it = producer_.find(name)) {
      const NodeInfo& node = nodes_[it->second];
      if (node.op_type != "Identity" || node.inputs.empty()) return;
      name = node.inputs[0];
    }
    State& state = states_.emplace(name, State{described(user)}).first->second;
    state.updated = state.updated || user.guards.empty();
  }

  // ---- all uses together
  TensorRole role_of(const TensorInfo& info) const {
    TensorRole r{info.name, info.shape, Role::kConstant, {}, {}, false};
    if (const auto state = states_.find(info.name); state != states_.end()) {
      r.role = Role::kState;
      r.reason =
          state->second.updated
              ? "a running statistic, updated by its batch norm"
              : "a running statistic, which stays as it is: its batch norm may run several times, or never";
      r.where = state->second.where;
      return r;
    }
    const auto it = verdicts_.find(info.name);
    if (it == verdicts_.end()) {
      const auto uses = uses_.find(info.name);
      const bool used = uses != uses_.end();
      const bool reaches_output = reaching_.count(info.name) != 0;
      const std::string others = used ? outputs_that_need(info.name) : "";
      r.reason = !used             ? "no node uses it"
                 : !others.empty() ? others
                 : reaches_output
                     ? "it is combined with constants only"
                     : "no gradient reaches it: it is used for shapes, indices, conditions or bounds";
      if (used) r.where = described(nodes_[uses->second.front().first]);
      return r;
    }
    r.role = it->second.first.train ? Role::kParameter : Role::kConstant;
    r.reason = it->second.first.reason;
    r.doubtful = it->second.first.doubtful;
    r.where = it->second.second;
    if (r.role == Role::kParameter) freeze_what_is_blocked(r);
    return r;
  }

  // The values that these outputs are computed from.
  std::set<std::string> sources_of(std::vector<std::string> open) const {
    std::set<std::string> sources(open.begin(), open.end());
    while (!open.empty()) {
      const auto it = producer_.find(open.back());
      open.pop_back();
      if (it == producer_.end()) continue;
      for (const std::string& name : nodes_[it->second].inputs)
        if (sources.insert(name).second) open.push_back(name);
    }
    return sources;
  }
  // Where the output that is used does not depend on the tensor: which of the file's do, in words. Else
  // empty.
  std::string outputs_that_need(const std::string& tensor) const {
    std::vector<std::string> used;
    for (const ValueInfo& output : model_.outputs()) used.push_back(output.name);
    if (sources_of(used).count(tensor) != 0) return "";
    std::vector<std::string> needing;
    for (const ValueInfo& output : model_.contents().outputs)
      if (sources_of({output.name}).count(tensor) != 0) needing.push_back(output.name);
    if (needing.empty()) return "no output depends on it";
    if (needing.size() == 1) return fmt::format("only output '{}' depends on it", needing[0]);
    return fmt::format("only outputs '{}' depend on it", fmt::join(needing, "', '"));
  }

  // The nodes on a tensor's way to the samples that Halftone can only compute when loading, and whether there
  // is a way without.
  struct Blockers {
    std::vector<const NodeInfo*> blocked;
    bool open = false;
  };
  Blockers blockers_of(const std::string& tensor) const {
    Blockers out;
    std::set<std::string> seen{tensor};
    std::vector<std::string> names{tensor};
    while (!names.empty()) {
      const std::string name = names.back();
      names.pop_back();
      const auto uses = uses_.find(name);
      if (uses == uses_.end()) continue;
      for (const auto& [index, input] : uses->second) {
        const NodeInfo& node = nodes_[index];
        if (flow_of(node, input) == Flow::kNone || !reaches(node)) continue;
        const ops::OnnxOp* op = ops::find_onnx(operator_of(node));
        const bool all_static = std::all_of(node.inputs.begin(), node.inputs.end(),
                                            [&](const auto& n) { return n.empty() || is_static(n); });
        if (op != nullptr && op->import == nullptr && all_static) {
          out.blocked.push_back(&node);
        } else if (!all_static || op == nullptr) {
          out.open = true;
        } else {
          for (const std::string& output : node.outputs)
            if (seen.insert(output).second) names.push_back(output);
        }
      }
    }
    return out;
  }
  void freeze_what_is_blocked(TensorRole& r) const {
    const Blockers b = blockers_of(r.name);
    if (b.blocked.empty() || b.open) return;
    r.role = Role::kFrozen;
    r.reason = fmt::format("a parameter, but Halftone has no gradient of {} yet", b.blocked[0]->op_type);
    r.where = described(*b.blocked[0]);
    r.doubtful = true;
  }

  // ---- what the user says
  std::string named_by(const char* option, const std::vector<std::string>& patterns,
                       const TensorRole& r) const {
    if (!choice_.option.empty())
      return choice_.option + (r.role == Role::kFrozen ? " keeps the network as it is" : " trains it");
    for (const std::string& pattern : patterns)
      if (matches(r.name, pattern)) return fmt::format("{} names it", option);
    for (const std::string& pattern : patterns)
      if (const std::string name = names_.matching(r.name, pattern); !name.empty())
        return fmt::format("{} names it, as '{}'", option, name);
    return fmt::format("{} names it", option);
  }

  void overrule(std::vector<TensorRole>& roles) const {
    check_patterns("--train", choice_.train, roles);
    check_patterns("--freeze", choice_.freeze, roles);
    for (TensorRole& r : roles) {
      // A constant is trained where its own name is given: a mask that is added to a layer's product is no bias of it.
      const Choice c = names_.choice(r.name, choice_, r.role != Role::kConstant);
      if (c == Choice::kFreeze && r.role == Role::kParameter) {
        r.role = Role::kFrozen;
        r.reason = named_by("--freeze", choice_.freeze, r);
        r.where.clear();
        r.doubtful = false;
      }
      if (c == Choice::kTrain && r.role != Role::kParameter && obstacle_of(r).empty()) {
        r.role = Role::kParameter;
        r.reason = named_by("--train", choice_.train, r);
        r.where.clear();
        r.doubtful = false;
      }
    }
    // A pattern for many tensors means those that can be trained; one for which there is none is a mistake.
    for (const std::string& pattern : choice_.train) {
      const TensorRole* refused = nullptr;
      bool any = false;
      for (const TensorRole& r : roles) {
        if (names_.matching(r.name, pattern).empty()) continue;
        any = any || r.role == Role::kParameter || names_.choice(r.name, choice_) == Choice::kFreeze;
        if (r.role != Role::kParameter) refused = &r;
      }
      if (!any && refused != nullptr)
        throw usage_error("--train {}: '{}' cannot be trained: {}{}", pattern, refused->name,
                          obstacle_of(*refused), refused->where.empty() ? "" : " (" + refused->where + ")");
    }
  }

  // Why not even --train can train it; empty: it can.
  std::string obstacle_of(const TensorRole& r) const {
    if (r.role == Role::kState) return "it is a batch norm's running statistic, which no gradient trains";
    if (r.role == Role::kFrozen || reaching_.count(r.name) == 0) return r.reason;
    const Blockers b = blockers_of(r.name);
    if (!b.blocked.empty()) return fmt::format("Halftone has no gradient of {} yet", b.blocked[0]->op_type);
    return b.open ? "" : r.reason;
  }

  void check_patterns(const char* option, const std::vector<std::string>& patterns,
                      const std::vector<TensorRole>& roles) const {
    for (const std::string& pattern : patterns) {
      if (std::any_of(roles.begin(), roles.end(),
                      [&](const auto& r) { return !names_.matching(r.name, pattern).empty(); }))
        continue;
      std::vector<std::string> names;
      for (const TensorRole& r : roles)
        if (r.role != Role::kConstant)
          names.insert(names.end(), names_.of(r.name).begin(), names_.of(r.name).end());
      std::string near;
      for (const std::string& name : near_names(pattern, names, 3))
        near += (near.empty() ? "'" : ", '") + name + "'";
      throw usage_error("{} {} matches no float tensor of the network{}; `halftone inspect` lists all names",
                        option, pattern, near.empty() ? "" : "; names like it: " + near);
    }
  }

  const Model& model_;
  const TrainFreeze& choice_;
  const TensorNames names_;
  TensorJudge judge_;
  std::set<std::string> static_;
  Carried carried_;
  const std::vector<NodeInfo> nodes_;
  std::map<std::string, size_t> producer_;
  std::map<std::string, std::vector<std::pair<size_t, size_t>>> uses_;  // node, input
  std::set<std::string> reaching_;
  std::set<std::string> dependent_;  // computed from a parameter
  std::map<std::string, std::pair<Verdict, std::string>> verdicts_;
  struct State {
    std::string where;
    bool updated = false;
  };
  std::map<std::string, State> states_;
};

}  // namespace

std::string name_of(Role role) {
  switch (role) {
    case Role::kParameter:
      return "trained";
    case Role::kState:
      return "statistic";
    case Role::kFrozen:
      return "frozen";
    case Role::kConstant:
      return "constant";
  }
  return "?";
}

std::vector<TensorRole> roles_of(const Model& model, const TrainFreeze& choice) {
  return Roles(model, choice).find();
}

std::map<std::string, Role> tensor_roles(const Model& model, const TrainFreeze& choice) {
  Roles roles(model, choice);
  std::map<std::string, Role> out;
  for (const TensorRole& r : roles.find()) {
    if (r.role == Role::kState || r.role == Role::kParameter) out.emplace(r.name, r.role);
    if (r.role == Role::kFrozen && !roles.is_blocked(r.name)) out.emplace(r.name, Role::kParameter);
  }
  return out;
}

}  // namespace halftone::onnx
