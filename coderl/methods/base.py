"""What the training loop asks of a method."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from coderl.config import StageConfig
from coderl.experience import Example, MicroBatch
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder, is_main_process, new_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What one step learns from."""

    examples: list[Example]
    metrics: dict[str, float] = field(default_factory=dict)  # of the step, over all processes; their mean is logged
    rollouts: list[Rollout] = field(default_factory=list)  # kept in the store
    places: list[int] = field(default_factory=list)  # of the rollouts in the step, over all processes


class TokenLoss(NamedTuple):
    """Loss per completion token, and per-token values to watch; names that begin with max_ are reduced by max."""

    loss: Tensor  # (N, T)
    watch: dict[str, Tensor]  # (N, T) each


class Trainable(NamedTuple):
    module: nn.Module
    learning_rate: float


class Method(Protocol):
    """One way to learn. A step collects once, then makes `epochs * minibatches` optimizer steps."""

    @property
    def config(self) -> StageConfig:
        """The settings of the stage."""

    epochs: int
    minibatches: int
    normalize: str  # how token weights are normalised: see coderl.functional.token_weights
    max_tokens: int

    def modules(self) -> dict[str, Trainable]:
        """What is trained, by name; the first one's learning rate is logged."""

    def wrap(self, engines: dict[str, Any]) -> None:
        """Use these (wrapped by accelerate) in place of the modules."""

    def collect(self, step: int) -> Experience: ...

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss: ...

    def stop_epochs(self, watched: dict[str, float]) -> bool:
        """Whether to leave the rest of this step's optimizer steps out, given what the last one showed."""

    def after_step(self, metrics: dict[str, float]) -> dict[str, float]:
        """Adapt coefficients; the metrics to add."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold besides weights and optimizer."""

    def load_state(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None:
        """No step follows, whatever the reason: end what runs beside them."""

    def finish(self, folder: RunFolder, label: str) -> dict[str, float]:
        """The stage has ended: save what was trained (the main process alone writes); the metrics to log."""


class MethodBase:
    """The parts of a method that most share. `bench.policy` is trained; nothing else is."""

    epochs = 1
    minibatches = 1
    normalize = "token"
    max_tokens = 1

    def __init__(self, policy: Any, learning_rate: float) -> None:
        self._policy = policy
        self._learning_rate = learning_rate

    def modules(self) -> dict[str, Trainable]:
        return {"policy": Trainable(self._policy.model, self._learning_rate)}

    def wrap(self, engines: dict[str, Any]) -> None:
        self._policy.engine = engines["policy"]

    def stop_epochs(self, watched: dict[str, float]) -> bool:
        return False

    def after_step(self, metrics: dict[str, float]) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass

    def finish(self, folder: RunFolder, label: str) -> dict[str, float]:
        self._policy.engine = self._policy.model
        place = folder.model_dir(label)
        is_writer = is_main_process()
        with new_folder(place, overwrite=True) if is_writer else nullcontext(place) as draft:
            self._policy.save(draft, is_writer=is_writer)
        return {}
