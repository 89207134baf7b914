"""Batch-norm statistics that fit the weights: accuracy with the running ones and with those that --bn-statistics auto takes.

Both figures come from one training run, because what is measured never reaches the training: a run with --bn-statistics running, then
`train --resume` of that finished run with auto, which takes no step. Groups (--groups):
    efficientnet   EfficientNet-Lite0 (momentum 0.99, new head) for 125 steps at lr 0.02, where running statistics lag far behind:
                   with auto each precision's mean at least 64 %, fp16 and bf16 within 0.5 points of fp32
    epoch          ResNet-20, one epoch at lr 0.01, as accuracy.py has it: not worse than with running statistics
    small          ResNet-20, 200 steps at lr 1e-4: the running statistics fit, the file must stay the same, byte for byte
Also printed: how far the running statistics are off for the weights of the same step in each precision, as a root mean square over all
norms and channels, in standard deviations (needs numpy and onnx).
"""
import shutil

from _common import CIFAR_NORMALISATION, Report, arguments, data_folder, leave_skipped, mean_and_half, models_folder, percent, run_once, sha256

a = arguments(
    __doc__, seeds=(5, "seeds"), groups=("efficientnet,epoch,small", "groups"), precisions=("fp32,fp16,bf16", "precisions"),
    threads=(0, "threads, 0: the program's default"), first=(0, "the first seed"), small_steps=(200, "steps of the small group"),
)  # fmt: skip
data, folder = data_folder(a), models_folder(a)
if not data or not folder:
    leave_skipped("needs --data (HALFTONE_DATA) and --models (HALFTONE_MODELS)")
report = Report()
COMMON = ["--json", "--quiet", *(["--threads", a.threads] if a.threads else [])]
RESNET = [
    "train", folder / "resnet20-cifar10.onnx", "--data", data / "train", "--val", data / "test", *CIFAR_NORMALISATION, "--crop-padding", 4, "--flip",
    "--weight-decay", "1e-4", "--batch", 128,
]  # fmt: skip
GROUPS = {
    "efficientnet": [
        "train", folder / "efficientnet-lite0-10classes.onnx", "--data", f"{data}/train[:16%]", "--val", f"{data}/test[:2000]", "--mean", 0.498, "--std",
        0.502, "--flip", "--batch", 64, "--lr", 0.02, "--schedule", "cosine", "--epochs", 1,
    ],
    "epoch": [*RESNET, "--lr", 0.01, "--epochs", 1],
    "small": [*RESNET, "--lr", "1e-4", "--steps", a.small_steps],
}  # fmt: skip


def norms(path):
    """Running mean, variance and epsilon of each batch norm of a file."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    tensors = {t.name: numpy_helper.to_array(t).astype("float64") for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            epsilon = next((x.f for x in node.attribute if x.name == "epsilon"), 1e-5)
            yield tensors[node.input[3]], tensors[node.input[4]], epsilon


def lag(running, measured):
    """How far the running statistics are off, as the program counts it, but over all norms; None without numpy and onnx."""
    try:
        import numpy as np

        squares = []
        for (m, v, epsilon), (m2, v2, _) in zip(norms(running), norms(measured)):
            w = 1 / ((v + v2) / 2 + epsilon)
            squares.append(np.mean((m - m2) ** 2 * w + ((v - v2) * w) ** 2 / 4))
        return float(np.sqrt(np.mean(squares)))
    except ImportError:
        return None


def both(group, precision, seed):
    """Summaries with the running statistics and with auto; None after a failure."""
    name = f"{group}-{precision}-{seed}"
    before = run_once(a, report, name, *GROUPS[group], *COMMON, "--precision", precision, "--multiply", "auto", "--seed", seed, "--bn-statistics", "running")
    if before is None:
        return None
    kept = a.work / f"{name}-running.onnx"
    if not kept.exists():
        shutil.copyfile(a.work / name / "model.onnx", kept)
    after = run_once(a, report, f"{name}-auto", "train", "--resume", a.work / name, *COMMON, "--bn-statistics", "auto", "--accept-changes")
    if after is None:
        return None
    written = a.work / name / "model.onnx"
    same = sha256(kept) == sha256(written)
    report.check(same == (after["bn_statistics"] == "running"), f"{name}: {after['bn_statistics']} statistics are in the file")
    after["lag"] = None if same else lag(kept, written)
    return before, after


def interval(values, form="{:.2f}"):
    m, h = mean_and_half(values)
    return f"{form.format(m)} ± {form.format(h)}"


seeds = range(a.first, a.first + a.seeds)
precisions = a.precisions.split(",")
for group in a.groups.split(","):
    rows = {}
    for seed in seeds:  # a seed is complete before the next begins
        for precision in precisions:
            pair = both(group, precision, seed)
            if pair:
                rows.setdefault(precision, []).append(pair)
    print(f"\n{group}, seeds {seeds[0]} to {seeds[-1]}; ± is the 95 % interval of the mean")
    print("| precision | train loss | running, by seed | mean | auto, by seed | mean | auto minus running | auto minus fp32 | batches | seconds | lag |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for precision, pairs in rows.items():
        before, after = [percent(b) for b, _ in pairs], [percent(x) for _, x in pairs]
        base = [percent(x) for _, x in rows.get("fp32", [])]
        lags = [x["lag"] for _, x in pairs if x["lag"] is not None]
        print(
            f"| {precision} | {interval([b['train_loss'] for b, _ in pairs], '{:.3f}')} | {' '.join(f'{x:.2f}' for x in before)} | {interval(before)} | "
            f"{' '.join(f'{x:.2f}' for x in after)} | {interval(after)} | {interval([y - x for x, y in zip(before, after)])} | "
            f"{interval([x - y for x, y in zip(after, base)]) if base else '-'} | {' '.join(str(x['bn_batches']) for _, x in pairs)} | "
            f"{sum(x['bn_seconds'] for _, x in pairs) / len(pairs):.1f} | {interval(lags, '{:.3f}') if lags else '-'} |"
        )
    print(flush=True)
    if len(rows.get("fp32", [])) == a.seeds:
        mean = {p: sum(percent(x) for _, x in pairs) / len(pairs) for p, pairs in rows.items()}
        for precision, pairs in rows.items():
            if group == "efficientnet":
                report.check(mean[precision] >= 64, f"{group} {precision}: mean {mean[precision]:.2f}, at least 64")
                if len(pairs) == a.seeds:
                    gap = mean[precision] - mean["fp32"]
                    report.check(abs(gap) <= 0.5, f"{group} {precision}: {gap:+.2f} from fp32's mean, within 0.5")
            else:
                gain = sum(percent(x) - percent(b) for b, x in pairs) / len(pairs)
                report.check(gain >= -0.1, f"{group} {precision}: auto is {gain:+.2f} from running, at least -0.1")
            if group == "small":
                report.check(all(x["bn_statistics"] == "running" for _, x in pairs), f"{group} {precision}: the running statistics fit")
report.close()
