"""A few cases of every fuzzer, and every one that once found something.

`make fuzz` runs them by the minute.
"""

from collections.abc import Iterator

import pytest

from tests.fuzz.run import try_case, working_folder
from tests.fuzz.targets import TARGETS

FEW = 12
# Embedded zero in an external location; branches in branches; an input of a type that the operator
# does not take.
FOUND = {"model": [13, 38, 1025]}


@pytest.fixture(scope="module")
def made() -> Iterator[dict[str, bytes]]:
    """The working folder, and the seeds that damage of kept plans must not reach."""
    with working_folder():
        yield {f"plan/{name}": make() for name, make in TARGETS["plan"].seeds.items()}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_damage_gets_an_answer(made: dict[str, bytes], name: str) -> None:
    for number in [*range(FEW), *FOUND.get(name, [])]:
        answer = try_case(name, number, made)[1]
        assert not answer.finding, f"{name} case {number}: {answer.finding}\n{answer.text}"
