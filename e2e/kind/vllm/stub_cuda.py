"""Take CUDA out of PyTorch: stubs for the libraries that a CPU never calls, 4 GB less to carry.

Run when the image is built (``Dockerfile``), on a PyTorch that was installed without its nvidia
packages; the registry has no CPU build of the version that vLLM for CPUs asks for:

    python stub_cuda.py SITE_PACKAGES/torch/lib

PyTorch's libraries do not load unless every library that they name is there and every symbol is
defined.  A stub defines those, as functions that answer cudaErrorNoDevice; PyTorch asks
``cudaGetDeviceCount`` first, hears that there is no device, and calls none of the others.  Its own
CUDA library is replaced in the same way.  Needs gcc and binutils.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

NO_DEVICE = 100  # cudaErrorNoDevice
GPU_LIBRARIES = (
    "libtorch_cuda.so",  # the one that the others name: takes all stubs that PyTorch needs
    "libtorch_cuda_linalg.so",
    "libtorch_nvshmem.so",
    "libcaffe2_nvrtc.so",
)
FOREIGN = re.compile(r"lib(cu|nccl|nv)\w*\.so\.\d+")
FOREIGN_SYMBOL = re.compile(r"_*(cu[a-zA-Z]|nccl|nvrtc|nvJit|nvtx|nvml)")
TABLE_ENTRIES = 64
PRELUDE = f"""
extern char class_info[] __asm__("_ZTVN10__cxxabiv117__class_type_infoE");
struct info {{ void *table; const char *name; }};
#define INFO(name) {{ class_info + 2 * sizeof(void *), name }}
#define TABLE {{ 0, &unknown, [2 ... {TABLE_ENTRIES - 1}] = nothing }}
static char zeros[4096] __attribute__((aligned(4096)));
static void *nothing(void) {{ return zeros; }}
static struct info unknown = INFO("stub");
static void *table[{TABLE_ENTRIES}] = TABLE;
"""
"""What C++ sees of a stub: functions return a reference to zeros (false, read as a bool); objects
have a virtual table of such functions, and a type."""

CONSTRUCTOR = re.compile(r"_ZN\w+C[12]E")

Symbol = tuple[str, str]  # name and version; version "" if it has none


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library: Path) -> set[str]:
    """The CUDA libraries that a library names."""
    names = re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", "-W", library))
    return {name for name in names if FOREIGN.fullmatch(name)}


def symbols(library: Path, which: str) -> set[Symbol]:
    """Symbols that a library defines or lacks (nm's ``--defined-only``, ``--undefined-only``)."""
    found = set()
    for line in run("nm", "-D", which, library).splitlines():
        kind, name = line.split()[-2:]
        if kind not in "wv":  # weak ones may stay undefined
            bare, _, version = name.partition("@")
            found.add((bare, version.lstrip("@")))
    return found


def define(name: str) -> str:
    """C source of one symbol; C++ ones are told by their mangled names."""
    if name.startswith("_ZTI"):
        return f'struct info {name} = INFO("{name[4:]}");\n'
    if name.startswith("_ZTV"):
        return f"void *{name}[{TABLE_ENTRIES}] = TABLE;\n"
    if CONSTRUCTOR.match(name):
        return f"void {name}(void **self) {{ *self = table + 2; }}\n"
    if name.startswith("_Z"):
        return f"void *{name}(void) {{ return zeros; }}\n"
    return f"int {name}(void) {{ return {NO_DEVICE}; }}\n"


def build(folder: Path, name: str, lacking: set[Symbol]) -> None:
    """Compile the stub of one library."""
    versions: dict[str, list[str]] = defaultdict(list)
    for symbol, version in lacking:
        versions[version].append(symbol)
    names = sorted({symbol for symbol, _ in lacking})
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch, "stub.c"), Path(scratch, "stub.map")
        source.write_text(PRELUDE + "".join(map(define, names)))
        script.write_text(
            "".join(
                f"{version} {{ global: {'; '.join(sorted(members))}; }};\n"
                for version, members in sorted(versions.items())
                if version
            )
        )
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", "-fno-builtin"]
        command += [f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        if any(versions):
            command += [f"-Wl,--version-script={script}"]
        run(*command)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    gone = [folder / name for name in GPU_LIBRARIES]
    kept = sorted(set(folder.glob("*.so")) - set(gone))
    lacking = set[Symbol]().union(*(symbols(library, "--undefined-only") for library in kept))
    lacking -= set[Symbol]().union(*(symbols(library, "--defined-only") for library in kept))
    replaced = lacking & set[Symbol]().union(*(symbols(lib, "--defined-only") for lib in gone))
    for library in gone:
        library.unlink()
    owners = set[str]().union(*map(needed, kept))
    stubs = {name: {s for s in lacking if s[1].startswith(name)} for name in sorted(owners)}
    # Without a version, it does not matter which library defines a symbol.
    stubs[GPU_LIBRARIES[0]] = replaced | {
        s for s in lacking - replaced if not s[1] and FOREIGN_SYMBOL.match(s[0])
    }
    for name, mine in stubs.items():
        build(folder, name, mine)
        print(f"{len(mine):>5} {name}")


if __name__ == "__main__":
    main()
