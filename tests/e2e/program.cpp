#include "e2e/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "num/random.h"

namespace halftone::e2e {

std::string text(const std::vector<std::string>& arguments) {
  std::string out = HALFTONE_PROGRAM;
  for (const std::string& argument : arguments) out += " " + argument;
  return out;
}

Outcome run(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
            const std::function<bool()>& until) {
  Setting setting;
  setting.environment = environment;
  setting.until = until;
  setting.signals = {SIGKILL};
  return run_with(arguments, setting);
}

Outcome run_with(const std::vector<std::string>& arguments, const Setting& setting) {
  const std::function<bool()>& until = setting.until;
  int out[2];
  int err[2];
  if (pipe(out) != 0 || pipe(err) != 0) std::abort();
  const pid_t child = fork();
  if (child == 0) {
    dup2(out[1], 1);
    dup2(err[1], 2);
    for (const int fd : {out[0], out[1], err[0], err[1]})
      if (fd > 2) close(fd);
    if (!setting.output.empty()) {
      const int file = open(setting.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
      dup2(file, 1);
      close(file);
    }
    for (const int fd : setting.closed) close(fd);
    if (!setting.folder.empty() && chdir(setting.folder.c_str()) != 0) _exit(127);
    if (setting.most_file_bytes > 0) {
      const rlimit limit{static_cast<rlim_t>(setting.most_file_bytes),
                         static_cast<rlim_t>(setting.most_file_bytes)};
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (setting.most_address_bytes > 0) {
      const rlimit limit{static_cast<rlim_t>(setting.most_address_bytes),
                         static_cast<rlim_t>(setting.most_address_bytes)};
      setrlimit(RLIMIT_AS, &limit);
    }
    if (setting.most_stack_bytes > 0) {
      const rlimit limit{static_cast<rlim_t>(setting.most_stack_bytes),
                         static_cast<rlim_t>(setting.most_stack_bytes)};
      setrlimit(RLIMIT_STACK, &limit);
    }
    for (const auto& [name, value] : setting.environment) setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> argv;
    for (const std::string& word : setting.before) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(const_cast<char*>(HALFTONE_PROGRAM));
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execvp(argv.front(), argv.data());
    _exit(127);
  }
  close(out[1]);
  close(err[1]);
  Outcome o;
  bool killed = false;  // or asked to stop
  pollfd fds[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
  std::string* const to[2] = {&o.out, &o.err};
  int open = 2;
  while (open > 0) {
    poll(fds, 2, until ? 1 : -1);
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t got = read(fds[i].fd, buffer, sizeof(buffer));
      if (got > 0) {
        to[i]->append(buffer, static_cast<size_t>(got));
      } else if (got == 0 || errno != EINTR) {
        close(fds[i].fd);
        fds[i].fd = -1;
        --open;
      }
    }
    if (until && !killed && until()) {
      for (size_t i = 0; i < setting.signals.size(); ++i) {
        // Signals that come together are one, so time has to pass.
        if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(200));
        kill(child, setting.signals[i]);
      }
      killed = true;
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) o.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) o.signal = WTERMSIG(status);
  return o;
}

Folder::Folder() {
  static std::atomic<int> number{0};
  path_ = (std::filesystem::temp_directory_path() /
           ("halftone-e2e-" + std::to_string(getpid()) + "-" + std::to_string(number++)))
              .string();
  std::filesystem::create_directories(path_);
}
Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
bool exists(const std::string& path) {
  return std::filesystem::exists(path);
}
int64_t lines_of(const std::string& path) {
  const std::string bytes = bytes_of(path);
  return std::count(bytes.begin(), bytes.end(), '\n');
}

void write_cifar(const std::string& path, int64_t count, uint64_t seed) {
  const num::RandomKey key = num::random_key(seed, 1);
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) {
    const int label = static_cast<int>(i % 10);
    bytes += static_cast<char>(label);
    for (int channel = 0; channel < 3; ++channel)
      for (int pixel = 0; pixel < 1024; ++pixel) {
        const uint16_t noise = num::random16(key, static_cast<uint64_t>((i * 3 + channel) * 1024 + pixel), 0);
        const int level = 40 + (label * (channel + 3) * 37) % 150;
        bytes += static_cast<char>(level + noise % 60);
      }
  }
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string resnet20() {
  return HALFTONE_TESTS_DIR "/fixtures/models/resnet20-cifar10.onnx";
}
std::string resnet20_folded() {
  return HALFTONE_TESTS_DIR "/fixtures/models/resnet20-cifar10-bnfolded.onnx";
}

}  // namespace halftone::e2e
