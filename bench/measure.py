"""Measures one row: one network, batch and number of threads, all variants, interleaved.

Variants take turns (A B C A B C ...), so that a machine that slows down or speeds up does so for all. When not all fit into memory
at once they are measured in groups, and ANCHORS are alive in each: a variant is compared with the anchor's turn of the same round
of its own group, never with a time from another group.
"""
import dataclasses
import os
import statistics
import time

import machine
from worker import OverLimit, Worker, WorkerError

ANCHORS = ("halftone fp16", "halftone fp32")
STEP_LIMIT_S = 60.0
# For a first step, which allocates and (Halftone) reads the file besides.
FIRST_STEP_LIMIT_S = 90.0
# torch.compile's first step runs the C++ compiler, minutes for a large network. That is no part of a step.
COMPILE_LIMIT_S = 1200.0
LOAD_LIMIT_S = 120.0
# PyTorch's own libraries, until a worker of this row has shown what it takes.
LIBRARIES_BYTES = 600 << 20


@dataclasses.dataclass
class Variant:
    name: str
    program: str  # halftone or torch
    argument: str  # --precision or --variant
    threads: int = 0  # 0: the row's


HALFTONE = [Variant(f"halftone {p}", "halftone", p) for p in ("fp32", "bf16", "fp16")]
TORCH = [Variant(f"torch {v}", "torch", v) for v in ("fp32", "fp32-cl", "compile", "bf16-autocast", "bf16", "fp16")]
VARIANTS = HALFTONE + TORCH
# Beside the row of two threads, so that the gain of the second is measured in one run as well.
ONE_THREAD = Variant("halftone fp16, 1 thread", "halftone", "fp16", 1)


@dataclasses.dataclass
class Settings:
    folder: str  # models and batches
    bench_step: str
    python: str
    rounds: int
    turn_s: float  # length of a turn
    memory_bytes: int  # what the workers of a group may take together
    isa: str = ""
    torch_isa: str = ""


def environment(variant, settings, threads):
    env = dict(os.environ)
    if variant.program == "halftone":
        if settings.isa:
            env["HALFTONE_ISA"] = settings.isa
        return env
    env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    env["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(settings.folder, "torchinductor")
    if settings.torch_isa:
        env["ONEDNN_MAX_CPU_ISA"] = settings.torch_isa
    return env


def command(variant, settings, row, threads):
    files = [f"{settings.folder}/{row['network']}-b{row['batch']}.{part}.npy" for part in ("samples", "labels")]
    common = ["--samples", files[0], "--labels", files[1], "--threads", str(threads)]
    if variant.program == "halftone":
        model = f"{settings.folder}/{row['network']}.onnx"
        return [settings.bench_step, "--model", model, "--precision", variant.argument, *common]
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch_step.py")
    return [settings.python, script, "--network", row["network"], "--variant", variant.argument, *common]


class Row:
    def __init__(self, row, threads, variants, settings, log, over_limit_in):
        """over_limit_in: variant -> where it was over the limit already though that was less work; these aren't run again."""
        self.row, self.threads, self.settings, self.log = row, threads, settings, log
        self.spawned = {}  # PyTorch workers that load their libraries or have, by variant
        self.results = {v.name: {"turns": []} for v in variants}
        self.variants = [v for v in variants if v.name not in over_limit_in]
        for v in variants:
            if v.name in over_limit_in:
                self.results[v.name].update(over_limit=True, over_limit_in=over_limit_in[v.name])
                log(f"  {v.name}: over {STEP_LIMIT_S:.0f} s a step in {over_limit_in[v.name]} already")
        self.cpus = machine.fastest_cpus()  # a variant of N threads runs on the first N, else chance would give each variant another one
        self.counts = {}  # steps a turn
        self.others = 0.0  # CPUs that other processes kept busy during the turns, of the worst group

    def _spawn(self, variant):
        threads = variant.threads or self.threads
        name = f"{self.row['name']}-t{self.threads}-{variant.name}".replace(" ", "-").replace(",", "")
        logs = os.path.join(self.settings.folder, "logs")
        os.makedirs(logs, exist_ok=True)
        return Worker(
            variant.name, command(variant, self.settings, self.row, threads), environment(variant, self.settings, threads), f"{logs}/{name}.log",
            self.cpus[:threads],
        )  # fmt: skip

    def preload(self, variants):
        for variant in variants:
            if variant.program == "torch" and variant.name not in self.spawned:
                self.spawned[variant.name] = self._spawn(variant)

    def _fail(self, variant, worker, error):
        result = self.results[variant.name]
        if isinstance(error, OverLimit):
            result["over_limit"] = True
            self.log(f"  {variant.name}: over {STEP_LIMIT_S:.0f} s a step")
        else:
            result["failed"] = str(error)
            self.log(f"  {variant.name}: failed: {error}")
        worker.kill()

    def start(self, variant):
        """A worker that has taken its first step, or None: then the result says why."""
        result = self.results[variant.name]
        begun = time.monotonic()
        worker = self.spawned.pop(variant.name, None) or self._spawn(variant)
        compiled = variant.argument == "compile"
        try:
            if variant.program == "torch":
                worker.wait_until_loaded(LOAD_LIMIT_S)
                worker.send("start")
            ready = worker.answer(COMPILE_LIMIT_S if compiled else FIRST_STEP_LIMIT_S)
            if not ready.get("ready"):
                raise WorkerError(f"expected the answer after the first step, got {ready}")
            result.update({k: ready[k] for k in ("planned_bytes", "base_bytes", "isa", "multiply")})
            result["first_loss"] = ready["loss"]
            if not compiled and ready["first_step_ms"] > STEP_LIMIT_S * 1e3:
                raise OverLimit(f"{ready['first_step_ms'] / 1e3:.0f} s the first step")
        except (OverLimit, WorkerError) as error:
            self._fail(variant, worker, error)
            return None
        result["first_step_ms"] = ready["first_step_ms"]
        self.log(f"  {variant.name}: {worker.peak_bytes >> 20} MB, ready after {time.monotonic() - begun:.0f} s")
        return worker

    def count_steps(self, variant, worker):
        """How many steps make a turn: the first step isn't typical, so a quick one is followed by another one that tells."""
        if variant.name in self.counts:  # an anchor, in a later group
            return
        step_s = self.results[variant.name]["first_step_ms"] / 1e3
        if variant.argument == "compile" or step_s < self.settings.turn_s * 4:
            step_s = worker.steps(1, FIRST_STEP_LIMIT_S)["ms"][0] / 1e3
        if step_s > STEP_LIMIT_S:
            raise OverLimit(f"{step_s:.0f} s a step")
        self.counts[variant.name] = max(1, round(self.settings.turn_s / step_s))
        self.log(f"  {variant.name}: {step_s * 1e3:.0f} ms, {self.counts[variant.name]} steps a turn")

    def turn(self, variant, worker, group, round_):
        count = self.counts[variant.name]
        answer = worker.steps(count, FIRST_STEP_LIMIT_S * count)
        result = self.results[variant.name]
        result["turns"].append({"group": group, "round": round_, "ms": answer["ms"]})
        result["peak_rss_bytes"] = worker.peak_bytes
        result["last_loss"] = answer["loss"]
        result["skipped"] = result.get("skipped", 0) + answer["skipped"]
        if statistics.median(answer["ms"]) > STEP_LIMIT_S * 1e3:
            raise OverLimit("too slow")

    def measure_group(self, alive, group):
        # Nothing else may run meanwhile. One that cannot load says so when its own turn comes.
        for worker in self.spawned.values():
            try:
                worker.wait_until_loaded(LOAD_LIMIT_S)
            except (OverLimit, WorkerError):
                pass
        for round_ in range(-1, self.settings.rounds):
            if round_ == 0:
                began, busy, ours = time.monotonic(), machine.busy_seconds(), sum(w.cpu_seconds() for _, w in alive.values())
                measured = [w for _, w in alive.values()]
            for variant, worker in list(alive.values()):
                try:
                    if round_ < 0:
                        self.count_steps(variant, worker)
                    else:
                        self.turn(variant, worker, group, round_)
                except (OverLimit, WorkerError) as error:
                    self._fail(variant, worker, error)
                    del alive[variant.name]
        others = machine.busy_seconds() - busy - (sum(w.cpu_seconds() for w in measured) - ours)
        self.others = max(self.others, others / (time.monotonic() - began))

    def measure(self):
        s = self.settings
        anchors = [v for v in self.variants if v.name in ANCHORS]
        pending = [v for v in self.variants if v.name not in ANCHORS]
        alive = {}
        group = 0
        try:
            for variant in anchors:
                worker = self.start(variant)
                if worker:
                    alive[variant.name] = (variant, worker)
            while True:
                added = 0
                while pending:
                    used = sum(w.peak_bytes for _, w in alive.values())
                    largest = max([w.peak_bytes for _, w in alive.values()], default=0)
                    # Nobody knows a worker's memory before it ran: assume a quarter above the largest so far.
                    expected = int(largest * 1.25) + (LIBRARIES_BYTES if pending[0].program == "torch" else 0)
                    if added and used + expected > s.memory_bytes:
                        break
                    variant = pending.pop(0)
                    self.preload([variant, *pending[:2]])
                    worker = self.start(variant)
                    if worker:
                        alive[variant.name] = (variant, worker)
                        added += 1
                self.measure_group(alive, group)
                if not pending:
                    break
                for name in [n for n in alive if n not in ANCHORS]:
                    alive.pop(name)[1].quit()
                group += 1
        finally:
            for _, worker in alive.values():
                worker.quit()
            for worker in self.spawned.values():
                worker.kill()
        return {"row": self.row["name"], "network": self.row["network"], "kind": self.row["kind"], "batch": self.row["batch"], "threads": self.threads,
                "cpus": self.cpus[: self.threads], "groups": group + 1, "others_cpus": self.others, "variants": self.results}  # fmt: skip
