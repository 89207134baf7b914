// A run that begins with a new last layer, from its options to the network that it wrote.
#include "onnx/new_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "api/small_networks.h"
#include "base/error.h"
#include "base/file.h"
#include "halftone/session.h"
#include "onnx/model.h"

namespace halftone::api::test {
namespace {

const std::vector<std::string> kOld{"ant", "bee", "cat", "dog"};
const std::vector<std::string> kNew{"bee", "cow", "dog", "elk", "fox"};

// As write_csv, with names of classes.
void write_named(const std::string& path, const std::vector<std::string>& names, int64_t samples,
                 uint64_t seed) {
  Normal normal(seed);
  std::ofstream file(path);
  for (int64_t f = 0; f < kFeatures; ++f) file << "x" << f << ",";
  file << "label\n";
  for (int64_t i = 0; i < samples; ++i) {
    for (const float v : normal.many(kFeatures, 1)) file << v << ",";
    file << names[static_cast<size_t>(i) % names.size()] << "\n";
  }
}

void write_classes(const std::string& path, const std::vector<std::string>& names) {
  std::ofstream file(path);
  for (const std::string& name : names) file << name << "\n";
}

std::vector<float> column(const onnx::Model& model, const std::string& tensor, int64_t c) {
  const Tensor t = model.tensor(tensor);
  const int64_t columns = t.shape().back();
  std::vector<float> out;
  for (int64_t r = 0; r < t.size() / columns; ++r)
    out.push_back(t.as<float>()[static_cast<size_t>(r * columns + c)]);
  return out;
}

class NewHead : public ::testing::Test {
 protected:
  NewHead() {
    write_named(folder_ / "train.csv", kNew, 64, 3);
    write_mlp(folder_ / "m.onnx");
    write_classes(folder_ / "old.txt", kOld);
    options_ = train_options(folder_, "fp32");
    options_.new_head = true;
  }
  Ended evaluated(const std::string& model, const std::string& weights = "") {
    EvalOptions o;
    o.network = options_.network;
    o.network.model = model;
    o.network.weights = weights;
    o.data = options_.data;
    o.data.val.clear();
    o.quiet = true;
    Ended e;
    try {
      e.result = evaluate_model(o, [](const std::string&) {});
      e.done = true;
    } catch (const Error& error) {
      e.message = error.what();
      e.kind = error.kind();
    }
    return e;
  }

  TemporaryFolder folder_;
  TrainOptions options_;
};

TEST_F(NewHead, HasTheDatasClassesAndIsAnOrdinaryNetwork) {
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  const onnx::Model written = onnx::Model::load(options_.out + "/model.onnx");
  EXPECT_EQ(written.find_tensor("fc2.weight")->shape, (Shape{kHidden, 5}));
  EXPECT_EQ(written.find_tensor("fc2.bias")->shape, (Shape{5}));
  EXPECT_EQ(written.outputs().at(0).dims.at(1).value, 5);
  EXPECT_EQ(written.metadata("halftone.classes"), R"(["bee","cow","dog","elk","fox"])");
  const Ended file = evaluated(options_.out + "/model.onnx");
  ASSERT_TRUE(file.done) << file.message;
  // A checkpoint becomes the same network again.
  const Ended last = evaluated(options_.out, "last");
  ASSERT_TRUE(last.done) << last.message;
  EXPECT_EQ(last.result.val_loss, file.result.val_loss);
  export_model(options_.out, "safetensors", folder_ / "w.safetensors");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "w.safetensors"));
}

TEST_F(NewHead, KeepsTheRowsOfClassesThatBothName) {
  options_.keep_classes = true;
  options_.data.old_classes_file = folder_ / "old.txt";
  options_.lr = 0;
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  const onnx::Model before = onnx::Model::load(folder_ / "m.onnx");
  const onnx::Model after = onnx::Model::load(options_.out + "/model.onnx");
  const double bound = 1 / std::sqrt(static_cast<double>(kHidden));
  for (const char* tensor : {"fc2.weight", "fc2.bias"}) {
    EXPECT_EQ(column(after, tensor, 0), column(before, tensor, 1)) << "bee";
    EXPECT_EQ(column(after, tensor, 2), column(before, tensor, 3)) << "dog";
    for (const int64_t c : {1, 3, 4})
      for (const float x : column(after, tensor, c)) EXPECT_TRUE(x != 0 && std::abs(x) <= bound) << x;
  }
  EXPECT_EQ(std::memcmp(before.tensor("fc1.weight").data(), after.tensor("fc1.weight").data(),
                        static_cast<size_t>(before.tensor("fc1.weight").bytes())),
            0);
}

TEST_F(NewHead, GoesOnToTheSameBytes) {
  options_.network.precision = "fp16";
  options_.keep_classes = true;
  options_.data.old_classes_file = folder_ / "old.txt";
  options_.epochs = 3;
  const Ended whole = train(options_);
  ASSERT_TRUE(whole.done) << whole.message;
  const std::string expected = read_file(options_.out + "/model.onnx");
  options_.out += "-stopped";
  options_.epochs = 1;
  ASSERT_TRUE(train(options_).done);
  EXPECT_FALSE(read_file(options_.out + "/model.onnx") == expected);
  options_.epochs = 3;
  options_.resume = true;
  const Ended on = train(options_);
  ASSERT_TRUE(on.done) << on.message;
  EXPECT_TRUE(read_file(options_.out + "/model.onnx") == expected);
  // Another head is another run.
  write_classes(folder_ / "old.txt", {"dog", "cat", "bee", "ant"});
  options_.epochs = 4;
  const Ended other = train(options_);
  ASSERT_FALSE(other.done);
  EXPECT_TRUE(has(other.message, "how the network begins")) << other.message;
}

TEST_F(NewHead, IsTheAdviceWhereTheLastLayerDoesNotFit) {
  options_.new_head = false;
  const Ended named = train(options_);
  ASSERT_FALSE(named.done);
  EXPECT_TRUE(has(named.message, "it has 5 classes, but the network has 4")) << named.message;
  EXPECT_TRUE(has(named.message,
                  "--new-head gives the network's last layer as many rows as the data needs (5; it has 4)"))
      << named.message;
  write_csv(folder_ / "train.csv", 32, 3);
  std::ofstream(folder_ / "train.csv", std::ios::app) << "0,0,0,0,0,0,0,0,6\n";
  const Ended numbers = train(options_);
  ASSERT_FALSE(numbers.done);
  EXPECT_TRUE(has(numbers.message, "--new-head gives") && has(numbers.message, "(7; it has 4)"))
      << numbers.message;
  options_.new_head = true;
  const Ended mended = train(options_);
  ASSERT_TRUE(mended.done) << mended.message;
  EXPECT_EQ(onnx::Model::load(options_.out + "/model.onnx").find_tensor("fc2.bias")->shape, (Shape{7}));
}

TEST_F(NewHead, TakesAGivenNumberOfClasses) {
  options_.new_head = false;
  options_.classes = 9;
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  EXPECT_EQ(onnx::Model::load(options_.out + "/model.onnx").find_tensor("fc2.bias")->shape, (Shape{9}));
  options_.classes = 4;
  options_.out += "-few";
  const Ended few = train(options_);
  ASSERT_FALSE(few.done);
  EXPECT_TRUE(has(few.message, "5 classes")) << few.message;
}

TEST_F(NewHead, RefusesOptionsThatDoNotGoTogether) {
  options_.keep_classes = true;
  const Ended unnamed = train(options_);
  ASSERT_FALSE(unnamed.done);
  EXPECT_TRUE(has(unnamed.message, "give --old-classes-file FILE")) << unnamed.message;
  write_classes(folder_ / "other.txt", {"w", "x", "y", "z"});
  options_.data.old_classes_file = folder_ / "other.txt";
  const Ended none = train(options_);
  ASSERT_FALSE(none.done);
  EXPECT_TRUE(has(none.message, "none of the classes")) << none.message;
  options_.new_head = false;
  const Ended alone = train(options_);
  ASSERT_FALSE(alone.done);
  EXPECT_EQ(alone.kind, ErrorKind::kUsage);
}

TEST_F(NewHead, OfASessionThatIsGivenItsBatches) {
  std::vector<float> x(static_cast<size_t>(4 * kFeatures), 0.5F);
  const Arrays example{{"x", Array::of({4, kFeatures}, x)},
                       {"y", Array::of({4}, std::vector<int64_t>{0, 5, 2, 1})}};
  options_.data.data.clear();
  options_.data.val.clear();
  options_.out.clear();
  options_.steps = 2;
  EXPECT_THROW(Session(options_, example), Error);
  options_.classes = 6;
  Session session(options_, example);
  session.step(example);
  session.save(folder_ / "new.onnx");
  EXPECT_EQ(onnx::Model::load(folder_ / "new.onnx").find_tensor("fc2.bias")->shape, (Shape{6}));
}

// A Flatten over places makes four numbers of each row, and the file declares no sizes that would show it before.
TEST_F(NewHead, RefusesWhatMakesOtherNumbersOfItsRows) {
  ModelBuilder m;
  m.input("x", {"batch", "8"}).open_output("y");
  m.initializer(floats("w", {2, 2, 1, 1}, Normal(1).many(4, 1))).initializer(int64s("image", {-1, 2, 2, 2}));
  m.initializer(int64s("rows", {0, -1}));
  m.node("Reshape", {"x", "image"}, {"i"}).node("Conv", {"i", "w"}, {"c"}, {}, "last");
  m.node("Reshape", {"c", "rows"}, {"y"});
  std::ofstream(folder_ / "m.onnx", std::ios::binary) << m.bytes();
  const Ended run = train(options_);
  ASSERT_FALSE(run.done);
  EXPECT_TRUE(has(run.message, "make 20 classes of them")) << run.message;
}

TEST_F(NewHead, TensorsBeginAnewByTheirNames) {
  write_csv(folder_ / "train.csv", 32, 3);
  options_.new_head = false;
  options_.reset = {"fc1.*"};
  options_.lr = 0;
  const Ended run = train(options_);
  ASSERT_TRUE(run.done) << run.message;
  const onnx::Model before = onnx::Model::load(folder_ / "m.onnx");
  const onnx::Model after = onnx::Model::load(options_.out + "/model.onnx");
  EXPECT_EQ(column(after, "fc2.weight", 1), column(before, "fc2.weight", 1));
  EXPECT_NE(column(after, "fc1.weight", 1), column(before, "fc1.weight", 1));
  const double bound = 1 / std::sqrt(static_cast<double>(kFeatures));
  for (const float v : column(after, "fc1.weight", 1)) EXPECT_LE(std::abs(v), bound);
}

}  // namespace
}  // namespace halftone::api::test
