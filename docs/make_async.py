"""Write the verbs of ``AsyncVecDB`` and ``AsyncCollection`` from those of ``VecDB`` and
``Collection``: vecdb/aio/writing.py, querying.py, collection.py, writing_verbs.py,
querying_verbs.py, verbs.py and database_verbs.py.

    python docs/make_async.py            write them
    python docs/make_async.py --check    say whether they are as they should be (exit code 1: not)

How a verb is run is told by its name and by what it returns, see ``way_of``.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generated import in_brackets, write_or_check

import vecdb
from vecdb.querying import Querying
from vecdb.verbs import Verbs
from vecdb.writing import Writing

TARGETS = Path(__file__).parent.parent / "vecdb" / "aio"

LASTING = {"check", "create_full_snapshot", "create_snapshot", "flush", "recover_snapshot"}
HERE = {"collection_exists", "get_collections", "snapshot_path"}
WRITING = {"models.UpdateResult", "list[models.UpdateResult]"}
CONFIGURING = {
    *("create_payload_index", "delete_payload_index", "create_vector_name", "delete_vector_name")
}
"""Their results are those of writes, but they change the configuration, each alone."""
WRITTEN_BY_HAND = {"check_usable", "close", "collection", "wait_for_optimizer"}

CHANGES = '''\
"""The verbs of a collection that change it, as coroutines.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

{imports}

class AsyncWriting:
    """One coroutine for each verb of ``Collection`` that changes it."""

    _calls: Calls
    _collection: Reading
'''

QUERIES = '''\
"""The verbs of a collection that read it, as coroutines.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

{imports}

class AsyncQuerying(AsyncWriting):
    """One coroutine for each verb of ``Collection`` that reads it."""
'''

COLLECTION = '''\
"""The verbs of ``Collection`` as coroutines: those that change it, and those that read.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

{imports}

class AsyncCollection(AsyncQuerying):
    """One collection of an open database: the same verbs as ``AsyncVecDB``, without the name."""

    def __init__(self, calls: Calls, collection: Collection) -> None:
        self._calls = calls
        self._collection = Reading.of(collection)

    def __eq__(self, other: object) -> bool:
        """Whether it is a handle of the same open collection."""
        return isinstance(other, AsyncCollection) and other._collection == self._collection

    def __hash__(self) -> int:
        return hash(self._collection)

    def __repr__(self) -> str:
        return f"<Async{{repr(self._collection)[1:]}}"

    def __len__(self) -> int:
        return len(self._collection)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._collection.name

    @property
    def recovery(self) -> RecoveryReport:
        """What opening the collection found and did."""
        return self._collection.recovery
'''

WRITING_VERBS = '''\
"""The verbs of ``AsyncCollection`` that change it, with its name first, as ``AsyncVecDB`` has them.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

{imports}

class AsyncWritingVerbs(Opening):
    """One coroutine for each verb of ``AsyncCollection`` that changes it."""

    def collection(self, collection_name: str) -> AsyncCollection:
        """A handle with the same verbs and no name argument. Raises NotFoundError, and for a
        collection in ``damaged`` its error."""
        return AsyncCollection(self._calls, self.database.collection(collection_name))
'''

QUERYING_VERBS = '''\
"""The verbs of ``AsyncCollection`` that read it, with its name first, as ``AsyncVecDB`` has them.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

{imports}

class AsyncQueryingVerbs(AsyncWritingVerbs):
    """One coroutine for each verb of ``AsyncCollection`` that reads it."""
'''

VERBS = '''\
"""The verbs of ``AsyncCollection`` with its name first, as ``AsyncVecDB`` has them.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

{imports}

class AsyncVerbs(AsyncQueryingVerbs):
    """One coroutine for each verb of ``AsyncCollection``."""
'''

DATABASE_VERBS = '''\
"""The verbs of ``VecDB`` on collections and on the database, as coroutines.

Not written by hand: ``python docs/make_async.py`` makes this file.
"""

{imports}

class AsyncDatabaseVerbs(AsyncVerbs):
    """One coroutine for each verb of ``VecDB``."""
'''


def way_of(name: str, function: Any) -> str:
    """The method of ``Calls`` that runs a verb."""
    if name == "wait_for_optimizer":
        return "wait"
    if name.startswith("upload_"):
        return "upload"
    if name in LASTING:
        return "last"
    if name in HERE:
        return "here"
    if inspect.signature(function).return_annotation in WRITING and name not in CONFIGURING:
        return "write"
    if is_stream(function):
        return "stream"
    return "read" if takes_points(function) else "call"


def is_stream(function: Any) -> bool:
    """Whether a verb gives one thing after the other."""
    return str(inspect.signature(function).return_annotation).startswith("Iterator[")


def takes_points(function: Any) -> bool:
    """Whether it is a verb on points."""
    return any(p.annotation == "Unpack[OfPoints]" for p in parameters(function))


def parameters(function: Any) -> list[inspect.Parameter]:
    """Those after ``self``."""
    return list(inspect.signature(function).parameters.values())[1:]


def public(cls: type, *, without: type | None = None) -> Iterator[tuple[str, Any]]:
    """The verbs of a class that are not verbs of the other, in the order they are written."""
    seen: set[str] = set() if without is None else set(dir(without))
    for part in cls.__mro__[:-1]:
        for name, member in vars(part).items():
            if inspect.isfunction(member) and not name.startswith("_") and name not in seen:
                seen.add(name)
                yield name, member


def declared(function: Any, first: list[str]) -> list[str]:
    """The parameters, as they are written."""
    words = ["self", *first]
    for each in parameters(function):
        if each.kind is each.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        stars = "**" if each.kind is each.VAR_KEYWORD else ""
        default = "" if each.default is each.empty else f" = {each.default!r}"
        words.append(f"{stars}{each.name}: {each.annotation}{default}".replace("'", '"'))
    return words


def handed(function: Any) -> list[str]:
    """The arguments, each by its name."""
    return [
        f"**{each.name}" if each.kind is each.VAR_KEYWORD else f"{each.name}={each.name}"
        for each in parameters(function)
    ]


def docstring(function: Any) -> str:
    """The docstring, indented as in a class."""
    text = inspect.cleandoc(function.__doc__ or "")
    assert text, f"{function.__qualname__} has no docstring"
    assert "\\" not in text
    end = "\n" if "\n\n" in text else ""
    text = f'"""{text}{end}"""'
    return textwrap.indent(text, " " * 8).strip()


def method(function: Any, first: list[str], body: list[str], *, start: str) -> str:
    """A coroutine: its head, the docstring, and the call it makes."""
    result = inspect.signature(function).return_annotation
    if is_stream(function):
        result = f"Async{result}"
    head = in_brackets(
        f"async def {function.__name__}", declared(function, first), f" -> {result}:", indent=4
    )
    awaited = "await " if result == "None" else "return await "
    call = in_brackets(f"{awaited}{start}", body, "", indent=8)
    return f"\n{head}\n        {docstring(function)}\n{call}\n"


def of_collection(cls: type, *, without: type | None = None) -> str:
    """The methods of a collection, or of a part of one."""
    text = ""
    for name, function in public(cls, without=without):
        way, arguments = way_of(name, function), handed(function)
        if way in ("read", "stream", "write", "upload"):
            body = ["self._collection", f"Collection.{name}", *arguments]
        elif way == "wait":
            body = ["self._collection", "timeout"]
        else:
            body = [f"self._collection.{name}", *arguments]
        text += method(function, [], body, start=f"self._calls.{way}")
    return text


def of_verbs(cls: type, *, without: type | None = None) -> str:
    """The methods of ``AsyncVerbs``, or of a part of it."""
    text = ""
    for name, function in public(cls, without=without):
        if hasattr(Verbs, name):
            text += method(
                function,
                ["collection_name: str"],
                handed(function),
                start=f"self.collection(collection_name).{name}",
            )
    return text


def of_database() -> str:
    """The methods of ``AsyncDatabaseVerbs``."""
    text = in_brackets("def __init__", declared(vecdb.VecDB.__init__, []), " -> None:", indent=4)
    call = in_brackets("partial", ["VecDB", *handed(vecdb.VecDB.__init__)], "", indent=12).strip()
    text = f"\n{text}\n" + in_brackets("super().__init__", [call], "", indent=8) + "\n"
    for name, function in public(vecdb.VecDB, without=Verbs):
        if name not in WRITTEN_BY_HAND:
            way = way_of(name, function)
            body = [f"self.database.{name}", *handed(function)]
            text += method(function, [], body, start=f"self._calls.{way}")
    return text


def imports_of(*modules: Any) -> dict[str, tuple[str, str]]:
    """The names that modules import: name -> (module, name there), or ("", module)."""
    found: dict[str, tuple[str, str]] = {}
    for module in modules:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.Import):
                found |= {alias.name: ("", alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {alias.name: (str(node.module), alias.name) for alias in node.names}
    return found


def names_in(source: str) -> set[str]:
    """The names that code uses and does not define as a parameter."""
    used: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            own = [*node.args.args, *node.args.kwonlyargs, node.args.kwarg]
            names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            hints = [each.annotation for each in own if each is not None and each.annotation]
            typed = {e.id for hint in hints for e in ast.walk(hint) if isinstance(e, ast.Name)}
            used |= typed | names - {each.arg for each in own if each is not None}
    return used


def header(template: str, methods: str, *others: tuple[str, str]) -> str:
    """The beginning of a file, with the imports that its methods need."""
    classes = dict.fromkeys((*vecdb.Collection.__mro__, *vecdb.VecDB.__mro__))
    ours = (cls.__module__ for cls in classes if cls.__module__.startswith("vecdb."))
    known = imports_of(*(sys.modules[name] for name in dict.fromkeys(ours)))
    known["AsyncIterator"] = ("collections.abc", "AsyncIterator")
    used = names_in(template.format(imports="") + methods)
    needed = {known[name] for name in used & set(known)} | set(others)
    blocks: list[list[str]] = [[], []]
    for module in sorted({module for module, _ in needed if module}):
        names = sorted((n for m, n in needed if m == module), key=lambda n: (not n.isupper(), n))
        blocks[module.startswith("vecdb")].append(f"from {module} import {', '.join(names)}")
    blocks[0] = [*sorted(f"import {name}" for module, name in needed if not module), *blocks[0]]
    lines = ["from __future__ import annotations", ""]
    for block in blocks:
        lines += [*block, ""] if block else []
    return template.format(imports="\n".join(lines))


def files() -> dict[Path, str]:
    """All of the files."""
    changes, queries = of_collection(Writing), of_collection(Querying, without=Writing)
    collection = of_collection(vecdb.Collection, without=Querying)
    changing, querying = of_verbs(Writing), of_verbs(Querying, without=Writing)
    verbs = of_verbs(vecdb.Collection, without=Querying)
    database = of_database()
    calls = ("vecdb.aio.calls", "Calls")
    reading, of = ("vecdb.aio.handles", "Reading"), ("vecdb.collection", "Collection")
    return {
        TARGETS / "writing.py": header(CHANGES, changes, calls, reading, of) + changes,
        TARGETS / "querying.py": header(QUERIES, queries, of, ("vecdb.aio.writing", "AsyncWriting"))
        + queries,
        TARGETS / "collection.py": header(
            COLLECTION, collection, calls, reading, of, ("vecdb.aio.querying", "AsyncQuerying")
        )
        + collection,
        TARGETS / "writing_verbs.py": header(
            WRITING_VERBS,
            changing,
            ("vecdb.aio.collection", "AsyncCollection"),
            ("vecdb.aio.opening", "Opening"),
        )
        + changing,
        TARGETS / "querying_verbs.py": header(
            QUERYING_VERBS, querying, ("vecdb.aio.writing_verbs", "AsyncWritingVerbs")
        )
        + querying,
        TARGETS / "verbs.py": header(
            VERBS, verbs, ("vecdb.aio.querying_verbs", "AsyncQueryingVerbs")
        )
        + verbs,
        TARGETS / "database_verbs.py": header(
            DATABASE_VERBS,
            database,
            ("functools", "partial"),
            ("vecdb.aio.verbs", "AsyncVerbs"),
            ("vecdb.database", "VecDB"),
        )
        + database,
    }


if __name__ == "__main__":
    sys.exit(write_or_check(files()))
