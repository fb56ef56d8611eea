"""The compiled gateway that benchmarks and `make test-compiled` use: `.compiled`, a tree for PYTHONPATH.

`python -m tests.support.compiled` brings it up to date; with `tree` it says where it is, or nothing where it is not to
be used. It is used only where GATEWAY_BUILD is `auto` or `compiled`, and while it was made from what is there now; a
source that was changed since is run itself. Where nothing can be compiled there is no such tree.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parents[2]
TREE = _ROOT / ".compiled"
_STAMP = "made-from"
_WANTED = os.environ.get("GATEWAY_BUILD") in ("auto", "compiled")


def _digest() -> str:
    """Of all that a build depends on."""
    found = hashlib.sha256(sys.version.encode())
    settings = [_ROOT / name for name in ("hatch_build.py", "pyproject.toml", "requirements.lock")]
    for path in [*settings, *sorted(_ROOT.glob("src/**/*.py"))]:
        found.update(b"%s\0%s\0" % (bytes(path.relative_to(_ROOT)), path.read_bytes()))
    return found.hexdigest()


def _usable(digest: str) -> bool:
    stamp = TREE / _STAMP
    return _WANTED and stamp.exists() and stamp.read_text() == digest


@cache
def environment() -> Mapping[str, str]:
    """What a process gets that is to run compiled, if it can; settled once for a whole run."""
    return {"PYTHONPATH": str(TREE)} if _usable(_digest()) else {}


def refresh() -> None:
    """Ends the process where mypy or the C compiler found an error."""
    digest = _digest()
    if _usable(digest) or not _WANTED:
        return
    made = TREE.with_name(".compiled.new")
    for old in (made, TREE):
        shutil.rmtree(old, ignore_errors=True)
    print("The gateway is being compiled: about a minute on two cores.", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if subprocess.run([*pip, "--no-build-isolation", "--target", made, _ROOT], check=False).returncode:
        sys.exit("The gateway could not be compiled.")
    asked = [sys.executable, "-c", "from gateway.build import COMPILED; print(COMPILED)"]
    compiled = subprocess.run(asked, env={**os.environ, "PYTHONPATH": str(made)}, check=True, capture_output=True)
    if compiled.stdout.strip() == b"True":
        made.joinpath(_STAMP).write_text(digest)
        made.rename(TREE)
    else:
        shutil.rmtree(made)
        print("No C compiler with Python.h (Debian: gcc, python3-dev): the gateway runs from its sources, slower.")


if __name__ == "__main__":
    if sys.argv[1:] == ["tree"]:
        print(*environment().values())
    else:
        refresh()
