"""Does what people export train? Networks of torch.nn, torchvision, timm and transformers with random weights, by both of PyTorch's exporters, each with
static sizes and with a batch of any size.

For each file: ONNX Runtime computes what PyTorch computes (otherwise the exporter is at fault, and the file is skipped); loss and every gradient in fp64
against PyTorch in float64; in fp32, fp16 and bf16 finite, and as close as the type allows; one training step by the command line, and ONNX Runtime on the
written file. The loss is the mean squared error of the first output against random numbers.

    python3 tests/long/sweep.py --halftone build/halftone [--seconds 600] [--only PART_OF_NAME] [--exporters torchscript,dynamo] [--sizes static,dynamic]
    python3 tests/long/sweep.py --all --work build/sweep --page docs/coverage.md        # make sweep; hours

Without --all a sample is drawn for --seconds, in a fixed order that mixes the libraries. Results are kept in the work folder: a sweep that was stopped goes
on, several may share one folder at a time, and a network is tried again when the program or a library has changed (--again failed: only what did not pass;
the page then names both programs).
--page makes docs/coverage.md of all results kept. What that page lists as not training is no failure here, and what it does not list is one.

Bounds. fp64: the weights are those of the file, so that only the order of sums differs: 1e-7 of the norm of all gradients (of a parameter: or 1e-4 of its
own). Networks of more than --most million weights, and those that PyTorch itself cannot compute in float64, have no such comparison. What PyTorch's own
float32 differs from float64 by is the unit for fp32: 30 times that, and 1e-5. In 16 bits one step crosses kinks, and a small random network has gradients
that are differences of large numbers: the loss within 5 %, and the cosine of all gradients above 0.9 in bf16 and 0.98 in fp16, unless PyTorch, with weights
rounded to that type, in that type or with each result off by its unit of rounding, turns a quarter as far.
"""
import contextlib
import fcntl
import hashlib
import io
import json
import multiprocessing
import pathlib
import random
import shutil
import tempfile
import time
import warnings

import numpy as np

import _coverage_page as coverage_page
import _sweep_networks as sweep_networks
from _common import ROOT, Report, arguments, by_onnxruntime, leave_skipped, run

OPSETS = {"torchscript": 17, "dynamo": 20}


def first_float(output):
    """The last hidden state, or the first floating-point tensor of whatever a module returns, in the order in which the exporters flatten it."""
    import torch

    if isinstance(output, dict) and torch.is_tensor(output.get("last_hidden_state")):
        return output["last_hidden_state"]

    if torch.is_tensor(output):
        return output if output.is_floating_point() else None
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (list, tuple)) else []
    for value in values:
        found = first_float(value)
        if found is not None:
            return found
    return None


def export(module, inputs, exporter, sizes, path):
    import torch

    # Positional order and names that stay.
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, *values):
            found = self.inner(**dict(zip(inputs, values))) if keyword else self.inner(*values)
            return first_float(found)

    keyword = list(inputs) != ["x"]
    values = tuple(inputs.values())
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            axes = {k: {0: "N"} for k in [*inputs, "y"]} if sizes == "dynamic" else None
            torch.onnx.export(Named().eval(), values, path, dynamo=False, opset_version=OPSETS[exporter], input_names=list(inputs), output_names=["y"],
                              do_constant_folding=True, dynamic_axes=axes)  # fmt: skip
        else:
            shapes = (tuple({0: torch.export.Dim("N", min=1, max=64)} for _ in inputs),) if sizes == "dynamic" else None
            program = torch.onnx.export(Named().eval(), values, dynamo=True, opset_version=OPSETS[exporter], input_names=list(inputs), output_names=["y"],
                                        dynamic_shapes=shapes, verbose=False)  # fmt: skip
            program.save(path, external_data=False)


def reference(module, inputs, target, dtype):
    """Loss and the gradient of each parameter that has one."""
    import torch

    module = module.to(dtype)
    module.zero_grad(set_to_none=True)
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    y = first_float(module(**cast) if list(inputs) != ["x"] else module(cast["x"]))
    loss = torch.nn.functional.mse_loss(y, torch.from_numpy(target).to(dtype))
    loss.backward()
    return float(loss.detach()), {n: p.grad.detach().double().numpy().copy() for n, p in module.named_parameters() if p.grad is not None}


def compute_parametrizations(module, numbers):
    """Weights that are computed from others (weight norm) become parameters, as exporters fold them into tensors: with the file's own numbers, which may be
    rounded otherwise."""
    import torch
    from torch.nn.utils import parametrize

    for part in list(module.modules()):
        if not parametrize.is_parametrized(part):
            continue
        for name in list(part.parametrizations):
            parametrize.remove_parametrizations(part, name, leave_parametrized=True)
            weight = getattr(part, name)
            for t in numbers:
                if t.shape == tuple(weight.shape) and np.abs(t - weight.detach().numpy()).max() <= 1e-6 * np.abs(t).max():
                    with torch.no_grad():
                        weight.copy_(torch.from_numpy(t.copy()))


def key_of(values):
    """The same for two tensors of the same numbers in any order."""
    return values.size, hashlib.sha1(np.sort(values.ravel().astype(np.float32)).tobytes()).hexdigest()


def as_in(parameter, tensor, g):
    """The gradient g of a file's tensor in the order of the parameter that has the same numbers."""
    if tensor.shape == parameter.shape and (tensor == parameter).all():
        return g
    if tensor.ndim == 2 and tensor.T.size == parameter.size and (tensor.T.reshape(parameter.shape) == parameter).all():
        return g.T.reshape(parameter.shape)
    if (tensor.reshape(parameter.shape) == parameter).all():
        return g.reshape(parameter.shape)
    # The gates of recurrences have an order of their own in ONNX: i, o, f, c of LSTM, z, r, h of GRU.
    for gates in ((0, 2, 3, 1), (1, 0, 2)):
        if parameter.shape[0] % len(gates) == 0:
            t, of_gates = (v.reshape(len(gates), -1)[list(gates)].reshape(parameter.shape) for v in (tensor, g))
            if (t == parameter).all():
                return of_gates
    # In any other order. Two equal numbers may change their places then.
    values = np.zeros(g.size)
    values[np.argsort(parameter.ravel(), kind="stable")] = g.ravel()[np.argsort(tensor.ravel(), kind="stable")]
    return values.reshape(parameter.shape)


def check_by_differences(model, inputs, target, found):
    """Where the exporter folded most parameters into others (a convolution and its batch norm): the loss that ONNX Runtime computes along the gradient
    of the file's own tensors grows by its norm. An error e of the gradient shows as e^2, so 5 % here are an error of 0.2 of the norm."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(str(model))
    tensors = {t.name: (t, numpy_helper.to_array(t)) for t in proto.graph.initializer if t.name in found}
    if not tensors:
        raise Stage("no gradient of any tensor of the file")
    size = np.sqrt(sum(float((found[n] ** 2).sum()) for n in tensors))
    weights = np.sqrt(sum(float((w.astype(np.float64) ** 2).sum()) for _, w in tensors.values()))
    feed = {k: v.numpy() for k, v in inputs.items() if k in input_names(model)}

    def loss(step):
        for name, (tensor, w) in tensors.items():
            tensor.CopyFrom(numpy_helper.from_array((w + step / size * found[name]).astype(np.float32), name))
        y = next(iter(by_onnxruntime(proto.SerializeToString(), feed).values()))
        return float(((y.astype(np.float64) - target) ** 2).mean())

    slopes = [(loss(h) - loss(-h)) / (2 * h) for h in (f * weights for f in (1e-2, 1e-3, 1e-4))]
    best = min(abs(s / size - 1) for s in slopes)
    if not best <= 0.05:
        raise Stage(f"the loss grows by {slopes} along the gradient, whose norm is {size:.4g}")
    return f"{len(tensors)} tensors of the file compared with differences ({100 * best:.1g} %)"


class Stage(Exception):
    """What went wrong, and where."""


def check_export(model, inputs, y):
    """That the file is the network."""
    try:
        found = next(iter(by_onnxruntime(model, {k: v.numpy() for k, v in inputs.items() if k in input_names(model)}).values()))
    except Exception as e:
        raise Stage(f"SKIP ONNX Runtime does not run the exported file: {str(e)[-200:]}") from e
    y = y.numpy()
    # By the norm too: a trace may take another way with a part of the elements (longformer's windows: 5e-4), and so has other gradients.
    if found.shape != y.shape or not np.allclose(found, y, rtol=1e-2, atol=1e-3 * (np.abs(y).max() + 1e-3)) or np.linalg.norm(found - y) > 1e-4 * np.linalg.norm(y):
        raise Stage("SKIP ONNX Runtime computes something else than PyTorch of the exported file")


def input_names(model):
    import onnx

    graph = onnx.load(str(model), load_external_data=False).graph
    return {i.name for i in graph.input}


def gradients(a, folder, model, inputs, precision):
    out = folder / f"gradients-{precision}"
    out.mkdir(exist_ok=True)
    read = [k for k in inputs if k in input_names(model)]  # the first output may not depend on all
    feed = [x for k in read for x in ("--input", folder / f"{k}.npy" if len(read) == 1 else f"{k}={folder / (k + '.npy')}")]
    r = run(a.halftone, "gradients", model, *feed, "--labels", folder / "target.npy", "--loss", "mse", "--mode", "eval", "--precision", precision, "--output-dir",
            out, "--threads", 1, timeout=600)  # fmt: skip
    if r.code:
        raise Stage(f"gradients in {precision}: exit code {r.code}: " + reason_of(r.err))
    found = {f.stem.replace("%2F", "/").replace("%25", "%"): np.load(f).astype(np.float64) for f in out.glob("*.npy")}
    return float(found.pop("loss").ravel()[0]), found


def reason_of(text):
    """The refusal without what differs from file to file."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    picked = [line for line in lines if "opset" in line or "Halftone" in line or line.startswith("error")] or lines[-1:]
    return " | ".join(picked)[:600]


def one(a, name, exporter, sizes, folder):
    """Raises Stage for what fails; returns remarks."""
    import onnx
    import torch
    from onnx import numpy_helper

    torch.set_num_threads(1)
    if name in sweep_networks.INCOMPARABLE:
        raise Stage(f"SKIP {sweep_networks.INCOMPARABLE[name]}")
    try:
        module, inputs = sweep_networks.build(name)
        with torch.no_grad():
            y = first_float(module(**inputs) if list(inputs) != ["x"] else module(inputs["x"]))
        model = folder / "model.onnx"
        export(module, inputs, exporter, sizes, str(model))
    except Exception as e:
        while e.__cause__ is not None:
            e = e.__cause__
        first = (str(e).splitlines() or [""])[0][:120]
        raise Stage(f"SKIP PyTorch does not export it: {type(e).__name__}: {first}") from e
    if y is None or not bool(torch.isfinite(y).all()):
        raise Stage("SKIP PyTorch itself gives no finite output")
    check_export(model, inputs, y)
    target = (y + 0.5 * torch.randn(y.shape, generator=torch.Generator().manual_seed(3))).contiguous().numpy()
    for k, v in inputs.items():
        np.save(folder / f"{k}.npy", np.ascontiguousarray(v.numpy()))
    np.save(folder / "target.npy", target)
    held_numbers = [numpy_helper.to_array(t) for t in onnx.load(str(model)).graph.initializer]
    compute_parametrizations(module, held_numbers)
    parameters = {n: p.detach().numpy().astype(np.float32) for n, p in module.named_parameters()}
    loss32, g32 = reference(module, inputs, target, torch.float32)
    exact = True  # whether g64 is float64's
    try:
        with notices_narrowing() as narrowed:
            loss64, g64 = reference(module, inputs, target, torch.float64)
        if narrowed.found:  # a softmax in float32, as led and longformer have
            loss64 = float("nan")
    except RuntimeError:  # some cast to float32 on their way
        loss64 = float("nan")
    if not np.isfinite(loss64):  # or mask with a number of float32's
        module, _ = sweep_networks.build(name)
        compute_parametrizations(module, held_numbers)
        (loss64, g64), exact = reference(module, inputs, target, torch.float32), False
    oracle = exact and sum(v.size for v in parameters.values()) <= a.most * 1e6
    known = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(model)).graph.initializer}
    for node in onnx.load(str(model)).graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    owners = {key_of(v): n for n, v in parameters.items() if n in g64}

    def norm(values):
        return float(np.sqrt(sum(float((np.asarray(v) ** 2).sum()) for v in values)))

    # PyTorch gives these rows no gradient; files do not say so.
    padding = [(f"{n}.weight", m.padding_idx) for n, m in module.named_modules() if isinstance(m, torch.nn.Embedding) and m.padding_idx is not None]

    def affine_owner(values):
        """The parameter p, and a, where the exporter stored a p + b: 1 - p, 1 + p, a scaled p."""
        if values.size < 3 or values.dtype.kind != "f":
            return None, 0
        t = values.ravel().astype(np.float64)
        for n in by_size.get(values.size, ()):
            if [d for d in parameters[n].shape if d > 1] != [d for d in values.shape if d > 1]:
                continue
            p = parameters[n].ravel().astype(np.float64)
            p, t0 = p - p.mean(), t - t.mean()
            slope = float(p @ t0) / max(float(p @ p), 1e-300)
            if np.abs(t0 - slope * p).max() <= 1e-5 * np.abs(t0).max() and slope != 0:
                return n, slope
        return None, 0

    by_size = {}
    for n in g64:
        by_size.setdefault(parameters[n].size, []).append(n)

    def paired(found):
        """Gradients of ours by PyTorch's names, in PyTorch's order; several tensors of one parameter add up."""
        by = {}
        for tensor, g in found.items():
            if tensor not in known:
                continue
            values = known[tensor]
            owner = owners.get(key_of(values))
            if owner is None and values.ndim > 1 and values.size and (values == values.reshape(-1, values.shape[-1])[0]).all():
                # A bias that the exporter repeated, as the product of a first state of zeros is.
                values, g = values.reshape(-1, values.shape[-1])[0], g.reshape(-1, values.shape[-1]).sum(0)
                owner = owners.get(key_of(values))
            if owner is None:
                owner, slope = affine_owner(values)
                if owner is not None:
                    by[owner] = by.get(owner, 0) + slope * g.reshape(parameters[owner].shape)
                continue
            by[owner] = by.get(owner, 0) + as_in(parameters[owner], values.astype(np.float32), g)
        for table, row in padding:
            if table in by:
                by[table][row] = 0
        return by

    whole = norm(g64.values())
    own = max(norm([g32[n] - g64[n] for n in g64]), (1e-7 if exact else 1e-5) * whole)
    remarks = []
    first = "fp64" if oracle else "fp32"
    loss, found = gradients(a, folder, model, inputs, first)
    by = paired(found)
    # Parameters that the exporter folded into others have no tensor of theirs.
    held = {key_of(v) for v in known.values()}
    missing = [n for n in g64 if n not in by and key_of(parameters[n]) in held and norm([g64[n]]) > 1e-9 * whole]
    if missing:
        raise Stage(f"{first}: no gradient of {', '.join(missing[:4])} ({len(missing)} of {len(g64)})")
    remarks.append(f"{len(by)} of {len(g64)} parameters compared")
    if 2 * len(by) < len(g64):
        remarks.append(check_by_differences(model, inputs, target, found))
    if abs(loss - loss64) > (1e-6 if oracle else 1e-3) * max(1.0, abs(loss64)):
        raise Stage(f"{first}: the loss is {loss:.9g}, PyTorch has {loss64:.9g}")
    for n in by if oracle else ():
        error = norm([by[n] - g64[n]])
        if not error <= 1e-7 * whole and not error <= 1e-4 * norm([g64[n]]):
            raise Stage(f"fp64: the gradient of {n} is off by {error:.2g}, its norm is {norm([g64[n]]):.2g}, all have {whole:.2g}")
    if by and not oracle:
        error = norm([by[n] - g64[n] for n in by])
        if not error <= 30 * own + 1e-5 * whole:
            raise Stage(f"fp32: gradients are off by {error / whole:.2g} of their norm, PyTorch's by {own / whole:.2g}")
    # All tensors of the file, those that parameters were folded into too.
    right = {n: g for n, g in found.items() if n in known}
    size = norm(right.values())
    for precision in ("fp32", "fp16", "bf16"):
        if precision == first:
            continue
        loss, found = gradients(a, folder, model, inputs, precision)
        error = norm([found[n] - right[n] for n in right])
        if not np.isfinite(error) or not np.isfinite(loss):
            raise Stage(f"{precision}: not finite")
        if precision == "fp32":
            if error > 30 * own * max(1, size / whole) + 1e-5 * size:
                raise Stage(f"fp32: gradients are off by {error / size:.2g} of their norm, PyTorch's by {own / whole:.2g}")
            continue
        dot = sum(float((found[n] * right[n]).sum()) for n in right)
        cosine = dot / max(norm([found[n] for n in right]) * size, 1e-300)
        wanted = 0.98 if precision == "fp16" else 0.9
        if abs(loss - loss64) > 0.05 * max(abs(loss64), 1e-3) or cosine < wanted:
            dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
            yard_loss, yard_cosine = turned_by_rounding(name, inputs, target, dtype, g64)
            text = f"{precision}: loss {loss:.4g} (float64 {loss64:.4g}, PyTorch {yard_loss:.4g}), cosine {cosine:.3f} (PyTorch {yard_cosine:.3f})"
            if 1 - cosine > 4 * (1 - yard_cosine) + 1e-3 or abs(loss - loss64) > 4 * abs(yard_loss - loss64) + 0.05 * abs(loss64):
                raise Stage(text)
            remarks.append(text)
    step(a, folder, model, inputs, remarks)
    return "; ".join(remarks)


def disturbed(dtype, seed):
    """A context where each result that PyTorch stores is off by at most the type's unit of rounding, as storing it in that type may do."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    generator = torch.Generator().manual_seed(seed)
    unit = torch.finfo(dtype).eps / 2

    class Disturbed(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            if func._schema.is_mutable or any(r.alias_info is not None for r in func._schema.returns):
                return found
            if torch.is_tensor(found) and found.is_floating_point():
                found = found * (1 + unit * (2 * torch.rand(found.shape, generator=generator) - 1))
            return found

    return Disturbed()


def notices_narrowing():
    """A context that notices float64 tensors becoming float32 ones."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Noticing(TorchDispatchMode):
        found = False

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            given = func(*args, **(kwargs or {}))
            wide = any(torch.is_tensor(x) and x.dtype == torch.float64 for x in args)
            self.found = self.found or (torch.is_tensor(given) and given.dtype == torch.float32 and given.numel() > 1 and wide)
            return given

    return Noticing()


def turned_by_rounding(name, inputs, target, dtype, compared):
    """Loss and cosine of PyTorch's gradients with weights and inputs rounded to a type, computed in it, or with each result disturbed as much as storing it
    in that type may do, whichever turns further."""
    import torch

    worst = (float("nan"), 1.0)
    for whole, seed in ((False, None), (True, None), *((False, seed) for seed in range(8))):
        module, _ = sweep_networks.build(name)
        compute_parametrizations(module, ())
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(p.to(dtype).to(p.dtype))
        rounded = {k: v.to(dtype).float() if v.is_floating_point() else v for k, v in inputs.items()}
        try:
            with contextlib.nullcontext() if seed is None else disturbed(dtype, seed):
                loss, found = reference(module, rounded, target, dtype if whole else torch.float32)
        except RuntimeError:  # not every operator is there in 16 bits
            continue
        same = [n for n in compared if n in found]
        lengths = np.sqrt(sum((found[n] ** 2).sum() for n in same) * sum((compared[n] ** 2).sum() for n in same))
        cosine = float(sum((found[n] * compared[n]).sum() for n in same) / lengths) if same and lengths > 0 else 1.0
        if np.isfinite(cosine) and (cosine <= worst[1] or not np.isfinite(worst[0])):
            worst = (loss, cosine)
    return worst


def step(a, folder, model, inputs, remarks):
    """One training step of the command line; ONNX Runtime on what it wrote."""
    import onnxruntime

    rows = {k: np.load(folder / f"{k}.npy") for k in inputs if k in input_names(model)}
    target = np.load(folder / "target.npy")
    if any(v.shape[0] != target.shape[0] for v in rows.values()):
        remarks.append("no training step: the first dimension of the output is not the batch")
        return
    data = folder / "data.npz"
    np.savez(data, **({"x": rows["x"]} if list(rows) == ["x"] else rows), y=target)
    r = run(a.halftone, "train", model, "--data", data, "--val", data, "--loss", "mse", "--steps", 1, "--batch", 2, "--lr", "1e-4", "--precision", "fp32", "--batchnorm", "keep",
            "--check-precision", "off", "--out", folder / "run", "--overwrite", "--json", "--quiet", "--threads", 1, timeout=900)  # fmt: skip
    if r.code:
        raise Stage(f"train: exit code {r.code}: {reason_of(r.err)}")
    session = onnxruntime.InferenceSession(str(folder / "run" / "model.onnx"), providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    y = session.run(None, {k: v for k, v in rows.items() if k in wanted})[0]
    loss = float(((y.astype(np.float64) - target) ** 2).mean())
    ours = r.json["val_loss"]
    if abs(loss - ours) > 1e-3 * max(abs(loss), 1e-3):
        raise Stage(f"the written file has a loss of {loss:.6g} in ONNX Runtime, train said {ours:.6g}")


def attempt(a, name, exporter, sizes, folder):
    try:
        return {"verdict": "PASS", "text": one(a, name, exporter, sizes, folder)}
    except Stage as e:
        verdict, _, text = str(e).partition(" ") if str(e).startswith("SKIP ") else ("FAIL", "", str(e))
        return {"verdict": verdict, "text": text}
    except Exception as e:  # a fault of this script, or a program that did not come to its end
        return {"verdict": "FAIL", "text": f"the script: {type(e).__name__}: {str(e)[:300]}"}


def apart(a, *network):
    """attempt() in a process of its own: exporters keep memory and sometimes die. What is imported here need not be imported there."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(attempt(a, *network)))
    child.start()
    theirs.close()
    result = {"verdict": "FAIL", "text": f"longer than {a.limit} seconds"}
    if mine.poll(a.limit):
        try:
            result = mine.recv()
        except EOFError:
            result = {"verdict": "SKIP", "text": "PyTorch's exporter died"}
    child.kill()
    child.join()
    return result


def warm(networks):
    """What each child would import and set up again: seconds for each network."""
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch

    with tempfile.TemporaryDirectory() as folder:
        for exporter in sorted({n[1] for n in networks}):
            export(torch.nn.Linear(2, 2), {"x": torch.rand(2, 2)}, exporter, "static", folder + "/model.onnx")
    for library, first in (("torchvision", "resnet18"), ("timm", "test_resnet"), ("transformers", "bart")):
        if any(n[0].startswith(library + "/") for n in networks):
            with contextlib.suppress(ImportError):
                sweep_networks.build(f"{library}/{first}")


def in_fixed_order(networks):
    """Mixed, the libraries in turns, so that any first part is a sample of all."""
    by_library = {}
    for network in networks:
        by_library.setdefault(network[0].split("/")[0], []).append(network)
    for library, listed in sorted(by_library.items()):
        random.Random(library).shuffle(listed)
    longest = max(len(v) for v in by_library.values())
    places = [((i + 0.5) / len(v) * longest, n) for _, v in sorted(by_library.items()) for i, n in enumerate(v)]
    return [n for _, n in sorted(places, key=lambda p: p[0])]


def main():
    a = arguments(
        __doc__, only=("", "part of the networks' names"), exporters=("torchscript,dynamo", "which of them"), sizes=("static,dynamic", "of the files"),
        seconds=(600, "how long to draw a sample"), all=(False, "every network instead of a sample"), again=("changed", "changed: try again what another program or "
        "another version of a library gave; failed: of that only what did not pass"), page=("", "page to write"), known=(str(ROOT / "docs" / "coverage.md"),
        "page that lists what does not train"), keep=(False, "keep the exported files"), most=(5, "million weights that fp64 is tried with"),
        limit=(1800, "seconds for one file"),
    )  # fmt: skip
    if a.again not in ("changed", "failed"):
        raise SystemExit(f"--again {a.again}: expected changed or failed")
    for package in ("onnx", "onnxruntime", "torch", "onnxscript"):
        try:
            __import__(package)
        except ImportError:
            leave_skipped(f"{package} is not installed")
    import torch

    torch.set_num_threads(1)
    # By what a result was made: another program or another library may give another.
    made = {"program": hashlib.sha1(open(a.halftone, "rb").read()).hexdigest()[:12], "version": program_version(a)}
    results = a.work / "results"
    results.mkdir(exist_ok=True)
    known = coverage_page.listed_failures(pathlib.Path(a.known))
    networks = [(n, e, z) for n in sweep_networks.names() if a.only in n for e in a.exporters.split(",") for z in a.sizes.split(",")]
    networks = [n for n in networks if sweep_networks.installed(n[0])]
    if not networks:
        leave_skipped(f"no network of an installed library has '{a.only}' in its name")
    report = Report()
    due = [n for n in in_fixed_order(networks) if not is_done(kept(results, n), {**made, "library": sweep_networks.version(n[0])}, a.again)]
    if due:
        warm(due)
    started = time.monotonic()
    for name, exporter, sizes in due:
        if not a.all and time.monotonic() - started > a.seconds:
            break
        key = f"{name}:{exporter}:{sizes}"
        folder = a.work / plain(key)
        folder.mkdir(exist_ok=True)
        with open(folder / "claim", "w") as claim:  # of this process: another one may work in the same folder
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if is_done(kept(results, (name, exporter, sizes)), {**made, "library": sweep_networks.version(name)}, a.again):
                continue
            before = time.monotonic()
            result = apart(a, name, exporter, sizes, folder)
            result = {**result, **made, "library": sweep_networks.version(name), "seconds": round(time.monotonic() - before)}
            fresh = folder / "result"
            fresh.write_text(json.dumps({key: result}, indent=1))
            fresh.replace(results / f"{plain(key)}.json")  # a sweep may be stopped at any time
        if not a.keep:
            shutil.rmtree(folder, ignore_errors=True)
        if result["verdict"] == "FAIL" and key in known:
            report.note("SKIP", f"{key}: known: {result['text']}")
        else:
            report.note(result["verdict"], f"{key}: {result['text']}")
            if result["verdict"] == "PASS" and key in known:
                report.note("SKIP", f"{key}: {a.known} lists it as not training; make sweep writes it anew")
    if a.page:
        listed = {":".join((n, e, z)) for n in sweep_networks.names() for e in OPSETS for z in ("static", "dynamic")}
        stored = {k: v for f in results.glob("*.json") for k, v in json.loads(f.read_text()).items() if k in listed}
        coverage_page.write(stored, listed, pathlib.Path(a.page))
    report.close()


def plain(key):
    return key.replace("/", "-").replace(":", ".")


def kept(results, network):
    """What an earlier sweep found of a network, or None."""
    path = results / f"{plain(':'.join(network))}.json"
    return next(iter(json.loads(path.read_text()).values())) if path.exists() else None


def is_done(result, made, again):
    if result is None:
        return False
    return all(result[k] == v for k, v in made.items()) or (again == "failed" and result["verdict"] == "PASS")


def program_version(a):
    return run(a.halftone, "--version").out.strip().splitlines()[0]


if __name__ == "__main__":
    main()
