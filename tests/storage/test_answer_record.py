"""Any journal record becomes an answer that a part can hold."""

from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.failures import OTHER, SCHEMA, Failure
from mayfly.models.rows import Answer
from mayfly.storage.answer_record import from_own_records, from_record, made_fit, row_of, to_record
from mayfly.storage.output_columns import CHAT

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=5,
)


@given(st.lists(json_values, max_size=16))
def test_any_record_is_an_answer_that_a_part_accepts(values: list[Any]) -> None:
    answer = from_record(orjson.dumps([7, *values]))

    assert answer.row == 7
    columns = CHAT.arrays([answer])
    assert [len(column) for column in columns] == [1] * len(CHAT.fields)
    assert from_record(to_record(answer)) == answer
    assert from_own_records([to_record(answer)] * 2) == [answer] * 2


@given(st.binary(max_size=20))
def test_any_bytes_are_read_as_an_answer(record: bytes) -> None:
    assert CHAT.arrays([from_record(record)])
    row_of(record)


def test_first_journal_format_is_read() -> None:
    record = b'[3,null,"schema: HTTP 200 after 3 attempts: no","length",7,5,0,3,0.5]'

    assert from_record(record) == Answer(
        3, None, Failure(SCHEMA, "no", 200, "", 3), "length", 7, 5, 0, 3, 0.5
    )


def test_invalid_fields_of_an_earlier_version_are_repaired() -> None:
    record = b'[3,"text",null,2,"7",1e20,true,1,null]'

    assert from_record(record) == Answer(3, "text", None, "2", 7, None, None, 1, 0.0)


@pytest.mark.parametrize(
    "record",
    [
        b'[3,"text",null,"stop",7,5,0,3,0.5]',
        b'[3,"text",null,"stop",7,-5,0,3,0.5]',
        b'[3,"text",null,"stop",7,2147483648,0,3,0.5]',
        b'[3,"text",null,"stop",7,5,0,3,-0.5]',
        b'[3,"text",null,"stop",true,5,0,3,0.5]',
    ],
)
def test_record_is_read_in_its_repaired_form(record: bytes) -> None:
    assert from_record(record) == made_fit(Answer(*orjson.loads(record)))


def test_answer_without_json_form_is_still_written() -> None:
    odd: Any = Answer(1, "half \ud800 pair", None, "\udc00", 2**70, reasoning="a\ud83d")

    assert from_record(to_record(odd)) == Answer(
        1, "half \ufffd pair", None, "\ufffd", None, reasoning="a\ufffd"
    )


def test_plain_record_has_only_the_needed_fields() -> None:
    assert to_record(Answer(1, "a", attempts=1)) == b'[1,"a",null,null,null,null,null,1,0.0]'


@pytest.mark.parametrize("value", [object(), b"x", {1: 2}, float("nan"), 10**30])
def test_any_field_value_can_be_written_to_a_part(value: Any) -> None:
    for name in Answer._fields[1:]:
        answer = Answer(0, "a")._replace(**{name: value})
        column = CHAT.arrays([answer])[0]
        assert isinstance(column, pa.Array)
        assert made_fit(answer).row == 0


def test_empty_record_is_a_failure() -> None:
    assert from_record(b"[1]").failure is not None
    assert from_record(b"nothing").failure == Failure(OTHER, "the journal has no answer")
