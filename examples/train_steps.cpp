// Trains a classifier of small images on batches that the program makes, and looks into it between the steps.
#include <halftone/session.h>

#include <cstdio>
#include <random>
#include <stdexcept>

// 64 images of noise with 3 x 8 x 8 pixels; the class is the channel that is brighter than the others.
halftone::Arrays make_batch(std::mt19937& random) {
  std::vector<float> pixels;
  std::vector<int64_t> classes;
  for (int64_t i = 0; i < 64; ++i) {
    classes.push_back(static_cast<int64_t>(random() % 3));
    for (int64_t at = 0; at < 3 * 64; ++at)
      pixels.push_back(float(random() % 1000) / 1000 + (at / 64 == classes.back() ? 0.5F : 0.0F));
  }
  return {{"image", halftone::Array::of({64, 3, 8, 8}, pixels)},
          {"label", halftone::Array::of({64}, classes)}};
}

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("expected: train_steps NETWORK.onnx RESULT.onnx");
  std::mt19937 random(1);
  halftone::TrainOptions options;
  options.network.model = argv[1];
  options.network.precision = "bf16";
  options.lr = 0.02;
  halftone::Session session(options, make_batch(random));
  session.observe({.step = [](const halftone::StepReport& s) {
    std::printf("step %d: loss %.3f\n", int(s.step), s.loss);
  }});
  for (int i = 0; i < 100; ++i) session.step(make_batch(random));
  std::printf("c.bias begins with %.4f\n", double(session.tensor("c.bias").floats().at(0)));
  std::printf("accuracy %.1f %%\n", 100 * session.evaluate(make_batch(random)).accuracy.value());
  session.save(argv[2]);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "train_steps: %s\n", e.what());
  return 1;
}
