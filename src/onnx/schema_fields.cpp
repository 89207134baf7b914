#include "onnx/schema_fields.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include "base/error.h"

namespace halftone::onnx {
namespace {

using google::protobuf::FieldDescriptor;

std::vector<std::string> known_texts(const google::protobuf::Message& message, const FieldDescriptor& field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const bool text = field.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  HT_ASSERT(text || field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE, "field {}", field.full_name());
  std::vector<std::string> texts;
  if (field.is_repeated()) {
    for (int i = 0; i < reflection.FieldSize(message, &field); ++i)
      texts.push_back(text ? reflection.GetRepeatedString(message, &field, i)
                           : reflection.GetRepeatedMessage(message, &field, i).SerializeAsString());
  } else if (reflection.HasField(message, &field)) {
    texts.push_back(text ? reflection.GetString(message, &field)
                         : reflection.GetMessage(message, &field).SerializeAsString());
  }
  return texts;
}

}  // namespace

std::vector<std::string> field_texts(const google::protobuf::Message& message, int number) {
  if (const FieldDescriptor* field = message.GetDescriptor()->FindFieldByNumber(number); field != nullptr)
    return known_texts(message, *field);
  std::vector<std::string> texts;
  const auto& fields = message.GetReflection()->GetUnknownFields(message);
  for (int i = 0; i < fields.field_count(); ++i)
    if (fields.field(i).number() == number &&
        fields.field(i).type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED)
      texts.push_back(fields.field(i).length_delimited());
  return texts;
}

}  // namespace halftone::onnx
