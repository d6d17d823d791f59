"""CPU per row, Parquet to Parquet, against bare loops and the SDK: `python -m benchmarks.cpu`.

nginx (Debian's) answers a fixed body at once, with and without TLS, on its own core; the clients
alternate on the other core. At 512 in flight `benchmarks.slow_server` takes a
log-normal time, median 400 ms. The SDK answers fewer rows, since it takes so much longer; with its
aiohttp extra it is measured where `httpx-aiohttp` is installed.
"""

import argparse
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.dataset import write_input
from benchmarks.figures import keep, table
from benchmarks.rounds import Case, in_turn, least_and_median
from benchmarks.servers import certificate, nginx, slow_server

AIOHTTP, TRANSPORT = "aiohttp + uvloop, bare", "mayfly's transport, bare"
TEMPLATE = "Answer in one word.\n{{ prompt }}\nId: {{ id }}"


def cases(url: str, path: Path, in_flight: int, rows: int, *, sdk: bool) -> list[Case]:
    """Return the clients of one round."""
    common = ["--url", url, "--input", str(path), "--in-flight", str(in_flight)]
    found = [
        Case(AIOHTTP, ["aiohttp", *common], rows),
        Case("mayfly", ["mayfly", *common], rows),
        Case("mayfly, --prompt template", ["mayfly", "--template", TEMPLATE, *common], rows),
        Case(TRANSPORT, ["protocols", *common], rows),
        Case("pyreqwest + uvloop, bare", ["pyreqwest", *common], rows),
    ]
    if sdk:
        few = max(rows // 20, 8 * in_flight)
        found.append(Case("SDK as installed (httpx)", ["sdk", *common], few // 4))
        if importlib.util.find_spec("httpx_aiohttp"):
            found.append(Case("SDK + aiohttp extra", ["sdk-aiohttp", *common], few))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--no-sdk", action="store_true")
    parser.add_argument("--only", choices=["plain", "tls", "latency"], nargs="*")
    options = parser.parse_args()
    only = options.only or ["plain", "tls", "latency"]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mayfly-cpu-") as name:
        folder = Path(name)
        path = write_input(folder / "input.parquet", options.rows)
        pem = certificate(folder / "tls")
        trust = {"SSL_CERT_FILE": str(pem.parent / "cert.pem")}
        with (
            nginx(folder / "plain") as plain,
            nginx(folder / "nginx-tls", certificate=pem) as tls,
            slow_server() as slow,
        ):
            for number in options.in_flight:
                for kind, url in (("plain", plain), ("tls", tls)):
                    if kind in only:
                        chosen = cases(url, path, number, options.rows, sdk=not options.no_sdk)
                        results = in_turn(chosen, options.rounds, folder, env=trust)
                        figures[f"{kind} {number}"] = _show(f"{kind}, {number} in flight", results)
            if "latency" in only:
                rows = min(options.rows, 15_000)
                chosen = cases(slow, path, 512, rows, sdk=not options.no_sdk)
                results = in_turn(chosen, options.rounds, folder)
                figures["latency 512"] = _show("log-normal latency, 512 in flight", results)
    keep("cpu", figures)


def _show(title: str, results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    _, reference = least_and_median(results[AIOHTTP], "cpu_ms_per_row")
    _, bare = least_and_median(results[TRANSPORT], "cpu_ms_per_row")
    figures = {}
    for label, rounds in results.items():
        least, middle = least_and_median(rounds, "cpu_ms_per_row")
        figures[label] = {
            "cpu_ms_per_row_min": least,
            "cpu_ms_per_row_median": middle,
            "of_aiohttp": middle / reference,
            "above_bare_transport_ms": middle - bare,
            "rows_per_s": max(float(one["rows_per_s"]) for one in rounds),
            "peak_mb": max(float(one["peak_mb"]) for one in rounds),
        }
    columns = ["client", "CPU ms a row, min", "median", "of aiohttp's", "above the bare transport"]
    columns += ["rows/s", "peak MB"]
    table(title, columns, [[label, *values.values()] for label, values in figures.items()])
    return figures


if __name__ == "__main__":
    main()
