"""The notebooks as files: nothing of a run, no machine and no editor is to be seen in them."""

import importlib.util
import json

import pytest

from meta.tree import ROOT, files, name

NOTEBOOKS = files(".ipynb", under="notebooks")


def load_tool():
    spec = importlib.util.spec_from_file_location("notebooks_tool", ROOT / "tools/notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def test_every_notebook_is_as_it_should_be():
    assert [f"{name(path)}: {what}" for path in NOTEBOOKS for what in tool.complaints(path)] == []


# ---------------------------------------------------------------- the tool itself


@pytest.fixture
def notebook(tmp_path):
    """Writes one with these cells changed or added, and gives its path."""

    def write(change=None, *, file="77_x.ipynb"):
        made = tool.skeleton("X")
        if change:
            change(made)
        path = tmp_path / file
        path.write_text(tool.text(made))
        return path

    return write


def code(source, **more):
    cell = {"cell_type": "code", "id": "added", "metadata": {}}
    cell["source"] = source.splitlines(keepends=True)
    return cell | {"execution_count": None, "outputs": []} | more


def test_the_skeleton_is_as_it_should_be(notebook):
    assert tool.complaints(notebook()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: n["cells"].append(code("1", execution_count=3)), "`make fmt`"),
        (
            lambda n: n["cells"].append(
                code("1", outputs=[{"output_type": "stream", "name": "stdout", "text": "1"}])
            ),
            "`make fmt`",
        ),
        (lambda n: n["cells"].append(code("1", metadata={"collapsed": True})), "`make fmt`"),
        (lambda n: n["cells"].append(code("1", id="0a1b2c3d-77")), "`make fmt`"),
        (lambda n: n["cells"].append(n["cells"][0]), "`make fmt`"),
        (lambda n: n["metadata"].update(widgets={}), "`make fmt`"),
        (lambda n: n["metadata"]["kernelspec"].update(name="my-venv"), "`make fmt`"),
        (lambda n: n["cells"].pop(0), "title"),
        (lambda n: n["cells"].pop(1), "set-up cell"),
        (lambda n: n["cells"].append(code("def f(:")), "line 1 is no Python"),
        (lambda n: n["cells"].append(code("%%process x\ndef f(:")), "line 2 is no Python"),
        (lambda n: n["cells"].append(code("open('/ho" + "me/ann/x')")), "path of one machine"),
        (lambda n: n["cells"].append(code("%pip install " + "ipcx")), "libipcx"),
        (
            lambda n: n["cells"].append(code("%%process x\n### BEGIN SOLUTION")),
            "BEGIN SOLUTION without its END",
        ),
        (
            lambda n: n["cells"].append(code("%%process x\n### END SOLUTION")),
            "END SOLUTION without its BEGIN",
        ),
        (
            lambda n: n["cells"].append(code("%%process x\n## begin solution\n1")),
            "not spelled as nbgrader wants it",
        ),
        (lambda n: n["cells"].append(code("p1.check(f)")), "a check is: verdict ="),
        (
            lambda n: n["cells"].append(code("### BEGIN SOLUTION\n1\n### END SOLUTION")),
            "outside a %%process cell or a function",
        ),
    ],
)
def test_what_is_wrong_is_said(notebook, change, words):
    found = tool.complaints(notebook(change))
    assert [what for what in found if words in what], found


def test_a_wrong_name_is_said(notebook):
    assert "NN_topic.ipynb" in tool.complaints(notebook(file="Tcp.ipynb"))[0]


@pytest.mark.parametrize(
    "source",
    [
        "await asyncio.sleep(0)",
        "%%process x --background\nprint(1)",
        "%%bash\nfor f in *; do echo $f; done",
        "if True:\n    %matplotlib inline",
        "!ls",
        "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION",
    ],
)
def test_what_a_notebook_may_hold(notebook, source):
    assert tool.complaints(notebook(lambda n: n["cells"].append(code(source)))) == []


def test_stripping_cures_what_a_run_leaves_and_keeps_the_rest(notebook):
    def run(made):
        made["cells"].append(
            code("1", execution_count=1, metadata={"tags": ["raises-exception", "x"]})
        )
        made["metadata"]["widgets"] = {}

    path = notebook(run)
    before = json.loads(path.read_text())["cells"]
    assert tool.main(["strip", str(path)]) == 0
    assert tool.complaints(path) == []
    after = json.loads(path.read_text())["cells"]
    assert [cell["source"] for cell in after] == [cell["source"] for cell in before]
    assert [cell["id"] for cell in after] == [cell["id"] for cell in before]
    assert after[-1]["metadata"] == {"tags": ["raises-exception"]}


def test_a_random_id_becomes_one_that_stays(notebook):
    path = notebook(lambda n: n["cells"].append(code("x = 1", id="0a1b2c3d-4e5f")))
    tool.main(["strip", str(path)])
    once = path.read_text()
    tool.main(["strip", str(path)])
    assert path.read_text() == once
    assert json.loads(once)["cells"][-1]["id"].startswith("c")


def test_a_notebook_as_a_text_and_back(notebook, tmp_path, capsys):
    path, copy = notebook(), tmp_path / "78_copy.ipynb"
    tool.main(["to-text", str(path)])
    written = tmp_path / "text"
    written.write_text(capsys.readouterr().out)
    assert "# %% code check-1\nverdict = p1.check(" in written.read_text()
    tool.main(["from-text", str(written), str(copy)])
    assert copy.read_text() == path.read_text()


def test_the_commands(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, "NOTEBOOKS", tmp_path)
    assert tool.main(["new", "99_last", "The last"]) == 0
    assert tool.main(["check"]) == 0
    with pytest.raises(FileExistsError):
        tool.main(["new", "99_last", "The last"])
    notebook(lambda n: n["cells"].append(code("def f(:")))
    assert tool.main(["check"]) == 1
    assert "77_x.ipynb: cell added: line 1 is no Python" in capsys.readouterr().err
    assert tool.main([]) == 2
