"""The training loop: one step, an evaluation, and what happens between steps. Nothing is hidden in hooks.

A run's folder holds ``config.yaml``, ``log.jsonl``, ``board/`` (TensorBoard), ``checkpoints/`` and the
exported model, ``codec/`` or ``prior/``. Started by torchrun, the same lines train on all its processes.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from omegaconf import OmegaConf

from speechvq.codec import Batch
from speechvq.errors import SpeechVQError
from speechvq.table import plain
from speechvq.train.board import Board
from speechvq.train.checkpoint import Checkpoints, undisturbed
from speechvq.train.display import Display
from speechvq.train.evaluate import endless, evaluate, held_out
from speechvq.train.objective import Outcome
from speechvq.train.prior import open_prior
from speechvq.train.run import Run
from speechvq.train.sampler import Order
from speechvq.train.schedule import set_rate
from speechvq.train.settings import Settings
from speechvq.train.stacked import open_stacked
from speechvq.train.start import claim, resumable, seed_everything, start_fabric
from speechvq.train.stop import Stop
from speechvq.train.task import Task, open_task


class Diverged(SpeechVQError):
    """A loss or gradient that is not a number."""


@dataclass
class Desk:
    """Where one process of a run keeps and shows things; only the first process has a board."""

    folder: Path
    checkpoints: Checkpoints
    display: Display
    board: Board | None
    saved: int = 0  # the last step that was saved
    sums: dict[str, Any] = field(default_factory=dict)  # of figures since the last line
    since: float = field(default_factory=time.monotonic)


def train(config: Mapping[str, Any]) -> Path:
    """Train what `compose` (or any mapping like it) describes; return the run's folder.

    Raises:
        SpeechVQError: settings or data that cannot be used, or a run that diverged.
    """
    settings = Settings.of(config)
    fabric = start_fabric(settings.runtime)
    run, task, desk = begin(fabric, settings)
    with closing(desk.board) if desk.board else nullcontext():
        fit(fabric, run, task, settings, desk)
    return desk.folder


def begin(fabric: Fabric, settings: Settings) -> tuple[Run, Task, Desk]:
    """Everything that `fit` works on, new or as a checkpoint left it; prints the plan.

    Raises:
        SpeechVQError: settings or data that cannot be used; then the folder was not touched.
    """
    folder = Path(settings.folder)
    resuming = resumable(folder, settings) if fabric.is_global_zero else False
    resuming = fabric.broadcast(resuming)
    seed_everything(settings.seed)
    with fabric.rank_zero_first():
        model = settings.model
        task = (open_prior if "prior" in model else open_stacked if "first" in model else open_task)(settings)
    run = Run(fabric, task.objective, settings)
    seed_everything(settings.seed + fabric.global_rank)
    checkpoints = Checkpoints(folder / "checkpoints", keep=settings.runtime.keep)
    if resuming:
        run.load_state_dict(checkpoints.load())
    if fabric.is_global_zero:
        claim(folder, settings)
    fabric.barrier()
    display = Display(settings.runtime.steps, done=run.step, shown=fabric.is_global_zero)
    display.plan(task.facts | _plan_of_run(settings, run, task))
    board = Board(folder, step=run.step) if fabric.is_global_zero else None
    return run, task, Desk(folder, checkpoints, display, board, saved=run.step)


def fit(fabric: Fabric, run: Run, task: Task, settings: Settings, desk: Desk) -> None:
    """Step until the last step, or until it is time to leave; either way everything is saved.

    Raises:
        Diverged: see `step`; what was saved before stays.
    """
    runtime, optimiser = settings.runtime, settings.optimiser
    order = Order(len(task.train), runtime.batch_size, settings.seed, fabric.global_rank, fabric.world_size)
    done = run.step * optimiser.accumulate
    batches = endless(task.train, order, first=done, workers=runtime.workers)
    run.objective.train()
    with Stop(runtime.max_minutes) as stop, desk.display:
        while run.step < runtime.steps and not stop.due(fabric):
            some = [batch.to(fabric.device) for batch in islice(batches, optimiser.accumulate)]
            share = optimiser.share(run.step, runtime.steps)
            outcomes = step(fabric, run, some, share=share, clip=optimiser.clip)
            run.follow(outcomes, order.epoch(run.step * optimiser.accumulate))
            between(fabric, run, task, settings, desk, outcomes)
        if desk.saved != run.step:
            save(run, desk)
        place = None if desk.board is None else run.export(desk.folder, _card(settings, run))
        early = f"stopped after step {run.step} because {stop.reason}; resume=true goes on. " * (
            run.step < runtime.steps
        )
        desk.display.say(f"{early}The {run.bare.label} is in {place}.")


def step(
    fabric: Fabric, run: Run, batches: Sequence[Batch], *, share: float = 1.0, clip: float = 0.0
) -> list[Outcome]:
    """One optimiser step on the gradient averaged over ``batches``, at ``share`` of the learning rates.

    Raises:
        Diverged: the loss or a gradient is not finite; no weight was changed by it.
    """
    outcomes = []
    for left, batch in zip(reversed(range(len(batches))), batches, strict=True):
        with fabric.no_backward_sync(run.objective, enabled=left > 0 and fabric.world_size > 1):
            outcome = Outcome(*run.objective(vars(batch), run.step))
            fabric.backward(outcome.loss / len(batches))
        outcomes.append(outcome)
    size = torch.stack([outcome.loss.detach() for outcome in outcomes]).sum()
    for optimiser in run.optimisers.values():
        norm = fabric.clip_gradients(
            run.objective, optimiser, max_norm=clip or math.inf, error_if_nonfinite=False
        )
        size = size + (0.0 if norm is None else norm)
    if not torch.isfinite(size):
        raise Diverged(
            f"at step {run.step + 1} the loss or its gradient is not a number; what was saved before is as "
            "it was: resume=true with a lower optimiser.lr or optimiser.clip goes on from there"
        )
    for optimiser in run.optimisers.values():
        set_rate(optimiser, share)
        optimiser.step()
        optimiser.zero_grad()
    return outcomes


def between(
    fabric: Fabric, run: Run, task: Task, settings: Settings, desk: Desk, outcomes: list[Outcome]
) -> None:
    """What is due after a step: figures, an evaluation, a checkpoint, sounds and pictures."""
    runtime = settings.runtime
    last = run.step == runtime.steps
    add_up(desk.sums, outcomes)
    if run.step % runtime.log_every == 0 or last:
        figures = {name: float(total) / count for name, (total, count) in desk.sums.items()}
        speed = runtime.batch_size * desk.sums["loss"][1] / (time.monotonic() - desk.since)
        figures |= run.use.figures(task.frame_rate) | {"items_per_second": speed}
        figures["lr"] = settings.optimiser.lr * settings.optimiser.share(run.step - 1, runtime.steps)
        desk.sums, desk.since = {}, time.monotonic()
        tell(desk, "train", figures, run)
    else:
        desk.display.step(run.step)
    best = False
    if len(task.valid) and (run.step % runtime.valid_every == 0 or last):
        figures = evaluate(
            fabric, run.bare, run.product, task.valid,
            batch_size=runtime.batch_size, most=runtime.valid_batches,
        )  # fmt: skip
        best = figures["loss"] < run.best
        run.best = min(run.best, figures["loss"])
        tell(desk, "valid", figures, run)
    if run.step % runtime.save_every == 0 or best:
        save(run, desk, best=best)
        if best and desk.board:
            run.export(desk.folder, _card(settings, run))
    if runtime.board_every and desk.board and (run.step % runtime.board_every == 0 or last):
        show(fabric, run, task, desk.board)


def add_up(sums: dict[str, Any], outcomes: list[Outcome]) -> None:
    """Add each named figure of ``outcomes`` to its (sum, count), on the device."""
    for outcome in outcomes:
        for name, value in {"loss": outcome.loss.detach(), **outcome.losses, **outcome.stats}.items():
            total, count = sums.get(name, (0.0, 0))
            sums[name] = (total + value, count + 1)


def tell(desk: Desk, split: str, figures: Mapping[str, float], run: Run) -> None:
    """Figures to the board, and the main ones in words to the terminal."""
    if desk.board:
        desk.board.figures(split, figures, run.step)
    held = "held-out " if split == "valid" else ""
    use = f", {run.use.sentence}" if split == "train" and run.use.sentence else ""
    desk.display.step(run.step, f"{held}loss {figures['loss']:.4f}{use}")


def save(run: Run, desk: Desk, *, best: bool = False) -> None:
    """A checkpoint, by the first process; all take part."""
    state = run.state_dict()
    if desk.board:
        desk.checkpoints.save(state, run.step, best=best)
    desk.saved = run.step


def show(fabric: Fabric, run: Run, task: Task, board: Board) -> None:
    """Media of the product and the first held-out items (or, without any, of the first to train on)."""
    data = task.valid if len(task.valid) else task.train
    with undisturbed(), fabric.autocast():
        for batch in held_out(data, batch_size=8, most=1):
            board.show(task.media(run.product, batch.to(fabric.device)), run.step)


def _plan_of_run(settings: Settings, run: Run, task: Task) -> dict[str, str]:
    runtime = settings.runtime
    batch = runtime.batch_size * settings.optimiser.accumulate
    epochs = runtime.steps * batch / len(task.train)
    where = f"{run.fabric.world_size} x {run.fabric.device.type}, {runtime.precision}"
    begin = f", from step {run.step}" if run.step else ""
    return {
        "steps": f"{runtime.steps:,}{begin}, of {batch} items: {epochs:,.1f} epochs",
        "device": where,
        "folder": settings.folder,
    }


def _card(settings: Settings, run: Run) -> str:
    # Not where on this machine, and not what only this start of the run was told.
    told = {k: v for k, v in plain(settings).items() if k not in ("folder", "resume", "force", "init_from")}
    told["data"] = {k: Path(v).name if k in ("manifest", "root") else v for k, v in settings.data.items()}
    best = "" if run.best == math.inf else f" Lowest held-out loss: {run.best:.4f}."
    return (
        f"# A {run.bare.label} of speechvq\n\nWeights after {run.step:,} training steps.{best}\n\n"
        f"Settings of the run:\n\n```yaml\n{OmegaConf.to_yaml(OmegaConf.create(told))}```\n"
    )
