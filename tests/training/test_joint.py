"""One optimizer behind several views."""

import copy

import pytest
import torch
from torch import nn

from harmony.training.joint import Joint
from harmony.training.optimizer import Adam

NAMES = ["model", "actor", "critic"]


def make_adam(params, name, loss_scaler):
    return Adam(params, name, loss_scaler, lr=0.1, clip=1.0)


def make_joint():
    params = {name: nn.Parameter(torch.full((2,), k + 1.0)) for k, name in enumerate(NAMES)}
    loss_scaler = torch.amp.GradScaler("cpu", enabled=False)
    joint = Joint(make_adam, {name: [param] for name, param in params.items()}, loss_scaler)
    return params, [joint.part(name) for name in NAMES]


def losses(params):
    return [k * params[name].square().sum() for k, name in enumerate(NAMES, 1)]


def test_the_last_part_steps_for_all():
    params, views = make_joint()
    found = [view.step(loss) for view, loss in zip(views[:-1], losses(params), strict=False)]
    assert found == [{}, {}]
    assert all(torch.equal(p, torch.full((2,), k + 1.0)) for k, p in enumerate(params.values()))
    metrics = views[-1].step(losses(params)[-1])
    # Gradients 2 * 1 * 1, 2 * 2 * 2 and 2 * 3 * 3, of two weights each: 2 * (4 + 64 + 324) = 784.
    assert set(metrics) == {"grad_norm/joint"}
    assert metrics["grad_norm/joint"].item() == pytest.approx(28.0)


def test_it_is_one_optimizer_on_the_sum():
    params, views = make_joint()
    alone = copy.deepcopy(params)
    adam = make_adam(alone.values(), "all", torch.amp.GradScaler("cpu", enabled=False))
    for _ in range(3):
        for view, loss in zip(views, losses(params), strict=True):
            view.step(loss)
        adam.step(torch.stack(losses(alone)).sum())
    for name in NAMES:
        assert torch.equal(params[name], alone[name])


def test_only_the_last_view_has_a_state():
    params, views = make_joint()
    for view, loss in zip(views, losses(params), strict=True):
        view.step(loss * float("nan"))
    assert [view.bad_steps() for view in views] == [(0, 0), (0, 0), (1, 1)]
    states = [view.state_dict() for view in views]
    assert states[:2] == [{}, {}]
    _, others = make_joint()
    for view, state in zip(others, states, strict=True):
        view.load_state_dict(copy.deepcopy(state))
    assert others[-1].bad_steps() == (1, 1)


def test_a_step_out_of_turn_is_refused_and_forgets_what_came_before():
    params, views = make_joint()
    views[0].step(losses(params)[0])
    with pytest.raises(RuntimeError, match="expected a step of 'actor' next, got one of 'critic'"):
        views[2].step(losses(params)[2])
    with pytest.raises(RuntimeError, match="expected a step of 'model' next, got one of 'actor'"):
        views[1].step(losses(params)[1])
    for view, loss in zip(views, losses(params), strict=True):
        view.step(loss)


def test_unknown_parts_are_refused():
    loss_scaler = torch.amp.GradScaler("cpu", enabled=False)
    joint = Joint(make_adam, {"model": [nn.Parameter(torch.ones(1))]}, loss_scaler)
    with pytest.raises(KeyError, match="expected one of the parts"):
        joint.part("actor")


def test_parts_may_hold_groups_with_rates_of_their_own():
    scalar, weight = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))
    parts = {"model": [{"params": [scalar], "lr": 0.5}], "critic": [weight]}
    joint = Joint(make_adam, parts, torch.amp.GradScaler("cpu", enabled=False))
    joint.part("model").step(scalar.sum())
    joint.part("critic").step(weight.sum())
    # The first step of Adam is the learning rate.
    assert scalar.item() == pytest.approx(0.5, abs=1e-4)
    assert weight.item() == pytest.approx(0.9, abs=1e-4)
