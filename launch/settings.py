"""Settings of the launcher that change after the first submission of a sweep."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError
from yaml import YAMLError

from harmony.config.hydra_errors import wrong_value
from harmony.config.names import nearest
from harmony.errors import ConfigError
from launch.conf import LocalConf, SlurmConf
from launch.ranges import check_ranges
from launch.sweep import Sweep

_OF_A_SUBMISSION = ("_target_", "submitit_folder", "dry_run", "wait")  # not of what follows it


def changed(sweep: Sweep, changes: Sequence[str]) -> dict[str, Any]:
    """The launcher's settings with changes.

    Args:
        sweep: with its settings.
        changes: ``hydra.launcher.KEY=VALUE``.

    Raises:
        ConfigError: no such key, or not of its type.
    """
    schema = OmegaConf.structured(LocalConf if sweep.launcher == "local" else SlurmConf)
    node = OmegaConf.merge(schema, {k: v for k, v in sweep.params.items() if k in schema})
    names, given = [str(name) for name in schema if name not in _OF_A_SUBMISSION], set()
    for change in changes:
        key, equals, value = change.removeprefix("hydra.launcher.").partition("=")
        if not equals or key not in names:
            raise ConfigError(f"{change}: expected hydra.launcher.KEY=VALUE{nearest(key, names)}")
        try:
            node.merge_with_dotlist([change.removeprefix("hydra.launcher.")])
        except ValidationError as error:
            raise wrong_value(f"hydra.launcher.{key}", value, str(error)) from error
        except (OmegaConfBaseException, YAMLError) as error:
            raise ConfigError(f"{change}: {str(error).splitlines()[0]}") from error
        given.add(key)
    plain = OmegaConf.to_container(node)  # unresolved: ${NAME} in what is set is the shell's
    assert isinstance(plain, dict)
    params = {**sweep.params, **{str(k): value for k, value in plain.items() if k in given}}
    check_ranges(params)
    return params
