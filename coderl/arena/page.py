"""How is an arena told? As a table in the terminal, as JSON, and as one HTML file without scripts or network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from coderl.arena.ratings import Estimate, Meeting, Standing
from coderl.report.markup import Html, document, table, tag
from coderl.run_folder import json_bytes

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
WIDTH, ROW, MARGIN = 560, 26, 150  # of the picture, in its own units
METHOD = (
    "Ratings: Bradley-Terry by maximum likelihood, a tie as half a win for both, with one imaginary draw of every two players; "
    "1000 is the mean, 400 more are odds of 10 to 1. Elo: k 16, the mean over 200 random orders of the games. Intervals: 95 %, "
    "bootstrap over problems. Execution: one game per task and two players, a random sample of each, in expectation. "
    "A place is 1 plus the number of players whose whole interval lies above."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Standings from games of one source, or ("all") from all of them."""

    source: str
    num_games: int
    num_problems: int
    standings: list[Standing]
    meetings: list[Meeting]


def to_json(tables: Sequence[Table], notes: Sequence[str]) -> bytes:
    record = {"schema": 1, "method": METHOD, "notes": list(notes), "tables": [asdict(t) for t in tables]}
    return json_bytes(record)


def heading(found: Table) -> str:
    games = "all games" if found.source == "all" else f"games by {found.source}"
    return f"{games}: {found.num_games} on {found.num_problems} problems"


STANDINGS = ["", "player", "rating", "Elo", "score", "games"]
MEETINGS = ["first", "second", "first wins", "ties", "second wins", "score of first", "games"]


def standing_cells(standing: Standing) -> list[str]:
    points = [spanned(standing.rating, "{:.0f}"), spanned(standing.elo, "{:.0f}"), spanned(standing.score, "{:.1%}")]
    return [str(standing.place), standing.player, *points, str(standing.num_games)]


def meeting_cells(meeting: Meeting) -> list[str]:
    shares = [f"{share:.1%}" for share in (meeting.wins, meeting.ties, meeting.losses)]
    return [meeting.first, meeting.second, *shares, spanned(meeting.score, "{:.1%}"), str(meeting.num_games)]


def spanned(estimate: Estimate, shape: str) -> str:
    """A value and its interval, e.g. "1033 (1024-1042)"."""
    return f"{shape.format(estimate.value)} ({shape.format(estimate.low)}-{shape.format(estimate.high)})"


def render(tables: Sequence[Table], notes: Sequence[str]) -> str:
    """The page."""
    sections = [
        tag(
            "section",
            tag("h2", heading(found)),
            _picture(found),
            table(STANDINGS, map(standing_cells, found.standings)),
            table(MEETINGS, map(meeting_cells, found.meetings)),
        )
        for found in tables
    ]
    best = tables[0].standings
    first = [s.player for s in best if s.place == 1]
    answer = (
        f"{first[0]} is ahead of all others." if len(first) == 1 else f"Ahead, and not told apart: {', '.join(first)}."
    )
    last = tag("section", tag("h2", "How"), tag("p", METHOD), *(tag("p", note) for note in notes))
    body = tag("main", tag("header", tag("h1", "Arena"), tag("p", answer, cls="answer")), *sections, last)
    return document("arena", body, policy=POLICY)


def _picture(found: Table) -> Html:
    """The ratings and their intervals, one row per player."""
    low = min(s.rating.low for s in found.standings)
    high = max(s.rating.high for s in found.standings)

    def x(value: float) -> str:
        return f"{MARGIN + (value - low) / max(high - low, 1e-9) * (WIDTH - MARGIN - 50):.1f}"

    marks: list[Html] = []
    for row, s in enumerate(found.standings):
        y = f"{ROW * row + ROW / 2:.1f}"
        name = s.player if len(s.player) <= 22 else f"{s.player[:21]}…"
        below = f"{ROW * row + ROW / 2 + 4:.1f}"
        marks += [
            tag("text", name, x="0", y=below, font_size="12", fill="currentColor"),
            tag("line", x1=x(s.rating.low), x2=x(s.rating.high), y1=y, y2=y, stroke="var(--s0)", stroke_width="3"),
            tag("circle", cx=x(s.rating.value), cy=y, r="5", fill="var(--s0)"),
            tag("text", f"{s.rating.value:.0f}", x=f"{WIDTH - 36}", y=below, font_size="12", fill="currentColor"),
        ]
    size = f"0 0 {WIDTH} {ROW * len(found.standings)}"
    label = "Bradley-Terry ratings with 95 % intervals"
    return tag("figure", tag("svg", *marks, viewBox=size, role="img", aria_label=label), tag("figcaption", label))
