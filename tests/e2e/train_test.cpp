// The command line's promises, from outside and bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "e2e/program.h"

namespace halftone::e2e {
namespace {

using Json = nlohmann::json;
using Arguments = std::vector<std::string>;

Arguments train(const std::string& model, const std::string& data, const std::string& out,
                const Arguments& more) {
  Arguments a{"train",       model,     "--data", data, "--val",   "none",
              "--normalize", "cifar10", "--out",  out,  "--quiet", "--json"};
  a.insert(a.end(), more.begin(), more.end());
  return a;
}

Json summary(const Outcome& o) {
  const size_t end = o.out.find_last_not_of('\n');
  const size_t begin = o.out.rfind('\n', end);
  return Json::parse(o.out.substr(begin == std::string::npos ? 0 : begin + 1));
}

std::vector<std::string> instruction_sets() {
  const Json info = summary(run({"info", "--json"}));
  return info.at("isa_available").get<std::vector<std::string>>();
}

TEST(SameBits, OnEveryInstructionSetAndAnyNumberOfThreads) {
  Folder folder;
  write_cifar(folder / "train.bin", 320, 1);
  for (const std::string precision : {"fp32", "fp16", "bf16"}) {
    // Where half is there, auto might choose it.
    const std::string multiply = precision == "fp32" ? "wide" : "block";
    std::string expected;
    for (const std::string& isa : instruction_sets()) {
      // The reference is slow: one run of it, on four threads.
      const std::vector<std::string> threads =
          isa == "reference" ? std::vector<std::string>{"4"} : std::vector<std::string>{"1", "2", "4"};
      for (const std::string& count : threads) {
        const std::string out = folder / (precision + isa + count);
        const Arguments a = train(
            resnet20(), folder / "train.bin", out,
            {"--precision", precision, "--multiply", multiply, "--steps", "10", "--batch", "32", "--threads",
             count, "--lr", "0.01", "--weight-decay", "1e-4", "--crop-padding", "4", "--flip"});
        const Outcome o = run(a, {{"HALFTONE_ISA", isa}});
        ASSERT_EQ(o.code, 0) << text(a) << "\n" << o.err;
        EXPECT_EQ(summary(o).at("isa"), isa);
        const std::string model = bytes_of(out + "/model.onnx");
        ASSERT_FALSE(model.empty());
        if (expected.empty()) {
          expected = model;
          EXPECT_NE(model, bytes_of(resnet20())) << "nothing was trained";
        }
        EXPECT_EQ(model == expected, true)
            << precision << " differs on " << isa << " with " << count << " threads: " << text(a);
      }
    }
  }
}

// The instruction sets of this machine that deliver half.
std::vector<std::string> with_half() {
  std::vector<std::string> list;
  for (const std::string& isa : instruction_sets())
    if (isa == "reference" || isa == "avx512fp16" || isa == "amx") list.push_back(isa);
  return list;
}

TEST(Half, GivesTheSameBitsWhereItIsDeliveredAndIsDeclinedElsewhere) {
  Folder folder;
  write_cifar(folder / "train.bin", 16, 12);
  std::string expected;
  for (const std::string& isa : instruction_sets()) {
    const std::string out = folder / isa;
    // Few samples, because the reference emulates fp16.
    const Outcome o =
        run(train(resnet20(), folder / "train.bin", out,
                  {"--multiply", "half", "--steps", "2", "--batch", "4", "--batchnorm", "freeze"}),
            {{"HALFTONE_ISA", isa}});
    const std::vector<std::string> delivers = with_half();
    if (std::find(delivers.begin(), delivers.end(), isa) == delivers.end()) {
      EXPECT_EQ(o.code, 2) << isa;
      EXPECT_NE(o.err.find(isa + " does not deliver"), std::string::npos) << o.err;
      continue;
    }
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(summary(o).at("multiply"), "half");
    EXPECT_EQ(summary(o).at("skipped_steps"), 0);
    const std::string model = bytes_of(out + "/model.onnx");
    if (expected.empty()) expected = model;
    EXPECT_TRUE(model == expected) << isa;
  }
  const Outcome block =
      run(train(resnet20(), folder / "train.bin", folder / "block",
                {"--multiply", "block", "--steps", "2", "--batch", "4", "--batchnorm", "freeze"}));
  ASSERT_EQ(block.code, 0) << block.err;
  EXPECT_FALSE(bytes_of(folder / "block/model.onnx") == expected) << "half did not run";
}

TEST(Half, IsChosenByMeasurementAndRecorded) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 13);
  const std::vector<std::string> isas = instruction_sets();
  for (const std::string& isa : isas) {
    if (isa == "reference") continue;
    const std::string out = folder / isa;
    const Outcome o = run(train(resnet20(), folder / "train.bin", out, {"--steps", "2", "--batch", "32"}),
                          {{"HALFTONE_ISA", isa}});
    ASSERT_EQ(o.code, 0) << o.err;
    const Json s = summary(o);
    const std::string multiply = s.at("multiply");
    EXPECT_NE(bytes_of(out + "/config.yaml").find("multiply: " + multiply + "\n"), std::string::npos);
    if (isa != "avx512fp16" && isa != "amx") {
      EXPECT_EQ(multiply, "block");
      EXPECT_FALSE(s.contains("multiply_measured"));
      continue;
    }
    const double block = s.at("multiply_measured").at("block");
    const double half = s.at("multiply_measured").at("half");
    EXPECT_GT(block, 0);
    EXPECT_EQ(multiply, half >= 1.1 * block ? "half" : "block");
  }
}

// Whatever a measurement would say.
TEST(Half, IsKeptOnResumeAndNotTakenUpThen) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 14);
  for (const std::string multiply : {"half", "block"}) {
    if (multiply == "half" && with_half().back() == "reference") continue;
    const std::string out = folder / multiply;
    const Outcome first = run(train(resnet20(), folder / "train.bin", out,
                                    {"--multiply", multiply, "--steps", "2", "--batch", "16"}));
    ASSERT_EQ(first.code, 0) << first.err;
    const Outcome second = run({"train", "--resume", out, "--steps", "3", "--json", "--quiet"});
    ASSERT_EQ(second.code, 0) << second.err;
    EXPECT_EQ(summary(second).at("multiply"), multiply);
    EXPECT_EQ(summary(second).at("steps"), 3);
    // As a run that was recorded before there was a choice, or stopped before it was made.
    const Outcome third = run({"train", "--resume", out, "--multiply", "auto", "--steps", "4", "--json",
                               "--quiet", "--accept-changes"});
    ASSERT_EQ(third.code, 0) << third.err;
    EXPECT_EQ(summary(third).at("multiply"), "block");
    EXPECT_FALSE(summary(third).contains("multiply_measured"));
  }
}

TEST(Resume, AfterKillsInTheMiddleOfAnEpochGivesTheSameBits) {
  Folder folder;
  write_cifar(folder / "train.bin", 320, 2);
  const Arguments options{"--multiply",
                          "block",
                          "--epochs",
                          "2",
                          "--batch",
                          "16",
                          "--checkpoint-every",
                          "3",
                          "--log-every",
                          "1",
                          "--optimizer",
                          "adamw",
                          "--lr",
                          "1e-3",
                          "--schedule",
                          "cosine",
                          "--flip",
                          "--weight-decay",
                          "0.1"};
  const std::string whole = folder / "whole";
  const Outcome reference = run(train(resnet20(), folder / "train.bin", whole, options));
  ASSERT_EQ(reference.code, 0) << reference.err;
  const std::string out = folder / "killed";
  Arguments next = train(resnet20(), folder / "train.bin", out, options);
  int kills = 0;
  for (const int64_t at : {2, 7, 8, 23, 31}) {
    const Outcome o = run(next, {}, [&] { return lines_of(out + "/events.jsonl") >= at; });
    next = {"train", "--resume", out, "--quiet", "--json"};
    kills += o.signal == 9 ? 1 : 0;
  }
  EXPECT_GE(kills, 3) << "the runs ended before they were killed";
  const Outcome last = run(next);
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_TRUE(bytes_of(out + "/model.onnx") == bytes_of(whole + "/model.onnx"));
  EXPECT_EQ(lines_of(out + "/events.jsonl"), lines_of(whole + "/events.jsonl"));
  EXPECT_EQ(summary(last).at("train_loss"), summary(reference).at("train_loss"));
}

TEST(Resume, ADamagedCheckpointIsNamedAndTheOneBeforeIsUsed) {
  Folder folder;
  write_cifar(folder / "train.bin", 160, 3);
  const std::string out = folder / "run";
  const Arguments options{"--steps", "10", "--batch", "16", "--checkpoint-every", "4", "--keep", "5"};
  const Outcome first = run(train(resnet20(), folder / "train.bin", out, options));
  ASSERT_EQ(first.code, 0) << first.err;
  const std::string model = bytes_of(out + "/model.onnx");
  std::string newest = bytes_of(out + "/checkpoint-0000000010.htck");
  ASSERT_FALSE(newest.empty());
  newest[newest.size() / 2] = static_cast<char>(newest[newest.size() / 2] ^ 1);
  {
    FILE* file = std::fopen((out + "/checkpoint-0000000010.htck").c_str(), "wb");
    ASSERT_NE(file, nullptr);
    std::fwrite(newest.data(), 1, newest.size(), file);
    std::fclose(file);
  }
  const Outcome again = run({"train", "--resume", out, "--quiet"});  // a warning is told all the same
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.err.find("checkpoint-0000000010.htck is damaged"), std::string::npos) << again.err;
  EXPECT_TRUE(bytes_of(out + "/model.onnx") == model);
}

TEST(NewRun, DoesNotMixWithWhatTheFolderHolds) {
  Folder folder;
  write_cifar(folder / "train.bin", 320, 15);
  const std::string out = folder / "run";
  const Arguments steps{"--multiply", "block",       "--batch", "16",  "--checkpoint-every",
                        "4",          "--log-every", "1",       "--lr"};
  const auto with_lr = [&](const std::string& lr) {
    Arguments more = steps;
    more.push_back(lr);
    return train(resnet20(), folder / "train.bin", out, more);
  };
  const Outcome killed = run(with_lr("0.01"), {}, [&] { return lines_of(out + "/events.jsonl") >= 6; });
  ASSERT_EQ(killed.signal, 9);
  const std::string config = bytes_of(out + "/config.yaml");
  // An unfinished run is not overwritten, nor its configuration by a command that is refused.
  const Outcome refused = run(with_lr("0.02"));
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("--resume " + out), std::string::npos) << refused.err;
  EXPECT_EQ(run(with_lr("-1")).code, 2);
  EXPECT_EQ(bytes_of(out + "/config.yaml"), config);
  ASSERT_EQ(run({"train", "--resume", out, "--quiet"}).code, 0);
  // One that has ended makes room on request, checkpoints included: a resume finds the new run's.
  EXPECT_EQ(run(with_lr("0.02")).code, 2);
  Arguments over = with_lr("0.02");
  over.emplace_back("--overwrite");
  const Outcome second =
      run(over, {}, [&] { return bytes_of(out + "/config.yaml").find("lr: 0.02") != std::string::npos; });
  ASSERT_EQ(second.signal, 9);
  EXPECT_NE(bytes_of(out + "/config.yaml").find("lr: 0.02"), std::string::npos);
  EXPECT_FALSE(exists(out + "/checkpoint-0000000020.htck"));
  ASSERT_EQ(run({"train", "--resume", out, "--quiet"}).code, 0);
  const Outcome whole =
      run(train(resnet20(), folder / "train.bin", folder / "whole",
                {"--multiply", "block", "--batch", "16", "--checkpoint-every", "4", "--lr", "0.02"}));
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_TRUE(bytes_of(out + "/model.onnx") == bytes_of(folder / "whole/model.onnx"));
}

TEST(Resume, WithOtherOptionsRecordsThem) {
  Folder folder;
  write_cifar(folder / "train.bin", 160, 16);
  const std::string out = folder / "run";
  ASSERT_EQ(run(train(resnet20(), folder / "train.bin", out,
                      {"--multiply", "block", "--batch", "16", "--steps", "3"}))
                .code,
            0);
  // One that does not fit the checkpoint changes nothing.
  EXPECT_EQ(run({"train", "--resume", out, "--precision", "bf16", "--quiet"}).code, 2);
  EXPECT_NE(bytes_of(out + "/config.yaml").find("precision: fp16"), std::string::npos);
  const Outcome more = run({"train", "--resume", out, "--steps", "5", "--quiet", "--json"});
  ASSERT_EQ(more.code, 0) << more.err;
  EXPECT_EQ(summary(more).at("steps"), 5);
  EXPECT_NE(bytes_of(out + "/config.yaml").find("steps: 5"), std::string::npos);
  EXPECT_EQ(summary(run({"train", "--resume", out, "--quiet", "--json"})).at("steps"), 5);
}

TEST(WriteBack, WithoutALearningRateTheFileIsTheInput) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 4);
  for (const std::string precision : {"fp32"}) {
    const std::string out = folder / precision;
    const Outcome o = run(train(
        resnet20(), folder / "train.bin", out,
        {"--precision", precision, "--lr", "0", "--steps", "2", "--batch", "32", "--batchnorm", "freeze"}));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_TRUE(bytes_of(out + "/model.onnx") == bytes_of(resnet20()));
  }
}

TEST(FoldedBatchNorms, AreRestoredWithoutChangingTheFunction) {
  Folder folder;
  write_cifar(folder / "train.bin", 320, 5);
  const auto loss = [&](const std::string& model) {
    const Outcome o = run({"eval", model, "--data", folder / "train.bin", "--normalize", "cifar10",
                           "--precision", "fp32", "--json", "--quiet"});
    EXPECT_EQ(o.code, 0) << o.err;
    return summary(o).at("val_loss").get<double>();
  };
  const double before = loss(resnet20_folded());
  // One step without a learning rate moves nothing but the running statistics, by a tenth of the difference
  // between the batch's and theirs.
  const Outcome o = run(train(resnet20_folded(), folder / "train.bin", folder / "run",
                              {"--precision", "fp32", "--lr", "0", "--steps", "1", "--batch", "320"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(summary(o).at("batchnorm"), "restore");
  const double after = loss(folder / "run/model.onnx");
  // Restored on the very samples of the step (shuffled into batches of 32 the moments are the same), so that
  // the statistics agree up to the unbiased variance's factor n / (n - 1) of the last 8x8 maps, n = 320 * 64,
  // and rounding.
  EXPECT_NEAR(after, before, 2e-3 * before);
  EXPECT_NE(bytes_of(folder / "run/model.onnx"), bytes_of(resnet20_folded()));
}

TEST(Training, LearnsInEveryPrecisionMultiplyRoundingAndOptimizer) {
  Folder folder;
  write_cifar(folder / "train.bin", 640, 6);
  const std::vector<Arguments> cases = {
      {"--precision", "fp16", "--multiply", "wide"},
      {"--precision", "bf16", "--multiply", "block", "--optimizer", "adam", "--lr", "1e-3"},
      {"--precision", "fp16", "--rounding", "kahan", "--nesterov"},
      {"--precision", "fp16", "--optimizer", "rmsprop", "--lr", "1e-4", "--clip", "1"},
      {"--precision", "bf16", "--rounding", "nearest", "--label-smoothing", "0.1"},
      {"--precision", "fp32", "--optimizer", "adamw", "--lr", "1e-3", "--weight-decay", "0.01"},
      {"--precision", "fp16", "--batchnorm", "freeze", "--schedule", "onecycle:max=0.002", "--warmup", "2"},
  };
  for (const Arguments& options : cases) {
    const std::string out = folder / "run";
    const Arguments a = train(resnet20(), folder / "train.bin", out, [&] {
      Arguments all{"--batch", "32", "--epochs", "1", "--log-every", "1", "--overwrite"};
      all.insert(all.end(), options.begin(), options.end());
      return all;
    }());
    const Outcome o = run(a);
    ASSERT_EQ(o.code, 0) << text(a) << o.err;
    std::istringstream events(bytes_of(out + "/events.jsonl"));
    std::vector<double> losses;
    for (std::string line; std::getline(events, line);) losses.push_back(Json::parse(line).at("loss"));
    ASSERT_EQ(losses.size(), 20U);
    // The label is visible in the colour: twenty steps must have learned it in good part.
    EXPECT_LT(losses.back(), 0.7 * losses.front()) << text(a);
    EXPECT_EQ(summary(o).at("skipped_steps"), 0) << text(a);
  }
}

// Of a process with a step of 96 MiB in fp16 and 192 in fp32, so that anything which is held twice shows.
TEST(PeakMemory, IsThePlanAndLittleMore) {
  Folder folder;
  write_cifar(folder / "train.bin", 640, 1);
  std::map<std::string, double> peak;
  for (const std::string precision : {"fp32", "fp16", "bf16"}) {
    const Arguments a = train(resnet20(), folder / "train.bin", folder / precision,
                              {"--precision", precision, "--steps", "5", "--batch", "128", "--threads", "2"});
    const Outcome o = run(a);
    ASSERT_EQ(o.code, 0) << text(a) << "\n" << o.err;
    const Json s = summary(o);
    peak[precision] = s.at("peak_rss_bytes").get<double>();
    // The program and its libraries (5 to 9 MB stay), the data set (2), two batches as pixels and as numbers
    // (3).
    EXPECT_LT(peak[precision] - s.at("planned_bytes").get<double>(), 20e6) << text(a);
  }
  EXPECT_LT(peak["fp16"], 0.56 * peak["fp32"]);
  EXPECT_LT(peak["bf16"], 0.56 * peak["fp32"]);
}

TEST(Accumulation, EqualsTheLargeBatchWithoutBatchStatistics) {
  Folder folder;
  write_cifar(folder / "train.bin", 128, 7);
  const auto final_loss = [&](const std::string& out, const std::string& batch,
                              const std::string& accumulate) {
    const Outcome o = run(train(resnet20(), folder / "train.bin", folder / out,
                                {"--precision", "fp32", "--batchnorm", "freeze", "--batch", batch,
                                 "--accumulate", accumulate, "--epochs", "2"}));
    EXPECT_EQ(o.code, 0) << o.err;
    return summary(o).at("train_loss").get<double>();
  };
  const double large = final_loss("large", "64", "1");
  const double small = final_loss("small", "16", "4");
  // Sums of the same terms in another order: four steps, each within a few hundred units of 2^-24 of the
  // other.
  EXPECT_NEAR(small, large, 4 * 512 * 0x1p-24 * std::abs(large));
}

TEST(ExitCodes, TellUsageFromInput) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 8);
  EXPECT_EQ(run({"train"}).code, 2);
  EXPECT_EQ(run({"no-such-command"}).code, 2);
  EXPECT_EQ(run({"--help"}).code, 0);
  EXPECT_EQ(run(train(resnet20(), folder / "train.bin", folder / "a", {"--precision", "fp8"})).code, 2);
  EXPECT_EQ(run(train(resnet20(), folder / "train.bin", folder / "a", {"--batch", "0"})).code, 2);
  EXPECT_EQ(run(train(resnet20(), folder / "train.bin", folder / "a",
                      {"--multiply", "half", "--precision", "bf16"}))
                .code,
            2);
  EXPECT_EQ(run(train(resnet20(), folder / "train.bin", folder / "a", {"--freeze", "nothing*"})).code, 2);
  EXPECT_EQ(run(train(folder / "missing.onnx", folder / "train.bin", folder / "a", {})).code, 3);
  EXPECT_EQ(run(train(resnet20(), folder / "missing", folder / "a", {})).code, 3);
  const Outcome isa = run({"info"}, {{"HALFTONE_ISA", "sse9"}});
  EXPECT_EQ(isa.code, 2);
  EXPECT_NE(isa.err.find("sse9"), std::string::npos);
}

TEST(ExitCodes, OptionsOutOfRangeAreNamedBeforeAnythingHappens) {
  Folder folder;
  write_cifar(folder / "train.bin", 128, 17);
  const std::vector<std::pair<std::string, std::string>> wrong = {{"--epochs", "0"},
                                                                  {"--steps", "-1"},
                                                                  {"--accumulate", "0"},
                                                                  {"--lr", "nan"},
                                                                  {"--momentum", "1"},
                                                                  {"--weight-decay", "-1"},
                                                                  {"--beta1", "1"},
                                                                  {"--eps", "-1"},
                                                                  {"--label-smoothing", "2"},
                                                                  {"--clip", "-1"},
                                                                  {"--warmup", "-1"},
                                                                  {"--keep", "0"},
                                                                  {"--log-every", "0"},
                                                                  {"--patience", "-1"},
                                                                  {"--min-delta", "-1"},
                                                                  {"--watch", "speed"},
                                                                  {"--time-limit", "-1"},
                                                                  {"--threads", "-1"},
                                                                  {"--loader-threads", "-1"},
                                                                  {"--cache", "-1"},
                                                                  {"--seed", "-1"},
                                                                  {"--optimizer", "lamb"},
                                                                  {"--rounding", "up"},
                                                                  {"--loss", "hinge"},
                                                                  {"--batchnorm", "drop"},
                                                                  {"--schedule", "zigzag"},
                                                                  {"--loss-scale", "3"},
                                                                  {"--crop-padding", "-1"},
                                                                  {"--resize", "-1"},
                                                                  {"--normalize", "nobody"},
                                                                  {"--precision", "int4"},
                                                                  {"--multiply", "fast"},
                                                                  {"--lr", "inf"},
                                                                  {"--lr", "1e+300"},
                                                                  {"--lr", "1e999"},
                                                                  {"--lr", "0x1p3"},
                                                                  {"--clip", "infinity"},
                                                                  {"--check-precision", "maybe"},
                                                                  {"--epochs", "9223372036854775807"},
                                                                  {"--epochs", "9223372036854775808"},
                                                                  {"--steps", "99999999999999999999"},
                                                                  {"--batch", "010x"},
                                                                  {"--batch", "9223372036854775807"},
                                                                  {"--seed", "18446744073709551616"}};
  for (const auto& [option, value] : wrong) {
    Arguments a = train(resnet20(), folder / "train.bin", folder / "a", {});
    if (option == "--normalize")
      a.erase(std::find(a.begin(), a.end(), "--normalize"), std::find(a.begin(), a.end(), "--out"));
    a.insert(a.end(), {option, value});
    const Outcome o = run(a);
    EXPECT_EQ(o.code, 2) << text(a);
    EXPECT_NE(o.err.find(value), std::string::npos) << text(a) << ": " << o.err;
    EXPECT_EQ(lines_of(folder / "a/events.jsonl"), 0) << text(a);
  }
  const Outcome plateau = run(train(resnet20(), folder / "train.bin", folder / "a",
                                    {"--schedule", "plateau:mode=max", "--watch", "loss"}));
  EXPECT_EQ(plateau.code, 2);
  EXPECT_NE(plateau.err.find("--watch accuracy"), std::string::npos) << plateau.err;
  const Outcome command = run({"retrain"});
  EXPECT_NE(command.err.find("'retrain'"), std::string::npos) << command.err;
  std::filesystem::create_directories(folder / "a");
  const Outcome unfinished = run({"export", folder / "a", "--to", "fp32-onnx", "--out", folder / "x"});
  EXPECT_EQ(unfinished.code, 3);
  EXPECT_NE(unfinished.err.find("is a folder, but not that of a run"), std::string::npos) << unfinished.err;
}

// PyTorch's ReduceLROnPlateau with factor 0.5 and patience 0, by hand.
double plateau_rate(double rate, const std::vector<double>& metrics, bool larger_is_better) {
  double best = metrics.front();
  for (size_t i = 1; i < metrics.size(); ++i) {
    const bool better = larger_is_better ? metrics[i] > best * (1 + 1e-4) : metrics[i] < best * (1 - 1e-4);
    if (better) {
      best = metrics[i];
    } else {
      rate /= 2;
    }
  }
  return rate;
}

TEST(Plateau, FollowsWhatIsWatched) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 18);
  for (const std::string watch : {"loss", "accuracy"}) {
    const std::string out = folder / watch;
    const Outcome o = run({"train",       resnet20(),
                           "--data",      folder / "train.bin",
                           "--val",       folder / "train.bin",
                           "--normalize", "cifar10",
                           "--batch",     "32",
                           "--epochs",    "6",
                           "--lr",        "0.02",
                           "--schedule",  "plateau:factor=0.5,patience=0",
                           "--watch",     watch,
                           "--log-every", "1",
                           "--out",       out,
                           "--quiet"});
    ASSERT_EQ(o.code, 0) << o.err;
    std::istringstream events(bytes_of(out + "/events.jsonl"));
    std::vector<double> metrics;
    double rate = 0;
    for (std::string line; std::getline(events, line);) {
      const Json event = Json::parse(line);
      if (event.contains("val_loss")) {
        metrics.push_back(event.at("val_" + watch));
      } else {
        rate = event.at("lr");
      }
    }
    ASSERT_EQ(metrics.size(), 6U);
    metrics.pop_back();  // no step came after it
    const bool larger = watch == "accuracy";
    EXPECT_NEAR(rate, plateau_rate(0.02, metrics, larger), 1e-8);
    EXPECT_NE(plateau_rate(0.02, metrics, larger), plateau_rate(0.02, metrics, !larger)) << "either would do";
  }
}

TEST(Freeze, TheFirstLayersWithTheirBatchNorms) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 19);
  const Outcome o =
      run(train(resnet20(), folder / "train.bin", folder / "run",
                {"--batch", "32", "--freeze", "conv1*", "--freeze", "bn1*", "--freeze", "layer1*"}));
  EXPECT_EQ(o.code, 0) << "signal " << o.signal << ": " << o.err;
  EXPECT_FALSE(bytes_of(folder / "run/model.onnx") == bytes_of(resnet20()));
}

TEST(Numerical, ANetworkThatOverflowsStopsWithItsNodeAndStep) {
  Folder folder;
  write_cifar(folder / "train.bin", 640, 9);
  const Outcome o = run(train(resnet20(), folder / "train.bin", folder / "run",
                              {"--precision", "fp16", "--lr", "1e30", "--batch", "32", "--epochs", "4"}));
  EXPECT_EQ(o.code, 4) << o.err;
  EXPECT_NE(o.err.find("first non-finite tensor"), std::string::npos) << o.err;
}

TEST(Configuration, NumbersAreCheckedAsOnTheCommandLine) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 10);
  for (const std::string line :
       {"lr: .inf", "lr: 1e+300", "epochs: 9223372036854775808", "seed: 18446744073709551616"}) {
    std::ofstream(folder / "run.yaml") << line << "\n";
    const Outcome o =
        run(train(resnet20(), folder / "train.bin", folder / "run", {"--config", folder / "run.yaml"}));
    EXPECT_EQ(o.code, 2) << line << ": " << o.err;
    EXPECT_NE(o.err.find(line.substr(line.find(' ') + 1)), std::string::npos) << line << ": " << o.err;
    EXPECT_FALSE(exists(folder / "run/model.onnx")) << line;
  }
  // Decimal, with leading zeros or not.
  const Outcome o = run(train(resnet20(), folder / "train.bin", folder / "run",
                              {"--batch", "010", "--steps", "1", "--seed", "18446744073709551615"}));
  ASSERT_EQ(o.code, 0) << o.err;
  EXPECT_EQ(summary(o).at("samples"), 10);
  EXPECT_EQ(summary(o).at("seed"), UINT64_MAX);
}

TEST(Configuration, IsWrittenAndReadBack) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 10);
  const Outcome first = run(train(resnet20(), folder / "train.bin", folder / "a",
                                  {"--batch", "32", "--steps", "2", "--momentum", "0.5", "--weight-decay",
                                   "0.5", "--freeze", "conv1.*"}));
  ASSERT_EQ(first.code, 0) << first.err;
  const Outcome second =
      run({"train", "--config", folder / "a/config.yaml", "--out", folder / "b", "--json", "--quiet"});
  ASSERT_EQ(second.code, 0) << second.err;
  // Every option as it was, also those that were left alone.
  EXPECT_EQ(bytes_of(folder / "b/config.yaml"), bytes_of(folder / "a/config.yaml"));
  EXPECT_TRUE(bytes_of(folder / "a/model.onnx") == bytes_of(folder / "b/model.onnx"));
  const Outcome third = run(
      {"train", "--config", folder / "a/config.yaml", "--out", folder / "c", "--momentum", "0.9", "--quiet"});
  ASSERT_EQ(third.code, 0) << third.err;
  EXPECT_FALSE(bytes_of(folder / "a/model.onnx") == bytes_of(folder / "c/model.onnx"))
      << "the command line must win";
}

TEST(Configuration, FlagsAreReadBackOnAndOff) {
  Folder folder;
  write_cifar(folder / "train.bin", 64, 14);
  std::vector<std::string> models;
  for (const Arguments& flags :
       {Arguments{}, Arguments{"--no-decay-norm-bias"}, Arguments{"--flip"}, Arguments{"--nesterov"}}) {
    const std::string first = folder / (std::to_string(models.size()) + "a");
    const std::string second = folder / (std::to_string(models.size()) + "b");
    Arguments a = train(resnet20(), folder / "train.bin", first,
                        {"--multiply", "block", "--batch", "32", "--weight-decay", "0.5", "--epochs", "2"});
    a.insert(a.end(), flags.begin(), flags.end());
    ASSERT_EQ(run(a).code, 0);
    ASSERT_EQ(run({"train", "--config", first + "/config.yaml", "--out", second, "--quiet"}).code, 0);
    models.push_back(bytes_of(first + "/model.onnx"));
    EXPECT_TRUE(bytes_of(second + "/model.onnx") == models.back()) << text(flags);
    EXPECT_EQ(std::count(models.begin(), models.end(), models.back()), 1) << text(flags) << " does nothing";
  }
}

TEST(Compare, PrintsBothTwins) {
  Folder folder;
  write_cifar(folder / "train.bin", 128, 11);
  const Outcome o = run({"compare", resnet20(), "--data", folder / "train.bin", "--val", folder / "train.bin",
                         "--normalize", "cifar10", "--precisions", "fp32,fp16:nearest", "--seeds", "2",
                         "--batch", "32", "--out", folder / "runs", "--json", "--quiet"});
  ASSERT_EQ(o.code, 0) << o.err;
  const Json rows = summary(o).at("rows");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].at("variant"), "fp16:nearest");
  EXPECT_EQ(rows[1].at("accuracy").size(), 2U);
  EXPECT_EQ(rows[1].at("accuracy_before").size(), 1U);
  EXPECT_EQ(rows[1].at("seconds").size(), 2U);
  EXPECT_NE(o.out.find("against fp32"), std::string::npos);
  // Again, without validation: the folders of the first comparison are replaced.
  const Outcome again = run({"compare", resnet20(), "--data", folder / "train.bin", "--val", "none",
                             "--precisions", "fp16,fp32", "--steps", "2", "--batch", "32", "--out",
                             folder / "runs", "--json", "--quiet", "--overwrite"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(summary(again).at("rows")[0].at("accuracy").size(), 0U);
  EXPECT_EQ(summary(again).at("rows")[0].at("loss").size(), 1U);
}

TEST(Export, WritesEveryForm) {
  Folder folder;
  for (const std::string form : {"fp32-onnx", "fp16-onnx", "safetensors"}) {
    const Outcome o = run({"export", resnet20(), "--to", form, "--out", folder / form});
    EXPECT_EQ(o.code, 0) << o.err;
    EXPECT_TRUE(exists(folder / form));
  }
  EXPECT_TRUE(bytes_of(folder / "fp32-onnx") == bytes_of(resnet20()));
  EXPECT_LT(bytes_of(folder / "fp16-onnx").size(), 0.6 * static_cast<double>(bytes_of(resnet20()).size()));
  EXPECT_EQ(run({"export", resnet20(), "--to", "gguf", "--out", folder / "x"}).code, 2);
}

}  // namespace
}  // namespace halftone::e2e
