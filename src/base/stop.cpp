#include "base/stop.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/error.h"
#include "halftone/process.h"

namespace halftone {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
constexpr int64_t kSameRequestNs = 100'000'000;

std::atomic<int> requested{0};
std::atomic<int64_t> requested_at_ns{0};
std::atomic<pid_t> child_of_ours{0};
bool output_was_closed = false;
thread_local int interruptibles = 0;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free,
              "a signal handler uses them");

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Async-signal-safe: clock_gettime, kill, _exit, atomics.
void on_signal(int signal) {
  const int saved_errno = errno;
  const pid_t child = child_of_ours.load();
  int none = 0;
  if (requested.compare_exchange_strong(none, signal)) {
    requested_at_ns.store(now_ns());
    if (child > 0) ::kill(child, signal);
  } else if (now_ns() - requested_at_ns.load() > kSameRequestNs) {
    if (child > 0) ::kill(child, SIGKILL);
    ::_exit(128 + signal);
  }
  errno = saved_errno;
}

sigset_t our_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kSignals) sigaddset(&set, signal);
  return set;
}

}  // namespace

int stop_requested() noexcept {
  return requested.load(std::memory_order_relaxed);
}

void check_stop() {
  const int signal = stop_requested();
  if (signal != 0)
    throw Interrupted(signal, fmt::format("stopped by {}; there was nothing to save", signal_name(signal)));
}

void check_stop_inside() {
  if (interruptibles > 0) check_stop();
}

Interruptible::Interruptible() {
  ++interruptibles;
}
Interruptible::~Interruptible() {
  --interruptibles;
}

std::string signal_name(int signal) {
  switch (signal) {
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    case SIGHUP:
      return "SIGHUP";
    default:
      return fmt::format("signal {}", signal);
  }
}

void pass_stops_to(pid_t child) {
  child_of_ours.store(child);
  const int signal = stop_requested();
  if (child > 0 && signal != 0) ::kill(child, signal);
}

HeldSignals::HeldSignals() {
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

HeldSignals::~HeldSignals() {
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void HeldSignals::reset_in_child() {
  struct sigaction current {};
  for (const int signal : kSignals)
    // One that is ignored stays so, as exec keeps it.
    if (sigaction(signal, nullptr, &current) == 0 && current.sa_handler != SIG_IGN) ::signal(signal, SIG_DFL);
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void stop_on_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  // Two of them at once must not both take themselves for the first.
  for (const int signal : kSignals) sigaddset(&action.sa_mask, signal);
  for (const int signal : kSignals) {
    struct sigaction before {};
    if (signal == SIGHUP && sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN)
      continue;  // nohup
    sigaction(signal, &action, nullptr);
  }
  const sigset_t set = our_signals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
}

void request_stop(int signal) {
  requested_at_ns.store(now_ns());
  requested.store(signal);
}

void open_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    if (fd == 1) output_was_closed = true;
    // The lowest free number, which is fd, as those below are open.
    const int opened = ::open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY);
    if (opened >= 0 && opened != fd) ::close(opened);
  }
}

bool standard_output_was_closed() {
  return output_was_closed;
}

}  // namespace halftone
