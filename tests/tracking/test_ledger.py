import dataclasses

from harmony.tracking.base import RunInfo
from harmony.tracking.ledger import Artifact, Destination, Ledger, Progress, read_ledger


def test_a_ledger_reads_back_as_it_was_written(tmp_path):
    info = RunInfo(tmp_path, "k", "n", "e", {"a": 1, "b": True, "c": 0.5}, {"t": "x"}, "sweep")
    progress = Progress(run_id="r", cursor=7, artifacts=[Artifact("a.mp4", "videos", True)])
    ledger = Ledger(info, Destination("http://h", None, ["loss/*"]), progress)
    ledger.write()
    assert read_ledger(tmp_path) == ledger
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.json"]


def test_no_ledger_and_a_damaged_one_are_none(tmp_path, caplog):
    assert read_ledger(tmp_path) is None
    assert caplog.text == ""
    for damage in ("", "[]", '{"info": {}}', '{"info": 1, "progress": {"x": 1}}'):
        (tmp_path / "mlflow.json").write_text(damage)
        assert read_ledger(tmp_path) is None
        assert "damaged" in caplog.text
        caplog.clear()


def test_rewind_leaves_what_is_before_the_cut():
    progress = Progress(cursor=100, committed=150, rows=5, sent_rows=5)
    progress.rewind(120, 0)
    assert (progress.cursor, progress.committed, progress.rows) == (100, 120, 5)
    progress.rewind(60, 3)
    assert (progress.cursor, progress.committed, progress.rows) == (60, 60, 3)
    assert progress.sent_rows == 5


def test_another_store_begins_at_the_beginning():
    sent = Artifact("a", "", sent=True)
    progress = Progress("r", 2, 5, cursor=9, rows=1, sent_rows=3, artifacts=[sent])
    progress.forget_store()
    assert dataclasses.asdict(progress) == dataclasses.asdict(
        Progress(None, 2, 5, artifacts=[Artifact("a", "")])
    )
