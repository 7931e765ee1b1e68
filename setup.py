"""Compiles the hot modules with mypyc; where that fails, the installation goes on in plain Python.

UNMUX_PURE_PYTHON=1 leaves the compiler out.
"""

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError

COMPILED = [
    "analyzer/memory.py",
    "analyzer/records.py",
    "analyzer/dissector.py",
    "analyzer/scope.py",
    "analyzer/probing.py",
    "analyzer/stream.py",
    "analyzer/pipeline.py",
    "analyzer/slicing.py",
    "analyzer/http",
    "analyzer/tls",
    "analyzer/capture",
    "analyzer/packets",
    "analyzer/connections",
    "analyzer/codecs",
    "analyzer/protocols",
    "analyzer/store/buffers.py",
]


def sources() -> list[str]:
    """The files to compile; a package's __init__ stays plain."""
    files: list[str] = []
    for entry in map(Path, COMPILED):
        files += (
            [str(entry)] if entry.is_file() else sorted(str(file) for file in entry.glob("*.py") if file.name != "__init__.py")
        )
    return files


class OptionalBuild(build_ext):
    """Builds the extensions, or none of them."""

    def run(self) -> None:
        """Fall back to plain Python when there is no working compiler."""
        try:
            super().run()
        except (BaseError, OSError) as error:
            print(f"unmux: not compiled ({error}); installing plain Python, which is several times slower", file=sys.stderr)
            self.extensions = []


def extensions() -> list[object]:
    """The mypyc extensions; none where they are unwanted, cannot be made, or only the metadata is asked for."""
    if os.environ.get("UNMUX_PURE_PYTHON") == "1" or {"egg_info", "dist_info"} & set(sys.argv):
        return []
    # what the compiled modules import need not be there to compile them: `make lint` checks the types
    options = ["--ignore-missing-imports", "--allow-subclassing-any", "--config-file="]
    try:
        from mypyc.build import mypycify

        return list(mypycify([*options, *sources()], opt_level="3", debug_level="0"))
    except (ImportError, SystemExit) as error:  # mypyc leaves the program when it finds a fault
        print(f"unmux: not compiled (mypyc: {error}); installing plain Python, which is several times slower", file=sys.stderr)
        return []


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
