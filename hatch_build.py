"""Compiles the way of a request, by mypyc, when a wheel is built.

Which modules those are stands in pyproject.toml. The sources are the same, and go into the wheel as well. GATEWAY_BUILD
may be `auto` (the default: compiled where there are a C compiler and Python.h), `compiled` (an error where there are
not), or `interpreted` (a pure wheel, that does the same, slower).
"""

from __future__ import annotations

import contextlib
import os
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_ASKED = "GATEWAY_BUILD"
_GROUP = "gateway"
"""Of the one library that all compiled modules are in: gateway__mypyc."""
_OPTIMISE = "1"
"""As gcc's -O. Higher levels build for twice as long; requests are not measurably faster for it."""


class CompileHook(BuildHookInterface[Any]):
    """Development installs (version "editable") stay pure."""

    _made: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        asked = os.environ.get(_ASKED) or "auto"
        if asked not in ("auto", "compiled", "interpreted"):
            raise ValueError(f"{_ASKED} is {asked!r}; it may be auto, compiled or interpreted")
        why = f"{_ASKED} says so" if asked == "interpreted" else _obstacle()
        if why is not None and asked == "compiled":
            raise RuntimeError(f"{_ASKED} is compiled, but nothing can be compiled here: {why}")
        if why is not None:
            self.app.display_info(f"gateway: interpreted ({why})")
            return
        source = Path(self.root, "src")
        modules = sorted(_found(source, self.config["modules"]) - _found(source, self.config["left_out"]))
        self._made = tempfile.TemporaryDirectory()
        made = Path(self._made.name)
        with contextlib.chdir(source):  # so that tracebacks name files as sys.path knows them
            _compile(modules, made)
        for library in made.joinpath("lib").rglob("*"):
            if library.is_file():
                build_data["force_include"][str(library)] = str(library.relative_to(made / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        self.app.display_info(f"gateway: compiled ({len(modules)} modules)")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        if self._made is not None:
            self._made.cleanup()


def _found(source: Path, patterns: list[str]) -> set[Path]:
    return {path.relative_to(source) for pattern in patterns for path in source.glob(pattern)}


def _obstacle() -> str | None:
    """Why no C can be compiled here for this Python."""
    from setuptools._distutils.ccompiler import new_compiler
    from setuptools._distutils.errors import CompileError, DistutilsPlatformError
    from setuptools._distutils.sysconfig import customize_compiler

    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory, "probe.c")
        probe.write_text("#include <Python.h>\n")
        try:
            compiler = new_compiler()
            customize_compiler(compiler)
            compiler.compile([str(probe)], directory, include_dirs=[sysconfig.get_path("include")])
        except (CompileError, DistutilsPlatformError) as error:
            return f"no C compiler with Python.h: {error}"
    return None


def _compile(modules: list[Path], made: Path) -> None:
    """Libraries into `made`/lib. Ends the process, with the reasons on stdout, where mypy finds an error."""
    from mypyc.build import mypycify
    from setuptools.command.build_ext import build_ext
    from setuptools.dist import Distribution

    extensions = mypycify(
        ["--config-file=../pyproject.toml", "--cache-dir=../.mypy_cache/compiled", *map(str, modules)],
        opt_level=_OPTIMISE,
        debug_level="0",
        group_name=_GROUP,
        target_dir=str(made / "c"),
    )
    for extension in extensions:
        # Its indentation is deep: gcc would spend twice as long on this warning as on all else.
        extension.extra_compile_args.append("-Wno-misleading-indentation")
    command = build_ext(Distribution({"name": _GROUP, "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(made / "lib"), str(made / "o")
    command.parallel = True
    command.ensure_finalized()
    command.run()
