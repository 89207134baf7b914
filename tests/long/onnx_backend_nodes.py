"""The ONNX project's node tests, all sizes, through `halftone run`.

Tolerance in float32 and float64: ONNX's own, 1e-3 relative and 1e-7 absolute; in fp16 and bf16: the inputs are rounded to u = half an epsilon before
the operator sees them and the output once after, so |error| <= k u max(|expected|, max |input|, the tensor's largest output) with k = 8 for sums
of up to a few hundred terms, and only for operators whose derivative is bounded near the inputs used (no Pow, Exp, Log, Div, Sqrt).
"""
import collections

import numpy as np
import onnx

from _common import Report, arguments, run

a = arguments(__doc__, precisions=("fp32,fp64", "fp32, fp64, fp16, bf16"), only=("", "name contains this"))
import make_onnx_nodes  # noqa: E402  tests/fixtures, put on the path by _common

# What Halftone refuses on purpose, and the words of the reason that it must give: (part of the name, operator or "", words).
REFUSED = [
    ("_qk_matmul", "Attention", "the output qk_matmul_output is not supported"),
    ("volumetric", "GridSample", "only images [N, C, H, W] are supported"),
    ("affine_grid_3d", "AffineGrid", "for images [N, C, H, W] was expected"),
    ("rotary_embedding", "RotaryEmbedding", "that position_ids choose from must be a constant"),
    ("training_mode", "BatchNormalization", "output 'output_mean'"),  # running statistics are state, not an output
    # A network that only passes its input on
    ("", "Identity", " itself"),
    ("", "Dropout", " itself"),
    ("clip_default_inbounds", "", " itself"),
    ("transpose_all_permutations_0", "Transpose", " itself"),
    ("reduce_sum_empty_axes_input_noop", "ReduceSum", " itself"),
    ("sum_one_input", "Sum", " itself"),
    ("", "EyeLike", "does not depend on any input"),
    ("pow_types_int", "Pow", "different types"),
    # Tensors without elements
    ("tril_zero", "Trilu", "the size of axis 1 of input"),
    ("triu_zero", "Trilu", "the batch is 0"),
    ("reduce_max_empty_set_bool", "ReduceMax", "the size of axis 1 of input"),
    ("reduce_sum_empty_set", "ReduceSum", "the size of axis 1 of input"),
    ("one_input", "", " itself"),
    ("empty_set", "", "the size of axis 1 of input"),
    ("allowzero_reordered", "Reshape", "the batch is 0"),
    ("zero_size_splits", "Split", "the batch is 0"),
]


def refusal(case, r):
    """Whether this is a refusal on purpose, with its words, exit code 3 (bad input file) or 2 (wrong --input)."""
    return r.code in (2, 3) and any(part in case.name and op in ("", case.op) and words in r.err for part, op, words in REFUSED)


UNIT = {"fp16": 2.0**-11, "bf16": 2.0**-8}
# Steep, or with steps.
STEEP = {"Pow", "Exp", "Log", "Div", "Sqrt", "expanded", "Tan", "Acosh", "Atanh", "Asin", "Acos", "Reciprocal", "Sinh", "Cosh", "ReduceLogSum",
         "ReduceProd", "Mod", "Floor", "Ceil", "Round", "Sign", "Hardmax", "ThresholdedRelu", "Shrink"}  # fmt: skip
report = Report()
by_op = collections.defaultdict(collections.Counter)
for case in make_onnx_nodes.cases(say=lambda text: None):
    if a.only not in case.name:
        continue
    folder = a.work / f"{case.name}-{case.opset}"
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(case.model, folder / "model.onnx")
    feed = []
    for i, x in enumerate(case.inputs):
        np.save(folder / f"input_{i}.npy", np.asarray(x, order="C"))
        feed += ["--input", folder / f"input_{i}.npy"]
    for precision in a.precisions.split(","):
        if precision in UNIT and (case.op in STEEP or not all(np.asarray(v).dtype == np.float32 for v in [*case.inputs, *case.outputs])):
            continue
        out = folder / precision
        out.mkdir(exist_ok=True)
        name = f"{case.op} {case.name} opset {case.opset} {precision}"
        r = run(a.halftone, "run", folder / "model.onnx", *feed, "--output-dir", out, "--precision", precision)
        if r.code and refusal(case, r):
            report.skip(f"{name}: refused on purpose: {r.err.strip().splitlines()[-1].strip()[:120]}")
            by_op[case.op]["refused"] += 1
            continue
        if r.code:
            report.note("FAIL", f"{name}: {r.explain()}")
            by_op[case.op]["failed"] += 1
            continue
        wrong = []
        for i, y in enumerate(case.outputs):
            got = np.load(out / f"{i}.npy").astype(np.float64)
            if got.shape != np.shape(y):
                wrong.append(f"output {i} has shape {got.shape}, expected {np.shape(y)}")
                continue
            if got.size == 0:
                continue
            if precision in UNIT:
                largest = max([np.abs(v[np.isfinite(v)]).max(initial=0) for v in [*case.inputs, y]])
                bound = 8 * UNIT[precision] * np.maximum(np.abs(y), largest)
            else:
                bound = 1e-7 + 1e-3 * np.abs(y)
            error = np.abs(got - y)
            good = (error <= bound) | (got == y) | (np.isnan(got) & np.isnan(y))
            if not good.all():
                j = int(np.argmin(good.ravel()))
                wrong.append(f"output {i} element {j}: got {got.ravel()[j]:.7g}, expected {np.ravel(y)[j]:.7g} ({(~good).sum()} of {good.size} wrong)")
        by_op[case.op]["failed" if wrong else "passed"] += 1
        report.check(not wrong, f"{name}{': ' if wrong else ''}{'; '.join(wrong)}")
print("operator             passed failed refused")
for op, c in sorted(by_op.items()):
    print(f"{op:20s} {c['passed']:6d} {c['failed']:6d} {c['refused']:7d}")
report.close()
