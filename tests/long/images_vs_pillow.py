#!/usr/bin/env python3
"""Decoded images beside Pillow's: every mode of every format that is read, in odd sizes, with the orientations of EXIF.

    python3 tests/long/images_vs_pillow.py [BUILD/test_data]      (default: HALFTONE_BUILD/test_data)

Writes images with Pillow, has the test Formats.WritesPixels decode them, and compares: RGB and grey, as stored and upright
(ImageOps.exif_transpose). All pixels must be equal. Greys of 16 bits keep their high byte here, where Pillow clips them. Needs Pillow.
"""
import io
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from PIL import Image, ImageOps
except ImportError as e:
    print(f"SKIP {e}")
    sys.exit(77)

rng = np.random.default_rng(7)
SIZES = [(1, 1), (2, 7), (16, 16), (33, 18), (61, 83)]


def noise(height, width, channels):
    y, x = np.mgrid[0:height, 0:width]
    waves = [127 + 90 * np.sin(x / (4 + c) + y / (7 - c)) for c in range(channels)]
    out = np.stack(waves, -1) + rng.normal(0, 20, (height, width, channels))
    return np.clip(out, 0, 255).astype(np.uint8)


def modes(height, width):
    rgb = Image.fromarray(noise(height, width, 3))
    return {
        "1": rgb.convert("1"),
        "L": rgb.convert("L"),
        "LA": Image.merge("LA", [rgb.convert("L"), Image.fromarray(noise(height, width, 1)[:, :, 0])]),
        "P": rgb.quantize(200),
        "P2": rgb.quantize(2),
        "P4": rgb.quantize(4),
        "P16": rgb.quantize(16),
        "RGB": rgb,
        "RGBA": Image.fromarray(noise(height, width, 4), "RGBA"),
        "CMYK": Image.fromarray(noise(height, width, 4), "CMYK"),
        "I;16": Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16)),
    }


FORMATS = {
    "jpg": ("JPEG", ["L", "RGB", "CMYK"], [dict(quality=q, subsampling=s, progressive=p) for q in (40, 95) for s in (0, 1, 2) for p in (False, True)]),
    "png": ("PNG", ["1", "L", "LA", "P", "P2", "P4", "P16", "RGB", "RGBA", "I;16"], [{}]),
    "webp": ("WEBP", ["RGB", "RGBA", "L"], [dict(quality=60), dict(quality=95, method=6), dict(lossless=True, exact=True)]),
    "gif": ("GIF", ["1", "L", "P", "P2", "P4", "P16"], [dict(interlace=0), dict(interlace=1), dict(transparency=1)]),
    "bmp": ("BMP", ["1", "L", "P", "RGB", "RGBA"], [{}]),
    "tif": ("TIFF", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"], [dict(compression=c) for c in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")]),
}
EXTRA = [("tif", "1", dict(compression="group3")), ("tif", "1", dict(compression="group4")), ("tif", "RGB", dict(compression="jpeg")), ("tif", "L", dict(compression="jpeg"))]


def expected(data, turned):
    image = Image.open(io.BytesIO(data))
    kind = image.format
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)) if kind != "TIFF" or not turned else image
        if image.mode == "I;16":
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if turned and kind != "TIFF":  # Pillow turns these when it loads them
        image = ImageOps.exif_transpose(image)
    return np.asarray(image.convert("RGB"))


def pictures(name, data):
    """What was written beside NAME: (turned, channels, pixels or message)."""
    at = 0
    for turned in (False, True):
        for channels in (3, 1):
            end = data.index(b"\n", at)
            height, width, *message = data[at:end].split(b" ", 2)
            height, width, at = int(height), int(width), end + 1
            if message:
                yield turned, channels, message[0].decode()
                continue
            count = height * width * channels
            yield turned, channels, np.frombuffer(data[at : at + count], np.uint8).reshape(height, width, channels)
            at += count


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.environ.get("HALFTONE_BUILD", "build"), "test_data")
    files, upside = {}, 0
    for height, width in SIZES:
        images = modes(height, width)
        cases = [(e, m, o) for e, (_, ms, options) in FORMATS.items() for m in ms for o in options] + EXTRA
        for number, (ending, mode, options) in enumerate(cases):
            options = {k: v for k, v in options.items() if v is not None}
            buffer = io.BytesIO()
            images[mode].save(buffer, FORMATS[ending][0], **options)
            files[f"{height}x{width}-{number}-{mode.replace(';', '')}.{ending}"] = buffer.getvalue()
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            for ending in ("jpg", "png", "webp", "tif"):
                buffer = io.BytesIO()
                kind = FORMATS[ending][0]
                options = dict(lossless=True) if ending == "webp" else dict(compression="tiff_lzw") if ending == "tif" else {}
                images["RGB"].save(buffer, kind, exif=exif, **options)
                files[f"{height}x{width}-turned{orientation}.{ending}"] = buffer.getvalue()
                upside += 1
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (pathlib.Path(folder) / name).write_bytes(data)
        subprocess.run([program, "--gtest_filter=Formats.WritesPixels"], check=True, env=dict(os.environ, HALFTONE_IMAGES=folder), stdout=subprocess.DEVNULL)
        for name, data in sorted(files.items()):
            out = (pathlib.Path(folder) / (name + ".out")).read_bytes()
            tiff_turned = name.endswith(".tif") and "turned" in name
            for turned, channels, got in pictures(name, out):
                if tiff_turned and not turned:
                    continue  # Pillow has no picture as it is stored
                want = expected(data, turned)
                if channels == 1:
                    weights = want.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
                    want = ((weights + 0x8000) >> 16).astype(np.uint8)[:, :, None]
                same = not isinstance(got, str) and got.shape == want.shape and (got == want).all()
                if not same:
                    wrong += 1
                    why = got if isinstance(got, str) else f"{got.shape} {want.shape}"
                    print(f"FAIL {name} turned={turned} channels={channels}: {why}")
    print(f"{len(files)} images, {upside} of them with EXIF; {wrong} comparisons failed")
    print("PASS all pixels equal Pillow's" if wrong == 0 else "FAIL")
    sys.exit(1 if wrong else 0)


main()
