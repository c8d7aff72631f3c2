#!/usr/bin/env bash
# nbgrader and otter-grader themselves, on two of the notebooks: who has solved everything gets all
# points, who has handed in the student's form gets none. An environment for each of them in
# build/graders, with a wheel of this tree.
#
#   tools/graders.sh [notebook …]        (default: 00_setup_and_doctor 09_tcp)
set -euo pipefail
cd "$(dirname "$0")/.."

notebooks=("${@:-00_setup_and_doctor}")
[[ $# -gt 0 ]] || notebooks+=(09_tcp)
python=$PWD/.venv/bin/python
room=$PWD/build/graders
rm -rf "$room/work" "$room/wheels"
mkdir -p "$room/work/home"
"$python" -m pip --disable-pip-version-check wheel -q --no-deps --no-build-isolation -w "$room/wheels" .
for grader in nbgrader otter-grader; do
    [[ -d $room/$grader ]] || "$python" -m venv "$room/$grader"
    pip=("$room/$grader/bin/python" -m pip --disable-pip-version-check install -q)
    "${pip[@]}" ipykernel "$(grep "^$grader==" requirements/graders.txt)"
    "${pip[@]}" --no-deps --force-reinstall "$room"/wheels/*.whl
done
# Of the user nothing is read, and nothing is left to him.
cd "$room/work"
export HOME=$PWD/home JUPYTER_CONFIG_DIR=$PWD/home JUPYTER_DATA_DIR=$PWD/home IPYTHONDIR=$PWD/home
path=$PATH

quietly() {
    "$@" > log 2>&1 || { cat log; echo "failed: $*"; exit 1; } >&2
}

export PATH=$room/nbgrader/bin:$path
for form in --solutions --otter; do
    ipcx notebooks $form "all$form" > /dev/null
done
mkdir -p source/lab submitted/{solved,untouched}/lab
for name in "${notebooks[@]}"; do
    cp "all--solutions/$name.ipynb" source/lab
done
quietly nbgrader generate_assignment lab --create
cp source/lab/*.ipynb submitted/solved/lab
cp release/lab/*.ipynb submitted/untouched/lab
quietly nbgrader autograde lab --create
if grep -q "cannot be converted" log; then
    echo "nbgrader takes a verdict for a number of points" >&2
    exit 1
fi
quietly nbgrader export
for name in "${notebooks[@]}"; do
    nbgrader validate "source/lab/$name.ipynb" 2>&1 | grep -q "Success!"
    nbgrader validate "release/lab/$name.ipynb" 2>&1 | grep -q "cell failed"
done
"$python" - <<'END'
import csv
with open("grades.csv") as file:
    rows = {row["student_id"]: row for row in csv.DictReader(file)}
print("nbgrader:", {who: f"{row['score']} of {row['max_score']}" for who, row in rows.items()})
assert float(rows["untouched"]["score"]) == 0
assert float(rows["solved"]["score"]) == float(rows["solved"]["max_score"]) > 0
END

export PATH=$room/otter-grader/bin:$path
for name in "${notebooks[@]}"; do
    quietly otter assign --no-pdfs "all--otter/$name.ipynb" "dist/$name"
    for who in autograder student; do
        mkdir -p "run/$name/$who"
        cp "dist/$name/$who/$name.ipynb" "run/$name/$who"
        (cd "run/$name/$who" && quietly otter run -a ../../../dist/"$name"/autograder/*.zip -o . "$name.ipynb")
    done
done
"$python" - "${notebooks[@]}" <<'END'
import json, sys
for name in sys.argv[1:]:
    for who in ("autograder", "student"):
        with open(f"run/{name}/{who}/results.json") as file:
            tests = [test for test in json.load(file)["tests"] if test.get("max_score")]
        got, most = (sum(test[key] for test in tests) for key in ("score", "max_score"))
        print(f"otter-grader: {name}, {who}: {got} of {most}")
        assert most > 0 and got == (most if who == "autograder" else 0), tests
END
