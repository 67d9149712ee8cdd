"""A run's network, read back at one of its stages."""

from reid_toolkit.errors import RunError
from reid_toolkit.training.checkpoint import LABELS, NEXT_LABELS, RunFolder, load_tensors
from reid_toolkit.training.network import ReidNetwork


def load_network(folder: RunFolder, stage: str) -> ReidNetwork:
    """The network of a run at ``stage``: "best", "initial", "last" or a number.

    Raises :class:`RunError` when the run has no such stage, its file is damaged, or a weight is not finite.
    """
    recipe = folder.recipe()
    if stage == "best":
        path = folder.path / "best.safetensors"
    elif stage == "initial":
        path = folder.checkpoints / "initial.safetensors"
    else:
        stages = folder.stages()
        number = stages[-1] if stage == "last" and stages else int(stage) if stage.isdecimal() else -1
        if number not in stages:
            known = f"0-{stages[-1]}" if stages else "none yet"
            raise RunError(f"{folder.path}: no stage {stage!r}: expected best, initial, last or one of {known}")
        path = folder.stage_path(number)
    state, _ = load_tensors(path)
    state = {key: value for key, value in state.items() if key not in (LABELS, NEXT_LABELS)}
    broken = [key for key, value in state.items() if not bool(value.isfinite().all())]
    if broken:
        raise RunError(
            f"{path}: {len(broken)} tensors hold NaN or infinity, the first is {broken[0]!r}: the training "
            "diverged; export a stage before, or train again with lower learning rates"
        )
    network = ReidNetwork(recipe.network)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"{path}: does not fit the run's config.toml: {str(error).splitlines()[-1]}") from None
    return network
