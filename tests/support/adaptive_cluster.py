"""A Dask cluster that adapts from 0 workers: `python -m tests.support.adaptive_cluster`.

It prints the address of its scheduler, scales to 0 for good at the line `zero`, and ends with its
standard input.
"""

import sys

from distributed import LocalCluster


def main() -> None:
    """Serve until the end of standard input."""
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=0,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="500ms", wait_count=2)
        print(cluster.scheduler_address, flush=True)  # noqa: T201 - for the process that started it
        for line in sys.stdin:
            if line.strip() == "zero":
                cluster.adapt(minimum=0, maximum=0, interval="500ms", wait_count=2)
                cluster.scale(0)


if __name__ == "__main__":
    main()
