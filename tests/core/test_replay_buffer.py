import io
import math

import pytest
import scipy.stats
import torch

from solo_gedi.core import ReplayBuffer, replay_buffer


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_buffer(size=10, shape=(2,), reinit_prob=0.3, seed=0):
    return ReplayBuffer(size, shape, reinit_prob, torch.rand, generator=seeded(seed))


class Numbered:
    """Fresh chains that carry the number of the call that made them: 0 fills the buffer."""

    def __init__(self):
        self.shapes = []

    def __call__(self, shape, *, generator, device):
        self.shapes.append(shape)
        return torch.full(shape, float(len(self.shapes) - 1), device=device)


def numbered_buffer(size, reinit_prob, shape=(1,)):
    init_fn = Numbered()
    return ReplayBuffer(size, shape, reinit_prob, init_fn, generator=seeded(0)), init_fn


@pytest.mark.parametrize("shape", [(), (2,), (3, 8, 8)])
def test_draw_gives_chains_of_the_sample_shape_and_their_slots(shape):
    buffer = random_buffer(10, shape, reinit_prob=0.5)
    chains, slots = buffer.draw(4)
    assert len(buffer) == 10
    assert chains.shape == (4, *shape)
    assert slots.shape == (4,)


@pytest.mark.parametrize("shape", [(1,), (2, 3, 3)])
def test_drawn_chains_restart_with_the_given_probability(shape):
    buffer, _ = numbered_buffer(200, 0.05, shape)
    draws, n = 500, 200
    restarted = 0
    for _ in range(draws):
        whole = buffer.draw(n)[0].flatten(1) > 0
        assert (whole.all(1) == whole.any(1)).all()
        restarted += whole.all(1).sum().item()
    expected, std = draws * n * 0.05, math.sqrt(draws * n * 0.05 * 0.95)
    assert abs(restarted - expected) < 4 * std


def test_restarts_fall_on_every_place_of_a_draw():
    buffer, _ = numbered_buffer(8, 0.5)
    restarted = torch.stack([buffer.draw(8)[0][:, 0] > 0 for _ in range(400)])
    # 5 standard deviations of the mean of 400 coin flips.
    assert ((restarted.double().mean(0) - 0.5).abs() < 5 * 0.5 / 20).all()


def test_no_chain_restarts_at_probability_zero():
    buffer = random_buffer(reinit_prob=0.0)
    for _ in range(20):
        chains, slots = buffer.draw(4)
        assert torch.equal(chains, buffer.chains[slots])


def test_every_chain_restarts_at_probability_one():
    buffer, _ = numbered_buffer(10, 1.0)
    for call in range(1, 20):
        assert (buffer.draw(4)[0] == call).all()


def test_a_draw_asks_for_no_more_fresh_chains_than_it_gives():
    buffer, init_fn = numbered_buffer(1000, 0.05, (3, 4))
    buffer.draw(7)
    buffer.draw(5)
    assert init_fn.shapes == [(1000, 3, 4), (7, 3, 4), (5, 3, 4)]


@pytest.mark.parametrize(("size", "n"), [(10, 1), (10, 3), (10, 5), (10, 9), (10, 10), (7, 4)])
def test_slots_of_a_draw_are_distinct_and_all_used_alike(size, n):
    buffer = random_buffer(size)
    draws = 3000
    slots = torch.stack([buffer.draw(n)[1] for _ in range(draws)])
    assert ((slots >= 0) & (slots < size)).all()
    assert all(len(set(row)) == n for row in slots.tolist())
    # Each place of a draw is a sequence of independent slots.
    for place in range(n):
        counts = torch.bincount(slots[:, place], minlength=size)
        assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_any_two_slots_can_come_together():
    buffer = random_buffer(10)
    pairs = {frozenset(buffer.draw(2)[1].tolist()) for _ in range(2000)}
    assert len(pairs) == 45


def test_write_puts_chains_into_their_slots_and_nowhere_else():
    buffer = random_buffer(reinit_prob=0.0)
    before = buffer.chains.clone()
    _, slots = buffer.draw(4)
    moved = 10 + torch.arange(8.0).view(4, 2)
    buffer.write(slots, moved)
    for i, slot in enumerate(slots):
        assert torch.equal(buffer.chains[slot], moved[i])
    others = torch.ones(10, dtype=torch.bool)
    others[slots] = False
    assert torch.equal(buffer.chains[others], before[others])


def test_written_chains_are_drawn_again():
    buffer = random_buffer(reinit_prob=0.0)
    _, slots = buffer.draw(10)
    buffer.write(slots, slots[:, None].expand(10, 2).float())
    chains, slots = buffer.draw(6)
    assert torch.equal(chains, slots[:, None].expand(6, 2).float())


def test_drawn_chains_can_be_changed_without_changing_the_buffer():
    buffer = random_buffer(reinit_prob=0.0)
    before = buffer.chains.clone()
    buffer.draw(4)[0].add_(1)
    assert torch.equal(buffer.chains, before)


def test_buffer_keeps_no_graph_of_what_is_written():
    buffer = random_buffer()
    chains, slots = buffer.draw(4)
    buffer.write(slots, chains * torch.ones(2, requires_grad=True))
    assert not buffer.chains.requires_grad


def test_buffer_with_a_generator_leaves_the_global_randomness_untouched():
    before = torch.get_rng_state()
    random_buffer().draw(4)
    assert torch.equal(torch.get_rng_state(), before)


def through_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def train(buffer, steps):
    drawn = []
    for _ in range(steps):
        chains, slots = buffer.draw(4)
        drawn.append((chains, slots))
        buffer.write(slots, chains + 1)
    return drawn


def test_restored_buffer_continues_as_the_saved_one_would():
    saved, restored = random_buffer(seed=0), random_buffer(seed=1)
    train(saved, 5)
    restored.load_state_dict(through_file(saved.state_dict()))
    assert torch.equal(restored.chains, saved.chains)
    for (chains, slots), (expected, expected_slots) in zip(
        train(restored, 5), train(saved, 5), strict=True
    ):
        assert torch.equal(slots, expected_slots)
        assert torch.equal(chains, expected)
    assert torch.equal(restored.chains, saved.chains)


def test_restored_buffer_shares_no_memory_with_the_state():
    buffer = random_buffer()
    state = through_file(buffer.state_dict())
    before = state["chains"].clone()
    buffer.load_state_dict(state)
    train(buffer, 3)
    assert torch.equal(state["chains"], before)


def test_buffer_without_a_generator_can_be_saved_and_restored():
    saved, restored = (ReplayBuffer(10, (2,), 0.3, torch.rand) for _ in range(2))
    restored.load_state_dict(through_file(saved.state_dict()))
    assert torch.equal(restored.chains, saved.chains)


def test_randomness_saved_on_another_kind_of_device_is_not_taken_up():
    saved, restored = random_buffer(seed=0), random_buffer(seed=1)
    before = restored.generator.get_state()
    restored.load_state_dict(saved.state_dict() | {"device": "cuda"})
    assert torch.equal(restored.chains, saved.chains)
    assert torch.equal(restored.generator.get_state(), before)


@pytest.mark.parametrize(("size", "shape"), [(11, (2,)), (10, (3,)), (10, (2, 1))])
def test_a_saved_buffer_of_another_shape_is_refused(size, shape):
    state = random_buffer(size, shape).state_dict()
    buffer = random_buffer()
    before = buffer.chains.clone()
    with pytest.raises(ValueError, match="shape") as error:
        buffer.load_state_dict(state)
    assert str((size, *shape)) in str(error.value)
    assert str((10, 2)) in str(error.value)
    assert torch.equal(buffer.chains, before)


def test_chains_of_another_shape_are_not_dealt_out():
    states = [random_buffer(10, (2,)).state_dict(), random_buffer(10, (1,)).state_dict()]
    buffer = random_buffer(10, (2,))
    before = buffer.chains.clone()
    with pytest.raises(ValueError, match=r"shape \(10, 1\), this one \(10, 2\)"):
        buffer.load_state_dicts(states)
    assert torch.equal(buffer.chains, before)


def test_drawing_more_chains_than_there_are_is_refused():
    with pytest.raises(ValueError, match="11 different chains from a buffer of 10"):
        random_buffer().draw(11)


@pytest.mark.parametrize("size", [0, -3])
def test_a_buffer_without_chains_is_refused(size):
    with pytest.raises(ValueError, match=f"size must be at least 1, got {size}"):
        random_buffer(size)


@pytest.mark.parametrize("reinit_prob", [-0.1, 1.1, float("nan")])
def test_a_restart_probability_outside_0_and_1_is_refused(reinit_prob):
    with pytest.raises(ValueError, match=rf"reinit_prob must be in \[0, 1\], got {reinit_prob}"):
        random_buffer(reinit_prob=reinit_prob)


def test_buffer_made_or_restored_in_inference_mode_can_be_written_to():
    with torch.inference_mode():
        buffer = ReplayBuffer(10, (2,), 0.0, torch.rand)
        buffer.load_state_dict(ReplayBuffer(10, (2,), 0.0, torch.rand).state_dict())
    chains, slots = buffer.draw(3)
    buffer.write(slots, chains + 1)
    assert torch.equal(buffer.chains[slots], chains + 1)


def test_state_saved_without_a_generator_is_taken_up_by_a_buffer_with_one():
    saved = ReplayBuffer(10, (2,), 0.0, torch.rand)
    own = ReplayBuffer(10, (2,), 0.0, torch.rand, generator=torch.Generator())
    own.load_state_dict(saved.state_dict())
    assert torch.equal(own.chains, saved.chains)


def test_chains_of_another_number_of_processes_are_dealt_out_anew():
    states = [random_buffer(seed=seed).state_dict() for seed in range(3)]
    together = torch.cat([state["chains"] for state in states])
    buffers = [random_buffer(seed=10 + process) for process in range(2)]
    generators = [buffer.generator.get_state() for buffer in buffers]
    for process, buffer in enumerate(buffers):
        buffer.load_state_dicts(states, process, 2)
        assert torch.equal(buffer.chains, together[process::2][:10])
        assert torch.equal(buffer.generator.get_state(), generators[process])

    # To more processes there are not enough: what is missing is fresh.
    few = random_buffer(seed=10)
    fresh = few.chains.clone()
    few.load_state_dicts(states, 1, 6)
    assert torch.equal(few.chains[:5], together[1::6])
    assert torch.equal(few.chains[5:], fresh[5:])


def test_as_many_processes_as_before_take_up_each_its_own_state():
    saved = [random_buffer(seed=seed) for seed in range(2)]
    states = [buffer.state_dict() for buffer in saved]
    for process in range(2):
        restored = random_buffer(seed=10)
        restored.load_state_dicts(states, process, 2)
        assert torch.equal(restored.draw(5)[0], saved[process].draw(5)[0])


def test_no_saved_state_leaves_a_buffer_as_it_is():
    buffer = random_buffer()
    before = buffer.chains.clone()
    buffer.load_state_dicts([])
    assert torch.equal(buffer.chains, before)


class OnGPU(torch.Tensor):
    """A tensor that says it is on a GPU."""

    device = torch.device("cuda", 0)


def test_chains_from_a_gpu_are_waited_for_when_they_are_looked_at(monkeypatch):
    """By a copy that arrives when it is waited for."""
    waits = []

    def to_host(chains):
        moved = torch.full(chains.shape, float("nan"))

        def wait():
            waits.append(len(chains))
            moved.copy_(chains.as_subclass(torch.Tensor))

        return moved, wait

    monkeypatch.setattr(replay_buffer, "_to_host", to_host)
    buffer, twin = random_buffer(), random_buffer()
    for value, n in ((1.0, 3), (2.0, 4), (3.0, 2)):
        chains, slots = buffer.draw(n)
        same, _ = twin.draw(n)
        assert torch.equal(chains, same), "what was written before has arrived"
        buffer.write(slots, torch.full((n, 2), value).as_subclass(OnGPU))
        twin.write(slots, torch.full((n, 2), value))
        assert len(waits) == int(value) - 1
    assert torch.equal(buffer.state_dict()["chains"], twin.chains)
    assert waits == [3, 4, 2]
    buffer.write(torch.tensor([0, 1]), torch.zeros(2, 2).as_subclass(OnGPU))
    buffer.write(torch.tensor([2, 3]), torch.ones(2, 2).as_subclass(OnGPU))
    assert buffer.chains[:4].sum(1).tolist() == [0, 0, 2, 2]
    buffer.write(torch.tensor([0]), torch.ones(1, 2).as_subclass(OnGPU))
    buffer.restart(torch.zeros(10, 2))
    assert not buffer.chains.any(), "what was on its way is given up with the rest"
