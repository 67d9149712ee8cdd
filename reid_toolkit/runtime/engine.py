"""How an embedder is started, in this process or in workers elsewhere."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from reid_toolkit.errors import ModelError
from reid_toolkit.parallel.pool import Pool
from reid_toolkit.runtime.embedder import Embedder


@dataclass(frozen=True)
class Engine:
    """How a model is run. The descriptors depend only on the model, not on the other settings. It can be pickled."""

    model: Path
    batch_size: int = 32
    threads: int | None = None
    providers: tuple[str, ...] | None = None
    strict: bool = False
    content: bytes | None = None
    """The bytes of the model's file, for workers on machines that do not have the file."""

    def start(self) -> Embedder:
        """Load the model. Raises as :class:`Embedder` does."""
        if self.content is None:
            return self._load(self.model)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, self.model.name)
            path.write_bytes(self.content)
            return self._load(path)

    def _load(self, path: Path) -> Embedder:
        return Embedder(
            path, batch_size=self.batch_size, threads=self.threads, providers=self.providers, strict=self.strict
        )

    def for_pool(self, pool: Pool) -> Self:
        """The engine for the workers of a pool: each has its part of the cores, unless the user chose the number of
        threads; and it carries the model if they run on other machines. Raises :class:`ModelError` if the file cannot
        be read."""
        engine = self if self.threads is not None else replace(self, threads=pool.cores)
        if not pool.elsewhere:
            return engine
        try:
            return replace(engine, content=self.model.read_bytes())
        except OSError as error:
            raise ModelError(f"{self.model}: cannot read the model: {error.strerror}") from None
