"""`coderl feedback`: candidates in, questions to a model, judged pairs out.

OUT is a file of pairs marked "ai" (docs/pairs.md), OUT with .json says how far the judge can be trusted, OUT with
.journal.jsonl holds every reply: run the same command again after an interruption, and only what is missing is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from coderl.arena.players import read_players
from coderl.config.run import SAMPLING
from coderl.errors import ConfigError, RunFolderError
from coderl.feedback.candidates import (
    MAX_CHARACTERS,
    Candidate,
    Side,
    Source,
    can_be_shown,
    known_by_execution,
    of_models,
    of_pairs,
    of_samples,
    side_of,
)
from coderl.feedback.chat import Ask, Chat, Reply
from coderl.feedback.constitution import Constitution
from coderl.feedback.journal import Journal
from coderl.feedback.judging import Judgement, judgement, question
from coderl.feedback.revising import critique_question, revised_program, revision_question
from coderl.feedback.summary import Bill, Summary, bill, decision, summarise
from coderl.pairs import Pair, read_pairs, tokenizer_fingerprint, write_pairs
from coderl.program_key import program_key
from coderl.progress import Progress
from coderl.prompts import PromptRenderer
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder, atomic_write, json_bytes
from coderl.samples_of_run import last_training_rollouts, load_tokenizer, prompt_texts
from coderl.seeds import derive
from coderl.workbench import open_grader
from sandbox import Status
from tasks.registry import load
from tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to judge, and how. `prices` are dollars per million tokens read and written."""

    sources: tuple[str, ...]
    constitution: Constitution
    out: Path
    revise: bool = False
    per_task: int = 1
    limit: int | None = None
    tie_below: float = 0.1
    seed: int = 0
    prices: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions:
    """What became of the programs, and how many of the changed ones pass all tests before and after."""

    num_programs: int
    num_unchanged: int
    num_lost: int  # no program in the answer, or none that continues the prompt
    num_passed_before: int
    num_passed_after: int
    num_graded: int

    def line(self) -> str:
        return (
            f"{self.num_programs} programs revised: {self.num_unchanged} came back unchanged, {self.num_lost} without a "
            f"program that fits; of {self.num_graded} changed ones {self.num_passed_before} passed before and "
            f"{self.num_passed_after} after"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """The pairs that were written, and what is known of the judge."""

    pairs: list[Pair]
    summary: Summary
    bill: Bill
    revisions: Revisions | None


def give(request: Request, chat: Chat) -> Feedback:
    """Judge, write the three files, and return them. Raises ConfigError, RunFolderError or FeedbackError."""
    if request.out.exists():
        raise RunFolderError(f"{request.out}: already there; name another file with --out, or delete it")
    with Journal(request.out.with_suffix(".journal.jsonl")) as journal:
        replies: list[Reply] = []
        if request.revise:
            candidates, revisions = _revised(request, chat, journal, replies)
        else:
            candidates, revisions = _given(request)[: request.limit], None
        judgements = _judged(candidates, request, chat, journal, replies)
        annotator = f"{chat.name} by {request.constitution.label}"
        pairs = _pairs(candidates, judgements, annotator, request.tie_below)
        summary = summarise(candidates, judgements, tie_below=request.tie_below)
        found = Feedback(pairs=pairs, summary=summary, bill=bill(replies, request.prices), revisions=revisions)
        record = _record(found, candidates, judgements, annotator, request)
        atomic_write(request.out.with_suffix(".json"), json_bytes(record))
        write_pairs(request.out, pairs)
    return found


def _given(request: Request) -> list[Candidate]:
    """The pairs to be judged, from whatever the sources are. Raises ConfigError where there is none."""
    [first, *more] = request.sources
    if not more and Path(first).is_file() and Path(first).suffix == ".jsonl":
        found = of_pairs(read_pairs(Path(first)))
    elif not more:
        folder = RunFolder.open(first)
        rollouts = _training_rollouts(folder)
        source = _source(folder, rollouts)
        found = of_samples(rollouts, _tasks([folder], "train"), source, per_task=request.per_task, seed=request.seed)
    else:
        players = read_players(request.sources)
        folders = [RunFolder.open(p.path if p.path.is_dir() else p.path.parent.parent) for p in players]
        answers = [p.rollouts() for p in players]
        sources = [_source(folder, rollouts) for folder, rollouts in zip(folders, answers, strict=True)]
        both = list(zip(answers, sources, strict=True))
        found = of_models(both, _tasks(folders, "test"), per_task=request.per_task)
    if not found:
        raise ConfigError(
            f"feedback: {', '.join(request.sources)}: holds no two different programs of one task to compare: sample more"
        )
    return found


def _judged(
    candidates: Sequence[Candidate], request: Request, chat: Chat, journal: Journal, replies: list[Reply]
) -> list[Judgement | None]:
    """A judgement from both orders; None for two sides that are alike."""
    asked = [candidate for candidate in candidates if not candidate.alike]
    orders = [(c, a, b) for c in asked for a, b in ((c.first, c.second), (c.second, c.first))]
    asks = [question(c.task, a.program, b.program, request.constitution, weighs=chat.weighs) for c, a, b in orders]
    answers = _ask(journal, chat, asks, "judge")
    replies += answers
    judged = (judgement(answers[i], answers[i + 1]) for i in range(0, len(answers), 2))
    return [None if candidate.alike else next(judged) for candidate in candidates]


def _revised(request: Request, chat: Chat, journal: Journal, replies: list[Reply]) -> tuple[list[Candidate], Revisions]:
    """One program per task, criticised and revised by one principle; what changed is a candidate."""
    if len(request.sources) > 1 or not Path(request.sources[0]).is_dir():
        raise ConfigError("feedback --revise: name one run, whose programs are to be revised")
    folder = RunFolder.open(request.sources[0])
    tasks = _tasks([folder], "train")
    chosen = _one_per_task(_training_rollouts(folder), tasks, request)
    if not chosen:
        raise ConfigError(f"feedback --revise: {folder.path} holds no whole program of its tasks.train")
    principles = request.constitution.principles
    picked = [principles[derive(request.seed, "principle", r.task_id) % len(principles)] for r in chosen]
    shown = [(tasks[r.task_id].prompt, r.program) for r in chosen]
    asks = [critique_question(task, program, p) for (task, program), p in zip(shown, picked, strict=True)]
    critiques = _ask(journal, chat, asks, "critique")
    asks = [
        revision_question(task, program, critique.text, p)
        for (task, program), critique, p in zip(shown, critiques, picked, strict=True)
    ]
    answers = _ask(journal, chat, asks, "revise")
    replies += critiques + answers
    return _compared(folder, tasks, chosen, [revised_program(a) for a in answers])


def _compared(
    folder: RunFolder, tasks: dict[str, Task], chosen: Sequence[Rollout], programs: Sequence[str]
) -> tuple[list[Candidate], Revisions]:
    """Original against revision, both as text that continues the prompt; execution grades the revisions."""
    config = folder.config()
    tokenizer = load_tokenizer(folder)
    renderer = PromptRenderer(tokenizer, config.prompt)
    unchanged, kept = 0, []
    for rollout, program in zip(chosen, programs, strict=True):
        task = tasks[rollout.task_id]
        if program and program_key(program) == program_key(rollout.program):
            unchanged += 1
            continue
        completion = _completion(renderer, task, program)
        if completion is not None:
            kept.append((rollout, task, program, completion))
    with open_grader(config.sandbox) as grader:
        verdicts = grader.grade([task.request(program) for _, task, program, _ in kept])
    candidates, before, after = [], 0, 0
    for (rollout, task, program, completion), verdict in zip(kept, verdicts, strict=True):
        own = replace(side_of(rollout), ids=())
        known = verdict.status is not Status.UNSCORABLE
        new = Side(completion=completion, program=program, passed=verdict.status is Status.PASS if known else None)
        before, after = before + bool(own.passed), after + bool(new.passed)
        candidates.append(
            Candidate(
                task_id=task.id, task=task.prompt, prompt=tokenizer.decode(rollout.prompt_ids),
                first=own, second=new, known=known_by_execution(own, new),
            )
        )  # fmt: skip
    return candidates, Revisions(
        num_programs=len(chosen),
        num_unchanged=unchanged,
        num_lost=len(chosen) - unchanged - len(kept),
        num_passed_before=before,
        num_passed_after=after,
        num_graded=len(kept),
    )


def _completion(renderer: PromptRenderer, task: Task, program: str) -> str | None:
    """The text that makes the prompt go on to `program`; None where it cannot."""
    if not program or len(program) > MAX_CHARACTERS:
        return None
    try:
        return renderer.target(replace(task, reference=program), renderer.render(task))
    except ConfigError:
        return None


def _ask(journal: Journal, chat: Chat, asks: Sequence[Ask], what: str) -> list[Reply]:
    missing = journal.unanswered(chat, asks)
    with Progress(total=missing, description=what) as progress:
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            progress.update(done, {})

        return journal.ask(chat, asks, count)


def _pairs(
    candidates: Sequence[Candidate], judgements: Sequence[Judgement | None], annotator: str, tie_below: float
) -> list[Pair]:
    """Readable judgements as pairs; the margin is the strength of the preference, 0 to 1."""
    found = []
    for candidate, judged in zip(candidates, judgements, strict=True):
        answer = decision(judged, tie_below)
        if answer is None:
            continue
        better, worse = (candidate.second, candidate.first) if answer < 0 else (candidate.first, candidate.second)
        strength = 0.0 if judged is None or judged.preference is None else abs(judged.preference)
        found.append(
            Pair(
                prompt=candidate.prompt, chosen=better.completion, rejected=worse.completion, task_id=candidate.task_id,
                source="ai", annotator=annotator, margin=strength, tie=answer == 0, prompt_ids=candidate.prompt_ids,
                chosen_ids=better.ids, rejected_ids=worse.ids, tokenizer=candidate.tokenizer,
            )
        )  # fmt: skip
    return found


def _record(
    found: Feedback,
    candidates: Sequence[Candidate],
    judgements: Sequence[Judgement | None],
    annotator: str,
    request: Request,
) -> dict[str, Any]:
    details = [
        {
            "task_id": c.task_id,
            "shown_first": j.shown_first if j else None,
            "shown_second": j.shown_second if j else None,
            "decision": decision(j, request.tie_below),
            "known": [asdict(label) for label in c.known],
        }
        for c, j in zip(candidates, judgements, strict=True)
    ]
    return {
        "schema": 1,
        "judge": annotator,
        "tie_below": request.tie_below,
        "summary": found.summary.to_json(),
        "bill": asdict(found.bill),
        "revisions": asdict(found.revisions) if found.revisions else None,
        "pairs": details,
    }


def _training_rollouts(folder: RunFolder) -> list[Rollout]:
    """Never of test tasks, as pairs are trained on. Raises ConfigError."""
    found = last_training_rollouts(folder)
    if not found:
        raise ConfigError(
            f"feedback: {folder.path} has no samples of training tasks: it needs a stage {', '.join(sorted(SAMPLING))}"
        )
    return found


def _one_per_task(rollouts: Sequence[Rollout], tasks: dict[str, Task], request: Request) -> list[Rollout]:
    """The sample of each task whose draw is lowest."""
    chosen: dict[str, tuple[int, Rollout]] = {}
    for r in rollouts:
        if can_be_shown(r) and r.task_id in tasks:
            draw = derive(request.seed, "revise", r.task_id, r.step, r.sample_index)
            if r.task_id not in chosen or draw < chosen[r.task_id][0]:
                chosen[r.task_id] = (draw, r)
    return [r for _, r in chosen.values()][: request.limit]


def _tasks(folders: Sequence[RunFolder], kind: str) -> dict[str, Task]:
    specs = dict.fromkeys(spec for folder in folders for spec in getattr(folder.config().tasks, kind))
    return {task.id: task for spec in specs for task in load(spec)}


def _source(folder: RunFolder, rollouts: Sequence[Rollout]) -> Source:
    tokenizer = load_tokenizer(folder)
    return Source(prompts=prompt_texts(rollouts, tokenizer), tokenizer=tokenizer_fingerprint(tokenizer))
