// .npy, .npz and safetensors: arrays x and y.
#include "data/array.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/files.h"
#include "data/largest_request.h"

namespace halftone::data {
namespace {

const std::vector<float> kValues = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};  // [2, 6] and the like

std::vector<float> values_of(const Dataset& set, int64_t index) {
  Sample sample;
  set.read(index, sample);
  return sample.values;
}

int32_t label_of(const Dataset& set, int64_t index) {
  Sample sample;
  set.read(index, sample);
  return sample.label;
}

void expect_refused(const std::string& spec, const std::string& part, const OpenOptions& options = {}) {
  const std::string message = message_of([&] { open_dataset(spec, options); });
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST(Npy, FindsTheLabelsBesideIt) {
  for (const auto& [x, y] :
       {std::pair{"x", "y"}, {"x_train", "y_train"}, {"train_images", "train_labels"}, {"data", "labels"}}) {
    const TemporaryFolder folder;
    const std::string path = folder.write(std::string(x) + ".npy", npy("<f4", "(2, 6)", bytes_of(kValues)));
    folder.write(std::string(y) + ".npy", npy("<i8", "(2,)", bytes_of<int64_t>({1, 0})));
    const auto set = open_dataset(path, {});
    EXPECT_EQ(set->info().shape, (Shape{6}));
    EXPECT_EQ(set->info().labels, LabelKind::kClass);
    EXPECT_EQ(set->info().classes, 2);
    EXPECT_EQ(values_of(*set, 1), (std::vector<float>{6, 7, 8, 9, 10, 11}));
    EXPECT_EQ(label_of(*set, 0), 1);
    EXPECT_EQ(open_dataset(folder.path(), {})->size(), 2) << "as a folder";
  }
}

TEST(Npy, ReadsEveryTypeOfNumber) {
  struct Case {
    const char* descr;
    std::string elements;
  };
  // 1 and 3, in each type; <f2 0x3C00 and 0x4200.
  const Case cases[] = {{"|i1", "\1\3"},
                        {"<u2", std::string("\1\0\3\0", 4)},
                        {">i2", std::string("\0\1\0\3", 4)},
                        {"<u4", bytes_of<uint32_t>({1, 3})},
                        {"<i4", bytes_of<int32_t>({1, 3})},
                        {"<u8", bytes_of<uint64_t>({1, 3})},
                        {"<i8", bytes_of<int64_t>({1, 3})},
                        {"<f2", std::string("\0\x3C\0\x42", 4)},
                        {"<f4", bytes_of<float>({1, 3})},
                        {"<f8", bytes_of<double>({1, 3})},
                        {">f8", std::string("\x3F\xF0\0\0\0\0\0\0\x40\x08\0\0\0\0\0\0", 16)}};
  for (const Case& c : cases) {
    const TemporaryFolder folder;
    const auto set = open_dataset(folder.write("x.npy", npy(c.descr, "(2, 1)", c.elements)), {});
    EXPECT_EQ(values_of(*set, 0), std::vector<float>{1}) << c.descr;
    EXPECT_EQ(values_of(*set, 1), std::vector<float>{3}) << c.descr;
  }
}

TEST(Npy, FloatsAreTargets) {
  const TemporaryFolder folder;
  const std::string path = folder.write("x.npy", npy("<f4", "(2, 6)", bytes_of(kValues)));
  folder.write("y.npy", npy("<f8", "(2, 3)", bytes_of<double>({1, 2, 3, 4, 5, 6})));
  const auto set = open_dataset(path, {});
  EXPECT_EQ(set->info().labels, LabelKind::kTarget);
  EXPECT_EQ(set->info().target_size, 3);
  Sample sample;
  set->read(1, sample);
  EXPECT_EQ(sample.target, (std::vector<float>{4, 5, 6}));
}

TEST(Npy, ImagesMayHaveTheirChannelsFirstOrLast) {
  const TemporaryFolder folder;
  const std::string pixels = noise(2 * 6 * 5 * 3, 1);
  const std::string last = folder.write("last.npy", npy("|u1", "(2, 6, 5, 3)", pixels));
  const auto set = open_dataset(last, {});
  EXPECT_EQ(set->info().shape, (Shape{3, 6, 5}));
  Sample sample;
  set->read(1, sample);
  const auto at = [&](int64_t c, int64_t y, int64_t x) {
    const Sample::Pixels& p = sample.pixels;
    return p.data[c * p.channel_stride + y * p.row_stride + x * p.column_stride];
  };
  EXPECT_EQ(at(2, 1, 3), static_cast<uint8_t>(pixels[90 + (1 * 5 + 3) * 3 + 2]));
  const auto first = open_dataset(folder.write("first.npy", npy("|u1", "(2, 3, 6, 5)", pixels)), {});
  EXPECT_EQ(first->info().shape, (Shape{3, 6, 5}));
  first->read(1, sample);
  EXPECT_EQ(at(2, 1, 3), static_cast<uint8_t>(pixels[90 + 2 * 30 + 1 * 5 + 3]));
  const std::string both = folder.write("both.npy", npy("|u1", "(2, 3, 4, 3)", noise(72, 1)));
  expect_refused(both, "first or last");
  OpenOptions options;
  options.sample_shape = {3, 3, 4};
  EXPECT_EQ(open_dataset(both, options)->info().shape, (Shape{3, 3, 4}));
}

TEST(Npy, FloatsWithChannelsLastAreTurnedRound) {
  const TemporaryFolder folder;
  const std::string path = folder.write("x.npy", npy("<f4", "(1, 2, 2, 3)", bytes_of(kValues)));
  OpenOptions options;
  options.sample_shape = {3, 2, 2};
  const auto set = open_dataset(path, options);
  EXPECT_EQ(values_of(*set, 0), (std::vector<float>{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}));
}

TEST(Npy, ReadsOlderAndNewerHeaders) {
  const TemporaryFolder folder;
  const std::string text = "{'shape': (2L, 1L), 'fortran_order': False, 'descr': '<f4'}";
  const std::string two = std::string("\x93NUMPY\x02\x00", 8) +
                          std::string{static_cast<char>(text.size()), 0, 0, 0} + text +
                          bytes_of<float>({1, 3});
  EXPECT_EQ(values_of(*open_dataset(folder.write("a.npy", two), {}), 1), std::vector<float>{3});
}

TEST(Npy, RefusesWhatItCannotRead) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& bytes, const std::string& part) {
    const std::string path = folder.write("b.npy", bytes);
    expect_refused(path, part);
    expect_refused(path, "b.npy");
  };
  const std::string good = npy("<f4", "(2, 6)", bytes_of(kValues));
  refused(good.substr(0, good.size() - 1), "says 176 bytes, but it has 175");
  refused(good + "x", "176 bytes, but it has 177");
  refused(good.substr(0, 60), "cut off");
  refused(good.substr(0, 9), "ends within its header");
  refused(npy("|O", "(2,)", "xx"), "Python objects");
  refused(npy("<U3", "(2,)", "xx"), "type <U3");
  refused(npy("<f4", "(-2, 6)", ""), "damaged .npy");
  refused(npy("<f4", "(2, 6", ""), "damaged .npy");
  refused(npy("<f4", "(9223372036854775807, 9)", ""), "no valid size");
  refused(npy("<f4", "(99999999999999999999,)", ""), "damaged .npy");
  refused(npy("<f4", "(1000000000, 1000)", ""), "bytes, but it has");
  refused(npy("<f4", "()", bytes_of<float>({1})), "a single number");
  refused(npy("<f4", "(0, 3)", ""), "no samples");
  std::string fortran = good;
  fortran.replace(fortran.find("False"), 5, "True ");
  refused(fortran, "Fortran order");
  std::string key = good;
  key.replace(key.find("descr"), 5, "other");
  refused(key, "damaged .npy");
}

TEST(Npy, RefusesValuesThatAreNotFinite) {
  const TemporaryFolder folder;
  const std::string path = folder.write("x.npy", npy("<f4", "(3, 1)", bytes_of<float>({1, NAN, 3})));
  const auto set = open_dataset(path, {});
  EXPECT_EQ(values_of(*set, 0), std::vector<float>{1});
  EXPECT_NE(message_of([&] {
              values_of(*set, 1);
            }).find("x.npy, sample 1: it holds a value that is not a finite number"),
            std::string::npos);
  OpenOptions options;
  options.skip_bad = true;
  const auto good = open_dataset(path, options);
  EXPECT_EQ(good->size(), 2);
  EXPECT_EQ(good->info().skipped, 1);
  EXPECT_EQ(values_of(*good, 1), std::vector<float>{3});
}

TEST(Npy, NamesLabelsThatDoNotFit) {
  const TemporaryFolder folder;
  const std::string path = folder.write("x.npy", npy("<f4", "(2, 6)", bytes_of(kValues)));
  folder.write("y.npy", npy("<i8", "(3,)", bytes_of<int64_t>({1, 0, 1})));
  expect_refused(path, "has 2 samples, but");
  folder.write("y.npy", npy("<i8", "(2,)", bytes_of<int64_t>({1, -1})));
  expect_refused(path, "y.npy, sample 1: the label -1 is out of range");
  folder.write("y.npy", npy("<f4", "(2,)", bytes_of<float>({1, 0.5})));
  OpenOptions options;
  options.read_labels = [](const LabelForm&, const DataInfo&) { return LabelReading{LabelKind::kClass, 2}; };
  expect_refused(path, "y.npy, sample 1: the label 0.5 is no class number", options);
  folder.write("y.npy", npy("<u8", "(2,)", bytes_of<uint64_t>({1, ~uint64_t{0}})));
  expect_refused(path, "too large");
}

std::vector<Member> members() {
  return {{"x.npy", npy("<f4", "(2, 6)", bytes_of(kValues))},
          {"y.npy", npy("<i8", "(2,)", bytes_of<int64_t>({1, 0}))}};
}

TEST(Npz, ReadsStoredAndDeflatedMembers) {
  for (const bool deflated : {false, true}) {
    const TemporaryFolder folder;
    const auto set = open_dataset(folder.write("d.npz", zip(members(), deflated)), {});
    EXPECT_EQ(set->info().kind, ".npz");
    EXPECT_EQ(values_of(*set, 1), (std::vector<float>{6, 7, 8, 9, 10, 11}));
    EXPECT_EQ(label_of(*set, 0), 1);
  }
}

TEST(Npz, ChoosesArraysByNameSplitAndKey) {
  const TemporaryFolder folder;
  const auto x = [](float v) { return npy("<f4", "(1, 1)", bytes_of<float>({v})); };
  const auto y = [](int64_t v) { return npy("<i8", "(1,)", bytes_of<int64_t>({v})); };
  const std::string keras = folder.write(
      "k.npz",
      zip({{"x_test.npy", x(2)}, {"x_train.npy", x(1)}, {"y_train.npy", y(1)}, {"y_test.npy", y(0)}}, true));
  EXPECT_EQ(splits_of(keras), (std::vector<std::string>{"train", "test"}));
  EXPECT_EQ(values_of(*open_dataset(keras, {}), 0), std::vector<float>{1});
  EXPECT_EQ(values_of(*open_dataset(keras + "[test]", {}), 0), std::vector<float>{2});
  EXPECT_EQ(label_of(*open_dataset(keras + "[test]", {}), 0), 0);
  const std::string medical = folder.write("m.npz", zip({{"train_images.npy", x(5)},
                                                         {"train_labels.npy", y(1)},
                                                         {"val_images.npy", x(6)},
                                                         {"val_labels.npy", y(0)}},
                                                        true));
  EXPECT_EQ(values_of(*open_dataset(medical + "[val]", {}), 0), std::vector<float>{6});
  const std::string odd = folder.write("o.npz", zip({{"a.npy", x(7)}, {"b.npy", y(3)}}, true));
  expect_refused(odd, "which array holds the samples? It has a, b");
  OpenOptions named;
  named.input_name = "a";
  expect_refused(odd, "which array holds the labels?", named);
  named.input_name = "pixels";
  expect_refused(odd, "or the input's name, pixels", named);
  const std::string by_input = folder.write("i.npz", zip({{"pixels.npy", x(8)}, {"y.npy", y(1)}}, true));
  EXPECT_EQ(values_of(*open_dataset(by_input, named), 0), std::vector<float>{8});
  // What is called as samples are comes first.
  const std::string both =
      folder.write("b.npz", zip({{"pixels.npy", x(8)}, {"x.npy", x(9)}, {"y.npy", y(1)}}, true));
  EXPECT_EQ(values_of(*open_dataset(both, named), 0), std::vector<float>{9});
  OpenOptions options;
  options.x_key = "a";
  expect_refused(odd, "which array holds the labels?", options);
  options.y_key = "b";
  EXPECT_EQ(label_of(*open_dataset(odd, options), 0), 3);
  options.y_key = "c";
  expect_refused(odd, "no array c (--y-key)", options);
}

// Every pair of names that an array of samples or labels may have.
TEST(Npz, SeveralArraysThatCouldBeMeantAreRefusedUnlessChosen) {
  const TemporaryFolder folder;
  const auto x = [](float v) { return npy("<f4", "(2, 1)", bytes_of<float>({v, v})); };
  const auto y = [](int64_t v) { return npy("<i8", "(2,)", bytes_of<int64_t>({v, v})); };
  const std::vector<std::string> samples{"x", "X", "images", "image", "data", "inputs", "input", "features"};
  const std::vector<std::string> labels{"y", "Y", "labels", "label", "targets", "target", "classes"};
  for (const bool deflated : {false, true})
    for (size_t i = 0; i + 1 < labels.size(); ++i) {
      const std::string other = labels[i + 1];
      const std::string path = folder.write(
          "d.npz", zip({{"x.npy", x(1)}, {other + ".npy", y(1)}, {labels[i] + ".npy", y(0)}}, deflated));
      expect_refused(path, labels[i] + " and " + other + " could be; choose with --y-key " + labels[i]);
      OpenOptions options;
      options.y_key = other;
      EXPECT_EQ(label_of(*open_dataset(path, options), 0), 1);
      // What has another length is none: names of classes, say, of a type that is not read.
      for (const char* type : {"<i8", "<U3"}) {
        const std::string names = npy(type, "(3,)", std::string(type[1] == 'i' ? 24 : 36, '\0'));
        const std::string one = folder.write(
            "e.npz", zip({{"x.npy", x(1)}, {labels[i] + ".npy", y(1)}, {other + ".npy", names}}, deflated));
        EXPECT_EQ(label_of(*open_dataset(one, {}), 0), 1);
      }
    }
  // Of what is no candidate after all only the header is inflated.
  const std::string large = npy("<i8", "(4000000,)", std::string(32'000'000, '\0'));
  const std::string beside =
      folder.write("f.npz", zip({{"x.npy", x(1)}, {"y.npy", y(1)}, {"labels.npy", large}}, true));
  reset_largest_request();
  EXPECT_EQ(label_of(*open_dataset(beside, {}), 0), 1);
  EXPECT_LT(largest_request(), size_t{1} << 20);
  for (size_t i = 0; i + 1 < samples.size(); ++i) {
    const std::string path = folder.write(
        "d.npz", zip({{samples[i + 1] + ".npy", x(2)}, {samples[i] + ".npy", x(1)}, {"y.npy", y(0)}}, false));
    expect_refused(path,
                   samples[i] + " and " + samples[i + 1] + " could be; choose with --x-key " + samples[i]);
    OpenOptions options;
    options.x_key = samples[i + 1];
    EXPECT_EQ(values_of(*open_dataset(path, options), 0), std::vector<float>{2});
  }
  const std::string header = R"({"x":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                             R"("y":{"dtype":"I64","shape":[2],"data_offsets":[8,24]},)"
                             R"("label":{"dtype":"I64","shape":[2],"data_offsets":[24,40]}})";
  expect_refused(folder.write("d.safetensors", safetensors(header, std::string(40, '\0'))),
                 "y and label could be");
  folder.write("n/x.npy", x(1));
  folder.write("n/y.npy", y(1));
  folder.write("n/target.npy", y(0));
  expect_refused(folder.path() + "/n", "y and target could be");
  folder.write("b/X.npy", x(1));
  folder.write("b/y.npy", y(1));
  folder.write("b/Y.npy", y(0));
  expect_refused(folder.path() + "/b/X.npy", "which file beside it holds its labels?");
}

TEST(Npz, KeysAndPartsGoTogether) {
  const TemporaryFolder folder;
  const auto x = [](float v) { return npy("<f4", "(1, 1)", bytes_of<float>({v})); };
  const auto y = [](int64_t v) { return npy("<i8", "(1,)", bytes_of<int64_t>({v})); };
  const std::string path = folder.write("k.npz", zip({{"x_train.npy", x(1)},
                                                      {"x_val.npy", x(2)},
                                                      {"fine_train.npy", y(1)},
                                                      {"fine_val.npy", y(2)},
                                                      {"coarse_train.npy", y(0)}},
                                                     false));
  OpenOptions options;
  options.y_key = "fine";
  EXPECT_EQ(label_of(*open_dataset(path, options), 0), 1);
  EXPECT_EQ(label_of(*open_dataset(path + "[val]", options), 0), 2);
  options.y_key = "fine_train";
  EXPECT_EQ(label_of(*open_dataset(path, options), 0), 1);
  expect_refused(path + "[val]", "--y-key fine_train names an array of [train], but [val] is read", options);
  options.y_key = "coarse";
  expect_refused(path + "[val]", "k.npz[val] has no array coarse (--y-key)", options);
  options.y_key = "x_train";
  expect_refused(path, "cannot be both the samples and the labels", options);
  options = {};
  options.x_key = "x_train";
  options.y_key = "fine_train";
  expect_refused(path + "[val]", "--x-key x_train names an array of [train], but [val] is read", options);
}

TEST(OpenDataset, OptionsOfOtherKindsOfDataAreSaidToHaveNoEffect) {
  const TemporaryFolder folder;
  OpenOptions options;
  options.x_key = "x";
  options.label_column = "y";
  options.csv_decimal = "comma";
  const auto notes = [&](const std::string& path) {
    std::string text;
    const auto set = open_dataset(path, options);
    for (const std::string& note : set->info().notes)
      if (note.starts_with("warning:")) text += note + "\n";
    return text;
  };
  const std::string npz =
      folder.write("d.npz", zip({{"x.npy", npy("<f4", "(1, 1)", bytes_of<float>({1}))}}, false));
  EXPECT_EQ(notes(npz), "warning: --label-column has no effect on " + npz +
                            ", which is .npz\nwarning: --csv-decimal has no effect on " + npz +
                            ", which is .npz\n");
  const std::string csv = folder.write("d.csv", "a;y\n1,5;2,5\n");
  EXPECT_EQ(notes(csv), "warning: --x-key has no effect on " + csv + ", which is CSV\n");
}

TEST(Npz, RefusesDamagedFiles) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& bytes, const std::string& part) {
    const std::string path = folder.write("d.npz", bytes);
    expect_refused(path, part);
    expect_refused(path, "d.npz");
  };
  const std::string stored = zip(members(), false);
  const std::string deflated = zip(members(), true);
  refused(stored.substr(0, stored.size() - 5), "no directory");
  std::string directory_crc = deflated;
  directory_crc[directory_crc.find("PK\1\2") + 16] ^= 1;
  refused(directory_crc, "checksum is wrong");
  std::string size = deflated;
  size[size.find("PK\1\2") + 26] ^= 0x70;
  refused(size, "the zip's directory");
  std::string outside = stored;
  outside[outside.find("PK\1\2") + 45] = 0x7F;
  refused(outside, "impossible");
  std::string method = stored;
  method[method.find("PK\1\2") + 10] = 14;
  refused(method, "compression 14");
  std::string encrypted = stored;
  encrypted[encrypted.find("PK\1\2") + 8] = 1;
  refused(encrypted, "encrypted");
  // 4 GB in a member of a few hundred bytes.
  refused(zip({{"x.npy", npy("<f4", "(1073741824, 1)", std::string(300, '\0'))}}, true),
          "the zip's directory");
}

std::string two_tensors(const std::string& x_offsets) {
  return R"({"__metadata__":{"format":"pt"},"x":{"dtype":"F32","shape":[2,6],"data_offsets":)" + x_offsets +
         R"(},"y":{"dtype":"I64","shape":[2],"data_offsets":[48,64]}})";
}

TEST(Safetensors, ReadsXAndY) {
  const TemporaryFolder folder;
  const std::string data = bytes_of(kValues) + bytes_of<int64_t>({1, 0});
  const auto set = open_dataset(folder.write("d.safetensors", safetensors(two_tensors("[0,48]"), data)), {});
  EXPECT_EQ(set->info().kind, "safetensors");
  EXPECT_EQ(values_of(*set, 0), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(label_of(*set, 0), 1);
}

TEST(Safetensors, RefusesDamagedFiles) {
  const TemporaryFolder folder;
  const std::string data = bytes_of(kValues) + bytes_of<int64_t>({1, 0});
  const auto refused = [&](const std::string& bytes, const std::string& part) {
    expect_refused(folder.write("d.safetensors", bytes), part);
  };
  refused(safetensors(two_tensors("[0,44]"), data), "there is a hole");
  refused(safetensors(two_tensors("[4,52]"), data.substr(0, 50)), "tensor 'x' lies at bytes 4 to 52 of 50");
  refused(safetensors(two_tensors("[-4,44]"), data), "the header has -4 where it should not");
  refused(safetensors(two_tensors("[0]"), data), "1 data_offsets instead of 2");
  refused(safetensors(two_tensors("[0,48]").substr(1), data), "no data of a known kind");
  refused(safetensors("{" + two_tensors("[0,48]"), data), "not JSON at its byte");
  refused(safetensors("{\"x\":" + std::string(50000, '[') + std::string(50000, ']') + "}", data),
          "the header has a list");
  refused(safetensors(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,64]}})", data),
          "no valid size");
  refused(safetensors(R"({"x":{"dtype":"F4","shape":[2],"data_offsets":[0,64]}})", data), "type F4");
  refused(safetensors(R"({"x":5})", data), "the header has 5");
  refused(std::string("\xFF\xFF\xFF\xFF\0\0\0\0{}", 10), "no data of a known kind");
}

}  // namespace
}  // namespace halftone::data
