"""The Dreamer agent: one class for every algorithm, made of parts that the configuration names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from harmony.behavior.actor_critic import ActorCritic
from harmony.behavior.imagination import ImaginationNoise
from harmony.decoder_probe import DecoderProbe, NoProbe
from harmony.harmonizer import LossSum
from harmony.models.world_model import Modelled, ModelNoise, WorldModel
from harmony.peers import Peers, WholeBatch
from harmony.types import Batch, Carry, Losses, Metrics

log = logging.getLogger(__name__)
Mode = Literal["train", "eval"]
Snapshot = dict[str, object]


class Optimizer(Protocol):
    """Steps on a loss; see `harmony.training.optimizer`."""

    def step(self, loss: Tensor) -> Metrics:
        """Backward, clip, step; gives the gradient's norm."""

    def bad_steps(self) -> tuple[int, int]:
        """Steps skipped as not finite: in all, and in a row up to now. Syncs the device."""

    def state_dict(self) -> Snapshot:
        """All state."""

    def load_state_dict(self, state: Snapshot) -> None:
        """Restores it."""


class Precision(Protocol):
    """The number format of the arithmetic; see `harmony.training.precision`."""

    def autocast(self, device: torch.device) -> torch.autocast:
        """A context for the forward passes."""


class Optimizers(NamedTuple):
    """One optimizer a part.

    Attributes:
        model: world model and harmonizer, together as in the original.
        actor: the actor.
        critic: the critic; its step is an update's last.
        probe: the probe, None where there is none.
    """

    model: Optimizer
    actor: Optimizer
    critic: Optimizer
    probe: Optimizer | None = None

    def named(self) -> dict[str, Optimizer]:
        """Those that there are."""
        return {name: each for name, each in self._asdict().items() if each is not None}


class Generators(NamedTuple):
    """One stream of random numbers a purpose, on the agent's device."""

    observe: torch.Generator
    imagine: torch.Generator
    policy: torch.Generator


class DreamerAgent(nn.Module, WholeBatch):
    """World model, harmonizer, behaviour, and what trains them.

    Args:
        world_model: models observations, rewards and dynamics.
        harmonizer: makes one scalar of the world model's losses.
        behavior: actor and critic.
        probe: learns from feats and changes nothing else.
        optimizers: one for each.
        precision: number format of the forward passes.
        generators: random streams.
    """

    def __init__(
        self,
        *,
        world_model: WorldModel,
        harmonizer: LossSum,
        behavior: ActorCritic,
        probe: NoProbe | DecoderProbe,
        optimizers: Optimizers,
        precision: Precision,
        generators: Generators,
    ) -> None:
        super().__init__()
        self.world_model = world_model
        self.harmonizer = harmonizer
        self.behavior = behavior
        self.probe = probe
        self.optimizers = optimizers
        self.precision = precision
        self.generators = generators
        self.updates = 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def update(self, batch: Batch) -> Metrics:
        """One training step of every part; nothing in it waits for the device.

        Args:
            batch: see `harmony.types.Batch`, on the agent's device; the whole one also where peers
                share it.

        Returns:
            Scalars by name, on the device; where peers share the batch, of this process's rows.
        """
        # World model.
        rows, noise, draws = self._own_rows(batch)
        with self.precision.autocast(self.device):
            modelled = self.world_model.losses(rows, noise)
        losses = self.peers.means(modelled.losses)
        total = self.harmonizer(losses)
        metrics = modelled.metrics | self._loss_metrics(losses, total)
        metrics |= self.optimizers.model.step(total)

        # Imagination, from every posterior state of the batch.
        start, is_terminal = modelled.latent.detach().flatten_time(), modelled.batch["is_terminal"]
        with self.precision.autocast(self.device):
            rollout, targets = self.behavior.imagine(
                self.world_model, start, is_terminal.flatten(), draws
            )

            # Actor and critic.
            actor_loss, actor_metrics = self.behavior.actor_loss(rollout, targets)
            critic_loss, critic_metrics = self.behavior.critic_loss(rollout, targets)
            critic_loss = critic_loss + self.behavior.replay_loss(
                self.world_model, modelled, targets
            )
        metrics |= actor_metrics | self.optimizers.actor.step(actor_loss)
        metrics |= critic_metrics | self.optimizers.critic.step(critic_loss)

        # What follows.
        self.world_model.after_update()
        self.behavior.slow_critic.follow(self.behavior.critic, self.updates)
        metrics |= self._update_probe(modelled)
        self.updates += 1
        return metrics

    def _own_rows(self, batch: Batch) -> tuple[Batch, ModelNoise, ImaginationNoise]:
        """This process's rows, and their share of the random numbers of the whole batch."""
        own, views = self.peers.own, self.world_model.views.count
        noise = self.world_model.draw_noise(batch, self.generators.observe)
        view = None if noise.view is None else own(noise.view, views)
        starts = noise.latent.shape[:2].numel()
        draws = self.behavior.draw_noise(self.world_model, starts, self.generators.imagine)
        return (
            {key: own(value) for key, value in batch.items()},
            ModelNoise(own(noise.latent, views), view),
            ImaginationNoise(*(own(x, views, dim=1) for x in draws)),
        )

    @torch.no_grad()
    def _loss_metrics(self, losses: Losses, total: Tensor) -> Metrics:
        means = {f"loss/{name}": loss.detach().mean() for name, loss in losses.items()}
        return means | self.harmonizer.metrics(losses) | {"loss/total": total.detach()}

    def _update_probe(self, modelled: Modelled) -> Metrics:
        if self.optimizers.probe is None:
            return {}
        with self.precision.autocast(self.device):
            feat = self.world_model.rssm.get_feat(modelled.latent.detach())
            loss = self.probe.loss(feat, modelled.obs)
        return {"probe/loss": loss.detach()} | self.optimizers.probe.step(loss)

    def join(self, peers: Peers) -> None:
        """From here on each update's batch is shared with other processes."""
        super().join(peers)
        parts = (self.world_model.dynamics_loss, self.world_model.objective)
        for part in (*parts, self.behavior.return_norm, *self.optimizers.named().values()):
            if isinstance(part, WholeBatch):
                part.join(peers)

    def initial(self, batch_size: int) -> Carry:
        """What the policy remembers before the first step of a run."""
        latent = self.world_model.rssm.initial(batch_size, self.device)
        action_size = self.world_model.rssm.action_size
        return Carry(latent, torch.zeros(batch_size, action_size, device=self.device))

    @torch.no_grad()
    def act(
        self, obs: Mapping[str, Tensor], carry: Carry, mode: Mode, generator: torch.Generator
    ) -> tuple[Tensor, Carry]:
        """Chooses actions.

        Args:
            obs: one step of a batch of environments: (B, ...) by name, with is_first (B,) bool.
            carry: what the last call returned, or `initial`.
            mode: train samples the policy, eval does what the behaviour says (`eval_action`); the
                latent is sampled in both.
            generator: random stream, on the agent's device.

        Returns:
            (B, A) float32, and what to pass to the next call.

        Source: `agents/dreamerv2.py: policy` of the torch original.
        """
        batch_size = carry.action.shape[0]
        rssm, actor = self.world_model.rssm, self.behavior.actor
        noise = rssm.latent.draw_noise((batch_size,), generator, self.device)
        with self.precision.autocast(self.device):
            embed = self.world_model.encoder(self.world_model.observations(obs))
            latent = rssm.obs_step(carry.latent, carry.action, embed, obs["is_first"], noise)
            stats = actor.stats(rssm.get_feat(latent))
        if mode == "train" or self.behavior.eval_action == "sample":
            action = actor.sample(stats, actor.draw_noise((batch_size,), generator, self.device))
        else:
            action = actor.mode(stats)
        return action, Carry(latent, action)

    def open_loop(
        self, batch: Batch, generator: torch.Generator, context: int = 5
    ) -> Tensor | None:
        """Prediction video of up to six sequences, (T, 3 * Hi, B * Wi, C) uint8.

        None where nothing decodes feats: the objective has no decoder, and no probe has one.
        """
        decoder = self.world_model.objective.decoder or self.probe.decoder
        if decoder is None or not self.world_model.encoder.images:
            return None
        few = {key: value[:6] for key, value in batch.items()}
        shape = (few["action"].shape[0], few["action"].shape[1])
        noise = self.world_model.rssm.latent.draw_noise(shape, generator, self.device)
        with self.precision.autocast(self.device):
            return self.world_model.open_loop(few, noise, context, decoder)

    def bad_steps(self) -> tuple[int, int]:
        """Skipped steps of all optimizers: in all, and the longest row up to now. Syncs."""
        counts = [optimizer.bad_steps() for optimizer in self.optimizers.named().values()]
        return sum(total for total, _ in counts), max(row for _, row in counts)

    def snapshot(self) -> Snapshot:
        """Everything that a continued run needs."""
        return {
            "modules": self.state_dict(),
            "optimizers": {
                name: optimizer.state_dict() for name, optimizer in self.optimizers.named().items()
            },
            "generators": {
                name: generator.get_state() for name, generator in self.generators._asdict().items()
            },
            "updates": self.updates,
            "device": self.device.type,
        }

    def load_snapshot(self, snapshot: Mapping[str, object]) -> None:
        """Restores `snapshot`.

        Raises:
            RuntimeError: it was made by an agent of other parts or sizes.
        """
        modules, optimizers = snapshot["modules"], snapshot["optimizers"]
        generators, updates = snapshot["generators"], snapshot["updates"]
        assert isinstance(modules, dict)
        assert isinstance(optimizers, dict)
        assert isinstance(generators, dict)
        assert isinstance(updates, int)
        self.load_state_dict(modules)
        for name, optimizer in self.optimizers.named().items():
            optimizer.load_state_dict(optimizers[name])
        self.updates = updates
        if snapshot["device"] != self.device.type:
            log.warning(
                "random streams of %s can't go on here and begin anew: the run goes on, but not "
                "bit for bit",
                snapshot["device"],
            )
            return
        for name, generator in self.generators._asdict().items():
            generator.set_state(generators[name].cpu())
