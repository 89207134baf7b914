"""Kills at random moments, each resumed: the final model.onnx is the one of an uninterrupted run, byte for byte.

A trial starts a run, kills it with SIGKILL after a random part of an undisturbed run's time, resumes it, and may kill the resumed run
too; the last resume goes to the end. Trials go through several precisions and optimizers until --kills kills have hit a living run.
A run killed before its folder had a configuration refuses to resume, by name; then its first command is given again.
"""
import random
import shutil
import signal
import subprocess
import time

from _common import Report, arguments, made_up_images, run, sha256, small

a = arguments(
    __doc__, kills=(50, "kills"), seed=(17, "seed of the moments"), steps=(60, "steps of a run"), batch=(32, "batch"), threads=(2, "threads"),
    checkpoint_every=(5, "steps between checkpoints"), again=(0.4, "chance that a resumed run is killed too"),
    model=(str(small("resnet20_torchscript13_preserve") / "model.onnx"), "network"), spec=("", "data; default: made-up images"),
    extra=("", "more options for train, separated by spaces"),
)  # fmt: skip
report = Report()
rng = random.Random(a.seed)
spec = a.spec or made_up_images(a.work / "made-up")
VARIANTS = [
    ("fp16", "sgd", ["--momentum", "0.9"]), ("bf16", "adam", []), ("fp32", "sgd", ["--momentum", "0.9"]), ("fp16", "adamw", ["--accumulate", "2"]),
    ("bf16", "rmsprop", ["--rounding", "kahan"]),
]  # fmt: skip


def command(variant, out):
    precision, optimizer, more = variant
    lr = "0.01" if optimizer == "sgd" else "0.001"
    # Runs that are compared mustn't measure each for itself which policy is faster.
    pinned = [] if precision == "fp32" else ["--multiply", "block"]
    return [
        a.halftone, "train", a.model, "--data", str(spec), "--precision", precision, *pinned, "--optimizer", optimizer, "--lr", lr, *more, "--steps", str(a.steps),
        "--batch", str(a.batch), "--seed", "3", "--threads", str(a.threads), "--checkpoint-every", str(a.checkpoint_every), "--out", str(out), "--quiet",
        *a.extra.split(),
    ]  # fmt: skip


def killed_after(cmd, seconds):
    """Runs cmd and kills it after that time. (True, "") if the kill hit it alive, else (False, its messages, its exit code)."""
    p = subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        _, err = p.communicate(timeout=seconds)
        return False, err.decode(errors="replace"), p.returncode
    except subprocess.TimeoutExpired:
        p.send_signal(signal.SIGKILL)
        p.communicate()
        return True, "", -9


expected = {}
for i, variant in enumerate(VARIANTS):
    out = a.work / f"whole-{i}"
    first = run(*command(variant, out))
    if first.code:
        report.note("FAIL", f"{variant[:2]}: {first.explain()}")
        continue
    again = run(*command(variant, a.work / f"whole-{i}-again"))
    digest = sha256(out / "model.onnx")
    report.check(again.code == 0 and digest == sha256(a.work / f"whole-{i}-again" / "model.onnx"), f"{variant[0]} {variant[1]}: two undisturbed runs agree ({first.seconds:.2f} s)")
    expected[i] = (digest, min(first.seconds, again.seconds))
if not expected:
    report.close()

done = trial = missed = 0
while done < a.kills and missed < 5 * a.kills + 20:
    i = sorted(expected)[trial % len(expected)]
    variant, (digest, whole) = VARIANTS[i], expected[i]
    out = a.work / f"trial-{trial}"
    shutil.rmtree(out, ignore_errors=True)
    story, hits, restarts, bad = [], 0, 0, None
    cmd = command(variant, out)
    while True:
        kill = (not story or rng.random() < a.again) and hits < a.kills
        if kill:
            # Every fifth while the folder is being made.
            moment = rng.uniform(0, 0.06 if rng.random() < 0.2 else 1.05 * whole)
            hit, err, code = killed_after(cmd, moment)
        else:
            r = run(*cmd)
            hit, err, code = False, r.err, r.code
        if hit:
            hits += 1
            story.append(f"killed at {moment:.3f} s")
        elif code == 0:
            story.append("finished")
            break
        elif "--resume" in cmd and code == 3 and "no config.yaml" in err and not (out / "config.yaml").exists() and restarts < 20:
            # Killed before the folder had its configuration: as the message says, the first command begins again, in that folder.
            restarts += 1
            story.append("no configuration yet, started again")
            cmd = command(variant, out)
            continue
        else:
            bad = f"exit code {code}: {err.strip()[-500:]}"
            break
        if out.exists():
            cmd = [a.halftone, "train", "--resume", str(out), "--quiet"]
    if hits == 0:
        missed += 1
    done += hits
    name = f"trial {trial} {variant[0]} {variant[1]}: {', '.join(story)}"
    if bad:
        report.note("FAIL", f"{name}: {bad}")
        shutil.copytree(out, a.work / f"kept-{trial}", dirs_exist_ok=True) if out.exists() else None
    else:
        same = sha256(out / "model.onnx") == digest
        report.check(same, f"{name}: {'same bytes' if same else 'OTHER BYTES than the uninterrupted run'}")
        left = [p.name for p in out.rglob("*") if p.name.endswith(".tmp")]
        if left and not hits:
            report.note("FAIL", f"{name}: temporary files left: {left}")
        if same:
            shutil.rmtree(out, ignore_errors=True)
    trial += 1
report.check(done >= a.kills, f"{done} kills hit a living run (seed {a.seed}; {trial} trials)")
report.close()
