"""How the sending order affects the endpoint's prompt cache: `python -m benchmarks.cache`.

The rows are questions about documents, ten per document, shuffled, in shards of the default size.
`benchmarks.slow_server` caches the prefixes of a hundredth of the documents, at least 40. For
comparison the input in its own order and completely sorted go through the same cache without a run.

With `--replicas`, every replica has its own cache, and three ways to set `prompt_cache_key` are
compared, without a run.
"""

import argparse
import random
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.figures import keep, table
from benchmarks.prefix_cache import BLOCK_BYTES, PrefixCache
from benchmarks.rounds import Case, once
from benchmarks.servers import slow_server
from mayfly.inference.cache_affinity import with_cache_keys
from mayfly.inference.prefix_order import by_prefix
from mayfly.inference.request_builder import Frame
from mayfly.models.rows import RowRequest
from mayfly.models.shards import RowGroup, plan_shards

DOCUMENT_BYTES, QUESTIONS = 2_000, 10
LEAST_DOCUMENTS = 40
"""Documents that the cache holds."""

KEYS = ("none", "mayfly", "group")
"""No keys; those of a run, each for at most 16 rows; one for all rows with a common prefix."""


def prompts_of(rows: int, *, seed: int = 7, questions: int = QUESTIONS) -> list[str]:
    """Return questions about documents, in any order."""
    dice = random.Random(seed)  # noqa: S311
    words = ["parcel", "invoice", "meadow", "copper", "violin", "harbour", "lantern", "gravel"]
    documents = [
        f"Document {number}: " + " ".join(dice.choices(words, k=DOCUMENT_BYTES // 7))
        for number in range(rows // questions)
    ]
    asked = [f"{documents[row % len(documents)]}\nQuestion {row}: what for?" for row in range(rows)]
    dice.shuffle(asked)
    return asked


def share(prompts: Iterable[str], blocks: int) -> float:
    """Return the share of tokens served from the cache, for prompts in this order."""
    cache = PrefixCache(blocks)
    read = [cache.read(prompt.encode()) for prompt in prompts]
    return sum(known for _, known in read) / sum(tokens for tokens, _ in read)


def routed(prompts: list[str], blocks: int, replicas: int, keys: str) -> tuple[float, float]:
    """Send prompts to replicas by key, or by content where there is none.

    Args:
        keys: One of `KEYS`.

    Returns:
        The share of tokens served from the caches; and the most tokens that one replica had to
        compute, relative to the mean.
    """
    frame = Frame(b"", b"")
    caches = [PrefixCache(blocks) for _ in range(replicas)]
    read, known = [0] * replicas, [0] * replicas
    for shard in plan_shards([RowGroup(rows=len(prompts), bytes=0)]):
        here = range(shard.first_row, shard.first_row + shard.rows)
        rows = (RowRequest(row, orjson.dumps({"prompt": prompts[row]})) for row in here)
        ordered = by_prefix(rows, frame)
        for request in ordered if keys == "none" else with_cache_keys(ordered, frame):
            body, _, key = request.body.partition(b',"prompt_cache_key":')
            key = (key.partition(b"-")[0] if keys == "group" else key) or body
            # The low bits of a CRC are linear in its input.
            digest = zlib.crc32(key) * 0x9E3779B1 & 0xFFFFFFFF
            replica = digest * replicas >> 32
            tokens, cached = caches[replica].read(body)
            read[replica] += tokens
            known[replica] += cached
    computed = [tokens - cached for tokens, cached in zip(read, known, strict=True)]
    return sum(known) / sum(read), max(computed) * replicas / sum(computed)


def compare_keys(rows: int, replicas: Iterable[int]) -> dict[str, Any]:
    """Print what each way to set keys achieves; return the figures."""
    lines, figures = [], {}
    blocks = LEAST_DOCUMENTS * -(-DOCUMENT_BYTES // BLOCK_BYTES)
    for questions in (10, 100, 400):
        prompts = prompts_of(rows, questions=questions)
        for count in replicas:
            found = {keys: routed(prompts, blocks, count, keys) for keys in KEYS}
            figures[f"{questions} questions, {count} replicas"] = found
            cells = [f"{100 * share:.1f} %, {most:.2f}" for share, most in found.values()]
            lines.append([questions, count, *cells])
    columns = ["questions per document", "replicas", *(f"keys: {keys}" for keys in KEYS)]
    table(f"{rows} rows: cached tokens, and the most computed relative to the mean", columns, lines)
    return figures


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
    parser.add_argument("--replicas", type=int, nargs="*", help="compare keys instead; no run")
    options = parser.parse_args()
    if options.replicas:
        keep("cache-keys", compare_keys(options.rows[0], options.replicas))
        return
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
