"""What the figures depend on: processor, compiler, versions."""
import os
import re
import statistics
import subprocess
import time

FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "amx_fp16")


def first_line(command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def free_bytes():
    with open("/proc/meminfo") as file:
        return int(re.search(r"MemAvailable:\s+(\d+) kB", file.read()).group(1)) * 1024


def busy_seconds():
    """What all CPUs together have worked for anybody since the start, other virtual machines included (steal)."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def place(cpu):
    """(processor, core) of a CPU; one of its own where the system doesn't say."""
    try:
        with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id") as package, open(f"/sys/devices/system/cpu/cpu{cpu}/topology/core_id") as core:
            return int(package.read()), int(core.read())
    except (OSError, ValueError):
        return 0, cpu


def in_order(seconds, places):
    """CPUs by time (cpu -> seconds), but a core's second thread after all cores, and another processor's CPUs after all of the fastest one's."""
    by_time = sorted(seconds, key=seconds.get)
    home = places[by_time[0]][0]
    first_of_core = {places[cpu]: cpu for cpu in reversed(by_time)}
    return sorted(by_time, key=lambda cpu: (places[cpu][0] != home, first_of_core[places[cpu]] != cpu))


def fastest_cpus():
    """The CPUs this process may use, in the order to take them: on a shared machine one may run at two thirds of another's speed, for hours."""
    allowed = sorted(os.sched_getaffinity(0))
    seconds = {cpu: [] for cpu in allowed}
    try:
        for _ in range(7):
            for cpu in allowed:
                os.sched_setaffinity(0, {cpu})
                begun = time.perf_counter()
                sum(i * i for i in range(200_000))
                seconds[cpu].append(time.perf_counter() - begun)
    finally:
        os.sched_setaffinity(0, allowed)
    return in_order({cpu: statistics.median(s) for cpu, s in seconds.items()}, {cpu: place(cpu) for cpu in allowed})


def cache_entry(build, name):
    found = re.search(rf"^{name}:[^=]*=(.*)$", (build / "CMakeCache.txt").read_text(), re.M)
    return found.group(1) if found else ""


def amx_note(flags, torch_isa):
    if torch_isa:
        return f"PyTorch's oneDNN is held to {torch_isa} (ONEDNN_MAX_CPU_ISA)"
    if "amx_bf16" not in flags:
        return "no AMX"
    # Kernels before 6.2 don't list amx_fp16, so a missing flag proves nothing about fp16.
    return "AMX is present: PyTorch's 16-bit variants use what there is of it; --torch-isa AVX512_CORE_VNNI shows PyTorch without it"


def describe(build, versions, torch_isa):
    with open("/proc/cpuinfo") as file:
        text = file.read()
    info = {k: v for k, v in re.findall(r"^([^\t:]+)\s*: (.*)$", text, re.M)}
    flags = info.get("flags", "").split()
    commit = first_line(["git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty"])
    program = build / "halftone"
    return {
        "cpu": f"{info.get('model name', 'unknown')}, family {info.get('cpu family')}, model {info.get('model')}, stepping {info.get('stepping')}",
        "cpus": len(os.sched_getaffinity(0)),
        "flags": [f for f in FLAGS if f in flags],
        "amx": amx_note(flags, torch_isa),
        "memory_free_bytes": free_bytes(),
        "load": os.getloadavg()[0],
        "compiler": first_line([cache_entry(build, "CMAKE_CXX_COMPILER") or "c++", "--version"]),
        "build_type": cache_entry(build, "CMAKE_BUILD_TYPE"),
        "halftone": commit,
        "program_bytes": program.stat().st_size if program.exists() else None,
        "versions": versions,
    }
