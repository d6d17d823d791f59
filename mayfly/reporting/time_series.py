"""Time series in bounded memory: long runs are sampled more coarsely."""

from collections.abc import Mapping


class Series:
    """Samples of named figures; when it is full, every second sample is dropped.

    From then on samples are taken half as often. So the samples stay evenly spaced, and a run of a
    day takes as much memory as one of a minute.

    Attributes:
        every_s: Current interval between samples, in seconds.
    """

    def __init__(self, *names: str, capacity: int = 480, every_s: float = 0.1) -> None:
        if capacity < 2:
            raise ValueError(f"capacity {capacity}: a series needs at least two samples")
        self.names = ("at_s", *names)
        self.every_s = every_s
        self._capacity = capacity
        self._samples: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._samples)

    def due(self, at_s: float) -> bool:
        """Return whether a sample at `at_s` (monotonic seconds) would be taken."""
        return not self._samples or at_s - self._samples[-1][0] >= self.every_s * 0.999

    def add(self, at_s: float, figures: Mapping[str, float], *, force: bool = False) -> None:
        """Add a sample, unless it is sooner than `every_s` after the last one.

        Args:
            figures: A value for each name.
            force: Whether to add it regardless of the interval.
        """
        if not (force or self.due(at_s)):
            return
        if len(self._samples) >= self._capacity:
            # Counted from the newest, which must stay: rates are read from the end.
            self._samples = self._samples[::-2][::-1]
            self.every_s *= 2
            if not (force or self.due(at_s)):
                return
        self._samples.append((at_s, *(figures[name] for name in self.names[1:])))

    def columns(self) -> dict[str, list[float]]:
        """Return the samples by name, oldest first; `at_s` are the times."""
        columns = zip(*self._samples, strict=True) if self._samples else ([] for _ in self.names)
        return {
            name: [round(value, 3) for value in column]
            for name, column in zip(self.names, columns, strict=True)
        }

    def rate(self, name: str, *, window_s: float) -> float | None:
        """Return the growth of a figure per second over the last `window_s`.

        None before there are two samples at different times.
        """
        if len(self._samples) < 2:
            return None
        index = self.names.index(name)
        last = self._samples[-1]
        first = next(
            (sample for sample in self._samples if sample[0] >= last[0] - window_s),
            self._samples[0],
        )
        if first is last:
            first = self._samples[-2]
        apart_s = last[0] - first[0]
        return (last[index] - first[index]) / apart_s if apart_s > 0 else None
