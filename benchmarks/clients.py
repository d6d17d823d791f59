"""One client in its own process: `python -m benchmarks.clients NAME --url ... `.

All do the same work: a Parquet row becomes a chat request, the answer's text, finish reason and
usage become a row of zstd Parquet. `mayfly` is the product's data path, including journal and
fsync; the others are bare loops for comparison, which store nothing until the end. It prints one
line of JSON: seconds of CPU (user and system, all threads), wall clock, peak memory.
"""

import argparse
import asyncio
import gc
import importlib
import os
import resource
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import uvloop

MODEL = "Qwen/Qwen2.5-7B-Instruct"
FINGERPRINT = "f" * 64
Post = Callable[[str], Awaitable[dict[str, Any]]]


def mayfly(options: argparse.Namespace) -> None:
    """Answer the input like a run, without an endpoint and Prefect."""
    from mayfly.inference.engine import Engine, EngineSettings, Target  # noqa: PLC0415
    from mayfly.inference.request_builder import Renderer  # noqa: PLC0415
    from mayfly.models.job import PromptSpec, Sampling  # noqa: PLC0415
    from mayfly.models.shards import plan_shards  # noqa: PLC0415
    from mayfly.shards.runner import Batch, answer_rows  # noqa: PLC0415
    from mayfly.storage.open_input import open_dataset  # noqa: PLC0415
    from mayfly.storage.parts import part_is_done  # noqa: PLC0415
    from mayfly.storage.run_paths import RunPaths  # noqa: PLC0415

    dataset = open_dataset(str(options.input), limit=options.rows)
    paths = RunPaths(options.output)
    paths.journals.mkdir(parents=True, exist_ok=True)
    batch = Batch(
        dataset=dataset,
        renderer=Renderer(PromptSpec(template=options.template), Sampling(), dataset.columns),
        paths=paths,
        model=MODEL,
        fingerprint=FINGERPRINT,
    )
    target = Target(
        url=f"{options.url}/v1/chat/completions", headers={"Authorization": "Bearer benchmark"}
    )
    concurrency = options.in_flight or None
    with (
        Engine(target=target, settings=EngineSettings(concurrency=concurrency)) as engine,
        ThreadPoolExecutor(2) as threads,
    ):
        shards = [
            shard
            for shard in plan_shards(dataset.row_groups, shard_rows=options.shard_rows)
            if not part_is_done(paths.part(shard.index), shard, batch.fingerprint)
        ]
        file = options.settled
        if file is not None and file.exists():
            engine.begin_at(int(file.read_text()), "history")
        if options.replicas:
            engine.hedge_after(calls=len(shards), replicas=options.replicas)
        done = sum(threads.map(lambda s: answer_rows(batch, s, engine).done, shards))
        if file is not None and (settled := engine.snapshot().settled):
            file.write_text(str(settled))
    assert done == sum(shard.rows for shard in shards), done  # noqa: S101


def bare(options: argparse.Namespace, post: Callable[[], Any]) -> None:
    """Answer the input with workers over one `post`; everything is held until the end."""

    async def run() -> None:
        answers: dict[int, tuple[Any, ...]] = {}
        rows = enumerate(_prompts(options.input, options.rows))

        async def work(send: Post) -> None:
            for row, prompt in rows:
                value = await send(prompt)
                choice, usage = value["choices"][0], value["usage"]
                answers[row] = (
                    choice["message"]["content"],
                    choice["finish_reason"],
                    usage["prompt_tokens"],
                    usage["completion_tokens"],
                )

        async with post() as send:
            await asyncio.gather(*(work(send) for _ in range(options.in_flight)))
        columns = list(zip(*(answers[row] for row in range(options.rows)), strict=True))
        names = ["response", "finish_reason", "prompt_tokens", "completion_tokens"]
        source = pq.read_table(options.input).slice(0, options.rows)
        for name, values in zip(names, columns, strict=True):
            source = source.append_column(name, pa.array(values))
        pq.write_table(source, options.output.with_suffix(".parquet"), compression="zstd")

    uvloop.run(run())


def _prompts(path: Path, rows: int) -> Iterator[str]:
    with pq.ParquetFile(path) as parquet:
        left = rows
        for batch in parquet.iter_batches(4096, columns=["prompt"]):
            yield from batch.column(0).to_pylist()[:left]
            left -= min(left, batch.num_rows)


def _body(prompt: str) -> bytes:
    return orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": prompt}]})


class _Aiohttp:
    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"

    async def __aenter__(self) -> Post:
        import aiohttp  # noqa: PLC0415

        secure = ssl.create_default_context() if self._url.startswith("https") else True
        connector = aiohttp.TCPConnector(limit=0, ssl=secure)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=600),
            headers={"content-type": "application/json", "authorization": "Bearer benchmark"},
        )

        async def post(prompt: str) -> dict[str, Any]:
            async with self._session.post(self._url, data=_body(prompt)) as response:
                value: dict[str, Any] = orjson.loads(await response.read())
                return value

        return post

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()


class _Protocols:
    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"

    async def __aenter__(self) -> Post:
        from mayfly.inference.transport.http1 import Http1Transport  # noqa: PLC0415

        headers = {"authorization": "Bearer benchmark"}
        self._transport = Http1Transport(self._url, headers)
        loop = asyncio.get_running_loop()

        async def post(prompt: str) -> dict[str, Any]:
            answered: asyncio.Future[Any] = loop.create_future()
            self._transport.send(_body(prompt), answered.set_result)
            value: dict[str, Any] = orjson.loads((await answered).body)
            return value

        return post

    async def __aexit__(self, *_: object) -> None:
        await self._transport.close()


class _Pyreqwest:
    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        path = os.environ.get("SSL_CERT_FILE")
        self._authority = Path(path).read_bytes() if path else b""

    async def __aenter__(self) -> Post:
        from pyreqwest.client import ClientBuilder  # noqa: PLC0415

        builder = ClientBuilder().default_headers(
            {"content-type": "application/json", "authorization": "Bearer benchmark"}
        )
        if self._authority:
            builder = builder.add_root_certificate_pem(self._authority)
        self._client = builder.http1_only().pool_max_idle_per_host(100_000).build()

        async def post(prompt: str) -> dict[str, Any]:
            response = await self._client.post(self._url).body_bytes(_body(prompt)).build().send()
            value: dict[str, Any] = orjson.loads(memoryview(await response.bytes()))
            return value

        return post

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


class _Sdk:
    def __init__(self, url: str, *, aiohttp: bool) -> None:
        self._url, self._aiohttp = url, aiohttp

    async def __aenter__(self) -> Post:
        import httpx  # noqa: PLC0415
        from together import AsyncTogether, DefaultAioHttpClient  # noqa: PLC0415

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        secure = ssl.create_default_context() if self._url.startswith("https") else True
        client = (
            DefaultAioHttpClient(limits=limits, verify=secure)
            if self._aiohttp
            else httpx.AsyncClient(limits=limits, timeout=600, verify=secure)
        )
        self._together = AsyncTogether(
            api_key="benchmark", base_url=self._url, http_client=client, max_retries=0
        )

        async def post(prompt: str) -> dict[str, Any]:
            answer = await self._together.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": prompt}]
            )
            choice, usage = answer.choices[0], answer.usage
            assert choice.message is not None  # noqa: S101
            assert usage is not None  # noqa: S101
            return {
                "choices": [
                    {
                        "message": {"content": choice.message.content},
                        "finish_reason": choice.finish_reason,
                    }
                ],
                "usage": {
                    "prompt_tokens": usage.prompt_tokens,
                    "completion_tokens": usage.completion_tokens,
                },
            }

        return post

    async def __aexit__(self, *_: object) -> None:
        await self._together.close()


CLIENTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "mayfly": mayfly,
    "aiohttp": lambda options: bare(options, lambda: _Aiohttp(options.url)),
    "protocols": lambda options: bare(options, lambda: _Protocols(options.url)),
    "pyreqwest": lambda options: bare(options, lambda: _Pyreqwest(options.url)),
    "sdk": lambda options: bare(options, lambda: _Sdk(options.url, aiohttp=False)),
    "sdk-aiohttp": lambda options: bare(options, lambda: _Sdk(options.url, aiohttp=True)),
}


def peak_mb() -> float:
    """Return the peak memory of this process; `ru_maxrss` would include its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def prepare(client: str) -> None:
    """Import a client's modules, a cost per process and not per row."""
    names = {
        "mayfly": [
            "mayfly.inference.engine",
            "mayfly.inference.transport.http1",
            "mayfly.shards.runner",
            "mayfly.storage.open_input",
        ],
        "protocols": ["mayfly.inference.transport.http1"],
        "sdk": ["together"],
        "sdk-aiohttp": ["together"],
    }
    for name in names.get(client, [client]):
        importlib.import_module(name)
    pa.array(["pyarrow imports pandas at the first list"])
    # As the command line and the workers do: else one collection of everything imported, some
    # 50 ms, is in the figure of one client and not in that of another.
    gc.collect()
    gc.freeze()


def main() -> None:
    """Run one client once and print its cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=sorted(CLIENTS))
    parser.add_argument("--url", required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder; mayfly resumes in it")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--in-flight", type=int, default=64, help="0 lets mayfly find a number")
    parser.add_argument("--shard-rows", type=int)
    parser.add_argument(
        "--replicas", type=int, default=1, help="for mayfly: behind the URL; 0 asks no row twice"
    )
    parser.add_argument("--settled", type=Path, help="for mayfly: file of an earlier run's limit")
    parser.add_argument("--template", help="for mayfly: a prompt template instead of the column")
    options = parser.parse_args()
    prepare(options.client)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    CLIENTS[options.client](options)
    wall_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result = {
        "client": options.client,
        "cpu_ms_per_row": 1e3 * cpu_s / options.rows,
        "rows_per_s": options.rows / wall_s,
        "wall_s": wall_s,
        "began_at": began,
        "peak_mb": peak_mb(),
    }
    sys.stdout.write(orjson.dumps(result).decode() + "\n")


if __name__ == "__main__":
    main()
