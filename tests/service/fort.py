"""A service that many attacks share, with what must hold for each of its answers."""

from dataclasses import dataclass
from typing import Any

import httpx
from serving import bearer
from starlette.testclient import TestClient


@dataclass
class Fort:
    """A service with tokens that many attacks share. None of them may change it."""

    client: TestClient
    tokens: dict[str, str]
    secrets: tuple[str, ...]
    """Texts that no answer may hold."""

    def ask(self, method: str, path: str, role: str | None = "admin", **more: Any) -> httpx.Response:
        """Send a request with the token of a role, and check what must hold for every answer."""
        headers = {**(bearer(self.tokens[role]) if role else {}), **more.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **more)
        self.check(answer)
        return answer

    def check(self, answer: httpx.Response) -> None:
        """What must hold for every answer, whatever was asked."""
        assert answer.status_code < 500 or answer.status_code in (501, 503, 504), answer.text
        whole = answer.text + "".join(f"{name}{value}" for name, value in answer.headers.items())
        for secret in self.secrets:
            assert secret not in whole
        assert "Traceback" not in whole
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
        if answer.status_code >= 400:
            error = answer.json()["error"]
            assert set(error) == {"code", "message"}
            assert error["message"].isprintable()
            assert len(error["message"]) < 500
