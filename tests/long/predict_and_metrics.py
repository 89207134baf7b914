"""`halftone predict` gives ONNX Runtime's outputs in fp32, and `halftone eval` scikit-learn's figures.

Outputs may differ by 1e-4 of the largest: 1000 eps of fp32, a network's growth. Figures are computed here from the rows that predict wrote, so
they differ by rounding alone: 1e-5.
"""
import csv
import json

import numpy as np
import onnxruntime

from _common import Report, arguments, leave_skipped, models_folder, run

a = arguments(__doc__, samples=(400, "samples of noise"))
folder = models_folder(a)
model = next(iter(sorted(folder.glob("resnet20-cifar10*.onnx"))), None) if folder else None
if model is None:
    leave_skipped("no --models (HALFTONE_MODELS)")
try:
    from sklearn import metrics
except ImportError:
    metrics = None
report = Report()
random = np.random.default_rng(5)
x = random.standard_normal((a.samples, 3, 32, 32)).astype(np.float32)
session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
logits = np.concatenate([session.run(None, {session.get_inputs()[0].name: x[i : i + 50]})[0] for i in range(0, a.samples, 50)])
# Mostly what the network says, so that there is something to measure.
y = np.where(random.random(a.samples) < 0.6, logits.argmax(1), random.integers(0, 10, a.samples))
np.savez(a.work / "d.npz", x=x, y=y)


def rows(*more):
    out = a.work / "rows.csv"
    r = run(a.halftone, "predict", model, "--data", a.work / "d.npz", "--out", out, "--overwrite", "--quiet", *more)
    if r.code != 0:
        report.check(False, r.explain())
        report.close()
    with open(out, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


numbers = np.array([[float(v) for k, v in row.items() if k != "sample"] for row in rows("--as", "numbers")])
gap = np.abs(numbers - logits).max() / np.abs(logits).max()
report.check(gap <= 1e-4, f"{len(numbers)} rows of logits: largest difference from ONNX Runtime {gap:.2e}")
predicted = rows("--as", "classes", "--probabilities")
p = np.array([[float(row[f"p_{c}"]) for c in range(10)] for row in predicted])
best = np.array([int(row["class"]) for row in predicted])
report.check(bool((best == numbers.argmax(1)).all()), "the class is the largest logit")

if metrics is None:
    report.skip("scikit-learn is not installed")
    report.close()
r = run(a.halftone, "eval", model, "--data", a.work / "d.npz", "--precision", "fp32", "--quiet", "--metrics-out", a.work / "m")
if not report.check(r.code == 0, "eval" if r.code == 0 else r.explain()):
    report.close()
m = json.loads((a.work / "m" / "metrics.json").read_text())[0]
precision, recall, f1, support = metrics.precision_recall_fscore_support(y, best, labels=range(10), zero_division=0)
for name, wanted in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
    got = np.array([c[name] for c in m["classes"]])
    report.check(np.allclose(got, wanted, atol=1e-9), f"{name} of each class")
report.check(m["confusion"] == metrics.confusion_matrix(y, best, labels=range(10)).tolist(), "confusion matrix")
for average in ("macro", "weighted"):
    wanted = metrics.f1_score(y, best, average=average, zero_division=0)
    report.check(abs(m[average]["f1"] - wanted) < 1e-9, f"{average} F1 {wanted:.6f}")
    area = np.average([metrics.roc_auc_score(y == c, p[:, c]) for c in range(10)], weights=None if average == "macro" else support)
    report.check(abs(m[f"auroc_{average}"] - area) < 1e-5, f"{average} AUROC {area:.6f}, got {m[f'auroc_{average}']:.6f}")
top5 = metrics.top_k_accuracy_score(y, numbers, k=5, labels=range(10))
report.check(abs(m["top5"] - top5) < 1e-9, f"top-5 {top5:.4f}")
confidence = p.max(1)
bins = np.clip(np.ceil(confidence * 15) - 1, 0, 14).astype(int)
ece = sum(abs((best[bins == b] == y[bins == b]).sum() - confidence[bins == b].sum()) for b in range(15)) / len(y)
report.check(abs(m["calibration_error"] - ece) < 1e-5, f"calibration error {ece:.6f}")
report.close()
