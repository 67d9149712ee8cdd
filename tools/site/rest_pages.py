"""The reference of the REST service: a page made from the OpenAPI document of ``reid serve``, as plain Markdown."""

import json
from collections import defaultdict
from typing import Any

ADDRESS, DOCUMENT = "reference/rest.md", "reference/openapi.json"
METHODS = ("get", "post", "put", "patch", "delete")
Json = dict[str, Any]

INTRODUCTION = """# REST

Call the service that `reid serve` runs from your own program. [A service and a page](../service.md) says who may call
it, how to send a token, and what the limits are. The same calls as an OpenAPI document, for generators of clients:
[openapi.json](openapi.json)."""


def pages() -> dict[str, str]:
    """The page and the document by their addresses."""
    from reid_toolkit.service.app import openapi_document

    document = openapi_document()
    return {ADDRESS: page_of(document), DOCUMENT: json.dumps(document, indent=1, ensure_ascii=False) + "\n"}


def page_of(document: Json) -> str:
    """All calls by their tags, then the objects that they take and give."""
    by_tag: dict[str, list[str]] = defaultdict(list)
    for path, calls in document["paths"].items():
        for method in METHODS:
            if method in calls:
                tag = (calls[method].get("tags") or ["other"])[0]
                by_tag[tag].append(call(method, path, calls[method], document))
    parts = [INTRODUCTION]
    for tag, calls in by_tag.items():
        parts += [f"## {tag.capitalize()}", *calls]
    named = document.get("components", {}).get("schemas", {})
    objects = [f"### {name}\n\n{fields(schema)}" for name, schema in named.items() if shown(name)]
    return "\n\n".join([*parts, *(["## Objects", *objects] if objects else [])]) + "\n"


def call(method: str, path: str, spec: Json, document: Json) -> str:
    """One call: what it does, its parameters, its body, and its answers."""
    parts = [f"### {method.upper()} {path}", spec.get("description") or f"{spec.get('summary', '')}."]
    rows = [
        (f"`{one['name']}`", one["in"], kind(one["schema"]), needed(one), one.get("description", ""))
        for one in spec.get("parameters", [])
    ]
    if rows:
        parts.append(table(("parameter", "in", "type", "needed", "what it is"), rows))
    for content, body in spec.get("requestBody", {}).get("content", {}).items():
        schema = resolved(body.get("schema", {}), document)
        parts += [f"The body is `{content}`:", fields(schema)]
    parts += answers(spec.get("responses", {}))
    return "\n\n".join(part for part in parts if part)


def answers(responses: Json) -> list[str]:
    """What a call answers: a line for success, and a table of the other answers that the service describes itself."""
    lines, rows = [], []
    for status, answer in responses.items():
        content = ", ".join(f"`{name}`" for name in answer.get("content", {}))
        types = {kind(one["schema"]) for one in answer.get("content", {}).values() if one.get("schema")}
        what = ", ".join(filter(None, [content, *sorted(types - {"anything", "object"})]))
        if answer.get("description") in ("Successful Response", None):
            lines.append(f"Answer: status {status}{what and f', {what}'}.")
        elif answer["description"] != "Validation Error":  # FastAPI's own words, for a form that reid does not use
            rows.append((status, what, answer["description"]))
    return [*lines, *([table(("status", "content", "when"), rows)] if rows else [])]


def needed(parameter: Json) -> str:
    """Whether a parameter must be given, or what counts without it."""
    default = parameter["schema"].get("default")
    return "yes" if parameter.get("required") else "no" if default is None else f"no: `{json.dumps(default)}`"


def fields(schema: Json) -> str:
    """The fields of an object as a table."""
    required = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            kind(field),
            needed({"schema": field, "required": name in required}),
            field.get("description", ""),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    return table(("field", "type", "needed", "what it is"), rows) if rows else kind(schema)


def resolved(schema: Json, document: Json) -> Json:
    """The schema that a reference names."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def kind(schema: Json) -> str:
    """A type in words: a link if it is an object of the page. What may be left out may be null, too."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if shown(name) else name
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(kind(one) for one in schema[several] if one.get("type") != "null")
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if schema.get("type") == "array":
        inner = kind(schema.get("items", {}))
        return "files" if inner == "file" else f"list of {inner}"
    words = {"string": "text", "null": "null", "object": "object", "boolean": "true or false"}
    limits = [
        f"{sign} {schema[name]:g}"
        for name, sign in (
            ("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"),
            ("minLength", "length ≥"), ("maxLength", "length ≤"),
        )
        if name in schema
    ]  # fmt: skip
    named = words.get(schema.get("type", ""), schema.get("type", "anything"))
    if schema.get("format") == "binary" or "contentMediaType" in schema:
        named = "file"
    return ", ".join([named, *limits])


def shown(name: str) -> bool:
    """Whether an object belongs on the page. A body of a form is shown at its call, and errors have one form."""
    return not name.startswith("Body_") and name not in ("HTTPValidationError", "ValidationError")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown. Columns without any word are left out."""
    kept = [number for number in range(len(head)) if any(row[number] for row in rows)]
    lines = [[head[number] for number in kept], ["---" for _ in kept]]
    lines += [[" ".join(row[number].split()).replace("|", "\\|") for number in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
