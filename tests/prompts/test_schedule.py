"""A prompt schedule answers one question: which texts, with which weights, hold at this frame?"""

import json
from dataclasses import FrozenInstanceError

import pytest

from avgen_core.prompts import PromptSchedule, Segment


def schedule(*segments: tuple[int, str], blend: int = 0) -> PromptSchedule:
    return PromptSchedule(tuple(Segment(start, text) for start, text in segments), blend)


FOX_OWL = schedule((0, "fox"), (24, "owl"))
BLENDED = schedule((0, "fox"), (24, "owl"), (48, "bear"), blend=3)


# --- which text holds when -------------------------------------------------------------------------


def test_a_text_holds_until_the_next_and_the_last_for_ever():
    assert FOX_OWL.at(0) == FOX_OWL.at(23) == (("fox", 1.0),)
    assert FOX_OWL.at(24) == FOX_OWL.at(10**9) == (("owl", 1.0),)


def test_a_blend_moves_linearly_over_the_first_frames_of_the_new_text():
    assert BLENDED.at(23) == (("fox", 1.0),)
    assert BLENDED.at(24) == (("fox", 0.75), ("owl", 0.25))
    assert BLENDED.at(25) == (("fox", 0.5), ("owl", 0.5))
    assert BLENDED.at(26) == (("fox", 0.25), ("owl", 0.75))
    assert BLENDED.at(27) == (("owl", 1.0),)
    assert BLENDED.at(48) == (("owl", 0.75), ("bear", 0.25))


@pytest.mark.parametrize("blend", [0, 1, 2, 6, 9, 24])
def test_weights_sum_to_exactly_one(blend):
    blended = schedule((0, "fox"), (24, "owl"), (48, "bear"), blend=blend)
    for frame in range(100):
        assert sum(weight for _, weight in blended.at(frame)) == 1.0


def test_there_is_nothing_to_blend_between_equal_texts():
    same = schedule((0, "fox"), (24, "fox"), blend=4)
    assert same.at(25) == (("fox", 1.0),)
    assert same.switches() == (24,)


def test_each_text_is_listed_once_so_that_it_is_encoded_once():
    back_and_forth = schedule((0, "fox"), (8, "owl"), (16, "fox"))
    assert back_and_forth.texts() == ("fox", "owl")
    assert back_and_forth.switches() == (8, 16)
    assert schedule((0, "fox")).switches() == ()


def test_there_are_no_frames_before_the_first():
    with pytest.raises(ValueError, match="frame -1 is before the schedule"):
        FOX_OWL.at(-1)


# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segments", "blend", "message"),
    [
        ([], 0, "needs at least one segment"),
        ([(1, "fox")], 0, "starts at frame 1; the first must start at frame 0"),
        ([(0, "fox"), (24, "owl"), (12, "bear")], 0, "frame 12 comes after frame 24"),
        ([(0, "fox"), (0, "owl")], 0, "frame 0 already has a prompt"),
        ([(0, " \n")], 0, "the prompt at frame 0 is blank"),
        ([(-1, "fox")], 0, "cannot start at frame -1"),
        ([(0.5, "fox")], 0, "cannot start at frame 0.5"),
        ([(True, "fox")], 0, "cannot start at frame True"),
        ([(0, "\ud800")], 0, "half a surrogate pair"),
        ([(0, "fox")], -1, "blend must be a whole number of frames from 0 on, not -1"),
        ([(0, "a"), (8, "b"), (12, "c")], 5, "frame 8 lasts 4 frames, shorter than its blend of 5"),
    ],
)
def test_a_schedule_is_checked_where_it_is_made(segments, blend, message):
    with pytest.raises(ValueError, match=message):
        schedule(*segments, blend=blend)


def test_a_segment_may_be_as_short_as_its_blend_and_the_first_even_shorter():
    schedule((0, "a"), (1, "b"), (5, "c"), blend=4)


def test_a_schedule_is_a_value():
    assert schedule((0, "fox")) == schedule((0, "fox"))
    assert len({schedule((0, "fox")), schedule((0, "fox")), FOX_OWL}) == 2
    assert PromptSchedule([Segment(0, "fox")]) == schedule((0, "fox"))
    with pytest.raises(FrozenInstanceError):
        FOX_OWL.blend = 2


# --- moving in time --------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [-60, -48 - 3, -30, -10, 0, 10])
def test_shifted_is_the_same_schedule_on_another_clock(offset):
    shifted = BLENDED.shifted(offset)
    for frame in range(max(0, offset), 100):
        assert shifted.at(frame) == BLENDED.at(frame - offset)


def test_shifted_later_holds_the_first_text_through_the_frames_gained():
    assert FOX_OWL.shifted(8) == schedule((0, "fox"), (32, "owl"))


def test_shifted_cannot_cut_through_a_blend():
    for frame in (24, 26):
        with pytest.raises(ValueError, match="inside the blend of frames 24 to 26"):
            BLENDED.shifted(-frame)
    assert BLENDED.shifted(-27) == schedule((0, "owl"), (21, "bear"), blend=3)


# --- continuing a finished run ---------------------------------------------------------------------


def test_a_run_of_32_frames_is_continued_with_a_new_prompt():
    longer = FOX_OWL.extended(schedule((0, "bear"), (16, "hare")), 32)
    assert longer == PromptSchedule(
        (Segment(0, "fox"), Segment(24, "owl", 0), Segment(32, "bear"), Segment(48, "hare"))
    )


def test_what_was_planned_after_the_join_is_dropped():
    assert FOX_OWL.extended(schedule((0, "bear")), 16) == schedule((0, "fox"), (16, "bear"))
    assert FOX_OWL.extended(schedule((0, "bear")), 0) == schedule((0, "bear"))


def test_going_on_with_the_same_text_is_no_switch():
    assert schedule((0, "fox")).extended(schedule((0, "fox"), (8, "owl")), 32) == schedule((0, "fox"), (40, "owl"))


@pytest.mark.parametrize("blend", [0, 2, 3, 8])
@pytest.mark.parametrize("at_frame", [1, 23, 24, 25, 26, 27, 49, 50, 60])
def test_the_past_stays_as_it_was_whatever_comes_next(at_frame, blend):
    other = schedule((0, "hare"), (16, "crab"), blend=blend)
    longer = BLENDED.extended(other, at_frame)
    for frame in range(at_frame):
        assert longer.at(frame) == BLENDED.at(frame)
    for frame in range(at_frame + blend, at_frame + 40):
        assert longer.at(frame) == other.at(frame - at_frame)


def test_the_join_blends_as_the_continuation_says():
    longer = schedule((0, "fox")).extended(schedule((0, "owl"), blend=1), 32)
    assert longer.at(32) == (("fox", 0.5), ("owl", 0.5))


def test_the_blend_of_the_join_is_shortened_to_the_room_it_has():
    longer = schedule((0, "fox")).extended(schedule((0, "owl"), (1, "bear"), blend=4), 32)
    assert longer.at(32) == (("fox", 0.5), ("owl", 0.5))
    assert longer.at(33) == (("owl", 0.8), ("bear", pytest.approx(0.2)))


def test_a_run_is_continued_twice():
    once = BLENDED.extended(schedule((0, "hare"), blend=2), 25)
    twice = once.extended(schedule((0, "crab")), 26)
    assert twice.texts() == ("fox", "owl", "hare", "crab")
    assert [twice.at(frame) for frame in range(26)] == [once.at(frame) for frame in range(26)]


# --- as data and as text ---------------------------------------------------------------------------


@pytest.mark.parametrize("original", [FOX_OWL, BLENDED, BLENDED.extended(FOX_OWL, 25)])
def test_json_round_trip(original):
    assert PromptSchedule.from_json(json.loads(json.dumps(original.to_json()))) == original


def test_json_is_plain():
    assert FOX_OWL.to_json() == {
        "segments": [{"start": 0, "text": "fox"}, {"start": 24, "text": "owl"}],
        "blend": 0,
    }


@pytest.mark.parametrize(
    "data", [{}, {"segments": []}, {"segments": [{"begin": 0}], "blend": 0}, {"segments": 3, "blend": 0}, []]
)
def test_json_that_is_no_schedule_is_refused(data):
    with pytest.raises(ValueError, match="not a prompt schedule"):
        PromptSchedule.from_json(data)


def test_describe_says_what_was_understood():
    text = schedule((0, "a fox\nruns"), (24, "an owl"), blend=4).describe(fps=16)
    assert text == (
        "frames  seconds    blend  prompt\n"  #
        "0-23    0.00-1.50  -      a fox runs\n"
        "24-     1.50-      4      an owl"
    )
