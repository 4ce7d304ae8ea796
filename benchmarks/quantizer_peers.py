"""The other side: vector-quantize-pytorch, FAISS, flash-kmeans, plain torch, and the bounds.

Everything is given the same codes and the same memory as ours. A peer that is not installed raises
ImportError, which the caller reports.
"""

import inspect
import os
from collections.abc import Callable
from importlib import import_module

import torch
from quantizer_plan import DEPTH, Shape
from torch import Tensor, nn

TILE = 1 << 20
"""Scores of one tile of the bounds: 4 MiB, which stays in a core's cache."""


def vector(codes_KD: Tensor, *, rotation: bool = False) -> nn.Module:
    """vector-quantize-pytorch with EMA and straight-through, or with the rotation that is its default."""
    library = import_module("vector_quantize_pytorch")
    K, D = codes_KD.shape
    made = library.VectorQuantize(dim=D, codebook_size=K, **_options(rotation)).to(codes_KD.device)
    _set(made._codebook, codes_KD)
    return made


def residual(books: list[Tensor], *, rotation: bool = False) -> nn.Module:
    """Its residual stack; one book is shared by all depths."""
    library = import_module("vector_quantize_pytorch")
    K, D = books[0].shape
    shared = len(books) == 1
    made = library.ResidualVQ(
        dim=D, codebook_size=K, num_quantizers=DEPTH, shared_codebook=shared, **_options(rotation)
    ).to(books[0].device)
    for layer, codes_KD in zip(made.layers, books * DEPTH if shared else books, strict=True):
        _set(layer._codebook, codes_KD)
    return made


def _options(rotation: bool) -> dict[str, object]:
    return {
        "decay": 0.99,
        "commitment_weight": 0.25,
        "threshold_ema_dead_code": 0,
        "rotation_trick": rotation,
    }


def _set(codebook: nn.Module, codes_KD: Tensor) -> None:
    # The running sums too: its own setter leaves them, and the next step would undo the codes.
    state = codebook.state_dict()
    for name in ("embed", "embed_avg"):
        state[name].copy_(codes_KD[None])
    state["cluster_size"].fill_(1)


def forward(module: nn.Module, x_1ND: Tensor) -> Callable[[], Tensor]:
    """One eval forward; returns indices (N, depth)."""

    def call() -> Tensor:
        with torch.no_grad():
            return module(x_1ND)[1].reshape(x_1ND.shape[1], -1)

    module.eval()
    return call


def step(module: nn.Module, x_1ND: Tensor, pull_1ND: Tensor) -> Callable[[], Tensor]:
    """Forward, backward and EMA; returns indices (N, depth)."""
    leaf = x_1ND.detach().clone().requires_grad_()

    def call() -> Tensor:
        leaf.grad = None
        vectors, indices, losses = module(leaf)
        torch.autograd.backward([vectors, losses.sum()], [pull_1ND, None])
        return indices.reshape(leaf.shape[1], -1)

    module.train()
    return call


def clusters(x_ND: Tensor, first_KD: Tensor, iterations: int) -> Callable[[], Tensor]:
    """vector-quantize-pytorch's k-means from ``first_KD``."""
    library = import_module("vector_quantize_pytorch.vector_quantize_pytorch")

    def call() -> Tensor:
        centres, _ = library.kmeans(
            x_ND[None], len(first_KD), iterations, sample_fn=lambda *_: first_KD[None].clone()
        )
        return centres[0]

    return call


def faiss_search(x_ND: Tensor, codes_KD: Tensor) -> Callable[[], Tensor]:
    """FAISS's exhaustive index; the codes are added beforehand."""
    faiss = _faiss()
    index = faiss.IndexFlatL2(codes_KD.shape[1])
    index.add(codes_KD.numpy())
    queries = x_ND.numpy()
    return lambda: torch.from_numpy(index.search(queries, 1)[1][:, 0])


def faiss_clusters(x_ND: Tensor, first_KD: Tensor, iterations: int) -> Callable[[], Tensor]:
    """FAISS's k-means from ``first_KD``, on all the vectors."""
    faiss = _faiss()
    (N, D), K = x_ND.shape, len(first_KD)

    def call() -> Tensor:
        engine = faiss.Kmeans(D, K, niter=iterations, min_points_per_centroid=1, max_points_per_centroid=N)
        engine.train(x_ND.numpy(), init_centroids=first_KD.numpy())
        return torch.from_numpy(engine.centroids)

    return call


def _faiss() -> object:
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return faiss


def flash_search(x_ND: Tensor, codes_KD: Tensor) -> Callable[[], Tensor]:
    """flash-kmeans' assignment, float32, on a GPU; the squared lengths it asks for are not timed."""
    assign = import_module("flash_kmeans.assign_euclid_triton").euclid_assign_triton
    given = {"x": x_ND[None], "centroids": codes_KD[None]}
    if "x_sq" in inspect.signature(assign).parameters:  # not in its newer releases
        given["x_sq"] = x_ND.square().sum(1)[None]
    return lambda: assign(**given)[0]


def cdist(x_ND: Tensor, codes_KD: Tensor) -> Callable[[], Tensor]:
    """What most people write: all distances, then the smallest."""
    return lambda: torch.cdist(x_ND, codes_KD).argmin(1)


def product(x_ND: Tensor, codes_KD: Tensor) -> Callable[[], None]:
    """A bound: the matrix product alone by torch's own library, tile after tile, scores thrown away."""
    rows = max(1, TILE // len(codes_KD))
    scores_TK = x_ND.new_empty(min(rows, len(x_ND)), len(codes_KD))

    def call() -> None:
        for x_TD in x_ND.split(rows):
            torch.mm(x_TD, codes_KD.T, out=scores_TK[: len(x_TD)])

    return call


def onednn_product(x_ND: Tensor, codes_KD: Tensor) -> Callable[[], None]:
    """The same bound by oneDNN, which is the faster one on some processors.

    Raises:
        ImportError: this torch does not offer it.
    """
    linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if linear is None or x_ND.is_cuda:
        raise ImportError("this torch has no oneDNN product")
    rows = max(1, TILE // len(codes_KD))

    def call() -> None:
        for x_TD in x_ND.split(rows):
            linear(x_TD, codes_KD, None, "none", [], "")

    return call


def needed(row: str, shape: Shape) -> int:
    """Bytes that vector-quantize-pytorch or cdist takes at its peak, as measured in units of N x K."""
    matrices = {"search": 1.1, "eval": 4.2, "kmeans": 4.2}.get(row, 6.5)
    return int(matrices * shape.scores + 12 * 4 * shape.N * shape.D)
