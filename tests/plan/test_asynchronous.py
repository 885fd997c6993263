"""Asynchronous plans: neighbouring frames are a fixed number of steps apart."""

from __future__ import annotations

from itertools import islice, product

import pytest
import torch

from avgen_core.plan import (
    Action,
    ADRule,
    AsynchronousPlan,
    OnSwitch,
    PlanError,
    Window,
    WindowedAsynchronousPlan,
    cost,
    flow_sigmas,
    passes_until,
)
from avgen_core.rollout.executor import Executor
from avgen_core.rollout.noise import SeededNoise
from tests import tiny


def counters(plan: AsynchronousPlan) -> list[str]:
    """After each pass, the steps that each frame has done."""
    done, rows = [0] * plan.frames, []
    for step in plan.passes():
        for query in step.queries:
            if query.action is Action.STEP:
                done[query.frame] = query.index + 1
        rows.append("".join(map(str, done)))
    return rows


def test_rows_of_a_small_plan():
    """Four frames, four steps, two steps apart: the example worked out from AR-Diffusion's recursion."""
    plan = AsynchronousPlan(flow_sigmas(4), difference=2, frames=4)
    assert counters(plan) == ["1000", "2000", "3100", "4200", "4310", "4420", "4431", "4442", "4443", "4444"]


def test_number_of_passes():
    """n + s * (F - 1) rows; commits ride along in them and cost frames, not passes."""
    for steps, difference, frames in product((1, 3, 4, 10), (0, 1, 2, 4, 10), (1, 2, 7)):
        if difference <= steps:
            plan = AsynchronousPlan(flow_sigmas(steps), difference, frames, window=Window())
            assert plan.rule.rows(frames) == steps + difference * (frames - 1)
            price = cost(plan, frames)
            assert price.passes == plan.rule.rows(frames)
            commits = frames - 1 if difference else 0
            assert price.frame_evaluations == steps * frames + commits


def test_passes_of_the_published_settings():
    """AR-Diffusion's 50 steps for 16 frames."""
    rows = {difference: ADRule(50, difference).rows(16) for difference in (0, 4, 5, 10, 25, 50)}
    assert rows == {0: 50, 4: 110, 5: 125, 10: 200, 25: 425, 50: 800}


def test_a_pass_holds_finished_frames_to_commit_then_frames_in_flight():
    plan = AsynchronousPlan(flow_sigmas(4), difference=2, window=Window(6, 1))
    step = next(islice(plan.passes(), 12, None))
    assert [slot.frame for slot in step.context] == [0, 2, 3]
    assert [(q.frame, q.action.value, q.timestep, q.group) for q in step.queries] == [
        (4, "commit", 0.0, -1),
        (5, "step", 500.0, 5),
        (6, "step", 1000.0, 6),
    ]
    assert (step.emits, step.evicts) == ((), (1,))


def test_each_pass_emits_what_it_finishes():
    emitted = [step.emits for step in AsynchronousPlan(flow_sigmas(4), 2, frames=4).passes()]
    assert emitted == [(), (), (), (0,), (), (1,), (), (2,), (), (3,)]


def test_frames_in_flight_may_fill_the_window():
    """Then a clean frame leaves without being committed: nothing could see it."""
    plan = AsynchronousPlan(flow_sigmas(4), difference=1, window=Window(4))
    steps = list(islice(plan.passes(), 12))
    assert max(len(step.queries) + len(step.context) for step in steps) == 4
    assert {query.action for step in steps for query in step.queries} == {Action.STEP}
    assert [step.evicts for step in steps] == [()] * 4 + [(frame,) for frame in range(8)]


def test_sinks_stay_beside_a_full_window():
    plan = AsynchronousPlan(flow_sigmas(4), difference=1, window=Window(5, 1))
    steps = list(islice(plan.passes(), 12))
    assert [[slot.frame for slot in step.context] for step in steps[5:]] == [[0]] * 7
    assert [q.frame for step in steps for q in step.queries if q.action is Action.COMMIT] == [0]


@torch.no_grad()
def test_difference_zero_is_the_synchronous_plan():
    """Bit for bit a plain loop over noise levels in which all frames step together."""
    frames, sigmas, noise = 6, flow_sigmas(4, 3.0), SeededNoise(3)
    plan = AsynchronousPlan(sigmas, difference=0, frames=frames, window=Window())
    executor = Executor(tiny.denoiser(), plan, tiny.prompts("a cat"), noise)
    (finished,) = [done.finished for done in executor.run(frames) if len(done.finished)]

    network = tiny.network()
    text = network.text_keys(tiny.encode_text("a cat")[None])
    video = torch.stack([noise.draw(frame, "initial", 0, tiny.SHAPE) for frame in range(frames)])
    for sigma, after in zip(sigmas, (*sigmas[1:], 0.0), strict=True):
        shown = video.transpose(0, 1)[None]
        timesteps = torch.full((1, frames), 1000 * sigma)
        velocity = network(shown, timesteps, text, groups=torch.arange(frames))[0].transpose(0, 1)
        video = video + (after - sigma) * velocity
    assert torch.equal(finished, video)


@torch.no_grad()
def test_difference_of_all_steps_is_one_frame_after_the_other():
    """The block plan with blocks of one frame computes the same, with its commits in passes of their own."""
    alone = tiny.block_plan(sigmas=flow_sigmas(4), block=1, window=Window())
    apart = tiny.asynchronous_plan(difference=4, window=Window())
    one, other = (
        torch.cat([d.finished for d in Executor(tiny.denoiser(), p, tiny.prompts(), SeededNoise(3)).run(6)])
        for p in (alone, apart)
    )
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_open_plans_begin_at_once_and_never_end():
    plan = AsynchronousPlan(flow_sigmas(50), 5)
    assert next(plan.passes()).queries[0].frame == 0
    assert len(list(passes_until(plan, 1000))) == 50 + 5 * 999


def test_a_closed_plan_is_the_beginning_of_the_open_one():
    closed = AsynchronousPlan(flow_sigmas(4), 2, frames=10, window=Window(8, 2))
    opened = AsynchronousPlan(flow_sigmas(4), 2, window=Window(8, 2))
    for one, other in zip(closed.passes(), opened.passes(), strict=False):
        assert one.queries == tuple(query for query in other.queries if query.frame < 10)
        assert one.emits == other.emits


def test_given_frames_are_committed_first():
    plan = AsynchronousPlan(flow_sigmas(4), 2, frames=6, block=2, given=2)
    first, second = islice(plan.passes(), 2)
    assert ([q.action for q in first.queries], first.emits) == ([Action.COMMIT] * 2, (0, 1))
    assert [q.frame for q in second.queries] == [2, 3] and [s.frame for s in second.context] == [0, 1]


def test_a_prompt_switch_recaches_before_the_first_frame_of_the_new_prompt():
    plan = AsynchronousPlan(flow_sigmas(4), 2, window=Window(8, 1), on_switch=OnSwitch.RECACHE)

    def changed(earlier: int, later: int) -> bool:
        return earlier < 7 <= later

    passes = list(passes_until(plan, 12, changed))
    (at,) = (number for number, step in enumerate(passes) if step.queries[0].action is Action.RECACHE)
    assert [q.frame for q in passes[at].queries] == [1, 2, 3, 4], "frame 0 is a sink, 5 and 6 are in flight"
    assert {q.prompt_at for q in passes[at].queries} == {7}
    assert passes[at + 1].queries[-1].frame == 7 and passes[at + 1].queries[-1].index == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            {"difference": 1, "window": Window(8)},
            "difference 1 lets frames leave a window of 8 before they are clean after 10 steps: "
            "use a difference of at least 2, fewer steps, or a larger window",
        ),
        ({"difference": 0, "window": Window(8)}, "difference 0 lets frames leave a window of 8"),
        ({"difference": 0, "window": Window()}, "difference 0 denoises all frames at once and needs a fixed"),
        ({"difference": 11}, r"must be 0 \(synchronous\) to 10 .* got 11"),
        ({"difference": 11, "window": Window()}, r"must be 0 \(synchronous\) to 10 .* got 11"),
        ({"difference": -1}, r"must be 0 \(synchronous\) to 10 .* got -1"),
        ({"window": Window(3, 1), "block": 3}, "a window of 3 frames has no room for a block of 3"),
        ({"block": 0}, "block must be at least 1 frame, got 0"),
        ({"frames": 7, "block": 2}, "7 frames do not fill whole blocks of 2"),
        ({"given": 3, "block": 2}, "3 given frames do not fill whole blocks of 2"),
        ({"frames": 0}, "frames must be at least 1, or None for an open video, got 0"),
        ({"frames": -4}, "frames must be at least 1, or None for an open video, got -4"),
        ({"sigmas": (0.2, 0.5)}, "noise levels must fall"),
    ],
)
def test_faults_are_named(fault, message):
    with pytest.raises(PlanError, match=message):
        AsynchronousPlan(**{"sigmas": flow_sigmas(10), "difference": 2, **fault})


def test_a_small_difference_is_allowed_when_all_frames_fit():
    assert AsynchronousPlan(flow_sigmas(10), 1, frames=8, window=Window(8)).rule.rows(8) == 17


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"difference": 2, "window": 4}, "difference 2 lets frames leave a window of 4"),
        ({"window": 5, "block": 2}, "window: 5 is not a multiple of the block of 2 frames"),
        ({"frames": 7, "block": 2}, "frames: 7 is not a multiple of the block of 2 frames"),
        ({"block": 0}, "block must be at least 1 frame, got 0"),
        ({"given": 8}, "8 given frames leave no room in a window of 8: give at most 7"),
    ],
)
def test_faults_of_windowed_plans_are_named(fault, message):
    timesteps = tuple(1000 * sigma for sigma in flow_sigmas(10))
    settings = {"timesteps": timesteps, "difference": 5, "frames": 16, "window": 8}
    with pytest.raises(PlanError, match=message):
        WindowedAsynchronousPlan(**{**settings, **fault})
