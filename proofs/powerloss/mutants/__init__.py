"""Planted bugs: each switches one step of the protocol off. The power-loss test must catch them."""

from proofs.powerloss.mutants import columns, sparse, upkeep, writes
from proofs.powerloss.mutants.registry import MUTANTS
from proofs.powerloss.mutants.upkeep import WITHOUT_A_CRASH

__all__ = ["MUTANTS", "WITHOUT_A_CRASH", "columns", "sparse", "upkeep", "writes"]
