#include <nlohmann/json.hpp>

#include "base/error.h"
#include "halftone/halftone.h"
#include "halftone_commit.h"
#include "kern/dispatch.h"
#include "kern/kernels.h"
#include "par/processors.h"

namespace halftone {
namespace {

std::string_view expectation(kern::Isa isa) {
  switch (isa) {
    case kern::Isa::kReference:
      return "the reference kernels run: correct and slow; only memory is saved";
    case kern::Isa::kAvx2:
      return "fp16 and bf16 multiply 16-bit integers (vpmaddwd) at somewhat more than fp32's rate; half of "
             "fp32's memory";
    case kern::Isa::kAvxVnni:
    case kern::Isa::kAvx512:
    case kern::Isa::kAvx512Fp16:
      return "fp16 and bf16 multiply 16-bit integers (vpdpwssd) at up to twice fp32's rate; half of fp32's "
             "memory";
    case kern::Isa::kAmx:
      return "fp16 and bf16 multiply 16-bit integers as tiles of eight bits (tdpbssd) at several times "
             "fp32's rate; half of fp32's memory";
  }
  return "";
}

}  // namespace

std::string version() {
  return HALFTONE_VERSION;
}

std::string build() {
#if defined(__clang__)
  const char* compiler = "clang " __clang_version__;
#else
  const char* compiler = "g++ " __VERSION__;
#endif
  return fmt::format("commit {}, {}", HALFTONE_COMMIT, compiler);
}

Info info() {
  std::vector<std::string> available;
  for (const kern::Isa isa : kern::available()) available.emplace_back(kern::name_of(isa));
  const std::string used(kern::name_of(kern::active_isa()));
  const std::string features = kern::cpu_features();
  const bool vnni =
      features.find("avx512vnni") != std::string::npos || features.find("avxvnni") != std::string::npos;
  const bool native_half = features.find("avx512fp16") != std::string::npos;
  const bool delivers_half = kern::active().matrix.half;
  const par::Processors processors = par::available_processors();
  const int threads = processors.threads();
  const std::string limit = processors.quota
                                ? fmt::format(" ({} processors, of which the control group grants {:.2f})",
                                              processors.affinity, *processors.quota)
                                : "";
  const std::string_view expect = expectation(kern::active_isa());
  const std::string half =
      used == "reference" ? "the reference delivers it, very slowly"
      : delivers_half
          ? "fp16 arithmetic is there: --multiply half, and auto chooses it for training in fp16 where it "
            "measures at least a tenth more than block"
      : native_half ? fmt::format("the CPU has fp16 arithmetic, but {} does not use it", used)
                    : "this CPU has no fp16 arithmetic; --multiply half is refused";
  Info out;
  out.text = fmt::format(
      "halftone {} ({})\ninstruction sets: {} found; {} used (HALFTONE_ISA forces one)\ncpu: {}\nthreads: "
      "{}{}\nMPI: not in this build\nexpect: {}\nhalf: {}\n",
      version(), build(), fmt::join(available, ", "), used, features, threads, limit, expect, half);
  out.json = nlohmann::json{
      {"version", version()},
      {"build", build()},
      {"isa_available", available},
      {"isa", used},
      {"cpu_features", features},
      {"threads", threads},
      {"mpi", false},
      {"vnni", vnni},
      {"expect", expect},
      {"half",
       half}}.dump();
  return out;
}

}  // namespace halftone
