"""What several processes do together equals what one does; threads play the processes here."""

import math
import threading

import pytest
import torch
from torch import nn

from harmony import build
from harmony.peers import ALONE
from harmony.place import Place
from harmony.training.journal import Journal
from harmony.training.parallel import DataParallel
from harmony.training.seeding import Seeds
from harmony.training.skipping import SkippingStep
from tests import tiny
from tests.integration.test_kills import assert_same
from tests.together import together

LEARNS = {  # so that every part moves in a few updates
    "dreamerv2": (),
    "dreamerpro": ("algorithm.objective.freeze_updates=2",),
    "dreamerv3": (),
    # Without an eps of some size LaProp makes full steps of gradients that are rounding alone.
    "dreamerv3_2025": (
        "algorithm.optimizer.joint.warmup_updates=0", "algorithm.optimizer.joint.eps=1e-4"
    ),
}  # fmt: skip
UPDATES = 6


def test_own_rows_of_each_group_and_back():
    # Two views of four rows: 0 1 2 3, and the same as 10 11 12 13.
    x = torch.tensor([0, 1, 2, 3, 10, 11, 12, 13])
    views = [DataParallel(Place(rank, 2), None).own(x, 2) for rank in range(2)]
    assert [view.tolist() for view in views] == [[0, 1, 10, 11], [2, 3, 12, 13]]
    assert DataParallel(Place(1, 2), None).own(x).tolist() == [10, 11, 12, 13]
    times = torch.stack([x, x + 100])
    own = DataParallel(Place(1, 4), None).own(times, 2, dim=1)
    assert own.tolist() == [[1, 11], [101, 111]]
    assert DataParallel(Place(1, 2), None).own(torch.empty(4, 0), 2).shape == (2, 0)
    assert ALONE.own(x) is x
    gathered = together(2, lambda peers: peers.gather(peers.own(x)))
    assert all(torch.equal(whole, x) for whole in gathered)


def test_a_mean_clipped_over_all_rows_has_the_gradient_of_one_process():
    """max(mean(w * x), 1), as free nats: (0 + 4) / 2 is above 1, one of its halves is not."""
    rows = torch.tensor([0.0, 4.0])

    def each(peers):
        weight = nn.Parameter(torch.tensor(1.0))
        loss = peers.means({"kl": weight * peers.own(rows)})["kl"].clamp_min(1.0)
        loss.backward()
        return loss.item(), peers.average(loss, [weight]).item(), weight.grad.item()

    assert together(2, each) == [(2.0, 2.0, 2.0)] * 2


def test_gradients_are_averaged_whatever_their_layout_and_absence():
    def each(peers):
        weights = [nn.Parameter(torch.zeros(2, 3, 2, 2)), nn.Parameter(torch.zeros(3)), None]
        weights[2] = nn.Parameter(torch.zeros(1))
        weights[0].grad = torch.arange(24.0).reshape(2, 3, 2, 2) * (peers.place.rank + 1)
        weights[0].grad = weights[0].grad.contiguous(memory_format=torch.channels_last)
        weights[1].grad = torch.full((3,), float(peers.place.rank))
        loss = peers.average(torch.tensor(peers.place.rank * 4.0), weights)
        return loss.item(), *(weight.grad for weight in weights)

    for loss, first, second, third in together(2, each):
        assert loss == 2.0
        assert torch.equal(first, torch.arange(24.0).reshape(2, 3, 2, 2) * 1.5)
        assert second.tolist() == [0.5] * 3
        assert third is None


@pytest.fixture(autouse=True)
def seen_gradients(monkeypatch):
    """Keeps each weight's gradient before it is clipped; optimizers may overwrite it."""
    original = SkippingStep.backward

    def backward(self, loss):
        whole = original(self, loss)
        for weight in self.params:
            weight.seen = None if weight.grad is None else weight.grad.clone()
        return whole

    monkeypatch.setattr(SkippingStep, "backward", backward)


def grads_of(agent):
    return {n: getattr(p, "seen", None) for n, p in agent.named_parameters()}


def train(agent, batches, update=None):
    """Metrics and gradients after each update."""
    found = []
    for batch in batches:
        metrics = (update or agent.update)({name: x.clone() for name, x in batch.items()})
        found.append((metrics, grads_of(agent)))
    return found


def compare(*overrides, size=2, batches=None):
    """Trains alone and together on the same batches; gives the agents and what they said."""
    if batches is None:
        batches = [tiny.batch(*overrides, batch_size=4, seed=seed) for seed in range(UPDATES)]
    single, shared = tiny.agent(*overrides), [tiny.agent(*overrides) for _ in range(size)]
    before = {name: value.clone() for name, value in single.named_parameters()}
    alone = train(single, batches)

    def each(peers):
        agent = shared[peers.place.rank]
        agent.join(peers)
        return train(agent, batches, lambda batch: peers._update(agent.update, batch))

    return single, shared, alone, together(size, each), before


def assert_equal_up_to_rounding(single, shared, alone, parts, before):
    for (metrics, grads), (own_metrics, own_grads) in zip(alone, parts[0], strict=True):
        torch.testing.assert_close(own_metrics, metrics, rtol=1e-4, atol=1e-6)
        assert {n for n in grads if grads[n] is None} == {n for n in grads if own_grads[n] is None}
        largest = max(g.abs().max().item() for g in grads.values() if g is not None)
        for name, grad in grads.items():
            if grad is not None:
                torch.testing.assert_close(
                    own_grads[name], grad, rtol=1e-4, atol=1e-6 * largest, msg=name
                )
    for name, value in single.state_dict().items():
        torch.testing.assert_close(
            shared[0].state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name
        )
    moved = max((p - before[n]).abs().max().item() for n, p in single.named_parameters())
    assert moved > 1e-4
    # The copies are the same to the bit, or they would drift apart.
    for other in shared[1:]:
        assert_same(shared[0].snapshot(), other.snapshot())
    for part in parts[1:]:
        assert_same([m for m, _ in part], [m for m, _ in parts[0]])


@pytest.mark.parametrize("harmony", ["on", "off"])
@pytest.mark.parametrize("algorithm", tiny.ALGORITHMS)
def test_two_processes_equal_one(algorithm, harmony):
    overrides = (f"algorithm={algorithm}", f"harmony={harmony}", *LEARNS[algorithm])
    assert_equal_up_to_rounding(*compare(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ("algorithm=dreamerv2", "probe=decoder", "env.discrete=true"),
        ("algorithm=dreamerv3", "harmony=dynamic_weight_average", "harmony.window_updates=2"),
        ("algorithm=dreamerv3", "env.observation=both", "harmony=uncertainty_weighting"),
    ],
    ids=lambda overrides: overrides[1],
)
def test_four_processes_equal_one(overrides):
    assert_equal_up_to_rounding(*compare(*overrides, size=4))


def test_free_nats_are_those_of_the_whole_batch():
    """Between the KL of the halves: what one process clips, the other must not let through."""
    overrides = ("algorithm=dreamerv2", "algorithm.dynamics_loss.free_nats=0.0")
    batch, agents = tiny.batch(*overrides, batch_size=4), [tiny.agent(*overrides) for _ in "ab"]

    def each(peers):
        agent = agents[peers.place.rank]
        agent.join(peers)
        return agent.update(batch)["model/kl"].item()  # of its own rows

    kls = together(2, each)
    assert abs(kls[0] - kls[1]) > 0.01 * max(kls)
    for share in (0.25, 0.75):
        free = min(kls) + share * abs(kls[0] - kls[1])
        given = f"algorithm.dynamics_loss.free_nats={free}"
        assert_equal_up_to_rounding(*compare("algorithm=dreamerv2", given, batches=[batch]))


def test_a_number_that_is_not_finite_skips_the_step_of_all():
    batch = tiny.batch(batch_size=4)
    batch["reward"][3, 1] = math.nan
    single, shared, _, parts, _ = compare(batches=[batch, tiny.batch(batch_size=4, seed=1)])
    assert single.bad_steps() == shared[0].bad_steps() == shared[1].bad_steps() == (1, 0)
    assert_same(shared[0].snapshot(), shared[1].snapshot())
    assert math.isnan(parts[0][0][0]["loss/reward"])


def follow(peers, given, agents):
    """What a process of another rank than 0 does."""

    def make_agent(device, shapes, action_space):
        assert device == "cpu"
        made = build.build_agent(given, shapes, action_space, tiny.CPU, Seeds(given["seed"]))
        agents.append(made)
        return made

    peers.follow(make_agent, "cpu")


def whole_run(run_dir, *overrides, size=2, stop=None, spoil=None):
    """A run of several processes, or one; gives the trainer and the agents of the others."""
    given, agents, error = tiny.config("replay.batch_size=4", *overrides), [], []

    def lead(peers):
        journal = Journal(run_dir, tiny.NullTracker(), tiny.Display())
        trainer = build.build_trainer(given, run_dir, journal, stop or tiny.StopAt(), peers)
        tiny._OPEN.append(trainer)
        if spoil:
            spoil(trainer)
        trainer.prepare()
        try:
            trainer.run()
        except tiny.Stopped as stopped:
            error.append(stopped)
        return trainer

    def each(peers):
        if peers.place.rank:
            return follow(peers, given, agents)
        try:
            return lead(peers)
        finally:
            peers.stop()

    return (lead(ALONE) if size == 1 else together(size, each)[0]), agents


@pytest.fixture
def quick(monkeypatch):
    # No power fails here, so nothing needs to reach the disk.
    monkeypatch.setattr("os.fsync", lambda _: None)
    # Weights are drawn from torch's one stream, which processes don't share but threads do.
    original, lock = build.build_agent, threading.Lock()

    def build_agent(*args):
        with lock:
            return original(*args)

    monkeypatch.setattr(build, "build_agent", build_agent)
    yield
    tiny.close()


@pytest.mark.usefixtures("quick")
def test_a_whole_run_of_two_equals_that_of_one(tmp_path):
    one, _ = whole_run(tmp_path / "one", size=1)
    two, (other,) = whole_run(tmp_path / "two")
    assert one.agent.updates == two.agent.updates == other.updates == 10
    torch.testing.assert_close(two.agent.state_dict(), one.agent.state_dict(), rtol=1e-5, atol=1e-5)
    for left, right in zip(tiny.rows(tmp_path / "two"), tiny.rows(tmp_path / "one"), strict=True):
        assert left == pytest.approx(right, rel=1e-3, abs=1e-5, nan_ok=True)
    mine, its = two.agent.snapshot(), other.snapshot()
    del mine["generators"]["policy"], its["generators"]["policy"]  # only rank 0 acts
    assert_same(its, mine)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("count", [23, 52])
def test_stopped_and_continued_equals_calm_bit_for_bit(tmp_path, count):
    calm, _ = whole_run(tmp_path / "calm")
    whole_run(tmp_path / "run", stop=tiny.StopAt(count))
    again, _ = whole_run(tmp_path / "run")
    assert_same(again.agent.snapshot(), calm.agent.snapshot())
    assert tiny.rows(tmp_path / "run") == tiny.rows(tmp_path / "calm")


@pytest.mark.usefixtures("quick")
def test_a_run_that_is_set_back_takes_the_others_along(tmp_path):
    def spoil(trainer):
        sample, state = trainer.replay.sample, {"left": 4}

        def spoiled(rng):
            batch = sample(rng)
            if trainer.agent.updates >= 6 and state["left"]:
                state["left"] -= 1
                batch["reward"][-1] = math.nan  # a row of the other process
            return batch

        trainer.replay.sample = spoiled

    limit = ("training.nonfinite_limit=2", "training.train_every_agent_steps=1")
    two, (other,) = whole_run(tmp_path, *limit, spoil=spoil)
    assert two.progress.restores == 1
    mine, its = two.agent.snapshot(), other.snapshot()
    del mine["generators"]["policy"], its["generators"]["policy"]
    assert_same(its, mine)


class Said:
    """A channel that only writes down what is said."""

    def __init__(self, *messages):
        self.messages, self.said = list(messages), []

    def spread(self, x):
        pass

    def say(self, message):
        self.said.append(message)
        return self.messages.pop(0) if self.messages else message


def test_nobody_is_told_to_stop_in_the_middle_of_an_update():
    channel = Said()
    peers = DataParallel(Place(0, 2), channel)

    def fail(_batch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        peers.update(fail, {"reward": torch.zeros(2, 3)})
    peers.stop()
    assert channel.said == [("update", {"reward": (torch.Size([2, 3]), torch.float32)})]
    quiet = DataParallel(Place(0, 2), Said())
    quiet.stop()
    assert quiet.channel.said == [("stop",)]


def test_a_run_that_is_refused_ends_the_others_before_they_have_an_agent():
    assert DataParallel(Place(1, 2), Said(("stop",))).follow(None, "cpu") is None


def test_what_nobody_understands_is_an_error():
    with pytest.raises(RuntimeError, match="expected another message of rank 0"):
        DataParallel(Place(1, 2), Said(("update", {}))).follow(None, "cpu")


def test_the_error_of_one_process_ends_the_others():
    def each(peers):
        if peers.place.rank:
            raise ZeroDivisionError
        peers.gather(torch.zeros(2))

    with pytest.raises(ZeroDivisionError):
        together(2, each)
    assert threading.active_count() < 10
