"""What a user does on the page, and a server that is played."""

import base64
from typing import Any

from playwright.sync_api import Locator, Page, Route
from station import Site

PUT = """([name, type, content, event]) => {
  const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, { type }));
  const target = document.querySelector("#drop");
  if (event === "paste") target.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
  else for (const one of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(new DragEvent(one, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def put(page: Page, name: str, content: bytes, *, how: str = "drop", kind: str = "image/jpeg") -> None:
    """Drop or paste a file on the page."""
    page.evaluate(PUT, [name, kind, base64.b64encode(content).decode(), how])


def crop_of(site: Site, camera: str = "hall") -> bytes:
    return next(iter(sorted((site.crops / camera).rglob("*.jpg")))).read_bytes()


def cards(page: Page) -> Locator:
    return page.locator("ol.cards > li.card")


def rename(page: Page, name: str) -> None:
    page.get_by_role("button", name="Name…").click()
    page.get_by_role("textbox", name="Name").fill(name)
    page.keyboard.press("Enter")


def playing(page: Page, address: str, *answers: dict[str, Any] | None) -> list[Any]:
    """Answer requests in the server's place: None is a conflict. Returns what was sent, as it comes."""
    sent: list[Any] = []
    conflict = {"error": {"code": "conflict", "message": "another change is running"}}

    def answer(route: Route) -> None:
        given = answers[len(sent)]
        sent.append(route.request.post_data_json)
        route.fulfill(status=409 if given is None else 200, json=given or conflict)

    page.route(address, answer)
    return sent
