// A node's attributes by name, with ONNX's types.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tensor/tensor.h"

namespace halftone::ir {

// No attribute has this type. libstdc++ 12 takes a variant of the others, none of which throws when it is
// moved, for one that always has a value: when memory runs out while one is copied, it destroys what was
// never made.
class CopyMayFail {
 public:
  CopyMayFail(const CopyMayFail&) {}
  CopyMayFail& operator=(const CopyMayFail&) = default;

 private:
  CopyMayFail() = default;
};

using Attribute = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                               std::shared_ptr<const Tensor>, CopyMayFail>;

class Attributes {
 public:
  Attributes() = default;
  Attributes(std::initializer_list<std::pair<const std::string, Attribute>> items) : items_(items) {}

  bool has(std::string_view name) const { return items_.find(name) != items_.end(); }
  void set(std::string name, Attribute value) { items_.insert_or_assign(std::move(name), std::move(value)); }
  void erase(std::string_view name);

  // The value, or the default when absent. Error when it has another type.
  int64_t int_or(std::string_view name, int64_t otherwise) const;
  double float_or(std::string_view name, double otherwise) const;
  std::string string_or(std::string_view name, std::string_view otherwise) const;
  std::vector<int64_t> ints_or(std::string_view name, const std::vector<int64_t>& otherwise) const;
  // Error when absent or of another type.
  int64_t int_at(std::string_view name) const;
  double float_at(std::string_view name) const;
  const std::vector<int64_t>& ints_at(std::string_view name) const;
  const Tensor& tensor_at(std::string_view name) const;

  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }

 private:
  std::map<std::string, Attribute, std::less<>> items_;
};

}  // namespace halftone::ir
