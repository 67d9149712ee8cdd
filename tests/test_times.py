import pytest

from reid_toolkit.times import format_span

UNIX = 1_763_800_000.0  # 2025-11-22T08:26:40Z


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (None, None, ""),
        (0.0, 0.0, "0.0 s"),
        (59.94, 3723.0, "59.9–3723.0 s"),
        (-2.0, 1.0, "-2.0–1.0 s"),
        (UNIX, UNIX, "2025-11-22 08:26:40"),
        (UNIX, UNIX + 0.9, "2025-11-22 08:26:40"),
        (UNIX, UNIX + 3, "2025-11-22 08:26:40–08:26:43"),
        (UNIX, UNIX + 86_400, "2025-11-22 08:26:40–2025-11-23 08:26:40"),
        (1e300, 1e300, f"{1e300:.1f} s"),
    ],
)
def test_a_span_of_times(start: float | None, end: float | None, text: str) -> None:
    assert format_span(start, end) == text
