"""SIGINT, SIGTERM and SIGHUP at random moments of every phase: exit code 128+n within seconds, nothing lost, the resumed run's bytes.

A trial starts a run with validation and restored batch norms (loading, calibrating, training, evaluating, writing), stops it by a random
signal after a random part of an undisturbed run's time, resumes it, and stops the resumed run too, now and then. Trials go through several
precisions and optimizers until --signals signals have hit a living run. Then comparisons are stopped, which must take their children with
them, and --pairs pairs of processes meet: two new runs, two resumes, or one of each in one folder, a comparison and a run in one folder, of
which one must be refused, and both with folders of their own, which must not disturb each other.
"""
import os
import random
import shutil
import signal
import subprocess
import time

from _common import Report, arguments, made_up_images, run, sha256, small

a = arguments(
    __doc__, signals=(300, "signals to living runs"), pairs=(20, "pairs of concurrent runs"), seed=(23, "seed of the moments"), steps=(40, "steps of a run"),
    compares=(20, "comparisons stopped"), batch=(32, "batch"), threads=(2, "threads"), again=(0.4, "chance that a resumed run is stopped too"),
    wait=(10.0, "most seconds between signal and end"), model=(str(small("resnet20_torchscript13_preserve") / "model.onnx"), "network"),
    spec=("", "data; default: made-up images"),
)  # fmt: skip
report = Report()
rng = random.Random(a.seed)
spec = a.spec or made_up_images(a.work / "made-up")
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
VARIANTS = [("fp16", "sgd", []), ("bf16", "adam", []), ("fp32", "adamw", ["--accumulate", "2"]), ("fp16", "rmsprop", ["--rounding", "kahan"])]


def command(variant, out):
    precision, optimizer, more = variant
    pinned = [] if precision == "fp32" else ["--multiply", "block"]
    return [
        a.halftone, "train", a.model, "--data", str(spec), "--val", str(spec), "--precision", precision, *pinned, "--optimizer", optimizer, *more,
        "--lr", "0.001", "--steps", str(a.steps), "--batch", str(a.batch), "--threads", str(a.threads), "--out", str(out), "--quiet",
    ]  # fmt: skip


def stopped_after(cmd, seconds, which):
    """(hit alive, exit code, messages, seconds from the signal to the end)"""
    p = subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        _, err = p.communicate(timeout=seconds)
        return False, p.returncode, err.decode(errors="replace"), 0.0
    except subprocess.TimeoutExpired:
        p.send_signal(which)
        sent = time.monotonic()
        try:
            _, err = p.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            p.kill()
            p.communicate()
            return True, None, "it did not end within a minute", 60.0
        return True, p.returncode, err.decode(errors="replace"), time.monotonic() - sent


expected = {}
for i, variant in enumerate(VARIANTS):
    first = run(*command(variant, a.work / f"whole-{i}"))
    if report.check(first.code == 0, f"{variant[:2]}: undisturbed, {first.seconds:.2f} s" if first.code == 0 else first.explain()):
        expected[i] = (sha256(a.work / f"whole-{i}" / "model.onnx"), first.seconds)
if not expected:
    report.close()

hits = trial = saved = unsaved = 0
longest = 0.0
while hits < a.signals and trial < 5 * a.signals + 20:
    i = sorted(expected)[trial % len(expected)]
    digest, whole = expected[i]
    out = a.work / f"trial-{trial}"
    shutil.rmtree(out, ignore_errors=True)
    cmd, bad, story = command(VARIANTS[i], out), None, []
    while bad is None:
        if story and rng.random() >= a.again:
            r = run(*cmd)
            if r.code != 0:
                bad = r.explain()
            break
        which, moment = rng.choice(SIGNALS), rng.uniform(0, 1.05 * whole)
        alive, code, err, took = stopped_after(cmd, moment, which)
        story.append(f"{which.name} at {moment:.3f} s")
        if not alive or code == 0:  # it had ended, or was past its last step
            if code != 0:
                bad = f"exit code {code}: {err[-500:]}"
            break
        hits += 1
        longest = max(longest, took)
        if code == -which:  # before main() had set itself up
            unsaved += 1
            if out.exists():
                bad = f"{which.name} killed it although it had begun"
        elif code != 128 + which:
            bad = f"exit code {code} after {which.name}: {err[-500:]}"
        elif took > a.wait:
            bad = f"it took {took:.1f} s to end"
        elif "saved; continue with: halftone train --resume" in err:
            saved += 1
            cmd = [a.halftone, "train", "--resume", str(out), "--quiet"]
        elif "nothing to save" in err and not out.exists():
            unsaved += 1
        else:
            bad = f"neither saved nor nothing to save: {err[-500:]}"
    if bad:
        report.note("FAIL", f"trial {trial} {VARIANTS[i][:2]} {', '.join(story)}: {bad}")
    elif not report.check(sha256(out / "model.onnx") == digest, f"trial {trial} {VARIANTS[i][:2]} {', '.join(story)}: the same bytes"):
        shutil.copytree(out, a.work / f"kept-{trial}", dirs_exist_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    trial += 1
report.check(hits >= a.signals, f"{hits} signals hit a living run ({saved} saved, {unsaved} before there was anything; longest {longest:.2f} s; seed {a.seed})")
report.check(saved >= hits // 4, f"{saved} of {hits} were saved")


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(c) for c in f.read().split()]
    except FileNotFoundError:
        return []


for k in range(a.compares):
    out = a.work / "compare"
    shutil.rmtree(out, ignore_errors=True)
    which = rng.choice([*SIGNALS, signal.SIGKILL])
    p = subprocess.Popen([a.halftone, "compare", a.model, "--data", str(spec), "--val", "none", "--precisions", "fp32,fp16", "--steps", "1000",
                          "--out", str(out), "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    while not children(p.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    of_it = children(p.pid)
    time.sleep(rng.uniform(0, 1))
    p.send_signal(which)
    p.communicate(timeout=60)
    time.sleep(0.2)
    left = [c for c in of_it if os.path.exists(f"/proc/{c}") and "Z" not in open(f"/proc/{c}/stat").read().rsplit(")", 1)[1].split()[0]]
    right = p.returncode == (-which if which == signal.SIGKILL else 128 + which)
    report.check(bool(of_it) and right and not left, f"comparison {k}: {which.name}: exit code {p.returncode}, children left: {left}")

for k in range(a.pairs):
    out = a.work / "pair"
    shutil.rmtree(out, ignore_errors=True)
    kind = k % 5  # two new runs, two resumes, one of each, a comparison in the same folder, a comparison beside
    resume = [a.halftone, "train", "--resume", str(out), "--quiet"]
    new = command(VARIANTS[0], out)
    if kind == 1:
        alive, code, err, _ = stopped_after(new, 0.6 * expected[0][1], signal.SIGINT)
        if "saved" not in err:
            report.note("SKIP", f"pair {k}: the run was not stopped in its middle")
            continue
    here = a.work / "pair-here"  # where folders are numbered
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    compare = [a.halftone, "compare", a.model, "--data", str(spec), "--val", str(spec), "--precisions", "fp32,fp16", "--steps", "2", "--batch", str(a.batch), "--quiet"]
    if kind == 4:
        new = new[: new.index("--out")] + ["--quiet"]
    both = [[new, new], [resume, resume], [new, resume], [new, compare + ["--out", str(out)]], [new, compare]][kind]
    processes = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=here) for c in both]
    ends = [(p.communicate()[1].decode(errors="replace"), p.returncode) for p in processes]
    codes = sorted(code for _, code in ends)
    # A resume may come before there is anything to go on with (3), or when the first has ended (0).
    right = codes[0] == 0 and all(code in (0, 2, 3) for code in codes) and (kind == 2 or codes == [0, 2] or (kind in (1, 4) and codes == [0, 0]))
    if kind == 4:
        out = here / "runs" / "train-1"
        right = right and codes == [0, 0] and (here / "runs" / "compare-1" / "summary.json").exists()
    if kind == 3 and ends[0][1] == 2:  # the comparison was first
        same = (out / "summary.json").exists() and not (out / "model.onnx").exists()
    else:
        same = (out / "model.onnx").exists() and sha256(out / "model.onnx") == expected[0][0]
    names = ["two new runs", "two resumes", "a new run and a resume", "a run and a comparison in one folder", "a run beside a comparison"]
    report.check(right and same, f"pair {k}, {names[kind]}: exit codes {codes}, {'as alone' if same else 'OTHER'}" + ("" if right and same else f": {ends}"))
report.close()
