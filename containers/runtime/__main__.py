"""Start of the runtime on any copy of this directory: ``python3 -I -S DIR/__main__.py VERB ...``."""

import sys

if __name__ == "__main__":
    _HERE = __file__.rpartition("/")[0] or "."
    if _HERE not in sys.path:  # isolated mode leaves the script's own directory out
        sys.path.insert(0, _HERE)
    from orchestrator_runtime.command import main

    sys.exit(main(sys.argv[1:]))
