"""What a run says about itself."""

__all__ = ["say"]


def say(text: object) -> None:
    """Print at once, also into a log file."""
    print(text, flush=True)
