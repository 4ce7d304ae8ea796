"""TIMIT: ``{TRAIN,TEST}/DR[1-8]/<speaker>/<sentence>.{WAV,PHN,TXT}``, NIST SPHERE sound, names in any case.

TRAIN trains (462 speakers, 3696 sentences), the core test set of NIST tests (24 speakers, 192 sentences) and
the usual 50 speakers of the rest of TEST validate (400 sentences; the set of Halberstadt's thesis, 1998).
The two SA sentences are read by everybody and left out, and so are the remaining test speakers.
"""

from pathlib import Path

from speechvq.errors import BadAudio
from speechvq.speech.prepare.gather import Options, Prepared, Recording, gather
from speechvq.store.layout import files_under, inside, text_of

CORE = """
mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0
mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 mgrt0 mnjm0 fdhc0 mjln0 mpam0 fmld0
"""
DEVELOPMENT = """
faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0 mgjf0
mglb0 mrtk0 mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0 fmah0 fdrw0
mrcs0 mrjm4 fcal1 mmwh0 fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0 fmml0 mrws1
"""
SPLITS: dict[str, str] = {}
SPLITS |= dict.fromkeys(CORE.split(), "test") | dict.fromkeys(DEVELOPMENT.split(), "valid")


def timit(root: Path, out: Path, *, options: Options | None = None) -> Prepared:
    """List TIMIT with its phone times; the split is fixed, so ``options.valid`` and ``test`` are not used.

    The utterance is the sentence ("sx37"), which up to seven speakers of one set read.

    Raises:
        BadSetting: the layout is not there.
    """
    options = options or Options()
    layout = "TRAIN/DR1/<speaker>/*.WAV with .PHN and .TXT beside, and TEST/DR1/..."
    train = inside(root, ("TRAIN",), corpus="TIMIT", layout=layout)
    test = inside(root, ("TEST",), corpus="TIMIT", layout=layout)
    recordings, left_out = [], []
    for side in (train, test):
        for path in files_under(side, suffixes=(".wav",)):
            sentence, speaker = path.name.split(".")[0].lower(), path.parent.name.lower()  # SX37.WAV.wav too
            split = "train" if side == train else SPLITS.get(speaker)
            if sentence.startswith("sa"):
                left_out.append(BadAudio(path, "is a sentence that everybody reads (SA)"))
            elif split is None:
                left_out.append(BadAudio(path, "is in neither the development nor the core test set"))
            else:
                phones, words = _beside(path, ".phn"), _beside(path, ".txt")
                text = None if words is None else text_of(words)
                if text is not None:  # "0 46797 She had ...": the samples it spans come first
                    text = text.split(" ", 2)[-1]
                recordings.append(Recording(path, speaker, sentence, split, text=text, alignment=phones))
    return gather(recordings, out, options, left_out=left_out, source=f"TIMIT in {root}")


def _beside(path: Path, suffix: str) -> Path | None:
    """The file of the same sentence with another suffix, in either case."""
    name = path.name.split(".")[0]
    candidates = (path.with_name(name + form) for form in (suffix.upper(), suffix))
    return next((place for place in candidates if place.is_file()), None)
