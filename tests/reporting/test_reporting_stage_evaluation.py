import json
from pathlib import Path

import pytest
from reporting_fixtures import CPU, RECIPE, Trained
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import ImageError, InputError, RunError
from reid_toolkit.reporting import study as stages
from reid_toolkit.reporting.stage_evaluation import NAME, evaluate_stages, read_evaluation
from reid_toolkit.reporting.study import Stage, open_study
from reid_toolkit.training.rounds import train
from reid_toolkit.training.run_folder import RunFolder


def forbid(*_: object) -> None:
    raise AssertionError("extracted again")


def test_figures_measured_from_checkpoints_are_those_that_training_wrote(trained: Trained) -> None:
    study = open_study(trained.run, trained.dataset, None)
    for row in RunFolder(trained.run).load(2).metrics:
        found = Stage(study, row["stage"], CPU).figures()
        assert found == {key: pytest.approx(row[key], abs=1e-6) for key in found}
        assert {"within", "across_cameras", "violations_without"} <= set(found)


def test_metrics_and_tensorboard_hold_them(trained: Trained) -> None:
    rows = RunFolder(trained.run).load(2).metrics
    board = EventAccumulator(str(trained.run / "events")).Reload()
    for name in ("loss", "clusters", "within", "between", "stability", "across_cameras", "self_retrieval_rank_1"):
        values = [row[name] for row in rows if row[name] is not None]
        assert values
        assert [event.value for event in board.Scalars(name)] == pytest.approx(values), name
    assert all(row["images_per_second"] > 0 for row in rows)


def test_stages_are_measured_once(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(trained.run, trained.dataset, trained.identities)
    seen: list[tuple[int, int | None]] = []
    rows = evaluate_stages(study, CPU, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert [row["stage"] for row in rows] == [0, 1, 2]
    assert rows[0]["purity"] == 1
    assert all(0 <= row["mAP"] <= 1 and row["samples"] == 12 for row in rows)
    assert read_evaluation(trained.run) == rows

    monkeypatch.setattr(stages, "extract", forbid)
    assert evaluate_stages(study, CPU) == rows
    (trained.run / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))  # stopped before the last
    with pytest.raises(AssertionError, match="extracted again"):
        evaluate_stages(study, CPU)


def test_other_identities_are_measured_anew(trained: Trained) -> None:
    rows = evaluate_stages(open_study(trained.run, trained.dataset, trained.identities), CPU)
    trained.identities.write_text(trained.identities.read_text().replace("person2", "person1"))
    merged = evaluate_stages(open_study(trained.run, trained.dataset, trained.identities), CPU)
    assert [row["recall"] for row in merged] != [row["recall"] for row in rows]
    assert read_evaluation(trained.run) == merged


@pytest.mark.parametrize("content", ["", "{", "[]\n", "\xff"])
def test_a_damaged_file_is_measured_again(trained: Trained, content: str) -> None:
    (trained.run / NAME).write_text(content, encoding="latin-1")
    assert read_evaluation(trained.run) == []


def test_nobody_known(trained: Trained) -> None:
    with pytest.raises(InputError, match="no identities to evaluate against"):
        evaluate_stages(open_study(trained.run, trained.dataset, None), CPU)
    assert not (trained.run / NAME).exists()


def test_selection_cannot_see_the_evaluation(trained: Trained) -> None:
    """A run that goes on beside an evaluation, true or invented, keeps what it would have kept."""

    def kept() -> dict[str, bytes]:
        names = ("model.json", "clusters.csv", "metrics.jsonl", "best.safetensors")
        return {name: (trained.run / name).read_bytes() for name in names}

    before = kept()
    evaluate_stages(open_study(trained.run, trained.dataset, trained.identities), CPU)
    for favourite in (0, 1):
        rows = [{"stage": stage, "mAP": float(stage == favourite), "self_retrieval": 1.0} for stage in range(3)]
        (trained.run / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
        train(open_dataset(trained.dataset), RECIPE, trained.run, resume=True)
        assert kept() == before


def test_training_imports_nothing_that_measures_against_identities() -> None:
    """Nor does it name the file."""
    source = Path(stages.__file__).parents[1] / "training"
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(source.glob("*.py")))
    assert "def train(" in text
    assert not [word for word in (NAME, "reporting", "evaluation.protocol", "evaluation.clustering") if word in text]


def test_labels_of_samples_in_another_order_are_refused(trained: Trained) -> None:
    """They would be shown beside other people's pictures."""
    about = json.loads((trained.run / "run.json").read_text())
    (trained.run / "run.json").write_text(json.dumps(about | {"samples": "0" * 64}))
    with pytest.raises(RunError, match="its clusters are of other samples than"):
        open_study(trained.run, trained.dataset, None)
    del about["samples"]  # a run of an earlier version
    (trained.run / "run.json").write_text(json.dumps(about))
    assert len(open_study(trained.run, trained.dataset, None).samples) == 12


def test_a_run_that_left_out_crops_can_be_studied(trained: Trained, tmp_path: Path) -> None:
    broken = next((trained.dataset / "crops").iterdir())
    broken.write_bytes(b"no picture")
    bad: list[str] = []
    train(open_dataset(trained.dataset), RECIPE, tmp_path / "lacking", bad=bad)
    with pytest.raises(ImageError, match="--skip-bad"):
        open_study(tmp_path / "lacking", trained.dataset, None)
    seen: list[str] = []
    open_study(tmp_path / "lacking", trained.dataset, None, seen)
    assert seen == bad
