"""Builds the extension module ipcx._core from csrc/; everything else is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "ipcx._core",
            sources=sorted(glob("csrc/base/*.c") + glob("csrc/os/*.c") + glob("csrc/py/*.c")),
            depends=sorted(glob("csrc/**/*.h", recursive=True)),
            include_dirs=["csrc/include", "csrc"],
            define_macros=[("_GNU_SOURCE", None)],
            extra_compile_args=["-std=c11", "-fvisibility=hidden", "-O2", "-Wall", "-Wextra"],
        )
    ]
)
