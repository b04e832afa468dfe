"""Lines in, lines out: batches of what has arrived, answers in order and as soon as they are there."""

import os
import queue
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TextIO

from hf_rnnattn.generating import TextGenerator


def in_order(generator: TextGenerator, batches: Iterable[Sequence[str]], *, paired: bool = False) -> Iterator[str]:
    """Generate for batches of lines, yielding each line's hypotheses as soon as its batch is done.

    Args:
        generator: what answers.
        batches: of lines without their line ends.
        paired: a line is a source, a tab and its second segment.

    Raises:
        ValueError: paired, and a line that is not blank has no tab.
    """
    for batch in batches:
        texts, pairs = _columns(batch) if paired else (batch, None)
        for hypotheses in generator(texts, pairs):
            yield from (" ".join(hypothesis.splitlines()) for hypothesis in hypotheses)


def generate_lines(
    generator: TextGenerator, source: TextIO, sink: TextIO, *, batch_size: int = 32, paired: bool = False
) -> None:
    """Write the answer to every line of ``source`` to ``sink`` as it comes, flushed; one answer a line.

    A blank line is answered by an empty line. Under ``accelerate launch`` the processes share the work and the first
    one writes.

    Raises:
        ValueError: batch_size < 1; source is a stream and there are several processes; see also ``in_order``.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    lines = (line.rstrip("\r\n") for line in source)
    if is_stream(source):
        if generator.state.num_processes > 1:
            raise ValueError("several processes cannot share a stream: give a file")
        batches = batches_as_they_come(lines, batch_size)
    else:
        batches = full_batches(lines, batch_size)
    for answer in in_order(generator, batches, paired=paired):
        if generator.state.is_main_process:
            print(answer, file=sink, flush=True)


def is_stream(source: TextIO) -> bool:
    """Whether lines arrive over time, from a pipe or a terminal, rather than from a file."""
    try:
        return not stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    except (OSError, AttributeError):  # text in memory
        return False


def _columns(batch: Sequence[str]) -> tuple[list[str], list[str]]:
    for line in batch:
        if line.strip() and "\t" not in line:
            raise ValueError(f"a line with a second segment needs a tab, got {line!r}")
    split = [line.partition("\t") for line in batch]
    return [text for text, _, _ in split], [pair for _, _, pair in split]


def full_batches(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of ``size`` lines, the last one shorter."""
    lines = iter(lines)
    while batch := list(islice(lines, size)):
        yield batch


def batches_as_they_come(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Batches of at most ``size`` lines: what has arrived by the time the last batch was done, at least one line.

    So a slow writer is answered at once and a fast one in full batches. An exception of ``lines`` is raised here. When
    the iterator is closed, no more than the line that is being waited for is read.
    """
    arrived: queue.Queue[Any] = queue.Queue(maxsize=4 * size)
    end, closed = object(), threading.Event()

    def read() -> None:
        try:
            for line in lines:
                arrived.put(line)
                if closed.is_set():
                    return
            arrived.put(end)
        except BaseException as error:
            arrived.put(error)

    threading.Thread(target=read, name="batches_as_they_come", daemon=True).start()
    try:
        while True:
            batch, last = _drain(arrived, size, end)
            if batch:
                yield batch
            if isinstance(last, BaseException):
                raise last
            if last is end:
                return
    finally:
        closed.set()
        while not arrived.empty():  # the reader may be waiting for room
            arrived.get_nowait()


def _drain(arrived: "queue.Queue[Any]", size: int, end: object) -> tuple[list[str], Any]:
    batch: list[str] = []
    item = arrived.get()
    while True:
        if item is end or isinstance(item, BaseException):
            return batch, item
        batch.append(item)
        if len(batch) == size or arrived.empty():
            return batch, None
        item = arrived.get()
