"""A training run's work outside its loop: the folder, the clock, TensorBoard, and the state for a resume."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from reid_toolkit.config import Recipe
from reid_toolkit.datasets.known_pairs import NO_PAIRS, KnownPairs
from reid_toolkit.errors import RunError
from reid_toolkit.training.clock import Clock, Phase
from reid_toolkit.training.crop_cache import remove_crop_file
from reid_toolkit.training.distributed import World
from reid_toolkit.training.network import ReidNetwork, build_network
from reid_toolkit.training.progress import Interrupt
from reid_toolkit.training.run_folder import Checkpoint, RunFolder
from reid_toolkit.training.samples import Samples
from reid_toolkit.training.schedule import Place
from reid_toolkit.training.selection import START, Row
from reid_toolkit.training.state import (
    State,
    latest,
    remove_optimisers,
    remove_states,
    save_optimiser,
    save_state,
    snapshot,
)
from reid_toolkit.training.step import Learner, optimiser_state
from reid_toolkit.training.tensor_files import on_cpu
from reid_toolkit.training.verdict import Verdict


class TrainingRun:
    """A run that begins or resumes. Call :meth:`restore`, :meth:`check`, :meth:`start`, stages inside
    :meth:`recording`, :meth:`clean_up`.

    All processes of a ``world`` call the same methods. Only the first one writes.
    """

    def __init__(
        self,
        out: Path,
        recipe: Recipe,
        fingerprint: str,
        device: torch.device,
        world: World,
        on_phase: Callable[[Phase], None] | None = None,
        known: KnownPairs | None = None,
    ) -> None:
        """``out`` is the run's folder; ``fingerprint`` is the dataset's; ``known`` are pairs of tracklets that a user
        corrected, or None for those that the run began with. Nothing is read or written yet."""
        self.folder = RunFolder(out)
        self.recipe = recipe
        self.fingerprint = fingerprint
        self.device = device
        self.world = world
        self._known = known
        self.known = NO_PAIRS
        """Pairs of tracklets that a user corrected. Known after :meth:`restore`."""
        self.clock = Clock(on_phase)
        self.interrupt = Interrupt()
        self.state: State | None = None
        """The state from which the run resumes. None for a new run, and after the loop has taken it."""
        self.metrics: list[Row] = []
        """One row per finished stage."""
        self.start_row: list[Row] = []
        """The row of the network before training; empty if an earlier version began the run."""
        self._order: str | None = None
        """The order of the samples with which a resumed run began, if that is known."""
        self._names: list[tuple[str, str]] = []
        self._board: SummaryWriter | None = None

    def restore(self, *, resume: bool, on_warning: Callable[[str], None]) -> ReidNetwork:
        """Read the last state in the folder, if there is one. Returns the network with its weights, or a new network.

        Raises:
            RunError: the folder holds a run and ``resume`` is off, or the run has another recipe or dataset, or other
                corrections.
        """

        def read() -> tuple[State | None, dict[str, Tensor], KnownPairs, str | None, list[Row]]:
            self.folder.check(self.recipe, self.fingerprint, self._known, resume=resume)
            known = self.folder.known_pairs() if self.folder.begun(resume=resume) else self._known or NO_PAIRS
            state = latest(self.folder, on_warning)
            if state:
                return state, state.weights, known, self.folder.order(), self.folder.start_row()
            return None, build_network(self.recipe.network, self.recipe.seed).state_dict(), known, None, []

        self.state, weights, self.known, self._order, self.start_row = self.world.share(read)
        network = ReidNetwork(self.recipe.network)
        network.load_state_dict(weights)
        if self.state:
            self.metrics = self.state.metrics
            self.clock.add(self.state.seconds)
        return network

    def check(self, samples: Samples, root: Path) -> None:
        """Check that the ``samples`` of the dataset at ``root`` are those of a resumed run and of all processes.

        Raises:
            RunError: the resumed run had another number of samples or another order, or a process has others.
        """
        # Processes also draw the same crops only if each sample has the same number of them everywhere.
        seen = self.fingerprint, samples.order, samples.starts.tobytes()
        self.world.check_same(seen, f"{root}: differs between processes: copy one to all")
        state = self.state
        if state and len(state.labels) != len(samples):
            raise RunError(
                f"{self.folder.path}: was trained on {len(state.labels)} samples, of which {len(samples)} can be read "
                "now: restore the others, or train into another --out"
            )
        if state and self._order not in (None, samples.order):
            # The state's labels would go to other samples.
            raise RunError(
                f"{self.folder.path}: cannot resume: the samples are in another order than at its beginning, because "
                "other crops can be read, or are decoded to other pixels: restore the files and the version of "
                "opencv-python, or train into another --out"
            )

    def start(self, samples: Samples) -> None:
        """Write the folder of a new run, or bring a resumed run's files at the top up to date."""
        self._names = [(tracklet.name, tracklet.camera) for tracklet in samples.tracklets]
        if not self.world.first:
            return
        if not self.state:
            self.folder.start(self.recipe, self.fingerprint, self.known, samples.order)
        if self.metrics:
            self.publish()

    def save_start(self, row: Row, network: ReidNetwork, count: int) -> None:
        """Save the network before training and its metrics, as a stage of ``count`` clusters of one sample."""
        self.start_row = [row]
        if self.world.first:
            weights = on_cpu(network.state_dict())
            singles = torch.arange(count)
            self.folder.save(Checkpoint(START, weights, singles, singles, self.start_row))

    def publish(self, verdict: Verdict | None = None) -> None:
        """Write the files at the top of the folder from the finished stages."""
        rows, rule = [*self.start_row, *self.metrics], self.recipe.selection
        self.folder.publish(rows, self._names, rule, asdict(verdict) if verdict else None)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Inside, finished stages are also written to TensorBoard, and Ctrl-C saves the step that it interrupts."""
        # Several processes would have to agree at which step to stop. So they end at once and lose unsaved steps.
        signals = self.interrupt.handling_signals() if self.world.size == 1 else nullcontext()
        if self.world.first:
            self._board = SummaryWriter(str(self.folder.events), purge_step=len(self.metrics))
        with signals, self._board or nullcontext():
            yield

    def save_state(self, learner: Learner, labels: Tensor, place: Place) -> None:
        """Save a state within a stage, from which the run can resume."""
        with self.clock.phase("save"):
            # Only rows of earlier stages: after an interrupt, this stage's row may already be among the metrics.
            before = self.metrics[: place.stage]
            save_state(self.folder.checkpoints, snapshot(learner, place, labels, before, self.clock, self.folder))

    def save_stage(
        self,
        row: Row,
        network: ReidNetwork,
        labels: Tensor,
        next_labels: Tensor,
        optimiser: torch.optim.Optimizer | None = None,
    ) -> None:
        """Finish a stage: add the clock's times to its row, and write TensorBoard, the checkpoint and the best model.

        ``optimiser`` is given if it is kept for the next stage.
        """
        row = row | self.clock.row()
        self.metrics.append(row)
        if not self._board:
            return
        for key, value in row.items():
            if key not in ("stage", "crops") and value is not None:
                self._board.add_scalar(key, value, row["stage"])
        with self.clock.phase("save"):
            weights = on_cpu(network.state_dict())
            if optimiser:
                save_optimiser(self.folder.checkpoints, row["stage"], optimiser_state(optimiser, network))
            self.folder.save(Checkpoint(row["stage"], weights, labels, next_labels, self.metrics))
            self.publish()

    def clean_up(self) -> None:
        """Remove what only an unfinished run needs: states within a stage, and the file of decoded crops."""
        if self.world.first:
            remove_states(self.folder.checkpoints)
            remove_optimisers(self.folder.checkpoints)
        if self.world.local_rank == 0:
            remove_crop_file(self.folder.crops)
