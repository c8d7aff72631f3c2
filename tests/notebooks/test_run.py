"""Every notebook runs from top to bottom: as its author solved it, and as a student gets it.

Each in a kernel of its own and in an empty folder, the two forms side by side. At night twice in
the same kernel, too; by day that is done with the first one.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meta.tree import files

for needed in ("nbclient", "ipykernel"):
    pytest.importorskip(needed, reason=f"{needed} is missing: `make .venv/.lab`")

NOTEBOOKS = files(".ipynb", under="notebooks")
RUNNER = Path(__file__).parent / "run_notebook.py"
RAISES = "NotImplementedError"
CROSS = "✗"

pytestmark = pytest.mark.hang_guard(600)


def own_dev_shm() -> list[str]:
    """Where it may be made: a command before the command, for a /dev/shm that is empty."""
    prefix = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh"]
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True)
    except FileNotFoundError:
        return []
    return prefix if done.returncode == 0 else []


def run(notebook: Path, form: str, folder: Path, times: int = 1) -> dict:
    """What run_notebook.py says about it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    for name in ("HOME", "TMPDIR", "XDG_RUNTIME_DIR"):
        (folder / name).mkdir(parents=True, mode=0o700)
        environment[name] = str(folder / name)
    (folder / "here").mkdir()
    prefix = own_dev_shm()
    done = subprocess.run(
        [*prefix, sys.executable, RUNNER, notebook, form, str(times)],
        cwd=folder / "here",
        env={**environment, "IPCX_OWN_DEV_SHM": "1" if prefix else "", "PYTHONWARNINGS": "default"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{notebook.name}, {form}:\n{done.stderr[-4000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    print(notebook.name, form, "first picture after", found["first_picture"], "s", found["seconds"])
    return found


def both(notebook: Path, folder: Path, times: int = 1) -> tuple[dict, dict]:
    forms = ("solution", "student")
    with ThreadPoolExecutor(2) as pool:
        solution, student = pool.map(
            lambda form: run(notebook, form, folder / form, times),
            forms,
        )
    return solution, student


def checks(found: dict) -> dict[str, str]:
    """The words of each cell that checks a solution."""
    return {c["id"]: c["words"] for c in found["cells"] if ".check(" in c["source"]}


def leftovers(found: dict) -> list[str]:
    return [f"{kind}: {name}" for kind in ("processes", "files") for name in found[kind]]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_with_and_without_its_solutions(notebook, socket_dir):
    solution, student = both(notebook, socket_dir)

    assert solution["error"] == ""
    assert leftovers(solution) == []
    assert [c["id"] for c in solution["cells"] if RAISES in c["words"]] == []
    assert {name: text for name, text in checks(solution).items() if CROSS in text} == {}
    assert sum(cell["pictures"] for cell in solution["cells"]) > 0, "it shows no picture"
    assert solution["largest_picture"] < 200_000

    assert student["error"] == "", "in the student's form checks fail in words, nothing raises"
    assert leftovers(student) == []
    assert checks(student).keys() == checks(solution).keys()
    assert {name for name, text in checks(student).items() if CROSS not in text} == set()


@pytest.mark.parametrize(
    "notebook",
    [
        pytest.param(path, marks=[pytest.mark.night] if number else [], id=path.stem)
        for number, path in enumerate(NOTEBOOKS)
    ],
)
def test_it_runs_twice_in_one_kernel(notebook, socket_dir):
    for found in both(notebook, socket_dir, times=2):
        assert found["error"] == ""
        assert leftovers(found) == []
        assert found["more_descriptors"] == []


# ---------------------------------------------------------------- the runner itself


def written(folder: Path, *sources: str) -> Path:
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{n}",
            "metadata": {},
            "source": source,
            "execution_count": None,
            "outputs": [],
        }
        for n, source in enumerate(sources)
    ]
    path = folder / "77_x.ipynb"
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook))
    return path


DAEMON = """
import os, subprocess, sys
code = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(60)"
subprocess.run([sys.executable, "-c", code])
"""


def test_the_runner_notices_what_is_left(socket_dir):
    sources = [DAEMON, "open('left', 'w').close()", "import tempfile; tempfile.mkdtemp()"]
    if own_dev_shm():
        sources.append("open('/dev/shm/left', 'w').close()")
    found = run(written(socket_dir, *sources), "solution", socket_dir / "run")
    assert len(found["processes"]) == 1
    assert "time.sleep(60)" in found["processes"][0]
    assert len(found["files"]) == len(sources) - 1


def test_the_runner_notices_an_exception_and_a_dead_kernel(socket_dir):
    found = run(written(socket_dir, "1 / 0", "print(1)"), "solution", socket_dir / "a")
    assert "ZeroDivisionError" in found["error"]
    found = run(written(socket_dir, "import os; os._exit(1)"), "solution", socket_dir / "b")
    assert found["error"]


def test_the_runner_notices_a_descriptor_more(socket_dir):
    path = written(socket_dir, "import os\nx = [*globals().get('x', []), os.pipe()]")
    found = run(path, "solution", socket_dir / "run", times=2)
    assert found["more_descriptors"] == ["pipe:"]
