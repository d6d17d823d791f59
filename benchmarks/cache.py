"""How the sending order affects the endpoint's prompt cache: `python -m benchmarks.cache`.

The rows are questions about documents, ten per document, shuffled, in shards of the default size.
`benchmarks.slow_server` caches the prefixes of a hundredth of the documents, at least 40. For
comparison the input in its own order and completely sorted go through the same cache without a run.
"""

import argparse
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.figures import keep, table
from benchmarks.prefix_cache import BLOCK_BYTES, PrefixCache
from benchmarks.rounds import Case, once
from benchmarks.servers import slow_server

DOCUMENT_BYTES, QUESTIONS = 2_000, 10
LEAST_DOCUMENTS = 40
"""Documents that the cache holds."""


def prompts_of(rows: int, *, seed: int = 7) -> list[str]:
    """Return questions about documents, in any order."""
    dice = random.Random(seed)  # noqa: S311
    words = ["parcel", "invoice", "meadow", "copper", "violin", "harbour", "lantern", "gravel"]
    documents = [
        f"Document {number}: " + " ".join(dice.choices(words, k=DOCUMENT_BYTES // 7))
        for number in range(rows // QUESTIONS)
    ]
    asked = [f"{documents[row % len(documents)]}\nQuestion {row}: what for?" for row in range(rows)]
    dice.shuffle(asked)
    return asked


def share(prompts: Iterable[str], blocks: int) -> float:
    """Return the share of tokens served from the cache, for prompts in this order."""
    cache = PrefixCache(blocks)
    read = [cache.read(prompt.encode()) for prompt in prompts]
    return sum(known for _, known in read) / sum(tokens for tokens, _ in read)


def measured(folder: Path, prompts: list[str], blocks: int) -> float:
    """Return that share for a run over these prompts."""
    path, output = folder / "input.parquet", folder / "answers"
    schema = pa.schema([("prompt", pa.string())])
    pq.write_table(pa.table({"prompt": prompts}, schema=schema), path, row_group_size=5_000)
    with slow_server("--median-s", "0.02", "--cache-blocks", str(blocks)) as url:
        common = ["--url", url, "--input", str(path), "--in-flight", "64"]
        once(Case("mayfly", ["mayfly", *common], len(prompts)), folder, output=output)
    answers = pq.read_table(output, columns=["cached_tokens", "prompt_tokens"])
    cached, tokens = (pc.sum(answers[name]).as_py() for name in answers.schema.names)
    return float(cached / tokens)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[2_000, 16_000, 64_000])
    options = parser.parse_args()
    lines, figures = [], {}
    for rows in options.rows:
        prompts = prompts_of(rows)
        blocks = max(LEAST_DOCUMENTS, rows // QUESTIONS // 100) * -(-DOCUMENT_BYTES // BLOCK_BYTES)
        with tempfile.TemporaryDirectory(prefix="mayfly-cache-") as name:
            found = {
                "input_order": share(prompts, blocks),
                "mayfly": measured(Path(name), prompts, blocks),
                "sorted": share(sorted(prompts), blocks),
            }
        figures[f"{rows} rows"] = found
        percents = [f"{100 * one:.1f} %" for one in found.values()]
        lines.append([rows, rows // QUESTIONS, *percents])
    columns = ["rows", "documents", "in the input's order", "mayfly", "sorted whole"]
    table("Cached tokens, of those of the prompts", columns, lines)
    keep("cache", figures)


if __name__ == "__main__":
    main()
