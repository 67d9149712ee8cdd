import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid_toolkit.config import MergingRecipe, NetworkRecipe, Recipe, RoundsRecipe, TrainingRecipe
from reid_toolkit.errors import RecipeError
from reid_toolkit.recipe_files import as_table, difference, dump_recipe, load_recipe, shipped_recipes

MODELS = Path(__file__).parents[1] / "models"
small = st.floats(0, 1, exclude_min=True, exclude_max=True)

recipes = st.builds(
    Recipe,
    seed=st.integers(0, 2**32 - 1),
    selection=st.sampled_from(["self_retrieval", "last"]),
    network=st.builds(
        NetworkRecipe,
        weights=st.text(st.characters(exclude_categories=["Cs"])),
        embedding=st.integers(1, 4096),
        dropout=small,
        height=st.integers(32, 512),
        stride_in_1x1=st.booleans(),
        frozen=st.sampled_from(["none", "layer1", "layer2"]),
    ),
    training=st.builds(
        TrainingRecipe,
        frames=st.integers(1, 64),
        batch_size=st.integers(2, 512),
        first_learning_rate=st.floats(1e-9, 1e9),
        weight_decay=small,
        flip=st.booleans(),
        colour_jitter=small,
    ),
    merging=st.builds(
        MergingRecipe,
        fraction=small,
        trade_off=st.floats(0, 1e6),
        within=st.sampled_from(["mean", "printed"]),
        metric=st.sampled_from(["euclidean", "squared_euclidean"]),
        cannot_link=st.booleans(),
    ),
)


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(str(path))


def test_every_recipe_in_models_is_shipped_and_loads() -> None:
    names = sorted(path.stem for path in MODELS.glob("*.toml"))
    assert shipped_recipes() == names
    assert {"dbc", "dbc_video", "demo"} <= set(names)
    for name in names:
        assert isinstance(load_recipe(name), Recipe)
        assert load_recipe(str(MODELS / f"{name}.toml")) == load_recipe(name)


def test_dbc_is_the_papers_schedule() -> None:
    recipe = load_recipe("dbc")
    training, merging, network = recipe.training, recipe.merging, recipe.network
    assert (training.first_epochs, training.later_epochs, training.decay_after) == (20, 2, 15)
    assert (training.first_learning_rate, training.later_learning_rate) == (0.1, 0.01)
    assert (training.backbone_factor, training.momentum, training.weight_decay) == (0.1, 0.9, 5e-4)
    assert (training.batch_size, training.temperature, training.table_momentum) == (16, 0.1, 0.5)
    assert training.flip
    assert training.colour_jitter == 0
    assert (network.backbone, network.weights, network.embedding) == ("resnet50", "imagenet", 1024)
    assert (network.dropout, network.height, network.width, network.frozen) == (0.5, 256, 128, "none")
    assert merging == MergingRecipe(fraction=0.05, trade_off=0.1, within="mean", linkage="average", metric="euclidean")


def test_dbc_video_differs_as_the_papers_video_setting_does() -> None:
    changed = {line.split(":")[0] for line in difference(load_recipe("dbc"), load_recipe("dbc_video"))}
    assert changed - {"selection"} == {"network.frozen", "training.frames", "training.later_epochs"}
    video = load_recipe("dbc_video")
    assert (video.network.frozen, video.training.frames, video.training.later_epochs) == ("layer2", 16, 5)


def test_the_rows_of_table_two_differ_in_merging_alone() -> None:
    dbc = load_recipe("dbc")
    rows = {
        "buc": MergingRecipe(linkage="minimum", trade_off=0.0),
        "buc_size": MergingRecipe(linkage="minimum", trade_off=0.0, metric="squared_euclidean", size_weight=0.003),
        "dbc_between": MergingRecipe(trade_off=0.0),
    }
    for name, merging in rows.items():
        assert load_recipe(name) == replace(dbc, merging=merging)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipe=recipes)
def test_a_recipe_survives_its_toml(tmp_path: Path, recipe: Recipe) -> None:
    assert load(tmp_path, dump_recipe(recipe)) == recipe


def test_what_is_left_out_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Recipe()
    assert load(tmp_path, "[training]\nframes = 4") == Recipe(training=TrainingRecipe(frames=4))


def test_a_whole_number_is_read_as_a_float_where_one_is_meant(tmp_path: Path) -> None:
    trade_off = load(tmp_path, "[merging]\ntrade_off = 1").merging.trade_off
    assert trade_off == 1.0
    assert type(trade_off) is float


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[training]\nepochs = 3", "unknown setting training.epochs"),
        ("colour = 1", "unknown setting colour"),
        ("[training]\nframes = 1.0", "training.frames is 1.0: expected a value of type int"),
        ("[training]\nframes = true", "training.frames is True: expected a value of type int"),
        ("[training]\nflip = 1", "training.flip is 1: expected a value of type bool"),
        ("[network]\nbackbone = 50", "network.backbone is 50: expected a value of type str"),
        ("[merging]\ntrade_off = 'much'", "merging.trade_off is 'much': expected a value of type float"),
        ("training = 3", "training is 3: expected a table"),
        ("[merging]\nlinkage = 'complete'", "merging.linkage is 'complete': expected one of average, minimum"),
        ("[merging]\nlinkage = ['average']", "merging.linkage"),
        ("[merging]\ntrade_off = nan", "merging.trade_off is nan: expected a finite number"),
        ("[training]\ntemperature = inf", "training.temperature is inf: expected a finite number"),
        ("[merging]\ntrade_off = -0.1", "merging.trade_off is -0.1"),
        ("[merging]\nfraction = 0", "merging.fraction is 0"),
        ("[merging]\nfraction = 5", "merging.fraction is 5"),
        ("[merging]\nsize_weight = 0.003", "merging.size_weight needs linkage = 'minimum'"),
        ("[training]\nsamples = 'images'\nframes = 2", "training.frames is 2 with samples = 'images'"),
        ("[training]\nbatch_size = 1", "training.batch_size is 1"),
        ("[training]\nlater_epochs = 0", "training.later_epochs is 0"),
        ("[training]\ncrop_scale = 0", "training.crop_scale is 0"),
        ("[training]\ncolour_jitter = 1", "training.colour_jitter is 1"),
        ("[training]\ntable_momentum = 1.5", "training.table_momentum is 1.5"),
        ("[network]\nheight = 16", "network input is 16x128"),
        ("[network]\ndropout = 1", "network.dropout is 1"),
        ("[network]\nembedding = 0", "network.embedding is 0"),
        ("[network]\nbackbone = 'mobilenet_v2'\nfrozen = 'layer1'", "need a ResNet"),
        ("seed = -1", "seed is -1"),
        ("seed = ", "not TOML"),
        ("[training\n", "not TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "mine.toml" in message
    assert words in message
    assert "\n" not in message


def test_a_recipe_that_was_saved_on_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbfseed = 3\r\n[merging]\r\ntrade_off = 0.2\r\n")
    recipe = load_recipe(str(tmp_path / "r.toml"))
    assert (recipe.seed, recipe.merging.trade_off) == (3, 0.2)


def test_an_unknown_recipe_is_told_which_there_are(tmp_path: Path) -> None:
    for name in ("dbcc", "", str(tmp_path)):
        with pytest.raises(RecipeError, match="neither a shipped recipe") as caught:
            load_recipe(name)
        assert "dbc_video" in str(caught.value)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"seed = 1 # \xff")
    with pytest.raises(RecipeError, match=r"mine\.toml: not TOML"):
        load_recipe(str(path))


def test_contradictions_are_refused_in_python_too() -> None:
    with pytest.raises(RecipeError):
        MergingRecipe(trade_off=math.nan)
    with pytest.raises(RecipeError):
        replace(TrainingRecipe(), batch_size=1)


def test_difference_names_each_setting_with_both_values() -> None:
    before = Recipe()
    after = Recipe(seed=3, training=TrainingRecipe(frames=8))
    assert difference(before, after) == ["seed: 0 is now 3", "training.frames: 1 is now 8"]
    assert difference(before, before) == []


anew = st.builds(
    Recipe,
    network=st.just(NetworkRecipe(head="batch_norm", embedding=0, dropout=0.0)),
    training=st.builds(
        TrainingRecipe,
        batch_size=st.sampled_from([8, 64]),
        crop_scale=st.just(1.0),
        padding=st.integers(0, 20),
        erasing=small,
        norm_crops=st.sampled_from([0, 4]),
        optimiser=st.sampled_from(["adam", "sgd"]),
    ),
    merging=st.builds(MergingRecipe, camera_statistics=st.booleans()),
    rounds=st.builds(
        RoundsRecipe,
        count=st.integers(1, 99),
        clustering=st.sampled_from(["dispersion", "dbscan"]),
        per_cluster=st.sampled_from([1, 4]),
        cameras_from=st.integers(0, 9),
        smallest=st.integers(1, 9),
        spread_cameras=st.booleans(),
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(recipe=anew)
def test_a_recipe_of_rounds_survives_its_toml(tmp_path: Path, recipe: Recipe) -> None:
    assert load(tmp_path, dump_recipe(recipe)) == recipe


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_survives_its_toml(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, dump_recipe(load_recipe(name))) == load_recipe(name)


def test_settings_that_do_nothing_are_not_written_and_make_no_difference() -> None:
    paper, cameras, density = (as_table(load_recipe(name)) for name in ("dbc", "dbc_cameras", "cluster_contrast"))
    assert paper["rounds"] == {"count": 0}
    assert {"fraction", "linkage", "metric", "size_weight"} <= set(paper["merging"])
    assert "first_epochs" in paper["training"]
    assert not {"fraction", "linkage", "metric", "size_weight"} & set(cameras["merging"])
    assert not {"first_epochs", "later_learning_rate", "decay_after"} & set(cameras["training"])
    assert "trade_off" in cameras["merging"]
    assert {"until", "radius"} & set(cameras["rounds"]) == {"until"}
    assert {"until", "radius"} & set(density["rounds"]) == {"radius"}
    assert "trade_off" not in density["merging"]
    recipe = load_recipe("dbc_cameras")
    other = replace(recipe, rounds=replace(recipe.rounds, radius=0.3), merging=replace(recipe.merging, fraction=0.5))
    assert difference(recipe, other) == []
    found = difference(load_recipe("dbc"), recipe)
    assert "rounds.count: 0 is now 40" in found
    assert "rounds.until: not used is now 0.8" in found
    assert "merging.fraction: 0.05 is now not used" in found


ROUNDS = "[training]\nbatch_size = 64\n[rounds]\ncount = 3\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[rounds]\nsteps = 3", "rounds.steps has no effect here (rounds.count is 0): remove it"),
        ("[rounds]\ncount = 0\nradius = 0.5", "rounds.radius has no effect here (rounds.count is 0)"),
        (ROUNDS + "radius = 0.5", "rounds.radius has no effect here (rounds.clustering is 'dispersion')"),
        (
            ROUNDS + "clustering = 'dbscan'\nuntil = 0.5",
            "rounds.until has no effect here (rounds.clustering is 'dbscan')",
        ),
        (
            ROUNDS + "clustering = 'dbscan'\n[merging]\ntrade_off = 0.5",
            "merging.trade_off has no effect here (rounds.clustering is 'dbscan')",
        ),
        (
            ROUNDS + "[merging]\nfraction = 0.1",
            "merging.fraction has no effect here (it is for training by stages, and rounds.count is not 0)",
        ),
        ("[rounds]\ncount = 3\n[training]\nfirst_epochs = 3", "training.first_epochs has no effect here"),
        (ROUNDS + "clustering = 'k-means'", "rounds.clustering is 'k-means': expected one of dispersion, dbscan"),
        ("rounds = 3", "rounds is 3: expected a table [rounds]"),
        ("training = 3\n[rounds]\ncount = 3", "training is 3: expected a table"),
        ("[rounds]\ncount = -1", "rounds.count is -1: expected at least 0"),
        ("[rounds]\ncount = 1.5", "rounds.count is 1.5: expected a value of type int"),
        (ROUNDS + "smallest = 0", "rounds.smallest is 0: expected at least 1"),
        (ROUNDS + "steps = 0", "rounds.steps is 0"),
        (ROUNDS + "until = 1.0", "rounds.until is 1.0: expected at least 0 and under 1"),
        (ROUNDS + "clustering = 'dbscan'\nradius = 0.0", "rounds.radius is 0.0"),
        (ROUNDS + "learning_rate = 0.0", "rounds.learning_rate is 0.0"),
        (ROUNDS + "warm_up = 0", "rounds.warm_up is 0"),
        (ROUNDS + "teacher_weight = 1.0", "rounds.teacher_weight has no effect here (rounds.taught is 0): remove it"),
        (
            ROUNDS + "taught = 1\nteacher = 'f'\nteacher_weight = -1.0",
            "rounds.teacher_weight is -1.0: expected at least 0",
        ),
        (
            ROUNDS + "per_cluster = 5",
            "training.batch_size is 64 with rounds.per_cluster 5: expected a multiple of per_cluster",
        ),
        ("[training]\npadding = 3\ncrop_scale = 0.5", "training.padding is 3 with crop_scale 0.5"),
        ("[training]\npadding = -1", "training.padding is -1"),
        ("[training]\nerasing = 1.5", "training.erasing is 1.5"),
        ("[training]\nbatch_size = 16\nnorm_crops = 5", "training.norm_crops is 5"),
        ("[training]\nbatch_size = 16\nnorm_crops = 1", "training.norm_crops is 1"),
        (
            "[training]\noptimiser = 'adam'\nmomentum = 0.5",
            "training.momentum has no effect here (training.optimiser is 'adam'): remove it",
        ),
        ("[training]\noptimiser = 'rmsprop'", "training.optimiser is 'rmsprop': expected one of sgd, adam"),
        ("[network]\nhead = 'batch_norm'", "with head = 'batch_norm', which uses neither: set both to 0"),
        ("[network]\nhead = 'batch_norm'\nembedding = 0\ndropout = 0.5", "dropout 0.5 with head = 'batch_norm'"),
        ("[network]\nlast_stride = 3", "network.last_stride is 3: expected one of 1, 2"),
        ("[network]\nlast_stride = true", "network.last_stride is True: expected one of 1, 2"),
        ("[network]\nlast_stride = 1.0", "network.last_stride is 1.0: expected one of 1, 2"),
        ("[network]\npooling = 'max'", "network.pooling is 'max'"),
    ],
)
def test_rounds_that_cannot_be_meant_are_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    test_what_cannot_be_meant_is_refused_by_name(tmp_path, text, words)


@pytest.mark.parametrize("part", ["training", "network", "merging", "rounds"])
def test_settings_of_earlier_versions_are_the_defaults(tmp_path: Path, part: str) -> None:
    """A run of an earlier version wrote all that there was then; what came later must change nothing in it."""
    later: dict[str, dict[str, Any]] = {
        "training": {"padding": 0, "erasing": 0.0, "norm_crops": 0, "optimiser": "sgd"},
        "network": {"head": "embedding", "pooling": "average", "last_stride": 2},
        "merging": {"camera_statistics": False},
        "rounds": {"count": 0},
    }
    defaults = as_table(Recipe())[part]
    assert {key: defaults[key] for key in later[part]} == later[part]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[merging]\ntrade_off = {10**400}", "merging.trade_off is an integer of 1329 bits"),
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("seed = " + "9" * 5000, "a number has more than 4,300 digits"),
        ("seed = 0x" + "f" * 5000, "seed is an integer of 20000 bits"),
        ("[network]\nbackbone = 0x" + "f" * 5000, "a number has more than 4,300 digits"),
        (f"[rounds]\ncount = 1\nsteps = {10**18}", "rounds.steps is 10*: expected at least 1 and at most 10000$"),
        ("[rounds]\ncount = 10000000", "rounds.count is 10*: expected at least 0 and at most 1000000$"),
        ("[training]\nfirst_epochs = 10000000", "training.first_epochs is 10*: expected at least 1 and at most"),
        ("[training]\nbatch_size = 10000000", "training.batch_size is 10*: expected at least 1 and at most"),
        ("[network]\nheight = 5000", "network input is 5000x128: expected at least 32x32 and at most 4096x4096"),
    ],
)
def test_numbers_and_brackets_without_end_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        load_recipe(str(tmp_path / "r.toml"))
