"""Every planted bug has a place in vecdb: a bug that is planted nowhere is found by no proof."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proofs import mutants
from proofs.crowd.mutants import MUTANTS as OF_CROWD
from proofs.crowd.world import VERBS
from proofs.damage.mutants import MUTANTS as OF_DAMAGE
from proofs.io_faults.mutants import MUTANTS as OF_IO_FAULTS
from proofs.io_faults.workloads import WORKLOADS as UNDER_FAULTS
from proofs.mutants import Mutant, put
from proofs.powerloss.mutants import MUTANTS as OF_POWERLOSS
from proofs.powerloss.mutants import WITHOUT_A_CRASH
from proofs.powerloss.workloads import WORKLOADS as CRASHED

ALL: dict[str, Mutant[Any]] = {
    f"{proof}: {name}": mutant
    for proof, found in (
        ("powerloss", OF_POWERLOSS | WITHOUT_A_CRASH),
        ("damage", OF_DAMAGE),
        ("crowd", OF_CROWD),
        ("io_faults", OF_IO_FAULTS),
    )
    for name, mutant in found.items()
}


@pytest.mark.parametrize("mutant", ALL.values(), ids=list(ALL))
def test_what_a_bug_replaces_is_there(mutant: Mutant[Any]) -> None:
    with mutant.planted():
        replaced = list(mutants._replaced)
        assert replaced, "it replaces nothing"
        for owner, name, was in replaced:
            assert vars(owner)[name] is not was
    for owner, name, was in replaced:
        assert vars(owner).get(name, mutants._ABSENT) is was
    assert mutant.what


def test_what_shows_a_bug_is_there() -> None:
    assert {name for m in OF_POWERLOSS.values() for name in m.shown_by} <= set(CRASHED)
    assert {m.shown_by for m in OF_CROWD.values()} <= set(VERBS)
    assert {m.shown_by.workload for m in OF_IO_FAULTS.values()} <= set(UNDER_FAULTS)


def test_a_bug_whose_place_is_gone_is_an_error() -> None:
    with pytest.raises(AttributeError, match="renamed"):
        put(SimpleNamespace, "renamed", None)
    assert not mutants._replaced
