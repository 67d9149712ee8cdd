import multiprocessing
import os
import time
from pathlib import Path

import pytest

from reid_toolkit.runtime.bulk.claims import Claims


@pytest.fixture
def mine(tmp_path: Path) -> Claims:
    return Claims(tmp_path, stale_after=60)


@pytest.fixture
def other(tmp_path: Path) -> Claims:
    """Another process of this machine, alive."""
    return Claims(tmp_path, stale_after=60)


def age(claims: Claims, name: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(claims.path(name), (then, then))


def test_one_at_a_time(mine: Claims, other: Claims) -> None:
    assert mine.take("a")
    assert not other.take("a")
    assert not mine.take("a")
    assert other.take("b")
    mine.drop("a")
    assert other.take("a")


def test_what_is_not_renewed_is_taken_over_and_not_dropped_by_its_first_owner(mine: Claims, other: Claims) -> None:
    mine.take("a")
    age(mine, "a", 50)
    assert not other.take("a")
    age(mine, "a", 70)
    mine.renew("a")
    assert not other.take("a")
    age(mine, "a", 70)
    assert other.take("a")
    mine.drop("a")
    assert other.path("a").exists()
    assert not mine.take("a")


def test_a_dead_process_of_this_machine_holds_nothing(mine: Claims) -> None:
    gone = multiprocessing.get_context("spawn").Process(target=int)
    gone.start()
    gone.join()
    mine.path("a").write_text(f"{mine.host} {gone.pid} 0123")
    assert mine.take("a")
    mine.path("b").write_text(f"another-host {gone.pid} 0123")
    assert not mine.take("b"), "whether that one lives cannot be seen from here"
    mine.path("c").write_text(f"{mine.host} 1 0123")
    assert not mine.take("c"), "alive, though not ours to signal"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"host", b"host text here"])
def test_a_damaged_claim_counts_until_it_is_stale(mine: Claims, content: bytes) -> None:
    mine.path("a").write_bytes(content)
    assert not mine.take("a")
    age(mine, "a", 70)
    assert mine.take("a")


def test_after_the_folder_is_cleared_away_nothing_fails(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "gone", 60)
    assert not claims.take("a")
    claims.renew("a")
    claims.drop("a")


def count_wins(folder: Path, rounds: int, done: "multiprocessing.Queue[int]") -> None:
    claims = Claims(folder, 60)
    done.put(sum(claims.take(str(number)) for number in range(rounds)))


def test_of_many_who_ask_at_once_one_gets_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    wins = context.Queue()
    racers = [context.Process(target=count_wins, args=(tmp_path, 200, wins)) for _ in range(3)]
    for racer in racers:
        racer.start()
    assert sum(wins.get(timeout=60) for _ in racers) == 200
    for racer in racers:
        racer.join()
