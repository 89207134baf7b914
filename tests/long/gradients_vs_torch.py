"""Loss and gradients of whole networks, as torchvision exports them, against PyTorch on the same weights and batch.

Networks: ResNet-20, VGG-11 with and without batch norm, ResNet-18, MobileNetV2, DenseNet-121, SqueezeNet, full size, through both exporters; loss is
the mean cross-entropy of 4 images. The reference is PyTorch in float64.

Bounds. An error of one rounding grows on its way through a network by a factor that depends on the network, its weights and the batch, so the
factor is measured with PyTorch, not guessed:
    growth(parameter) = |PyTorch float32 gradient - float64 gradient| / eps(float32),   L2 norms
    fp64:  |ours - float64| <= K eps growth + K eps |gradient of the network| ,   K = 32
    fp32:  the same + 2 decisions(parameter)
    the loss likewise, with the growth of the logits
K = 32: another order of summation gives another sample of the same rounding errors; sums of n terms err by sqrt(n) eps in one order and up to
log2(n) or n / 16 in others (16 lanes against PyTorch's blocked sums), and n is at most 25088 here.
decisions: a ReLU's input nearer to 0 than the error of the forward pass (likewise ReLU6, a max pool's winner) may fall either way, and does so by chance.
Measured in float64, as the worst of --samples runs in which all such inputs are off by K times PyTorch's float32 error; twice that, because it is a sample.
fp16 and bf16 can't be extrapolated from that (a step of 2^-8 crosses kinks), so the yardstick is PyTorch with every stored tensor, gradients
too, rounded to that type, and with --multiply block's integers where that is the policy, the worst of --samples inputs that differ by less than their
rounding: the network's error must not be more than twice that one's, each parameter's not more than four times (plus K eps of the
network's norm over the root of the number of parameters), and the direction must agree as well: 1 - cosine at most four times the yardstick's. Where
that allows a gradient at right angles (a network whose direction 16 bits lose, whoever computes), the case proves nothing and is skipped.
"""
import gc

import numpy as np
import onnx
import torch

from _common import Report, arguments, run

import models  # tests/fixtures, put on the path by _common
import make_networks

a = arguments(
    __doc__, only=("", "name contains this"), precisions=("fp64,fp32,fp16,bf16", "precisions"), narrow=(False, "narrow networks instead of full size"),
    samples=(4, "runs of PyTorch that a yardstick is the worst of"), multiplies=("block,wide", "policies of fp16 and bf16"),
)  # fmt: skip
# (network, exporter, opset, form); VGG in one exporter each: a file has 500 MB
EXPORTS = [
    ("resnet20", "torchscript", 13, "preserve"), ("resnet20", "torchscript", 15, "training"), ("resnet20", "torchscript", 17, "folded"),
    ("resnet20", "dynamo", 20, "preserve"), ("resnet20", "dynamo", 18, "folded"),
    ("resnet18", "torchscript", 11, "preserve"), ("resnet18", "dynamo", 18, "folded"),
    ("mobilenetv2", "torchscript", 12, "training"), ("mobilenetv2", "torchscript", 17, "preserve"), ("mobilenetv2", "dynamo", 21, "preserve"),
    ("densenet121", "torchscript", 9, "preserve"), ("densenet121", "torchscript", 16, "training"), ("densenet121", "dynamo", 23, "folded"),
    ("squeezenet", "torchscript", 10, "folded"), ("squeezenet", "dynamo", 20, "preserve"),
    ("vgg11", "torchscript", 9, "folded"), ("vgg11bn", "dynamo", 18, "preserve"),
]  # fmt: skip
EPS = {"fp64": 2.0**-52, "fp32": 2.0**-23, "fp16": 2.0**-10, "bf16": 2.0**-7}
K = 32.0
TYPE = {"fp16": torch.float16, "bf16": torch.bfloat16}


def norm(values):
    return float(np.sqrt(sum(float((v.astype(np.float64) ** 2).sum()) for v in values)))


def cosine(u, v):
    return sum(float((u[n] * v[n]).sum()) for n in u) / max(norm(u.values()) * norm(v.values()), 1e-300)


report = Report()
built = {}
for network, exporter, opset, form in EXPORTS:
    stem = f"{network}_{exporter}{opset}_{form}"
    if a.only not in stem:
        continue
    gc.collect()
    folder = a.work / stem
    folder.mkdir(parents=True, exist_ok=True)
    original, size = make_networks.build(network, narrow=a.narrow)
    if network == "densenet121" and a.narrow:
        size = 32
    x, labels = models.batch(7, 4, size)
    model = models.EXPORTERS[exporter](original, x, opset, form)
    net, found = models.adopt(original, model, form)
    onnx.save(model, folder / "model.onnx")
    stored = {k: v.shape for k, v in models.constants(model).items()}
    np.save(folder / "input.npy", x)
    np.save(folder / "labels.npy", labels)
    norms = any(n.op_type == "BatchNormalization" for n in model.graph.node)
    for mode in ("train", "eval") if norms else ("train",):
        training = mode == "train"
        loss64, logits64, g64, _, _ = models.reference(net, x, labels, torch.float64, training)
        _, logits32, g32, _, _ = models.reference(net, x, labels, torch.float32, training)
        whole = norm(g64.values())
        params = {o: f for o, f in found.items() if f[0] in g64}
        decided = models.decisions(net, x, labels, training, K, g64, a.samples) if "fp32" in a.precisions else {}
        cases = [(p, m) for p in a.precisions.split(",") for m in (a.multiplies.split(",") if p in TYPE else ["wide"])]
        for precision, multiply in cases:
            name = f"{stem} {mode} {precision}" + (f" {multiply}" if precision in TYPE else "")
            out = folder / f"{mode}-{precision}-{multiply}"
            out.mkdir(exist_ok=True)
            r = run(a.halftone, "gradients", folder / "model.onnx", "--input", folder / "input.npy", "--labels", folder / "labels.npy", "--precision", precision,
                    "--multiply", multiply, "--mode", mode, "--output-dir", out)  # fmt: skip
            if r.code:
                report.note("FAIL", f"{name}: {r.explain()}")
                continue
            ours, trouble = {}, []
            for oname, (pname, how) in params.items():
                file = out / (oname.replace("%", "%25").replace("/", "%2F") + ".npy")
                if not file.exists():
                    trouble.append(f"no gradient of {oname}")
                    continue
                g = np.load(file).astype(np.float64)
                if g.shape != stored[oname]:
                    trouble.append(f"gradient of {oname} has shape {g.shape}, expected {stored[oname]}")
                    continue
                ours[pname] = g.T if how == "transposed" else g.reshape(g64[pname].shape)
            if trouble:
                report.note("FAIL", f"{name}: {'; '.join(trouble[:5])} ({len(trouble)} of {len(params)})")
                continue
            loss = float(np.load(out / "loss.npy").ravel()[0])
            error = {n: norm([ours[n] - g64[n]]) for n in g64}
            total = norm([ours[n] - g64[n] for n in g64])
            eps = EPS[precision]
            if precision in TYPE:
                yard, yard_total, yard_loss, yard_turn = models.yardstick(net, x, labels, TYPE[precision], training, loss64, g64, a.samples, multiply == "block")
                floor = K * eps * whole / len(g64) ** 0.5
                bounds = {n: 4 * yard[n] + floor for n in g64}
                loss_bound = 4 * yard_loss + 8 * eps * max(1.0, abs(loss64))
                turn, turn_bound = 1 - cosine(ours, g64), 4 * yard_turn + 8 * eps**2
                whole_bound = 2 * yard_total + eps * whole
            else:
                bounds = {n: K * eps * (norm([g32[n] - g64[n]]) / EPS["fp32"] + whole) + (2 * decided[n] if precision == "fp32" else 0) for n in g64}
                # The loss itself is one number, whose error may happen to be 0. |d loss / d logits| is at most sqrt(2) / n for each of n images.
                growth = (2 / len(labels)) ** 0.5 * norm([logits32 - logits64]) / EPS["fp32"]
                loss_bound = K * eps * max(growth, 1.0, abs(loss64))
                turn, turn_bound, whole_bound = 0.0, 1.0, norm([np.array(list(bounds.values()))])
            late = max(error, key=lambda n: error[n] / bounds[n])
            text = (f"{name}: loss {loss:.7g} (PyTorch {loss64:.7g}, off {abs(loss - loss64):.1e}, bound {loss_bound:.1e}), gradient off {total / whole:.1e} of its norm "
                    f"(bound {whole_bound / whole:.1e}), worst {late} at {error[late] / bounds[late]:.2f} of its bound")  # fmt: skip
            if precision in TYPE:
                text += f", 1 - cosine {turn:.1e} (bound {turn_bound:.1e})"
            good = abs(loss - loss64) <= loss_bound and total <= whole_bound and error[late] <= bounds[late] and turn <= turn_bound
            good = good and all(np.isfinite(g).all() for g in ours.values())
            if good and turn_bound >= 1 and precision in TYPE:
                report.note("SKIP", f"{text}: the direction is lost to {precision} itself")
                continue
            # An all-zero gradient must not pass however wide a bound became; in 16 bits its cosine, 0, fails.
            report.check(good and (precision in TYPE or total < whole), text)
report.close()
