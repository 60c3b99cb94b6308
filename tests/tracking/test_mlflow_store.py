import pytest
from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT
from mlflow.exceptions import MlflowException

from harmony.tracking.store import connect


def test_neither_mlflow_nor_urllib3_speaks_for_itself(empty_store, caplog, capsys):
    connect(f"sqlite:///{empty_store}")
    assert MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get() is True
    with pytest.raises(MlflowException, match="Connection refused"):
        connect("http://127.0.0.1:9")
    assert "Retrying" not in caplog.text
    assert capsys.readouterr() == ("", "")
