"""The reference of REST as Markdown, from a small OpenAPI document."""

import importlib
import json
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools" / "site"
DOCUMENT = {
    "paths": {
        "/people/{name}": {
            "get": {
                "tags": ["people"],
                "summary": "Show",
                "parameters": [
                    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
                    {
                        "name": "limit",
                        "in": "query",
                        "description": "At most | so many.",
                        "schema": {"type": "integer", "minimum": 1, "maximum": 200.0, "default": 10},
                    },
                ],
                "responses": {
                    "200": {
                        "description": "Successful Response",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Person"}}},
                    },
                    "404": {"description": "Nobody has this name."},
                    "422": {"description": "Validation Error"},
                },
            }
        },
        "/search": {
            "post": {
                "description": "Search by pictures.",
                "requestBody": {
                    "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/Body_search"}}}
                },
                "responses": {"200": {"description": "Successful Response"}},
            }
        },
    },
    "components": {
        "schemas": {
            "Body_search": {
                "required": ["picture"],
                "properties": {
                    "picture": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "group": {"anyOf": [{"enum": ["tracklet", "camera"]}, {"type": "null"}]},
                },
            },
            "Person": {"properties": {"friend": {"$ref": "#/components/schemas/Person"}}},
            "HTTPValidationError": {"properties": {"detail": {}}},
        }
    },
}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.syspath_prepend(TOOLS)
    text: str = importlib.import_module("rest_pages").page_of(DOCUMENT)
    return text.splitlines()


def test_each_call_is_a_heading_below_its_tag(page: list[str]) -> None:
    assert [line for line in page if line.startswith("#")] == [
        "# REST", "## People", "### GET /people/{name}", "## Other", "### POST /search", "## Objects", "### Person",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "| `name` | path | text | yes |  |",
        "| `limit` | query | integer, ≥ 1, ≤ 200 | no: `10` | At most \\| so many. |",
        "Answer: status 200, `application/json`, [Person](#person).",
        "| 404 | Nobody has this name. |",
        "The body is `multipart/form-data`:",
        "| `picture` | files | yes |",
        '| `group` | `"tracklet"` or `"camera"` | no |',
        "| `friend` | [Person](#person) | no |",
        "Show.",
        "Search by pictures.",
    ],
)
def test_what_is_said(page: list[str], line: str) -> None:
    assert line in page


def test_what_fastapi_says_by_itself_is_left_out(page: list[str]) -> None:
    assert not [line for line in page if "Validation" in line or "422" in line or "Successful" in line]


def test_the_page_of_the_service_names_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastapi")
    monkeypatch.syspath_prepend(TOOLS)
    made = importlib.import_module("rest_pages").pages()
    document = json.loads(made["reference/openapi.json"])
    calls = [f"### {method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    lines = made["reference/rest.md"].splitlines()
    assert len(calls) > 10
    assert not [call for call in calls if lines.count(call) != 1]
