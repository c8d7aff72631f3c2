"""The student's form of a notebook, and `ipcx notebooks DIR`."""

import json
import re

import pytest

from ipcx import _notebooks
from ipcx.__main__ import main
from ipcx.lab.student import instructor, otter, student, without_solutions
from meta.tree import files

NOTEBOOKS = files(".ipynb", under="notebooks")
HIDDEN = "### BEGIN HIDDEN TESTS\nassert verdict, verdict.show()\n### END HIDDEN TESTS\n"
CHECK = f'verdict = p1.check("worker")\n{HIDDEN}verdict'
ANSWER = "%%process worker\nn = 6\n### BEGIN SOLUTION\nprint(n * 7)\n### END SOLUTION\nprint(n)"


def cell(name, source, kind="code"):
    made = {"cell_type": kind, "id": name, "metadata": {}, "source": source.splitlines(True)}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


@pytest.fixture
def notebook():
    cells = [
        cell("title", "# Title\nabout .check() and ### BEGIN SOLUTION", "markdown"),
        cell("plain", "x = 1"),
        cell("answer-1", ANSWER),
        cell("check-1", CHECK),
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


# ---------------------------------------------------------------- the text of a cell


def test_a_solution_gives_way_to_a_line_that_raises():
    stub = "# your code here\nraise NotImplementedError"
    assert without_solutions(ANSWER) == f"%%process worker\nn = 6\n{stub}\nprint(n)"


def test_the_stub_stands_where_the_solution_stood():
    source = "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"
    made = without_solutions(source)
    assert made == "def f():\n    # your code here\n    raise NotImplementedError"
    namespace = {}
    exec(made, namespace)
    with pytest.raises(NotImplementedError):
        namespace["f"]()


def test_hidden_tests_leave_nothing():
    assert without_solutions(CHECK) == 'verdict = p1.check("worker")\nverdict'


def test_two_solutions_in_a_cell():
    source = "### BEGIN SOLUTION\n1\n### END SOLUTION\nx\n### BEGIN SOLUTION\n2\n### END SOLUTION"
    assert "1" not in without_solutions(source)
    assert "2" not in without_solutions(source)
    assert without_solutions(source).count("raise NotImplementedError") == 2


@pytest.mark.parametrize(
    "source",
    [
        "### BEGIN SOLUTION\n42",
        "42\n### END SOLUTION",
        "### BEGIN SOLUTION\n### BEGIN HIDDEN TESTS\n42\n### END SOLUTION",
    ],
)
def test_no_notebook_rather_than_one_that_tells(source):
    with pytest.raises(ValueError, match=r"### (BEGIN|END)"):
        without_solutions(source)


# ---------------------------------------------------------------- the notebook


def test_a_student_gets_no_solution_and_no_hidden_test(notebook):
    made = json.dumps(student(notebook))
    assert "n * 7" not in made
    assert "assert verdict" not in made
    assert json.dumps(notebook).count("n * 7") == 1, "the author's own is as it was"


def test_nbgrader_finds_what_it_asks_for(notebook):
    for form, locked in ((instructor, False), (student, True)):
        cells = {c["id"]: c["metadata"] for c in form(notebook)["cells"]}
        common = {"schema_version": 3, "task": False}
        assert cells["answer-1"]["nbgrader"] == {
            **common,
            **{"grade_id": "answer-1", "grade": False, "solution": True, "locked": False},
        }
        assert cells["check-1"]["nbgrader"] == {
            **common,
            **{"grade_id": "check-1", "grade": True, "solution": False, "locked": True},
            "points": 1,
        }
        assert (cells["check-1"].get("editable") is False) == locked
        assert cells["plain"] == cells["title"] == {}


def test_an_instructor_keeps_the_solutions(notebook):
    sources = [c["source"] for c in instructor(notebook)["cells"]]
    assert sources == [c["source"] for c in notebook["cells"]]


@pytest.mark.parametrize("solved", [True, False])
def test_otter_finds_tests_that_tell_by_the_verdict(notebook, solved):
    import doctest

    (test,) = student(notebook)["metadata"]["otter"]["tests"].values()
    (case,) = test["suites"][0]["cases"]

    class Problem:
        def check(self, *roles):
            print("words of the check")
            return solved

    parsed = doctest.DocTestParser().get_doctest(case["code"], {"p1": Problem()}, "x", None, 0)
    assert (doctest.DocTestRunner().run(parsed, out=lambda _: None).failed == 0) == solved


def test_otter_assign_gets_its_questions(notebook):
    made = otter(notebook)
    shown = [(c["cell_type"], c["source"]) for c in made["cells"]]
    raw = [source.splitlines()[0] for kind, source in shown if kind == "raw"]
    assert raw == [
        *("# ASSIGNMENT CONFIG", "# BEGIN QUESTION", "# BEGIN SOLUTION", "# END SOLUTION"),
        *("# BEGIN TESTS", "# END TESTS", "# END QUESTION"),
    ]
    begin = shown.index(("raw", "# BEGIN QUESTION\nname: check_1\npoints: 1"))
    answer, test = shown[begin + 2][1], made["cells"][begin + 5]
    assert answer == ANSWER.replace("###", "#")
    assert test["source"].splitlines()[2:] == ['    verdict = p1.check("worker")', "bool(verdict)"]
    assert test["outputs"][0]["data"] == {"text/plain": "True"}
    assert shown[begin + 8][1] == 'verdict = p1.check("worker")\nverdict'
    ids = [c["id"] for c in made["cells"]]
    assert len(set(ids)) == len(ids)
    assert ANSWER not in shown[begin + 2]
    assert json.dumps(notebook).count("### BEGIN SOLUTION") == 2, "the author's own is as it was"


def test_otter_needs_an_answer_for_each_check(notebook):
    notebook["cells"].pop(2)
    with pytest.raises(ValueError, match="cell check-1 checks no answer"):
        otter(notebook)


@pytest.mark.hang_guard(120)  # nbformat is imported
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_notebook_as_graders_read_it(path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is missing: `make .venv/.lab`")
    original = json.loads(path.read_text())
    checks = [c["id"] for c in original["cells"] if "### BEGIN HIDDEN" in "".join(c["source"])]
    assert len(checks) >= 3
    for form in (instructor, student, otter):
        nbformat.validate(nbformat.reads(json.dumps(form(original)), as_version=4))
    marked = [c["metadata"].get("nbgrader", {}) for c in instructor(original)["cells"]]
    graded = [one["grade_id"] for one in marked if one.get("grade")]
    assert graded == checks
    assert all(re.fullmatch(r"[a-zA-Z0-9_\-]+", one) for one in graded)
    questions = [c["source"] for c in otter(original)["cells"] if "BEGIN QUESTION" in c["source"]]
    assert len(questions) == len(checks)


# ---------------------------------------------------------------- ipcx notebooks DIR


@pytest.fixture
def originals(notebook, tmp_path, monkeypatch):
    folder = tmp_path / "originals"
    folder.mkdir()
    for name in ("00_first.ipynb", "01_second.ipynb"):
        (folder / name).write_text(json.dumps(notebook))
    monkeypatch.setattr(_notebooks, "folder", lambda: folder)
    return folder


def test_the_command_copies_the_students_form(originals, tmp_path, capsys):
    target = tmp_path / "a" / "b c"
    assert main(["notebooks", str(target)]) == 0
    assert sorted(p.name for p in target.iterdir()) == ["00_first.ipynb", "01_second.ipynb"]
    assert "n * 7" not in (target / "00_first.ipynb").read_text()
    assert f"jupyter lab '{target}'" in capsys.readouterr().out


def test_a_teacher_gets_the_solutions(originals, tmp_path):
    assert main(["notebooks", "--solutions", str(tmp_path / "t")]) == 0
    assert "n * 7" in (tmp_path / "t" / "00_first.ipynb").read_text()
    assert main(["notebooks", "--otter", str(tmp_path / "o")]) == 0
    assert "# BEGIN QUESTION" in (tmp_path / "o" / "00_first.ipynb").read_text()
    with pytest.raises(SystemExit):
        main(["notebooks", "--otter", "--solutions", str(tmp_path / "n")])


def test_a_students_work_is_kept_and_that_is_said(originals, tmp_path, capsys):
    target = tmp_path / "t"
    main(["notebooks", str(target)])
    work = target / "00_first.ipynb"
    work.write_text("my work")
    (target / "01_second.ipynb").unlink()
    capsys.readouterr()
    assert main(["notebooks", str(target)]) == 0
    assert work.read_text() == "my work"
    assert (target / "01_second.ipynb").exists()
    assert f"kept   {work}: it is there already" in capsys.readouterr().out


def test_replace_renames_what_was_there(originals, tmp_path, capsys):
    target = tmp_path / "t"
    for work in ("my work", "my other work"):
        main(["notebooks", str(target)])
        (target / "00_first.ipynb").write_text(work)
        assert main(["notebooks", "--replace", str(target)]) == 0
    assert (target / "00_first.mine.ipynb").read_text() == "my work"
    assert (target / "00_first.mine-2.ipynb").read_text() == "my other work"
    assert "your code here" in (target / "00_first.ipynb").read_text()
    assert "moved" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_a_sentence(originals, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["notebooks", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("ipcx notebooks: ")


def test_the_folder_is_the_trees_own():
    assert _notebooks.folder().name == "notebooks"
