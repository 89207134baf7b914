// The program from outside: run it, kill it, read what it wrote.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace halftone::e2e {

struct Outcome {
  int code = -1;  // exit code; -1 when a signal ended it
  int signal = 0;
  std::string out;  // standard output
  std::string err;  // standard error
};

// Runs `halftone ARGUMENTS` with these environment variables set. With `until`: asked again and again while
// it runs; true kills it (SIGKILL).
Outcome run(const std::vector<std::string>& arguments,
            const std::map<std::string, std::string>& environment = {},
            const std::function<bool()>& until = {});

// How a program is run besides.
struct Setting {
  std::map<std::string, std::string> environment;
  std::function<bool()>
      until;                 // asked again and again while it runs; true sends `signals`, the first at once
  std::vector<int> signals;  // 200 ms apart
  std::string folder;        // where it runs; empty: here
  std::vector<int> closed;   // of 0, 1, 2
  std::string output;        // file for standard output instead of Outcome::out
  int64_t most_file_bytes = 0;      // as ulimit -f; 0: no limit
  int64_t most_address_bytes = 0;   // as ulimit -v; 0: no limit
  int64_t most_stack_bytes = 0;     // as ulimit -s; 0: no limit
  std::vector<std::string> before;  // another program that runs it, found by PATH, with its options
};
Outcome run_with(const std::vector<std::string>& arguments, const Setting& setting);

// The command line as text, for failure messages.
std::string text(const std::vector<std::string>& arguments);

// A folder that goes with the test.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string bytes_of(const std::string& path);
bool exists(const std::string& path);
int64_t lines_of(const std::string& path);

// A CIFAR-10 binary batch of `count` random images whose label can be learned (its colour depends on it),
// from a fixed seed.
void write_cifar(const std::string& path, int64_t count, uint64_t seed);

// ResNet-20 with batch norms, and with folded ones.
std::string resnet20();
std::string resnet20_folded();

}  // namespace halftone::e2e
