"""The worker of bench/step.cpp for PyTorch: whole training steps of one network on one batch.

    python3 torch_step.py --network NAME --samples X.npy --labels Y.npy --variant V --threads N

The protocol is that of bench/step.cpp, with one line more: after loading PyTorch the program prints {"loaded":true} and waits for
the line `start`, so that several can load while none is measured. Network, weights, batch, loss and optimizer are the same.
Variants: see VARIANTS.
"""
import argparse
import json
import math
import os
import sys
import time

STARTED = time.monotonic()

# name: (dtype of weights and activations, autocast, channels last, compiled)
VARIANTS = {
    "fp32": ("float32", False, False, False),
    "fp32-cl": ("float32", False, True, False),
    # Everything below is channels last: it is what PyTorch recommends on CPUs, and the faster one where we looked.
    "compile": ("float32", False, True, True),
    "bf16-autocast": ("float32", True, True, False),
    "bf16": ("bfloat16", False, True, False),
    "fp16": ("float16", False, True, False),
}


def memory_bytes(field):
    """Of /proc/self/status; getrusage would count what the process that started us had, too."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


def say(**fields):
    print(json.dumps(fields), flush=True)


def finite(x):
    return x if math.isfinite(x) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True)
    parser.add_argument("--samples", required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--variant", required=True, choices=VARIANTS)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()

    import numpy as np
    import torch
    from torch.nn import functional as F

    import networks

    networks.load(a.network)
    torch.set_num_threads(a.threads)  # after the import of fixtures, which sets it too
    say(loaded=True, load_ms=(time.monotonic() - STARTED) * 1e3)
    if sys.stdin.readline().strip() != "start":
        return
    begun = time.monotonic()
    base_bytes = memory_bytes("VmRSS")

    dtype, autocast, channels_last, compiled = VARIANTS[a.variant]
    dtype = getattr(torch, dtype)
    x = torch.from_numpy(np.load(a.samples))
    if x.is_floating_point():
        x = x.to(dtype)
    labels = torch.from_numpy(np.load(a.labels).astype(np.int64))
    net = networks.build(a.network).to(dtype)
    if channels_last and x.dim() == 4:  # others have no such order: channels last is then the same as without
        x = x.to(memory_format=torch.channels_last)
        net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    forward = torch.compile(net) if compiled else net

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            logits = forward(x)
            loss = F.cross_entropy(logits.flatten(0, -2), labels.flatten())
        loss.backward()
        optimizer.step()
        return loss.item()

    loss = step()
    say(
        ready=True, first_step_ms=(time.monotonic() - begun) * 1e3, loss=finite(loss), planned_bytes=None, base_bytes=base_bytes,
        peak_rss_bytes=memory_bytes("VmHWM"), isa=os.environ.get("ONEDNN_MAX_CPU_ISA", "default"), multiply=None,
    )  # fmt: skip
    for line in sys.stdin:
        words = line.split()
        if words == ["quit"]:
            return
        if len(words) != 2 or words[0] != "steps" or not words[1].isdigit() or int(words[1]) < 1:
            sys.exit(f"torch_step: '{line.strip()}' is no command; there are: steps K (K at least 1), quit")
        ms = []
        for _ in range(int(words[1])):
            start = time.perf_counter()
            loss = step()
            ms.append((time.perf_counter() - start) * 1e3)
        say(ms=ms, loss=finite(loss), skipped=0, peak_rss_bytes=memory_bytes("VmHWM"))


if __name__ == "__main__":
    main()
