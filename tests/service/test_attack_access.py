"""Attacks on who may do what: roles, guessed tokens, sessions, CSRF, replay, rates."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from fort import Fort
from serving import bearer, client_of, jpeg, settings_of, tokens_of
from starlette.testclient import TestClient

from reid_toolkit.gallery import Gallery
from reid_toolkit.service.rates import RateLimit
from reid_toolkit.service.settings import Limits
from reid_toolkit.service.tokens import FILE, add_token, revoke_token

ID = "0" * 64
PAIR = {"first": "Ana", "second": "nobody"}
NEEDS = {
    "search": [
        ("GET", "/api/v1/whoami", {}), ("GET", "/api/v1/gallery", {}), ("GET", "/api/v1/search/filters", {}),
        ("POST", "/api/v1/search", {"data": {"record": ID}}), ("GET", f"/api/v1/records/{ID}", {}),
        ("GET", f"/api/v1/records/{ID}/picture", {}), ("GET", "/api/v1/people", {}), ("GET", "/api/v1/people/Ana", {}),
        ("GET", "/api/v1/people/count", {}), ("GET", "/api/v1/people/routes", {}), ("GET", "/api/v1/cameras", {}),
        ("GET", "/api/v1/people/corrections", {}), ("GET", "/api/v1/events", {}), ("GET", "/metrics", {}),
        ("GET", "/openapi.json", {}),
    ],
    "review": [
        ("POST", "/api/v1/people/same", {"json": PAIR}), ("POST", "/api/v1/people/not", {"json": PAIR}),
        ("POST", "/api/v1/people/nobody/split", {"json": {"records": ["x"]}}),
        ("POST", "/api/v1/people/nobody/name", {"json": {"name": "x"}}),
        ("DELETE", "/api/v1/people/corrections/c-9", {}),
    ],
    "admin": [
        ("POST", "/api/v1/records", {"data": {"camera": "x"}}), ("DELETE", f"/api/v1/records/{ID}", {}),
        ("DELETE", "/api/v1/people/nobody", {}),
    ],
}  # fmt: skip
ROLES = ("search", "review", "admin")
CASES = [(role, *case) for role, cases in NEEDS.items() for case in cases]


@pytest.mark.parametrize(("role", "method", "path", "more"), CASES, ids=[f"{m} {p}" for _, m, p, _ in CASES])
def test_each_address_needs_its_role(fort: Fort, role: str, method: str, path: str, more: dict) -> None:
    assert fort.ask(method, path, None, **more).status_code == 401
    for lower in ROLES[: ROLES.index(role)]:
        answer = fort.ask(method, path, lower, **more)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    for enough in ROLES[ROLES.index(role) :]:
        assert fort.ask(method, path, enough, **more).status_code not in (401, 403)


def test_every_address_of_the_api_is_in_that_list(fort: Fort) -> None:
    """So that a new one cannot be forgotten."""
    listed = {(method, re.sub("0{64}|Ana|nobody|c-9", "{}", path)) for _, method, path, _ in CASES}
    exceptions = {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/api/v1/people/review"),
        ("POST", "/api/v1/people/group"),
    }
    paths = fort.ask("GET", "/openapi.json").json()["paths"]
    known = {(way.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, ways in paths.items() for way in ways}
    assert known - listed - exceptions == set()
    assert fort.ask("GET", "/api/v1/people/review", "search").status_code == 403
    assert fort.ask("POST", "/api/v1/people/group", "review").status_code == 403


def test_health_needs_no_token_and_says_nothing(fort: Fort) -> None:
    assert fort.ask("GET", "/healthz", None).json() == {"status": "ok"}
    assert fort.ask("GET", "/readyz", None).json() == {"status": "ready"}


HEADERS = (
    "", "Bearer", "Bearer ", "Basic YTpi", "bearer x", "Bearer null", "Bearer undefined", "Bearer *", "Bearer %00",
    "Bearer reid_", "Token x", "Bearer " + "x" * 10_000, "Bearer ' OR '1'='1", "Bearer {digest}", "Bearer {token} x",
    "Bearer {token}x", "Bearer {short}", "{token}", "Bearer {upper}",
)  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
def test_wrong_tokens_are_refused(fort: Fort, header: str) -> None:
    from reid_toolkit.service.tokens import digest_of

    token = fort.tokens["admin"]
    for name, value in (
        ("{digest}", digest_of(token)), ("{token}", token), ("{short}", token[:-1]), ("{upper}", token.upper()),
    ):  # fmt: skip
        header = header.replace(name, value)
    answer = fort.client.get("/api/v1/whoami", headers={"Authorization": header})
    assert answer.status_code == 401
    assert token not in answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_token_elsewhere_counts_for_nothing(fort: Fort) -> None:
    token = fort.tokens["admin"]
    for path in (f"/api/v1/whoami?token={token}", f"/api/v1/whoami?access_token={token}"):
        assert fort.client.get(path).status_code == 401
    for headers in (
        {"Cookie": f"reid_session={token}"}, {"X-Api-Key": token}, {"X-Forwarded-User": "ada"},
        {"X-Remote-User": "ada"},
        {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"},
    ):  # fmt: skip
        assert fort.client.get("/api/v1/whoami", headers=headers).status_code == 401


def test_guessing_is_slowed_down(gallery: Path) -> None:
    tokens = tokens_of(gallery)
    with client_of(settings_of(gallery)) as client:
        answers = [client.get("/api/v1/whoami", headers=bearer(f"reid_{number}")) for number in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
        # Who guesses must wait even with the right token, or a guess could be told from the answer.
        assert client.get("/api/v1/whoami", headers=bearer(tokens["admin"])).status_code == 429
        assert client.post("/login", data={"token": tokens["admin"]}).status_code == 429


def test_who_was_there_before_is_not_shut_out_by_a_guesser(gallery: Path) -> None:
    """All clients of a proxy have one address."""
    tokens = tokens_of(gallery)
    with client_of(settings_of(gallery)) as client:
        assert client.get("/api/v1/whoami", headers=bearer(tokens["search"])).status_code == 200
        assert client.post("/login", data={"token": tokens["review"]}).status_code == 303
        for number in range(12):
            client.get("/api/v1/whoami", headers=bearer(f"reid_{number}"))
        assert client.get("/api/v1/whoami", headers=bearer(tokens["search"])).status_code == 200
        assert client.get("/api/v1/whoami").json()["name"] == "rita"
        revoke_token(gallery / FILE, "anna")
        assert client.get("/api/v1/whoami", headers=bearer(tokens["search"])).status_code == 401
        assert client.get("/api/v1/whoami", headers=bearer(tokens["search"])).status_code == 429


def test_guessing_by_the_form_counts_as_well(guarded: TestClient) -> None:
    statuses = [guarded.post("/login", data={"token": f"x{number}"}).status_code for number in range(11)]
    assert statuses == [401] * 10 + [429]
    browser = guarded.post("/login", data={"token": "x"}, headers={"Accept": "text/html"})
    assert (browser.status_code, browser.headers["location"][:12]) == (303, "/login?wait=")


def test_each_token_has_its_rate(gallery: Path) -> None:
    tokens = tokens_of(gallery)
    with client_of(settings_of(gallery, limits=Limits(rate=0.01, burst=3))) as client:
        statuses = [client.get("/api/v1/whoami", headers=bearer(tokens["search"])).status_code for _ in range(5)]
        assert statuses == [200] * 3 + [429] * 2
        assert client.get("/api/v1/whoami", headers=bearer(tokens["admin"])).status_code == 200


def test_a_bucket_fills_again_and_forgets() -> None:
    now = [0.0]
    limit = RateLimit(0.5, 2, lambda: now[0])
    assert [limit.take("a") for _ in range(3)] == [0, 0, 3]
    assert limit.take("b") == 0
    now[0] = 2.0
    assert [limit.wait("a"), limit.take("a"), limit.wait("a")] == [0, 0, 3]
    for number in range(20_000):
        limit.take(f"c{number}")
    assert len(limit._left) <= 10_000


def sign_in(client: TestClient, token: str) -> str:
    assert client.post("/login", data={"token": token}).status_code == 303
    return client.get("/api/v1/whoami").json()["csrf"]


def test_the_cookie_is_closed_to_scripts_and_other_sites(gallery: Path, tokens: dict[str, str]) -> None:
    for base, secure in (("http://localhost", False), ("https://localhost", True)):
        with client_of(settings_of(gallery), base_url=base) as client:
            cookie = client.post("/login", data={"token": tokens["search"]}).headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "samesite=strict" in cookie.lower()
            assert "Path=/" in cookie
            assert ("Secure" in cookie) == secure
            assert tokens["search"] not in cookie
    behind = {"Origin": "https://localhost", "Host": "localhost"}  # a proxy that speaks TLS
    with client_of(settings_of(gallery)) as client:
        cookie = client.post("/login", data={"token": tokens["search"]}, headers=behind).headers["set-cookie"]
        assert "Secure" in cookie


CSRF = ("", "x", "null", "{other}", "{short}", "{cookie}")


@pytest.mark.parametrize("sent", CSRF)
def test_a_session_changes_nothing_without_its_secret(gallery: Path, tokens: dict[str, str], sent: str) -> None:
    with client_of(settings_of(gallery)) as client:
        other = sign_in(client, tokens["admin"])
        client.cookies.clear()
        csrf = sign_in(client, tokens["admin"])
        cookie = client.cookies["reid_session"]
        given = sent.replace("{other}", other).replace("{short}", csrf[:-1]).replace("{cookie}", cookie)
        headers = {"X-Reid-CSRF": given} if sent else {}
        for method, path in (("POST", "/api/v1/people/person-000001/name"), ("DELETE", "/api/v1/people/Ana")):
            more = {"json": {"name": "Eve"}} if method == "POST" else {}
            answer = client.request(method, path, headers=headers, **more)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_csrf")
        assert client.get("/api/v1/people/Ana").status_code == 200
        done = client.post("/api/v1/people/Ana/name", json={"name": "Rosa"}, headers={"X-Reid-CSRF": csrf})
        assert done.json()["person"] == "Rosa"


def test_a_session_cannot_be_replayed_after_its_end(guarded: TestClient, tokens: dict[str, str]) -> None:
    csrf = sign_in(guarded, tokens["admin"])
    cookie = guarded.cookies["reid_session"]
    assert guarded.post("/logout", headers={"X-Reid-CSRF": csrf}).status_code == 303
    stolen = {"Cookie": f"reid_session={cookie}", "X-Reid-CSRF": csrf}
    assert guarded.get("/api/v1/whoami", headers=stolen).status_code == 401
    assert guarded.delete("/api/v1/people/Ana", headers=stolen).status_code == 401
    for made_up in ("", "x", cookie[:-1], "../../tokens.json", "\xff", "a" * 9000):
        header = {b"Cookie": b"reid_session=" + made_up.encode("latin-1")}
        assert guarded.get("/api/v1/whoami", headers=header).status_code == 401


def test_a_session_ends_with_its_time(gallery: Path, tokens: dict[str, str]) -> None:
    with client_of(settings_of(gallery, limits=Limits(session_seconds=0.0))) as client:
        client.post("/login", data={"token": tokens["search"]})
        assert client.get("/api/v1/whoami").status_code == 401


def test_a_fixed_session_is_not_taken_over(guarded: TestClient, tokens: dict[str, str]) -> None:
    """Signing in makes a new session, whatever cookie the browser had before."""
    guarded.cookies.set("reid_session", "chosen-by-an-attacker")
    answer = guarded.post("/login", data={"token": tokens["search"]})
    assert "chosen-by-an-attacker" not in answer.headers["set-cookie"]
    header = {"Cookie": "reid_session=chosen-by-an-attacker"}
    guarded.cookies.clear()
    assert guarded.get("/api/v1/whoami", headers=header).status_code == 401


def test_a_revoked_token_ends_at_once(guarded: TestClient, gallery: Path, tokens: dict[str, str]) -> None:
    sign_in(guarded, tokens["review"])
    revoke_token(gallery / FILE, "rita")
    assert guarded.get("/api/v1/whoami").status_code == 401
    assert guarded.get("/api/v1/whoami", headers=bearer(tokens["review"])).status_code == 401
    assert guarded.get("/api/v1/whoami", headers=bearer(tokens["search"])).status_code == 200


def test_a_service_that_had_tokens_does_not_open_when_they_vanish(guarded: TestClient, gallery: Path) -> None:
    (gallery / FILE).unlink()
    assert guarded.get("/api/v1/whoami").status_code == 401


def test_a_service_that_had_tokens_stays_closed_when_it_starts_again(gallery: Path, tokens: dict[str, str]) -> None:
    for name in ("anna", "rita", "ada"):
        revoke_token(gallery / FILE, name)
    with client_of(settings_of(gallery)) as client:
        assert client.get("/api/v1/whoami").status_code == 401
        assert client.delete("/api/v1/people/Ana").status_code == 401
        assert client.get("/api/v1/whoami", headers=bearer(tokens["admin"])).status_code == 401
        new = add_token(gallery / FILE, "ada", "admin")
        assert client.get("/api/v1/whoami", headers=bearer(new)).status_code == 200
    (gallery / FILE).unlink()
    with client_of(settings_of(gallery)) as client:
        assert client.get("/api/v1/whoami").json()["name"] == "local"


def test_damaged_tokens_let_nobody_in(guarded: TestClient, gallery: Path, tokens: dict[str, str]) -> None:
    for content in ("{", '{"tokens": []}', '{"tokens": [{"name": "x"}]}', ""):
        (gallery / FILE).write_text(content)
        answer = guarded.get("/api/v1/whoami", headers=bearer("x"))
        assert answer.status_code in (401, 503)
        assert guarded.get("/api/v1/whoami").status_code in (401, 503)
        assert str(gallery) not in answer.text


def test_a_proxy_is_believed_only_if_it_was_named(gallery: Path) -> None:
    with client_of(settings_of(gallery, proxy_header="X-User", proxy_role="review")) as client:
        about = client.get("/api/v1/whoami", headers={"X-User": "ana"}).json()
        assert (about["name"], about["role"]) == ("ana", "review")
        for headers in ([], [("X-User", "")], [("X-User", "ana"), ("X-User", "ada")], [("X-User", "a\x1bb")]):
            assert client.get("/api/v1/whoami", headers=headers).status_code == 401
        change = {"json": {"name": "Rosa"}, "headers": {"X-User": "ana"}}
        assert client.post("/api/v1/people/Ana/name", **change).status_code == 403
        change["headers"]["X-Reid-CSRF"] = client.get("/api/v1/whoami", headers={"X-User": "eve"}).json()["csrf"]
        assert client.post("/api/v1/people/Ana/name", **change).status_code == 403
        change["headers"]["X-Reid-CSRF"] = about["csrf"]
        assert client.post("/api/v1/people/Ana/name", **change).status_code == 200


def test_an_enrolment_sent_twice_is_one_record(guarded: TestClient, tokens: dict[str, str], gallery: Path) -> None:
    """Replay: what was acknowledged stays one record, and what was deleted does not come back."""
    sent = {"data": {"camera": "gate", "time": "5"}, "headers": bearer(tokens["admin"])}
    files = [("picture", ("a.jpg", jpeg("green", 0.9)))]
    first = guarded.post("/api/v1/records", files=files, **sent)
    assert first.status_code == 201
    assert guarded.post("/api/v1/records", files=files, **sent).status_code == 409
    chosen = f"/api/v1/records/{first.json()['id']}"
    assert guarded.delete(chosen, headers=bearer(tokens["admin"])).json()["records"] == 1
    assert guarded.delete(chosen, headers=bearer(tokens["admin"])).status_code == 404
    again = guarded.post("/api/v1/records", files=files, **sent)
    assert (again.status_code, "was forgotten" in again.json()["error"]["message"]) == (409, True)
    with Gallery.open(gallery) as store:
        assert len(store) == 12


def test_the_audit_log_names_who_asked(guarded: TestClient, tokens: dict[str, str], gallery: Path) -> None:
    admin, anna = bearer(tokens["admin"]), bearer(tokens["search"])
    match = guarded.post("/api/v1/search", files=[("picture", ("a.jpg", jpeg()))], headers=anna).json()["matches"][0]
    guarded.get(match["picture"], headers=anna)
    guarded.get("/api/v1/people/Ana", headers=anna)
    guarded.get("/api/v1/people?q=an", headers=anna)
    pair = {"first": "Ana", "second": "person-000001"}
    assert guarded.post("/api/v1/people/same", json=pair, headers=bearer(tokens["review"])).status_code == 200
    guarded.post("/api/v1/people/Ana/name", json={"name": "Rosa"}, headers=admin)
    with Gallery.open(gallery) as store:
        events = [event for event in store.audit_log() if "asked_by" in event]
    assert [(event["asked_by"], event["action"]) for event in events] == [
        ("anna", "search"), ("anna", "picture"), ("anna", "people show"), ("anna", "people list"), ("rita", "same"),
        ("ada", "name"),
    ]  # fmt: skip
    assert events[2]["person"] == "Ana"
    assert events[0]["query"] == "a"


def test_what_cannot_be_logged_is_not_answered(guarded: TestClient, tokens: dict[str, str], gallery: Path) -> None:
    log = gallery / "audit.jsonl"
    log.rename(log.with_suffix(".gone"))
    for path in ("/api/v1/people/Ana", "/api/v1/people", "/api/v1/people/count"):
        answer = guarded.get(path, headers=bearer(tokens["search"]))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    answer = guarded.post("/api/v1/search", files=[("picture", ("a.jpg", jpeg()))], headers=bearer(tokens["search"]))
    assert answer.status_code == 503
    assert "matches" not in answer.text
    assert str(gallery.parent) not in answer.text


def test_a_limit_that_is_changed_applies(gallery: Path) -> None:
    limits = replace(Limits(), pixels=100)
    with client_of(settings_of(gallery, limits=limits)) as client:
        assert client.post("/api/v1/search", files=[("picture", ("a.jpg", jpeg()))]).status_code == 413
