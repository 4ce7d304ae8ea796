"""Pictures to stores that are read quickly, one small file a source; see `speechvq.store.arrays`.

``data.root`` takes the folder of such a store, or any folder of picture files as it lies. The preparers::

    fashion_mnist(root, out, *, valid=0.1, force=False)       # root None: where Debian installs it
    mnist(root, out, *, valid=0.1, force=False)
    cifar10(root, out, *, valid=0.1, force=False)
    pictures(root, out, *, size=(128, 128), valid=0.05, force=False)
    vizdoom(out, Wanted(frames=10_000, size=(64, 64), ...), force=False)

All return the `ArrayStore` that they wrote, whole or not at all, and raise `BadSetting` when what they read
is not there or damaged, and `WouldOverwrite` when there is a store already.
"""

from speechvq.image.prepare.cifar import cifar10
from speechvq.image.prepare.folder import pictures
from speechvq.image.prepare.idx import fashion_mnist, mnist
from speechvq.image.prepare.vizdoom import Wanted, vizdoom

__all__ = ["Wanted", "cifar10", "fashion_mnist", "mnist", "pictures", "vizdoom"]
