# Notebooks: `make lab` opens them, `make student` writes them without solutions, `make notebooks`
# runs each one in both forms.

STUDENT ?= build/student

.PHONY: lab student notebooks graders
# A copy: what somebody tries out in JupyterLab never lands in a commit. A second `make lab` goes on
# with the same copy.
lab: $(VENV)/.built $(VENV)/.lab $(VENV)/.jupyter ## open JupyterLab on a copy of the notebooks
	@test -d build/notebooks || $(PY) -m ipcx notebooks --solutions build/notebooks
	@$(PY) -m jupyter lab --notebook-dir build/notebooks $(ARGS)

student: $(VENV)/.built ## write the notebooks without solutions (STUDENT=build/student)
	@$(PY) -m ipcx notebooks $(STUDENT)

notebooks: $(VENV)/.built $(VENV)/.test $(VENV)/.lab ## run every notebook, with and without its solutions
	@$(PY) -m pytest -q tests/notebooks $(ARGS)

graders: $(VENV)/.built ## nbgrader and otter-grader on two of the notebooks, each in a venv of its own
	@tools/graders.sh

# `make test` and the type checkers look at ipcx.lab, too.
test lint-types: $(VENV)/.lab
fmt: strip-notebooks

.PHONY: strip-notebooks
strip-notebooks: $(VENV)/.made
	@$(PY) tools/notebooks.py strip
