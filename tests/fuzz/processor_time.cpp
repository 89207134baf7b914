// libFuzzer counts the time on the clock, which passes too while other programs have the processors. Here
// processor time is counted:
//   - with HALFTONE_FUZZ_SECONDS=N libFuzzer is asked to end after N seconds of it (by the signal that it has
//     for that);
//   - an input that takes more than 10 seconds of it is a finding.
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int HALFTONE_FUZZED(const uint8_t* data, size_t size);

namespace {

constexpr time_t kMostSeconds = 10;

void set_alarm(time_t seconds) {
  const itimerval when{{0, 0}, {seconds, 0}};
  setitimer(ITIMER_PROF, &when, nullptr);
}

// libFuzzer keeps the input when the process aborts.
void too_long(int) {
  static const char text[] = "an input takes more than 10 s of processor time\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);
  abort();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  struct sigaction action {};
  action.sa_handler = too_long;
  sigaction(SIGPROF, &action, nullptr);
  const char* text = std::getenv("HALFTONE_FUZZ_SECONDS");
  if (text == nullptr) return 0;
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  timer_t timer{};
  const itimerspec when{{0, 0}, {std::strtol(text, nullptr, 10), 0}};
  if (timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) != 0 ||
      timer_settime(timer, 0, &when, nullptr) != 0) {
    std::perror("HALFTONE_FUZZ_SECONDS");
    std::exit(1);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  set_alarm(kMostSeconds);
  const int result = HALFTONE_FUZZED(data, size);
  set_alarm(0);
  return result;
}
