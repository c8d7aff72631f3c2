"""tests/model, checked by SPIN: every interleaving of a small ring and its sleepers (ring.pml), and
of processes that take a robust lock and are killed (sync.pml).

What is right must hold in all of them; each variant that leaves out one thing must fail, or the
model would not say much."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parent / "model"
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

SYNC_WHOLE = [
    "",
    "-DSTRICT",
    "-DKILL=1 -DROUNDS=1",
    "-DKILL=1 -DPROCESSES=2",
    "-DKILL=2 -DPROCESSES=2",
]
SYNC_BROKEN = {
    "-DBROKEN_CLEAN -DKILL=1": LOST_WAKE_UP,
    "-DBROKEN_BYTE -DKILL=1 -DROUNDS=1": ASSERTION,
    "-DBROKEN_TAKE -DKILL=1": LOST_WAKE_UP,
    "-DBROKEN_LOOK -DKILL=1 -DPROCESSES=2": LOST_WAKE_UP,
    "-DBROKEN_WAITED -DSTRICT -DPLACES=3": LOST_WAKE_UP,
}

pytestmark = [
    pytest.mark.skipif(shutil.which("spin") is None, reason="needs spin (Debian: spin)"),
    pytest.mark.hang_guard(60),
]


def check(folder: Path, options: str, model: str = "ring") -> str:
    """What the checker says that SPIN makes of the model."""

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("spin", "-a", *options.split(), str(MODELS / f"{model}.pml"))
    run("cc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c")
    return run("./pan", "-m100000")


EACH_WHOLE = [("ring", options) for options in WHOLE] + [("sync", each) for each in SYNC_WHOLE]
EACH_BROKEN = [("ring", options) for options in BROKEN] + [("sync", each) for each in SYNC_BROKEN]


@pytest.mark.parametrize(("model", "options"), EACH_WHOLE, ids=lambda text: text or "plain")
def test_it_holds_in_every_interleaving(tmp_path, model, options):
    said = check(tmp_path, options, model)
    assert "errors: 0" in said, said
    assert "Search not completed" not in said, said
    assert "max search depth too small" not in said, said
    states = re.search(r"(\d+) states, stored", said)
    assert states is not None, said
    assert int(states[1]) > 10_000, said


@pytest.mark.parametrize(("model", "options"), EACH_BROKEN)
def test_what_is_left_out_is_missed(tmp_path, model, options):
    said = check(tmp_path, options, model)
    assert (BROKEN if model == "ring" else SYNC_BROKEN)[options] in said, said
    assert "errors: 1" in said, said


@pytest.mark.parametrize(("model", "broken"), [("ring", BROKEN), ("sync", SYNC_BROKEN)])
def test_each_broken_variant_is_tried(model, broken):
    text = (MODELS / f"{model}.pml").read_text()
    assert set(re.findall(r"BROKEN_[A-Z_]+\b", text)) == {
        name for options in broken for name in re.findall(r"BROKEN_\w+", options)
    }
