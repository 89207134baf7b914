"""Random small networks whose nodes share tensors, trained for three steps in each precision: refused by name before the first step, or ONNX
Runtime gives the written model.onnx the validation loss that `halftone train` said, and what --freeze names is unchanged bit for bit.

Networks: convolutions, batch norms, pools, residuals, additions, products, Gemm and MatMul of four channels throughout, so that any vector can serve in
any place: bias, scale, shift, running mean, running variance (all are positive). Tensors are shared directly, through Identity, by two names at one place of
external data, or at places that overlap; some are Constant nodes, some are listed as inputs too.

The losses are compared within TOLERANCE times (1 + the loss): three epsilons of the 16-bit types, 80 of fp32. The file has in fp32 what 16 bits
had, so that only activations are rounded, and a loss is a mean over samples. A norm whose variance is small makes more of a rounding: where 16
bits differ by more, `halftone eval` on the file must give what was said in the run's precision, and ONNX Runtime's loss in fp32, both within
fp32's tolerance. The largest difference that was seen is printed.
"""
import collections
import concurrent.futures
import json
import re
import shutil
import subprocess

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from _common import Report, arguments

C, SIDE, SAMPLES = 4, 5, 24
TOLERANCE = {"fp32": 1e-5, "fp16": 3e-3, "bf16": 2.4e-2}

a = arguments(__doc__, networks=(2000, "networks"), first=(1, "the first one's seed"), workers=(2, "runs at a time"))  # fmt: skip
report = Report()
data_random = np.random.default_rng(5)
x = data_random.uniform(-1, 1, (SAMPLES, C, SIDE, SIDE)).astype(np.float32)
y = np.arange(SAMPLES, dtype=np.int64) % C
np.savez(a.work / "data.npz", x=x, y=y)


class Network:
    """One random network, written to `folder`."""

    def __init__(self, seed, folder):
        self.r = np.random.default_rng(seed)
        self.nodes, self.tensors, self.constants, self.made, self.count = [], {}, [], collections.defaultdict(list), 0
        v = self.convolution("x")
        earlier = v
        for _ in range(self.r.integers(1, 6)):
            kind = self.r.integers(0, 6)
            if kind == 0:
                v = self.convolution(v)
            elif kind in (1, 2):
                v = self.norm(v)
            elif kind == 3:
                v = self.node("Relu", [v])
            elif kind == 4:
                v = self.node(self.r.choice(["MaxPool", "AveragePool"]), [v], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            elif self.chance(0.5):
                v = self.node("Add", [v, earlier])
            else:
                v = self.node(self.r.choice(["Add", "Mul"]), [v, self.node("Reshape", [self.vector(), self.shape()])])
            if self.chance(0.3):
                earlier = v
        v = self.node("Flatten", [self.node("GlobalAveragePool", [v])])
        if self.chance(0.5):
            v = self.node("Relu", [self.linear(v)])
        if self.chance(0.3):
            v = self.norm(v)
        v = self.linear(v)
        ir = 3 if self.chance(0.15) and not self.constants else 8
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", C, SIDE, SIDE])]
        if ir == 3:
            inputs += [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(t.dtype), t.shape) for k, t in self.tensors.items()]
        initializers = [numpy_helper.from_array(t, k) for k, t in self.tensors.items()]
        graph = helper.make_graph(self.nodes, "g", inputs, [helper.make_tensor_value_info(v, TensorProto.FLOAT, ["N", C])], initializers)
        self.model = helper.make_model(graph, ir_version=ir, opset_imports=[helper.make_opsetid("", 17 if ir == 8 else 9)])
        self.external = ir == 8 and self.chance(0.3) and self.place_outside(folder)
        (folder / "net.onnx").write_bytes(self.model.SerializeToString())

    def chance(self, p):
        return self.r.random() < p

    def fresh(self, stem):
        self.count += 1
        return f"{stem}{self.count}"

    def node(self, op, inputs, **attributes):
        out = self.fresh("v")
        self.nodes.append(helper.make_node(op, inputs, [out], name=f"/{out}/{op}", **attributes))
        return out

    def shape(self):
        name = self.fresh("shape")
        self.tensors[name] = np.array([1, C, 1, 1], np.int64)
        return name

    def tensor(self, stem, shape, low, high):
        same = self.made[shape]
        if not same or self.chance(0.4):
            name = self.fresh(stem)
            value = self.r.uniform(low, high, shape).astype(np.float32)
            if self.chance(0.1):
                self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name)))
                self.constants.append(name)
            else:
                self.tensors[name] = value
            same.append(name)
        else:
            name = same[self.r.integers(0, len(same))]
        for _ in range(self.r.integers(0, 3)):
            if self.chance(0.5):
                name = self.node("Identity", [name])
        return name

    def vector(self):
        return self.tensor("onnx::vector_" if self.chance(0.5) else "vector_", (C,), 0.5, 1.5)

    def norm(self, v):
        return self.node("BatchNormalization", [v] + [self.vector() for _ in range(4)])

    def convolution(self, v):
        side = 3 if self.chance(0.5) else 1
        bound = float(np.sqrt(2 / (C * side * side)))
        inputs = [v, self.tensor("onnx::Conv_" if self.chance(0.7) else "weight_", (C, C, side, side), -bound, bound)]
        if self.chance(0.8):
            inputs.append(self.vector())
        return self.node("Conv", inputs, pads=[side // 2] * 4)

    def linear(self, v):
        w = self.tensor("matrix_", (C, C), -1, 1)
        if self.chance(0.3):
            w = self.node("Transpose", [w], perm=[1, 0])
        if self.chance(0.5):
            return self.node("Gemm", [v, w, self.vector()], transB=int(self.chance(0.5)))
        return self.node("Add", [self.node("MatMul", [v, w]), self.vector()])

    def place_outside(self, folder):
        # Vectors have a file of their own: what they overlap with must be positive too.
        data, places = {"v.bin": b"", "w.bin": b""}, {}
        for t in self.model.graph.initializer:
            if t.data_type != TensorProto.FLOAT or self.chance(0.2):
                continue
            size = len(t.raw_data)
            file = "v.bin" if size == 4 * C else "w.bin"
            if size not in places or self.chance(0.4):
                places[size] = len(data[file])
                data[file] += t.raw_data
            elif places[size] >= 4 and self.chance(0.3):
                places[size] -= 4  # overlaps with it, and with what lies before
            t.ClearField("raw_data")
            t.data_location = TensorProto.EXTERNAL
            for key, value in (("location", file if self.chance(0.5) else "./" + file), ("offset", places[size]), ("length", size)):
                t.external_data.add(key=key, value=str(value))
        for file, content in data.items():
            (folder / file).write_bytes(content)
        return any(data.values())


def tensors_of(folder, name):
    model = onnx.load(folder / name)
    out = {t.name: numpy_helper.to_array(t).tobytes() for t in model.graph.initializer}
    out.update({n.output[0]: numpy_helper.to_array(n.attribute[0].t).tobytes() for n in model.graph.node if n.op_type == "Constant"})
    return out


def ort_loss(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    logits = session.run(None, {"x": x})[0].astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(SAMPLES), y]))


def distance(one, other):
    return abs(one - other) / (1 + abs(one))


def is_rounding(path, precision, said, written):
    """Whether the file itself is what was measured, and only activations in 16 bits make the difference."""
    if precision == "fp32":
        return False
    for computed, expected in ((precision, said), ("fp32", written)):
        command = [a.halftone, "eval", path, "--data", a.work / "data.npz", "--precision", computed, "--batch", 8, "--check-precision", "off"]
        r = subprocess.run([str(c) for c in [*command, "--threads", 1, "--quiet", "--json"]], capture_output=True, text=True)
        if r.returncode != 0 or not distance(json.loads(r.stdout.strip().splitlines()[-1])["val_loss"], expected) <= TOLERANCE["fp32"]:
            return False
    return True


def reason(error):
    """A refusal without the names of its network."""
    line = error.strip().splitlines()[1] if ":\n" in error else error.strip()
    return re.sub(r"'[^']*'|/\S+|\d+", "_", line)[:140]


def one(seed):
    """Findings of one network: (kind, precision, text) each."""
    folder = a.work / str(seed)
    folder.mkdir(exist_ok=True)
    network = Network(seed, folder)
    before = tensors_of(folder, "net.onnx")
    norms = ["auto", "auto", "restore", "keep", "freeze"][seed % 5]
    names = sorted(k for k in before if not k.startswith("shape"))
    frozen = names[seed % len(names)] if seed % 3 == 0 else ""
    findings = []
    for precision in ("fp32", "bf16", "fp16"):
        out = folder / precision
        command = [a.halftone, "train", folder / "net.onnx", "--data", a.work / "data.npz", "--val", a.work / "data.npz", "--precision", precision, "--steps", 3]
        command += ["--batch", 8, "--lr", 0.05, "--batchnorm", norms, "--out", out, "--threads", 1, "--loader-threads", 1, "--quiet", "--json"]
        if frozen:
            command += ["--freeze", frozen]
        r = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        what = f"network {seed} in {precision}, --batchnorm {norms}" + (f", --freeze {frozen}" if frozen else "")
        if r.returncode != 0:
            if r.returncode in (2, 3) and not list(out.glob("**/*.safetensors")) and not (out / "model.onnx").exists():
                findings.append(("refused", precision, reason(r.stderr)))
            elif r.returncode == 4:
                findings.append(("numerical", precision, reason(r.stderr)))
            else:
                findings.append(("FAIL", precision, f"{what}: exit {r.returncode}: {r.stderr.strip()[-500:]}"))
            continue
        said = json.loads(r.stdout.strip().splitlines()[-1])["val_loss"]
        if said is None:
            findings.append(("FAIL", precision, f"{what}: exit 0 without a finite loss"))
            continue
        try:
            onnx.checker.check_model(str(out / "model.onnx"))
            written = ort_loss(out / "model.onnx")
        except Exception as e:
            findings.append(("FAIL", precision, f"{what}: the written file is refused: {e}"))
            continue
        difference = distance(said, written)
        if not difference <= TOLERANCE[precision] and not is_rounding(out / "model.onnx", precision, said, written):
            findings.append(("FAIL", precision, f"{what}: said {said}, ONNX Runtime gives the file {written}"))
        elif frozen and tensors_of(out, "model.onnx").get(frozen) != before[frozen]:
            findings.append(("FAIL", precision, f"{what}: the frozen tensor changed"))
        else:
            findings.append(("agreed with --freeze" if frozen else "agreed", precision, difference))
    if all(f[0] != "FAIL" for f in findings):
        shutil.rmtree(folder)
    return findings


counts, refusals, largest = collections.Counter(), collections.Counter(), collections.Counter()
with concurrent.futures.ThreadPoolExecutor(a.workers) as pool:
    for findings in pool.map(one, range(a.first, a.first + a.networks)):
        for kind, precision, text in findings:
            if kind == "FAIL":
                report.check(False, text)
                continue
            counts[kind] += 1
            if kind in ("refused", "numerical"):
                refusals[f"{kind}: {text}"] += 1
            else:
                largest[precision] = max(largest[precision], text)
for text, count in refusals.most_common():
    print(f"{count:6} {text}")
print("largest differences:", ", ".join(f"{k} {v:.2g}" for k, v in largest.items()))
agreed = counts["agreed"] + counts["agreed with --freeze"]
report.check(agreed > a.networks, f"{a.networks} networks in three precisions: {agreed} runs agreed ({counts['agreed with --freeze']} with --freeze), {counts['refused']} were refused, {counts['numerical']} stopped for numbers")
report.close()
