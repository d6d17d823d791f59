"""Create `sample.parquet`: support messages of an invented shop, reproducible byte by byte.

Run it as `python data/make_sample.py`; a test compares the result.
"""

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 300
GROUP_ROWS = 64
"""Several row groups, so that the demo has several shards."""

PRODUCTS = (
    "Fjord kettle", "Lumen desk lamp", "Trail backpack 40 l", "Pico e-reader", "Nimbus umbrella",
    "Alder bookshelf", "Sonata headphones", "Brisk bicycle pump", "Hearth stew pot", "Loop rug",
)  # fmt: skip
CITIES = ("Lyon", "Gdansk", "Porto", "Leeds", "Graz", "Turku", "Ghent", "Bergen")
TIERS = ("free", "plus", "business")

# (topic, templates): the topic is what a good model should find, so that answers can be scored.
TOPICS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("delivery", (
        "My {product} was promised for {day} and the tracking still says {city}. Where is it?",
        "Order {order} arrived at the wrong address in {city}. Can the courier fetch it again?",
        "The parcel with my {product} is marked as delivered, but nobody here has seen it.",
    )),
    ("refund", (
        "I sent the {product} back on {day}. When do I get my {amount} euros?",
        "Please cancel order {order}, I was charged {amount} euros twice.",
        "The {product} is not what the picture shows. I would like my money back.",
    )),
    ("defect", (
        "After {weeks} weeks the {product} has stopped working. It is still under warranty.",
        "The {product} came with a crack. I have photos. Do you send a replacement?",
        "There is a smell of burnt plastic when I use the {product}. Is that dangerous?",
    )),
    ("account", (
        "I cannot log in since {day}; the reset mail never comes.",
        "Please change the address of my account to {city}, the page gives an error.",
        "How do I delete my account and everything you know about me?",
    )),
    ("praise", (
        "Just a thank you: the {product} is lovely, and it was here in two days.",
        "Your colleague in {city} was patient with my order {order}. Please tell them!",
        "Third {product} I buy from you, this time as a gift. Keep it up.",
    )),
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def make() -> pa.Table:
    """Return the sample.

    Shape: 300 rows x 5: ticket_id (int64), received_at (timestamp[ms, UTC]), customer_tier,
    topic and message (string).
    """
    draw = random.Random(20261124)  # noqa: S311 - a sample, not a secret
    began = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
    rows = []
    for number in range(ROWS):
        topic, templates = draw.choice(TOPICS)
        message = draw.choice(templates).format(
            product=draw.choice(PRODUCTS),
            city=draw.choice(CITIES),
            day=draw.choice(DAYS),
            order=f"{draw.randrange(10_000, 99_999)}",
            amount=f"{draw.randrange(12, 240)}",
            weeks=draw.randrange(2, 30),
        )
        rows.append(
            {
                "ticket_id": 5_001 + number,
                "received_at": began + timedelta(minutes=37 * number + draw.randrange(30)),
                "customer_tier": draw.choice(TIERS),
                "topic": topic,
                "message": message,
            }
        )
    schema = pa.schema(
        [
            ("ticket_id", pa.int64()),
            ("received_at", pa.timestamp("ms", tz="UTC")),
            ("customer_tier", pa.string()),
            ("topic", pa.string()),
            ("message", pa.string()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def write(path: Path) -> None:
    """Write the sample to a Parquet file."""
    pq.write_table(make(), path, row_group_size=GROUP_ROWS, compression="zstd")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sample.parquet"))
