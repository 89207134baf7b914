#include "data/fuzzing.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "data/dataset.h"
#include "data/files.h"
#include "data/image.h"
#include "data/spec.h"
#include "data/transform.h"

namespace halftone::data {
namespace {

// One folder a process, with the companions that some files need beside them.
const TemporaryFolder& folder() {
  static const TemporaryFolder instance;
  static const bool once = [] {
    instance.write("f-labels-idx1-ubyte", idx(0x08, {4}, std::string("\0\1\2\0", 4)));
    instance.write("y.npy", npy("<i8", "(2,)", bytes_of<int64_t>({1, 0})));
    return true;
  }();
  static_cast<void>(once);
  return instance;
}

std::string file_name(const std::string& reader) {
  if (reader == "idx") return "f-images-idx3-ubyte";
  if (reader == "npy") return "x.npy";
  return "f." + (reader == "cifar" ? "bin" : reader);
}

int read_image(const std::string& bytes) {
  int read = 0;
  for (const int64_t channels : {1, 3}) {
    try {
      Image image;
      decode_image(bytes, channels, "fuzzed", image);
      HT_ASSERT(static_cast<int64_t>(image.pixels.size()) == image.height * image.width * channels);
      const ImageHeader header = read_image_header(bytes, "fuzzed");
      HT_ASSERT(header.height == image.height && header.width == image.width);
      ++read;
    } catch (const Error&) {
    }
  }
  return read;
}

int read_set(const std::string& path, const DataOptions& options) {
  int read = 0;
  try {
    const std::unique_ptr<Dataset> set = open_dataset(path, options);
    const Transform transform(set->info(), {});
    Transform::Scratch scratch;
    Sample sample;
    const Draws draws{1, 2, 3};
    std::vector<float> out(static_cast<size_t>(elements(set->info().shape)));
    HT_ASSERT(set->size() > 0);
    for (int64_t i = 0; i < std::min<int64_t>(set->size(), 16); ++i) {
      try {
        set->read(i, sample);
        transform.apply(sample, &draws, scratch, out);
        if (set->info().labels == LabelKind::kClass)
          HT_ASSERT(sample.label >= 0 && sample.label < set->info().classes);
        ++read;
      } catch (const Error&) {
        HT_ASSERT(!options.skip_bad, "a bad sample was not skipped");
      }
    }
  } catch (const Error&) {
  }
  return read;
}

int read_spec(const std::string& text) {
  try {
    const Spec spec = parse_spec(text);
    if (spec.range) {
      const auto [begin, end] = resolve_range(*spec.range, 1000, spec.path);
      HT_ASSERT(0 <= begin && begin < end && end <= 1000);
    }
    return 1;
  } catch (const Error&) {
    return 0;
  }
}

std::vector<std::string> npz_seeds() {
  const std::vector<Member> members = {{"x.npy", npy("<f4", "(2, 3)", bytes_of<float>({1, 2, 3, 4, 5, 6}))},
                                       {"y.npy", npy("<i8", "(2,)", bytes_of<int64_t>({1, 0}))}};
  const std::vector<Member> splits = {{"x_train.npy", npy("|u1", "(2, 2, 2)", "abcdefgh")},
                                      {"y_train.npy", npy("|b1", "(2, 1)", std::string("\0\1", 2))}};
  return {zip(members, false), zip(members, true), zip(splits, true)};
}

}  // namespace

const std::vector<std::string> kFuzzedReaders = {"image",       "idx", "npy",   "npz",
                                                 "safetensors", "csv", "cifar", "spec"};

std::vector<std::string> seeds_of(const std::string& reader) {
  if (reader == "image") {
    std::vector<std::string> seeds;
    for (const char* name :
         {"photo.jpg", "422.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "restart.jpg", "palette.png",
          "palette-transparent.png", "bits.png", "grey2.png", "grey16.png", "rgb16.png", "interlaced.png"})
      seeds.push_back(read_file(fixture(std::string("images/") + name)));
    return seeds;
  }
  if (reader == "idx") {
    const std::string images = idx(0x08, {4, 2, 3}, noise(24, 1));
    return {images, gzip(images), gzip(images.substr(0, 9)) + gzip(images.substr(9)),
            idx(0x0D, {4, 1}, std::string("\x3F\xC0\0\0\xC0\0\0\0\x3F\xC0\0\0\xC0\0\0\0", 16)),
            idx(0x0B, {4, 2}, noise(16, 2))};
  }
  if (reader == "npy")
    return {npy("<f4", "(2, 3)", bytes_of<float>({1, 2, 3, 4, 5, 6})),
            npy("|u1", "(2, 2, 2, 3)", noise(24, 3)), npy(">i2", "(2, 4)", noise(16, 4)),
            npy("<f2", "(2, 1, 2, 2)", std::string(16, '\x3C'))};
  if (reader == "npz") return npz_seeds();
  if (reader == "safetensors")
    return {
        safetensors(R"({"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                    R"("y":{"dtype":"I64","shape":[2],"data_offsets":[24,40]}})",
                    bytes_of<float>({1, 2, 3, 4, 5, 6}) + bytes_of<int64_t>({1, 0})),
        safetensors(R"({"images":{"dtype":"U8","shape":[2,2,2],"data_offsets":[0,8]}})", "abcdefgh")};
  if (reader == "csv")
    return {"a,b,c\n1,2.5,0\n-3e1,4,1\n", "1;2;0\n# no\n3;+4;1\n", "\"x\"\"y\"\tb\r\n1\t0.5\r\n2\t1\r\n",
            "1,2,cat\n3,4,dog\n5,6,cat"};
  if (reader == "cifar") return {std::string("\1") + noise(3072, 1), std::string("\1\2") + noise(3072, 2)};
  HT_ASSERT(reader == "spec", "no reader {}", reader);
  return {"path[train][:50%]", "path[10:-1]", "a[b", "a[12.5%:99.9%]", "[x]"};
}

int read_all(const std::string& reader, const std::string& bytes) {
  if (reader == "image") return read_image(bytes);
  if (reader == "spec") return read_spec(bytes);
  const std::string path = folder().write(file_name(reader), bytes);
  DataOptions plain;
  plain.threads = 1;
  DataOptions wanted = plain;
  wanted.sample_shape = {3, 4, 4};
  wanted.classes = 3;
  wanted.skip_bad = true;
  DataOptions flat = plain;
  flat.sample_shape = {6};
  flat.labels = LabelChoice::kNone;
  return read_set(path, plain) + read_set(path, wanted) + read_set(path, flat);
}

}  // namespace halftone::data
