"""Interrupted and resumed, or extended, a run is bit for bit the run that was never interrupted."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avgen_core.plan import Window
from avgen_core.rollout.files import RunError
from avgen_core.rollout.generate import Order, generate, prepare
from avgen_core.rollout.run import Run
from tests import tiny

ROOT = Path(__file__).parents[2]
SCHEDULE = "0: a cat\n7: a dog\n13: a bus"
PLANS = {"block": tiny.block_plan, "asynchronous": tiny.asynchronous_plan}


def order(plan, frames=24, text=SCHEDULE, blend=0, guidance=1.0, parent=None, seed=3, negative="fog") -> Order:
    return Order(plan, tiny.prompts(text, negative, blend), frames, seed, 8.0, guidance, parent=parent)


def make(folder: Path, plan, guidance=1.0, on_pass=lambda progress: None, **changes) -> Run:
    denoiser = tiny.denoiser(guidance)
    job = prepare(denoiser, order(plan, guidance=guidance, **changes))
    return generate(denoiser, job, folder, on_pass)


class Cancelled(Exception):
    pass


def cancel_at(number: int):
    def on_pass(progress) -> None:
        if progress.passes == number:
            raise Cancelled

    return on_pass


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize(("guidance", "blend"), [(1.0, 0), (2.5, 4)])
def test_resumed_equals_uninterrupted(tmp_path, kind, guidance, blend):
    """Stops in the first block, after evictions inside a blend, near the end, and anywhere."""
    total = []
    whole = make(tmp_path / "whole", PLANS[kind](), guidance, lambda p: total.append(p.passes), blend=blend)
    for stop in (1, 17, total[-1] - 2, random.Random(f"{kind} {blend}").randrange(1, total[-1])):
        with pytest.raises(Cancelled):
            make(tmp_path / f"{stop}", PLANS[kind](), guidance, cancel_at(stop), blend=blend)
        resumed = make(tmp_path / f"{stop}", PLANS[kind](), guidance, blend=blend)
        assert resumed.complete
        assert torch.equal(resumed.latents(), whole.latents()), f"interrupted after pass {stop}"


@pytest.mark.parametrize("kind", PLANS)
def test_stopped_after_evictions_and_inside_a_blend(tmp_path, kind):
    """What the stop after pass 17 of the test above is about."""
    with pytest.raises(Cancelled):
        make(tmp_path / "cut", PLANS[kind](), 2.5, cancel_at(17), blend=4)
    cut = Run.load(tmp_path / "cut")
    state, schedule = cut.state(), cut.recipe.prompts.positive
    assert 1 not in state.cache.keys and cut.frames > 1, "frame 1 was finished and has left the window"
    assert len(schedule.at(cut.frames)) == 2, "the frame being made has two prompts"


@pytest.mark.parametrize("kind", PLANS)
def test_resumed_in_a_fresh_process_equals_uninterrupted(tmp_path, kind):
    """Nothing that the second process needs is in the memory of the first."""
    whole = make(tmp_path / "whole", PLANS[kind](), 2.0, blend=4)
    with pytest.raises(Cancelled):
        make(tmp_path / "cut", PLANS[kind](), 2.0, cancel_at(17), blend=4)
    script = (
        "import sys, torch; from pathlib import Path; torch.set_num_threads(1); "
        "from tests.rollout.test_resume_and_extend import PLANS, make; "
        "make(Path(sys.argv[1]), PLANS[sys.argv[2]](), 2.0, blend=4)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "cut"), kind], check=True, cwd=ROOT)
    assert torch.equal(Run.load(tmp_path / "cut").latents(), whole.latents())


@pytest.mark.parametrize("kind", PLANS)
def test_96_frames_equal_32_extended_twice(tmp_path, kind):
    plan, text, guidance = PLANS[kind](), "a cat", 2.5
    whole = make(tmp_path / "whole", plan, guidance, frames=96, text=text)
    run = make(tmp_path / "1", plan, guidance, frames=32, text=text)
    for name in ("2", "3"):
        run = make(tmp_path / name, plan, guidance, frames=32, text=text, parent=run)
    assert [join.exact for join in run.joins] == [True, True]
    assert torch.equal(run.latents(), whole.latents())


def test_extending_with_another_prompt_equals_one_schedule(tmp_path):
    plan = tiny.block_plan()
    whole = make(tmp_path / "whole", plan, frames=24, text="0: a cat\n12: a dog")
    first = make(tmp_path / "1", plan, frames=12, text="a cat")
    second = make(tmp_path / "2", plan, frames=12, text="a dog", parent=first)
    assert torch.equal(second.latents(), whole.latents())
    other = make(tmp_path / "3", plan, frames=12, parent=first)
    assert not torch.equal(second.latents()[12:], other.latents()[12:])


def test_a_crash_loses_only_what_was_not_saved(tmp_path):
    """Chunks without a state to go on from are made again, the same."""
    whole = make(tmp_path / "run", tiny.block_plan())
    with pytest.raises(Cancelled):
        make(tmp_path / "crashed", tiny.block_plan(), on_pass=cancel_at(11))
    crashed = Run.load(tmp_path / "crashed")
    saved, written = crashed.frames, crashed.frames + 8
    garbage = torch.zeros_like(whole.latents(saved, written))
    save_file({"latents": garbage}, crashed.folder / "chunks" / f"{saved:08d}-{written:08d}.safetensors")
    assert Run.load(crashed.folder).frames == written, "the chunk was written, the state after it was not"
    assert torch.equal(make(crashed.folder, tiny.block_plan()).latents(), whole.latents())


def test_closed_asynchronous_runs_join_approximately_and_say_so(tmp_path):
    plan = tiny.asynchronous_plan(frames=12)
    first = make(tmp_path / "1", plan, frames=12)
    second = make(tmp_path / "2", plan, frames=8, parent=first)
    assert not second.joins[0].exact
    assert "closed" in second.joins[0].reason
    assert second.frames == 20
    assert torch.equal(second.latents(0, 12), first.latents())


def test_another_schedule_joins_approximately(tmp_path):
    first = make(tmp_path / "1", tiny.block_plan(), frames=12)
    second = make(tmp_path / "2", tiny.block_plan(window=Window(8)), frames=8, parent=first)
    assert (second.joins[0].exact, second.frames) == (False, 20)
    third = make(tmp_path / "3", tiny.block_plan(window=Window(8)), frames=8, parent=second)
    assert (third.joins[1].exact, third.frames) == (True, 28)


def test_a_run_of_another_model_is_refused(tmp_path):
    run = make(tmp_path / "1", tiny.block_plan(), frames=4)
    with pytest.raises(RunError, match="made by model tiny, and this is other"):
        prepare(tiny.denoiser(fingerprint="other"), order(tiny.block_plan(), parent=run))


def test_given_frames_start_the_run(tmp_path):
    """All of them stay in the run; the last ones that fill blocks of the window are its context."""
    given = torch.randn(7, *tiny.SHAPE)
    denoiser = tiny.denoiser()
    asked = Order(tiny.block_plan(), tiny.prompts(), 6, 0, 8.0, 1.0, given=given)
    run = generate(denoiser, prepare(denoiser, asked), tmp_path / "run")
    assert run.frames == 7 + 6
    assert torch.equal(run.latents(0, 7), given)
    assert not run.joins[0].exact
    longer = make(tmp_path / "longer", tiny.block_plan(), frames=4, parent=run, seed=0, negative=None)
    assert torch.equal(longer.latents(0, 13), run.latents())


def test_given_frames_of_another_size_are_refused():
    asked = Order(tiny.block_plan(), tiny.prompts(), 6, 0, 8.0, 1.0, given=torch.randn(8, 4, 6, 6))
    with pytest.raises(RunError, match=r"\(4, 6, 6\), the model works on \(4, 4, 6\)"):
        prepare(tiny.denoiser(), asked)


def test_a_negative_schedule_begins_at_the_extension(tmp_path):
    """Also where the earlier run had none: its frames keep the empty prompt."""
    plan, later = tiny.block_plan(), "0: fog\n4: rain\n8: snow"
    first = make(tmp_path / "1", plan, 2.0, frames=12, text="a cat", negative=None)
    second = make(tmp_path / "2", plan, 2.0, frames=12, text="a cat", negative=later, parent=first)
    assert second.recipe.prompts.negative.switches() == (12, 16, 20)
    assert torch.equal(second.latents(0, 12), first.latents())
    third = make(tmp_path / "3", plan, 2.0, frames=4, text="a cat", negative=None, parent=second)
    assert third.recipe.prompts.negative.at(25) == (("", 1.0),)


def test_another_seed_goes_on_from_the_state_but_is_not_called_exact(tmp_path):
    first = make(tmp_path / "1", tiny.block_plan(), frames=8, seed=1)
    second = make(tmp_path / "2", tiny.block_plan(), frames=4, seed=2, parent=first)
    assert not second.joins[0].exact
    assert "another seed" in second.joins[0].reason


def test_a_lost_state_means_that_the_run_is_made_again(tmp_path):
    whole = make(tmp_path / "whole", tiny.block_plan())
    make(tmp_path / "run", tiny.block_plan())
    (tmp_path / "run" / "state.safetensors").write_bytes(b"cut off")
    assert torch.equal(make(tmp_path / "run", tiny.block_plan()).latents(), whole.latents())
    whole.chunks()[-1][2].unlink()
    assert make(tmp_path / "whole", tiny.block_plan()).complete


def test_damaged_runs_are_named(tmp_path):
    run = make(tmp_path / "run", tiny.block_plan(), frames=20)
    state = run.folder / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(RunError, match=r"state.safetensors of run run cannot be read"):
        run.state()
    chunk = run.chunks()[0][2]
    chunk.write_bytes(b"not a tensor")
    with pytest.raises(RunError, match="truncated or not a safetensors file"):
        run.latents()
    chunk.unlink()
    (run.folder / "run.json").write_text("{")
    with pytest.raises(RunError, match="run.json cannot be read"):
        Run.load(run.folder)


def test_a_deleted_run_says_so(tmp_path):
    run = make(tmp_path / "run", tiny.block_plan(), frames=4)
    run.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="folder of run run is gone"):
        run.latents()


def test_nothing_half_written_stays(tmp_path):
    run = make(tmp_path / "run", tiny.block_plan(), frames=20)
    assert not list(run.folder.rglob("*.part"))
