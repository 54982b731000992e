"""Runs the command line in the process of a test, and a tiny model for commands that need one. Imported by tests; has none."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def coderl(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of `coderl *arguments`."""
    from coderl import cli

    monkeypatch.setattr(sys, "argv", ["coderl", *map(str, arguments)])
    code = cli.main()
    out, err = capsys.readouterr()
    return code, out, err


def save_tiny_model(folder: Path, *, seed: int = 0, corpus: Sequence[str] = ()) -> Path:
    """One layer, 128 positions, untrained; without a `corpus` the tokenizer learns from 20 generated references."""
    from coderl.config import NewModelConfig, PolicyConfig
    from coderl.policy import load_policy
    from tasks.registry import load

    new = NewModelConfig(
        hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, vocab_size=300, max_positions=128
    )
    own = corpus or [t.reference for t in load("generated?family=compose&level=1&split=train&count=20&seed=0")]
    load_policy(PolicyConfig(model="new:", new=new), seed=seed, corpus=own).save(folder)
    return folder
