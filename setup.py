"""Builds the extension module ipcx._core from csrc/; everything else is in pyproject.toml.

Environment: IPCX_WERROR=1 makes warnings errors; IPCX_SANITIZE=address,undefined builds with those
sanitizers; IPCX_CFLAGS is appended to the compiler's options.
"""

import os
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent / "tools"))
import build_checks

FLAGS = ["-std=c11", "-O2", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]


def compile_flags() -> list[str]:
    # The prefix map keeps the folder of the build out of the binary: equal sources, equal bytes.
    flags = [*FLAGS, *WARNINGS, f"-ffile-prefix-map={os.getcwd()}=."]
    if os.environ.get("IPCX_WERROR") == "1":
        flags.append("-Werror")
    if sanitizers := os.environ.get("IPCX_SANITIZE"):
        flags += [f"-fsanitize={sanitizers}", "-fno-omit-frame-pointer", "-g", "-O1"]
    return flags + shlex.split(os.environ.get("IPCX_CFLAGS", ""))


def link_flags() -> list[str]:
    sanitizers = os.environ.get("IPCX_SANITIZE")
    return [f"-fsanitize={sanitizers}"] if sanitizers else []


class BuildExtension(build_ext):
    """Checks the machine first and compiles the sources side by side."""

    def run(self) -> None:
        build_checks.require()
        super().run()

    def build_extension(self, ext: Extension) -> None:
        compile_one = self.compiler.compile

        def compile_all(sources: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_one([source], **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_one


class BuildPython(build_py):
    """Takes examples/ and notebooks/ along into ipcx/; an editable install reads the folders."""

    def taken_along(self) -> list[tuple[Path, Path]]:
        """Each file's source and its place in the build."""
        examples = [
            path
            for path in sorted(Path("examples").rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        ]
        notebooks = sorted(Path("notebooks").glob("*.ipynb"))
        return [(path, Path(self.build_lib, "ipcx", path)) for path in examples + notebooks]

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source, target in self.taken_along():
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return outputs + [str(target) for _, target in self.taken_along()]


setup(
    cmdclass={"build_ext": BuildExtension, "build_py": BuildPython},
    ext_modules=[
        Extension(
            "ipcx._core",
            sources=sorted(
                glob("csrc/base/*.c")
                + glob("csrc/os/**/*.c", recursive=True)
                + glob("csrc/wire/*.c")
                + glob("csrc/link/**/*.c", recursive=True)
                + glob("csrc/py/*.c")
            ),
            depends=sorted(glob("csrc/**/*.h", recursive=True)),
            include_dirs=["csrc/include", "csrc"],
            define_macros=[("_GNU_SOURCE", None)],
            extra_compile_args=compile_flags(),
            extra_link_args=link_flags(),
        )
    ],
)
