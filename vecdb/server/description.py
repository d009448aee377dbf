"""The description of all operations, in the form of OpenAPI."""

from __future__ import annotations

from typing import Any

from vecdb import __version__
from vecdb.server.routes import ROUTES, parameters_of
from vecdb.server.table import Operation, Right

_JSON = "application/json"


def described() -> dict[str, Any]:
    """The description: paths, parameters, the fields of bodies, and what a caller must be
    allowed."""
    paths: dict[str, dict[str, Any]] = {}
    for number, route in enumerate(ROUTES):
        entry: dict[str, Any] = {
            "operationId": f"{route.operation.name}_{number}",
            "summary": route.operation.summary,
            "parameters": parameters_of(route),
            "responses": {"200": {"description": "The answer."}},
            "x-right": route.operation.right.name.lower(),
        }
        if route.operation.right is not Right.OPEN:
            entry["security"] = [{"api-key": []}, {"bearer": []}]
        body = _body(route.operation)
        if body is not None:
            entry["requestBody"] = body
        paths.setdefault(route.path, {})[route.method.lower()] = entry
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "vecdb",
            "version": __version__,
            "description": "The operations of Qdrant's HTTP interface that vecdb serves.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            }
        },
    }


def _body(operation: Operation) -> dict[str, Any] | None:
    if operation.streams:
        file = {"type": "string", "format": "binary"}
        schema: dict[str, Any] = {"type": "object", "properties": {"snapshot": file}}
        return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    fields = operation.fields
    if fields is None:
        return None
    schema = {"type": "object", "properties": {name: {} for name in fields.json_names}}
    if fields.required:
        schema["required"] = list(fields.required)
    return {"required": bool(fields.required), "content": {_JSON: {"schema": schema}}}
