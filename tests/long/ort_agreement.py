"""ONNX Runtime gives a written model.onnx the accuracy that `halftone eval --json` printed, in fp32 and for the fp16 export.

Images are decoded here by Pillow and normalised by NumPy. Two correct programs may differ on images whose two best logits tie within rounding,
so the number of correct images may differ by at most the number of images with such a tie: a gap below t times the largest logit, t = 1e-4 in fp32
(about 1000 eps, a network's growth), and 2e-2 in fp16 (20 eps(fp16)).

Networks: --trained FOLDER (the --out of a training run) or else --model; without either, all resnet20-cifar10*.onnx of --models, evaluated as they are and
after 20 steps of training in fp32 and fp16.
"""
import pathlib

import numpy as np
import onnxruntime
from PIL import Image

from _common import CIFAR_NORMALISATION, Report, arguments, data_folder, leave_skipped, models_folder, run

a = arguments(
    __doc__, model=("", "one network"), trained=("", "the --out folder of a run"), mean=(".485,.456,.406", "mean of the channels"), std=(".229,.224,.225", "standard deviation"),
    images=(0, "images used, a tenth of it from each class; 0: all"), train_steps=(20, "steps of training before the second comparison"),
)  # fmt: skip
data, folder = data_folder(a), models_folder(a)
if not data:
    leave_skipped("no --data (HALFTONE_DATA)")
test = data / "test" if (data / "test").is_dir() else data
mean = np.array([float(v) for v in a.mean.split(",")], np.float32)
std = np.array([float(v) for v in a.std.split(",")], np.float32)
normalisation = ["--mean", a.mean, "--std", a.std]
report = Report()

if a.images:
    # The first ones of each class, linked into a folder of their own, so that both programs see the same.
    few = a.work / "test"
    for c in sorted(p for p in test.iterdir() if p.is_dir()):
        (few / c.name).mkdir(parents=True, exist_ok=True)
        for f in sorted(c.iterdir())[: a.images // 10]:
            if not (few / c.name / f.name).exists():
                (few / c.name / f.name).symlink_to(f.resolve())
    test = few


def images(root):
    xs, ys = [], []
    for label, c in enumerate(sorted(p for p in root.iterdir() if p.is_dir())):
        for f in sorted(c.iterdir()):
            xs.append(np.asarray(Image.open(f).convert("RGB")))
            ys.append(label)
    return np.stack(xs), np.array(ys)


pixels, labels = images(test)


def ort_logits(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    want = np.float16 if "float16" in session.get_inputs()[0].type else np.float32
    out = []
    for i in range(0, len(pixels), 250):
        x = ((pixels[i:i + 250].astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
        out.append(session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x, dtype=want)})[0].astype(np.float32))
    return np.concatenate(out)


def correct_by_ort(path, tie):
    z = ort_logits(path)
    top = np.sort(z, 1)[:, -2:]
    ties = int((top[:, 1] - top[:, 0] < tie * np.abs(z).max()).sum())
    return int((z.argmax(1) == labels).sum()), ties


def printed(model, precision):
    r = run(a.halftone, "eval", model, "--data", test, *normalisation, "--precision", precision, "--json")
    if r.code:
        return None, r.explain()
    accuracy = r.json["val_accuracy"]
    return round((accuracy / 100 if accuracy > 1 else accuracy) * len(labels)), r.json


def compare(model, name):
    ours, said = printed(model, "fp32")
    if ours is None:
        report.note("FAIL", f"{name} fp32: {said}")
        return
    theirs, ties = correct_by_ort(model, 1e-4)
    report.check(abs(ours - theirs) <= ties, f"{name} fp32: eval {ours}, ONNX Runtime {theirs} of {len(labels)} ({ties} ties)")
    half = a.work / f"{name}-fp16.onnx"
    r = run(a.halftone, "export", model, "--to", "fp16-onnx", "--out", half)
    if r.code:
        report.note("FAIL", f"{name} fp16 export: {r.explain()}")
        return
    ours, said = printed(model, "fp16")
    theirs, ties = correct_by_ort(half, 2e-2)
    if ours is None:
        report.note("FAIL", f"{name} fp16: {said}")
        return
    report.check(abs(ours - theirs) <= ties, f"{name} fp16 export: eval {ours}, ONNX Runtime {theirs} of {len(labels)} ({ties} ties)")
    report.check(half.stat().st_size < 0.75 * pathlib.Path(model).stat().st_size, f"{name} fp16 export is smaller: {half.stat().st_size} bytes")


if a.trained:
    compare(pathlib.Path(a.trained) / "model.onnx", pathlib.Path(a.trained).name)
elif a.model:
    compare(pathlib.Path(a.model), pathlib.Path(a.model).stem)
elif folder:
    for path in sorted(folder.glob("resnet20-cifar10*.onnx")):
        if "trainmode" not in path.name:  # ONNX Runtime doesn't run training form
            compare(path, path.stem)
        for precision in ("fp32", "fp16"):
            out = a.work / f"{path.stem}-{precision}"
            r = run(a.halftone, "train", path, "--data", data / "train", *normalisation, "--precision", precision, "--steps", a.train_steps, "--batch", 128, "--lr", "0.01",
                    "--momentum", "0.9", "--seed", 1, "--out", out, "--quiet")  # fmt: skip
            if r.code:
                report.note("FAIL", f"{path.stem} trained in {precision}: {r.explain()}")
            elif "trainmode" not in path.name:
                compare(out / "model.onnx", f"{path.stem}-trained-{precision}")
else:
    leave_skipped("no --model, --trained or --models (HALFTONE_MODELS)")
report.close()
