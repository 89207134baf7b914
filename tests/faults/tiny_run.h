// A network of some hundred bytes with its data, trained in a few hundredths of a second: for thousands of
// runs.
#pragma once

#include <string>
#include <vector>

#include "onnx/build_model.h"

namespace halftone::faults {

using Arguments = std::vector<std::string>;

class TinyRun {
 public:
  TinyRun();

  // The files of the network and of its data, which only the constructor writes.
  std::string network() const { return folder_ / "m.onnx"; }
  std::string external_network() const {
    return folder_ / "external.onnx";
  }  // its weights are in external.bin
  std::string data() const { return folder_ / "train.csv"; }
  std::string validation() const { return folder_ / "val.csv"; }
  // JPEG and PNG files of several kinds in folders of two classes, and a network with a convolution.
  std::string images() const { return folder_ / "images"; }
  std::string image_network() const { return folder_ / "image.onnx"; }
  // A network of two inputs, with a function of its file; a loss in a file of its own; data with the four
  // fields of both.
  std::string fields_network() const { return folder_ / "fields.onnx"; }
  std::string loss_graph() const { return folder_ / "loss.onnx"; }
  std::string fields(const std::string& kind) const {
    return folder_ / ("fields." + kind);
  }                                                          // npz, safetensors
  std::string samples() const { return folder_ / "x.npy"; }  // of network(), and their labels
  std::string labels() const { return folder_ / "labels.npy"; }
  const std::string& path() const { return folder_.path(); }
  // Where results go.
  std::string operator/(const std::string& name) const { return folder_ / ("out-" + name); }

  // Ten steps in two epochs, with a checkpoint every third, and validation; the best weights are those after
  // the first epoch. `more` takes the place of what is given already.
  Arguments train(const std::string& network, const std::string& out, const Arguments& more = {}) const;

 private:
  void write_images() const;
  void write_fields() const;

  onnx::test::TemporaryFolder folder_;
};

}  // namespace halftone::faults
