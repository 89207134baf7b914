"""What the long proofs share: where things are, running the program, one PASS, FAIL or SKIP line per finding, the exit code.

Exit codes are those that scripts/test_long.sh expects: 0 passed, 1 failed, 77 nothing could be checked. Every script runs alone too:
    python3 tests/long/NAME.py --halftone build/halftone [--models DIR] [--data DIR or .tar.zst] [--work DIR]
"""
import argparse
import hashlib
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
sys.path.insert(0, str(FIXTURES))
sys.dont_write_bytecode = True


def arguments(description, **extra):
    """Parses --halftone, --work, --models, --data, plus extra options given as name=(default, help)."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--halftone", default=os.environ.get("HALFTONE", str(ROOT / "build" / "halftone")), help="the program (HALFTONE)")
    p.add_argument("--work", default=os.environ.get("WORK"), help="an empty folder (WORK); default: a temporary one")
    p.add_argument("--models", default=os.environ.get("HALFTONE_MODELS"), help="folder with resnet20-cifar10*.onnx (HALFTONE_MODELS)")
    p.add_argument("--data", default=os.environ.get("HALFTONE_DATA"), help="folder with train/ and test/ of class folders, or its .tar.zst (HALFTONE_DATA)")
    for name, (default, text) in extra.items():
        kind = type(default) if default is not None else str
        if kind is bool:
            p.add_argument("--" + name.replace("_", "-"), action="store_true", help=text)
        else:
            p.add_argument("--" + name.replace("_", "-"), default=default, type=kind, help=text)
    a = p.parse_args()
    a.halftone = os.path.abspath(a.halftone)
    if not os.access(a.halftone, os.X_OK):
        leave_skipped(f"no program at {a.halftone}")
    a.work = pathlib.Path(a.work or tempfile.mkdtemp(prefix="halftone-long-")).resolve()
    a.work.mkdir(parents=True, exist_ok=True)
    return a


def leave_skipped(reason):
    print(f"SKIP {reason}")
    sys.exit(77)


class Report:
    """Collects findings; close() prints the sum and ends the script."""

    def __init__(self):
        self.count = {"PASS": 0, "FAIL": 0, "SKIP": 0}

    def note(self, verdict, text):
        self.count[verdict] += 1
        print(f"{verdict} {text}", flush=True)

    def check(self, good, text):
        self.note("PASS" if good else "FAIL", text)
        return good

    def skip(self, text):
        self.note("SKIP", text)

    def close(self):
        c = self.count
        print(f"{c['PASS']} passed, {c['FAIL']} failed, {c['SKIP']} skipped")
        sys.exit(1 if c["FAIL"] else 0 if c["PASS"] else 77)


class Result:
    def __init__(self, command, code, out, err, seconds):
        self.command, self.code, self.out, self.err, self.seconds = command, code, out, err, seconds

    @property
    def json(self):
        """The last line of standard output, which --json promises to be one object."""
        return json.loads(self.out.strip().splitlines()[-1])

    def explain(self):
        tail = (self.err.strip() or self.out.strip())[-600:]
        return f"exit code {self.code}: {' '.join(map(str, self.command))}\n    " + tail.replace("\n", "\n    ")


def run(*command, env=None, timeout=None):
    """One command to its end; never raises for its exit code."""
    command = [str(c) for c in command]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=timeout, stdin=subprocess.DEVNULL)
    return Result(command, done.returncode, done.stdout, done.stderr, time.monotonic() - started)


def by_onnxruntime(path, feed, optimised=True):
    """What ONNX Runtime computes of a file (a path, or its bytes), on one thread: its outputs by their names."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path if isinstance(path, bytes) else str(path), options, providers=["CPUExecutionProvider"])
    return {o.name: v for o, v in zip(session.get_outputs(), session.run(None, feed))}


def percent(summary):
    v = summary["val_accuracy"]
    return 100 * v if v <= 1 else v


def run_once(a, report, name, *command):
    """The summary of one run, from an earlier one with the same command if there is one; None after a failure. A new
    training run goes to the work folder under its name."""
    out = a.work / name
    key = " ".join(map(str, command))
    kept = a.work / f"{name}.json"
    if kept.exists():
        old = json.loads(kept.read_text())
        if old["key"] == key:
            return old["summary"]
    more = ["--out", out, "--overwrite"] if command[0] == "train" and "--resume" not in command else []
    r = run(a.halftone, *command, *more)
    if r.code:
        report.note("FAIL", f"{name}: {r.explain()}")
        return None
    summary = r.json
    summary["wall_seconds"] = r.seconds
    kept.write_text(json.dumps({"key": key, "summary": summary}))
    print(f"     {name}: {percent(summary):.2f} %, {r.seconds:.0f} s", flush=True)
    return summary


T95 = [0, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def mean_and_half(values):
    """The mean and half its 95 % interval by Student's t (nan for a single value)."""
    m = sum(values) / len(values)
    if len(values) < 2:
        return m, float("nan")
    s = math.sqrt(sum((v - m) ** 2 for v in values) / (len(values) - 1))
    return m, T95[min(len(values), len(T95)) - 1] * s / math.sqrt(len(values))


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def data_folder(a):
    """The CIFAR-10 JPEG folder, unpacked if an archive was given; None if there is none."""
    if not a.data:
        return None
    path = pathlib.Path(a.data)
    if path.is_dir():
        return path
    if not path.exists():
        leave_skipped(f"no data at {path}")
    out = a.work / "data"
    if not (out / "complete").exists():
        out.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "--zstd", "-xf", str(path), "-C", str(out)], check=True)
        (out / "complete").touch()
    return out


def models_folder(a):
    return pathlib.Path(a.models) if a.models and pathlib.Path(a.models).is_dir() else None


def small(name):
    return FIXTURES / "small" / name


def made_up_images(folder, classes=10, each=24, size=16, seed=5):
    """Class folders of PNG images: a colour and a stripe pattern per class, with noise, so that there is something to learn."""
    import numpy as np
    from PIL import Image

    folder = pathlib.Path(folder)
    if (folder / "complete").exists():
        return folder / "images"
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size]
    for c in range(classes):
        to = folder / "images" / f"class{c}"
        to.mkdir(parents=True, exist_ok=True)
        colour = rng.integers(40, 200, 3)
        wave = np.sin(x * (1 + c % 3) * 0.7 + y * (c // 3) * 0.5)[..., None] * 40
        for i in range(each):
            pixels = np.clip(colour + wave + rng.normal(0, 25, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(to / f"{i:03d}.png")
    (folder / "complete").touch()
    return folder / "images"


CIFAR_NORMALISATION = ["--mean", ".485,.456,.406", "--std", ".229,.224,.225"]
