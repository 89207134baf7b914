"""Loss and gradients of single functions against PyTorch, as both exporters write them: every activation, function of one or two elements and
reduction, between two linear layers; loss is the mean squared error of 6 samples. The reference is PyTorch in float64.

fp64: error of each gradient at most 1e-9 of its norm (constants come from the file in fp32, so functions with such a constant: 1e-6). fp32: 2e-5.
fp16 and bf16: 40 and 320 units of rounding (2^-11, 2^-8) of the norm; finite.
"""
import math

import numpy as np
import torch

from _common import Report, arguments, run

a = arguments(__doc__, only=("", "name contains this"), precisions=("fp64,fp32,fp16,bf16", "precisions"), exporters=("torchscript,dynamo", "exporters"))
F = torch.nn.functional
BOUND = {"fp64": 1e-6, "fp32": 2e-5, "fp16": 40 * 2.0**-11, "bf16": 40 * 2.0**-8}


def rows(f):
    """A reduction to one number a row, times the rows, so that the next layer's shape stays."""
    return lambda x: x * f(x)


FUNCTIONS = {
    "sin": torch.sin, "cos": torch.cos, "sin_far": lambda x: torch.sin(300 * x), "tan": lambda x: torch.tan(0.3 * x), "asin": lambda x: torch.asin(0.2 * x),
    "acos": lambda x: torch.acos(0.2 * x), "atan": torch.atan, "sinh": torch.sinh, "cosh": torch.cosh, "asinh": torch.asinh,
    "acosh": lambda x: torch.acosh(1.5 + x * x), "atanh": lambda x: torch.atanh(0.2 * x), "softsign": F.softsign, "selu": F.selu, "celu": lambda x: F.celu(x, 0.7),
    "threshold": lambda x: F.threshold(x, 0.3, 0.0), "softshrink": lambda x: F.softshrink(x, 0.3), "hardshrink": lambda x: F.hardshrink(x, 0.3),
    "mish": F.mish, "silu": F.silu, "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_new": lambda x: 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0)))),
    "gelu_fast": lambda x: 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x))),
    "gelu_python": lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))), "sign": lambda x: x * torch.sign(x), "floor": lambda x: x - torch.floor(x),
    "ceil": lambda x: torch.ceil(x) * x, "round": lambda x: torch.round(x) * x, "abs": torch.abs, "reciprocal": lambda x: torch.reciprocal(2 + x * x),
    "hardswish": F.hardswish, "hardsigmoid": F.hardsigmoid, "relu6": F.relu6, "softplus": F.softplus, "logsigmoid": F.logsigmoid, "tanhshrink": F.tanhshrink,
    "elu": F.elu, "leaky": lambda x: F.leaky_relu(x, 0.1), "glu": lambda x: F.glu(torch.cat([x, x.flip(-1)], -1), -1), "rsqrt": lambda x: torch.rsqrt(1 + x * x),
    "minimum": lambda x: torch.minimum(x, x.flip(-1) * 0.5), "maximum": lambda x: torch.maximum(x, 0.3 * x), "clamp_min": lambda x: torch.clamp(x, min=0.2),
    "pow2": lambda x: x**2, "pow3": lambda x: torch.pow(x, 3), "pow_half": lambda x: torch.pow(x * x + 0.5, 0.5), "pow_tensor": lambda x: torch.pow(x.abs() + 0.5, torch.arange(8.0).to(x) / 4),
    "fmod": lambda x: torch.fmod(x, 0.7) * x, "remainder": lambda x: torch.remainder(x, 0.7) * x, "cumulative": lambda x: x + x.mean(-1, keepdim=True),
    "amax": rows(lambda x: x.amax(-1, keepdim=True)), "amin": rows(lambda x: x.amin(-1, keepdim=True)), "max_dim": rows(lambda x: x.max(-1, keepdim=True).values),
    "prod": rows(lambda x: (1 + 0.2 * x).prod(-1, keepdim=True)), "norm1": rows(lambda x: x.norm(1, -1, keepdim=True)), "norm2": rows(lambda x: x.norm(2, -1, keepdim=True)),
    "normalize": lambda x: F.normalize(x, dim=-1), "logsumexp": rows(lambda x: x.logsumexp(-1, keepdim=True)), "square_sum": rows(lambda x: (x * x).sum(-1, keepdim=True)),
    "log_sum": rows(lambda x: (x * x + 0.1).sum(-1, keepdim=True).log()), "amax_3d": lambda x: (x.view(-1, 2, 4) * x.view(-1, 2, 4).amax(1, keepdim=True)).flatten(1),
    "prelu": None,
}  # fmt: skip


class Net(torch.nn.Module):
    def __init__(self, f):
        super().__init__()
        self.one, self.two, self.slope = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8), torch.nn.PReLU(8)
        self.f = f or self.slope
        if f is not None:
            del self.slope

    def forward(self, x):
        return self.two(self.f(self.one(x)))


report = Report()
for name, f in FUNCTIONS.items():
    if a.only not in name:
        continue
    torch.manual_seed(3)
    net = Net(f).eval()
    x, t = torch.randn(6, 8), torch.randn(6, 8)
    wide = Net(f).double().eval()
    wide.load_state_dict(net.state_dict())
    loss = F.mse_loss(wide(x.double()), t.double())
    loss.backward()
    want = {n: p.grad.numpy() for n, p in wide.named_parameters()}
    for exporter in a.exporters.split(","):
        folder = a.work / f"{name}-{exporter}"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "x.npy", x.numpy())
        np.save(folder / "t.npy", t.numpy())
        try:
            if exporter == "dynamo":
                torch.onnx.export(net, (x,), folder / "net.onnx", dynamo=True, opset_version=20, verbose=False)
            else:
                torch.onnx.export(net, (x,), folder / "net.onnx", dynamo=False, opset_version=17, input_names=["x"], dynamic_axes={"x": {0: "n"}})
        except Exception as e:
            report.skip(f"{name} {exporter}: not exported: {str(e).splitlines()[0][:100]}")
            continue
        for precision in a.precisions.split(","):
            out = folder / precision
            r = run(a.halftone, "gradients", folder / "net.onnx", "--input", folder / "x.npy", "--labels", folder / "t.npy", "--loss", "mse",
                    "--precision", precision, "--output-dir", out, "--multiply", "wide")  # fmt: skip
            title = f"{name} {exporter} {precision}"
            if r.code:
                report.note("FAIL", f"{title}: {r.explain()}")
                continue
            worst = 0.0
            whole = math.sqrt(sum((g**2).sum() for g in want.values()))
            for n, g in want.items():
                got = np.load(out / f"{n}.npy").astype(np.float64) if (out / f"{n}.npy").exists() else None
                if got is None or got.shape != g.shape:
                    got = got.T if got is not None and got.T.shape == g.shape else np.full(g.shape, np.nan)
                worst = max(worst, float(np.sqrt(((got - g) ** 2).sum())) / max(float(np.sqrt((g**2).sum())), 0.1 * whole))
            report.check(worst <= BOUND[precision] * (20 if name == "sin_far" and precision in ("fp16", "bf16") else 1), f"{title}: {worst:.2g}")
report.close()
