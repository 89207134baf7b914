#include "onnx/footprint.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/message.h>
#include <google/protobuf/wire_format_lite.h>

#include <map>

namespace halftone::onnx {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr int kMaxDepth = 100;              // protobuf's own limit
constexpr int64_t kStringBytes = 64;        // std::string, its pointer and its heap block
constexpr int64_t kPointerBytes = 24;       // in a repeated field, with its growth and the heap's bookkeeping
constexpr int64_t kUnknownBytes = 80;       // UnknownField and its string
constexpr int64_t kModelNodeBytes = 700;    // NodeInfo and the maps of names
constexpr int64_t kModelTensorBytes = 400;  // TensorInfo, TensorPlace, the index

class Counter {
 public:
  Counter(std::string_view file, int64_t most)
      : stream_(reinterpret_cast<const uint8_t*>(file.data()), static_cast<int>(file.size())), most_(most) {}

  int64_t count() {
    message(::onnx::ModelProto::descriptor(), 0);
    return total_;
  }

 private:
  // Size of an empty message of the type, and what Model adds.
  int64_t size_of(const Descriptor* type) {
    int64_t& size = sizes_[type];
    if (size == 0) {
      const auto* prototype = google::protobuf::MessageFactory::generated_factory()->GetPrototype(type);
      size = static_cast<int64_t>(prototype->SpaceUsedLong()) + kPointerBytes;
      if (type == ::onnx::NodeProto::descriptor()) size += kModelNodeBytes;
      if (type == ::onnx::TensorProto::descriptor() || type == ::onnx::ValueInfoProto::descriptor())
        size += kModelTensorBytes;
    }
    return size;
  }

  // False when the input ends early or is damaged, or enough has been counted.
  bool message(const Descriptor* type, int depth) {
    if (depth > kMaxDepth) return false;
    while (const uint32_t tag = stream_.ReadTag()) {
      if (total_ > most_) return false;
      const int wire = static_cast<int>(tag & 7U);
      const FieldDescriptor* field =
          type == nullptr ? nullptr : type->FindFieldByNumber(static_cast<int>(tag >> 3));
      if (wire == WireFormatLite::WIRETYPE_END_GROUP) return true;
      if (wire == WireFormatLite::WIRETYPE_START_GROUP) {
        total_ += kUnknownBytes;
        if (!message(nullptr, depth + 1)) return false;
      } else if (wire == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
        if (!delimited(field, depth)) return false;
      } else {
        total_ += field == nullptr ? kUnknownBytes : 2 * static_cast<int64_t>(sizeof(int64_t));
        uint64_t value = 0;
        if (wire == WireFormatLite::WIRETYPE_VARINT
                ? !stream_.ReadVarint64(&value)
                : !stream_.Skip(wire == WireFormatLite::WIRETYPE_FIXED64 ? 8 : 4))
          return false;
      }
    }
    return true;
  }

  bool delimited(const FieldDescriptor* field, int depth) {
    uint32_t length = 0;
    if (!stream_.ReadVarint32(&length) || length > static_cast<uint32_t>(INT32_MAX)) return false;
    if (field != nullptr && field->type() == FieldDescriptor::TYPE_MESSAGE) {
      total_ += size_of(field->message_type());
      const auto limit = stream_.PushLimit(static_cast<int>(length));
      const bool fine = message(field->message_type(), depth + 1);
      stream_.PopLimit(limit);
      return fine;
    }
    if (field == nullptr) {
      total_ += kUnknownBytes;
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      total_ += kStringBytes;
    } else if (field->type() != FieldDescriptor::TYPE_FLOAT &&
               field->type() != FieldDescriptor::TYPE_DOUBLE) {
      total_ += 8 * static_cast<int64_t>(length);  // varints of one byte, at worst
    }
    return stream_.Skip(static_cast<int>(length));
  }

  CodedInputStream stream_;
  const int64_t most_;
  int64_t total_ = 0;
  std::map<const Descriptor*, int64_t> sizes_;
};

}  // namespace

int64_t structure_bytes(std::string_view file, int64_t most) {
  return Counter(file, most).count();
}

}  // namespace halftone::onnx
