"""C files of this folder, compiled where there is a compiler, for the processor at hand.

    library = load("attention.c", folder)      None where there is no compiler, or it fails

As Triton does for a GPU, once a machine: what was compiled is kept in `folder` under a name that
tells all it depends on (the text, the flags, the compiler, the processor), and is loaded from there
by the next process. Nothing needs it: each of these kernels has a twin in torch.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-fno-math-errno")
_PATIENCE = 120.0  # seconds that a compiler has


@cache
def load(name: str, folder: Path) -> ctypes.CDLL | None:
    """The library of a C file. torch must be imported first, so that both use one OpenMP, and one
    team of threads. Blocks for some seconds where it has to compile."""
    command = compiler()
    if command is None:
        return None
    try:
        path = compiled(Path(__file__).with_name(name), folder, command)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None


def compiler() -> str | None:
    """The C compiler that there is, if any."""
    return os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")


def compiled(source: Path, folder: Path, compiler: str) -> Path:
    """The library of `source` in `folder`, made if it is not there.

    Raises `OSError` and `subprocess.SubprocessError` when it cannot be made, and `PermissionError`
    for a folder in which somebody else could put one.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _require_own(folder)
    texts = [file.read_text("utf-8") for file in (source, *sorted(source.parent.glob("*.h")))]
    digest = sha256("\0".join((*texts, *FLAGS, _version(compiler), _processor())).encode())
    path = folder / f"{source.stem}-{digest.hexdigest()[:24]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as room:
            made = Path(room) / path.name
            _output(compiler, *FLAGS, "-o", str(made), str(source), "-lm")
            made.replace(path)  # at once: another process may be doing the same
    _require_own(path)
    return path


@cache
def _version(compiler: str) -> str:
    return _output(compiler, "--version")


def _output(*command: str) -> str:
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=_PATIENCE, errors="replace"
    )
    return done.stdout


def _require_own(path: Path) -> None:
    """A library is code: it comes from a place where nobody else can write."""
    if not hasattr(os, "getuid"):
        return
    found = path.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{path} can be written by others")


def _processor() -> str:
    """What the compiler's `native` means here: name and abilities of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = [line for line in text.splitlines() if line.startswith(wanted)]
    return "\n".join(sorted(set(lines)))
