"""What must come of damage, and whether it did.

``outlook`` looks at the damaged bytes before anything opens them: whether there is a reason why
they do no harm. ``judge`` compares what was found with that: damage is detected, or tolerated, or
there is such a reason; everything else is wrong.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from proofs.damage import reasons
from proofs.damage.examine import Found, Notes, State, Truth, company
from proofs.damage.kinds import Case, Place
from proofs.damage.specs import COLLECTIONS
from vecdb.storage.format import BLOCK_SIZE

EARLIER = ("halfway", "closed")
"""Copies of a catalog that were taken earlier."""
DERIVED = (
    *("codes", "quantizer", "sketch", "index", "terms", "postings"),
    *("column", "order", "manifest"),
)


@dataclass(frozen=True)
class Judgement:
    """``detected``, ``tolerated``, ``harmless``, ``prefix``, ``absent`` or ``WRONG``."""

    outcome: str
    why: str


@dataclass(frozen=True)
class Outlook:
    """What the harness knows of a damage beforehand, by looking at the bytes alone."""

    states: dict[str, State]
    must_detect: str | None = None
    harmless: str | None = None
    """Why it does no harm, if it does none."""
    unread: bool = False
    """Whether nothing but ``check`` may find the damage."""
    torn: int = 0
    lost: int = 0
    """Operations that nothing can bring back, and whose absence nothing can tell."""


def outlook(case: Case, place: Place, truth: Truth) -> Outlook:
    """Look at a damaged directory before anything opens it."""
    states = {name: truth.last(case.template, name) for name in company(case)}
    unread = case.kind == "seqs" and not _is_searched(case)
    if case.mode == "live":
        return Outlook(states, harmless=_live_reason(case, place), unread=unread)
    if case.mode == "build":
        return Outlook(states)
    kind = case.kind
    if unread:
        return Outlook(states, unread=True)
    if kind in ("LOCK (database)", "lock.mdb"):
        what = "people read it" if kind.startswith("LOCK") else "LMDB makes it anew"
        return Outlook(states, harmless=f"its content is not state: {what}")
    before = place.templates / case.template
    if kind in ("wal", "wal/"):
        return _log_outlook(case, before, place.root, truth, states)
    path, old = place.root / case.path, before / case.path
    if kind == "data.mdb" and path.is_file():
        reason = reasons.catalog_unharmed(old.read_bytes(), path.read_bytes())
        return Outlook(states, harmless=reason or _caught_up(case, place, truth, states))
    if kind == "catalog/" and case.damage == "from":
        return Outlook(states, harmless=_caught_up(case, place, truth, states))
    if kind == "payload-edits" and not reasons.is_listed(old):
        return Outlook(states, harmless="payload edits that the catalog does not list any more")
    if kind.startswith("FORMAT") and path.is_file():
        return Outlook(states, harmless=_format_reason(case, old.read_bytes(), path.read_bytes()))
    if kind == "<collection>/" and case.damage == "from":
        return _restored_outlook(case, truth, states)
    return Outlook(states)


def _is_searched(case: Case) -> bool:
    """Whether the damaged collections have vectors: only a search says which operation has changed
    a point last."""
    return any(COLLECTIONS[name].vectors for name in case.owners)


def _log_outlook(
    case: Case, before: Path, root: Path, truth: Truth, states: dict[str, State]
) -> Outlook:
    """For a log of the damaged collection (or of both, if two were swapped)."""
    torn = lost = 0
    for name in case.owners:
        relative = f"collections/{name}/wal"
        log = reasons.log_after_damage(
            before / relative, root / relative, truth.applied[case.template, name]
        )
        if log.damaged:
            return Outlook(states, must_detect="acknowledged operations are damaged or missing")
        template, last = states[name]
        lost, torn = lost + last - log.last, torn + log.torn
        states[name] = template, log.last
    why = "nothing behind it in the log is left" if lost else "no operation is beyond the catalog"
    return Outlook(states, harmless=why, torn=torn, lost=lost)


def _caught_up(case: Case, place: Place, truth: Truth, states: dict[str, State]) -> str | None:
    """An older catalog is as good as the newest if the log still has all that came after it. So is
    the state before the last commit, in the same file, when a flipped bit has made the number of
    that commit smaller."""
    if case.damage not in ("from", "flip"):
        return None
    [name] = case.owners
    path = f"collections/{name}/catalog/data.mdb"
    before = (place.templates / case.template / path).read_bytes()
    data = (place.root / path).read_bytes()
    if case.damage == "flip" and reasons.newest_meta(data) == reasons.newest_meta(before):
        return None
    if case.damage == "from" and case.arguments[0] not in EARLIER:
        return None
    applied = reasons.read_catalog(data).applied_seq
    log = place.templates / case.template / f"collections/{name}/wal"
    if reasons.covers(log, applied, states[name][1]):
        return "an older catalog, and the log still has all that came after it"
    return None


def _format_reason(case: Case, old: bytes, new: bytes) -> str | None:
    if old.rstrip(b"\n") == new.rstrip(b"\n"):
        return "the line end of a FORMAT file"
    if case.kind == "FORMAT (database)" and case.damage in ("from", "swap"):
        return "a whole FORMAT file of the same version; nothing refers to a database's uuid"
    return None


def _restored_outlook(case: Case, truth: Truth, states: dict[str, State]) -> Outlook:
    [name] = case.owners
    source = case.arguments[0]
    states[name] = truth.last(source, name)
    return Outlook(states, harmless="a whole collection, of one moment: a backup put back")


def _live_reason(case: Case, place: Place) -> str | None:
    if case.damage in ("delete", "directory"):
        return "the mapping keeps the file"
    if case.kind == "data.mdb":
        return (
            "its rows are read when it is opened; what a commit depends on is looked at before it"
        )
    [name] = case.owners
    if (
        case.kind not in ("payload", "seqs")
        and Path(case.path).name not in COLLECTIONS[name].mapped
    ):
        return "read into memory when it was opened"
    size = (place.root / case.path).stat().st_size
    header, footer = 64, 24 + 8 * -(-size // BLOCK_SIZE)
    if case.damage == "flip" and not header <= int(case.arguments[0]) < size - footer:
        return "header and footer are read when it is opened"
    return None


def judge(case: Case, place: Place, notes: Notes, view: Outlook) -> Judgement:
    """Whether it is as it should be."""
    problem = _unconditional(case, place, notes)
    if problem is not None:
        return Judgement("WRONG", problem)
    if notes.refused is not None:
        if case.owners and not case.kind.startswith("collections"):
            return Judgement("WRONG", f"the whole database is refused: {notes.refused}")
        return _detected(case, place, [notes.refused], notes)
    mine = [notes.found[name] for name in sorted(case.owners)]
    errors = [e for f in mine for e in [f.unavailable, *f.errors] if e is not None] + notes.errors
    if errors:
        return _detected(case, place, errors, notes)
    if any(f.absent for f in notes.found.values()):
        gone = case.kind in ("<collection>/", "collections/")
        why = "a collection is its directory" if gone else "a collection is not there"
        return Judgement("absent" if gone else "WRONG", why)
    files = [path for f in mine for path in f.damaged_files]
    if files:
        return _tolerated(case, place, mine, files, notes)
    found_by_check = notes.after if case.mode == "live" else notes.check
    if view.unread and found_by_check:
        return _detected(case, place, found_by_check, notes)
    if view.must_detect is not None:
        return Judgement("WRONG", f"not noticed: {view.must_detect}")
    if view.harmless is None:
        return Judgement("WRONG", "not noticed, and there is no reason why it should do no harm")
    torn = sum(f.torn for f in mine)
    if torn != view.torn:
        return Judgement("WRONG", f"{torn} torn bytes reported, {view.torn} were")
    if case.mode == "live":
        if not notes.after and case.kind != "data.mdb":
            return Judgement("WRONG", "not found by check when it was closed")
        return Judgement("harmless", view.harmless)
    if notes.after:
        return Judgement("WRONG", f"check afterwards: {notes.after[0]}")
    return Judgement("prefix" if view.lost else "harmless", view.harmless)


def _unconditional(case: Case, place: Place, notes: Notes) -> str | None:
    """What must not be whatever the damage is."""
    wrong = [*notes.wrong, *(f"{n}: {w}" for n, f in notes.found.items() for w in f.wrong)]
    wrong += [f"check: {text}" for text in [*notes.check, *notes.after] if text[:5] == "WRONG"]
    if wrong:
        return wrong[0]
    for name, found in notes.found.items():
        hurt = found.unavailable or found.errors or found.damaged_files
        if name not in case.owners and hurt:
            return f"{name} is damaged too: {hurt}"
    return None


def _detected(case: Case, place: Place, errors: list[str], notes: Notes) -> Judgement:
    for error in errors:
        if not _names(case, place, error):
            return Judgement("WRONG", f"does not name what is damaged: {error}")
    if case.mode != "live" and not notes.check:
        return Judgement("WRONG", f"not found by check: {errors[0]}")
    if not notes.after:
        return Judgement("WRONG", f"gone after use, as if it had not been: {errors[0]}")
    return Judgement("detected", errors[0])


def _tolerated(
    case: Case, place: Place, mine: list[Found], files: list[str], notes: Notes
) -> Judgement:
    for path in files:
        if os.path.basename(path).split(".")[0] not in DERIVED:
            return Judgement("WRONG", f"tolerated, but cannot be made anew: {path}")
        if not _names(case, place, path):
            return Judgement("WRONG", f"named as damaged, but is not: {path}")
        if not any(path in warning for warning in notes.warnings):
            return Judgement("WRONG", f"no warning of {path}")
    if case.mode == "read" and not notes.check:
        return Judgement("WRONG", f"not found by check: {files[0]}")
    for found in mine:
        if found.rebuilt is not None:
            return Judgement("WRONG", f"not rebuilt: {found.rebuilt}")
    if notes.after:
        return Judgement("WRONG", f"check after the rebuild: {notes.after[0]}")
    return Judgement("tolerated", files[0])


def _names(case: Case, place: Place, text: str) -> bool:
    """Whether a text has the path of what is damaged, or of the directory it is in. If a catalog
    and a log or a segment contradict each other, that of the collection: which of them is too old
    cannot be known."""
    paths = [place.root / path for path in case.touched]
    if case.kind in ("data.mdb", "catalog/"):
        paths += [path.parents[0 if case.kind == "catalog/" else 1] for path in paths]
    return any(f"{path}" in text or f"{path.parent}" in text for path in paths)
