"""The OpenAPI document, made from the routes themselves: what they take, what they answer, and their docstrings."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from litestar.routes import HTTPRoute

from api.errors import PROBLEM_JSON, Problem
from api.idempotency import HEADER
from api.limits import cost_of
from api.queries import Parameter
from api.schemas.common import alternatives

__all__ = ("Operation", "build_document", "list_operations")

_REF: Final = "#/components/schemas/{name}"
_UNCHANGED: Final = {"description": "Nothing has changed since the answer whose tag is in `If-None-Match`."}
_IF_MATCH: Final = "The `ETag` of the version that the change is about; without it, whatever version there is."
_REFUSALS: Final = {
    400: "Malformed.",
    401: "No valid API key or access token.",
    403: "Whose credential it is may not do this.",
    404: "There is no such thing, or it is another tenant's.",
    409: "It clashes with what is stored.",
    410: "It was there, and is kept no longer.",
    412: "It was changed since the version that `If-Match` names.",
    413: "Too large.",
    415: "Of a type that is not read here.",
    422: "Values were refused; all faults are listed.",
    429: "Too often (`rate_limited`), too soon, or a quota is used up; `Retry-After` says when to try again.",
    503: "The database does not answer; `Retry-After` says when to try again.",
}
_RATE_HEADERS: Final = {
    "RateLimit-Policy": 'How many units there are in a window: `"key";q=120;w=12`, 120 in 12 seconds.',
    "RateLimit": 'How many of them are left, and after how many seconds all are there: `"key";r=118;t=1`.',
}
_RETRY_HEADER: Final = {
    "Retry-After": {"description": "Seconds until the same request may pass.", "schema": {"type": "integer"}}
}


class Operation(NamedTuple):
    """One method of one path."""

    method: str
    path: str
    handler: HTTPRouteHandler

    @property
    def function(self) -> typing.Callable[..., Any]:
        """The function that answers."""
        function: typing.Callable[..., Any] = self.handler.fn
        return function

    @property
    def query(self) -> tuple[Parameter[Any], ...]:
        """The query parameters it knows."""
        return tuple(self.handler.opt.get("query", ()))

    @property
    def permission(self) -> str | None:
        """What a caller has to be allowed; ``None`` when anybody, or any caller, may."""
        return self.handler.opt.get("permission")

    @property
    def bodies(self) -> Mapping[str, Any]:
        """Media types it reads, with the type that they hold."""
        bodies: Mapping[str, Any] = self.handler.opt.get("bodies", {})
        return bodies

    @property
    def is_keyed(self) -> bool:
        """Whether it is done once under an ``Idempotency-Key``: a write, by somebody who is known."""
        return self.method != "get" and not self.handler.opt.get("changes_nothing") and not self.is_open

    @property
    def is_open(self) -> bool:
        """Whether anybody may ask, without a key."""
        return bool(self.handler.opt.get("is_open"))

    @property
    def answer(self) -> Any:
        """The type of the answer's body, or of each of its lines; ``None`` when it is empty."""
        lines = self.handler.opt.get("lines")
        if lines is not None:
            return lines
        annotation = typing.get_type_hints(self.function)["return"]
        if annotation is Stream:
            return None
        if typing.get_origin(annotation) is Response:
            (annotation,) = typing.get_args(annotation)
        return None if annotation in (type(None), bytes) else annotation


def list_operations(app: Litestar) -> list[Operation]:
    """List what is documented: every route but those of the documentation itself."""
    operations = []
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            if not handler.resolve_include_in_schema():
                continue
            operations += [
                Operation(method.lower(), route.path_format, handler) for method in handler.http_methods - {"OPTIONS"}
            ]
    return sorted(operations, key=lambda operation: (operation.path, operation.method))


def _first_paragraph(function: typing.Callable[..., Any]) -> tuple[str, str]:
    summary, _, rest = (inspect.getdoc(function) or "").partition("\n\n")
    return " ".join(summary.split()).rstrip("."), rest


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    in_query = [
        {
            "name": parameter.name,
            "in": "query",
            "required": parameter.required,
            "description": parameter.description,
            "schema": dict(parameter.schema),
        }
        for parameter in operation.query
    ]
    in_header: list[dict[str, Any]] = []
    if operation.handler.opt.get("is_versioned"):
        in_header.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": False,
                "description": _IF_MATCH,
                "schema": {"type": "string"},
            }
        )
    if operation.is_keyed:
        in_header.append(
            {
                "name": HEADER,
                "in": "header",
                "required": False,
                "description": (
                    "Chosen by you, such as a UUID: a request that is sent again with the same key within 24 hours is "
                    "done once and answered the same, with `Idempotent-Replayed: true`; another request with it is 409 "
                    "`idempotency_key_reused`. What was refused may be sent again with the same key."
                ),
                "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
            }
        )
    return in_path + in_query + in_header


def _statuses(operation: Operation) -> Iterable[int]:
    found = {400, 422, 503, *operation.handler.opt.get("refusals", ())}
    if cost_of(operation.handler):
        found.add(429)
    if not operation.is_open:
        found |= {401, 403}
    if "{" in operation.path or any(parameter.schema.get("format") == "uuid" for parameter in operation.query):
        found.add(404)
    if operation.is_keyed:
        found.add(409)
    if operation.bodies:
        found |= {413, 415}
    if operation.handler.opt.get("is_versioned"):
        found.add(412)
    return sorted(found)


def _headers(operation: Operation, status: int) -> dict[str, Any]:
    """Name the headers of an answer that say when to ask again."""
    headers: dict[str, Any] = {}
    if cost_of(operation.handler) and status not in (422, 503):
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _RATE_HEADERS}
    if status in (429, 503):
        headers.update(_RETRY_HEADER)
    return {"headers": headers} if headers else {}


def _plain(schema: Any) -> Any:
    """Fold the blank lines of docstrings, which mean nothing where the document is shown."""
    if isinstance(schema, dict):
        return {
            key: " ".join(value.split()) if key == "description" and isinstance(value, str) else _plain(value)
            for key, value in schema.items()
        }
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema


def build_document(app: Litestar, *, version: str) -> dict[str, Any]:
    """Write the OpenAPI 3.1 document of an application.

    Args:
        app: Its routes carry in ``opt`` what cannot be read off their signatures.
        version: Of the software.
    """
    operations = list_operations(app)
    kinds = [kind for operation in operations for kind in (operation.answer, *operation.bodies.values()) if kind]
    types = [*dict.fromkeys(type_ for kind in kinds for type_ in alternatives(kind)), Problem]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type: dict[Any, Any] = dict(zip(types, schemas, strict=True))
    by_type |= {
        kind: {"anyOf": [by_type[type_] for type_ in alternatives(kind)]}
        for kind in kinds
        if len(alternatives(kind)) > 1
    }
    # Bodies with fields that nobody knows are refused; answers may have more fields one day.
    bodies = [body for operation in operations for body in operation.bodies.values() if body is not None]
    for name in {type_.__name__ for body in bodies for type_ in alternatives(body)}:
        components[name]["additionalProperties"] = False
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        summary, description = _first_paragraph(operation.function)
        if operation.permission is not None:
            description += f"\n\nNeeds the permission `{operation.permission}`."
        success: dict[str, Any] = {"description": "Done.", **_headers(operation, operation.handler.status_code)}
        if operation.answer is not None:
            media_type = "application/x-ndjson" if "lines" in operation.handler.opt else "application/json"
            success["content"] = {media_type: {"schema": by_type[operation.answer]}}
        for media_type in operation.handler.opt.get("files", ()):
            content = success.setdefault("content", {})
            content.setdefault(media_type, {"schema": {"type": "string", "format": "binary"}})
        document: dict[str, Any] = {
            "operationId": operation.function.__name__,
            "tags": sorted(operation.handler.tags or ()),
            "summary": summary,
            "parameters": _parameters(operation),
            "responses": {
                # Beside its own status, which is that of what is new.
                **{
                    str(status): success
                    for status in (operation.handler.status_code, *operation.handler.opt.get("repeated", ()))
                },
                **({"304": dict(_UNCHANGED)} if operation.handler.opt.get("is_tagged") else {}),
                **{
                    str(status): {
                        "description": _REFUSALS[status],
                        **_headers(operation, status),
                        "content": {PROBLEM_JSON: {"schema": by_type[Problem]}},
                    }
                    for status in _statuses(operation)
                },
            },
        }
        if description:
            document["description"] = " ".join(description.split())
        if operation.bodies:
            document["requestBody"] = {
                "required": True,
                "content": {
                    media_type: {"schema": {"type": "string"} if body is None else by_type[body]}
                    for media_type, body in operation.bodies.items()
                },
            }
        if operation.is_open:
            document["security"] = []
        paths.setdefault(operation.path, {})[operation.method] = document
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Castledger",
            "version": version,
            "description": (
                "A ledger of podcast downloads. Times are ISO 8601; ranges are half-open; what is refused is told as "
                "problem+json with a stable `code` and the `request_id` that the log knows."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": _plain(components),
            "headers": {
                name: {"description": description, "schema": {"type": "string"}}
                for name, description in _RATE_HEADERS.items()
            },
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, `cl_live_…`, or an access token.",
                }
            },
        },
    }
