// What a program does once at its start, before it calls anything else of Halftone. A library's host decides
// about its process itself, so nothing here happens without being asked for.
#pragma once

namespace halftone {

// Opens /dev/null on those of the descriptors 0, 1 and 2 that are closed. Otherwise the next file that is
// opened would get such a number, and messages would be written into it.
void open_standard_streams();
// Whether open_standard_streams() found standard output closed: what is printed there is lost.
bool standard_output_was_closed();

// Where an error cannot be passed on (destructors and other functions that may not throw, constructors before
// main), the process ends with one line on standard error and the exit code 5 when memory ran out or the
// system refused a thread, else 1; files are as after a kill. (The default is SIGABRT.) To be called as early
// as possible; before the constructors of libraries too, as it allocates nothing.
void end_where_errors_cannot_be_passed_on();
// An exception that passes through a function of glibc (std::call_once does) makes it look for the unwinder,
// for which it needs memory; without, it aborts. This has it look now.
void load_unwinder();

// Where the process may map only so much (ulimit -v), the allocator keeps one heap for all threads from now
// on, instead of one of 64 MiB each, which take what the work needs. To be called before threads start.
void share_heap_where_addresses_are_few();

// Error (resources) where the stack, which every thread gets (ulimit -s), is smaller than the work needs:
// beyond it the process would end by a signal.
void require_stack();

// From now on SIGINT, SIGTERM and SIGHUP ask for a stop: the work at hand ends with Interrupted, training
// after its step and a checkpoint. A second signal ends the process at once. (timeout(1) sends every signal
// twice; one that follows within a tenth of a second counts as the same.) SIGHUP stays ignored where it is,
// as nohup(1) wants it. SIGXFSZ and SIGPIPE are ignored: a file that cannot grow and a closed pipe are errors
// of their writes.
void stop_on_signals();
// The same request by the host: `signal` becomes Interrupted::signal(). 0 withdraws a request.
void request_stop(int signal);

}  // namespace halftone
