from xml.etree.ElementTree import Element, tostring

import pytest

from reid_toolkit.reporting.charts import bar_chart, bounds, labels, line_chart, scatter, ticks


def titles(chart: Element) -> list[str]:
    return [str(element.text) for element in chart.iter("title")]


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0, 139, [0, 50, 100]),
        (0.96, 1, [0.96, 0.97, 0.98, 0.99, 1]),
        (0, 3, [0, 1, 2, 3]),
        (-0.2, 0.2, [-0.2, -0.1, 0, 0.1, 0.2]),
    ],
)
def test_ticks_are_few_and_round(low: float, high: float, found: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(found)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.3, 1.5], (0, 1.5)),
        ([0.96, 1.0], (0.96, 1.0)),
        ([5.0], (0, 5)),
        ([0.0, 0.0], (0, 1)),
        ([-2.0, 1.0], (-2, 1)),
    ],
)
def test_the_axis_holds_zero_unless_all_is_far_from_it(values: list[float], shown: tuple[float, float]) -> None:
    assert bounds(values) == shown


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (100.1, 100.9, ["100.2", "100.4", "100.6", "100.8"]),
        (0.0, 1.0, ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (0, 10_000, ["0", "2,500", "5,000", "7,500", "10,000"]),
        (0.9991, 0.9999, ["0.9992", "0.9994", "0.9996", "0.9998"]),
    ],
)
def test_labels_are_as_exact_as_their_step(low: float, high: float, shown: list[str]) -> None:
    assert labels(ticks(low, high)) == shown


def test_a_line_has_a_point_for_each_value_and_none_for_what_is_not_known() -> None:
    chart = line_chart("Loss", {"loss": [2.0, None, 1.0]}, [0, 1, 2], mark=2)
    assert titles(chart) == ["loss, stage 0: 2", "loss, stage 2: 1"]
    high, low = (float(circle.get("cy", 0)) for circle in chart.iter("circle"))
    assert high < low  # pixels count downwards
    (mark,) = [line for line in chart.iter("line") if line.get("class") == "mark"]
    assert mark.get("x1") == [circle.get("cx") for circle in chart.iter("circle")][-1]


def test_a_run_of_one_stage_can_be_drawn() -> None:
    assert titles(line_chart("Loss", {"loss": [2.0]}, [0])) == ["loss, stage 0: 2"]


def test_two_lines_are_named_and_one_is_not() -> None:
    def words(chart: Element) -> set[str]:
        return {str(element.text) for element in chart.iter("text")}

    assert {"a", "b"} <= words(line_chart("t", {"a": [1.0], "b": [2.0]}, [0]))
    assert "a" not in words(line_chart("t", {"a": [1.0]}, [0]))


def test_bars_are_as_high_as_their_values() -> None:
    chart = bar_chart("Sizes", {"1": 4.0, "2": 0.0, "3": 2.0})
    heights = [float(bar.get("height", -1)) for bar in chart.iter("rect")]
    assert heights[1] == 0
    assert heights[0] == pytest.approx(2 * heights[2], abs=0.1)
    assert titles(chart) == ["1: 4", "2: 0", "3: 2"]


def test_labels_of_narrow_bars_are_turned() -> None:
    def turned(names: list[str], value: float = 1.0) -> set[bool]:
        chart = bar_chart("Sizes", dict.fromkeys(names, value))
        return {"transform" in element.attrib for element in list(chart.iter("text"))[1:]}

    assert turned(["1", "2", "10-19"]) == {False}
    assert turned([*"123456789", "10-19", "20-39", "40-79", "80-159"]) == {True}
    assert turned([*"1234567890abc"], 12_345.0) == {True}


def test_points_keep_their_places_and_groups() -> None:
    chart = scatter("t", [(0, 0), (1, 0), (0, 2)], ["a", "b", "c"], [-1, 0, 0])
    found = {str(dot[0].text): dot for dot in chart.iter("circle")}
    assert float(found["b"].get("cx", 0)) > float(found["a"].get("cx", 0)) == float(found["c"].get("cx", 0))
    assert float(found["c"].get("cy", 0)) < float(found["a"].get("cy", 0)) == float(found["b"].get("cy", 0))
    assert found["a"].get("fill") != found["b"].get("fill") == found["c"].get("fill")


def test_one_point_and_points_at_one_place_can_be_drawn() -> None:
    assert titles(scatter("t", [(1, 1), (1, 1)], ["a", "b"], [0, 1])) == ["a", "b"]


def test_names_are_escaped() -> None:
    evil = "</title><script>alert(1)</script>"
    charts = [
        line_chart(evil, {evil: [1.0], "b": [2.0]}, [0]),
        bar_chart(evil, {evil: 1.0}),
        scatter(evil, [(0, 0)], [evil], [0]),
    ]
    assert all("<script" not in tostring(chart, encoding="unicode") for chart in charts)
