import pytest

import harmony
from harmony.config.conf_dir import find_conf_dir, list_groups
from harmony.errors import ConfigError


def test_the_installed_package_comes_before_the_checkout(conf):
    assert find_conf_dir() == conf
    inside = conf.parent / "harmony" / "conf"
    inside.mkdir(parents=True)
    (inside / "config.yaml").touch()
    assert find_conf_dir() == inside


def test_none_at_all_names_both_places(tmp_path, monkeypatch):
    monkeypatch.setattr(harmony, "__file__", str(tmp_path / "harmony" / "__init__.py"))
    with pytest.raises(ConfigError, match="harmony/conf or "):
        find_conf_dir()


def test_lists_groups_also_nested_ones(conf):
    nested = conf / "hydra" / "launcher"
    nested.mkdir(parents=True)
    (nested / "slurm.yaml").touch()
    groups = list_groups(conf)
    assert groups["env"] == ["hopper", "walker"]
    assert groups["hydra/launcher"] == ["slurm"]
    assert "" not in groups
    assert "." not in groups
