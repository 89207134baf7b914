"""The ONNX project's backend tests (node, simple, pytorch-operator, pytorch-converted), and docs/operators.md from their results.

Every test whose operators `halftone info --operators` lists is run, in the test's own opset and at each older or newer version that its operator had
between opsets 7 and 24 (checked with ONNX Runtime, or with ONNX's own evaluator where that has no kernel). Tests of other types than float32, int64, int32,
uint8 and bool, and of newer opsets, are counted, not run.

Forward, in fp32 for each version, in the other precisions for the newest. In fp32 and fp64 ONNX's own tolerance, 1e-3 relative and 1e-7 absolute, against the values that come with the test. In fp16 and bf16 the inputs
are rounded first; what fp64 gives for the rounded ones is compared with: |error| <= k u max(|expected|, the largest finite input or output), u = 2^-11 or
2^-8, with k = 8: an operator stores its result once (k = 1), those that are composed of others a few intermediate values of that size. No such
bound holds for functions spelled as many nodes (`_expanded`): a difference of two of their intermediate values may be smaller than the rounding of
each, so those run in fp32 and fp64 alone.

Gradient, of the newest version, in fp64. L = the sum of all float outputs times fixed random numbers, x moved along a random direction d: dL/dx . d by `halftone gradients`
against Richardson's extrapolation of central differences with steps h and h/2, whose difference bounds the truncation (it is 3/4 of the first one's error),
plus 2^-52 times the terms' sizes over h for their rounding. Where the one-sided slopes do not approach each other as h is halved, L has a kink or a step
there and no derivative: counted as such.
"""
import collections
import concurrent.futures
import json
import pathlib
import shutil

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from _common import ROOT, Report, arguments, run

a = arguments(__doc__, precisions=("fp32,fp64,fp16,bf16", "fp64 is needed by fp16 and bf16"), only=("", "name contains one of these, with commas between them"), jobs=(2, "processes"),
              page=("", "where docs/operators.md is written; empty: it is not"), results=("", "JSON file of the counts"), no_gradients=(False, "forward only"))  # fmt: skip
import make_onnx_nodes as nodes  # noqa: E402  tests/fixtures, put on the path by _common

PLAIN = nodes.TYPES
LAST = nodes.LAST
KNOWN = run(a.halftone, "info", "--operators", "--json").json
CLAIMED = {op["name"]: op for op in KNOWN["operators"]}
REFUSED_BY_NAME = {op["name"]: op["reason"] for op in KNOWN["refused"]}

# What Halftone refuses on purpose, and the words of the reason that it must give: (part of the name, operator or "", words).
REFUSED = [
    ("volumetric", "GridSample", "only images [N, C, H, W] are supported"),
    ("training_mode", "BatchNormalization", "output 'output_mean'"),  # running statistics are state, not an output
    ("training_mode", "BatchNormalization", "are not tensors of the file"),
    ("", "Dropout", "is an output that Halftone does not compute"),  # its mask
    ("mask", "Dropout", "'z'"),
    ("", "MaxPool", "Indices"),
    ("optional", "", "is of type ?"),  # an input that is an optional value
    ("", "Scan", "from opset 9 to 24"),  # opset 8 has a batch axis of its own
    ("pow_types_int", "Pow", "different types"),
    ("", "Unique", "Unique along an axis"),
    ("", "Unique", "the size of Unique's output"),  # of what is computed from the samples
    ("_pad", "Pad", "a float tensor was expected, got int32"),
    ("wrap_pad", "Pad", "mode is"),  # which opsets before 19 do not have
    ("uint8", "MaxPool", "a float tensor was expected, got uint8"),
    ("", "DFT", "must be a constant"),
    # Tensors without elements.
    ("", "", "the size of axis"),
    ("", "", "the batch is 0"),
    ("", "", "Halftone's tensors have"),
]  # fmt: skip


def refusal(case, r):
    """The line of a refusal on purpose, with its words, exit code 3 (bad input file) or 2 (wrong --input); else nothing."""
    for part, op, words in REFUSED if r.code in (2, 3) else []:
        if part in case.name and op in ("", case.op):
            for line in r.err.splitlines():
                if words in line:
                    return line.strip()
    return None


UNIT = {"fp16": 2.0**-11, "bf16": 2.0**-8}
SMALLEST = {"fp16": 2.0**-24, "bf16": 2.0**-133}
LARGEST = {"fp16": 65504.0, "bf16": 3.3895e38}
NARROW = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}

Case = collections.namedtuple("Case", "group name op opset model inputs outputs newest")


def plain(values):
    return all(isinstance(v, np.ndarray) and v.dtype in PLAIN for v in values)


def subgraphs(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for g in [attribute.g] * attribute.HasField("g") + list(attribute.graphs):
                yield from subgraphs(g)


def file_tests():
    """The tests that lie in folders: (group, name, model, inputs, outputs)."""
    data = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
    for group in ("simple", "pytorch-operator", "pytorch-converted"):
        for folder in sorted((data / group).iterdir()):
            model = onnx.load(folder / "model.onnx")
            for s in sorted(folder.glob("test_data_set_*")):

                def read(kind, infos, s=s):
                    out = []
                    for i, info in enumerate(infos):
                        raw = (s / f"{kind}_{i}.pb").read_bytes()
                        out.append(numpy_helper.to_array(onnx.TensorProto.FromString(raw)) if info.type.HasField("tensor_type") else None)
                    return out

                own = {t.name for t in model.graph.initializer}
                given = [v for v in model.graph.input if v.name not in own]
                inputs = read("input", given)
                del model.graph.input[:]
                model.graph.input.extend(given)
                yield group, folder.name, model, inputs, read("output", model.graph.output)


def node_tests():
    for t in nodes.collect():
        for inputs, outputs in t.data_sets[:1]:
            arrays = [[np.asarray(v) if isinstance(v, np.generic) else v for v in values] for values in (inputs, outputs)]
            yield "node", t.name, t.model, *arrays


counts = collections.defaultdict(collections.Counter)  # operator: what became of its tests
reasons = collections.defaultdict(collections.Counter)  # operator: why tests were refused
gradients = collections.defaultdict(collections.Counter)  # operator: of its gradients
no_gradient = {}  # operator: the words


def operator_of(name, model):
    """Whose test it is: the first node's; of a function spelled as nodes, the function's."""
    if "_expanded" in name:
        return ORIGIN.get(name.split("_expanded")[0], "")
    named = name.removeprefix("test_").split("_")[0].lower()  # sequence_model1, PixelShuffle: of several nodes the one with the test's name, or the first
    ops = [n.op_type for n in model.graph.node]
    return next((op for op in ops if op.lower() == named), ops[0] if ops else "")


def variants(group, name, model, inputs, outputs, op):
    """The models of a test by opset, configuring inputs frozen. Nothing: it cannot be said at opset 24 or before."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < nodes.FIRST:  # as ONNX's own converter brings them up to date
        for to in (7, 13, 17):
            yield to, onnx.version_converter.convert_version(model, to), inputs, outputs
        return
    frozen = nodes.freeze(model, inputs)
    if frozen is None:
        return
    model, inputs = frozen
    if group != "node" or "_expanded" in name or op in ("If", "Loop", "Scan") or len(model.graph.node) > 1:
        if opset <= LAST:
            yield opset, model, inputs, outputs
        else:
            variant = nodes.at_opset(model, LAST)
            if variant is not None and confirmed(variant, inputs, outputs):
                yield LAST, variant, inputs, outputs
        return
    for to in nodes.versions(op):
        variant = nodes.at_opset(model, to)
        if variant is None:
            continue
        theirs = nodes.confirm(variant, inputs)
        if theirs is None and to == min(opset, LAST):
            theirs = outputs
        if theirs is None:
            continue
        if nodes.close(theirs, outputs):
            yield to, variant, inputs, outputs
        elif op in ("Softmax", "LogSoftmax", "Hardmax") and to < 13:  # flattened to two dimensions: another meaning
            yield to, variant, inputs, [np.asarray(t) for t in theirs]


def confirmed(model, inputs, outputs):
    theirs = nodes.confirm(model, inputs)
    return theirs is not None and nodes.close(theirs, outputs)


# Tests of these have the numbers of another generator; tests/ops/random_test.cpp has their distributions.
DRAWN = {"RandomUniform", "RandomUniformLike", "RandomNormal", "RandomNormalLike", "Bernoulli", "Multinomial"}


def cases():
    tests = [*node_tests(), *file_tests()]
    for _, name, model, _, _ in tests:
        ORIGIN[name] = model.graph.node[0].op_type
    for group, name, model, inputs, outputs in tests:
        if a.only and not any(part in name for part in a.only.split(",")):
            continue
        all_nodes = list(subgraphs(model.graph))
        op = operator_of(name, model)
        if any(n.domain not in ("", "ai.onnx") for n in all_nodes):
            counts[op]["other domain"] += 1
            continue
        missing = sorted({n.op_type for n in all_nodes} - set(CLAIMED))
        if missing:
            counts[op if op in missing or "_expanded" not in name else missing[0]]["not claimed"] += 1
            continue
        if any(n.op_type in DRAWN for n in all_nodes):
            counts[op]["drawn"] += 1
            continue
        frozen = nodes.freeze(model, inputs)
        if frozen is None or not plain([*frozen[1], *outputs]):
            counts[op]["other types"] += 1
            continue
        try:
            found = list(variants(group, name, model, inputs, outputs, op))
        except Exception as e:  # ONNX's converter
            report.skip(f"{name}: {str(e).strip()[:200]}")
            found = []
        if not found:
            counts[op]["newer opset"] += 1
        for opset, variant, x, y in found:
            yield Case(group, name, op, opset, variant, x, y, opset == found[-1][0])


def with_known_inputs(case):
    """The same with all inputs known when loading; each output plus a zero that is the only input."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    graph = model.graph
    for info, x in zip(list(graph.input), case.inputs):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(x).reshape(np.shape(x)), info.name))
    del graph.input[:]
    zeros = []
    old = [o.name for o in graph.output]
    del graph.output[:]
    for name, y in zip(old, case.outputs):
        kind = helper.np_dtype_to_tensor_dtype(np.asarray(y).dtype)
        zero = f"zero_{kind}"
        if zero not in [i.name for i in graph.input]:
            graph.input.append(helper.make_tensor_value_info(zero, kind, [1]))
            zeros.append(np.zeros(1, np.asarray(y).dtype))
        logic = np.asarray(y).dtype == np.bool_
        graph.node.append(helper.make_node("Or" if logic else "Add", [name, zero], [f"{name}/out"]))
        graph.output.append(helper.make_tensor_value_info(f"{name}/out", kind, None))
    return case._replace(model=model, inputs=zeros, outputs=[np.asarray(y).reshape(np.shape(y) or (1,)) for y in case.outputs])


def with_computed_inputs(case):
    """The same behind two Neg (or Not), for networks that would only pass their input on."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    graph = model.graph
    first = []
    for info, x in zip(graph.input, case.inputs):
        x = np.asarray(x)
        name = info.name
        if x.dtype == np.uint8:
            graph.initializer.append(numpy_helper.from_array(np.array(0, x.dtype), f"{name}/neutral"))
            first.append(helper.make_node("Add", [f"{name}/given", f"{name}/neutral"], [name]))
        else:
            op = "Not" if x.dtype == np.bool_ else "Neg"
            first += [helper.make_node(op, [f"{name}/given"], [f"{name}/turned"]), helper.make_node(op, [f"{name}/turned"], [name])]
        info.name = f"{info.name}/given"
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*first, *others])
    return case._replace(model=model)


def save(folder, case, inputs):
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(case.model, folder / "model.onnx")
    feed = []
    for i, x in enumerate(inputs):
        np.save(folder / f"input_{i}.npy", np.asarray(x, order="C"))
        feed += ["--input", folder / f"input_{i}.npy"]
    return feed


def forward(folder, case, precision, inputs=None, name=None):
    out = folder / (name or precision)
    out.mkdir(parents=True, exist_ok=True)
    feed = save(folder, case, case.inputs if inputs is None else inputs)
    r = run(a.halftone, "run", folder / "model.onnx", *feed, "--output-dir", out, "--precision", precision, "--threads", "1")
    if r.code:
        return r, None
    return r, [np.load(out / f"{i}.npy") for i in range(len(case.outputs))]


def wrong_in(got, expected, bound):
    """Nothing, or what differs by more than bound(i, y)."""
    wrong = []
    for i, (g, y) in enumerate(zip(got, expected)):
        g, y = g.astype(np.float64), np.asarray(y).astype(np.float64)
        if g.shape != y.shape:
            wrong.append(f"output {i} has shape {g.shape}, expected {y.shape}")
            continue
        if g.size == 0:
            continue
        with np.errstate(invalid="ignore"):
            good = (np.abs(g - y) <= bound(y)) | (g == y) | (np.isnan(g) & np.isnan(y))
        if not good.all():
            j = int(np.argmin(good.ravel()))
            wrong.append(f"output {i} element {j}: got {g.ravel()[j]:.7g}, expected {y.ravel()[j]:.7g} ({(~good).sum()} of {good.size} wrong)")
    return "; ".join(wrong)


def check_forward(case, folder):
    """[(verdict, text)], and the form of the case that runs, None where none does."""
    name = f"{case.op} {case.name} opset {case.opset}"
    how = ""
    r, got = forward(folder, case, "fp32") if case.inputs else (None, None)
    if r is not None and r.code in (2, 3) and (" itself" in r.err):
        case = with_computed_inputs(case)
        r, got = forward(folder, case, "fp32")
    loading = r is None or (r.code in (2, 3) and any(w in r.err for w in ("depends on the samples", "depend on the samples", "can be computed when loading", "when loading", "does not depend on any input", "is a scalar; its first dimension", "trained tensors")))  # fmt: skip
    if loading:
        known = with_known_inputs(case)
        again = forward(folder, known, "fp32")
        if again[0].code == 0 or r is None:
            case, (r, got), how = known, again, " (when loading)"
    if r.code and (line := refusal(case, r)):
        return [("SKIP", f"{name}: refused on purpose: {line[:160]}", "refused", line)], None
    if r.code:
        return [("FAIL", f"{name}: {r.explain()}", "failed", "")], None
    wrong = wrong_in(got, case.outputs, lambda y: 1e-7 + 1e-3 * np.abs(y))
    notes = [("FAIL" if wrong else "PASS", f"{name} fp32{how}{': ' if wrong else ''}{wrong}", "failed" if wrong else "passed", "")]
    if how or not case.newest:
        return notes, None
    precisions = a.precisions.split(",")
    if "fp64" in precisions:
        r, got = forward(folder, case, "fp64")
        wrong = r.explain() if r.code else wrong_in(got, case.outputs, lambda y: 1e-7 + 1e-3 * np.abs(y))
        notes.append(("FAIL" if wrong else "PASS", f"{name} fp64{': ' if wrong else ''}{wrong}", "fp64 failed" if wrong else "fp64", ""))
    floats = [np.asarray(x).dtype == np.float32 for x in case.inputs]
    if "_expanded" in case.name or not any(floats):
        return notes, case
    for precision in set(UNIT) & set(precisions):
        with np.errstate(over="ignore"):
            rounded = [np.asarray(x).astype(NARROW[precision]).astype(np.float32) if f else x for x, f in zip(case.inputs, floats)]
        r, expected = forward(folder, case, "fp64", rounded, f"fp64-{precision}")
        if r.code:
            notes.append(("FAIL", f"{name} {precision}: {r.explain()}", f"{precision} failed", ""))
            continue
        largest = max([np.abs(v[np.isfinite(v)]).max(initial=0) for v in [*[x for x, f in zip(rounded, floats) if f], *[e for e in expected if e.dtype.kind == "f"]]])
        r, got = forward(folder, case, precision, rounded)
        if r.code == 4 and largest > LARGEST[precision] / 8:
            notes.append(("SKIP", f"{name} {precision}: beyond the type's range, and said so", "beyond", ""))
            continue
        bound = lambda y: 8 * UNIT[precision] * np.maximum(np.abs(y), largest) + 8 * SMALLEST[precision]  # noqa: E731
        wrong = r.explain() if r.code else wrong_in(got, expected, bound)
        notes.append(("FAIL" if wrong else "PASS", f"{name} {precision}{': ' if wrong else ''}{wrong}", f"{precision} failed" if wrong else precision, ""))
    return notes, case


# ---------------------------------------------------------------- gradients
def loss_graph(path, case, weights):
    """The sum of the float outputs times fixed numbers, plus a field `zero` that is 0."""
    made = [helper.make_node("Identity", ["zero"], ["loss_0"])]
    tensors, inputs, last = [], [helper.make_tensor_value_info("zero", onnx.TensorProto.FLOAT, ["batch"])], "loss_0"
    for k, (info, w) in enumerate(zip(case.model.graph.output, weights)):
        if w is None:
            continue
        tensors += [numpy_helper.from_array(w.astype(np.float32).reshape(-1), f"w{k}"), numpy_helper.from_array(np.array([-1]), f"s{k}")]
        inputs.append(helper.make_tensor_value_info(info.name, onnx.TensorProto.FLOAT, list(w.shape)))
        made += [helper.make_node("Reshape", [info.name, f"s{k}"], [f"flat_{k}"]), helper.make_node("Mul", [f"flat_{k}", f"w{k}"], [f"m{k}"]),
                 helper.make_node("ReduceSum", [f"m{k}"], [f"sum_{k}"], keepdims=1), helper.make_node("Add", [last, f"sum_{k}"], [f"loss_{k + 1}"])]  # fmt: skip
        last = f"loss_{k + 1}"
    graph = helper.make_graph(made, "loss", inputs, [helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None)], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def trained_form(case, floats):
    """Float inputs as weights of products with a sample of 1; the others as they are known."""
    model = onnx.ModelProto.FromString(case.model.SerializeToString())
    graph = model.graph
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    first = []
    infos = list(graph.input)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("one/sample", onnx.TensorProto.FLOAT, [1, 1]))
    for i, (info, x) in enumerate(zip(infos, case.inputs)):
        x = np.asarray(x)
        if not floats[i]:
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(x).reshape(x.shape), info.name))
            continue
        graph.initializer.append(numpy_helper.from_array(x.reshape(1, -1), f"layer{i}.weight"))
        graph.initializer.append(numpy_helper.from_array(np.array(x.shape, np.int64), f"shape{i}"))
        first += [helper.make_node("MatMul", ["one/sample", f"layer{i}.weight"], [f"flat{i}/x"]), helper.make_node("Reshape", [f"flat{i}/x", f"shape{i}"], [info.name])]
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*first, *others])
    for info in graph.output:
        info.type.tensor_type.ClearField("shape")
    assert opset >= 7
    return model


def check_gradient(case, folder):
    """(verdict, text, what, words)"""
    name = f"{case.op} {case.name} opset {case.opset} gradient"
    floats = [np.asarray(x).dtype == np.float32 and x.size > 0 for x in case.inputs]
    targets = [np.asarray(y).dtype == np.float32 and np.asarray(y).size > 0 for y in case.outputs]
    if not any(floats) or not any(targets):
        return None
    rng = np.random.default_rng(7)
    weights = [rng.uniform(0.5, 1.5, np.shape(y)) * rng.choice([-1, 1], np.shape(y)) if t else None for y, t in zip(case.outputs, targets)]
    weights = [None if w is None else w.astype(np.float32).astype(np.float64) for w in weights]
    folder = folder / "gradient"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(trained_form(case, floats), folder / "network.onnx")
    loss_graph(folder / "loss.onnx", case, weights)
    np.save(folder / "one.npy", np.ones((1, 1), np.float32))
    np.save(folder / "zero.npy", np.zeros(1, np.float32))
    r = run(a.halftone, "gradients", folder / "network.onnx", "--loss-graph", folder / "loss.onnx", "--input", folder / "one.npy", "--labels",
            f"zero={folder / 'zero.npy'}", "--precision", "fp64", "--mode", "eval", "--output-dir", folder / "out", "--threads", "1")  # fmt: skip
    if r.code in (2, 3, 4):
        line = next((ln.strip() for ln in r.err.splitlines() if "cannot be trained through" in ln or "has no gradient" in ln), r.err.strip().splitlines()[-1].strip())
        if r.code == 4:
            return "SKIP", f"{name}: not finite: {line[:160]}", "not finite", line
        stated = any(w in line for w in ("cannot be trained through", "no gradient", "nothing to train", "no parameter", "does not depend"))
        return "SKIP" if stated else "FAIL", f"{name}: {line[:240]}", "none" if stated else "failed", line
    if r.code:
        return "FAIL", f"{name}: {r.explain()}", "failed", ""
    d = [rng.standard_normal(np.shape(x)) if f else None for x, f in zip(case.inputs, floats)]
    slope = 0.0
    size = 0.0
    for i, f in enumerate(floats):
        path = folder / "out" / f"layer{i}.weight.npy"
        if f and not path.exists():
            d[i] = None  # a place where the program trains nothing: bounds, tables
        if d[i] is None:
            continue
        g = np.load(path).astype(np.float64).reshape(np.shape(d[i]))
        slope += float((g * d[i]).sum())
        size += float(np.abs(g * d[i]).sum())
    at = {}
    scale = max([1.0, *[float(np.abs(x[np.isfinite(x)]).max(initial=0)) for x, f in zip(case.inputs, floats) if f]])
    h0 = 2.0**-12
    terms = 0.0
    for h in (0.0, h0, -h0, h0 / 2, -h0 / 2):
        moved = [x if d[i] is None else np.asarray(x, np.float64) + h * d[i] for i, x in enumerate(case.inputs)]
        r, y = forward(folder, case, "fp64", moved, "moved")
        if r.code:
            return "SKIP", f"{name}: not compared: {r.err.strip().splitlines()[-1][:120]}", "not finite", ""
        at[h] = sum(float((np.asarray(v, np.float64) * w).sum()) for v, w in zip(y, weights) if w is not None)
        terms = max(terms, sum(float(np.abs(v * w).sum()) for v, w in zip(y, weights) if w is not None))
    if not all(np.isfinite(v) for v in at.values()):
        return "SKIP", f"{name}: not finite at the test's inputs", "not finite", ""
    central = {h: (at[h] - at[-h]) / (2 * h) for h in (h0, h0 / 2)}
    bend = {h: abs((at[h] - 2 * at[0.0] + at[-h]) / h) for h in (h0, h0 / 2)}  # the difference of the one-sided slopes: halved with h where L is smooth
    rounding = 2.0**-52 * (terms * 64 + 1e-300) / (h0 / 2) * scale
    best = (4 * central[h0 / 2] - central[h0]) / 3
    bound = abs(central[h0 / 2] - central[h0]) + rounding + 2.0**-40 * size
    if bend[h0 / 2] > 0.75 * bend[h0] + 4 * rounding:
        return "SKIP", f"{name}: a kink or a step at the test's inputs", "kink", ""
    good = abs(best - slope) <= bound
    text = f"{name}: {slope:.12g}, differences {best:.12g} +- {bound:.2g}"
    return "PASS" if good else "FAIL", text, "compared" if good else "failed", ""


def check(case):
    folder = a.work / f"{case.group}-{case.name}-{case.opset}"
    notes, runs = check_forward(case, folder)
    if runs is not None and not a.no_gradients and "_expanded" not in case.name:
        g = check_gradient(runs, folder)
        if g is not None:
            notes.append((g[0], g[1], "gradient " + g[2], g[3]))
    shutil.rmtree(folder, ignore_errors=True)
    return case, notes


# ---------------------------------------------------------------- the page
def words_of(line):
    """A refusal without the names of its file and node."""
    line = line.split("opset", 1)[-1].split(": ", 1)[-1] if ": " in line else line
    return line.strip().rstrip(".").replace("|", "/")[:140]


def gradient_words(op):
    g = gradients[op]
    if CLAIMED[op]["kind"] == "when loading":
        return "constants"
    if g["compared"]:
        return f"yes, {g['compared']} compared"
    if g["none"]:
        return "no: " + no_gradient[op]
    if g["kink"]:
        return "only at kinks or steps"
    return "no test with floats"


def page():
    lines = [
        "# Operators of ONNX",
        "",
        "Made by `make conformance` from what `halftone info --operators` lists and the ONNX project's backend tests "
        f"(package onnx {onnx.__version__}; node, simple, pytorch-operator, pytorch-converted). A test counts once for each version that its "
        "operator had between opsets 7 and 24.",
        "",
        "- **passed**: in fp32 against the test's values, within ONNX's tolerance; in brackets the runs in fp16 and bf16 that passed, "
        "within bounds derived from rounding (`tests/long/conformance.py` says how).",
        "- **refused**: with a reason, below the table. **not run**: other types than float32, int64, int32, uint8 and bool, a newer opset, or numbers drawn by another generator.",
        "- **gradient**: in double precision against finite differences, along a random direction. Integers and booleans have none.",
        "- *when loading*: computed from inputs that are known then. *arranges others*: gone when a network has been read.",
        "",
        "| operator | opsets | | passed | refused | not run | gradient |",
        "|---|---|---|---|---|---|---|",
    ]
    for op in sorted(CLAIMED):
        c = counts[op]
        kind = CLAIMED[op]["kind"].replace("computed", "")
        narrow = f" ({c['fp16'] + c['bf16']})" if c["fp16"] + c["bf16"] else ""
        lines.append(f"| {op} | {CLAIMED[op]['since']} to {CLAIMED[op]['until']} | {kind} | {c['passed'] or '-'}{narrow} | {c['refused'] or '-'} | "
                     f"{c['other types'] + c['newer opset'] + c['drawn'] or '-'} | {gradient_words(op)} |")  # fmt: skip
    lines += ["", "## Tests that are refused", ""]
    for op in sorted(reasons):
        for words, n in sorted(reasons[op].items()):
            lines.append(f"- {op}, {n}: {words}")
    lines += ["", "## Not claimed", "", "Refused by name, with these reasons:", ""]
    by_reason = collections.defaultdict(list)
    for name, reason in REFUSED_BY_NAME.items():
        by_reason[reason].append(name)
    for reason, names in by_reason.items():
        lines.append(f"- {', '.join(sorted(names))}: {reason}.")
    schemas = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == "" and s.since_version <= LAST and not s.deprecated}
    rest = sorted(schemas - set(CLAIMED) - set(REFUSED_BY_NAME))
    lines += ["", "Of ONNX's operators up to opset 24 also not read: " + (", ".join(rest) or "none") + ".", ""]
    return "\n".join(lines)


ORIGIN = {}
report = Report()
with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
    for case, notes in pool.map(check, list(cases())):
        for verdict, text, what, words in notes:
            report.note(verdict, text)
            if what.startswith("gradient "):
                gradients[case.op][what.removeprefix("gradient ")] += 1
                if what == "gradient none":
                    no_gradient.setdefault(case.op, words_of(words))
            else:
                counts[case.op][what] += 1
                if what == "refused":
                    reasons[case.op][words_of(words)] += 1
    print("operator                       passed failed refused not-run gradients")
    for op in sorted(counts):
        c, g = counts[op], gradients[op]
        print(f"{op:30s} {c['passed']:6d} {c['failed']:6d} {c['refused']:7d} {c['other types'] + c['newer opset'] + c['not claimed']:7d} {dict(g)}")
    print("all", dict(sum(counts.values(), collections.Counter())), dict(sum(gradients.values(), collections.Counter())))
if a.results:
    pathlib.Path(a.results).write_text(json.dumps({"counts": counts, "gradients": gradients, "reasons": reasons}, indent=1))
# A page from a part of the tests would say too little.
if a.page and not a.only and not a.no_gradients and set(a.precisions.split(",")) == {"fp64", "fp32", *UNIT}:
    (ROOT / a.page).write_text(page())
report.close()
