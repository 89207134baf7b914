#!/usr/bin/env python3
"""Augmentation beside torchvision: how the operations of data/pixels.h are defined there, on noise and on a gradient.

    python3 tests/long/augmentation_vs_torchvision.py BUILD/tests/test_data

Runs the test Pixels.WritesOperations, which applies each operation to one picture and writes what came out, and compares it
with torchvision.transforms.v2.functional on tensors of bytes. Colours must agree in all bytes but a few that round
differently; what moves pixels in all but a share of them at the edges between two pixels.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
import math

SIDE = 24


def picture():
    i = np.arange(SIDE * SIDE * 3, dtype=np.int64)
    return ((i * 2654435761 >> 7) % 251).astype(np.uint8).reshape(SIDE, SIDE, 3)


def expected(name, strength, x):
    nearest = dict(interpolation=InterpolationMode.NEAREST, fill=None)
    if name == "ShearX":
        return F.affine(x, 0.0, [0, 0], 1.0, [math.degrees(math.atan(strength)), 0.0], center=[0, 0], **nearest)
    if name == "ShearY":
        return F.affine(x, 0.0, [0, 0], 1.0, [0.0, math.degrees(math.atan(strength))], center=[0, 0], **nearest)
    if name == "TranslateX":
        return F.affine(x, 0.0, [int(strength), 0], 1.0, [0.0, 0.0], **nearest)
    if name == "TranslateY":
        return F.affine(x, 0.0, [0, int(strength)], 1.0, [0.0, 0.0], **nearest)
    if name == "Rotate":
        return F.rotate(x, strength, **nearest)
    if name == "Brightness":
        return F.adjust_brightness(x, 1 + strength)
    if name == "Color":
        return F.adjust_saturation(x, 1 + strength)
    if name == "Contrast":
        return F.adjust_contrast(x, 1 + strength)
    if name == "Sharpness":
        return F.adjust_sharpness(x, 1 + strength)
    if name == "Posterize":
        return F.posterize(x, int(strength))
    if name == "Solarize":
        return F.solarize(x, strength)
    if name == "AutoContrast":
        return F.autocontrast(x)
    if name == "Equalize":
        return F.equalize(x)
    if name == "Hue":
        return F.adjust_hue(x, strength)
    raise SystemExit(f"there is no {name}")


def main():
    program = sys.argv[1]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, HALFTONE_PIXELS_OUT=folder)
        subprocess.run([program, "--gtest_filter=Pixels.WritesOperations"], check=True, env=env, stdout=subprocess.DEVNULL)
        files = sorted(pathlib.Path(folder).glob("*.bin"))
        if len(files) < 20:
            raise SystemExit("the test wrote nothing")
        x = torch.from_numpy(picture()).permute(2, 0, 1).contiguous()
        for file in files:
            name, strength = file.stem.split("_")
            ours = np.frombuffer(file.read_bytes(), np.uint8).reshape(SIDE, SIDE, 3).astype(int)
            theirs = expected(name, float(strength), x).permute(1, 2, 0).numpy().astype(int)
            off = np.abs(ours - theirs)
            moved = name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
            share = (off > 0).any(axis=2).mean()
            fine = share <= 0.05 if moved else off.max() <= 1 and share <= 0.02
            bad += not fine
            print(f"{name:12s} {strength:>8s}: {100 * share:5.2f} % of pixels differ, by at most {off.max()}{'' if fine else '   WRONG'}")
    raise SystemExit(1 if bad else 0)


main()
