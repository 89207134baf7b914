#include "onnx/outline.h"

#include <google/protobuf/wire_format_lite.h>

#include <algorithm>

#include "onnx/proto.h"

namespace halftone::onnx {
namespace {

using google::protobuf::internal::WireFormatLite;

constexpr int64_t kWindow = 16 << 10;

// Of one message. A list of fields must not take memory that the parsed message would not; no network has a
// tenth of it.
constexpr size_t kMaxFields = size_t{1} << 18;

// The file's bytes through a window.
class Window {
 public:
  Window(const ReadAt& read, int64_t size) : read_(read), size_(size) {}
  int64_t size() const { return size_; }

  uint8_t at(int64_t offset) {
    if (offset < begin_ || offset >= begin_ + static_cast<int64_t>(bytes_.size())) {
      bytes_.resize(static_cast<size_t>(std::min(kWindow, size_ - offset)));
      read_(offset, static_cast<int64_t>(bytes_.size()), bytes_.data());
      begin_ = offset;
    }
    return static_cast<uint8_t>(bytes_[static_cast<size_t>(offset - begin_)]);
  }
  void append(int64_t begin, int64_t end, std::string& to) {
    while (begin < end) {
      at(begin);
      const int64_t inside = begin - begin_;
      const int64_t n = std::min(end - begin, static_cast<int64_t>(bytes_.size()) - inside);
      to.append(bytes_, static_cast<size_t>(inside), static_cast<size_t>(n));
      begin += n;
    }
  }

 private:
  const ReadAt& read_;
  const int64_t size_;
  int64_t begin_ = 0;
  std::string bytes_;
};

struct Field {
  int number = 0;
  int wire = 0;
  int64_t begin = 0;  // of its tag
  int64_t value = 0;  // where its value begins; after the length where there is one
  int64_t end = 0;
  uint64_t number_value = 0;  // of a varint
  int64_t length() const { return end - value; }
  bool delimited() const { return wire == WireFormatLite::WIRETYPE_LENGTH_DELIMITED; }
};

void put_varint(uint64_t value, std::string& to) {
  while (value >= 0x80) {
    to.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  to.push_back(static_cast<char>(value));
}

class Outliner {
 public:
  Outliner(const ReadAt& read, int64_t size) : file_(read, size) {}

  std::optional<Outline> run() {
    std::vector<Field> fields;
    if (!split(0, file_.size(), fields) || count(fields, ::onnx::ModelProto::kGraphFieldNumber) != 1)
      return std::nullopt;
    for (const Field& f : fields) {
      if (f.number != ::onnx::ModelProto::kGraphFieldNumber || !f.delimited()) {
        copy(f, out_.message);
        continue;
      }
      std::string graph;
      if (!this->graph(f, graph)) return std::nullopt;
      put(f.number, graph, out_.message);
    }
    return std::move(out_);
  }

 private:
  // protobuf reads tags and lengths of at most 5 bytes.
  bool varint(int64_t& at, int64_t end, uint64_t& value, int most = 10) {
    value = 0;
    for (int i = 0; i < most; ++i) {
      if (at >= end) return false;
      const uint8_t byte = file_.at(at++);
      value |= static_cast<uint64_t>(byte & 0x7FU) << (7 * i);
      if ((byte & 0x80U) == 0) return true;
    }
    return false;
  }

  // A message's fields; false when it is damaged, has groups, or very many.
  bool split(int64_t begin, int64_t end, std::vector<Field>& fields) {
    for (int64_t at = begin; at < end;) {
      Field f;
      f.begin = at;
      uint64_t tag = 0;
      if (!varint(at, end, tag, 5) || tag > UINT32_MAX || (tag >> 3) == 0) return false;
      f.number = static_cast<int>(tag >> 3);
      f.wire = static_cast<int>(tag & 7U);
      f.value = at;
      uint64_t length = 0;
      switch (f.wire) {
        case WireFormatLite::WIRETYPE_VARINT:
          if (!varint(at, end, f.number_value)) return false;
          break;
        case WireFormatLite::WIRETYPE_FIXED64:
          length = 8;
          break;
        case WireFormatLite::WIRETYPE_FIXED32:
          length = 4;
          break;
        case WireFormatLite::WIRETYPE_LENGTH_DELIMITED:
          if (!varint(at, end, length, 5)) return false;
          f.value = at;
          break;
        default:
          return false;
      }
      if (length > static_cast<uint64_t>(end - at)) return false;
      at += static_cast<int64_t>(length);
      f.end = at;
      if (fields.size() >= kMaxFields) return false;
      fields.push_back(f);
    }
    return true;
  }

  static int64_t count(const std::vector<Field>& fields, int number) {
    return std::count_if(fields.begin(), fields.end(), [&](const Field& f) { return f.number == number; });
  }
  void copy(const Field& f, std::string& to) { file_.append(f.begin, f.end, to); }
  static void put(int number, const std::string& message, std::string& to) {
    put_varint(static_cast<uint64_t>(number) << 3 | WireFormatLite::WIRETYPE_LENGTH_DELIMITED, to);
    put_varint(message.size(), to);
    to += message;
  }

  bool graph(const Field& message, std::string& to) {
    std::vector<Field> fields;
    if (!split(message.value, message.end, fields)) return false;
    TensorPlace initializer{0, -1, -1};
    TensorPlace node{-1, 0, -1};
    for (const Field& f : fields) {
      std::string part;
      if (f.delimited() && f.number == ::onnx::GraphProto::kInitializerFieldNumber) {
        if (!tensor(f, initializer, part)) return false;
        ++initializer.initializer;
        put(f.number, part, to);
      } else if (f.delimited() && f.number == ::onnx::GraphProto::kNodeFieldNumber) {
        if (!this->node(f, node, part)) return false;
        ++node.node;
        put(f.number, part, to);
      } else {
        copy(f, to);
      }
    }
    return true;
  }

  bool node(const Field& message, TensorPlace place, std::string& to) {
    std::vector<Field> fields;
    if (!split(message.value, message.end, fields)) return false;
    place.attribute = 0;
    for (const Field& f : fields) {
      if (!f.delimited() || f.number != ::onnx::NodeProto::kAttributeFieldNumber) {
        copy(f, to);
        continue;
      }
      std::string part;
      if (!attribute(f, place, part)) return false;
      ++place.attribute;
      put(f.number, part, to);
    }
    return true;
  }

  bool attribute(const Field& message, const TensorPlace& place, std::string& to) {
    std::vector<Field> fields;
    if (!split(message.value, message.end, fields)) return false;
    const bool single = count(fields, ::onnx::AttributeProto::kTFieldNumber) == 1;
    for (const Field& f : fields) {
      if (!single || !f.delimited() || f.number != ::onnx::AttributeProto::kTFieldNumber) {
        copy(f, to);
        continue;
      }
      std::string part;
      if (!tensor(f, place, part)) return false;
      put(f.number, part, to);
    }
    return true;
  }

  bool tensor(const Field& message, const TensorPlace& place, std::string& to) {
    using Tensor = ::onnx::TensorProto;
    std::vector<Field> fields;
    if (!split(message.value, message.end, fields)) return false;
    int32_t type = Tensor::UNDEFINED;
    for (const Field& f : fields)
      if (f.number == Tensor::kDataTypeFieldNumber && f.wire == WireFormatLite::WIRETYPE_VARINT)
        type = static_cast<int32_t>(f.number_value);
    const Field* bulk = nullptr;
    const auto only = [&](int number, int64_t width) {
      if (count(fields, number) != 1) return;
      const auto f =
          std::find_if(fields.begin(), fields.end(), [&](const Field& g) { return g.number == number; });
      if (f->delimited() && f->length() > 0 && f->length() % width == 0) bulk = &*f;
    };
    const int64_t raws = count(fields, Tensor::kRawDataFieldNumber);
    if (raws == 1) only(Tensor::kRawDataFieldNumber, 1);
    if (raws == 0 && type == Tensor::FLOAT) only(Tensor::kFloatDataFieldNumber, 4);
    if (raws == 0 && type == Tensor::DOUBLE) only(Tensor::kDoubleDataFieldNumber, 8);
    for (const Field& f : fields)
      if (&f != bulk) copy(f, to);
    if (bulk != nullptr)
      out_.tensors.push_back(
          {place, {bulk->value, bulk->length(), bulk->number == Tensor::kRawDataFieldNumber}});
    return true;
  }

  Window file_;
  Outline out_;
};

}  // namespace

std::optional<Outline> outline(const ReadAt& read, int64_t file_bytes) {
  return Outliner(read, file_bytes).run();
}

}  // namespace halftone::onnx
