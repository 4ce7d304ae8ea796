"""Settings: composed, overridden, checked; what is wrong is said in one sentence."""

from pathlib import Path

import pytest

from speechvq.errors import BadSetting, UnknownName
from speechvq.train import Settings, compose
from speechvq.train.settings import config_folder


def test_overrides_reach_their_owner():
    made = Settings.of(
        compose(["experiment=speech_tiny", "runtime.steps=7", "optimiser.lr=1e-2", "data.manifest=my.jsonl"])
    )
    assert (made.runtime.steps, made.optimiser.lr, made.data["manifest"]) == (7, 0.01, "my.jsonl")
    assert made.model["decoder"]["size"] == "tiny"
    assert made.folder == "runs/speech_tiny"


def test_a_setting_that_the_files_do_not_name_can_be_given():
    overrides = ["runtime.ema=0", "model.decoder.voice_channels=32", "objective.freeze=[encoder]"]
    made = Settings.of(compose(overrides))
    assert made.runtime.ema == 0
    assert made.model["decoder"]["voice_channels"] == 32
    assert made.objective["freeze"] == ["encoder"]


def test_the_data_is_drawn_by_the_runs_seed():
    assert Settings.of(compose(["seed=5"])).data["seed"] == 5


@pytest.mark.parametrize(
    ("overrides", "kind", "words"),
    [
        (["runtime.stepz=3"], UnknownName, "stepz.*known: steps, max_minutes"),
        (["optimiser.learning_rate=3"], UnknownName, "learning_rate.*known: lr"),
        (["runtime.steps=abc"], BadSetting, "runtime.steps.*Integer"),
        (["runtime.steps=0"], BadSetting, "at least 1"),
        (["runtime.precision=fp8"], BadSetting, "32-true, bf16-mixed"),
        (["runtime.max_minutes=-1"], BadSetting, "more than 0"),
        (["experiment=nothing"], UnknownName, "no experiment called 'nothing'; known: image_gpt, "),
        (["model=nothing"], UnknownName, "no model called 'nothing'; known: mel_spectral, "),
        (["seedz=3"], BadSetting, "seedz"),
        (["runtime.steps"], BadSetting, "runtime.steps"),
        (["=="], BadSetting, "=="),
        (["resume=true", "force=true"], BadSetting, "one of them"),
        (["seed=-1"], BadSetting, "seed"),
    ],
)
def test_what_is_wrong_is_one_sentence(overrides, kind, words):
    with pytest.raises(kind, match=words) as error:
        Settings.of(compose(overrides))
    assert "\n" not in str(error.value)


def test_the_files_are_found_from_anywhere(workdir, checkout):
    assert config_folder() == checkout / "configs"
    assert compose()["room"] == "speech"


def test_files_hold_choices_only_and_are_short(checkout):
    files = list((checkout / "configs").rglob("*.yaml"))
    assert len(files) > 10
    for path in files:
        text = Path(path).read_text()
        assert "_target_" not in text, path
        assert len(text.splitlines()) <= 25, path
