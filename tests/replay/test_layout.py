import io

import numpy as np
import pytest

from harmony.replay.layout import check_record, file_header, record_dtype
from tests.replay.conftest import SPEC, counting_record


def test_fields_are_sorted_and_aligned():
    dtype = record_dtype(SPEC)
    assert dtype.names == ("action", "image", "is_first", "is_last", "is_terminal", "reward")
    # action 8, image 12, three flags 3, padding 1, reward 4
    assert dtype.fields["reward"][1] == 24
    assert dtype.itemsize == 28


def test_the_order_of_the_spec_does_not_matter():
    assert record_dtype(SPEC) == record_dtype(dict(reversed(SPEC.items())))


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="is_terminal"):
        record_dtype({key: value for key, value in SPEC.items() if key != "is_terminal"})


def test_numpy_reads_a_file_of_that_header():
    dtype = record_dtype(SPEC)
    header = file_header(dtype, 3)
    assert len(header) % 64 == 0
    loaded = np.load(io.BytesIO(header + bytes(3 * dtype.itemsize)))
    assert loaded.dtype == dtype
    assert loaded.shape == (3,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.float64(0)}, r"reward.*float32.*float64"),
        ({"action": np.zeros(3, np.float32)}, r"action.*\(2,\).*\(3,\)"),
        ({"action": np.zeros(1, np.float32)}, r"action"),
        ({"extra": np.float32(0)}, "extra"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check_record(counting_record(0, 0, 2) | change, record_dtype(SPEC))


def test_a_record_without_a_key_is_refused():
    record = counting_record(0, 0, 2)
    del record["image"]
    with pytest.raises(ValueError, match="image"):
        check_record(record, record_dtype(SPEC))
