// Lets a program's system calls and allocations fail, and records what it does to files: shim/protocol.h.
//
// It stands between the program and the C library, so it uses neither exceptions nor the C++ library, and
// makes its own system calls directly: none of them is counted.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "protocol.h"

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

using namespace halftone::faults;

// Each argument is a whole word: of an int that syscall() finds on the stack, the upper half is anything.
template <typename T>
long word(T value) {
  if constexpr (requires { static_cast<long>(value); })
    return static_cast<long>(value);
  else
    return reinterpret_cast<long>(value);
}
template <typename... Arguments>
long system_call(Arguments... arguments) {
  return syscall(word(arguments)...);
}

enum class How { kError, kShort, kTorn, kKill, kTornKill, kSignal };

State* state = nullptr;
bool in_main = false;
uint32_t fault_kind = kKinds;
uint64_t fault_from = 0;
bool fault_stays = false;
How fault_how = How::kError;
int fault_errno = 0;
int fault_signal = 0;
bool torn = false;  // the disk is full since
int record_fd = -1;
int record_lock = 0;

struct Name {
  const char* name;
  int number;
};
constexpr Name kErrors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN},
                            {"EMFILE", EMFILE}, {"EACCES", EACCES}, {"EDQUOT", EDQUOT}, {"EINTR", EINTR},
                            {"EROFS", EROFS},   {"ENOLCK", ENOLCK}};

constexpr Name kSignals[] = {{"SIGINT", SIGINT}, {"SIGTERM", SIGTERM}, {"SIGHUP", SIGHUP}};

[[noreturn]] void refuse(const char* what) {
  system_call(SYS_write, 2, "fault shim: ", 12);
  system_call(SYS_write, 2, what, strlen(what));
  system_call(SYS_write, 2, "\n", 1);
  system_call(SYS_exit_group, 126);
  __builtin_unreachable();
}

void parse(const char* text) {
  const char* colon = strchr(text, ':');
  if (colon == nullptr) refuse("FAULT is not KIND:N:HOW");
  for (uint32_t k = 0; k < kKinds; ++k)
    if (strlen(kKindNames[k]) == static_cast<size_t>(colon - text) &&
        strncmp(kKindNames[k], text, static_cast<size_t>(colon - text)) == 0)
      fault_kind = k;
  char* end = nullptr;
  fault_from = strtoull(colon + 1, &end, 10);
  if (*end == '+') {
    fault_stays = true;
    ++end;
  }
  if (fault_kind == kKinds || *end != ':' || fault_from == 0) refuse("FAULT is not KIND:N:HOW");
  const char* how = end + 1;
  for (const Name& e : kErrors)
    if (strcmp(how, e.name) == 0) fault_errno = e.number;
  for (const Name& e : kSignals)
    if (strcmp(how, e.name) == 0) fault_signal = e.number;
  if (fault_signal != 0) fault_how = How::kSignal;
  if (fault_errno != 0 || fault_signal != 0) return;
  if (strcmp(how, "short") == 0) {
    fault_how = How::kShort;
  } else if (strcmp(how, "torn") == 0) {
    fault_how = How::kTorn;
  } else if (strcmp(how, "kill") == 0) {
    fault_how = How::kKill;
  } else if (strcmp(how, "torn-kill") == 0) {
    fault_how = How::kTornKill;
  } else {
    refuse("FAULT asks for something unknown");
  }
}

__attribute__((constructor)) void begin() {
  if (const char* path = getenv("FAULT_STATE")) {
    const long fd = system_call(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    const long at =
        fd < 0 ? fd
               : system_call(SYS_mmap, nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || at < 0) refuse("FAULT_STATE cannot be used");
    system_call(SYS_close, fd);
    state = reinterpret_cast<State*>(at);
  }
  if (const char* fault = getenv("FAULT")) parse(fault);
  if (const char* path = getenv("FAULT_RECORD")) {
    // A number that no file of the program gets, so that it gets the same ones as without the shim.
    const long fd = system_call(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    record_fd = static_cast<int>(system_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 500));
    system_call(SYS_close, fd);
    if (record_fd < 0) refuse("FAULT_RECORD cannot be used");
  }
}

[[noreturn]] void kill_now() {
  system_call(SYS_kill, system_call(SYS_getpid), SIGKILL);
  for (;;) sched_yield();
}

// Counts a call; whether it is one that fails. `fd` or `path` says of which file it is.
bool fails(Kind kind, int fd = -1, const char* path = nullptr) {
  if (!in_main || state == nullptr) return false;
  const uint64_t n = __atomic_add_fetch(&state->calls[kind], 1, __ATOMIC_SEQ_CST);
  const bool chosen = kind == fault_kind && (fault_stays ? n >= fault_from : n == fault_from);
  if (!chosen && !(torn && kind == kWrite)) return false;
  if (__atomic_fetch_add(&state->faults, 1, __ATOMIC_SEQ_CST) == 0) {
    if (path != nullptr) {
      strncpy(state->path, path, sizeof(state->path) - 1);
    } else if (fd >= 0) {
      char link[40];
      snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
      const long length = system_call(SYS_readlink, link, state->path, sizeof(state->path) - 1);
      state->path[length > 0 ? length : 0] = '\0';
    }
  }
  if (chosen && fault_how == How::kKill) kill_now();
  if (fault_how != How::kSignal) return true;
  system_call(SYS_kill, system_call(SYS_getpid), fault_signal);
  return false;
}

template <class T>
T failed(T value, int error = 0) {
  errno = error != 0 ? error : fault_errno != 0 ? fault_errno : EIO;
  return value;
}

// One record at a time, in the order in which the calls were made.
class Recording {
 public:
  Recording() {
    if (record_fd < 0 || !in_main) return;
    while (__atomic_exchange_n(&record_lock, 1, __ATOMIC_ACQUIRE) != 0) sched_yield();
    locked_ = true;
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() {
    if (locked_) __atomic_store_n(&record_lock, 0, __ATOMIC_RELEASE);
  }
  void add_bytes(Op op, int fd, int64_t number, const void* first, size_t first_bytes,
                 const char* second = "") {
    if (!locked_) return;
    const int saved = errno;
    const Record record{op, fd, number, static_cast<uint32_t>(first_bytes),
                        static_cast<uint32_t>(strlen(second))};
    const iovec parts[3] = {{const_cast<Record*>(&record), sizeof(record)},
                            {const_cast<void*>(first), first_bytes},
                            {const_cast<char*>(second), strlen(second)}};
    if (system_call(SYS_writev, record_fd, parts, 3) < 0) refuse("FAULT_RECORD cannot be written");
    errno = saved;
  }
  void add_paths(Op op, int fd, int64_t number, const char* path, const char* second = "") {
    if (!locked_) return;
    char one[PATH_MAX], two[PATH_MAX];
    absolute(path, one);
    add_bytes(op, fd, number, one, strlen(one), *second != '\0' ? absolute(second, two) : "");
  }

 private:
  static const char* absolute(const char* path, char (&to)[PATH_MAX]) {
    to[0] = '\0';
    if (path[0] != '/' && system_call(SYS_getcwd, to, sizeof(to)) > 0)
      strncat(to, "/", sizeof(to) - strlen(to) - 1);
    strncat(to, path, sizeof(to) - strlen(to) - 1);
    return to;
  }
  bool locked_ = false;
};

int open_file(int folder, const char* path, int flags, mode_t mode) {
  if (fails(kOpen, -1, path)) return failed(-1);
  Recording recording;
  const int fd = static_cast<int>(system_call(SYS_openat, folder, path, flags, mode));
  if (fd >= 0) recording.add_paths(Op::kOpen, fd, flags, path);
  return fd;
}

ssize_t write_bytes(int fd, const void* bytes, size_t size, int64_t offset) {
  size_t part = size;
  const bool chosen = fd > 2 && fails(kWrite, fd);
  if (chosen) {
    if (torn) return failed<ssize_t>(-1, ENOSPC);
    if (fault_how == How::kError) return failed<ssize_t>(-1);
    part = size > 1 ? size / 2 : size;
    torn = fault_how == How::kTorn;
  }
  Recording recording;
  const long done = offset < 0 ? system_call(SYS_write, fd, bytes, part)
                               : system_call(SYS_pwrite64, fd, bytes, part, offset);
  // Where it went: the file's position was moved behind it, and a pipe has none.
  const long end = offset < 0 ? system_call(SYS_lseek, fd, 0, SEEK_CUR) : offset + done;
  if (done > 0 && fd > 2 && end >= done)
    recording.add_bytes(Op::kWrite, fd, end - done, bytes, static_cast<size_t>(done));
  if (chosen && fault_how == How::kTornKill) kill_now();
  return done;
}

size_t readable(int fd, size_t size, bool& error) {
  error = false;
  if (fd <= 2 || !fails(kRead, fd)) return size;
  error = fault_how != How::kShort;
  return size > 1 ? size / 2 : size;
}

int sync_file(long call, int fd) {
  if (fails(kSync, fd)) return failed(-1);
  Recording recording;
  const int result = static_cast<int>(system_call(call, fd));
  if (result == 0) recording.add_bytes(Op::kSync, fd, 0, "", 0);
  return result;
}

int rename_file(const char* from, const char* to) {
  if (fails(kRename, -1, to)) return failed(-1);
  Recording recording;
  const int result = static_cast<int>(system_call(SYS_rename, from, to));
  if (result == 0) recording.add_paths(Op::kRename, -1, 0, from, to);
  return result;
}

int remove_entry(const char* path, bool folder) {
  if (fails(kRemove, -1, path)) return failed(-1);
  Recording recording;
  const int result = static_cast<int>(folder ? system_call(SYS_rmdir, path) : system_call(SYS_unlink, path));
  if (result == 0) recording.add_paths(folder ? Op::kRemoveFolder : Op::kUnlink, -1, 0, path);
  return result;
}

int truncate_file(int fd, int64_t size) {
  if (fails(kTruncate, fd)) return failed(-1);
  Recording recording;
  const int result = static_cast<int>(system_call(SYS_ftruncate, fd, size));
  if (result == 0) recording.add_bytes(Op::kTruncate, fd, size, "", 0);
  return result;
}

int (*program_main)(int, char**, char**) = nullptr;

int main_of_program(int argc, char** argv, char** environment) {
  in_main = true;
  const int code = program_main(argc, argv, environment);
  in_main = false;
  return code;
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? static_cast<mode_t>(va_arg(arguments, int)) : 0;
}

template <class Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

using Main = int (*)(int, char**, char**);
int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(), void (*end)(),
                      void* stack) {
  program_main = main;
  using Start = int (*)(Main, int, char**, void (*)(), void (*)(), void (*)(), void*);
  return next<Start>("__libc_start_main")(main_of_program, argc, argv, init, fini, end, stack);
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_file(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_file(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_file(folder, path, flags, mode);
}
int openat64(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_file(folder, path, flags, mode);
}
FILE* fopen(const char* path, const char* mode) {
  if (fails(kOpen, -1, path)) return failed<FILE*>(nullptr);
  return next<FILE* (*)(const char*, const char*)>("fopen")(path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  if (fails(kOpen, -1, path)) return failed<FILE*>(nullptr);
  return next<FILE* (*)(const char*, const char*)>("fopen64")(path, mode);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  return write_bytes(fd, bytes, size, -1);
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return write_bytes(fd, bytes, size, offset);
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) {
  return write_bytes(fd, bytes, size, offset);
}
// A write of its first part, as writev may well do.
ssize_t writev(int fd, const iovec* parts, int count) {
  for (int i = 0; i < count; ++i)
    if (parts[i].iov_len > 0) return write_bytes(fd, parts[i].iov_base, parts[i].iov_len, -1);
  return 0;
}

ssize_t read(int fd, void* to, size_t size) {
  bool error = false;
  const size_t part = readable(fd, size, error);
  return error ? failed<ssize_t>(-1) : system_call(SYS_read, fd, to, part);
}
ssize_t pread(int fd, void* to, size_t size, off_t offset) {
  bool error = false;
  const size_t part = readable(fd, size, error);
  return error ? failed<ssize_t>(-1) : system_call(SYS_pread64, fd, to, part, offset);
}
ssize_t pread64(int fd, void* to, size_t size, off64_t offset) {
  return pread(fd, to, size, offset);
}

int fsync(int fd) {
  return sync_file(SYS_fsync, fd);
}
int fdatasync(int fd) {
  return sync_file(SYS_fdatasync, fd);
}
int ftruncate(int fd, off_t size) {
  return truncate_file(fd, size);
}
int ftruncate64(int fd, off64_t size) {
  return truncate_file(fd, size);
}

int rename(const char* from, const char* to) {
  return rename_file(from, to);
}
int unlink(const char* path) {
  return remove_entry(path, false);
}
int rmdir(const char* path) {
  return remove_entry(path, true);
}
int remove(const char* path) {
  struct stat info;
  const bool folder =
      system_call(SYS_newfstatat, AT_FDCWD, path, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
  return remove_entry(path, folder);
}
int link(const char* from, const char* to) {
  if (fails(kLink, -1, to)) return failed(-1);
  Recording recording;
  const int result = static_cast<int>(system_call(SYS_link, from, to));
  if (result == 0) recording.add_paths(Op::kLink, -1, 0, from, to);
  return result;
}
int mkdir(const char* path, mode_t mode) {
  if (fails(kFolder, -1, path)) return failed(-1);
  Recording recording;
  const int result = static_cast<int>(system_call(SYS_mkdir, path, mode));
  if (result == 0) recording.add_paths(Op::kMakeFolder, -1, 0, path);
  return result;
}
int flock(int fd, int operation) {
  if (fails(kLock, fd)) return failed(-1);
  return static_cast<int>(system_call(SYS_flock, fd, operation));
}

void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  if (fails(kMap)) return failed(MAP_FAILED);
  const long result = system_call(SYS_mmap, at, size, protection, flags, fd, offset);
  return result == -1 ? MAP_FAILED : reinterpret_cast<void*>(result);
}
void* mmap64(void* at, size_t size, int protection, int flags, int fd, off64_t offset) {
  return mmap(at, size, protection, flags, fd, offset);
}

void* malloc(size_t size) {
  return fails(kMemory) ? failed<void*>(nullptr, ENOMEM) : __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  return fails(kMemory) ? failed<void*>(nullptr, ENOMEM) : __libc_calloc(count, size);
}
void* realloc(void* block, size_t size) {
  return fails(kMemory) ? failed<void*>(nullptr, ENOMEM) : __libc_realloc(block, size);
}
void* memalign(size_t alignment, size_t size) {
  return fails(kMemory) ? failed<void*>(nullptr, ENOMEM) : __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  return memalign(alignment, size);
}
int posix_memalign(void** block, size_t alignment, size_t size) {
  void* const made = memalign(alignment, size);
  if (made == nullptr) return ENOMEM;
  *block = made;
  return 0;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*),
                   void* argument) {
  if (fails(kThread)) return EAGAIN;
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  return next<Create>("pthread_create")(thread, attributes, body, argument);
}

}  // extern "C"
