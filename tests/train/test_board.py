"""The board: figures as lines that resume cleanly, media on TensorBoard, codes used in words."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechvq.train.board import Board, CodeUse


@dataclass(frozen=True)
class Thing:
    tag: str
    kind: str
    array: np.ndarray | str
    rate: int = 8000


def test_figures_and_media_are_where_they_are_looked_for(tmp_path):
    board = Board(tmp_path)
    board.figures("train", {"loss": 2.5, "sound/mel": 1.0}, 3)
    board.show(
        [
            Thing("pair/recording", "audio", np.sin(np.arange(800) / 10).astype(np.float32)),
            Thing("pair/mel", "image", np.zeros((8, 9), np.uint8)),
            Thing("pair/rgb", "image", np.zeros((8, 9, 3), np.uint8)),
            Thing("codes", "text", "1 2 3"),
        ],
        3,
    )
    board.close()
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [e.value for e in events.Scalars("train/sound/mel")] == [1.0]
    assert events.Tags()["audio"] == ["pair/recording"]
    assert set(events.Tags()["images"]) == {"pair/mel", "pair/rgb"}
    assert any("codes" in tag for tag in events.Tags()["tensors"])
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line == {"step": 3, "split": "train", "loss": 2.5, "sound/mel": 1.0}


def test_lines_beyond_the_checkpoint_are_taken_back(tmp_path):
    board = Board(tmp_path)
    for step in range(1, 6):
        board.figures("train", {"loss": float(step)}, step)
    board.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "sp')
    Board(tmp_path, step=3).close()
    kept = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert kept == [1, 2, 3]


def stats(counts, revived=0.0, error=0.5):
    return {"counts": torch.tensor(counts), "revived": torch.tensor(revived), "error": torch.tensor(error)}


def test_codes_are_counted_over_an_epoch():
    use = CodeUse()
    assert use.sentence == ""
    assert use.figures(50.0) == {}
    use.add(None, 0)
    use.add(stats([[4.0, 4.0, 0.0, 0.0]], error=0.2), 0)
    use.add(stats([[0.0, 0.0, 4.0, 0.0]], revived=2.0, error=0.5), 0)
    assert use.sentence == "3 of 4 codes used this epoch"
    figures = use.figures(50.0)
    assert figures["codes/epoch_usage"] == 0.75
    assert figures["codes/epoch_perplexity"] == pytest.approx(3.0)
    assert figures["codes/epoch_revived"] == 2
    assert figures["codes/epoch_error"] == pytest.approx(0.3)
    assert figures["codes/bitrate"] == pytest.approx(50 * np.log2(3))
    use.add(stats([[1.0, 0.0, 0.0, 0.0]]), 1)
    assert use.sentence == "1 of 4 codes used this epoch"
    assert use.figures(None)["codes/epoch_usage"] == 0.25
    assert "codes/bitrate" not in use.figures(None)
    stack = CodeUse()
    stack.add(stats([[1.0] * 8] * 3), 0)
    assert stack.sentence == "24 of 3 x 8 codes used this epoch"
    again = CodeUse()
    again.load_state_dict(stack.state_dict(), torch.device("cpu"))
    assert again.sentence == stack.sentence
    assert again.figures(1.0) == stack.figures(1.0)
