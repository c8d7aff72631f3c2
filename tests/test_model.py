"""tests/model/ring.pml, checked by SPIN: every interleaving of a small ring and its sleepers.

What is right must hold in all of them; each variant that leaves out one thing must fail, or the
model would not say much."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).resolve().parent / "model" / "ring.pml"
WHOLE = [
    "",
    "-DKILL",
    "-DCONSUMERS=2",
    "-DCONSUMERS=2 -DKILL",
    "-DCONSUMERS=2 -DN=1",
    "-DPOLLER -DM=6",
    "-DPOLLER -DKILL",
    "-DPOLLER=1 -DCONSUMERS=2 -DKILL",
    "-DPOLLER=3 -DCONSUMERS=2 -DKILL",
    "-DCONSUMERS=2 -DN=3 -DM=6",
]
LOST_WAKE_UP, ASSERTION = "invalid end state", "assertion violated"
BROKEN = {
    "-DBROKEN_FENCE": LOST_WAKE_UP,
    "-DBROKEN_RECHECK_DATA": LOST_WAKE_UP,
    "-DBROKEN_RECHECK_SPACE": LOST_WAKE_UP,
    "-DBROKEN_FILL": LOST_WAKE_UP,
    "-DBROKEN_SETTLE -DCONSUMERS=2": LOST_WAKE_UP,
    "-DBROKEN_SETTLE_NEWS -DCONSUMERS=2": LOST_WAKE_UP,
    "-DBROKEN_SETTLE_ORDER -DCONSUMERS=2": LOST_WAKE_UP,
    "-DBROKEN_SETTLE -DPOLLER": LOST_WAKE_UP,
    "-DBROKEN_DEATH -DKILL": ASSERTION,
    "-DBROKEN_ORDER": ASSERTION,
}

pytestmark = [
    pytest.mark.skipif(shutil.which("spin") is None, reason="needs spin (Debian: spin)"),
    pytest.mark.hang_guard(60),
]


def check(folder: Path, options: str) -> str:
    """What the checker says that SPIN makes of the model."""

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("spin", "-a", *options.split(), str(MODEL))
    run("cc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c")
    return run("./pan", "-m100000")


@pytest.mark.parametrize("options", WHOLE, ids=lambda options: options or "plain")
def test_it_holds_in_every_interleaving(tmp_path, options):
    said = check(tmp_path, options)
    assert "errors: 0" in said, said
    assert "Search not completed" not in said, said
    assert "max search depth too small" not in said, said
    states = re.search(r"(\d+) states, stored", said)
    assert states is not None, said
    assert int(states[1]) > 10_000, said


@pytest.mark.parametrize("options", BROKEN)
def test_what_is_left_out_is_missed(tmp_path, options):
    said = check(tmp_path, options)
    assert BROKEN[options] in said, said
    assert "errors: 1" in said, said


def test_each_broken_variant_is_tried():
    assert set(re.findall(r"BROKEN_[A-Z_]+\b", MODEL.read_text())) == {
        name for options in BROKEN for name in re.findall(r"BROKEN_\w+", options)
    }
