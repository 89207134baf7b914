#!/usr/bin/env python3
"""Writes the demo's untrained network: a ResNet for 28x28 grey images, He initialisation, fixed seed.

    python3 demo/make_resnet.py OUT.onnx [--blocks 1] [--seed 2311]

Three stages of 16, 32 and 64 channels with --blocks residual blocks each: 1 is ResNet-8, 2 is ResNet-14. Batch norms are kept, names
are as PyTorch would give them. Needs numpy and the onnx package; the same arguments give the same file.
"""

import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """Collects nodes and weights; each method returns the name of its output."""

    def __init__(self, seed):
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.nodes = []
        self.weights = []

    def weight(self, name, array):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def node(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv_norm(self, x, name, norm, c, k, size, stride):
        """x[N, c, H, W] -> [N, k, H / stride, W / stride]"""
        he = np.sqrt(2.0 / (c * size * size))
        w = self.weight(f"{name}.weight", self.random.standard_normal((k, c, size, size)) * he)
        y = self.node("Conv", [x, w], f"{name}.conv", kernel_shape=[size, size], pads=[size // 2] * 4, strides=[stride] * 2)
        statistics = [
            self.weight(f"{norm}.weight", np.ones(k)),
            self.weight(f"{norm}.bias", np.zeros(k)),
            self.weight(f"{norm}.running_mean", np.zeros(k)),
            self.weight(f"{norm}.running_var", np.ones(k)),
        ]
        return self.node("BatchNormalization", [y, *statistics], f"{norm}.norm", epsilon=1e-5, momentum=0.9)

    def block(self, x, name, c, k, stride):
        y = self.conv_norm(x, f"{name}.conv1", f"{name}.bn1", c, k, 3, stride)
        y = self.node("Relu", [y], f"{name}.relu1")
        y = self.conv_norm(y, f"{name}.conv2", f"{name}.bn2", k, k, 3, 1)
        if stride != 1 or c != k:
            x = self.conv_norm(x, f"{name}.downsample.0", f"{name}.downsample.1", c, k, 1, stride)
        return self.node("Relu", [self.node("Add", [y, x], f"{name}.add")], f"{name}.relu2")


def make(blocks, seed):
    net = Net(seed)
    x = net.node("Relu", [net.conv_norm("image", "conv1", "bn1", 1, 16, 3, 1)], "relu")
    c = 16
    for stage, k in enumerate((16, 32, 64), start=1):
        for block in range(blocks):
            x = net.block(x, f"layer{stage}.{block}", c, k, 2 if stage > 1 and block == 0 else 1)
            c = k
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x], "pool")], "flatten", axis=1)
    w = net.weight("fc.weight", net.random.standard_normal((10, c)) * np.sqrt(1.0 / c))
    net.node("Gemm", [x, w, net.weight("fc.bias", np.zeros(10))], "logits", transB=1)
    graph = helper.make_graph(
        net.nodes,
        f"resnet{6 * blocks + 2}-fashion",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        net.weights,
    )
    model = helper.make_model(graph, producer_name="halftone demo", ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    parser = argparse.ArgumentParser(description="Writes the demo's untrained network.")
    parser.add_argument("out")
    parser.add_argument("--blocks", type=int, default=1, help="residual blocks a stage (default 1: ResNet-8)")
    parser.add_argument("--seed", type=int, default=2311, help="of the weights (default 2311)")
    arguments = parser.parse_args()
    onnx.save(make(arguments.blocks, arguments.seed), arguments.out)


if __name__ == "__main__":
    main()
