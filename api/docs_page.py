"""The documentation as one plain page: made from the OpenAPI document, read without network or scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any, Final

__all__ = ("CONTENT_SECURITY_POLICY", "render_page")

_STYLE: Final = """
body{max-width:60rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:#1c1c1c;background:#fff}
h1,h2,h3{line-height:1.2}h2{margin-top:2.5rem;border-top:1px solid #ccc;padding-top:1.5rem}
code,pre{font:14px/1.45 ui-monospace,monospace}code{background:#f1f1f1;padding:.1em .3em}
pre{background:#f1f1f1;padding:.8rem;overflow-x:auto}pre code{background:none;padding:0}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #ddd}
.method{font-weight:700;text-transform:uppercase;margin-right:.5em}
@media (prefers-color-scheme:dark){body{color:#e4e4e4;background:#161616}code,pre{background:#2a2a2a}
pre code{background:none}a{color:#8ab4ff}h2{border-color:#444}th,td{border-color:#333}}
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: its own style, known by its hash, and nothing else."""


def _text(text: str) -> str:
    """Show text with its `code` in place."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _type(schema: Mapping[str, Any]) -> str:
    """Name a schema's type in a few words, with links to named ones."""
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rsplit("/", 1)[-1])
        return f'<a href="#schema-{name}">{name}</a>'
    if "enum" in schema:
        return ", ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    name = str(schema.get("format") or schema.get("type") or "anything")
    return escape(name)


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = []
    for parameter in parameters:
        schema = parameter["schema"]
        default = f"; by default <code>{escape(str(schema['default']))}</code>" if "default" in schema else ""
        need = "; required" if parameter.get("required") else ""
        rows.append(
            f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{_type(schema)}{need}{default}</td>"
            f"<td>{_text(parameter.get('description', ''))}</td></tr>"
        )
    return "<table><tr><th>Parameter</th><th>Form</th><th>Meaning</th></tr>" + "".join(rows) + "</table>"


def _content(content: Mapping[str, Any]) -> str:
    return "; ".join(
        f"<code>{escape(media_type)}</code>: {_type(entry['schema'])}" for media_type, entry in content.items()
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    name = escape(operation["operationId"])
    parts = [
        f'<h3 id="{name}"><span class="method">{escape(method)}</span><code>{escape(path)}</code></h3>',
        f"<p>{_text(operation['summary'])}.</p>",
    ]
    if "description" in operation:
        parts.append(f"<p>{_text(operation['description'])}</p>")
    if operation.get("security") == []:
        parts.append("<p>Needs no API key.</p>")
    parts.append(_parameters(operation["parameters"]))
    if "requestBody" in operation:
        parts.append(f"<p>Body: {_content(operation['requestBody']['content'])}</p>")
    rows = "".join(
        f"<tr><td>{escape(status)}</td><td>{_text(answer['description'])}</td>"
        f"<td>{_content(answer.get('content', {}))}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    parts.append(f"<table><tr><th>Status</th><th>Meaning</th><th>Body</th></tr>{rows}</table>")
    return "".join(parts)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    title = escape(name)
    parts = [f'<h3 id="schema-{title}">{title}</h3>', f"<p>{_text(schema.get('description', ''))}</p>"]
    properties = schema.get("properties")
    if properties is None:
        parts.append(f"<p>{_type(schema)}</p>")
    else:
        rows = "".join(
            f"<tr><td><code>{escape(field)}</code></td><td>{_type(entry)}</td></tr>"
            for field, entry in properties.items()
        )
        parts.append(f"<table><tr><th>Field</th><th>Form</th></tr>{rows}</table>")
    return "".join(parts)


def render_page(document: Mapping[str, Any]) -> str:
    """Render an OpenAPI document.

    Args:
        document: As :func:`api.openapi.build_document` makes it.

    Returns:
        A whole HTML page that refers to nothing outside itself.
    """
    info = document["info"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = sorted({tag for *_, operation in operations for tag in operation["tags"]})
    contents = "".join(
        f'<li><a href="#{escape(operation["operationId"])}"><span class="method">{escape(method)}</span>'
        f"<code>{escape(path)}</code></a> {_text(operation['summary'])}</li>"
        for path, method, operation in operations
    )
    sections = "".join(
        f"<h2>{escape(tag.capitalize())}</h2>"
        + "".join(_operation(*entry) for entry in operations if tag in entry[2]["tags"])
        for tag in tags
    )
    schemas = "".join(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>"
        f"<p>{_text(info['description'])}</p>"
        "<p>Send an API key with every request:</p>"
        "<pre><code>curl -H 'Authorization: Bearer cl_live_…' …/api/v1/podcasts</code></pre>"
        '<p>The same as <a href="openapi.json">OpenAPI document</a>.</p>'
        f"<ul>{contents}</ul>{sections}<h2>Forms</h2>{schemas}</body></html>"
    )
