"""Gradients through operators of images, sequences and contractions against PyTorch in float64, one small network each, both exporters.

A network is a layer with parameters, the operator in question, and a second layer, so that a wrong gradient of the operator shows in the first layer's
parameters. The loss is the mean squared error to random targets. Bounds: fp32 within 1e-4 of the gradient's norm (sums of some thousand terms, and positions of Resize
and GridSample, which are fp32: 2^-24 times the image's size), fp16 within 2 % and bf16 within 15 %: 8 roundings of 2^-11 and 2^-8 on the way, one after the other.
"""
import io

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F

from _common import Report, arguments, run

a = arguments(__doc__, only=("", "name contains this"), precisions=("fp32,fp16,bf16", "precisions"), exporters=("torchscript,dynamo", "exporters"))
BOUND = {"fp32": 1e-4, "fp16": 0.02, "bf16": 0.15}


class Between(nn.Module):
    """first layer, operator, second layer"""

    def __init__(self, first, operator, second=None):
        super().__init__()
        self.first, self.operator, self.second = first, operator, second or nn.Identity()

    def forward(self, x):
        y = self.first(x)
        y = self.operator(y)
        y = y[0] if isinstance(y, tuple) else y
        return self.second(y).flatten(1)


class Call(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


class Gate(nn.Module):
    """A contraction of two parameters and the input."""

    def __init__(self, equation, *shapes):
        super().__init__()
        self.equation = equation
        self.factors = nn.ParameterList([nn.Parameter(torch.randn(s) / 2) for s in shapes])

    def forward(self, x):
        return torch.einsum(self.equation, x, *self.factors)


class Warp(nn.Module):
    """The image at places that a layer computes."""

    def __init__(self, **how):
        super().__init__()
        self.places, self.how = nn.Conv2d(3, 2, 1), how

    def forward(self, x):
        return F.grid_sample(x, 1.3 * torch.tanh(self.places(x)).permute(0, 2, 3, 1), **self.how)


def conv(c=3, o=3):
    return nn.Conv2d(c, o, 3, padding=1)


def image(operator, second=True, size=(9, 7), first=None):
    return Between(first or conv(), operator, conv() if second is True else second), torch.randn(2, 3, *size)


def resize(size=None, scale=None, **how):
    return image(Call(lambda x: F.interpolate(x, size=size, scale_factor=scale, **how)))


def sequence(cell):
    return Between(nn.Linear(5, 4), cell, nn.Linear(cell.hidden_size * (2 if cell.bidirectional else 1), 3)), torch.randn(2, 7, 5)


NETWORKS = {
    "resize nearest": lambda: resize(scale=2.0, mode="nearest"),
    "resize nearest down": lambda: resize(size=(5, 4), mode="nearest"),
    "resize bilinear": lambda: resize(size=(20, 15), mode="bilinear", align_corners=False),
    "resize bilinear corners": lambda: resize(size=(17, 13), mode="bilinear", align_corners=True),
    "resize bilinear down": lambda: resize(size=(4, 3), mode="bilinear", align_corners=False),
    "resize bicubic": lambda: resize(size=(13, 15), mode="bicubic", align_corners=False),
    "resize antialias": lambda: resize(size=(4, 3), mode="bilinear", align_corners=False, antialias=True),
    "resize linear 1-D": lambda: (Between(nn.Conv1d(3, 3, 3), Call(lambda x: F.interpolate(x, size=11, mode="linear")), nn.Conv1d(3, 2, 3)), torch.randn(2, 3, 9)),
    "resize trilinear": lambda: (Between(nn.Conv3d(2, 2, 3, padding=1), Call(lambda x: F.interpolate(x, scale_factor=2.0, mode="trilinear")), nn.Conv3d(2, 2, 3)), torch.randn(1, 2, 3, 4, 5)),
    "transposed convolution": lambda: image(nn.ConvTranspose2d(3, 3, 4, stride=2, padding=1)),
    "transposed convolution, odd": lambda: image(nn.ConvTranspose2d(3, 3, 3, stride=(3, 2), padding=(0, 1), output_padding=(2, 1), dilation=(1, 2))),
    "transposed convolution in groups": lambda: image(nn.ConvTranspose2d(3, 6, 3, stride=2, groups=3), nn.Conv2d(6, 2, 1)),
    "transposed convolution 1-D": lambda: (Between(nn.Conv1d(3, 4, 3), nn.ConvTranspose1d(4, 2, 5, stride=3, padding=2), nn.Conv1d(2, 2, 3)), torch.randn(2, 3, 9)),
    "transposed convolution 3-D": lambda: (Between(nn.Conv3d(2, 2, 1), nn.ConvTranspose3d(2, 4, 3, stride=2, padding=1, groups=2), nn.Conv3d(4, 2, 1)), torch.randn(1, 2, 3, 4, 3)),
    "convolution 3-D": lambda: (Between(nn.Conv3d(2, 4, 3, stride=(2, 1, 2), padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1, groups=2)), torch.randn(2, 2, 5, 6, 7)),
    "convolution 3-D, planes and depth": lambda: (Between(nn.Conv3d(2, 4, (1, 3, 3), padding=(0, 1, 1)), nn.Tanh(), nn.Conv3d(4, 3, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))), torch.randn(2, 2, 5, 6, 7)),
    "pooling 3-D": lambda: (Between(nn.Conv3d(2, 3, 1), nn.Sequential(nn.MaxPool3d(2, stride=(1, 2, 2)), nn.AvgPool3d(2, stride=1, padding=1)), nn.Conv3d(3, 2, 1)), torch.randn(2, 2, 5, 6, 7)),
    "pad reflect": lambda: image(nn.ReflectionPad2d((2, 1, 3, 0))),
    "pad replicate": lambda: image(nn.ReplicationPad2d((2, 1, 3, 0))),
    "pad circular": lambda: image(nn.CircularPad2d((2, 1, 3, 0))),
    "maximum over the image": lambda: image(nn.AdaptiveMaxPool2d(1), nn.Conv2d(3, 2, 1)),
    "pixel shuffle": lambda: image(nn.PixelShuffle(2), nn.Conv2d(3, 2, 1), first=conv(3, 12)),
    "pixel unshuffle": lambda: image(nn.PixelUnshuffle(2), nn.Conv2d(12, 2, 1), size=(8, 6)),
    "fold": lambda: (Between(nn.Linear(9, 9), nn.Fold((5, 4), 2, padding=1, stride=2), nn.Conv2d(2, 2, 1)), torch.randn(2, 8, 9)),
    "einsum": lambda: (Between(nn.Linear(5, 4), Gate("bti,hid,hdj->bhtj", (2, 4, 3), (2, 3, 6)), nn.Linear(6, 2)), torch.randn(2, 7, 5)),
    "lstm": lambda: sequence(nn.LSTM(4, 6, batch_first=True)),
    "lstm both ways, 2 layers": lambda: sequence(nn.LSTM(4, 5, num_layers=2, bidirectional=True, batch_first=True)),
    "gru": lambda: sequence(nn.GRU(4, 6, batch_first=True, bidirectional=True)),
    "rnn": lambda: sequence(nn.RNN(4, 6, batch_first=True, nonlinearity="relu")),
    "grid linear": lambda: image(Warp(align_corners=False)),
    "grid cubic border": lambda: image(Warp(mode="bicubic", padding_mode="border", align_corners=True)),
    "grid reflection": lambda: image(Warp(padding_mode="reflection", align_corners=False)),
}


def export(net, x, exporter):
    file = io.BytesIO()
    if exporter == "torchscript":
        torch.onnx.export(net, (x,), file, opset_version=20 if isinstance(net.operator, Warp) else 17, dynamo=False, do_constant_folding=True, input_names=["x"], output_names=["y"])
        return onnx.load_from_string(file.getvalue())
    program = torch.onnx.export(net, (x,), dynamo=True, opset_version=20, verbose=False, input_names=["x"], output_names=["y"])
    return program.model_proto


ORDER = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN_RELU": [0], "RNN_TANH": [0]}  # ONNX's gates in PyTorch's


def recurrent(net, read):
    """The tensors of a recurrent module as ONNX has them: {name: array}; read(parameter) is its value or gradient."""
    out = {}
    for prefix, m in net.named_modules():
        if not isinstance(m, nn.RNNBase):
            continue
        order = ORDER[m.mode]

        def gates(name):
            v = read(getattr(m, name))
            return np.concatenate([np.split(v, len(order))[k] for k in order])

        for layer in range(m.num_layers):
            ends = [f"_l{layer}", f"_l{layer}_reverse"][: 2 if m.bidirectional else 1]
            out[f"{prefix}.W{layer}"] = np.stack([gates("weight_ih" + e) for e in ends])
            out[f"{prefix}.R{layer}"] = np.stack([gates("weight_hh" + e) for e in ends])
            out[f"{prefix}.B{layer}"] = np.stack([np.concatenate([gates("bias_ih" + e), gates("bias_hh" + e)]) for e in ends])
    return out


def same(ours, theirs):
    """PyTorch's tensor behind an initializer, by value, since exporters rename, transpose and merge; and how to bring a gradient there."""
    for name, value in theirs.items():
        if ours.shape == value.shape and np.array_equal(ours, value):
            return name, lambda g: g
        if ours.ndim == 2 and ours.T.shape == value.shape and np.array_equal(ours.T, value):
            return name, lambda g: g.T
    return None, None


report = Report()
for name, make in NETWORKS.items():
    if a.only not in name:
        continue
    for exporter in a.exporters.split(","):
        if name == "rnn" and exporter == "dynamo":
            report.skip(f"{name}: this exporter unrolls it and computes the first step, of trained tensors, beforehand")
            continue
        torch.manual_seed(len(name))
        net, x = make()
        label = f"{name} ({exporter})"
        try:
            model = export(net.eval(), x, exporter)
        except Exception as e:
            report.skip(f"{label}: PyTorch does not export it: {str(e).strip().splitlines()[0][:100]}")
            continue
        folder = a.work / label.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(model, folder / "model.onnx")
        target = torch.randn_like(net(x))
        np.save(folder / "x.npy", x.numpy())
        np.save(folder / "target.npy", target.detach().numpy())
        read = lambda p: p.detach().numpy()  # noqa: E731
        named = {k: read(p).copy() for k, p in net.named_parameters()} | recurrent(net, read)
        double = net.double()
        F.mse_loss(double(x.double()), target.double()).backward()
        slope = lambda p: p.grad.numpy()  # noqa: E731
        wanted = {k: slope(p) for k, p in net.named_parameters()} | recurrent(net, slope)
        initial = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        pairs = {o: same(v, named) for o, v in initial.items()}
        for precision in a.precisions.split(","):
            out = folder / precision
            out.mkdir(exist_ok=True)
            r = run(a.halftone, "gradients", folder / "model.onnx", "--input", folder / "x.npy", "--labels", folder / "target.npy", "--loss", "mse", "--precision", precision, "--multiply", "wide", "--output-dir", out)
            if r.code:
                report.note("FAIL", f"{label} {precision}: {r.explain()}")
                continue
            difference = norm = 0.0
            compared = []
            for o, (p, back) in pairs.items():
                file = out / (o.replace("%", "%25").replace("/", "%2F") + ".npy")
                if p is None or not file.exists():
                    continue
                g = back(np.load(file).astype(np.float64))
                w = wanted[p]
                difference += float(((g - w) ** 2).sum())
                norm += float((w**2).sum())
                compared.append(p)
            parts = [p for p in named if not any(f"operator.{w}_" in p for w in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))]
            missing = [p for p in parts if p not in compared]
            error = (difference / max(norm, 1e-300)) ** 0.5
            report.check(not missing and error <= BOUND[precision], f"{label} {precision}: gradient of {len(compared)} tensors off by {error:.1e} of its norm (bound {BOUND[precision]:g})"
                         + (f", none of {missing}" if missing else ""))  # fmt: skip
report.close()
