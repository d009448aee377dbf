"""Write vecdb/writing_verbs.py, querying_verbs.py and verbs.py from the verbs of ``Writing``,
``Querying`` and ``Collection``.

    python docs/make_verbs.py            write it
    python docs/make_verbs.py --check    say whether it is as it should be (exit code 1: it is not)

``VecDB`` has every verb on points that ``Collection`` has, with the collection's name first. They
are written out, not made when they are needed: so editors and type checkers know them.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from generated import in_brackets, write_or_check

PACKAGE = Path(__file__).parent.parent / "vecdb"
IMPORTS = {
    "collections.abc": ("Iterable", "Iterator", "Sequence"),
    "inspect": ("isfunction",),
    "typing": ("Any",),
}
"""What verbs may need."""

WRITING_VERBS = '''\
"""The verbs of ``Collection`` that change it, with its name first, as ``VecDB`` has them.

Not written by hand: ``python docs/make_verbs.py`` makes this file.
"""

from __future__ import annotations

{imports}
from vecdb import models, qdrant_arguments
from vecdb.collection import Collection
from vecdb.engine.database import Database
from vecdb.qdrant_arguments import OfPoints, Unpack


class WritingVerbs:
    """One method for each verb of ``Collection`` that changes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collection(self, collection_name: str) -> Collection:
        """A handle with the same verbs and no name argument. Raises NotFoundError, and for a
        collection in ``damaged`` its error."""
        return Collection(self._database, self._database.store(collection_name))
'''

QUERYING_VERBS = '''\
"""The verbs of ``Collection`` that read it, with its name first, as ``VecDB`` has them.

Not written by hand: ``python docs/make_verbs.py`` makes this file.
"""

from __future__ import annotations

{imports}
from vecdb import models, qdrant_arguments
from vecdb.qdrant_arguments import OfPoints, Unpack
from vecdb.writing_verbs import WritingVerbs


class QueryingVerbs(WritingVerbs):
    """One method for each verb of ``Collection`` that reads it."""
'''

VERBS = '''\
"""The verbs of ``Collection`` with its name first, as ``VecDB`` has them.

Not written by hand: ``python docs/make_verbs.py`` makes this file.
"""

from __future__ import annotations

{imports}
from vecdb import models, qdrant_arguments
from vecdb.qdrant_arguments import OfPoints, Unpack
from vecdb.querying_verbs import QueryingVerbs


class Verbs(QueryingVerbs):
    """One method for each verb of ``Collection``."""
'''

TAIL = """

for _verb in vars({name}).values():
    if isfunction(_verb):  # what Python calls it, when it is called with wrong arguments
        _verb.__qualname__ = f"VecDB.{{_verb.__name__}}"
"""


def of_points(source: str) -> Iterator[ast.FunctionDef]:
    """The verbs on points of a source: those that take what Qdrant's client takes besides."""
    for part in ast.parse(source).body:
        for node in part.body if isinstance(part, ast.ClassDef) else ():
            if isinstance(node, ast.FunctionDef) and node.args.kwarg is not None:
                yield node


def parameters(verb: ast.FunctionDef, source: str) -> list[str]:
    """The parameters after ``self``, as they are written."""
    args = verb.args
    others = [*args.posonlyargs, *args.kwonlyargs, args.vararg]
    assert others == [None], f"{verb.name}: only plain parameters are known here"
    defaults = [None] * (len(args.args) - len(args.defaults)) + args.defaults
    written = []
    for arg, default in list(zip(args.args, defaults, strict=True))[1:]:
        value = "" if default is None else f" = {ast.get_source_segment(source, default)}"
        written.append(f"{ast.get_source_segment(source, arg)}{value}")
    assert args.kwarg is not None
    return [*written, f"**{ast.get_source_segment(source, args.kwarg)}"]


def documentation(verb: ast.FunctionDef, source: str) -> str:
    """The docstring, as it is written."""
    statement = verb.body[0]
    assert ast.get_docstring(verb), f"{verb.name} has no docstring"
    return str(ast.get_source_segment(source, statement))


def method(verb: ast.FunctionDef, source: str) -> str:
    """A verb of ``VecDB``."""
    assert verb.returns is not None
    result = ast.get_source_segment(source, verb.returns)
    first = ["self", "collection_name: str"]
    head = in_brackets(
        f"def {verb.name}", [*first, *parameters(verb, source)], f" -> {result}:", indent=4
    )
    names = [f"{arg.arg}={arg.arg}" for arg in verb.args.args[1:]]
    handed = "" if result == "None" else "return "
    call = in_brackets(f"{handed}self.collection(collection_name).{verb.name}", names, "", indent=8)
    return f"""
{head}
        {documentation(verb, source)}
        qdrant_arguments.check("VecDB.{verb.name}", qdrant)
{call}
"""


def module(head: str, name: str, source: Path) -> str:
    """All of a file: the class of this name, with the verbs of the only class of a source."""
    text = source.read_text(encoding="utf-8")
    methods = "".join(method(verb, text) for verb in of_points(text))
    used = {"isfunction", *re.findall(r"\w+", methods)}
    imports = [
        f"from {module} import {', '.join(names)}"
        for module, every in IMPORTS.items()
        if (names := [name for name in every if name in used])
    ]
    return head.format(imports="\n".join([*imports, ""])) + methods + TAIL.format(name=name)


def files() -> dict[Path, str]:
    """All of the files."""
    return {
        PACKAGE / "writing_verbs.py": module(WRITING_VERBS, "WritingVerbs", PACKAGE / "writing.py"),
        PACKAGE / "querying_verbs.py": module(
            QUERYING_VERBS, "QueryingVerbs", PACKAGE / "querying.py"
        ),
        PACKAGE / "verbs.py": module(VERBS, "Verbs", PACKAGE / "collection.py"),
    }


if __name__ == "__main__":
    sys.exit(write_or_check(files()))
