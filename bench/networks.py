"""The networks of the benchmark: how PyTorch builds them, and their ONNX files and batches for the other side.

    python3 networks.py FOLDER [NETWORK:BATCH ...]

writes FOLDER/NETWORK.onnx (batch norms kept) and FOLDER/NETWORK-bBATCH.{samples,labels}.npy unless they are there already, and
prints one JSON line with the versions of what wrote them. Weights and batches come from fixed seeds (tests/fixtures/models.py), so
bench_step and torch_step.py start from the same numbers.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "tests" / "fixtures"
OPSET = 17

# name: (input shape of one sample, classes)
NETWORKS = {
    "resnet20": ((3, 32, 32), 10),
    "vgg16bn": ((3, 32, 32), 10),
    "resnet18": ((3, 224, 224), 1000),
    "resnet50": ((3, 224, 224), 1000),
    "mobilenetv2": ((3, 224, 224), 1000),
    "densenet121": ((3, 224, 224), 1000),
    "perceptron": ((784,), 10),
}


def models():
    sys.path.insert(0, str(FIXTURES))
    import models as module

    return module


def load(name):
    """Imports what build() needs. Imports stand where they are used: torchvision takes seconds, and the perceptron has no need of it."""
    if name != "perceptron":
        models()


def architecture(name):
    from torch import nn

    if name == "perceptron":
        return nn.Sequential(nn.Linear(784, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10))
    if name == "resnet20":
        return models().ResNet20()
    import torchvision

    if name == "vgg16bn":
        # The usual form for 32x32: torchvision's features, which leave one pixel, and a single linear layer.
        return nn.Sequential(torchvision.models.vgg16_bn().features, nn.Flatten(), nn.Linear(512, 10))
    build = {"mobilenetv2": "mobilenet_v2"}.get(name, name)
    return getattr(torchvision.models, build)()


def build(name):
    """The network with seeded weights in training mode; dropout is 0, since its random draws differ between programs."""
    net = architecture(name)
    if name == "perceptron":
        import torch

        generator = torch.Generator().manual_seed(77)
        for p in net.parameters():
            with torch.no_grad():
                p.copy_(torch.randn(p.shape, generator=generator) * ((1.6 / p.shape[1]) ** 0.5 if p.dim() > 1 else 0.1))
        return net.train()
    return models().set_weights(net, seed=77).train()


def batch(name, size):
    import numpy as np

    shape, classes = NETWORKS[name]
    rng = np.random.default_rng(1)
    return rng.standard_normal((size, *shape)).astype(np.float32), rng.integers(0, classes, size).astype(np.int32)


def is_current(path):
    sources = (pathlib.Path(__file__), FIXTURES / "models.py")
    return path.exists() and path.stat().st_mtime > max(s.stat().st_mtime for s in sources)


def write(path, save):
    """Under another name first, so that an interrupted run leaves no half file behind."""
    partial = path.with_name(f"partial-{path.name}")
    save(partial)
    partial.replace(path)


def prepare(folder, name, size):
    model = folder / f"{name}.onnx"
    if not is_current(model):
        import onnx

        sample = batch(name, 2)[0]
        exported = models().export_torchscript(build(name), sample, OPSET, "preserve")
        write(model, lambda p: onnx.save(exported, str(p)))
    files = [folder / f"{name}-b{size}.{part}.npy" for part in ("samples", "labels")]
    if not all(is_current(f) for f in files):
        import numpy as np

        for file, values in zip(files, batch(name, size)):
            write(file, lambda p: np.save(p, values))


def versions():
    import re

    import torch

    config = torch.__config__.show()
    found = re.search(r"MKL-DNN v([\w.]+)", config)
    return {
        "PyTorch": torch.__version__,
        "oneDNN": found.group(1) if found else "not in this build",
        "MKL": "used" if "BLAS_INFO=mkl" in config else "not used",
        "Python": sys.version.split()[0],
        "PyTorch's CPU capability": torch.backends.cpu.get_cpu_capability(),
    }


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for wanted in sys.argv[2:]:
        network, _, count = wanted.partition(":")
        if network not in NETWORKS:
            sys.exit(f"networks.py: no network is called {network}; there are: {', '.join(NETWORKS)}")
        prepare(target, network, int(count))
    print(json.dumps(versions()))
