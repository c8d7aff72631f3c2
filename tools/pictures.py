"""Makes the pictures of the README from the programs themselves: ``make pictures``.

The lecture's own pair runs under ``ipcx draw``, on a free port; the picture says the port that the
programs name. tests/lab/test_pictures.py makes it again and compares what is told.
"""

import sys
import tempfile
from pathlib import Path

from ipcx.lab import Record, SpaceTime
from ipcx.lab.draw import run
from ipcx.tour import ports

ROOT = Path(__file__).parents[1]
HELLO = ROOT / "docs" / "pictures" / "hello.svg"


def hello() -> Record:
    """The lecture's first server and first client: what they did."""
    port = ports.free_port(())
    with tempfile.TemporaryDirectory() as folder:
        for name in ("server.py", "client.py"):
            source = (ROOT / "examples" / "hello_8080" / name).read_text()
            (Path(folder) / name).write_text(ports.renumbered(source, {8080: port}))
        programs = [[str(Path(folder) / name)] for name in ("server.py", "client.py")]
        record, failed = run(programs)
    if failed:
        sys.exit("; ".join(failed))
    return Record.from_json(record.json().replace(f":{port}", ":8080"))


def main() -> None:
    HELLO.parent.mkdir(exist_ok=True)
    SpaceTime(hello(), title="The lecture's first server and its client").save(HELLO)
    print(HELLO.relative_to(ROOT))


if __name__ == "__main__":
    main()
