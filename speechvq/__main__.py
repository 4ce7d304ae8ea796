"""``python -m speechvq`` is the command line, for when the ``speechvq`` script is not on the path."""

import sys

from speechvq.cli import main

if __name__ == "__main__":
    sys.exit(main())
