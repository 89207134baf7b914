#include "onnx/message_file.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <exception>

#include "base/error.h"
#include "base/file.h"

namespace halftone::onnx {
namespace {

// Hands protobuf's output to a sink. protobuf is not written for exceptions, so the sink's waits here until
// it is done.
class SinkStream : public google::protobuf::io::CopyingOutputStream {
 public:
  explicit SinkStream(const Sink& sink) : sink_(sink) {}
  bool Write(const void* bytes, int size) override {
    try {
      sink_(bytes, size);
    } catch (...) {
      failure_ = std::current_exception();
    }
    return failure_ == nullptr;
  }
  void rethrow() const {
    if (failure_ != nullptr) std::rethrow_exception(failure_);
  }

 private:
  const Sink& sink_;
  std::exception_ptr failure_;
};

}  // namespace

void write_message(const ::onnx::ModelProto& proto, const std::string& path) {
  if (proto.ByteSizeLong() >= (size_t{1} << 31))
    throw input_error("{}: the network has {} bytes, but an ONNX file can have at most 2 GiB", path,
                      proto.ByteSizeLong());
  write_file_atomically(path, [&](const Sink& sink) {
    SinkStream stream(sink);
    bool written = false;
    {
      google::protobuf::io::CopyingOutputStreamAdaptor adaptor(&stream);
      google::protobuf::io::CodedOutputStream coded(&adaptor);
      proto.SerializeWithCachedSizes(&coded);
      coded.Trim();
      written = !coded.HadError() && adaptor.Flush();
    }
    stream.rethrow();
    HT_ASSERT(written, "{}", path);
  });
}

}  // namespace halftone::onnx
