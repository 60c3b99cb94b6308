import json


def stored(info):
    return json.loads((info.run_dir / "mlflow.json").read_text())["progress"]


def test_a_commit_is_in_the_file_at_once(info, make_outbox, write_rows):
    outbox = make_outbox()
    assert outbox.own(new_attempt=True)
    size = write_rows(1, 2)
    outbox.commit(size)
    assert stored(info)["committed"] == size


def test_the_next_attempt_continues(make_outbox, write_rows):
    size = write_rows(1, 2)
    first = make_outbox()
    first.own(new_attempt=True)
    first.commit(size)
    first.found("run-id")
    first.advance(size, 2)
    first.end("KILLED", 99)
    first.closed()
    first.release()

    second = make_outbox()
    assert second.own(new_attempt=True)
    progress = second.progress
    assert (progress.run_id, progress.attempt, progress.started) == ("run-id", 2, 5)
    assert (progress.status, progress.ended, progress.closed) == ("RUNNING", None, False)
    assert (progress.cursor, progress.committed) == (size, size)


def test_while_another_process_owns_the_file_it_is_not_touched(info, make_outbox, write_rows):
    size = write_rows(1)
    owner, other = make_outbox(), make_outbox()
    owner.own(new_attempt=True)
    before = stored(info)
    assert not other.own(new_attempt=True)
    other.commit(size)
    other.add(info.run_dir / "a.mp4", "videos")
    other.end("FAILED", 9)
    assert stored(info) == before

    owner.release()  # what was said meanwhile is not lost
    assert other.own(new_attempt=True)
    now = stored(info)
    assert (now["committed"], now["status"], now["attempt"]) == (size, "FAILED", 2)
    assert [artifact["path"] for artifact in now["artifacts"]] == ["a.mp4"]


def test_a_metrics_file_that_was_cut_back_takes_the_cursor_along(info, make_outbox, write_rows):
    half, whole = write_rows(1), write_rows(2, 3)
    first = make_outbox()
    first.own(new_attempt=True)
    first.commit(whole)
    first.advance(whole, 3)
    first.release()
    with (info.run_dir / "metrics.jsonl").open("r+") as file:
        file.truncate(half)

    second = make_outbox()
    second.own(new_attempt=True)
    progress = second.progress
    assert (progress.cursor, progress.committed, progress.rows) == (half, half, 1)
    assert progress.sent_rows == 3


def test_another_store_gets_everything(make_outbox, write_rows, info):
    size = write_rows(1)
    first = make_outbox("sqlite:////one.db")
    first.own(new_attempt=True)
    first.commit(size)
    first.found("run-id")
    first.advance(size, 1)
    first.add(info.run_dir / "a", "")
    first.sent(first.unsent()[0])
    first.release()

    second = make_outbox("http://two")
    second.own(new_attempt=True)
    assert (second.progress.run_id, second.progress.cursor) == (None, 0)
    assert second.progress.committed == size
    assert [artifact.path for artifact in second.unsent()] == ["a"]


def test_the_ledger_of_a_copied_run_directory_is_not_used(make_outbox, write_rows, info):
    size = write_rows(1)
    first = make_outbox()
    first.own(new_attempt=True)
    first.commit(size)
    first.found("run-id")
    first.release()
    text = (info.run_dir / "mlflow.json").read_text()
    (info.run_dir / "mlflow.json").write_text(text.replace("key-1", "another-key"))
    second = make_outbox()
    second.own(new_attempt=True)
    assert second.progress.run_id is None


def test_a_file_added_again_is_sent_again_and_paths_move_with_the_run(make_outbox, info, tmp_path):
    outbox = make_outbox()
    outbox.add(info.run_dir / "deep" / "a.txt", "x")
    outbox.add(tmp_path / "outside.txt", "")
    assert [a.path for a in outbox.unsent()] == ["deep/a.txt", str(tmp_path / "outside.txt")]
    for artifact in outbox.unsent():
        outbox.sent(artifact)
    assert outbox.unsent() == []
    outbox.add(info.run_dir / "deep" / "a.txt", "x")
    assert [a.path for a in outbox.unsent()] == ["deep/a.txt"]
    assert len(outbox.progress.artifacts) == 2


def test_complete_means_rows_files_and_status(make_outbox, write_rows, info):
    size = write_rows(1)
    outbox = make_outbox()
    assert outbox.complete()
    outbox.commit(size)
    assert not outbox.complete()
    outbox.advance(size, 1)
    assert outbox.complete()
    outbox.add(info.run_dir / "a", "")
    assert not outbox.complete()
    outbox.sent(outbox.unsent()[0])
    outbox.end("FINISHED", 3)
    assert not outbox.complete()
    outbox.closed()
    assert outbox.complete()


def test_a_ledger_that_cannot_be_written_is_logged(make_outbox, monkeypatch, caplog):
    outbox = make_outbox()
    outbox.own(new_attempt=True)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harmony.tracking.ledger.Ledger.write", full)
    outbox.commit(10)
    assert outbox.progress.committed == 10
    assert "No space left" in caplog.text
