#!/usr/bin/env python3
"""safetensors files travel both ways: written by the Python package, read and written by test_train, read by the package again.

Also what the package refuses must be refused by us: damaged files, each refused by both, or read by both with the same numbers.
"""
import os
import pathlib
import random
import subprocess
import sys

import numpy
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, load_file, save_file

work = pathlib.Path(os.environ["WORK"])
program = os.path.join(os.environ["HALFTONE_BUILD"], "test_train")


def pass_through(folder):
    (folder / "out").mkdir(exist_ok=True)
    return subprocess.run([program, "--gtest_filter=Safetensors.ReadsAndWritesForOtherPrograms", "--gtest_brief=1"],
                          env={**os.environ, "HALFTONE_SAFETENSORS_FOLDER": str(folder)}, capture_output=True, text=True)


def same(a, b):
    return (a.keys() == b.keys()
            and all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape
                    and a[k].contiguous().view(torch.uint8).equal(b[k].contiguous().view(torch.uint8)) if a[k].dim()
                    else a[k].dtype == b[k].dtype and a[k].reshape(1).view(torch.uint8).equal(b[k].reshape(1).view(torch.uint8))
                    for k in a))


torch.manual_seed(1)
whole = work / "whole"
(whole / "in").mkdir(parents=True)
types = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8]
files = {
    "types": {f"layer.{i}.{t}": (torch.randn(3, 5, 2) * 100).to(t) for i, t in enumerate(types)},
    "shapes": {"scalar": torch.tensor(3.5), "empty": torch.zeros(0, 7), "long": torch.randn(1, 1, 1, 1, 1, 9),
               "größe \"1\"\n": torch.arange(5)},
    "none": {},
    "large": {f"blocks.{i}.weight": torch.randn(64, 64, 3, 3).half() for i in range(40)},
}
for name, tensors in files.items():
    save_file(tensors, whole / "in" / f"{name}.safetensors", metadata={"format": "pt"})
done = pass_through(whole)
assert done.returncode == 0, done.stdout + done.stderr
for name, tensors in files.items():
    assert same(load_file(whole / "out" / f"{name}.safetensors"), tensors), name
    with safe_open(whole / "out" / f"{name}.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}, name
    ours = (whole / "out" / f"{name}.safetensors").read_bytes()
    theirs = (whole / "in" / f"{name}.safetensors").read_bytes()
    assert ours == theirs, f"{name}: same content, other bytes"

source = (whole / "in" / "types.safetensors").read_bytes()
generator = random.Random(2)
refused = read = 0
for trial in range(60):
    damaged = bytearray(source)
    header = int.from_bytes(source[:8], "little")
    for _ in range(generator.randint(1, 2)):
        damaged[generator.randrange(8 + header)] = generator.choice(b"0123456789{}[]\",:xF")
    folder = work / f"damaged{trial}"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "x.safetensors").write_bytes(damaged)
    done = pass_through(folder)
    try:
        theirs = load(bytes(damaged))
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError):
        theirs = None
    if done.returncode == 0:
        assert theirs is not None, f"{folder}: only we read it"
        assert same(load_file(folder / "out" / "x.safetensors"), theirs), folder
        read += 1
    else:
        assert "safetensors" in done.stdout + done.stderr, (folder, done.stdout, done.stderr)
        refused += 1
assert refused > 20, refused
print(f"safetensors: {len(files)} files equal byte by byte both ways; of 60 damaged ones {refused} refused, {read} read alike")
sys.exit(0)
