#include "ir/attributes.h"

#include "base/error.h"

namespace halftone::ir {
namespace {

template <class T>
constexpr const char* kTypeName = "tensor";
template <>
constexpr const char* kTypeName<int64_t> = "int";
template <>
constexpr const char* kTypeName<double> = "float";
template <>
constexpr const char* kTypeName<std::string> = "string";
template <>
constexpr const char* kTypeName<std::vector<int64_t>> = "ints";

template <class T, class Map>
const T* find(const Map& items, std::string_view name) {
  const auto it = items.find(name);
  if (it == items.end()) return nullptr;
  const T* value = std::get_if<T>(&it->second);
  if (value == nullptr)
    throw input_error("attribute '{}' has the wrong type, expected {}", name, kTypeName<T>);
  return value;
}

template <class T, class Map>
const T& at(const Map& items, std::string_view name) {
  const T* value = find<T>(items, name);
  if (value == nullptr) throw input_error("attribute '{}' ({}) is missing", name, kTypeName<T>);
  return *value;
}

}  // namespace

void Attributes::erase(std::string_view name) {
  const auto it = items_.find(name);
  if (it != items_.end()) items_.erase(it);
}
int64_t Attributes::int_or(std::string_view name, int64_t otherwise) const {
  const auto* v = find<int64_t>(items_, name);
  return v != nullptr ? *v : otherwise;
}
double Attributes::float_or(std::string_view name, double otherwise) const {
  const auto* v = find<double>(items_, name);
  return v != nullptr ? *v : otherwise;
}
std::string Attributes::string_or(std::string_view name, std::string_view otherwise) const {
  const auto* v = find<std::string>(items_, name);
  return v != nullptr ? *v : std::string(otherwise);
}
std::vector<int64_t> Attributes::ints_or(std::string_view name, const std::vector<int64_t>& otherwise) const {
  const auto* v = find<std::vector<int64_t>>(items_, name);
  return v != nullptr ? *v : otherwise;
}
int64_t Attributes::int_at(std::string_view name) const {
  return at<int64_t>(items_, name);
}
double Attributes::float_at(std::string_view name) const {
  return at<double>(items_, name);
}
const std::vector<int64_t>& Attributes::ints_at(std::string_view name) const {
  return at<std::vector<int64_t>>(items_, name);
}
const Tensor& Attributes::tensor_at(std::string_view name) const {
  return *at<std::shared_ptr<const Tensor>>(items_, name);
}

}  // namespace halftone::ir
