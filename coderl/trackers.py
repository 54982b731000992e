"""Where else do metrics go? TensorBoard, Weights & Biases, trackio: each behind the same two calls.

A tracker is a copy for the eye: none of them is read again, and a package that is missing is an error that names it.
"""

from __future__ import annotations

import shutil
import warnings
from typing import Any, Protocol

from coderl.errors import ConfigError, MissingExtra
from coderl.run_folder import RunFolder


class Tracker(Protocol):
    def start(self) -> None: ...

    def log(self, stage: str, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


def open_tracker(name: str, folder: RunFolder, run_name: str) -> Tracker:
    """Raises MissingExtra if the package of the tracker is not installed."""
    if name == "tensorboard":
        return _TensorBoard(folder)
    if name in ("wandb", "trackio"):
        return _Accelerate(name, folder, run_name)
    raise ConfigError(f"trackers: {name!r} is not one of tensorboard, wandb, trackio")


class _TensorBoard:
    """One event file; each stage has curves of its own, e.g. 1_grpo/rollout/reward."""

    def __init__(self, folder: RunFolder) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of tensorboard's own imports
                from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra(
                "trackers: tensorboard needs a package: pip install 'coderl[train]', or set trackers=[]"
            ) from error
        self._make_writer, self._directory = SummaryWriter, folder.tensorboard_dir

    def start(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)  # everything in it is logged again
        self._writer: Any = self._make_writer(str(self._directory))

    def log(self, stage: str, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class _Accelerate:
    """A tracker of accelerate; a step counter over all stages, as these services want steps that only grow."""

    def __init__(self, name: str, folder: RunFolder, run_name: str) -> None:
        try:
            from accelerate import tracking

            __import__(name)
        except ImportError as error:
            raise MissingExtra(f"trackers: {name} is not installed: pip install {name}, or set trackers=[]") from error
        classes = {"wandb": tracking.WandBTracker, "trackio": tracking.TrackioTracker}
        settings = {"wandb": {"name": run_name, "dir": str(folder.path)}, "trackio": {"name": run_name}}
        self._make_tracker, self._settings, self._folder = classes[name], settings[name], folder

    def start(self) -> None:
        self._step = 0
        self._tracker: Any = self._make_tracker("coderl", **self._settings)
        self._tracker.start()
        self._tracker.store_init_configuration(self._folder.config().model_dump(mode="json"))

    def log(self, stage: str, step: int, values: dict[str, float]) -> None:
        self._step += 1
        self._tracker.log(
            {f"{stage}/{name}": value for name, value in values.items()} | {"stage_step": step}, step=self._step
        )

    def close(self) -> None:
        self._tracker.finish()
