"""What a person sees of a run on the terminal: the plan, then a bar with time left, or lines."""

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


class Display:
    """A bar on a terminal; elsewhere (a log file) a line of figures now and then."""

    def __init__(self, steps: int, *, done: int = 0, shown: bool = True) -> None:
        """A run of ``steps``, of which ``done`` are behind; ``shown`` on one process only."""
        self.console = Console(stderr=True, quiet=not shown, soft_wrap=True)
        self.steps = steps
        self.bar = Progress(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"),
            TextColumn("left:"), TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console, disable=not (shown and self.console.is_terminal),
        )  # fmt: skip
        self.task = self.bar.add_task("", total=steps, completed=done)

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def plan(self, facts: Mapping[str, str]) -> None:
        """The plan of the run, before it begins."""
        table = Table(title="plan", title_justify="left", show_header=False, box=None, padding=(0, 2))
        for name, value in facts.items():
            table.add_row(name, value)
        self.console.print(table)

    def step(self, step: int, words: str = "") -> None:
        """Move the bar; ``words`` replace those beside it and are a line of their own elsewhere."""
        if words:
            self.bar.update(self.task, completed=step, description=words)
            if not self.console.is_terminal:
                self.console.print(f"step {step} of {self.steps}: {words}", highlight=False)
        else:
            self.bar.update(self.task, completed=step)

    def say(self, sentence: str) -> None:
        """A sentence above the bar."""
        self.console.print(sentence, highlight=False)
