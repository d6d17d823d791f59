"""One table of settings serves the command line, Python, the form and the reference page."""

import pytest

from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.models.job_reference import as_keyword, as_option, make_job, setting, settings

CONTRACT = """
--model --output --prompt --messages-column --system --image --audio --video --tools --embed
--completions --max-tokens --temperature --top-p --seed --stop --reasoning --schema --samples
--logprobs --body --body-column --hardware --config --replicas --region --endpoint --teardown
--inactive-timeout --api --no-speculative-decoding --availability-zone --calibrate --max-cost
--deadline --concurrency --row-timeout --row-attempts --max-error-rate --ready-timeout
--capacity-timeout --shard-rows --limit --retry-failed --dedupe --incremental --runner --dask --tag
"""
"""The options of the outside contract that belong to a job."""

BEYOND = {"--approve-above", "--approve-within", "--report-url"}
"""What the form had first, and what Prefect links to."""


def test_settings_are_the_documented_options() -> None:
    names = {each.name for each in settings() if each.option is not None}

    assert names == set(CONTRACT.split()) | BEYOND


def test_settings_all_have_texts() -> None:
    for each in settings():
        assert each.title[0].isupper(), each
        assert each.description.endswith("."), each
        assert each.description[0].isupper() or each.description.startswith("auto"), each


def test_setting_names_are_unique() -> None:
    every = settings()

    assert len({each.keyword for each in every}) == len({each.title for each in every})
    assert len({each.keyword for each in every}) == len(every)


@pytest.mark.parametrize(
    ("path", "default"),
    [
        ("rental.ready_timeout_s", "45m"),
        ("rental.inactive_timeout_min", "30"),
        ("rental.teardown", "delete"),
        ("limits.concurrency", "auto"),
        ("limits.row_attempts", "6"),
        ("limits.max_cost_usd", ""),
        ("sampling.stop", ""),
        ("tags", ""),
        ("rows.dedupe", ""),
    ],
)
def test_default_is_formatted_for_people(path: str, default: str) -> None:
    assert setting(path).default == default


def test_form_has_every_setting_with_the_same_text() -> None:
    schema = Job.model_json_schema()
    for each in settings():
        part, _, name = each.path.rpartition(".")
        model = type(getattr(Job(input="i", model="m", output="o"), part)) if part else Job
        properties = schema["$defs"][model.__name__]["properties"] if part else schema["properties"]

        assert properties[name]["title"] == each.title
        assert properties[name]["description"] == each.description


def test_error_names_a_setting_as_typed() -> None:
    wrong = {"model": "m", "max_cost": -1}

    with pytest.raises(BadRequest, match=r"^--max-cost must be more than 0, not -1$"):
        make_job("in", "out", wrong, spell=as_option)
    with pytest.raises(BadRequest, match=r"^max_cost must be more than 0, not -1$"):
        make_job("in", "out", wrong, spell=as_keyword)
    with pytest.raises(BadRequest, match=r"^Maximum cost must be more than 0, not -1$"):
        make_job("in", "out", wrong, spell=Job.title_of)


def test_options_accept_python_values() -> None:
    job = make_job(
        "in",
        "out",
        {
            "model": "m",
            "image": "picture",
            "stop": ["a", "b"],
            "temperature": 0,
            "logprobs": 0,
            "schema": {"type": "object"},
            "body": {"top_k": 5},
            "tag": {"team": "a"},
            "deadline": 90,
            "no_speculative_decoding": True,
            "api": "v1",
        },
        spell=as_keyword,
    )

    assert job.prompt.image_columns == ("picture",)
    assert job.sampling.stop == ("a", "b")
    assert (job.sampling.temperature, job.sampling.logprobs) == (0, 0)
    assert job.sampling.schema_value() == {"type": "object"}
    assert job.sampling.body_value() == {"top_k": 5}
    assert job.tags == {"team": "a"}
    assert job.limits.deadline_s == 90
    assert job.rental.speculative_decoding is False
