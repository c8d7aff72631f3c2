"""Every example of README.md, CONTRIBUTING.md and docs/ runs.

A document is one story: its blocks run in order, in one empty directory of their own.

    ```python     runs as a program of its own
    ```console    lines that start with `$ ` run in bash; the lines below each are its output, where
                  `…` stands for anything and lines left out are allowed
    ```c          is only written down: it needs a file's name

A comment right above a block says what else to do with it:

    <!-- file: NAME -->       write it to NAME instead of running it
    <!-- program: NAME -->    append it to what the blocks of this NAME said before, run the whole
    <!-- background -->       start it, go on once something listens on its port; it ends with the
                              document
    <!-- exit: N -->          it ends with this status instead of 0
    <!-- cell: TEXT -->       run it as a cell of a notebook; what it shows contains TEXT, if given
    <!-- not run: REASON -->  leave it out

The port 65432, in programs and in output, is a free port instead.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if path.exists() and "_build" not in path.parts
)
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>python|console|c)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PORT = "65432"
GUARD = 60  # seconds until a block counts as hung


@dataclass
class Block:
    language: str
    text: str
    line: int
    mark: str = ""
    value: str = ""


@dataclass
class Story:
    """One document being run."""

    folder: Path
    temporary: Path  # what /tmp is to it
    environment: dict[str, str]
    port: int
    programs: dict[str, str] = field(default_factory=dict)
    background: list[subprocess.Popen] = field(default_factory=list)
    kernel: Any = None  # once there is a cell


def blocks(document: Path) -> list[Block]:
    source = document.read_text()
    found = []
    for match in BLOCK.finditer(source):
        mark, _, value = (match["mark"] or "").partition(":")
        line = source.count("\n", 0, match.start("language")) + 1
        found.append(Block(match["language"], match["text"], line, mark.strip(), value.strip()))
    return found


def free_port() -> int:
    """A free port below the range that the kernel gives to clients."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def is_listening(port: int) -> bool:
    """Whether a TCP socket listens on the port, without connecting to it."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        rows = Path(table).read_text().splitlines()[1:] if Path(table).exists() else []
        for row in rows:
            _, local, _, state, *_ = row.split()
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


def wait_for(port: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + GUARD
    while not is_listening(port):
        assert process.poll() is None, f"it ended with {process.returncode} before it listened"
        assert time.monotonic() < end, f"nothing listens on port {port}"
        time.sleep(0.02)


def finish(command: list[str], story: Story, status: int = 0) -> str:
    """Runs a command to its end; what it printed."""
    process = subprocess.Popen(
        command,
        cwd=story.folder,
        env=story.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=GUARD)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"hung: {command[-1]}\n{output}")
    assert process.returncode == status, f"{command[-1]}\nexit {process.returncode}:\n{output}"
    return output


def start(command: list[str], story: Story) -> None:
    """Starts a command that lives as long as the document."""
    process = subprocess.Popen(
        command,
        cwd=story.folder,
        env=story.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    story.background.append(process)
    wait_for(story.port, process)


def matches(expected: str, line: str) -> bool:
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in expected.split("…"))
    return re.fullmatch(pattern.replace(r"\ .*", r".*"), " ".join(line.split())) is not None


def compare(expected: list[str], output: str) -> None:
    """Each expected line is there, in this order."""
    lines = iter(output.splitlines())
    for wanted in filter(str.strip, expected):
        if wanted.strip() == "…":
            continue
        assert any(matches(wanted, line) for line in lines), f"no line {wanted!r} in:\n{output}"


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The `$ ` lines of a console block, each with the output written below it."""
    steps: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif steps and steps[-1][0].endswith("\\"):
            steps[-1] = (steps[-1][0] + "\n" + line, [])
        elif steps:
            steps[-1][1].append(line)
    return steps


def tell(block: Block, story: Story) -> None:
    text = re.sub(rf"\b{PORT}\b", str(story.port), block.text)
    text = text.replace("/tmp/", f"{story.temporary}/")
    if block.mark == "not run":
        assert block.value, "say why it is not run"
        return
    if block.mark == "file":
        (story.folder / block.value).write_text(text)
        return
    if block.mark == "cell":
        run_cell(text.strip(), block.value, story)
        return
    status = int(block.value) if block.mark == "exit" else 0
    if block.language == "python":
        if block.mark == "program":
            text = story.programs[block.value] = story.programs.get(block.value, "") + text
        command = [sys.executable, "-c", text]
        if block.mark == "background":
            start(command, story)
        else:
            finish(command, story, status)
    elif block.language == "console":
        steps = commands(text)
        assert steps, "a console block without a `$ ` line"
        for typed, expected in steps:
            if block.mark == "background":
                start(["bash", "-c", "exec " + typed], story)
            else:
                compare(expected, finish(["bash", "-c", typed], story, status))
    else:
        pytest.fail("a C block needs <!-- file: NAME.c -->")


def run_cell(text: str, expected: str, story: Story) -> None:
    if story.kernel is None:
        pytest.importorskip("ipykernel")
        from kernel_help import Kernel

        story.kernel = Kernel(cwd=story.folder)
    shown = story.kernel.run(text)
    assert shown.error == ""
    assert expected in shown.text + shown.display


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libipcx, its headers and ipcx.pc, installed to a folder of its own."""
    prefix = tmp_path_factory.mktemp("prefix")
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    subprocess.run(
        ["make", "-s", "-C", str(ROOT), "install", f"PREFIX={prefix}"],
        check=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    return prefix


@pytest.fixture
def story(tmp_path: Path, socket_dir: Path):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
    }
    story = Story(tmp_path, socket_dir, environment, free_port())
    yield story
    if story.kernel is not None:
        story.kernel.close()
    for process in story.background:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def marks(document: Path) -> list[pytest.MarkDecorator]:
    """jupyter_client keeps the event loop that it has made."""
    has_cells = "<!-- cell" in document.read_text()
    return [pytest.mark.leaves_behind("fds")] if has_cells else []


@pytest.mark.hang_guard(300)
@pytest.mark.parametrize(
    "document",
    [pytest.param(path, id=str(path.relative_to(ROOT)), marks=marks(path)) for path in DOCUMENTS],
)
def test_the_examples_run(document: Path, story: Story, request: pytest.FixtureRequest) -> None:
    found = blocks(document)
    if any(block.language == "c" for block in found):
        if shutil.which("pkg-config") is None:
            pytest.skip("no pkg-config (Debian: apt-get install pkg-config)")
        prefix = request.getfixturevalue("library")
        story.environment["PKG_CONFIG_PATH"] = str(prefix / "lib" / "pkgconfig")
        story.environment["LD_LIBRARY_PATH"] = str(prefix / "lib")
    for block in found:
        try:
            tell(block, story)
        except BaseException as error:
            error.add_note(f"{document.relative_to(ROOT)}:{block.line}")
            raise


def test_every_fence_is_known() -> None:
    """A block in an unknown form would be left out silently."""
    known = {
        "python",
        "console",
        "c",
        "text",
        "toml",
        "{display}",
        "{toctree}",
        "{include}",
        "{eval-rst}",
    }
    for document in DOCUMENTS:
        opened = False
        for number, line in enumerate(document.read_text().splitlines(), 1):
            if line.lstrip().startswith("```"):
                opened = not opened
                if opened:
                    where = f"{document.relative_to(ROOT)}:{number}"
                    words = line.strip().removeprefix("```").split()
                    assert words, f"{where}: say the language"
                    assert words[0] in known, f"{where}: {words[0]}"
                    assert line.startswith("```"), f"{where}: indented, so it would not be run"


def test_the_runner_itself(story: Story, tmp_path: Path) -> None:
    document = tmp_path / "example.md"
    document.write_text(
        textwrap.dedent(
            """
            <!-- program: one -->
            ```python
            name = "ipcx"
            ```
            <!-- program: one -->
            ```python
            assert name == "ipcx"
            ```
            <!-- exit: 3 -->
            ```console
            $ echo "port 65432 and more"; exit 3
            port 65432 and …
            ```
            """
        )
    )
    found = blocks(document)
    assert [block.mark for block in found] == ["program", "program", "exit"]
    for block in found:
        tell(block, story)
    wrong = Block("console", "$ echo one\ntwo\n", 1)
    with pytest.raises(AssertionError, match="no line 'two'"):
        tell(wrong, story)
