"""ONNX Runtime's own operators (domain com.microsoft) give the same numbers there as in `halftone run`, in fp32.

    python3 tests/long/fused_vs_onnxruntime.py --halftone build/halftone [--only NAME]

Bound: 1e-5 of the largest number; both sum in fp32, in different orders, over at most some tens of terms.
"""
import numpy as np
import onnx
from onnx import helper, numpy_helper

from _common import Report, arguments, by_onnxruntime, run

rng = np.random.default_rng(3)


def f(*shape):
    return rng.normal(0, 1, shape).astype(np.float32)


def w(values, dtype=np.int32):
    return np.array(values, dtype)


B, S, N, D, I = 2, 5, 3, 4, 6  # samples, length, heads, head size, features
H = N * D
mask = w([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])

# operator, attributes, inputs (live: float arrays fed; known: initializers), number of outputs
CASES = [
    ("Gelu", {}, [f(B, S)], [], 1),
    ("QuickGelu", {}, [f(B, S)], [], 1),
    ("QuickGelu", {"alpha": 1.3}, [f(B, S)], [], 1),
    ("BiasGelu", {}, [f(B, S, I)], [f(I)], 1),
    ("FastGelu", {}, [f(B, S, I)], [f(I)], 1),
    ("FastGelu", {}, [f(B, S, I)], [], 1),
    ("FusedMatMul", {"transA": 1, "alpha": 0.5}, [f(B, 4, 3), f(B, 4, 5)], [], 1),
    ("FusedMatMul", {"transB": 1}, [f(B, S, I)], [f(7, I)], 1),
    ("FusedConv", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "activation": "Relu"}, [f(B, 2, 6, 6)], [f(3, 2, 3, 3), f(3)], 1),
    ("FusedConv", {"kernel_shape": [3, 3], "strides": [2, 2], "activation": "HardSigmoid", "activation_params": [0.2, 0.5]}, [f(B, 2, 6, 6)], [f(3, 2, 3, 3), f(3)], 1),
    ("FusedConv", {"kernel_shape": [1, 1], "activation": "LeakyRelu", "activation_params": [0.1]}, [f(B, 2, 6, 6)], [f(3, 2, 1, 1)], 1),
    ("FusedConv", {"kernel_shape": [1, 1], "activation": "Clip", "activation_params": [-0.3, 0.4]}, [f(B, 2, 6, 6)], [f(3, 2, 1, 1), f(3)], 1),
    ("EmbedLayerNormalization", {"epsilon": 1e-5}, [w([[1, 2, 0, 3, 1], [0, 0, 3, 2, 1]]), w([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])], [f(4, I), f(S + 2, I), f(2, I), f(I), f(I), mask], 3),
    ("EmbedLayerNormalization", {"epsilon": 1e-12}, [w([[1, 2, 0, 3, 1], [0, 0, 3, 2, 1]]), None], [f(4, I), f(S + 2, I), None, f(I), f(I)], 2),
    ("Attention", {"num_heads": N}, [f(B, S, I)], [f(I, 3 * H), f(3 * H)], 1),
    ("Attention", {"num_heads": N, "unidirectional": 1}, [f(B, S, I)], [f(I, 3 * H), f(3 * H)], 2),
    ("Attention", {"num_heads": N, "scale": 0.3}, [f(B, S, I)], [f(I, 3 * H), f(3 * H), mask], 1),
    ("Attention", {"num_heads": N}, [f(B, S, I)], [f(I, 3 * H), f(3 * H), w([5, 3])], 1),
    ("Attention", {"num_heads": N, "unidirectional": 1}, [f(B, S, I)], [f(I, 3 * H), f(3 * H), None, f(2, B, N, 3, D)], 2),
    ("Attention", {"num_heads": N, "qkv_hidden_sizes": [H, H, 2 * H]}, [f(B, S, I)], [f(I, 4 * H), f(4 * H), mask, None, f(B, N, S, S)], 1),
    ("MultiHeadAttention", {"num_heads": N}, [f(B, S, H), f(B, 7, H), f(B, 7, H)], [], 1),
    ("MultiHeadAttention", {"num_heads": N, "scale": 0.2}, [f(B, S, H), f(B, S, H), f(B, S, H)], [f(3 * H), mask, f(1, N, S, S)], 1),
    ("MultiHeadAttention", {"num_heads": N}, [f(B, S, H), f(B, N, 7, D), f(B, N, 7, D)], [], 1),
    ("MultiHeadAttention", {"num_heads": N, "unidirectional": 1}, [f(B, S, H), f(B, S, H), f(B, S, H)], [], 1),
    ("MultiHeadAttention", {"num_heads": N}, [f(B, S, H), f(B, S, H), f(B, S, H)], [None, None, None, f(B, N, 3, D), f(B, N, 3, D)], 3),
    ("RotaryEmbedding", {}, [f(B, S, H)], [w([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]], np.int64), f(9, D // 2), f(9, D // 2)], 1),
    ("RotaryEmbedding", {"interleaved": 1}, [f(B, S, H)], [w([3], np.int64), f(9, D // 2), f(9, D // 2)], 1),
    ("RotaryEmbedding", {"interleaved": 1}, [f(B, N, S, D)], [w([1], np.int64), f(9, D // 2), f(9, D // 2)], 1),
    ("RotaryEmbedding", {"num_heads": N, "rotary_embedding_dim": 2}, [f(B, S, H)], [w([1], np.int64), f(9, 1), f(9, 1)], 1),
    ("SkipLayerNormalization", {"epsilon": 1e-5}, [f(B, S, I), f(B, S, I)], [f(I), f(I), f(I)], 1),
]  # fmt: skip


def main():
    a = arguments(__doc__, only=("", "part of an operator's name"))
    report = Report()
    for number, (op, attributes, live, known, outputs) in enumerate(CASES):
        if a.only not in op:
            continue
        title = f"{op} {attributes} of {len(live)} + {len(known)} inputs"
        names, inputs, initializers = [], [], []
        for i, array in enumerate([*live, *known]):
            names.append("" if array is None else f"i{i}")
            if array is None:
                continue
            if i < len(live):
                shape = ["B", *array.shape[1:]]
                inputs.append(helper.make_tensor_value_info(f"i{i}", helper.np_dtype_to_tensor_dtype(array.dtype), shape))
            else:
                initializers.append(numpy_helper.from_array(array, f"i{i}"))
        made = [f"o{k}" for k in range(outputs)]
        nodes = []
        if op == "EmbedLayerNormalization":
            # Without a mask its second output is the same for all samples, and no output of a network: 0 of the samples is added.
            made[1] = "lengths"
            initializers.append(numpy_helper.from_array(np.array([1]), "axis"))
            nodes = [helper.make_node("Sub", ["i0", "i0"], ["none"]), helper.make_node("ReduceSum", ["none", "axis"], ["zero"], keepdims=0),
                     helper.make_node("Add", ["lengths", "zero"], ["o1"])]  # fmt: skip
        nodes.insert(0, helper.make_node(op, names, made, name="node", domain="com.microsoft", **attributes))
        results = [helper.make_empty_tensor_value_info(f"o{k}") for k in range(outputs)]
        graph = helper.make_graph(nodes, "g", inputs, results, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)
        path = a.work / f"{number}.onnx"
        onnx.save(model, str(path))
        feed = {f"i{i}": array for i, array in enumerate(live) if array is not None}
        try:
            theirs = list(by_onnxruntime(path, feed, optimised=False).values())
        except Exception as e:
            report.skip(f"{title}: ONNX Runtime: {str(e)[:200]}")
            continue
        # What Halftone reads has declared outputs.
        for k, value in enumerate(theirs):
            model.graph.output[k].CopyFrom(helper.make_tensor_value_info(f"o{k}", helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
        onnx.save(model, str(path))
        files = []
        for name, array in feed.items():
            np.save(a.work / f"{name}.npy", array)
            files += ["--input", f"{name}={a.work / name}.npy"]
        done = run(a.halftone, "run", path, *files, "--output-dir", a.work / "out")
        if done.code:
            report.note("FAIL", f"{title}: {done.explain()}")
            continue
        gaps = [float(np.abs(np.load(a.work / "out" / f"{k}.npy").astype(np.float64) - v).max() / max(np.abs(v).max(), 1e-3)) for k, v in enumerate(theirs)]
        report.check(max(gaps) < 1e-5, f"{title}: within {max(gaps):.0e}")
    report.close()


if __name__ == "__main__":
    main()
