"""Common properties of the requests in an OpenAI-batch file."""

from typing import NamedTuple


class BatchLines(NamedTuple):
    """Properties of all requests of an input in the OpenAI-batch format.

    Attributes:
        models, urls: Those that the lines name; the first ten if there are more.
        samples: The largest `n` of a line.
        logprobs: Whether a line requests logprobs.
    """

    models: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    samples: int = 1
    logprobs: bool = False

    def plus(self, other: "BatchLines") -> "BatchLines":
        """Return the properties of the lines of both."""
        return BatchLines(
            tuple(dict.fromkeys((*self.models, *other.models))),
            tuple(dict.fromkeys((*self.urls, *other.urls))),
            max(self.samples, other.samples),
            self.logprobs or other.logprobs,
        )
