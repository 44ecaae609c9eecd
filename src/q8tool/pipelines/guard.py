"""Guard: whether an eight-bit model may be written, or what is wrong with it.

Slower than the float model is an error unless it is accepted; a drop beyond --max-drop is one, and
without --max-drop a large drop is a warning.
"""

from collections.abc import Sequence

from q8tool.errors import ExpectationError, SlowerError
from q8tool.pipelines.answers import Comparison
from q8tool.pipelines.damage import Damage
from q8tool.pipelines.timing import Timing

__all__ = ["beyond", "noisiest", "refuse_slower", "worries"]

# From this drop, and so many samples with other labels, there is a warning.
WORRYING_DROP = 0.05
WORRYING_SAMPLES = 2
# Below this signal to noise, what is no classifier, or has no photos, gets one.
WORRYING_DECIBELS = 10.0
# How many layers a warning names.
NAMED = 4


def refuse_slower(timing: Timing, slowest: Sequence[tuple[str, str]]) -> None:
    """Raises SlowerError if the eight-bit model is clearly slower.

    slowest  its slowest steps, each with the reason why it is slow (may be empty)
    """
    if not timing.is_slower:
        return
    named = ", ".join(f"{step} ({why})" if why else step for step, why in slowest)
    raise SlowerError(
        f"the eight-bit model is slower than the float one: {timing.eight_bit_ms:.2f} ms instead "
        f"of {timing.float_ms:.2f} ms; most time goes to {named}; nothing was written",
        "--allow-slower accepts it, --exclude leaves operators float",
    )


def beyond(
    found: Comparison, max_drop: float, tried: str = "", *, writes: bool = True
) -> ExpectationError:
    """The error of a drop that is too large.

    tried   what was done about it;  writes  whether a file would have been written
    """
    drop = found.drop
    if drop is not None and drop <= max_drop and found.expected is not None:
        drop = 1.0 - found.expected  # counted it would do, but by luck
    lost = "nothing can be compared" if drop is None else f"the drop is {drop:.2%}"
    message = f"{lost}, not at most {max_drop:.2%}{tried}"
    if not writes:
        return ExpectationError(message)
    return ExpectationError(
        f"{message}; nothing was written",
        "more photos, another --calibration, or a larger --max-drop",
    )


def worries(found: Comparison) -> list[str]:
    """Warnings about a result that nobody asked to be of a certain quality."""
    advice = "--max-drop leaves layers float until it is small"
    drop, sqnr = found.drop, found.sqnr_db
    if found.is_random or found.agreement is None:
        if sqnr is not None and sqnr < WORRYING_DECIBELS:
            return [f"the answers are far from the float model's ({sqnr:.1f} dB); {advice}"]
        return []
    if drop is None or drop <= WORRYING_DROP or len(found.differing) < WORRYING_SAMPLES:
        return []
    if found.accuracy is not None:
        before, after = found.accuracy
        return [f"accuracy falls from {before.top1:.1%} to {after.top1:.1%}; {advice}"]
    return [f"{drop:.1%} of the samples get another label than from the float model; {advice}"]


def noisiest(damage: Damage) -> list[str]:
    """Which operators, each alone in eight bits, make the most noise; nothing if none does."""
    known = [(name, damage.sqnr_db(name)) for name in damage.ranked]
    named = [f"{name} ({sqnr:.1f} dB)" for name, sqnr in known if sqnr is not None][:NAMED]
    if not named:
        return []
    return [f"the noisiest operators: {', '.join(named)}; --exclude NAME leaves one float"]
