"""Sheets of pictures pixel for pixel, and what is shown of a codec."""

import numpy as np
import pytest
import torch

from speechvq.codec import Batch, Codec, Codes
from speechvq.image.board import made_up, media
from speechvq.image.sheet import GAP, class_colours, sheet


@pytest.mark.parametrize("columns", [None, 1, 3, 5])
def test_a_sheet_holds_every_picture_in_order(columns):
    pictures = torch.rand(5, 3, 100, 60) * 2 - 1
    page = sheet(pictures, columns=columns)
    across = columns or 3
    assert page.shape == (-(-5 // across) * (100 + GAP) - GAP, across * (60 + GAP) - GAP, 3)
    for i in range(5):
        top, left = i // across * (100 + GAP), i % across * (60 + GAP)
        found = page[top : top + 100, left : left + 60]
        for y, x in ((0, 0), (99, 59), (50, 7)):
            wanted = [round((float(pictures[i, c, y, x]) + 1) * 127.5) for c in range(3)]
            assert found[y, x].tolist() == wanted
    assert (page[:, 60 : 60 + GAP] == 255).all() or across == 1


def test_small_grey_pictures_are_enlarged_and_values_beyond_are_cut():
    page = sheet(torch.tensor([[[[-3.0, 0.0], [1.0, 9.0]]]]))
    assert page.shape == (96, 96, 3)
    assert [page[y, x].tolist() for y, x in ((0, 0), (0, 95), (95, 0), (95, 95))] == [
        [0] * 3,
        [128] * 3,
        [255] * 3,
        [255] * 3,
    ]


def test_class_maps_are_coloured_by_their_largest_channel():
    classes = torch.randint(0, 17, (2, 100, 98))
    one_hot = torch.nn.functional.one_hot(classes, 17).movedim(-1, 1).float()
    assert np.array_equal(sheet(one_hot, columns=1)[:100], class_colours(classes)[0])
    colours = class_colours(torch.arange(256)[None, None])[0, 0]
    assert len({tuple(colour) for colour in colours.tolist()}) == 256
    # The first of PASCAL VOC's published colours.
    assert colours[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]


@pytest.fixture
def codec() -> Codec:
    return Codec.build(
        {
            "room": "image",
            "rate": 1,
            "encoder": {"name": "vqvae", "size": "tiny", "colours": 1, "dim": 8},
            "quantizer": {"name": "vector", "codebook_size": 16},
            "decoder": {"name": "vqvae", "size": "tiny", "colours": 1},
        }
    )


def test_pairs_are_shown_and_the_codec_is_left_as_it_was(codec):
    codec.train()
    batch = Batch(torch.rand(3, 1, 96, 96) * 2 - 1)
    shown = {one.tag: one for one in media(codec, batch, pairs=2)}
    assert codec.training
    assert codec.quantizer.training
    page = shown["pairs/picture-codec"].array
    assert page.shape == (2 * 96 + GAP, 2 * 96 + GAP, 3)
    assert np.array_equal(page[:96, :96], sheet(batch.signal[:1]))
    codes = codec.encode(batch.signal[:2])
    assert np.array_equal(page[98:], sheet(codec.decode(codes), columns=2))
    numbers = shown["codes/pair-0"].array.split()
    assert [int(n) for n in numbers] == codes.indices[0].flatten().tolist()


def test_what_a_prior_made_up_is_decoded(codec):
    codes = Codes(torch.randint(0, 16, (4, 1, 24, 24)))
    shown = {one.tag: one for one in made_up(codec, codes, {}, name="dream")}
    assert np.array_equal(shown["dream/pictures"].array, sheet(codec.decode(codes)))
    assert shown["dream/pictures"].kind == "image"
