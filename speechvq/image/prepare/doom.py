"""One game of ViZDoom, headless: a level, a seed, and a player who looks around.

ViZDoom (Kempka et al. 2016) is a first-person 3-D game engine with freely licensed levels. Each moment has
a frame, a depth map, which thing each pixel shows, and what the player does next.
"""

from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from speechvq.errors import BadSetting, MissingExtra
from speechvq.image.files import Frame, Size, scale

if TYPE_CHECKING:
    from vizdoom import DoomGame

LEVELS: dict[str, tuple[str, str]] = {
    name: (name, "map01")
    for name in (
        "basic", "deadly_corridor", "deathmatch", "defend_the_center", "defend_the_line", "health_gathering",
        "health_gathering_supreme", "my_way_home", "take_cover",
    )
} | {f"freedoom_{n:02d}": ("freedoom2", f"map{n:02d}") for n in range(1, 9)}  # fmt: skip
"""Name of a level to its settings file in the package and its map."""
BUTTONS = ("MOVE_FORWARD", "MOVE_BACKWARD", "MOVE_LEFT", "MOVE_RIGHT", "TURN_LEFT", "TURN_RIGHT", "ATTACK")
ACTIONS: dict[str, tuple[str, ...]] = {
    "wait": (), "forward": ("MOVE_FORWARD",), "backward": ("MOVE_BACKWARD",), "left": ("MOVE_LEFT",),
    "right": ("MOVE_RIGHT",), "turn left": ("TURN_LEFT",), "turn right": ("TURN_RIGHT",),
    "attack": ("ATTACK",), "forward and left": ("MOVE_FORWARD", "TURN_LEFT"),
    "forward and right": ("MOVE_FORWARD", "TURN_RIGHT"),
}  # fmt: skip
THINGS = (
    "wall", "floor", "monster", "player", "weapon", "ammo", "health", "armor", "key", "powerup", "explosive",
    "hazard", "decoration", "gore", "gibs", "sfx", "other",
)  # fmt: skip
"""Classes of the segmentation: wall (or sky), floor (or ceiling), then the engine's kinds of things."""
SCREENS = ((120, 160), (240, 320), (480, 640), (960, 1280))
SOUND_RATE, TICS = 22_050, 35  # samples of sound and moments of the game in a second


@dataclass(frozen=True)
class Game:
    """How a game is played.

    Attributes:
        level: of `LEVELS`.
        seed: of the game and of the player.
        size: height and width of what is kept.
        tics: moments of the game for each action, 1/35 s each.
        sound: whether it is listened to.
    """

    level: str
    seed: int
    size: Size
    tics: int = 4
    sound: bool = False


def play(game: Game, *, frames: int) -> Iterator[dict[str, np.ndarray]]:
    """At most ``frames`` moments of one game; fewer if it ends before.

    Each has "picture" (3, H, W), "depth" (1, H, W) and "segmentation" (H, W), all uint8, "action" and, with
    sound, "sound" (samples,) int16 of the moments since the last action. The depth is the square root of
    the engine's, scaled to 0 ... 255, near to far, because most of it is near.

    Raises:
        MissingExtra: ViZDoom is not installed.
        BadSetting: the engine does not start, or dies in the midst of the game.
    """
    draw = np.random.default_rng(game.seed)
    with TemporaryDirectory() as folder, closing(_start(game, folder)) as engine:
        action, left = 0, 0
        for _ in range(frames):
            with _running(game):
                state: Any = None if engine.is_episode_finished() else engine.get_state()
            if state is None:
                return
            if left == 0:
                action, left = _choose(state.depth_buffer, draw)
            left -= 1
            yield _moment(state, game) | {"action": np.asarray(action)}
            pressed = list(ACTIONS.values())[action]
            with _running(game):
                engine.make_action([float(button in pressed) for button in BUTTONS], game.tics)


@contextmanager
def _running(game: Game) -> Iterator[None]:
    """While the engine, which is a process of its own, is asked for something."""
    try:
        yield
    except Exception as error:  # of the engine's own kinds, which differ between its versions
        raise BadSetting(
            f"the game in {game.level} broke off: {str(error).rstrip('.')}; nothing is kept, start it anew"
        ) from error


def engine_module() -> Any:
    """ViZDoom.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import vizdoom
    except ImportError as error:
        raise MissingExtra("vizdoom", "image", "making pictures with a game") from error
    return vizdoom


def _start(game: Game, folder: str) -> "DoomGame":
    vizdoom = engine_module()
    config, level = LEVELS[game.level]
    engine = vizdoom.DoomGame()
    engine.load_config(str(Path(vizdoom.scenarios_path) / f"{config}.cfg"))
    engine.set_doom_map(level)
    engine.set_seed(game.seed % 2**32)
    engine.set_mode(vizdoom.Mode.PLAYER)
    engine.set_available_buttons([getattr(vizdoom.Button, name) for name in BUTTONS])
    large = next((s for s in SCREENS if s[0] >= game.size[0] and s[1] >= game.size[1]), SCREENS[-1])
    engine.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{large[1]}X{large[0]}"))
    engine.set_screen_format(vizdoom.ScreenFormat.RGB24)
    engine.set_window_visible(False)
    engine.set_depth_buffer_enabled(True)
    engine.set_labels_buffer_enabled(True)
    engine.set_automap_buffer_enabled(False)
    for part in ("hud", "weapon", "messages", "screen_flashes", "crosshair"):
        getattr(engine, f"set_render_{part}")(False)
    engine.set_audio_buffer_enabled(game.sound)
    if game.sound:
        if find_library("openal") is None:  # the engine would be silent and say nothing
            raise BadSetting(
                "the sound of the game needs OpenAL; on Debian and Ubuntu: apt install libopenal1"
            )
        engine.set_audio_sampling_rate(vizdoom.SamplingRate.SR_22050)
        engine.set_audio_buffer_size(game.tics)
        engine.add_game_args("+snd_efx 0")  # without it the library aborts
    try:
        with chdir(folder):  # the engine leaves its settings where it was started
            engine.init()
    except Exception as error:  # of the engine's own kinds, which differ between its versions
        raise BadSetting(f"the game does not start in {game.level}: {error}") from error
    return engine


def _choose(depth: np.ndarray, draw: np.random.Generator) -> tuple[int, int]:
    """An action and for how many frames: mostly towards where there is room, sometimes anything."""
    names = list(ACTIONS)
    if draw.random() < 0.2:
        return int(draw.integers(len(names))), int(draw.integers(1, 6))
    height, width = depth.shape
    eyes = depth[height // 3 : height // 2].astype(float).mean(0)
    left, ahead, right = (part.mean() for part in np.array_split(eyes, 3))
    if ahead < 4:  # close to a wall
        return names.index("turn left" if left > right else "turn right"), int(draw.integers(4, 12))
    side = "forward and left" if left > right else "forward and right"
    name = side if max(left, right) > 1.5 * ahead or draw.random() < 0.3 else "forward"
    return names.index(name), int(draw.integers(2, 10))


def _moment(state: Any, game: Game) -> dict[str, np.ndarray]:
    """What is kept of a state of the engine."""
    depth = np.sqrt(state.depth_buffer.astype(np.float32) * 255).round().astype(np.uint8)
    found = {
        "picture": _fit(state.screen_buffer.transpose(2, 0, 1), game.size),
        "depth": _fit(depth[None], game.size),
        "segmentation": _fit(things(state.labels_buffer, state.labels), game.size, exact=True),
    }
    if game.sound:
        found["sound"] = state.audio_buffer.astype(np.int32).mean(1).astype(np.int16)
    return found


def things(buffer: np.ndarray, labels: Any) -> np.ndarray:
    """The engine's (H, W) numbers of things as numbers of `THINGS`; 0 is a wall, 1 a floor or ceiling."""
    kind = np.full(256, THINGS.index("other"), np.uint8)
    kind[:2] = 0, 1
    for label in labels:
        if label.object_category.lower() in THINGS:
            kind[label.value] = THINGS.index(label.object_category.lower())
    return kind[buffer]


def _fit(array: np.ndarray, size: Size, *, exact: bool = False) -> np.ndarray:
    """Scaled to cover ``size`` and cut from the middle."""
    height, width = Frame(size).scaled(*array.shape[-2:])
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return scale(array, (height, width), exact=exact)[..., top : top + size[0], left : left + size[1]]
