#include "api/class_names.h"

#include "base/error.h"
#include "data/text.h"
#include "halftone/printable.h"
#include "onnx/new_head.h"

namespace halftone::api {
namespace {

constexpr const char* kClassesKey = onnx::kClassKeys[0];
constexpr const char* kNamesKey = onnx::kClassKeys[1];

}  // namespace

void check_names_can_be_kept(const std::vector<std::string>& names, const std::string& where) {
  for (const std::string& name : names) {
    const char* why = !is_utf8(name)                                    ? "is not UTF-8"
                      : name.find_first_of("\r\n") != std::string::npos ? "has a line break"
                      : name.find('\0') != std::string::npos            ? "has a byte of zero"
                      : name.starts_with("\xEF\xBB\xBF")                ? "begins with a byte order mark"
                                                                        : nullptr;
    if (why != nullptr)
      throw input_error(
          "{}: the name of the class \"{}\" {}, so it cannot be kept with the model; rename the class", where,
          data::shown(name), why);
  }
}

data::ClassMap class_map_of(const onnx::Model& model) {
  data::ClassMap map;
  map.source = model.path();
  if (const auto text = model.metadata(kClassesKey)) {
    map.names = data::names_from_json(*text);
    if (map.empty())
      throw input_error("{}: its metadata entry {} is damaged: expected a JSON list of class names",
                        model.path(), kClassesKey);
    return map;
  }
  if (const auto text = model.metadata(kNamesKey)) map.names = data::names_from_metadata(*text);
  return map;
}

std::string unusable_names(const onnx::Model& model) {
  std::string why;
  const auto text = model.metadata(kNamesKey);
  if (!text || model.metadata(kClassesKey) || !data::names_from_metadata(*text, &why).empty()) return "";
  return fmt::format("{}: its metadata entry '{}' is not used for the classes: {}; found {}", model.path(),
                     kNamesKey, why, data::shown(*text));
}

std::map<std::string, std::string> class_metadata(const onnx::Model& model,
                                                  const std::vector<std::string>& names) {
  if (names.empty() || class_map_of(model).names == names) return {};
  return {{kClassesKey, data::to_json(names)}};
}

}  // namespace halftone::api
