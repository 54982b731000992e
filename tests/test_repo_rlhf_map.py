"""Does docs/rlhf-map.md name twenty topics, each with a command that can be typed? (test_repo_readme checks options.)"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from coderl.config import load

MAP = Path(__file__).resolve().parent.parent / "docs" / "rlhf-map.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in MAP.read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d", line)
]
TOPICS = (
    "the three-step recipe", "why RL after SFT", "reward model", "PPO", "reward hacking", "DPO", "KL penalty",
    "collecting feedback", "constitutional AI", "the challenges", "best of N", "helpful against harmless", "Bradley-Terry",
    "mode collapse", "DPO against PPO", "offline RL", "code rewards", "alignment tax", "evaluation by Elo",
    "evaluation by a judge",
)  # fmt: skip


def test_the_twenty_topics_are_there_in_order():
    assert [(row[0], row[1]) for row in ROWS] == [(str(i), topic) for i, topic in enumerate(TOPICS, 1)]


@pytest.mark.parametrize("row", ROWS, ids=[row[1] for row in ROWS])
def test_each_topic_has_one_command_and_its_config_and_settings_exist(row):
    [command] = re.findall(r"^`([^`]+)`$", row[3])
    words = shlex.split(command)
    assert words[0] == "coderl"
    if words[1] == "train":
        load(words[2], words[3:])


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", MAP.read_text(encoding="utf-8")))))
def test_what_the_map_links_to_is_there(link):
    assert (MAP.parent / link).is_file()
