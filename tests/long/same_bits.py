"""The same 20 steps write the same model.onnx, byte for byte, under every instruction set and on any number of threads.

For each precision and multiply policy: HALFTONE_ISA = reference, avx2, avx512, each with 1, 2 and 4 threads. With --models and --data the network is
ResNet-20 on CIFAR-10; otherwise a narrow ResNet-20 on made-up images. An instruction set that this CPU lacks must be refused (HALFTONE_ISA
promises to fail loudly), and its comparison is skipped.
"""
import pathlib

from _common import CIFAR_NORMALISATION, Report, arguments, data_folder, made_up_images, models_folder, run, sha256, small

NEEDS = {
    "reference": set(),
    "avx2": {"avx2", "fma", "f16c"},
    "avxvnni": {"avx2", "fma", "f16c", "avx_vnni"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
    "avx512fp16": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_fp16"},
    "amx": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_fp16", "amx_tile", "amx_int8"},
}


def cpu_flags():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":")[1].split())
    return set()


a = arguments(
    __doc__, steps=(20, "steps"), batch=(32, "batch"), threads=("1,2,4", "thread counts"), isas=("avx512,avx2,reference", "instruction sets"),
    policies=("fp32:wide,fp16:block,fp16:wide,bf16:block,bf16:wide", "precision:multiply pairs"), optimizers=("sgd", "optimizers"), seed=(11, "seed"),
    small=(False, "the narrow network even if --models and --data are given"),
)  # fmt: skip
report = Report()
data, models = data_folder(a), models_folder(a)
if data and models and not a.small:
    model, spec, extra = models / "resnet20-cifar10.onnx", data / "train", CIFAR_NORMALISATION
else:
    model, spec, extra = small("resnet20_torchscript13_preserve") / "model.onnx", made_up_images(a.work / "made-up"), []
print(f"network {model.name}, {a.steps} steps, batch {a.batch}, seed {a.seed}")
flags = cpu_flags()
before = sha256(model)
for policy in a.policies.split(","):
    precision, multiply = policy.split(":")
    for optimizer in a.optimizers.split(","):
        seen = {}
        for isa in a.isas.split(","):
            missing = NEEDS[isa] - flags
            for threads in a.threads.split(","):
                out = a.work / f"{precision}-{multiply}-{optimizer}-{isa}-{threads}"
                r = run(
                    a.halftone, "train", model, "--data", spec, *extra, "--precision", precision, "--multiply", multiply, "--optimizer", optimizer,
                    "--lr", "0.01" if optimizer == "sgd" else "0.001", "--steps", a.steps, "--batch", a.batch, "--seed", a.seed, "--threads", threads,
                    "--out", out, "--quiet", env={"HALFTONE_ISA": isa},
                )  # fmt: skip
                name = f"{precision} {multiply} {optimizer} {isa} {threads} threads"
                if missing:
                    report.check(r.code != 0, f"{name}: refused on a CPU without {', '.join(sorted(missing))}")
                    report.skip(f"{name}: this CPU has no {', '.join(sorted(missing))}")
                    break
                if r.code:
                    report.note("FAIL", f"{name}: {r.explain()}")
                    continue
                seen[name] = sha256(out / "model.onnx")
                print(f"     {name}: {seen[name][:16]}, {r.seconds:.1f} s", flush=True)
        if not seen:
            report.note("FAIL", f"{precision} {multiply} {optimizer}: nothing ran")
            continue
        # An untrained file would be the same everywhere too.
        report.check(before not in seen.values(), f"{precision} {multiply} {optimizer}: training changed the file")
        groups = {}
        for name, digest in seen.items():
            groups.setdefault(digest, []).append(name)
        report.check(
            len(groups) == 1 and len(seen) > 1,
            f"{precision} {multiply} {optimizer}: {len(seen)} runs, one file" if len(groups) == 1 else
            f"{precision} {multiply} {optimizer}: {len(groups)} different files: " + "; ".join(f"{d[:8]}: {', '.join(n)}" for d, n in groups.items()),
        )  # fmt: skip
report.close()
