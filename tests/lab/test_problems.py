"""Every problem there is: its solution passes, each wrong one is told what is wrong with it."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipcx.lab.check import Verdict
from ipcx.lab.exercises import Exercise, Problem, Sources, every, problem

NIGHT = os.environ.get("IPCX_NIGHT") == "1"
SEEDS = (1, 2, 3, 4, 5) if NIGHT else (1,)
AT_ONCE = 4  # those that hang cost seconds, and nothing else
PROBLEMS = [pytest.param(each, id=each.id) for each in every()]


def verdict(exercise: Exercise, sources: Sources) -> Verdict:
    return exercise._verdict(exercise._roles((sources,), {}))


@pytest.mark.parametrize("kind", PROBLEMS)
def test_its_parts_are_there(kind: type[Problem]) -> None:
    assert kind.title
    assert kind.topic == f"{int(kind.topic):02}"
    assert kind.id == kind.id.lower()
    assert tuple(kind.solution) == kind.roles
    assert len(kind.hints) >= 2
    assert len(kind.broken) >= 2
    for wrong in kind.broken:
        assert wrong.roles.keys() <= set(kind.roles), wrong.name
        assert any(kind.solution[role] != source for role, source in wrong.roles.items())
    for seed in range(1, 6):
        one, again = problem(kind.id, seed), problem(kind.id, seed)
        assert one.text == again.text
        assert len(one.text.split()) > 20
        assert one._problem.given == again._problem.given
        assert all(role in one.text for role in kind.roles)


@pytest.mark.hang_guard(120)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", PROBLEMS)
def test_what_its_check_says(kind: type[Problem], seed: int) -> None:
    exercise = problem(kind.id, seed)
    broken = [wrong for wrong in kind.broken if NIGHT or not wrong.night]
    handed = [kind.solution, *(Sources(**{**kind.solution, **w.roles}) for w in broken)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        of_solution, *others = threads.map(lambda sources: verdict(exercise, sources), handed)
    assert of_solution, f"the solution: {of_solution}"
    for wrong, found in zip(broken, others, strict=True):
        against = [finding.text for finding in found.findings if not finding.ok]
        assert against, f"{wrong.name}: nothing is wrong with it"
        assert wrong.says in against[-1], f"{wrong.name}: {found}"
