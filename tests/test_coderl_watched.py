"""The metrics of an optimizer step: means over all tokens of all processes, not means of means."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from coderl.functional import explained_variance  # noqa: E402
from coderl.watched import Watched, merged, of_all  # noqa: E402


def seen(loss, ratios, mask):
    part = Watched()
    values = torch.tensor([ratios])
    part.add(loss, {"policy/ratio": values, "max_policy/ratio": values}, torch.tensor([mask]))
    return part


def test_a_process_with_more_tokens_counts_more():
    one = seen(0.5, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    two = seen(-0.25, [9.0, 100.0], [1.0, 0.0])
    # (1 + 2 + 3 + 9) / 4; the mean of the means would be (2 + 9) / 2
    assert of_all([one, two]) == {"loss": 0.25, "policy/ratio": 3.75, "policy/ratio_max": 9.0}


def test_a_process_that_saw_nothing_changes_nothing():
    one = seen(0.5, [1.0, 2.0], [1.0, 1.0])
    assert (
        of_all([Watched(), one, Watched()])
        == of_all([one])
        == {
            "loss": 0.5,
            "policy/ratio": 1.5,
            "policy/ratio_max": 2.0,
        }
    )
    assert of_all([Watched(), Watched()]) == {"loss": 0.0}


def test_steps_are_averaged_and_maxima_kept():
    assert merged([{"loss": 1.0, "x_max": 3.0}, {"loss": 2.0, "x_max": 2.0, "late": 5.0}]) == {
        "loss": 1.5,
        "x_max": 3.0,
        "late": 5.0,
    }


def test_the_explained_variance_of_parts_is_that_of_the_whole():
    torch.manual_seed(0)
    values, returns, mask = torch.randn(4, 5), torch.randn(4, 5), (torch.rand(4, 5) > 0.3).float()
    chosen = mask > 0
    expected = 1 - (returns - values)[chosen].var() / returns[chosen].var()
    whole = explained_variance(values, returns, mask)
    assert whole == pytest.approx(float(expected), abs=1e-6)
    # The other process has the other rows: `total` adds what it would have computed.
    sums: list = []
    explained_variance(values[1:], returns[1:], mask[1:], total=lambda part: sums.append(part) or part)
    pair = torch.stack([returns, returns - values]).double() * mask
    count = mask.sum()
    mean = pair.flatten(1).sum(1) / count
    centred = ((pair - mean.view(2, 1, 1)) * mask)[:, 1:]
    others = iter([sums[0], (centred**2).flatten(1).sum(1)])
    assert explained_variance(
        values[:1], returns[:1], mask[:1], total=lambda part: part + next(others)
    ) == pytest.approx(whole, abs=1e-9)
