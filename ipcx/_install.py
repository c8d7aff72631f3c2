# SPDX-License-Identifier: Apache-2.0
"""What to type to install ipcx: the only place that knows the distribution's name.

The distribution is called ``libipcx``, the import ``ipcx``: another project owns the name ``ipcx``
on the package index. Every message, document and script builds its hint from here.
"""

DISTRIBUTION = "libipcx"


def install_hint(extra: str | None = None) -> str:
    """The command that installs ipcx, with the optional feature *extra* if one is named.

    >>> install_hint()
    'python -m pip install libipcx'
    >>> install_hint("mpi")
    "python -m pip install 'libipcx[mpi]'"
    """
    target = DISTRIBUTION if extra is None else f"'{DISTRIBUTION}[{extra}]'"
    return f"python -m pip install {target}"
