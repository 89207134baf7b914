"""Networks of several inputs, outputs, sizes and losses, exported by PyTorch, trained from the command line, and held against PyTorch and ONNX Runtime.

Networks: two inputs; two outputs; int64 ids with a mask; open height and width; an open length, with data of two lengths; a segmentation network with
an ignored class and class weights; a loss that is a graph; a CSV whose columns
are ids left out, categories for an embedding, others as ones and zeros, standardised numbers, and two targets. Of each
1. `train` makes a few steps in fp32 and in 16 bits, and its weights after the first step in fp32 (SGD without momentum) are PyTorch's: old - lr * gradient;
2. `gradients` gives PyTorch's in fp32, and close ones in 16 bits;
3. ONNX Runtime computes of the written file what `run` computes of it, and the loss that train measured on its data.

Networks with lengths that vary, on a folder of .npz files with samples of a length each: ids with a mask; a class for each token, behind a GRU; two
sequences with lengths of their own. Of each
1. a step over batches of all lengths (--accumulate) gives PyTorch's weights, as above; so does an epoch of steps, one a length, in one of their orders;
2. `train` trains it in fp32 and in 16 bits, and ONNX Runtime computes of the written file, length by length, the loss that train measured.

Bounds. fp32, as in gradients_vs_torch.py: |ours - float64| <= K eps (|PyTorch float32 - float64| / eps + |gradient of the network|), K = 32, L2 norms,
a parameter at a time. 16 bits: PyTorch with weights and inputs rounded to the type, and the gradient of each stored tensor with it (its own bf16 or fp16
arithmetic), is one sample of what rounding does; the network's gradient must not be off by more than four times as much, plus eps of its norm.
Weights after a step: the bound of their gradient times lr, and eps of themselves for the rounding of the stored number.
Outputs: `run` computes in fp32, and may be off by K eps of the largest. The loss that a 16-bit run measured is of 16-bit arithmetic: 8 eps of it.
"""
import copy
import itertools
import warnings

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from _common import Report, arguments, by_onnxruntime, run

warnings.filterwarnings("ignore")
a = arguments(__doc__, only=("", "name contains this"))
EPS = {"fp32": 2.0**-23, "fp16": 2.0**-10, "bf16": 2.0**-7}
K = 32.0
N, BATCH, LR = 24, 8, 0.05
rng = np.random.default_rng(3)
report = Report()


def floats(*shape):
    return rng.normal(0, 1, shape).astype(np.float32)


def norm(values):
    return float(np.sqrt(sum(float((np.asarray(v, np.float64) ** 2).sum()) for v in values)))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.meta, self.head = nn.Conv2d(3, 6, 3, 2, 1), nn.Linear(4, 6), nn.Linear(12, 5)

    def forward(self, img, meta):
        return self.head(torch.cat([F.relu(self.conv(img)).mean((2, 3)), torch.tanh(self.meta(meta))], 1))


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.kind, self.place = nn.Linear(7, 16), nn.Linear(16, 4), nn.Linear(16, 2)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return self.kind(h), self.place(h)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.query, self.norm, self.head = nn.Embedding(19, 8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, ids, mask):
        x = self.embed(ids)
        scores = self.query(x) @ x.transpose(1, 2) / 8**0.5
        scores = scores.masked_fill(mask[:, None, :] == 0, -1e4)
        x = self.norm(x + torch.softmax(scores, -1) @ x)
        m = mask[:, :, None].to(x.dtype)
        return self.head((x * m).sum(1) / m.sum(1))


class OpenSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(F.relu(self.b(F.relu(self.a(x)))).mean((2, 3)))


class OpenLength(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 8, 3, 1, 1), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)).mean(2))


class Segments(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.mid, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.out(F.relu(self.up(F.relu(self.mid(F.relu(self.down(x)))))))


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 2)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class Columns(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.a, self.b = nn.Embedding(5, 4), nn.Linear(5, 8), nn.Linear(12, 2)

    def forward(self, town, x):
        return self.b(torch.cat([torch.tanh(self.a(x)), self.embed(town)], 1))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.gru, self.head = nn.Embedding(17, 6), nn.GRU(6, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, ids):
        return self.head(self.gru(self.embed(ids))[0])


class TwoSequences(nn.Module):
    def __init__(self):
        super().__init__()
        self.source, self.target, self.key, self.head = nn.Embedding(13, 8), nn.Embedding(11, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, source, target):
        s, t = self.source(source), self.target(target)
        return self.head(t + torch.softmax(t @ self.key(s).transpose(1, 2) / 8**0.5, -1) @ s)


class Huber(nn.Module):
    def forward(self, y, want, scale):
        d = (y - want).abs()
        return (torch.where(d < 1, 0.5 * d * d, d - 0.5) * scale).sum(1).mean()


def cross_entropy(field):
    return lambda out, data: F.cross_entropy(out[0], data[field])


def two_losses(out, data):
    return F.cross_entropy(out[0], data["kind"]) + 0.3 * F.mse_loss(out[1], data["where"])


def per_pixel(out, data):
    weight = torch.tensor([1, 2, 0.5, 1], dtype=out[0].dtype)
    return F.cross_entropy(out[0], data["classes"], weight=weight, ignore_index=255)


class Case:
    """inputs: the network's inputs and their fields; labels: the fields of each loss, in order, or NAME=field; table: the data as CSV, to train on."""

    def __init__(self, name, net, inputs, outputs, data, loss, options, labels, dynamic=None, dynamo=False, table=None):
        self.__dict__.update(locals())


def cases():
    yield Case("two-inputs", TwoInputs(), {"img": "img", "meta": "meta"}, ["y"],
               {"img": floats(N, 3, 12, 12), "meta": floats(N, 4), "label": rng.integers(0, 5, N)}, cross_entropy("label"), [], ["label"])  # fmt: skip
    yield Case("two-outputs", TwoOutputs(), {"x": "x"}, ["cls", "box"],
               {"x": floats(N, 7), "kind": rng.integers(0, 4, N), "where": floats(N, 2)}, two_losses,
               ["--loss", "cls=cross-entropy:kind", "--loss", "box=mse:where*0.3"], ["kind", "where"])  # fmt: skip
    mask = (np.arange(9) < rng.integers(3, 10, (N, 1))).astype(np.int64)
    for dynamo in (False, True):
        yield Case("ids-and-mask" + ("-dynamo" if dynamo else ""), Tokens(), {"input_ids": "ids", "attention_mask": "mask"}, ["y"],
                   {"ids": rng.integers(0, 19, (N, 9)), "mask": mask, "label": rng.integers(0, 3, N)}, cross_entropy("label"),
                   ["--input", "input_ids=ids", "--input", "attention_mask=mask", "--loss", "cross-entropy:label"], ["label"],
                   {"input_ids": {1: "T"}, "attention_mask": {1: "T"}}, dynamo)  # fmt: skip
    for dynamo in (False, True):
        yield Case("open-height-and-width" + ("-dynamo" if dynamo else ""), OpenSize(), {"x": "x"}, ["y"],
                   {"x": floats(N, 3, 14, 10), "y": rng.integers(0, 4, N)}, cross_entropy("y"), [], ["y"], {"x": {2: "h", 3: "w"}}, dynamo)  # fmt: skip
    lengths = OpenLength()
    for t in (6, 11):
        yield Case(f"open-length-{t}", lengths, {"x": "x"}, ["out"], {"x": floats(N, 4, t), "y": rng.integers(0, 3, N)}, cross_entropy("y"), [], ["y"],
                   {"x": {2: "T"}})  # fmt: skip
    classes = rng.integers(0, 4, (N, 8, 8))
    classes[:, :1] = 255
    yield Case("segmentation", Segments(), {"x": "x"}, ["y"], {"x": floats(N, 3, 8, 8), "classes": classes}, per_pixel,
               ["--loss", "cross-entropy:classes", "--ignore-index", "255", "--class-weights", "1,2,0.5,1"], ["classes"])  # fmt: skip
    yield Case("loss-graph", Regression(), {"x": "x"}, ["y"], {"x": floats(N, 6), "want": floats(N, 2), "scale": np.abs(floats(N, 1))},
               lambda out, data: Huber()(out[0], data["want"], data["scale"]), ["--loss-graph", "huber.onnx"], ["want=want", "scale=scale"])  # fmt: skip


def table_case():
    towns, colours = ["Berlin", "Oslo", "Paris", "Rome", "Zagreb"], ["blue", "green", "red"]
    town, colour = rng.permutation(np.arange(N) % 5), rng.permutation(np.arange(N) % 3)
    age, height = rng.integers(18, 90, N).astype(np.float64), np.round(rng.normal(1.7, 0.1, N), 3)
    targets = floats(N, 2)
    lines = ["id,day,age,town,colour,height,rent,price"]
    for i in range(N):
        lines.append(f"p{i},2024-01-{i + 1:02},{age[i]:.0f},{towns[town[i]]},{colours[colour[i]]},{float(height[i])!r},"
                     f"{targets[i, 0]:.9g},{targets[i, 1]:.9g}")
    standard = [(c - c.mean()) / c.std() for c in (age, height)]
    x = np.column_stack([standard[0], np.eye(3)[colour], standard[1]]).astype(np.float32)
    return Case("table", Columns(), {"town": "town", "x": "x"}, ["y"], {"town": town, "x": x, "target": targets}, lambda out, data: F.mse_loss(out[0], data["target"]),
                ["--exclude-columns", "id,day", "--codes", "town", "--one-hot", "colour", "--standardize", "age,height", "--label-column", "rent,price"],
                ["target"], table="\n".join(lines) + "\n")  # fmt: skip


def per_token(out, data):
    return F.cross_entropy(out[0].transpose(1, 2), data["tags"])


def lengths_cases():
    """Data by file; each has BATCH samples, or a multiple of it, of a length."""

    def tokens(n, t):
        return {"ids": rng.integers(0, 19, (n, t)), "mask": (np.arange(t) < rng.integers(1, t + 1, (n, 1))).astype(np.int64), "label": rng.integers(0, 3, n)}

    def tags(n, t):
        all_tags = rng.integers(0, 4, (n, t))
        all_tags[:, -1] = -100
        return {"ids": rng.integers(0, 17, (n, t)), "tags": all_tags}

    def pairs(n, s, t):
        return {"src": rng.integers(0, 13, (n, s)), "tgt": rng.integers(0, 11, (n, t)), "tags": rng.integers(0, 5, (n, t))}

    for dynamo in (False, True):
        yield Case("lengths-ids-and-mask" + ("-dynamo" if dynamo else ""), Tokens(), {"input_ids": "ids", "attention_mask": "mask"}, ["y"],
                   {"a": tokens(BATCH, 5), "b": tokens(BATCH, 9), "c": tokens(BATCH, 12)}, cross_entropy("label"),
                   ["--input", "input_ids=ids", "--input", "attention_mask=mask"], ["label"], {"input_ids": {1: "T"}, "attention_mask": {1: "T"}}, dynamo)  # fmt: skip
    yield Case("lengths-class-a-token", Tagger(), {"ids": "ids"}, ["y"], {"a": tags(BATCH, 4), "b": tags(BATCH, 7)}, per_token, [], ["tags"], {"ids": {1: "T"}})
    yield Case("lengths-two-sequences", TwoSequences(), {"src": "src", "tgt": "tgt"}, ["y"],
               {"a": pairs(BATCH, 6, 4), "b": pairs(BATCH, 3, 9), "c": pairs(BATCH, 6, 9)}, per_token, ["--loss", "cross-entropy:tags"], ["tags"],
               {"src": {1: "S"}, "tgt": {1: "T"}})  # fmt: skip


def weights_after(net, steps, case, dtype):
    """Parameters after SGD steps, each over the batches of some files: of the mean of all targets that count."""
    net = copy.deepcopy(net).to(dtype)
    for files in steps:
        counted = [int((case.data[f]["tags"] >= 0).sum()) if "tags" in case.labels else BATCH for f in files]
        loss = 0
        for file, count in zip(files, counted):
            data = {k: torch.tensor(v) for k, v in case.data[file].items()}
            loss = loss + case.loss([net(*[data[f] for f in case.inputs.values()])], data) * (count / sum(counted))
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= LR * p.grad
    return {n: p.detach().double().numpy() for n, p in net.named_parameters()}


def in_file(parameters):
    """Parameters as an exported file may have them: a GRU's gates in ONNX's order, each in one tensor with those of the other biases."""

    def gates(v):
        reset, update, new = np.split(np.asarray(v), 3)
        return np.concatenate([update, reset, new])

    out = {n: np.asarray(v) for n, v in parameters.items() if not n.startswith("gru.")}
    if "gru.weight_ih_l0" in parameters:
        out["gru.W"], out["gru.R"] = (gates(parameters[f"gru.weight_{k}_l0"])[None] for k in ("ih", "hh"))
        out["gru.B"] = np.concatenate([gates(parameters[f"gru.bias_{k}_l0"]) for k in ("ih", "hh")])[None]
    return out


def check_lengths(case):
    folder = a.work / case.name
    source = folder / "data"
    source.mkdir(parents=True, exist_ok=True)
    path = folder / "net.onnx"
    files = list(case.data)
    for file, arrays in case.data.items():
        np.savez(source / f"{file}.npz", **arrays)
    args = tuple(torch.tensor(case.data[files[0]][f]) for f in case.inputs.values())
    export(case.net.eval(), args, list(case.inputs), case.outputs, case.dynamic, path, case.dynamo)
    before = in_file({n: p.detach().numpy() for n, p in case.net.named_parameters()})
    where = {}
    for n, value in before.items():
        for tensor, data in stored(path).items():
            for transposed in (False, True):
                if np.array_equal(data.T if transposed else data, value):
                    where[n] = (tensor, transposed)
    missing = [n for n in before if n not in where]
    if not report.check(not missing, f"{case.name}: exported, every parameter found in the file{': not ' + ', '.join(missing) if missing else ''}"):
        return
    options = ["--val", "none", "--batch", BATCH, "--lr", LR, "--momentum", 0, "--precision", "fp32", "--overwrite", *case.options]

    def off(out, steps):
        """Of the weights of a run, how far they are from PyTorch's, against the bound; and how far PyTorch's moved."""
        want, want32 = (in_file(weights_after(case.net, steps, case, dtype)) for dtype in (torch.float64, torch.float32))
        written = stored(out / "model.onnx")
        moved = norm([want[n] - before[n] for n in want])
        worst, at = 0.0, ""
        for n, (tensor, transposed) in where.items():
            got = written[tensor].astype(np.float64)
            bound = K * EPS["fp32"] * moved + K * norm([want32[n] - want[n]]) + 2 * len(steps) * EPS["fp32"] * norm([want[n]])
            ratio = norm([(got.T if transposed else got) - want[n]]) / bound
            if ratio >= worst:
                worst, at = ratio, n
        return worst, at, moved

    r = run(a.halftone, "train", path, "--data", source, "--steps", 1, "--accumulate", len(files), "--out", folder / "one", *options)
    if report.check(r.code == 0, f"{case.name}: train, one step over all lengths{': ' + r.explain() if r.code else ''}"):
        worst, at, moved = off(folder / "one", [files])
        report.check(worst <= 1 and moved > 1e-3, f"{case.name}: the weights after a step over all lengths are PyTorch's: worst {at} at {worst:.2f} of its bound")
    r = run(a.halftone, "train", path, "--data", source, "--epochs", 1, "--out", folder / "epoch", *options)
    if report.check(r.code == 0, f"{case.name}: train, a step for each length{': ' + r.explain() if r.code else ''}"):
        orders = {order: off(folder / "epoch", [[f] for f in order]) for order in itertools.permutations(files)}
        best = min(orders, key=lambda o: orders[o][0])
        worst, at, moved = orders[best]
        report.check(worst <= 1 and sum(o[0] <= 1 for o in orders.values()) == 1,
                     f"{case.name}: the weights after a step for each length are PyTorch's in one order alone ({', '.join(best)}): worst {at} at {worst:.2f} of its bound")  # fmt: skip
    for precision in ("fp32", "bf16", "fp16"):
        out = folder / f"run-{precision}"
        r = run(a.halftone, "train", path, "--data", source, "--val", source, "--batch", BATCH // 2, "--epochs", 3, "--lr", LR, "--precision", precision,
                "--out", out, "--overwrite", "--json", *case.options)  # fmt: skip
        if not report.check(r.code == 0, f"{case.name}: train {precision}{': ' + r.explain() if r.code else ''}"):
            continue
        summary, total, count = r.json, 0.0, 0
        for arrays in case.data.values():
            ort = by_onnxruntime(out / "model.onnx", {n: arrays[f] for n, f in case.inputs.items()})
            counted = int((arrays["tags"] >= 0).sum()) if "tags" in case.labels else BATCH
            total += counted * float(case.loss([torch.tensor(ort["y"]).double()], {k: torch.tensor(v) for k, v in arrays.items()}))
            count += counted
        loss = total / count
        allowed = (K if precision == "fp32" else 8) * EPS[precision] * max(1, abs(loss))
        good = abs(loss - summary["val_loss"]) <= allowed and summary["skipped_steps"] == 0
        report.check(good, f"{case.name}: {precision} file: its loss is {loss:.6g} by ONNX Runtime, train said {summary['val_loss']:.6g} (bound {allowed:.1e})")


def export(net, args, names, outputs, dynamic, path, dynamo):
    dynamic = {n: {0: "batch", **(dynamic or {}).get(n, {})} for n in names}
    if not dynamo:
        torch.onnx.export(net, args, str(path), input_names=names, output_names=outputs, opset_version=17,
                          dynamic_axes={**dynamic, **{o: {0: "batch"} for o in outputs}}, dynamo=False)  # fmt: skip
        return
    dims = {}
    shapes = tuple({axis: dims.setdefault(d, torch.export.Dim(d, min=2, max=4096)) for axis, d in dynamic[n].items()} for n in names)
    torch.onnx.export(net, args, str(path), input_names=names, output_names=outputs, opset_version=18, dynamo=True, external_data=False, verbose=False,
                      dynamic_shapes=shapes, optimize=True)  # fmt: skip


def by_torch(case, data, dtype):
    """Loss, gradients by parameter and outputs of `data` in a type; 16 bits: weights, activations and gradients are stored in it."""
    net = copy.deepcopy(case.net).to(dtype)
    cast = {k: torch.tensor(v).to(dtype) if v.dtype == np.float32 else torch.tensor(v) for k, v in data.items()}
    out = net(*[cast[f] for f in case.inputs.values()])
    out = list(out) if isinstance(out, tuple) else [out]
    loss = case.loss([o.float() for o in out] if dtype in (torch.float16, torch.bfloat16) else out,
                     {k: v.float() if v.is_floating_point() and dtype in (torch.float16, torch.bfloat16) else v for k, v in cast.items()})  # fmt: skip
    loss.backward()
    gradients = {n: p.grad.double().numpy() for n, p in net.named_parameters()}
    return float(loss.detach()), gradients, [o.detach().double().numpy() for o in out]


def stored(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


def matched(case, names):
    """Each parameter's tensor in the file, and whether it is transposed there."""
    found = {}
    tensors = stored(names)
    for name, p in case.net.named_parameters():
        value = p.detach().numpy()
        for tensor, data in tensors.items():
            if data.shape == value.shape and np.array_equal(data, value):
                found[name] = (tensor, False)
            elif data.ndim == 2 and data.T.shape == value.shape and np.array_equal(data.T, value):
                found[name] = (tensor, True)
    return found


def gradient_args(case, folder, data):
    args = []
    for name, field in case.inputs.items():
        np.save(folder / f"{field}.npy", data[field])
        args += ["--input", f"{name}={folder / field}.npy"]
    for label in case.labels:
        name, _, field = label.rpartition("=")
        np.save(folder / f"{field}.npy", data[field])
        args += ["--labels", (f"{name}=" if name else "") + f"{folder / field}.npy"]
    losses = [o for i, o in enumerate(case.options) if o != "--input" and (i == 0 or case.options[i - 1] != "--input")]
    if case.table:
        return args
    return args + [o.split(":")[0] + ("*" + o.split("*")[1] if "*" in o else "") if ":" in o else o for o in losses]


def check(case):
    folder = a.work / case.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "net.onnx"
    names = list(case.inputs)
    sample = {k: v[:BATCH] for k, v in case.data.items()}
    export(case.net.eval(), tuple(torch.tensor(sample[f]) for f in case.inputs.values()), names, case.outputs, case.dynamic, path, case.dynamo)
    case.options = [str(folder / "huber.onnx") if o == "huber.onnx" else o for o in case.options]
    if "--loss-graph" in case.options:
        args = (torch.tensor(floats(BATCH, 2)), torch.tensor(sample["want"]), torch.tensor(sample["scale"]))
        torch.onnx.export(Huber(), args, str(folder / "huber.onnx"), input_names=["y", "want", "scale"], output_names=["loss"], opset_version=17,
                          dynamic_axes={n: {0: "batch"} for n in ("y", "want", "scale")}, dynamo=False)  # fmt: skip
    source = folder / ("data.csv" if case.table else "data.npz")
    if case.table:
        source.write_text(case.table)
    else:
        np.savez(source, **case.data)
    where = matched(case, path)
    parameters = dict(case.net.named_parameters())
    missing = [n for n in parameters if n not in where]
    if not report.check(not missing, f"{case.name}: exported, every parameter found in the file{': not ' + ', '.join(missing) if missing else ''}"):
        return

    # 2. gradients
    loss64, g64, _ = by_torch(case, sample, torch.float64)
    _, g32, _ = by_torch(case, sample, torch.float32)
    whole = norm(g64.values())
    bound32 = {n: K * EPS["fp32"] * (norm([g32[n] - g64[n]]) / EPS["fp32"] + whole) for n in g64}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        out = folder / f"gradients-{precision}"
        r = run(a.halftone, "gradients", path, *gradient_args(case, folder, sample), "--precision", precision, "--output-dir", out)
        if not report.check(r.code == 0, f"{case.name}: gradients {precision}{': ' + r.explain() if r.code else ''}"):
            continue
        ours = {}
        for n, (tensor, transposed) in where.items():
            file = out / (tensor.replace("%", "%25").replace("/", "%2F") + ".npy")
            g = np.load(file).astype(np.float64) if file.exists() else np.zeros(g64[n].shape) + np.nan
            ours[n] = g.T if transposed else g
        loss = float(np.load(out / "loss.npy").ravel()[0])
        finite = all(np.isfinite(g).all() for g in ours.values())
        off = {n: norm([ours[n] - g64[n]]) for n in g64}
        if precision == "fp32":
            worst = max(off, key=lambda n: off[n] / bound32[n])
            good = finite and off[worst] <= bound32[worst] and abs(loss - loss64) <= K * EPS["fp32"] * max(1, abs(loss64))
            report.check(good, f"{case.name}: fp32 loss {loss:.7g} (PyTorch {loss64:.7g}), gradients as PyTorch's: worst {worst} at "
                               f"{off[worst] / bound32[worst]:.2f} of its bound")  # fmt: skip
        else:
            _, g16, _ = by_torch(case, sample, dtype)
            yard = norm(g16[n] - g64[n] for n in g64)
            bound = 4 * yard + EPS[precision] * whole
            total = norm(off.values())
            good = finite and total <= bound and bound < whole and abs(loss - loss64) <= 8 * EPS[precision] * max(1, abs(loss64))
            report.check(good, f"{case.name}: {precision} loss {loss:.5g}, gradients off {total / whole:.1e} of their norm (bound {bound / whole:.1e}, PyTorch "
                               f"itself {yard / whole:.1e})")  # fmt: skip

    # 1. training: a step with all samples in one batch, then a few in each precision
    one = folder / "one"
    r = run(a.halftone, "train", path, "--data", source, "--val", "none", "--batch", N, "--steps", 1, "--epochs", 1, "--lr", LR, "--momentum", 0,
            "--precision", "fp32", "--out", one, "--overwrite", *case.options)  # fmt: skip
    if report.check(r.code == 0, f"{case.name}: train, one step{': ' + r.explain() if r.code else ''}"):
        _, all64, _ = by_torch(case, case.data, torch.float64)
        _, all32, _ = by_torch(case, case.data, torch.float32)
        whole = norm(all64.values())
        written, before, worst, at = stored(one / "model.onnx"), stored(path), 0.0, ""
        for n, (tensor, transposed) in where.items():
            want = before[tensor].astype(np.float64) - LR * (all64[n].T if transposed else all64[n])
            bound = LR * K * EPS["fp32"] * (norm([all32[n] - all64[n]]) / EPS["fp32"] + whole) + 2 * EPS["fp32"] * norm([want])
            ratio = norm([written[tensor] - want]) / bound
            if ratio >= worst:
                worst, at = ratio, n
        moved = norm(written[t] - before[t] for t, _ in where.values())
        report.check(worst <= 1 and moved > 0.5 * LR * whole, f"{case.name}: the weights after a step are PyTorch's: worst {at} at {worst:.2f} of its bound")
    for precision in ("fp32", "bf16", "fp16"):
        out = folder / f"run-{precision}"
        r = run(a.halftone, "train", path, "--data", source, "--val", source, "--batch", BATCH, "--epochs", 3, "--lr", LR, "--precision",
                precision, "--out", out, "--overwrite", "--json", *case.options)  # fmt: skip
        if not report.check(r.code == 0, f"{case.name}: train {precision}{': ' + r.explain() if r.code else ''}"):
            continue
        # 3. ONNX Runtime on the written file
        summary = r.json
        feed = {n: case.data[f] for n, f in case.inputs.items()}
        ort = by_onnxruntime(out / "model.onnx", feed)
        args = []
        for n, f in case.inputs.items():
            np.save(folder / f"all-{f}.npy", case.data[f])
            args += ["--input", f"{n}={folder}/all-{f}.npy"]
        made = run(a.halftone, "run", out / "model.onnx", *args, "--precision", "fp32", "--output-dir", out / "outputs")
        if not report.check(made.code == 0, f"{case.name}: run{': ' + made.explain() if made.code else ''}"):
            continue
        off = [np.abs(np.load(out / "outputs" / f"{i}.npy") - ort[o]).max() / max(1, np.abs(ort[o]).max()) for i, o in enumerate(case.outputs)]
        loss = float(case.loss([torch.tensor(ort[o]).double() for o in case.outputs],
                               {k: torch.tensor(v).double() if v.dtype == np.float32 else torch.tensor(v) for k, v in case.data.items()}))  # fmt: skip
        allowed = (K if precision == "fp32" else 8) * EPS[precision] * max(1, abs(loss))
        good = max(off) <= K * EPS["fp32"] and abs(loss - summary["val_loss"]) <= allowed
        report.check(good, f"{case.name}: {precision} file: ONNX Runtime and run differ by {max(off):.1e}; its loss {loss:.6g}, train said "
                           f"{summary['val_loss']:.6g} (bound {allowed:.1e})")  # fmt: skip
        report.check(all(np.isfinite(t).all() for t in stored(out / "model.onnx").values()) and summary["skipped_steps"] == 0, f"{case.name}: {precision} weights finite")


torch.manual_seed(11)
for case in [*cases(), table_case()]:
    if a.only in case.name:
        check(case)
for case in lengths_cases():
    if a.only in case.name:
        check_lengths(case)
report.close()
