"""harmony=observation_only in a whole agent: what the reward may change, and what not."""

import torch

from tests import tiny


def test_rewards_train_their_head_and_nothing_else():
    agent, batch = tiny.agent("harmony=observation_only"), tiny.batch()
    noise = torch.rand(2, 4, agent.world_model.rssm.latent.noise_size)
    grads = []
    for reward in (batch["reward"], batch["reward"] + 5):
        agent.zero_grad()
        found = agent.world_model.losses(batch | {"reward": reward}, noise).losses
        torch.autograd.backward(agent.harmonizer(found))
        grads.append({name: param.grad for name, param in agent.world_model.named_parameters()})
    same = {name for name in grads[0] if torch.equal(grads[0][name], grads[1][name])}
    assert set(grads[0]) - same == {name for name in grads[0] if name.startswith("reward.")}
