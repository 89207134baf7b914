"""Does what people export train? Networks of torch.nn, torchvision, timm and transformers with random weights, through both of PyTorch's exporters.

For each file: loss and every gradient in fp64 against PyTorch in float64; in fp32, fp16 and bf16 finite, and as close as the type allows; one training
step by the command line, and ONNX Runtime on the written file. The loss is the mean squared error of the first output against random numbers.

    python3 tests/long/sweep.py --halftone build/halftone [--only PART_OF_NAME] [--exporters torchscript,dynamo] [--seconds N] [--write docs/coverage.md]

--sample K tries every K-th network. --seconds stops after that time. --write makes the page of what trains and what does not from all results so far
(--work keeps them, and the exported files; networks that have a result from the same program are not tried again).

Bounds. fp64: the weights are those of the file, so that only the order of sums differs: 1e-7 of the norm of all gradients (of a parameter: or 1e-4 of its
own). What PyTorch's own float32 differs from float64 by is the unit for fp32: 30 times that, and 1e-5. In 16 bits one step crosses kinks, and a small
random network has gradients that are differences of large numbers: the loss within 5 %, and the cosine of all gradients above 0.9 in bf16 and 0.98 in fp16,
unless PyTorch, with weights rounded to that type, turns as far.
"""
import contextlib
import hashlib
import io
import json
import multiprocessing
import pathlib
import shutil
import time
import warnings

import numpy as np

from _common import Report, arguments, leave_skipped, run

import sweep_networks

OPSETS = {"torchscript": 17, "dynamo": 20}


def first_float(output):
    """The first floating-point tensor of whatever a module returns, in the order in which the exporters flatten it."""
    import torch

    if torch.is_tensor(output):
        return output if output.is_floating_point() else None
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (list, tuple)) else []
    for value in values:
        found = first_float(value)
        if found is not None:
            return found
    return None


def export(module, inputs, exporter, path):
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
            torch.onnx.export(Named().eval(), values, path, dynamo=False, opset_version=OPSETS[exporter], input_names=list(inputs), output_names=["y"],
                              do_constant_folding=True, dynamic_axes={k: {0: "N"} for k in [*inputs, "y"]})  # fmt: skip
        else:
            program = torch.onnx.export(Named().eval(), values, dynamo=True, opset_version=OPSETS[exporter], input_names=list(inputs), output_names=["y"])
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
    # In any other order. Two equal numbers may change their places then.
    values = np.zeros(g.size)
    values[np.argsort(parameter.ravel(), kind="stable")] = g.ravel()[np.argsort(tensor.ravel(), kind="stable")]
    return values.reshape(parameter.shape)


class Stage(Exception):
    """What went wrong, and where."""


def gradients(a, folder, model, inputs, precision):
    out = folder / f"gradients-{precision}"
    out.mkdir(exist_ok=True)
    feed = [x for k in inputs for x in ("--input", folder / f"{k}.npy" if len(inputs) == 1 else f"{k}={folder / (k + '.npy')}")]
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


def one(a, name, exporter, folder):
    """Raises Stage for what fails; returns remarks."""
    import onnx
    import torch
    from onnx import numpy_helper

    torch.set_num_threads(1)
    try:
        module, inputs = sweep_networks.build(name)
        with torch.no_grad():
            y = first_float(module(**inputs) if list(inputs) != ["x"] else module(inputs["x"]))
        model = folder / "model.onnx"
        export(module, inputs, exporter, str(model))
    except Exception as e:
        first = (str(e).splitlines() or [""])[0][:120]
        raise Stage(f"SKIP PyTorch does not export it: {type(e).__name__}: {first}") from e
    if y is None or not bool(torch.isfinite(y).all()):
        raise Stage("SKIP PyTorch itself gives no finite output")
    target = (y + 0.5 * torch.randn(y.shape, generator=torch.Generator().manual_seed(3))).numpy()
    for k, v in inputs.items():
        np.save(folder / f"{k}.npy", v.numpy())
    np.save(folder / "target.npy", target)
    parameters = {n: p.detach().numpy().astype(np.float32) for n, p in module.named_parameters()}
    loss32, g32 = reference(module, inputs, target, torch.float32)
    loss64, g64 = reference(module, inputs, target, torch.float64)
    known = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(model)).graph.initializer}
    for node in onnx.load(str(model)).graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            known[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    owners = {key_of(v): n for n, v in parameters.items() if n in g64}

    def norm(values):
        return float(np.sqrt(sum(float((np.asarray(v) ** 2).sum()) for v in values)))

    def paired(found):
        """Gradients of ours by PyTorch's names, in PyTorch's order; several tensors of one parameter add up."""
        by = {}
        for tensor, g in found.items():
            if tensor not in known:
                continue
            owner = owners.get(key_of(known[tensor]))
            if owner is None:
                continue
            by[owner] = by.get(owner, 0) + as_in(parameters[owner], known[tensor].astype(np.float32), g)
        return by

    whole = norm(g64.values())
    own = max(norm([g32[n] - g64[n] for n in g64]), 1e-7 * whole)
    remarks = []
    loss, found = gradients(a, folder, model, inputs, "fp64")
    by = paired(found)
    # Parameters that the exporter folded into others have no tensor of theirs.
    held = {key_of(v) for v in known.values()}
    missing = [n for n in g64 if n not in by and key_of(parameters[n]) in held and norm([g64[n]]) > 1e-9 * whole]
    if missing:
        raise Stage(f"fp64: no gradient of {', '.join(missing[:4])} ({len(missing)} of {len(g64)})")
    remarks.append(f"{len(by)} of {len(g64)} parameters compared")
    if not by:
        raise Stage("fp64: no parameter could be compared")
    if abs(loss - loss64) > 1e-6 * max(1.0, abs(loss64)):
        raise Stage(f"fp64: the loss is {loss:.9g}, PyTorch has {loss64:.9g}")
    for n in by:
        error = norm([by[n] - g64[n]])
        if not error <= 1e-7 * whole and not error <= 1e-4 * norm([g64[n]]):
            raise Stage(f"fp64: the gradient of {n} is off by {error:.2g}, its norm is {norm([g64[n]]):.2g}, all have {whole:.2g}")
    compared = {n: g64[n] for n in by}
    for precision in ("fp32", "fp16", "bf16"):
        loss, found = gradients(a, folder, model, inputs, precision)
        by = paired(found)
        error = norm([by[n] - compared[n] for n in by])
        if not np.isfinite(error) or not np.isfinite(loss):
            raise Stage(f"{precision}: not finite")
        if precision == "fp32":
            if error > 30 * own + 1e-5 * whole:
                raise Stage(f"fp32: gradients are off by {error / whole:.2g} of their norm, PyTorch's by {own / whole:.2g}")
            continue
        dot = sum(float((by[n] * compared[n]).sum()) for n in by)
        cosine = dot / max(norm(by.values()) * norm(compared.values()), 1e-300)
        wanted = 0.98 if precision == "fp16" else 0.9
        if abs(loss - loss64) > 0.05 * max(abs(loss64), 1e-3) or cosine < wanted:
            dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
            rounded, _ = sweep_networks.build(name)
            with torch.no_grad():
                for p in rounded.parameters():
                    p.copy_(p.to(dtype).to(p.dtype))
            yard_loss, yard = reference(rounded, {k: v.to(dtype).float() if v.is_floating_point() else v for k, v in inputs.items()}, target, torch.float32)
            yard_dot = sum(float((yard[n] * compared[n]).sum()) for n in by)
            yard_cosine = yard_dot / max(norm([yard[n] for n in by]) * norm(compared.values()), 1e-300)
            text = f"{precision}: loss {loss:.4g} (float64 {loss64:.4g}, rounded weights {yard_loss:.4g}), cosine {cosine:.3f} (rounded weights {yard_cosine:.3f})"
            if 1 - cosine > 4 * (1 - yard_cosine) + 1e-3 or abs(loss - loss64) > 4 * abs(yard_loss - loss64) + 0.05 * abs(loss64):
                raise Stage(text)
            remarks.append(text)
    step(a, folder, model, inputs, remarks)
    return "; ".join(remarks)


def step(a, folder, model, inputs, remarks):
    """One training step of the command line; ONNX Runtime on what it wrote."""
    import onnxruntime

    rows = {k: np.load(folder / f"{k}.npy") for k in inputs}
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


def attempt(a, name, exporter, folder):
    try:
        return {"verdict": "PASS", "text": one(a, name, exporter, folder)}
    except Stage as e:
        verdict, _, text = str(e).partition(" ") if str(e).startswith("SKIP ") else ("FAIL", "", str(e))
        return {"verdict": verdict, "text": text}
    except Exception as e:  # a fault of this script, or a program that did not come to its end
        return {"verdict": "FAIL", "text": f"the script: {type(e).__name__}: {str(e)[:300]}"}


def apart(a, name, exporter, folder):
    """attempt() in a process of its own: exporters keep memory and sometimes die. What is imported here need not be imported there."""
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send(attempt(a, name, exporter, folder)))
    child.start()
    theirs.close()
    result = {"verdict": "FAIL", "text": "longer than half an hour"}
    if mine.poll(1800):
        try:
            result = mine.recv()
        except EOFError:
            result = {"verdict": "SKIP", "text": "PyTorch's exporter died"}
    child.kill()
    child.join()
    return result


def write_page(results, path):
    libraries = {}
    for (name, exporter), result in sorted(results.items()):
        libraries.setdefault(name.split("/")[0], []).append((name, exporter, result))
    lines = ["# Networks that train", "", "Made by `python3 tests/long/sweep.py --write docs/coverage.md`; its text says what is tried.", "",
             "| library | trained | of | not exported by PyTorch |", "|---|---|---|---|"]  # fmt: skip
    for library, entries in libraries.items():
        tried = [e for e in entries if e[2]["verdict"] != "SKIP"]
        lines.append(f"| {library} | {sum(e[2]['verdict'] == 'PASS' for e in tried)} | {len(tried)} | {len(entries) - len(tried)} |")
    for library, entries in libraries.items():
        failed = [e for e in entries if e[2]["verdict"] == "FAIL"]
        lines += ["", f"## {library}", ""]
        lines.append("Trained: " + ", ".join(f"{n.split('/', 1)[1]} ({x})" for n, x, r in entries if r["verdict"] == "PASS") + ".")
        if failed:
            lines += ["", "| network | exporter | why not |", "|---|---|---|"]
            lines += [f"| {n.split('/', 1)[1]} | {x} | {r['text'].replace('|', '/')[:300]} |" for n, x, r in failed]
    path.write_text("\n".join(lines) + "\n")


def main():
    a = arguments(
        __doc__, only=("", "part of the networks' names"), exporters=("torchscript,dynamo", "which of them"), sample=(1, "every how many-th network"),
        seconds=(0, "stop after so long; 0: at the end"), write=("", "page to write"), keep=(False, "keep the exported files"),
    )  # fmt: skip
    for package in ("onnx", "onnxruntime", "torch"):
        try:
            __import__(package)
        except ImportError:
            leave_skipped(f"{package} is not installed")
    import torch

    torch.set_num_threads(1)
    program = hashlib.sha1(open(a.halftone, "rb").read()).hexdigest()
    kept = a.work / "results.json"
    stored = json.loads(kept.read_text()) if kept.exists() else {}
    report, results, started = Report(), {}, time.monotonic()
    exporters = a.exporters.split(",")
    names = [n for n in sweep_networks.names() if a.only in n]
    for name in names[:: a.sample]:
        for exporter in exporters:
            key = f"{name}:{exporter}"
            if key in stored and stored[key]["program"] == program:
                results[name, exporter] = stored[key]
                continue
            if a.seconds and time.monotonic() - started > a.seconds:
                continue
            folder = a.work / key.replace("/", "-").replace(":", ".")
            folder.mkdir(exist_ok=True)
            result = apart(a, name, exporter, folder)
            stored[key] = results[name, exporter] = {**result, "program": program}
            kept.write_text(json.dumps(stored, indent=1))
            report.note(result["verdict"], f"{key}: {result['text']}")
            if not a.keep:
                shutil.rmtree(folder, ignore_errors=True)
    if a.write:
        write_page({tuple(k.rsplit(":", 1)): v for k, v in stored.items()}, pathlib.Path(a.write))
    report.close()


if __name__ == "__main__":
    main()
