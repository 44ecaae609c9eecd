"""Side by side: many inputs through one session, one thread each, results in their order.

    inputs --+-> run --+--> results
             +-> run --+

Threads that share one run wait for each other at every step, and leave what cannot be divided to
one of them; threads with a run each do not. The results are the same bytes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from q8tool.engine.session import Session

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["run_each"]

# What the arenas of further runs may take together.
SPARE_BYTES = 48 << 20

Array = NDArray[Any]
Item = TypeVar("Item")
Found = TypeVar("Found")


def run_each(
    session: Session,
    items: Iterable[tuple[Item, Mapping[str, Array]]],
    then: Callable[[Item, dict[str, Array]], Found],
    outputs: Sequence[str] | None = None,
) -> Iterator[Found]:
    """What `then` makes of each item and of its results, in the order of the items.

    items    anything, and what the session is fed for it; taken a few ahead, by the caller's thread
    then     called by several threads at the same time
    outputs  see Session.run
    """
    stream = iter(items)
    first = next(stream, None)
    if first is None:
        return
    lanes = session.share(first[1], SPARE_BYTES)
    items = chain([first], stream)
    if lanes == 1:
        for item, feeds in items:
            yield then(item, session.run(feeds, outputs))
        return
    from concurrent.futures import ThreadPoolExecutor  # 10 ms, and not every run is one of many

    threads = session.threads // lanes

    def result(item: Item, feeds: Mapping[str, Array]) -> Found:
        return then(item, session.run(feeds, outputs, threads))

    running: deque[Future[Found]] = deque()
    pool = ThreadPoolExecutor(lanes)
    try:
        for item, feeds in items:
            running.append(pool.submit(result, item, feeds))
            if len(running) > lanes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
