"""``make mutate`` takes out what it says, and says when nobody has noticed."""

from __future__ import annotations

import pytest

from tests.mutate.mutants import Mutant, mutants
from tests.mutate.tree import copied
from tests.parity.rows import file_of

SOURCE = '''
class Gate:
    def opens(self, age, *, strict=False):
        """Whether it opens."""
        if age < 18 and strict:
            self.asked = True
            raise ValueError(f"{age + 1} is needed")
        with self.lock:
            log(age)
        return age


def other():
    return 1
'''


def found(source: str, *names: str) -> list[Mutant]:
    return list(mutants(source, set(names)))


def test_first_nothing_is_left_of_a_function_and_then_one_thing_is_missing_at_a_time() -> None:
    assert [mutant.what for mutant in found(SOURCE, "Gate.opens")] == [
        "Gate.opens: nothing left of it",
        "Gate.opens: the contrary of `age < 18 and strict`",
        "Gate.opens: `age < 18 and strict` with Or",
        "Gate.opens: `age < 18` with LtE",
        "Gate.opens: 19 in the place of 18",
        "Gate.opens: without `self.asked = True`",
        "Gate.opens: False in the place of True",
        "Gate.opens: without `raise ValueError(f'{age + 1} is needed')`",
        "Gate.opens: not inside `self.lock`",
        "Gate.opens: without `log(age)`",
        "Gate.opens: None in the place of `return age`",
    ]


def test_each_mutant_is_a_module_of_its_own_that_differs_in_one_place() -> None:
    sources = [mutant.source for mutant in found(SOURCE, "Gate.opens", "other")]

    assert len(set(sources)) == len(sources)
    for source in sources:
        compile(source, "mutant", "exec")


def test_what_is_left_of_a_generator_yields_nothing_and_of_a_context_manager_its_block() -> None:
    source = "def numbers():\n    yield 1\n\n@contextmanager\ndef inside():\n    yield 1\n"

    generator, context = (mutant.source for mutant in found(source, "numbers", "inside") if mutant.whole)

    assert "return\n    yield\n" in generator
    assert context.endswith("def inside():\n    yield")


@pytest.mark.slow
def test_tests_are_run_with_the_mutant_and_afterwards_without_it() -> None:
    path, test = file_of("tenantjobs.handlers"), "tests/tenantjobs/test_handlers.py"
    with copied() as tree:
        whole = next(mutants((tree.folder / path).read_text(), {"nearest"}))
        with tree.changed(path, whole.source):
            mutated = tree.run([test])
        original = tree.run([test])

    assert (mutated.passed, original.passed) == (False, True)
