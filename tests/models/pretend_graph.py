"""A pretend CUDA graph: what is called while it is captured, called again on the same memory when replayed.

As a real one it does nothing while captured (what was there before is put back at the end), knows no number
of the host but those it was captured with, writes where it wrote, and refuses what makes the host wait for
the device. So figures of a replayed step show whether its inputs lie where it reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

aten = torch.ops.aten
#: What asks the device for a number, or for a shape that depends on one.
_WAIT = {aten._local_scalar_dense.default, aten.nonzero.default, aten.item.default, aten.equal.default}
_current: list[PretendGraph] = []


class PretendGraph:
    """Stands for ``torch.cuda.CUDAGraph``."""

    replays = 0

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], Any, Any, list[Tensor]]] = []
        self.born: set[int] = set()
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def check(self, func: Any, from_host: Sequence[Tensor]) -> None:
        if func in _WAIT or from_host:
            raise RuntimeError(f"{func}: operation not permitted when stream is capturing")

    def call(self, kernel: Callable[..., Any], args: Any, kwargs: Any, *, changes: bool) -> Any:
        if changes:
            changed = args[0]
            if _place(changed) not in self.born and _place(changed) not in self.before:
                whole = changed.new_empty(0).set_(changed.untyped_storage())
                self.before[_place(changed)] = whole, whole.clone()
        found = kernel(*args, **kwargs)
        results = [
            x for x in (found if isinstance(found, list | tuple) else [found]) if isinstance(x, Tensor)
        ]
        given = {_place(x) for x in _tensors(args)}
        made = [x for x in results if _place(x) not in given]
        self.born |= {_place(x) for x in made}
        if made or changes:  # a view is there already
            self.calls.append((kernel, args, kwargs, results if made else []))
        return found

    def end(self) -> None:
        for whole, before in self.before.values():
            whole.copy_(before)

    def replay(self) -> None:
        PretendGraph.replays += 1
        with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
            for kernel, args, kwargs, results in self.calls:
                found = kernel(*args, **kwargs)
                for new, result in zip(_results(found), results, strict=False):
                    if _place(new) != _place(result):
                        result.copy_(new)


def _results(found: Any) -> list[Tensor]:
    several = found if isinstance(found, list | tuple) else [found]
    return [x for x in several if isinstance(x, Tensor)]


def _place(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, list | tuple):
        for y in x:
            yield from _tensors(y)


def capturing() -> PretendGraph | None:
    return _current[-1] if _current else None


@contextmanager
def _graph(graph: PretendGraph) -> Iterator[None]:
    _current.append(graph)
    try:
        yield
    finally:
        _current.pop()
        with _disable_current_modes():
            graph.end()


class _Stream:
    def wait_stream(self, other: object) -> None:
        """Everything is in order here."""


DRIVER: dict[str, Any] = {
    "Stream": _Stream,
    "current_stream": lambda *_: _Stream(),
    "stream": lambda _: nullcontext(),
    "CUDAGraph": PretendGraph,
    "graph": _graph,
}
