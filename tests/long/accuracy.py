"""Accuracy of continued 16-bit training of ResNet-20 on JPEG-compressed CIFAR-10, over several seeds, against fp32.

Four groups of runs (--groups), one process at a time since speed is recorded too:
    eval     the three exports as they are: 81.03 % in PyTorch; fp32 within 0.1 of 81.0 (but for the training form, whose running
             statistics the exporter moved), fp16 and bf16 within 0.3 of fp32
    epoch    one epoch, SGD 0.01, momentum 0.9, decay 1e-4, batch 128, crop and flip, each precision and multiply policy, --seeds seeds:
             every run at least 85.3, the mean within 0.4 of fp32's
    exports  the same command on the training-form and the folded export, first seed: at least 85.3
    small    200 steps at lr 1e-4, stochastic and nearest rounding: stochastic's mean within 0.3 of fp32's, nearest's at least 0.4 below it
A finished run is kept in the work folder with its command and isn't repeated. The interval is 95 %, Student's t over seeds, of the mean and of the paired
differences from fp32 (same seeds); a test of 10000 images has a standard error of its own of 0.35, shared by all runs since the images are.
"""
from _common import CIFAR_NORMALISATION, Report, arguments, data_folder, leave_skipped, mean_and_half, models_folder, percent, run_once

a = arguments(
    __doc__, seeds=(3, "seeds"), groups=("eval,epoch,exports,small", "groups"), threads=(0, "threads, 0: the program's default"),
    policies=("fp32:wide,fp16:block,fp16:wide,bf16:block,bf16:wide", "precision:multiply pairs of the epoch group"),
    augment=("--crop-padding 4 --flip", "options for crop and flip"), epochs=(1, "epochs"), small_steps=(200, "steps at lr 1e-4"),
    schedule=("", "learning-rate schedule of the epochs; default: the program's"),
)  # fmt: skip
data, folder = data_folder(a), models_folder(a)
if not data or not folder:
    leave_skipped("needs --data (HALFTONE_DATA) and --models (HALFTONE_MODELS)")
report = Report()
COMMON = [*CIFAR_NORMALISATION, "--json", *(["--threads", a.threads] if a.threads else [])]
SCHEDULE = ["--schedule", a.schedule] if a.schedule else []
PLAIN, TRAINMODE, FOLDED = "resnet20-cifar10", "resnet20-cifar10-trainmode", "resnet20-cifar10-bnfolded"


def once(name, *command):
    return run_once(a, report, name, *command)


def table(title, rows, base):
    """rows: {label: [summary of each seed]}; prints accuracy with spread and interval, differences from base, speed, memory."""
    print(f"\n{title}\n| run | accuracy % by seed | mean | spread | 95 % interval | minus {base} | its interval | images/s | peak MB |\n|---|---|---|---|---|---|---|---|---|")
    means = {}
    for label, runs in rows.items():
        acc = [percent(s) for s in runs]
        m, h = mean_and_half(acc)
        means[label] = m
        diff = [x - percent(b) for x, b in zip(acc, rows.get(base, []))]
        d, dh = mean_and_half(diff) if diff else (float("nan"), float("nan"))
        speed = sum(s.get("samples_per_second") or 0 for s in runs) / len(runs)
        rss = max(s.get("peak_rss_bytes") or 0 for s in runs) / 1e6
        print(f"| {label} | {' '.join(f'{x:.2f}' for x in acc)} | {m:.2f} | {max(acc) - min(acc):.2f} | ±{h:.2f} | {d:+.2f} | ±{dh:.2f} | {speed:.0f} | {rss:.0f} |")
    print(flush=True)
    return means


def train(name, model, seed, precision, multiply, lr, *more):
    return once(
        name, "train", folder / f"{model}.onnx", "--data", data / "train", "--val", data / "test", *COMMON, "--precision", precision, "--multiply", multiply,
        "--optimizer", "sgd", "--lr", lr, "--momentum", 0.9, "--weight-decay", "1e-4", "--batch", 128, "--seed", seed, *a.augment.split(), *more,
    )  # fmt: skip


groups = a.groups.split(",")
if "eval" in groups:
    for model in (PLAIN, TRAINMODE, FOLDED):
        acc = {}
        for precision in ("fp32", "fp16", "bf16"):
            s = once(f"eval-{model}-{precision}", "eval", folder / f"{model}.onnx", "--data", data / "test", *COMMON, "--precision", precision)
            if s:
                acc[precision] = percent(s)
        if "fp32" in acc and model != TRAINMODE:  # its running statistics are others: exporting in training mode moves them
            report.check(abs(acc["fp32"] - 81.0) <= 0.1, f"eval {model} fp32: {acc['fp32']:.2f}, expected 81.0 within 0.1")
            for p in ("fp16", "bf16"):
                if p in acc:
                    report.check(abs(acc[p] - acc["fp32"]) <= 0.3, f"eval {model} {p}: {acc[p]:.2f}, fp32 {acc['fp32']:.2f}, within 0.3")

if "epoch" in groups:
    rows = {}
    for seed in range(1, a.seeds + 1):
        for policy in a.policies.split(","):
            precision, multiply = policy.split(":")
            s = train(f"epoch-{precision}-{multiply}-{seed}", PLAIN, seed, precision, multiply, "0.01", *SCHEDULE, "--epochs", a.epochs)
            if s:
                rows.setdefault(policy, []).append(s)
                report.check(percent(s) >= 85.3, f"epoch {policy} seed {seed}: {percent(s):.2f}, at least 85.3")
    if rows:
        base = next(iter(rows))
        means = table(f"One epoch, {a.seeds} seeds", rows, base)
        for policy, m in means.items():
            if policy != base and len(rows[policy]) == a.seeds == len(rows[base]):
                report.check(abs(m - means[base]) <= 0.4, f"epoch {policy}: mean {m:.2f}, {base} {means[base]:.2f}, within 0.4")

if "exports" in groups:
    for model in (TRAINMODE, FOLDED):
        for policy in a.policies.split(","):
            precision, multiply = policy.split(":")
            s = train(f"exports-{model}-{precision}-{multiply}", model, 1, precision, multiply, "0.01", *SCHEDULE, "--epochs", a.epochs)
            if s:
                report.check(percent(s) >= 85.3, f"one epoch of {model} {policy}: {percent(s):.2f}, at least 85.3")

if "small" in groups:
    rows = {}
    for seed in range(1, a.seeds + 1):
        for label, precision, multiply, rounding in (
            ("fp32", "fp32", "wide", []), ("fp16:stochastic", "fp16", "auto", []), ("fp16:nearest", "fp16", "auto", ["--rounding", "nearest"]),
            ("fp16:kahan", "fp16", "auto", ["--rounding", "kahan"]), ("bf16:stochastic", "bf16", "auto", []), ("bf16:nearest", "bf16", "auto", ["--rounding", "nearest"]),
        ):  # fmt: skip
            s = train(f"small-{label.replace(':', '-')}-{seed}", PLAIN, seed, precision, multiply, "1e-4", "--schedule", "constant", "--steps", a.small_steps, *rounding)
            if s:
                rows.setdefault(label, []).append(s)
    if rows.get("fp32"):
        means = table(f"{a.small_steps} steps at lr 1e-4, {a.seeds} seeds", rows, "fp32")
        for label, m in means.items():
            if label.endswith(("stochastic", "kahan")):
                report.check(m >= means["fp32"] - 0.3, f"lr 1e-4 {label}: mean {m:.2f}, fp32 {means['fp32']:.2f}, keeps up (within 0.3)")
            elif label.endswith("nearest"):
                report.check(m <= means["fp32"] - 0.4, f"lr 1e-4 {label}: mean {m:.2f}, fp32 {means['fp32']:.2f}, falls behind (0.4 or more), as nearest must")
report.close()
