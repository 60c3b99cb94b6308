"""harmony=observation_only in a whole agent: what the reward may change, and what not."""

import pytest
import torch

from tests import tiny


@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
def test_rewards_train_their_head_and_nothing_else(algorithm):
    overrides = (f"algorithm={algorithm}", "harmony=observation_only")
    agent, batch = tiny.agent(*overrides), tiny.batch(*overrides)
    # Where it begins at zero, nothing below it would have a gradient.
    torch.nn.init.normal_(agent.world_model.reward.output.weight)
    noise = agent.world_model.draw_noise(batch, torch.Generator().manual_seed(0))
    grads = []
    for reward in (batch["reward"], batch["reward"] + 5):
        agent.zero_grad()
        found = agent.world_model.losses(batch | {"reward": reward}, noise).losses
        torch.autograd.backward(agent.harmonizer(found))
        trained = agent.world_model.named_parameters()
        grads.append({name: param.grad for name, param in trained if param.grad is not None})
    same = {name for name in grads[0] if torch.equal(grads[0][name], grads[1][name])}
    assert set(grads[0]) == set(grads[1])
    assert set(grads[0]) - same == {name for name in grads[0] if name.startswith("reward.")}
