"""What the lines of an OpenAI-batch file have in common."""

from typing import NamedTuple


class BatchLines(NamedTuple):
    """Facts about all requests of an input whose rows are requests.

    Attributes:
        models, urls: Those that lines name; a few of them where there are many.
        samples: The largest `n` of a line.
        logprobs: Whether a line asks for logprobs.
    """

    models: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    samples: int = 1
    logprobs: bool = False

    def plus(self, other: "BatchLines") -> "BatchLines":
        """Return the facts about the lines of both."""
        return BatchLines(
            tuple(dict.fromkeys((*self.models, *other.models))),
            tuple(dict.fromkeys((*self.urls, *other.urls))),
            max(self.samples, other.samples),
            self.logprobs or other.logprobs,
        )
