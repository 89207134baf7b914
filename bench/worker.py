"""One worker process (bench_step or torch_step.py): starting it, asking for steps, and giving up on it."""
import json
import os
import queue
import subprocess
import threading


class WorkerError(Exception):
    """The worker ended or said something that is no answer; the message has its last words."""


class OverLimit(Exception):
    """The worker was killed because a step took too long."""


class Worker:
    """Runs on `cpus` alone; stderr goes to `log`. Every answer is a JSON object on a line of its own."""

    def __init__(self, name, command, environment, log, cpus):
        self.name, self.log = name, log
        self.peak_bytes = 0
        self.last_cpu_seconds = 0.0
        self.loaded = False
        allowed = os.sched_getaffinity(0)
        with open(log, "w") as errors:
            os.sched_setaffinity(0, cpus)  # this thread's, which the new process inherits
            try:
                self.process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
                )
            finally:
                os.sched_setaffinity(0, allowed)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def send(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None

    def answer(self, limit_s):
        try:
            line = self.lines.get(timeout=limit_s)
        except queue.Empty:
            self.kill()
            raise OverLimit(f"no answer in {limit_s:.0f} s") from None
        if line is None:
            self.lines.put(None)  # for whoever asks next
            raise WorkerError(self._last_words())
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:
            raise WorkerError(f"it printed '{line.strip()}', which is no JSON") from None
        self.peak_bytes = max(self.peak_bytes, answer.get("peak_rss_bytes", 0))
        return answer

    def wait_until_loaded(self, limit_s):
        """For workers that announce that they have loaded their libraries."""
        if not self.loaded and not self.answer(limit_s).get("loaded"):
            raise WorkerError(f"{self.name} did not say that it has loaded")
        self.loaded = True

    def steps(self, count, limit_s):
        self.send(f"steps {count}")
        return self.answer(limit_s)

    def cpu_seconds(self):
        """All threads' so far; of a worker that has ended, what was last seen."""
        try:
            with open(f"/proc/{self.process.pid}/stat") as file:
                # After the name, which may contain spaces and parentheses.
                fields = file.read().rpartition(")")[2].split()
            self.last_cpu_seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError):
            pass
        return self.last_cpu_seconds

    def _last_words(self):
        try:
            code = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = "none yet"
        with open(self.log) as errors:
            words = [line.strip() for line in errors if line.strip()]
        reason = words[-1] if words else "it said nothing"
        killed = " (killed by the system: out of memory?)" if code == -9 else ""
        return f"exit code {code}{killed}: {reason} (all of it in {self.log})"

    def kill(self):
        self.process.kill()
        self.process.wait()

    def quit(self):
        """Ends the worker and waits, so that its memory is free for the next."""
        try:
            self.send("quit")
            self.process.wait(timeout=20)
        except (WorkerError, OSError, ValueError, subprocess.TimeoutExpired):
            self.kill()
