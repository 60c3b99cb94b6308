"""An MLflow tracking server for a cluster: start, check, status, stop, backup, retention."""
