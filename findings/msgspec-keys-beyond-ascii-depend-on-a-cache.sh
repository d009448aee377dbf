#!/usr/bin/env bash
# msgspec 0.23.0: whether a TypedDict's key is found in a message depends on what was done with the
# str object before.
#
# Seen: a decoder of a TypedDict that is made at run time with the key "größe", as it comes from
# json.loads, decodes {"größe": 7} to {}: the field is taken for an unknown one, without an error. If the
# same str object was encoded by msgspec once, before the decoder is made, the field is found. Keys in
# ASCII are always found. An ASCII str has its UTF-8 in itself; another has it only once it was asked for.
# Expected: the field is found, whatever its name and wherever the str came from; or an error.
# Exits 0 while it is so, 1 if it has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet msgspec==0.23.0
"$work/venv/bin/python" - <<'PYTHON'
import json
import sys
from typing import Any, TypedDict

import msgspec


def decoded(name: str, encoded_before: bool) -> dict:
    name = json.loads(json.dumps(name))  # a str object of its own
    message = json.dumps({name: 7}).encode()
    if encoded_before:
        msgspec.json.encode(name)
    return msgspec.json.Decoder(TypedDict("Kind", {name: Any}, total=False)).decode(message)


seen = {}
for name in ("size", "größe"):
    for encoded_before in (False, True):
        seen[name, encoded_before] = decoded(name, encoded_before)
        print(f"{name!r}, encoded before: {encoded_before!s:5}: {seen[name, encoded_before]}")
lost = seen.pop(("größe", False))
sys.exit(0 if lost == {} and all(seen.values()) else 1)
PYTHON
