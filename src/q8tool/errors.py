"""Everything that q8tool raises on purpose, and the exit code of each.

    Q8Error                      1
    ├── UsageError               2   unknown option, name or operator; existing output
    ├── SlowerError              3   the eight-bit model is slower than the float one
    ├── ExpectationError         4   accuracy or an expectation was missed
    ├── InputError               5   not a usable model, checkpoint, photo or data set
    │   └── UnsupportedError     5   a model that nobody here can run
    └── NativeError              1   the C engine refused a plan: a bug of ours

A message is one line that says what is wrong and where (file, node, tensor); a hint says what to
do about it. The command line prints both and no traceback.
"""

__all__ = [
    "ExpectationError",
    "InputError",
    "NativeError",
    "Q8Error",
    "SlowerError",
    "UnsupportedError",
    "UsageError",
]


class Q8Error(Exception):
    """Base of all: a message of one line, and a hint (may be empty) of what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(Q8Error):
    """The user asked for something that does not exist or must not happen."""

    exit_code = 2


class SlowerError(Q8Error):
    """The eight-bit model is slower than the float one, and that was not accepted."""

    exit_code = 3


class ExpectationError(Q8Error):
    """Accuracy, agreement or an expected label was missed."""

    exit_code = 4


class InputError(Q8Error):
    """A file that is not a usable model, checkpoint, photo or data set."""

    exit_code = 5


class UnsupportedError(InputError):
    """A model that is valid but that neither the C engine nor the host can run."""


class NativeError(Q8Error):
    """The C engine returned an error that the Python side should have prevented."""
