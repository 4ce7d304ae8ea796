"""What is measured: rows, shapes, settings, and the bars that each row is held to.

Legend: N vectors, D channels, K codes. A cell is one row at one shape in one setting.
"""

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30
DEPTH = 8
"""Codebooks of the residual rows."""


@dataclass(frozen=True, order=True)
class Shape:
    """N vectors of D channels against K codes."""

    N: int
    D: int
    K: int

    @property
    def words(self) -> str:
        """As it is written in tables."""
        return f"{self.N} x {self.D} x {self.K}"

    @property
    def scores(self) -> int:
        """Bytes of one N x K matrix of float32, the unit that the peers' memory is counted in."""
        return 4 * self.N * self.K


@dataclass(frozen=True)
class Setting:
    """How a process is started."""

    name: str
    threads: int = 1
    neutral: bool = True
    """Large blocks stay in the heap between calls, so that nobody pays the kernel for fresh pages."""
    cuda: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """Variables that must be set before the process starts."""
        count = str(self.threads)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
        if not self.neutral or self.cuda:
            return threads
        keep = str(64 * GIB)
        # glibc: no block is mapped on its own, and none is given back.
        return threads | {"MALLOC_MMAP_THRESHOLD_": keep, "MALLOC_TRIM_THRESHOLD_": keep}


CPU_SETTINGS = (
    Setting("neutral-1"),
    Setting("neutral-2", threads=2),
    Setting("default-1", neutral=False),
    Setting("default-2", threads=2, neutral=False),
)
CUDA_SETTINGS = (Setting("cuda", cuda=True),)
MEMORY = Setting("memory", neutral=False)
"""Memory is read as users have it, with the default allocator and one thread."""


@dataclass(frozen=True)
class Row:
    """One kind of work: who does it besides us, where, and the bar."""

    name: str
    title: str
    peer: str
    """The contestant that the ratio is against; empty where the bar is a figure of ours alone."""
    unit: str
    """"x" times faster than the peer, "us" of a call of ours, or "MiB" of a call of ours."""
    shapes: tuple[Shape, ...]
    quick: tuple[Shape, ...]

    def bar(self, shape: Shape) -> tuple[float, float]:
        """What must be reached at this shape, and what is aimed at; in the row's unit."""
        return {
            "search": (1.15, 10.0 if shape.D < 64 else 1.8),
            "eval": (2.5, 5.0 if shape.D <= 64 else 3.2),
            "step": (4.0, 6.0),
            "residual": (5.0, 7.0),
            "shared": (15.0, 25.0),
            "kmeans": (5.0, 10.0),
            "fixed-eval": (200.0, 60.0),
            "fixed-step": (350.0, 150.0),
            "fixed-residual": (1000.0, 300.0),
            "memory": (
                48 + 4 * (5 * shape.N * shape.D + 2 * shape.K * shape.D) / MIB,
                16 + 4 * 3 * shape.N * shape.D / MIB,
            ),
        }[self.name]

    def reached(self, value: float, level: float) -> bool:
        """Whether ``value`` meets ``level``: ratios from above, figures from below."""
        return value >= level if self.unit == "x" else value <= level


GRID = tuple(Shape(N, D, K) for K in (512, 1024, 16384) for D in (8, 64, 256) for N in (4096, 32768))
TINY = (Shape(64, 16, 64),)
QUICK = (Shape(512, 8, 64), Shape(512, 64, 256))
KMEANS = (Shape(4096, 64, 512), Shape(32768, 64, 1024), Shape(32768, 256, 1024))
SHARED = (Shape(4096, 256, 16384),)
SHARED_LARGE = (Shape(32768, 256, 16384),)

ROWS = {
    row.name: row
    for row in (
        Row("search", "search against FAISS IndexFlatL2", "faiss", "x", GRID, QUICK),
        Row("eval", "eval forward", "vqp", "x", GRID, QUICK),
        Row("step", "training step: forward, backward, EMA", "vqp", "x", GRID, QUICK),
        Row("residual", f"residual depth {DEPTH} training step, own codebooks", "vqp", "x", GRID, QUICK[:1]),
        Row("shared", f"residual depth {DEPTH} training step, shared", "vqp", "x", SHARED, QUICK[1:]),
        Row("kmeans", "k-means start, 10 iterations from the same points", "vqp", "x", KMEANS, QUICK[:1]),
        Row("fixed-eval", "fixed cost of an eval forward", "", "us", TINY, TINY),
        Row("fixed-step", "fixed cost of a training step", "", "us", TINY, TINY),
        Row("fixed-residual", f"fixed cost of a residual step, depth {DEPTH}", "", "us", TINY, TINY),
        Row("memory", "peak extra memory of a training step", "", "MiB", GRID, QUICK[:1]),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What one process measures: these rows at this shape in this setting.

    A process for each shape, because what one shape leaves in the heap changes the next one's figures;
    for a shape of GiB one for each row, and for memory one for each contestant.
    """

    rows: tuple[str, ...]
    shape: Shape
    setting: Setting
    only: str = ""
    """The one contestant, for memory."""


def plan(rows: list[str], settings: list[Setting], *, quick: bool, large: bool) -> list[Job]:
    """The jobs in the order in which they are run: small shapes first, one setting after the other."""
    jobs = []
    for setting in settings:
        wanted: dict[Shape, list[str]] = {}
        for name in rows:
            if name == "memory":
                continue
            shapes = ROWS[name].quick if quick else ROWS[name].shapes
            if name == "shared" and large:
                shapes += SHARED_LARGE
            for shape in shapes:
                wanted.setdefault(shape, []).append(name)
        order = sorted(wanted, key=lambda s: (s.N * s.K, s.D))
        for shape in order:
            rows_here = [tuple(wanted[shape])] if shape.scores < GIB else [(row,) for row in wanted[shape]]
            jobs += [Job(some, shape, setting) for some in rows_here]
    if "memory" in rows:
        shapes = ROWS["memory"].quick if quick else ROWS["memory"].shapes
        setting = CUDA_SETTINGS[0] if settings[0].cuda else MEMORY
        names = ("ours",) if quick else ("ours", "ours eval", "vqp")
        for shape in sorted(shapes, key=lambda s: (s.N * s.K, s.D)):
            jobs += [Job(("memory",), shape, setting, only) for only in names]
    return jobs
