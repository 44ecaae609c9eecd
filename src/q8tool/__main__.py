"""The command `q8tool`, also as `python -m q8tool`: Ctrl-C counts from here to the end.

Until the command line is there to answer it, and once its answer is out, Python's own handler
would show where in its modules it was.
"""

import os
import signal
import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> int:
    """Run the command of sys.argv; its exit code."""
    signal.signal(signal.SIGINT, _leave)
    from q8tool import cli

    code = cli.main()
    # All is written; what is left is to take the process down.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _leave(*unused: object) -> None:
    os.write(2, b"error: interrupted; nothing half-written remains\n")
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
