import re
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from reid_toolkit.datasets.manifest import read_identities, read_manifest, write_manifest


@pytest.fixture
def evaluate(walked, reid):
    """``evaluate(...)`` of the path's model on its dataset with its identities, or with what is given."""

    def run(*arguments: object, model: Path = walked.model, data: Path = walked.dataset, who: Path = walked.identities):
        return reid("evaluate", model, data, *(["--identities", who] if who else []), *arguments)

    return run


def test_the_table_has_all_cameras_and_each_pair(evaluate) -> None:
    result = evaluate()
    assert result.status == 0
    assert re.search(r"all cameras +[\d.]+", result.out)
    assert "north → hall" in result.out
    assert "rank-20" in result.out


def test_a_narrow_terminal_cuts_no_figure(evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    def figures() -> list[str]:
        return re.findall(r"\d+\.\d +(?:\d+\.\d +)*\d+", evaluate().out)

    wide = figures()
    monkeypatch.setattr("reid_toolkit.cli.tables.PIPED_WIDTH", 50)
    assert figures() == wide
    assert len(wide) > 2


def test_identities_of_the_manifest_count_as_well(evaluate, walked, tmp_path: Path) -> None:
    truth = read_identities(walked.identities)
    crops = [
        replace(crop, path=tmp_path / crop.path.relative_to(walked.dataset.resolve()), identity=truth[crop.tracklet])
        for crop in read_manifest(walked.dataset).crops
    ]
    for crop, old in zip(crops, read_manifest(walked.dataset).crops, strict=True):
        crop.path.parent.mkdir(parents=True, exist_ok=True)
        crop.path.write_bytes(old.path.read_bytes())
    write_manifest(tmp_path, crops)
    assert evaluate("--json", data=tmp_path, who=None).json == walked.reports["evaluate"]


def test_a_baseline_is_shown_beside(evaluate, walked, tmp_path: Path) -> None:
    other = tmp_path / "before [0].onnx"
    other.write_bytes(walked.model.read_bytes())
    page = tmp_path / "a [page].html"
    result = evaluate("--baseline", other, "--html", page, "--json")
    assert list(result.json) == ["model.onnx", "before [0].onnx"]
    assert result.json["model.onnx"] == result.json["before [0].onnx"]
    assert f"report: {page}" in result.err
    assert page.exists()


def test_two_models_never_share_a_name(evaluate, walked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(walked.model)
    model.graph.doc_string = "another file of the same name"
    (tmp_path / "run2").mkdir()
    onnx.save(model, tmp_path / "run2" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    here, below = Path("model.onnx"), Path("run2/model.onnx")
    here.write_bytes(walked.model.read_bytes())
    for first, second, names in (
        (below, here, ["run2/model.onnx", "model.onnx"]),
        (here, below, ["model.onnx", "run2/model.onnx"]),
        (here, here, ["model.onnx", "model.onnx (baseline)"]),
    ):
        found = evaluate("--baseline", second, "--json", model=first).json
        assert [name for name in found if not name.endswith("without camera statistics")] == names
        assert len(found) == (4 if found[names[0]]["camera_statistics"] else 2)


def test_without_identities_there_is_nothing_to_measure(evaluate, walked, tmp_path: Path) -> None:
    assert "no identities to evaluate against" in evaluate(who=None).error
    names = [tracklet.name for tracklet in read_manifest(walked.dataset).tracklets]
    who = tmp_path / "who.csv"
    assert "no such file" in evaluate(who=who).error
    for content, words in (
        ("", "wrong columns"),
        ("who,when\n", "wrong columns"),
        ("tracklet,identity\n", "no identities to evaluate against"),
        ("tracklet,identity\nnobody,1\n", "the first is 'nobody'"),
        ("tracklet,identity\n" + "".join(f"{n},-1\n" for n in names), "nothing to rank"),
        ("tracklet,identity\n" + "".join(f"{n},{i + 1}\n" for i, n in enumerate(names)), "no query has a right answer"),
    ):
        who.write_text(content)
        assert words in evaluate(who=who).error
    who.write_bytes(b"tracklet,identity\n\xff\xfe,1\n")
    assert "UTF-8" in evaluate(who=who).error


def test_one_camera_alone_has_no_right_answers(evaluate, walked, tmp_path: Path) -> None:
    for tracklet in read_manifest(walked.dataset).tracklets:
        if tracklet.camera == "hall":
            path = tmp_path / "set" / tracklet.name / "0.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(tracklet.crops[0].path.read_bytes())
    who = tmp_path / "who.csv"
    kept = {name: one for name, one in read_identities(walked.identities).items() if (tmp_path / "set" / name).exists()}
    who.write_text("tracklet,identity\n" + "".join(f"{name},{one}\n" for name, one in kept.items()))
    assert "more than one camera" in evaluate(data=tmp_path / "set", who=who).error


def test_models_that_are_not_ours_are_named(evaluate, walked, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    assert "cannot read the model: No such file" in evaluate(model=model).error
    for content in (b"", b"text", walked.model.read_bytes()[:4000]):
        model.write_bytes(content)
        assert "not a usable ONNX model" in evaluate(model=model).error
    foreign = onnx.load(walked.model)
    del foreign.metadata_props[:]
    onnx.save(foreign, model)
    assert "not a model of `reid export`" in evaluate(model=model).error
    assert evaluate(model=tmp_path).status == 2


def test_bad_crops_are_named_or_left_out(evaluate, walked, tmp_path: Path) -> None:
    for crop in read_manifest(walked.dataset).crops:
        path = tmp_path / crop.path.relative_to(walked.dataset.resolve())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(crop.path.read_bytes())
    (tmp_path / "manifest.csv").write_bytes((walked.dataset / "manifest.csv").read_bytes())
    path.write_bytes(b"")
    assert "an empty file; --skip-bad leaves such crops out" in evaluate(data=tmp_path).error
    result = evaluate("--skip-bad", "--json", data=tmp_path)
    assert result.json
    assert "warning: 1 unreadable images were left out" in result.err
