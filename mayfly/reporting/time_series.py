"""Time series in bounded memory: a long run is sampled more coarsely than a short one."""

from collections.abc import Mapping


class Series:
    """Samples of a few named figures; when it is full, every second sample is dropped.

    So that a run of a day costs as much memory as one of a minute, and the samples stay evenly
    spread: from then on they are taken half as often.

    Attributes:
        every_s: How far apart samples are now, in seconds.
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
        """Whether a sample at `at_s` (seconds, only going forward) would be taken."""
        return not self._samples or at_s - self._samples[-1][0] >= self.every_s * 0.999

    def add(self, at_s: float, figures: Mapping[str, float], *, anyway: bool = False) -> None:
        """Add a sample, unless it comes sooner than `every_s` after the one before.

        Args:
            figures: A value for each name.
            anyway: Add it however soon: the first and the last of something.
        """
        if not (anyway or self.due(at_s)):
            return
        if len(self._samples) >= self._capacity:
            # Counted from the newest, which has to stay: rates are read off the end.
            self._samples = self._samples[::-2][::-1]
            self.every_s *= 2
            if not (anyway or self.due(at_s)):
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
        """Return how fast a figure has grown per second over the last `window_s`.

        None before there are two samples that lie apart.
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
