// The size classes of a run: of each, the sizes that the network (and a loss graph) leave open. Programs are
// compiled for a class.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "api/fields.h"
#include "data/dataset.h"
#include "onnx/model.h"

namespace halftone::api {

class Sizes {
 public:
  using Axes = std::map<std::string, int64_t>;
  struct Class {
    Axes network, loss_graph;
    bool operator==(const Class&) const = default;
  };

  // With the sizes that --dim gives; the others are open.
  Sizes(onnx::Model network, std::optional<onnx::Model> loss_graph);

  const onnx::Model& network() const { return network_; }
  const std::optional<onnx::Model>& loss_graph() const { return loss_graph_; }

  // The class of samples of these fields, by its number. inputs_alone: there may be no fields that a loss
  // graph takes. Error, beginning with `where`: sizes that the network's inputs do not take, or that
  // contradict each other.
  size_t add(const data::DataInfo& info, const FieldPlan& plan, const std::string& where,
             bool inputs_alone = false);
  size_t count() const { return classes_.size(); }

  // The model, which is the network with whatever sizes, with those of a class.
  onnx::Model at(const onnx::Model& model, size_t number) const;
  onnx::Model loss_graph_at(size_t number) const;
  std::string describe(size_t number) const;  // "T = 12, S = 8"

 private:
  onnx::Model network_;
  std::optional<onnx::Model> loss_graph_;
  std::vector<Class> classes_;
};

}  // namespace halftone::api
